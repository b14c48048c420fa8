"""``headend meter`` as its users have it: the command against simulated meters on the loopback."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import pytest

from headend.cli import main
from protocols.simulator.control_client import SimulatorControl
from protocols.simulator.fleet import ConcentratorSpec, FleetSpec, MeterSpec, make_meter
from protocols.simulator.launch import RunningSimulator, start_simulator

ENERGY, VOLTAGE, PROFILE = "1.0.1.8.0.255", "1.0.32.7.0.255", "1.0.99.1.0.255"
CLOCK, SERIAL = "0.0.1.0.0.255", "0.0.96.1.0.255"
_T = TypeVar("_T")


class Bench:
    """A simulator in a process of its own, and the command on its meters.

    Meters 1 to 3 stand behind one WRAPPER port (control modes 4, 3 and 0), meter 4 behind HDLC.
    """

    def __init__(self, folder: Path) -> None:
        modes = (4, 3, 0)
        wrapper = tuple(
            make_meter(7, n, address=n + 1, control_mode=mode) for n, mode in enumerate(modes)
        )
        hdlc = (make_meter(7, 3, address=1),)
        fleet = FleetSpec(
            7,
            (
                ConcentratorSpec("DC001", wrapper),
                ConcentratorSpec("DC002", hdlc, transport="hdlc"),
            ),
        )
        self.state_dir = folder / "state"
        path = folder / "fleet.json"
        path.write_text(json.dumps(fleet.to_json()))
        self.meters: list[MeterSpec] = list(fleet.meters)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.simulator: RunningSimulator = self.call(start_simulator(["--config", path]))

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    @property
    def control(self) -> SimulatorControl:
        return self.simulator.control

    def stop(self) -> None:
        self.call(self.simulator.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def url(self, number: int = 0, **parameters: object) -> str:
        """Return the endpoint of a meter with its good keys, unless ``parameters`` change it."""
        meter = self.meters[number]
        host, port = self.simulator.endpoints["DC001" if number < 3 else "DC002"]
        query: dict[str, object] = {
            "client": 1, "server": meter.address, "auth": "gmac", "ek": meter.encryption_key,
            "ak": meter.authentication_key,
        }  # fmt: skip
        query |= parameters
        kept = {name: value for name, value in query.items() if value is not None}
        scheme = "dlms+tcp" if number < 3 else "dlms+hdlc+tcp"
        return f"{scheme}://{host}:{port}?{urlencode(kept)}"

    def lls(self, number: int = 0, **parameters: object) -> str:
        password = self.meters[number].password
        changes = {"client": 2, "auth": "lls", "password": password, "ek": None, "ak": None}
        return self.url(number, **{**changes, **parameters})

    def public(self, number: int = 0) -> str:
        return self.url(number, client=16, auth="none", ek=None, ak=None)

    def fault(self, fault: str, number: int = 0, **parameters: object) -> None:
        self.call(self.control.set_fault(self.meters[number].meter_no, fault, **parameters))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("bench"))
    yield bench
    bench.stop()


@pytest.fixture(autouse=True)
def _clean(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    # One state folder for all: each test goes on with the counters of the one before.
    monkeypatch.setenv("HEADEND_STATE_DIR", str(bench.state_dir))
    yield
    bench.call(bench.control.clear_fault("*"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def run_command(*arguments: str) -> tuple[int, str, str]:
        code = main(["meter", *arguments])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run_command


@pytest.fixture
def ask(run: Any) -> Any:
    """Run a command that must succeed in silence; return its JSON."""

    def ask_command(*arguments: str) -> Any:
        code, out, err = run(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out, parse_float=Decimal)

    return ask_command


def test_registers_by_every_way_of_associating(bench: Bench, ask: Any) -> None:
    truth = bench.call(bench.control.truth(bench.meters[0].meter_no))
    for url in (
        bench.url(), bench.lls(), bench.url(ciphering="ded"), bench.url(ciphering="general-glo"),
        bench.url(system_title="4142434445464748"),
    ):  # fmt: skip
        energy, voltage = ask("read", url, ENERGY, VOLTAGE)
        assert energy == {"obis": ENERGY, "value": energy["value"], "unit": "Wh"}
        assert truth.register_wh <= energy["value"] <= truth.register_wh + 100
        assert voltage == {"obis": VOLTAGE, "value": Decimal("230.0"), "unit": "V"}


def test_a_meter_on_hdlc_reads_the_same(bench: Bench, ask: Any) -> None:
    (serial,) = ask("read", bench.url(3), SERIAL)
    assert serial == {"obis": SERIAL, "value": bench.meters[3].serial, "unit": ""}
    assert len(ask("profile", bench.url(3), PROFILE, "--last", "5")["rows"]) == 5


def test_what_one_client_may_not_read_is_a_problem_of_that_object_alone(
    bench: Bench, run: Any
) -> None:
    code, out, err = run("read", bench.public(), ENERGY, SERIAL, "--json")
    assert code == 1
    denied, serial = json.loads(out)
    assert denied == {"obis": ENERGY, "value": None, "unit": "", "problem": "read-write-denied"}
    assert serial["value"] == bench.meters[0].serial
    assert err.startswith("headend: refused: ")
    assert err.count("\n") == 1


def test_the_profile_is_what_the_meter_measured(bench: Bench, ask: Any) -> None:
    table = ask("profile", bench.url(), PROFILE, "--last", "8")
    assert table["columns"] == [CLOCK, "0.0.96.10.1.255", "1.0.1.29.0.255"]
    assert table["units"] == ["", "", "Wh"]
    times = [datetime.fromisoformat(row[0]) for row in table["rows"]]
    start, end = times[0] - timedelta(minutes=15), times[-1]
    truth = bench.call(bench.control.rows(bench.meters[0].meter_no, start, end))
    assert [row[2] for row in table["rows"]] == truth.energy_wh.tolist()
    assert [int(time.timestamp()) - 900 for time in times] == truth.start_s.tolist()


def test_a_range_includes_both_ends_by_any_way_to_write_them(bench: Bench, ask: Any) -> None:
    rows = ask("profile", bench.url(), PROFILE, "--last", "4")["rows"]
    first, last = datetime.fromisoformat(rows[0][0]), datetime.fromisoformat(rows[-1][0])
    assert first.utcoffset() == timedelta(hours=8)
    for start, end in (
        (first.isoformat(), last.isoformat()),
        (first.replace(tzinfo=None).isoformat(), last.replace(tzinfo=None).isoformat()),
        ((first - timedelta(hours=8)).replace(tzinfo=None).isoformat() + "Z", last.isoformat()),
    ):
        assert ask("profile", bench.url(), PROFILE, "--from", start, "--to", end)["rows"] == rows


def test_people_get_tables(bench: Bench, run: Any) -> None:
    code, out, err = run("read", bench.url(), ENERGY)
    assert (code, err) == (0, "")
    assert ENERGY in out
    assert "Wh" in out
    code, out, _ = run("profile", bench.lls(), PROFILE, "--last", "2")
    assert out.endswith("2 rows every 15 min, 0 missing between them\n")


def test_identify_tells_what_fits(bench: Bench, ask: Any, run: Any) -> None:
    found = ask("identify", bench.url())
    meter = bench.meters[0]
    assert (found["logical_device_name"], found["serial"]) == (
        meter.logical_device_name, meter.serial,
    )  # fmt: skip
    assert found["models"] == ["sim-single-phase", "generic"]
    assert found["relay"]["control_mode"] == 4
    assert abs(found["clock"]["ahead_s"]) < 30
    assert found["profiles"] == [PROFILE]
    assert found["objects"]["classes"]["profile generic"] == 1
    code, out, _ = run("identify", bench.public())
    assert code == 0
    assert "not read" in out


def test_the_relay_is_switched_and_shown_as_seen(bench: Bench, ask: Any) -> None:
    closed = {"output_state": True, "control_state": "connected", "control_mode": 4}
    opened = {"output_state": False, "control_state": "disconnected", "control_mode": 4}
    meter_no = bench.meters[0].meter_no
    assert ask("relay", bench.url(), "get") == closed
    assert ask("relay", bench.url(), "open") == opened
    assert not bench.call(bench.control.truth(meter_no)).closed
    assert ask("relay", bench.url(), "get") == opened
    assert ask("relay", bench.url(), "close") == closed
    assert bench.call(bench.control.truth(meter_no)).closed


def test_what_is_there_already_is_said(bench: Bench, run: Any) -> None:
    code, out, err = run("relay", bench.url(), "close", "--json")
    assert (code, json.loads(out)["output_state"]) == (0, True)
    assert err == "headend: note: it was there already\n"


def test_armed_and_waiting_for_its_button_is_an_answer_to_close(bench: Bench, run: Any) -> None:
    assert run("relay", bench.url(1), "open")[0] == 0
    code, out, err = run("relay", bench.url(1), "close", "--json")
    assert code == 0
    assert json.loads(out) == {
        "output_state": False,
        "control_state": "ready_for_reconnection",
        "control_mode": 3,
    }
    assert "button" in err
    assert bench.call(bench.control.press_button(bench.meters[1].meter_no))
    assert run("relay", bench.url(1), "close", "--json")[0] == 0


def test_a_relay_that_only_acknowledges_is_found_out(bench: Bench, run: Any) -> None:
    for fault, state in (("relay_ignored", "connected"), ("relay_stuck", "disconnected")):
        bench.fault(fault)
        code, out, err = run("relay", bench.url(), "open", "--wait", "0.5", "--json")
        assert code == 1
        assert json.loads(out) == {
            "output_state": True, "control_state": state, "control_mode": 4,
        }  # fmt: skip
        assert "the contact did not open: it is closed" in err
        bench.call(bench.control.clear_fault("*"))
        assert run("relay", bench.url(), "close")[0] == 0


def test_a_late_relay_is_waited_for(bench: Bench, ask: Any) -> None:
    bench.fault("relay_delay_ms", delay_ms=1200)
    assert ask("relay", bench.url(), "open")["output_state"] is False
    assert ask("relay", bench.url(), "close")["output_state"] is True


def test_a_lost_answer_is_read_back(bench: Bench, run: Any) -> None:
    bench.fault("action_unanswered")
    code, out, err = run("relay", bench.url(), "open", "--timeout", "0.6", "--json")
    assert (code, json.loads(out)["output_state"]) == (0, False)
    assert "read back" in err
    bench.call(bench.control.clear_fault("*"))
    assert run("relay", bench.url(), "close")[0] == 0


def test_a_refusing_relay_and_a_mode_without_one(bench: Bench, run: Any) -> None:
    bench.fault("relay_refused")
    code, out, err = run("relay", bench.url(), "open", "--json")
    assert (code, out) == (1, "")
    assert "refused: the meter answered hardware-fault" in err
    code, out, err = run("relay", bench.url(2), "open", "--json")
    assert (code, out) == (1, "")
    assert "control mode 0 has no remote disconnect: the contact is always closed" in err


def test_clock_and_bounds(bench: Bench, ask: Any, run: Any) -> None:
    clock = ask("clock", bench.url(), "get")
    assert abs(clock["ahead_s"]) < 30
    assert datetime.fromisoformat(clock["time"]).utcoffset() == timedelta(hours=8)
    code, out, err = run("clock", bench.url(), "set", "--to", "2020-01-01T00:00Z")
    assert (code, out) == (2, "")
    assert "more than the 300 s that are allowed" in err
    assert "--force" in err


def test_a_meter_without_event_logs_says_so(bench: Bench, run: Any) -> None:
    code, out, err = run("events", bench.url(), "--json")
    assert (code, json.loads(out)) == (0, [])
    assert "shows no event log" in err


def test_secrets_from_a_file_or_the_environment(
    bench: Bench, ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    meter = bench.meters[0]
    keys = tmp_path / "keys.toml"
    keys.write_text(f'ek = "{meter.encryption_key}"\nak = "{meter.authentication_key}"\n')
    keys.chmod(0o600)
    bare = bench.url(ek=None, ak=None)
    assert ask("read", bare, SERIAL, "--keys", str(keys))[0]["value"] == meter.serial
    unsaid = bench.url(auth=None, ek=None, ak=None)
    assert ask("read", unsaid, SERIAL, "--keys", str(keys))[0]["value"] == meter.serial
    monkeypatch.setenv("HEADEND_METER_EK", meter.encryption_key)
    monkeypatch.setenv("HEADEND_METER_AK", meter.authentication_key)
    assert ask("read", bare, SERIAL)[0]["value"] == meter.serial
    monkeypatch.setenv("HEADEND_METER_PASSWORD", meter.password)
    assert ask("read", bench.lls(password=None), SERIAL)[0]["value"] == meter.serial
    # Keys from outside never turn a plain conversation into another one.
    assert ask("read", bench.public(), SERIAL)[0]["value"] == meter.serial


def test_counters_go_on_from_one_command_to_the_next(bench: Bench, ask: Any) -> None:
    seen = [ask("read", bench.url(3), "0.0.43.1.0.255")[0]["value"] for _ in range(3)]
    assert seen[0] < seen[1] < seen[2] < seen[0] + 100


def test_a_new_machine_catches_up_with_the_meters_counter(
    bench: Bench, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADEND_STATE_DIR", str(tmp_path / "state"))
    bench.fault("counter_ahead", number=1, by=5000)
    code, out, err = run("read", bench.url(1), SERIAL, "--json")
    assert (code, json.loads(out)[0]["value"]) == (0, bench.meters[1].serial)
    assert "the meter's counter was ahead: ours was raised from" in err


@pytest.mark.parametrize("form", ["gmac", "lls", "hdlc"])
def test_the_trace_shows_everything_but_secrets(bench: Bench, run: Any, form: str) -> None:
    number = 3 if form == "hdlc" else 0
    url = bench.lls() if form == "lls" else bench.url(number)
    code, out, err = run("read", url, ENERGY, "--trace", "--json")
    assert code == 0
    assert len(json.loads(out)) == 1
    assert f"get 3/{ENERGY}/2" in err
    assert "association request" in err
    assert "hdlc SNRM" in err if form == "hdlc" else "wrapper" in err
    meter = bench.meters[number]
    squeezed = err.lower().replace(" ", "")
    for secret in (
        meter.encryption_key, meter.authentication_key, meter.password.encode().hex(),
    ):  # fmt: skip
        assert secret.lower() not in squeezed
    assert f"password {meter.password}" not in err
