"""A meter whose own clock is off: what it shows, how it dates its rows, how it is set right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from headend.domain import obis as codes
from headend.domain.errors import BadInput
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import AccessError, AccessResult
from protocols.simulator.business_time import US_PER_S, BusinessClock, to_us
from protocols.simulator.device import Device
from protocols.simulator.faults import Fault, FaultKind
from protocols.simulator.fleet import FleetSpec, make_fleet, make_meter
from protocols.simulator.journal import NoJournal
from protocols.simulator.load import CHINA_OFFSET_S
from protocols.simulator.profile_buffer import PROFILE_DAYS
from protocols.simulator.simulator import Simulator
from protocols.simulator.truth import tell_truth

if TYPE_CHECKING:
    from conftest import WallClock

HOUR_S = 3600
DEVIATION_MIN = -480


@pytest.fixture
def device(clock: BusinessClock) -> Device:
    commissioned = (clock.now() - timedelta(days=1)).isoformat()
    spec = make_meter(1, 0, address=1, commissioned_at=commissioned, load_scale=3.0)
    return Device(spec, clock, NoJournal(), utc_offset_s=CHINA_OFFSET_S)


def drift(device: Device, **values: Any) -> None:
    device.set_fault(Fault.from_json({"fault": "clock_drift", **values}))


def shown(device: Device) -> datetime:
    octets = xdr.decode(device.objects.read(8, codes.CLOCK, 2, None))
    assert isinstance(octets, bytes)
    return CosemDateTime(octets).to_instant(default_deviation_min=DEVIATION_MIN)


def ahead_s(device: Device, clock: BusinessClock) -> float:
    return (shown(device) - clock.now()).total_seconds()


def rows(device: Device) -> list[tuple[datetime, int]]:
    """Return capture times and energies of the whole profile."""
    table = xdr.decode(device.objects.read(7, codes.LOAD_PROFILE_1, 2, None))
    assert isinstance(table, d.Array)
    read = []
    for row in table:
        assert isinstance(row, d.Structure)
        time, _status, energy = row
        assert isinstance(time, bytes)
        assert isinstance(energy, int)
        instant = CosemDateTime(time).to_instant(default_deviation_min=DEVIATION_MIN)
        read.append((instant, int(energy)))
    return read


def write_clock(device: Device, instant: datetime) -> None:
    octets = CosemDateTime.from_instant(instant, deviation_min=DEVIATION_MIN).octets
    device.objects.write(8, codes.CLOCK, 2, xdr.octet_string(octets))


def test_an_offset_and_a_drift_are_shown_and_the_truth_is_not_touched(
    device: Device, clock: BusinessClock, wall: WallClock
) -> None:
    truth = tell_truth(device)
    drift(device, offset_s=-90, ppm=1000)
    assert ahead_s(device, clock) == -90
    wall.advance(10 * HOUR_S)
    assert ahead_s(device, clock) == -90 + 36
    after = tell_truth(device)
    assert after.business_time - truth.business_time == timedelta(hours=10)
    assert "clock_drift" in after.faults


def test_rows_are_dated_by_the_meter_and_still_add_up(
    device: Device, clock: BusinessClock, wall: WallClock
) -> None:
    wall.advance(60)
    drift(device, offset_s=420)
    wall.advance(2 * HOUR_S)
    read = rows(device)
    grid = {instant.timestamp() % 900 for instant, _ in read}
    assert grid == {0}, "a meter captures on the grid of its own clock"
    last, _ = read[-1]
    assert last <= shown(device) < last + timedelta(minutes=15)
    counted = device.meter.register_wh_at(to_us(last) - 420 * US_PER_S)
    assert sum(energy for _, energy in read) == counted - device.meter.initial_wh
    # The first capture after the jump: the meter believes that 15 minutes passed, it were 8.
    energies = dict(read)
    noon = datetime(2025, 3, 10, 4, tzinfo=UTC)
    before = device.meter.register_wh_at(to_us(noon))
    first = device.meter.register_wh_at(to_us(noon) + 480 * US_PER_S)
    assert energies[noon + timedelta(minutes=15)] == first - before


def test_a_clock_set_forward_skips_rows_and_one_set_back_repeats_them(
    device: Device, clock: BusinessClock, wall: WallClock
) -> None:
    wall.advance(60)
    write_clock(device, clock.now() + timedelta(hours=1))
    wall.advance(HOUR_S)
    write_clock(device, clock.now())
    assert ahead_s(device, clock) == 0
    wall.advance(HOUR_S)
    times = [instant for instant, _ in rows(device)]
    noon = datetime(2025, 3, 10, 4, tzinfo=UTC)
    steps = [(instant - noon) // timedelta(minutes=15) for instant in times if instant >= noon]
    # Set forward at 12:01 to 13:01, and an hour later back to 13:01.
    assert steps == [0, 5, 6, 7, 8, 5, 6, 7, 8]
    total = sum(energy for _, energy in rows(device))
    counted = device.meter.register_wh_at(to_us(noon + timedelta(hours=2)))
    assert total == counted - device.meter.initial_wh


@pytest.mark.parametrize(
    ("method", "parameter", "expected_s"),
    [
        (1, d.Integer(0), 0),  # to the quarter
        (2, d.Integer(0), 0),  # to the capture period
        (3, d.Integer(0), 60),  # to the minute
        (6, d.Long(-90), -10),
    ],
)
def test_methods_of_the_clock_set_it(
    device: Device, clock: BusinessClock, method: int, parameter: d.Data, expected_s: int
) -> None:
    drift(device, offset_s=80)
    device.objects.invoke(8, codes.CLOCK, method, xdr.encode(parameter))
    assert ahead_s(device, clock) == expected_s


@pytest.mark.parametrize(
    ("method", "parameter", "result"),
    [
        (6, d.Long(901), AccessResult.TYPE_UNMATCHED),
        (6, d.Unsigned(1), AccessResult.TYPE_UNMATCHED),
        (4, d.Integer(0), AccessResult.READ_WRITE_DENIED),
    ],
)
def test_what_the_clock_does_not_take_changes_nothing(
    device: Device, clock: BusinessClock, method: int, parameter: d.Data, result: AccessResult
) -> None:
    drift(device, offset_s=80)
    with pytest.raises(AccessError) as refused:
        device.objects.invoke(8, codes.CLOCK, method, xdr.encode(parameter))
    assert refused.value.result is result
    for value in (xdr.encode(d.Unsigned(1)), xdr.octet_string(b"\xff" * 12)):
        with pytest.raises(AccessError):
            device.objects.write(8, codes.CLOCK, 2, value)
    assert ahead_s(device, clock) == 80


def test_a_window_and_clearing_put_the_clock_right(
    device: Device, clock: BusinessClock, wall: WallClock
) -> None:
    until = clock.now() + timedelta(hours=1)
    drift(device, offset_s=300, until=until.isoformat())
    assert ahead_s(device, clock) == 300
    wall.advance(HOUR_S)
    assert ahead_s(device, clock) == 0
    drift(device, offset_s=300)
    device.clear_fault(FaultKind.CLOCK_DRIFT)
    assert ahead_s(device, clock) == 0


def test_the_clock_survives_a_restart(wall: WallClock, tmp_path: Path) -> None:
    fleet = make_fleet(1, 1, 2)
    first, second = (meter.meter_no for meter in fleet.meters)

    def start() -> Simulator:
        clock = BusinessClock(real_us=wall)
        return Simulator(fleet, state=tmp_path / "state.jsonl", clock=clock)

    simulator = start()
    drift(simulator.device(first), offset_s=100, ppm=100)
    write_clock(simulator.device(second), simulator.clock.now() + timedelta(seconds=7))
    for _ in range(2):
        assert simulator._file is not None
        simulator._file.close()
        wall.advance(10_000)
        simulator = start()
    assert ahead_s(simulator.device(first), simulator.clock) == 102
    assert ahead_s(simulator.device(second), simulator.clock) == 7
    simulator.device(first).clear_fault(None)
    assert simulator._file is not None
    simulator._file.close()
    again = start()
    assert ahead_s(again.device(first), again.clock) == 0


def test_a_drift_of_the_fleet_file_goes_on_since_the_meter_was_installed(wall: WallClock) -> None:
    document = make_fleet(1, 1, 1, commissioned_at="2025-03-09T12:00:00+08:00").to_json()
    (group,) = document["concentrators"]
    group["meters"][0]["faults"] = [{"fault": "clock_drift", "ppm": 50.0}]
    simulator = Simulator(FleetSpec.from_json(document), clock=BusinessClock(real_us=wall))
    (device,) = simulator.devices.values()
    assert device.clock.error_us(simulator.clock.now_us()) == 50 * 86_400


@pytest.mark.parametrize("values", [{"ppm": 100_001}, {"offset_s": -4e8}, {"ppm": float("nan")}])
def test_a_drift_beyond_bounds_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="within"):
        Fault.from_json({"fault": "clock_drift", **values})


def test_a_long_profile_under_drift_is_whole(clock: BusinessClock) -> None:
    commissioned = (clock.now() - timedelta(days=300)).isoformat()
    spec = make_meter(1, 0, address=1, commissioned_at=commissioned)
    device = Device(spec, clock, NoJournal(), utc_offset_s=CHINA_OFFSET_S)
    drift(device, offset_s=1, **{"from": (clock.now() - timedelta(days=90)).isoformat()})
    assert len(rows(device)) == PROFILE_DAYS * 96 - 1
