"""The shell on a meter served by `gurux-dlms`, as far as that library can serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gurux_meter import ROWS, GuruxMeter
from independent_house import Told, headend_meter

ENERGY, VOLTAGE, PROFILE = "1.0.1.8.0.255", "1.0.32.7.0.255", "1.0.99.1.0.255"
Ask = Callable[..., Told]


@pytest.fixture
def make_meter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., GuruxMeter]]:
    monkeypatch.setenv("HEADEND_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    meters: list[GuruxMeter] = []

    def make(password: bytes | None = None) -> GuruxMeter:
        meters.append(GuruxMeter(password))
        return meters[-1]

    yield make
    for meter in meters:
        meter.close()


@pytest.fixture
def ask(make_meter: Callable[..., GuruxMeter]) -> Ask:
    url = f"dlms+tcp://127.0.0.1:{make_meter().port}?client=16"
    return lambda command, *arguments: headend_meter(command, url, *arguments)


def test_values_of_every_class(ask: Ask) -> None:
    told = ask(
        "read", ENERGY, VOLTAGE, "1.0.1.6.0.255", "1.0.1.4.0.255", "0.0.42.0.0.255",
        "0.0.1.0.0.255",
    )  # fmt: skip
    assert told.code == 0, told.err
    assert [(each["value"], each["unit"]) for each in told.json[:5]] == [
        (123450, "Wh"), (230.5, "V"), (77, "W"), (500, "W"), ("GRX0000000000001", ""),
    ]  # fmt: skip
    assert told.json[2]["time"][:19] == "2026-03-01T12:00:00"
    assert told.json[5]["value"][:19] == "2026-03-01T12:00:00"


def test_a_profile_in_blocks(ask: Ask) -> None:
    told = ask("profile", PROFILE)
    assert told.code == 0, told.err
    assert told.json["columns"] == ["0.0.1.0.0.255", ENERGY, VOLTAGE]
    assert told.json["units"] == ["", "Wh", "V"]
    assert len(told.json["rows"]) == ROWS
    assert told.json["rows"][-1][1:] == [10990, 239.9]


def test_the_newest_rows_where_the_meter_cannot_select(ask: Ask) -> None:
    told = ask("profile", PROFILE, "--last", "2")
    assert [row[1] for row in told.json["rows"]] == [10980, 10990]


def test_the_relay(ask: Ask) -> None:
    assert ask("relay", "get").json == {
        "output_state": True,
        "control_state": "connected",
        "control_mode": 4,
    }


def test_a_refusal_under_another_invoke_id(ask: Ask) -> None:
    told = ask("read", "7/1.0.98.1.0.255/3", ENERGY)
    assert told.code == 1
    assert [each["value"] for each in told.json] == [None, 123450]


def test_a_password(make_meter: Callable[..., GuruxMeter]) -> None:
    url = f"dlms+tcp://127.0.0.1:{make_meter(b'12345678').port}?client=16&auth=lls&password="
    assert headend_meter("read", f"{url}12345678", ENERGY).json[0]["value"] == 123450
    wrong = headend_meter("read", f"{url}87654321", ENERGY)
    assert wrong.code == 1
    assert "wrong password" in wrong.err
