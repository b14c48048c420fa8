"""State that survives: the journal, a restart after a kill, and a clock that goes on."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headend.domain.errors import BadInput, ConfigurationError, InvariantViolated, NotFound
from protocols.simulator.business_time import BusinessClock
from protocols.simulator.faults import Fault, FaultKind
from protocols.simulator.fleet import FleetSpec, make_fleet
from protocols.simulator.journal import FileJournal
from protocols.simulator.simulator import Simulator
from protocols.simulator.truth import MeterTruth, tell_truth

if TYPE_CHECKING:
    from conftest import WallClock

FLEET = make_fleet(1, 2, 4, relay_delay_ms=200)
FIRST, SECOND = (meter.meter_no for meter in FLEET.meters[:2])


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "fleet.jsonl"


def start(wall: WallClock, state: Path, fleet: FleetSpec = FLEET) -> Simulator:
    return Simulator(fleet, state=state, clock=BusinessClock(real_us=wall))


def kill(simulator: Simulator) -> None:
    """End without any farewell, as ``kill -9`` does: only the descriptors close."""
    assert simulator._file is not None
    simulator._file.close()


def test_a_moved_contact_and_the_clock_survive_a_kill(wall: WallClock, state: Path) -> None:
    simulator = start(wall, state)
    simulator.set_offset(86_400.5)
    simulator.device(FIRST).contact.remote_disconnect()
    wall.advance(1)
    before = tell_truth(simulator.device(FIRST))
    kill(simulator)

    wall.advance(60)
    again = start(wall, state)
    after = tell_truth(again.device(FIRST))
    assert after.history == before.history
    assert after.closed is False
    assert after.register_wh == before.register_wh
    assert after.business_time - before.business_time == timedelta(seconds=60)
    assert tell_truth(again.device(SECOND)).history == ()
    kill(again)


def test_a_movement_that_fell_due_while_dead_is_dated_when_it_was_due(
    wall: WallClock, state: Path
) -> None:
    simulator = start(wall, state)
    simulator.set_offset(3600)
    simulator.device(FIRST).contact.remote_disconnect()
    due_us = wall.us + 200_000
    kill(simulator)
    wall.advance(500)
    again = start(wall, state)
    (movement,) = again.device(FIRST).contact.movements
    assert movement.real_us == due_us
    assert movement.business_us == due_us + 3_600_000_000
    kill(again)
    third = start(wall, state)
    assert third.device(FIRST).contact.movements == (movement,)
    kill(third)


def test_a_line_cut_by_a_kill_is_dropped(wall: WallClock, state: Path) -> None:
    simulator = start(wall, state)
    simulator.set_fault(FIRST, Fault(FaultKind.SILENT))
    kill(simulator)
    with state.open("ab") as file:
        file.write(b'{"kind":"clear_fault","meter":"' + FIRST.encode())
    again = start(wall, state)
    assert again.device(FIRST).fault(FaultKind.SILENT) is not None
    again.clear_fault(FIRST, FaultKind.SILENT)
    kill(again)
    third = start(wall, state)
    assert third.device(FIRST).fault(FaultKind.SILENT) is None
    kill(third)


@pytest.mark.parametrize("cut", [1, 7, 20])
def test_the_journal_can_be_cut_anywhere(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    journal = FileJournal(path)
    for number in range(3):
        journal.append({"kind": "n", "value": number})
    journal.close()
    path.write_bytes(path.read_bytes()[:-cut])
    again = FileJournal(path)
    assert [record["value"] for record in again.replay()] == [0, 1]
    again.append({"kind": "n", "value": 9})
    assert [record["value"] for record in again.replay()] == [0, 1, 9]
    again.close()


def test_restarting_does_not_let_the_file_grow(wall: WallClock, state: Path) -> None:
    simulator = start(wall, state)
    for hour in range(50):
        simulator.set_offset(3600.0 * hour)
        simulator.set_fault(FIRST, Fault.from_json({"fault": "slow", "delay_ms": hour}))
    kill(simulator)
    long = state.stat().st_size
    kill(start(wall, state))
    short = state.stat().st_size
    assert short < long / 5
    again = start(wall, state)
    fault = again.device(FIRST).fault(FaultKind.SLOW)
    assert fault is not None
    assert fault.parameters["delay_ms"] == 49
    assert again.clock.offset_us == 49 * 3_600_000_000
    kill(again)
    assert state.stat().st_size == short


def test_two_simulators_never_share_a_state(wall: WallClock, state: Path) -> None:
    simulator = start(wall, state)
    with pytest.raises(ConfigurationError, match="another simulator"):
        start(wall, state)
    kill(simulator)
    kill(start(wall, state))


def test_a_file_that_is_no_journal_is_refused_and_left_alone(wall: WallClock, state: Path) -> None:
    state.parent.mkdir()
    for text in ("my shopping list\n", '{"kind":"journal","version":99}\n', '{"a":1}\n'):
        state.write_text(text)
        with pytest.raises(ConfigurationError, match=state.name):
            start(wall, state)
        assert state.read_text() == text


def test_a_meter_that_left_the_fleet_keeps_its_past(wall: WallClock, state: Path) -> None:
    simulator = start(wall, state)
    simulator.device(SECOND).contact.remote_disconnect()
    wall.advance(1)
    history = tell_truth(simulator.device(SECOND)).history
    kill(simulator)
    kill(start(wall, state, make_fleet(1, 1, 1)))
    again = start(wall, state)
    assert tell_truth(again.device(SECOND)).history == history != ()
    kill(again)


def test_faults_of_the_fleet_file_hold_until_cleared_for_good(wall: WallClock, state: Path) -> None:
    document = FLEET.to_json()
    document["concentrators"][0]["faults"] = [{"fault": "down"}]
    document["concentrators"][0]["meters"][0]["faults"] = [{"fault": "busy"}]
    fleet = FleetSpec.from_json(json.loads(json.dumps(document)))
    simulator = start(wall, state, fleet)
    assert simulator.concentrators["DC001"].is_down
    assert simulator.device(FIRST).fault(FaultKind.BUSY) is not None
    simulator.clear_fault("DC001", None)
    simulator.clear_fault(FIRST, None)
    kill(simulator)
    again = start(wall, state, fleet)
    assert not again.concentrators["DC001"].is_down
    assert again.device(FIRST).fault(FaultKind.BUSY) is None
    kill(again)


def test_the_clock_never_goes_back_over_a_restart(wall: WallClock, state: Path) -> None:
    simulator = start(wall, state)
    simulator.set_offset(86_400)
    kill(simulator)
    again = start(wall, state)
    with pytest.raises(BadInput, match="only moves forward"):
        again.set_offset(0)
    again.set_offset(90_000)
    kill(again)


def test_the_clock_never_goes_behind_a_movement_of_an_earlier_run(
    wall: WallClock, state: Path
) -> None:
    simulator = start(wall, state)
    simulator.set_offset(100)
    wall.advance(50)
    simulator.device(FIRST).contact.remote_disconnect()
    wall.advance(1)
    moved_us = simulator.device(FIRST).contact.movements[0].business_us
    kill(simulator)
    again = start(wall, state)
    with pytest.raises(BadInput):
        again.set_offset((moved_us - wall.us) / 1_000_000 - 0.5)
    again.set_offset((moved_us - wall.us) / 1_000_000 + 0.5)
    kill(again)


def test_a_fault_of_all_meters_is_set_and_cleared_at_once(wall: WallClock, state: Path) -> None:
    simulator = start(wall, state)
    simulator.set_fault("*", Fault(FaultKind.BUSY))
    assert all(device.fault(FaultKind.BUSY) for device in simulator.devices.values())
    simulator.clear_fault("*", None)
    assert not any(device.faults for device in simulator.devices.values())
    kill(simulator)


def test_after_stop_nothing_is_written_any_more(wall: WallClock, state: Path) -> None:
    simulator = start(wall, state)
    asyncio.run(simulator.stop())
    before = state.read_bytes()
    asyncio.run(simulator.stop())
    with pytest.raises(InvariantViolated):
        simulator.device(FIRST).contact.remote_disconnect()
    assert simulator.device(FIRST).contact.pending is None
    assert state.read_bytes() == before


def test_a_stranger_is_not_found(wall: WallClock, state: Path) -> None:
    simulator = start(wall, state)
    with pytest.raises(NotFound):
        simulator.device("nobody")
    with pytest.raises(NotFound):
        simulator.set_fault("nobody", Fault(FaultKind.SILENT))
    kill(simulator)


def test_truth_survives_the_way_through_json(wall: WallClock, state: Path) -> None:
    simulator = start(wall, state)
    simulator.set_fault(FIRST, Fault(FaultKind.RELAY_STUCK))
    simulator.device(FIRST).contact.remote_disconnect()
    wall.advance(1)
    truth = tell_truth(simulator.device(FIRST))
    assert MeterTruth.from_json(json.loads(json.dumps(truth.to_json()))) == truth
    assert (truth.openings, truth.closings, truth.switch_count) == (1, 0, 1)
    kill(simulator)
