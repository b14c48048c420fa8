"""The control socket's requests, without a socket."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from headend.domain.errors import ConfigurationError
from protocols.simulator.business_time import BusinessClock
from protocols.simulator.control import ControlServer
from protocols.simulator.fleet import make_fleet
from protocols.simulator.simulator import Simulator

if TYPE_CHECKING:
    pass


class Console:
    """Asks a control server, and knows whether it was told to shut down."""

    def __init__(self, clock: BusinessClock) -> None:
        self.simulator = Simulator(make_fleet(1, 2, 4, relay_delay_ms=0), clock=clock)
        self.ended = False
        self.server = ControlServer(self.simulator, on_shutdown=self._end)
        self.meter_no = next(iter(self.simulator.devices))

    def ask(self, request: str, **values: Any) -> Any:
        answer = self.server.answer(json.dumps({"request": request, **values}).encode())
        assert answer["ok"], answer
        return json.loads(json.dumps(answer["result"]))

    def refusal(self, line: str) -> dict[str, Any]:
        answer = self.server.answer(line.encode())
        assert not answer["ok"]
        assert answer["error"]
        return answer

    def _end(self) -> None:
        self.ended = True


@pytest.fixture
def console(clock: BusinessClock) -> Console:
    return Console(clock)


def test_truth_of_one_and_of_all(console: Console) -> None:
    (one,) = console.ask("truth", meter=console.meter_no)
    assert one["closed"] is True
    assert one["since"] is None
    everyone = console.ask("truth")
    assert [each["meter_no"] for each in everyone] == list(console.simulator.devices)


def test_truth_is_told_through_every_fault(console: Console) -> None:
    for fault in ("silent", "busy", "wrong_identity", "missing_rows", "denied", "relay_stuck"):
        console.ask("fault", meter=console.meter_no, fault=fault)
    console.simulator.device(console.meter_no).contact.remote_disconnect()
    (truth,) = console.ask("truth", meter=console.meter_no)
    assert truth["closed"] is False
    assert truth["power_w"] == 0
    assert truth["history"][0]["cause"] == "remote"
    assert len(truth["faults"]) == 6


def test_the_clock_is_told_and_carried_forward(console: Console) -> None:
    assert console.ask("clock")["offset_s"] == 0
    assert console.ask("clock", offset_s=86_400)["offset_s"] == 86_400
    assert console.refusal('{"request":"clock","offset_s":5}')["field"] == "offset_s"
    assert console.refusal('{"request":"clock","offset_s":"1"}')["field"] == "offset_s"
    assert console.ask("clock")["offset_s"] == 86_400


def test_rows_are_the_true_intervals(console: Console, clock: BusinessClock) -> None:
    end = clock.now()
    start = end - timedelta(hours=3)
    console.ask("fault", meter=console.meter_no, fault="missing_rows")
    rows = console.ask("rows", meter=console.meter_no, start=start.isoformat(), end=end.isoformat())
    assert rows["interval_s"] == 900
    assert len(rows["start_s"]) == 12
    assert rows["start_s"][0] == int(start.timestamp())
    assert min(rows["energy_wh"]) > 0


def test_buttons_and_trips(console: Console) -> None:
    console.ask("trip", meter=console.meter_no)
    (truth,) = console.ask("truth", meter=console.meter_no)
    assert truth["control_state"] == "ready_for_reconnection"
    assert console.ask("press_button", meter=console.meter_no) == {"moved": True}
    assert console.ask("press_button", meter=console.meter_no) == {"moved": False}


def test_faults_are_set_and_cleared_on_meters_and_concentrators(console: Console) -> None:
    console.ask("fault", meter=console.meter_no, fault="slow", delay_ms=5)
    console.ask("fault", concentrator="DC002", fault="down")
    assert console.simulator.concentrators["DC002"].is_down
    console.ask("clear_fault", concentrator="DC002")
    console.ask("clear_fault", meter=console.meter_no, fault="slow")
    assert not console.simulator.concentrators["DC002"].is_down
    assert not console.simulator.device(console.meter_no).faults


def test_stats_sessions_and_fleet_are_plain_json(console: Console) -> None:
    assert console.ask("stats")["meters"] == 4
    assert console.ask("sessions") == {"DC001": [], "DC002": []}
    assert len(console.ask("fleet")["concentrators"]) == 2


def test_shutdown_ends(console: Console) -> None:
    console.ask("shutdown")
    assert console.ended


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("", "request"),
        ("[]", "request"),
        ('{"request":"explode"}', "request"),
        ('{"request":"truth","meter":"nobody"}', "meter"),
        ('{"request":"fault","meter":"nobody","fault":"silent"}', "meter"),
        ('{"request":"fault","fault":"silent"}', "meter"),
        ('{"request":"fault","meter":"x","fault":"melted"}', "fault"),
        ('{"request":"clear_fault","meter":"x","fault":"melted"}', "fault"),
    ],
)
def test_a_wrong_request_is_answered_and_changes_nothing(
    console: Console, line: str, field: str
) -> None:
    assert console.refusal(line)["field"] == field
    assert all(not device.faults for device in console.simulator.devices.values())


def test_an_answer_carries_the_id_of_its_request(console: Console) -> None:
    assert console.server.answer(b'{"request":"clock","id":7}')["id"] == 7
    assert console.refusal('{"request":"explode","id":8}')["id"] == 8


async def test_the_control_socket_stays_on_loopback(console: Console) -> None:
    server = ControlServer(console.simulator, on_shutdown=console._end, host="0.0.0.0")
    with pytest.raises(ConfigurationError, match=r"0\.0\.0\.0"):
        await server.start()
