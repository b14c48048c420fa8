"""The contact: modes, delay in real time, faults, and a history that is recorded first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from headend.domain.errors import BadInput
from headend.domain.supply import ControlState
from protocols.simulator.business_time import US_PER_S, BusinessClock
from protocols.simulator.contact import (
    TRANSITIONS_OF_MODE,
    Cause,
    CommandForbidden,
    CommandRefused,
    Contact,
    RelayFault,
)

if TYPE_CHECKING:
    from conftest import WallClock

DIRECT_MODES = [mode for mode, letters in TRANSITIONS_OF_MODE.items() if "a" in letters]
ARMING_MODES = [mode for mode, letters in TRANSITIONS_OF_MODE.items() if "d" in letters]


def test_a_new_contact_is_closed_and_has_no_history(clock: BusinessClock) -> None:
    contact = Contact(clock)
    assert contact.closed
    assert contact.control_state is ControlState.CONNECTED
    assert contact.movements == ()


def test_the_contact_follows_its_command_after_the_relay_delay(
    wall: WallClock, clock: BusinessClock
) -> None:
    contact = Contact(clock, relay_delay_ms=200)
    contact.remote_disconnect()
    assert contact.control_state is ControlState.DISCONNECTED
    assert contact.closed
    wall.advance(0.199999)
    assert contact.closed
    wall.advance(0.000001)
    assert not contact.closed
    contact.remote_reconnect()
    assert not contact.closed
    wall.advance(0.2)
    assert contact.closed
    assert [m.closed for m in contact.movements] == [False, True]


def test_a_movement_is_dated_when_it_was_due_not_when_it_was_noticed(
    wall: WallClock, clock: BusinessClock
) -> None:
    contact = Contact(clock, relay_delay_ms=200)
    ordered = wall.us
    contact.remote_disconnect()
    wall.advance(5)
    clock.set_offset(86_400)
    assert contact.movements[0].real_us == ordered + 200_000
    assert contact.movements[0].business_us == ordered + 200_000


def test_a_jump_of_business_time_does_not_hurry_the_relay(
    wall: WallClock, clock: BusinessClock
) -> None:
    contact = Contact(clock, relay_delay_ms=200)
    contact.remote_disconnect()
    clock.set_offset(7 * 86_400)
    assert contact.closed
    wall.advance(0.2)
    assert not contact.closed
    assert contact.movements[0].business_us == wall.us + 7 * 86_400 * US_PER_S


@pytest.mark.parametrize("mode", DIRECT_MODES)
def test_direct_modes_close_on_remote_reconnect(clock: BusinessClock, mode: int) -> None:
    contact = Contact(clock, control_mode=mode, relay_delay_ms=0)
    contact.remote_disconnect()
    assert not contact.closed
    contact.remote_reconnect()
    assert contact.closed


@pytest.mark.parametrize("mode", ARMING_MODES)
def test_arming_modes_wait_for_the_button(clock: BusinessClock, mode: int) -> None:
    contact = Contact(clock, control_mode=mode, relay_delay_ms=0)
    contact.remote_disconnect()
    assert contact.press_button() is False
    contact.remote_reconnect()
    assert contact.control_state is ControlState.READY_FOR_RECONNECTION
    assert not contact.closed
    assert contact.press_button() is True
    assert contact.closed
    assert contact.movements[-1].cause is Cause.MANUAL


def test_an_armed_contact_is_disarmed_by_remote_disconnect(clock: BusinessClock) -> None:
    contact = Contact(clock, control_mode=3, relay_delay_ms=0)
    contact.remote_disconnect()
    contact.remote_reconnect()
    contact.remote_disconnect()
    assert contact.control_state is ControlState.DISCONNECTED
    assert contact.press_button() is False
    assert len(contact.movements) == 1


def test_mode_zero_never_opens(clock: BusinessClock) -> None:
    contact = Contact(clock, control_mode=0, relay_delay_ms=0)
    for command in (contact.remote_disconnect, contact.remote_reconnect, contact.local_disconnect):
        with pytest.raises(CommandForbidden):
            command()
    assert contact.press_button() is False
    assert contact.closed
    assert contact.control_state is ControlState.CONNECTED


@pytest.mark.parametrize("mode", range(1, 7))
def test_the_button_opens_only_where_the_mode_lets_it(clock: BusinessClock, mode: int) -> None:
    contact = Contact(clock, control_mode=mode, relay_delay_ms=0)
    assert contact.press_button() is ("f" in TRANSITIONS_OF_MODE[mode])
    assert contact.closed is ("f" not in TRANSITIONS_OF_MODE[mode])


def test_a_local_trip_leaves_the_contact_ready_and_not_remotely_closable(
    clock: BusinessClock,
) -> None:
    contact = Contact(clock, control_mode=4, relay_delay_ms=0)
    contact.local_disconnect()
    assert contact.control_state is ControlState.READY_FOR_RECONNECTION
    contact.remote_reconnect()
    assert not contact.closed
    assert contact.press_button()
    assert contact.closed


def test_a_stuck_relay_is_believed_by_the_meter_but_does_not_move(clock: BusinessClock) -> None:
    contact = Contact(clock, relay_delay_ms=0)
    contact.remote_disconnect(fault=RelayFault.STUCK)
    assert contact.control_state is ControlState.DISCONNECTED
    assert contact.closed
    assert contact.movements == ()


def test_a_relay_stuck_open_is_driven_again_by_the_next_reconnect(clock: BusinessClock) -> None:
    contact = Contact(clock, relay_delay_ms=0)
    contact.remote_disconnect()
    contact.remote_reconnect(fault=RelayFault.STUCK)
    assert contact.control_state is ControlState.CONNECTED
    assert not contact.closed
    contact.remote_reconnect()
    assert contact.closed


def test_an_ignored_command_changes_nothing_and_a_refusing_relay_says_so(
    clock: BusinessClock,
) -> None:
    contact = Contact(clock, relay_delay_ms=0)
    contact.remote_disconnect(fault=RelayFault.IGNORED)
    with pytest.raises(CommandRefused):
        contact.remote_disconnect(fault=RelayFault.REFUSES)
    assert contact.closed
    assert contact.control_state is ControlState.CONNECTED


def test_a_later_command_overtakes_a_movement_that_has_not_happened(
    wall: WallClock, clock: BusinessClock
) -> None:
    contact = Contact(clock, relay_delay_ms=200)
    contact.remote_disconnect()
    wall.advance(0.1)
    contact.remote_reconnect()
    wall.advance(1)
    assert contact.closed
    assert contact.movements == ()


def test_switching_twice_the_same_way_moves_once(clock: BusinessClock) -> None:
    contact = Contact(clock, relay_delay_ms=0)
    contact.remote_reconnect()
    contact.remote_disconnect()
    contact.remote_disconnect()
    assert len(contact.movements) == 1


def test_every_change_is_recorded_before_it_can_be_seen(
    wall: WallClock, clock: BusinessClock
) -> None:
    seen: list[tuple[str, int]] = []

    def record(kind: str, _values: Any) -> None:
        seen.append((kind, len(contact._movements)))

    contact = Contact(clock, relay_delay_ms=200, record=record)
    contact.remote_disconnect()
    assert seen == [("command", 0)]
    wall.advance(1)
    assert not contact.closed
    assert seen == [("command", 0), ("moved", 0)]


def test_a_recorder_that_fails_leaves_the_contact_as_it_was(clock: BusinessClock) -> None:
    def record(_kind: str, _values: Any) -> None:
        raise OSError("disk full")

    contact = Contact(clock, relay_delay_ms=0, record=record)
    with pytest.raises(OSError, match="disk full"):
        contact.remote_disconnect()
    assert contact.closed
    assert contact.control_state is ControlState.CONNECTED


def test_replaying_the_records_rebuilds_the_contact(wall: WallClock, clock: BusinessClock) -> None:
    records: list[tuple[str, dict[str, Any]]] = []
    contact = Contact(
        clock, control_mode=3, record=lambda kind, values: records.append((kind, dict(values)))
    )
    contact.remote_disconnect()
    wall.advance(1)
    contact.remote_reconnect()
    assert not contact.closed
    contact.press_button()

    again = Contact(clock, control_mode=3)
    for kind, values in records:
        again.replay(kind, values)
    assert again.movements == contact.movements
    assert again.pending == contact.pending
    assert again.control_state is contact.control_state
    wall.advance(1)
    assert again.closed

    from_snapshot = Contact(clock, control_mode=3)
    for kind, values in contact.snapshot():
        from_snapshot.replay(kind, values)
    assert from_snapshot.movements == contact.movements
    assert from_snapshot.control_state is contact.control_state


def test_closed_time_is_exact_on_both_sides_of_each_movement(
    wall: WallClock, clock: BusinessClock
) -> None:
    contact = Contact(clock, relay_delay_ms=0)
    start = wall.us
    wall.advance(10)
    contact.remote_disconnect()
    wall.advance(5)
    contact.remote_reconnect()
    wall.advance(20)
    offsets_s = [0, 4, 10, 12, 15, 16, 35]
    at_us = np.asarray([start + s * US_PER_S for s in offsets_s], dtype=np.int64)
    closed_s = (contact.closed_us_until(at_us) - contact.closed_us_until(at_us[:1])) / US_PER_S
    assert closed_s.tolist() == [0, 4, 10, 10, 10, 11, 30]


@pytest.mark.parametrize(("mode", "delay_ms"), [(7, 200), (-1, 200), (4, -1)])
def test_impossible_settings_are_refused(clock: BusinessClock, mode: int, delay_ms: int) -> None:
    with pytest.raises(BadInput):
        Contact(clock, control_mode=mode, relay_delay_ms=delay_ms)
