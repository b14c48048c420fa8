"""The hold repository on a real PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headend.domain.errors import Conflict, NotFound
from headend.ports.holds import NewHold
from headend.ports.unit_of_work import Store
from headend.testing.clock import FakeClock
from rules.reasons import HoldKind


def hold_on(usage_point_id: int, clock: FakeClock, **changes: Any) -> NewHold:
    values: dict[str, Any] = {
        "usage_point_id": usage_point_id,
        "kind": HoldKind.LIFE_SUPPORT,
        "valid_from": clock.now(),
        "valid_to": None,
        "owner": "王医生",
        "evidence": "certificate 12",
    }
    return NewHold(**(values | changes))


async def test_a_hold_is_active_between_its_dates_until_somebody_ends_it(
    store: Store, district: Any, clock: FakeClock
) -> None:
    home = district.household()
    week = timedelta(days=7)
    async with store.transaction() as uow:
        hold = await uow.holds.place(
            hold_on(home.usage_point_id, clock, valid_to=clock.now() + week)
        )
        at = clock.now()
        active = [
            [h.hold_id for h in await uow.holds.list_active(instant)]
            for instant in (at - week, at, at + week - timedelta(seconds=1), at + week)
        ]
    assert active == [[], [hold.hold_id], [hold.hold_id], []]
    assert [hold.is_active(clock.now()), hold.is_active(clock.now() + week)] == [True, False]

    async with store.transaction() as uow:
        ended = await uow.holds.end(hold.hold_id, ended_by="li", at=clock.now())
        assert await uow.holds.list_active(clock.now()) == []
    assert (ended.ended_by, ended.ended_at, ended.is_active(clock.now())) == (
        "li",
        clock.now(),
        False,
    )


async def test_ending_twice_names_who_ended_it(
    store: Store, district: Any, clock: FakeClock
) -> None:
    home = district.household()
    async with store.transaction() as uow:
        hold = await uow.holds.place(hold_on(home.usage_point_id, clock))
        await uow.holds.end(hold.hold_id, ended_by="li", at=clock.now())
        with pytest.raises(Conflict, match="ended by li"):
            await uow.holds.end(hold.hold_id, ended_by="wu", at=clock.now())
        kept = await uow.holds.list_of_usage_point(home.usage_point_id)
    assert [(each.hold_id, each.ended_by) for each in kept] == [(hold.hold_id, "li")]


async def test_what_does_not_exist_is_named(store: Store, clock: FakeClock) -> None:
    async with store.transaction() as uow:
        with pytest.raises(NotFound, match="usage point with id 99"):
            await uow.holds.place(hold_on(99, clock))
        with pytest.raises(NotFound, match="'UP9'"):
            await uow.holds.usage_point_of("UP9")
        with pytest.raises(NotFound, match="hold 5"):
            await uow.holds.end(5, ended_by="li", at=clock.now())
