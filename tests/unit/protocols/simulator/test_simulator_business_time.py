"""The simulator's clock only moves forward, and remembers which offset held when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headend.domain.errors import BadInput
from protocols.simulator.business_time import US_PER_S, BusinessClock, to_instant, to_us

if TYPE_CHECKING:
    from conftest import WallClock


def test_runs_with_the_wall_clock_until_told_otherwise(
    wall: WallClock, clock: BusinessClock
) -> None:
    before = clock.now_us()
    wall.advance(2.5)
    assert clock.now_us() - before == 2_500_000


def test_a_jump_is_seen_at_once_and_never_undone(wall: WallClock, clock: BusinessClock) -> None:
    before = clock.now_us()
    clock.set_offset(86_400)
    assert clock.now_us() == before + 86_400 * US_PER_S
    with pytest.raises(BadInput, match="only moves forward"):
        clock.set_offset(3600)
    assert clock.offset_us == 86_400 * US_PER_S


def test_an_offset_nobody_has_seen_may_still_be_lowered(clock: BusinessClock) -> None:
    clock.set_offset(0)
    clock.set_offset(0)
    assert clock.offset_us == 0


def test_a_wall_clock_stepping_back_does_not_take_business_time_with_it(
    wall: WallClock, clock: BusinessClock
) -> None:
    told = clock.now_us()
    wall.advance(-30)
    assert clock.now_us() == told


def test_business_at_uses_the_offset_that_held_then(wall: WallClock, clock: BusinessClock) -> None:
    first = wall.us
    wall.advance(10)
    clock.set_offset(1000)
    jump = wall.us
    wall.advance(10)
    clock.set_offset(5000)
    assert clock.business_at(first) == first
    assert clock.business_at(jump) == jump + 1000 * US_PER_S
    assert clock.business_at(wall.us + 7) == wall.us + 7 + 5000 * US_PER_S


def test_instants_survive_the_way_to_microseconds_and_back(clock: BusinessClock) -> None:
    now = clock.now()
    assert to_instant(to_us(now)) == now
