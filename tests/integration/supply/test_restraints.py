"""Why a contact stays open: restraints, whoever places and lifts them, and what is local."""

from __future__ import annotations

import asyncio
from typing import Any

from headend.domain.supply import (
    ControlState,
    OrderPurpose,
    OrderState,
    RelayReading,
    Restraint,
    SupplyAction,
)
from headend.ports import MeterAccess
from headend.services.restraints import Restraints
from headend.services.turnstile import Priority
from headend.testing.meters import FakeMeterAdapter
from rules.reasons import RefusalReason

OFF, ON = SupplyAction.DISCONNECT, SupplyAction.RECONNECT


async def cut(desk: Any, home: Any) -> Any:
    order = await desk.ask(home, OFF)
    await desk.work()
    return order


async def test_another_restraint_keeps_a_paid_account_off_and_says_who_lifts_it(
    street: Any, desk: Any
) -> None:
    home = street.home()
    await cut(desk, home)
    async with desk.store.transaction() as uow:
        await uow.supply.place_restraint(
            home.usage_point_id, Restraint.UNSAFE, placed_by="crew", evidence="wet",
            at=desk.clock.now(),
        )  # fmt: skip
        order = await desk.control.clear_arrears(
            uow, account_id=home.account_id, usage_point_id=home.usage_point_id, payment_id=8,
            actor="system",
        )  # fmt: skip
    assert order.state is OrderState.REFUSED
    assert order.refusal_codes == (RefusalReason.RESTRAINT_REMAINS,)
    (remaining,) = street.order(order.order_id)["evidence"]["remaining"]
    assert remaining["restraint"] == "unsafe"
    assert "inspector" in remaining["lifted_by_en"]
    await desk.work()
    assert not home.meter.output_state


async def test_safety_isolation_skips_arrears_tests_and_warns_of_life_support(
    street: Any, desk: Any
) -> None:
    home = street.home(balance_yuan=500)
    street.run(
        "insert into hold (usage_point_id, kind, valid_from, owner, evidence)"
        " values (%s, 'life_support', %s, 'o', 'e')",
        (home.usage_point_id, desk.clock.now()),
    )
    order = await desk.ask(home, OFF, purpose=OrderPurpose.SAFETY_ISOLATION)
    assert order.state is OrderState.SCHEDULED
    assert "life_support" in order.evidence["warnings"]
    await desk.work()
    assert street.restraints(home) == ["unsafe"]


async def test_an_opening_without_an_order_is_local_never_arrears(street: Any, desk: Any) -> None:
    home = street.home()
    home.meter.move_contact(closed=False, at=desk.clock.now())
    access = MeterAccess(meter_id=home.meter_id, address=home.number)
    async with desk.links.session(1, access, Priority.BULK) as session:
        relay = await session.read_relay()
    async with desk.store.transaction() as uow:
        placed = await uow.supply.record_supply_state(
            home.usage_point_id, home.meter_id, relay, source="collector", at=desk.clock.now()
        )
    assert placed is Restraint.LOCAL
    assert street.restraints(home) == ["local"]


async def test_the_last_two_restraints_lifted_at_once_still_get_power_back(
    street: Any, make_desk: Any
) -> None:
    desk = make_desk()
    home = street.home()
    await cut(desk, home)
    restraints = Restraints(store=desk.store, clock=desk.clock, supply_control=desk.control)
    await restraints.place(home.usage_point_id, Restraint.UNSAFE, actor="crew", evidence="wet")
    street.set_balance(home, 100)
    cleared, lifted = asyncio.Event(), asyncio.Event()

    async def pay() -> None:
        async with desk.store.transaction() as uow:
            await desk.control.clear_arrears(
                uow, account_id=home.account_id, usage_point_id=home.usage_point_id,
                payment_id=5, actor="system",
            )  # fmt: skip
            cleared.set()
            while not street.someone_waits_for_a_lock() and not lifted.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0)  # only the database knows who waits

    async def lift() -> None:
        await cleared.wait()
        await restraints.lift(
            home.usage_point_id, Restraint.UNSAFE, actor="crew", evidence="dry again"
        )
        lifted.set()

    await asyncio.gather(pay(), lift())
    await desk.work()
    assert street.restraints(home) == []
    assert home.meter.output_state


async def test_what_we_opened_ourselves_is_never_called_local(street: Any, desk: Any) -> None:
    home = street.home()
    await cut(desk, home)
    async with desk.store.transaction() as uow:
        await uow.supply.lift_restraint(
            home.usage_point_id, Restraint.ARREARS, lifted_by="test", at=desk.clock.now()
        )
    desk.clock.advance(minutes=1)
    relay = RelayReading(
        output_state=False, control_state=ControlState.DISCONNECTED, control_mode=4
    )
    async with desk.store.transaction() as uow:
        placed = await uow.supply.record_supply_state(
            home.usage_point_id, home.meter_id, relay, source="collector", at=desk.clock.now()
        )
    assert placed is None
    assert street.restraints(home) == []


async def test_nothing_closes_onto_a_restraint_placed_while_it_was_being_sent(
    street: Any, desk: Any, adapter: FakeMeterAdapter
) -> None:
    home = street.home()
    await cut(desk, home)
    street.set_balance(home, 100)
    async with desk.store.transaction() as uow:
        order = await desk.control.clear_arrears(
            uow, account_id=home.account_id, usage_point_id=home.usage_point_id, payment_id=6,
            actor="system",
        )  # fmt: skip

    def find_it_unsafe(_: int, request: str) -> None:
        if request == "relay":
            street.run(
                "insert into restraint (usage_point_id, kind, placed_at, placed_by, evidence)"
                " values (%s, 'unsafe', %s, 'crew', 'smoke') on conflict do nothing",
                (home.usage_point_id, desk.clock.now()),
            )

    adapter.before_request = find_it_unsafe
    await desk.work()
    assert street.order(order.order_id)["refusal_codes"] == ["restraint_remains"]
    assert "switch reconnect" not in adapter.asked(home.number)
    assert not home.meter.output_state
