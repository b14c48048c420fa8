"""From an order to a contact that was seen: the dispatcher on a real database and fake meters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headend.domain.errors import Conflict, Preempted
from headend.domain.supply import (
    OrderState,
    SupplyAction,
)
from headend.ports import MeterAccess
from headend.services.turnstile import Priority
from headend.testing.meters import FakeMeterAdapter, MeterFault
from rules.governor import GovernorLimits

OFF, ON = SupplyAction.DISCONNECT, SupplyAction.RECONNECT


async def cut(desk: Any, home: Any) -> Any:
    order = await desk.ask(home, OFF)
    await desk.work()
    return order


async def test_a_disconnect_is_carried_out_and_seen(street: Any, desk: Any) -> None:
    home = street.home()
    order = await cut(desk, home)
    assert street.moves(order.order_id) == [
        "requested", "scheduled", "queued", "sending", "verifying", "completed",
    ]  # fmt: skip
    stored = street.order(order.order_id)
    assert stored["evidence_grade"] == 2
    assert stored["evidence"]["contact"]["output_state"] is False
    assert not home.meter.output_state
    assert street.restraints(home) == ["arrears"]
    assert street.state(home) == "disconnected"
    assert [done.order_id for done in desk.aftermath.switched_orders] == [order.order_id]


async def test_clearing_arrears_gets_power_back_with_proof(street: Any, desk: Any) -> None:
    home = street.home()
    await cut(desk, home)
    street.set_balance(home, 100)
    async with desk.store.transaction() as uow:
        order = await desk.control.clear_arrears(
            uow,
            account_id=home.account_id,
            usage_point_id=home.usage_point_id,
            payment_id=7,
            actor="system",
        )
    assert order is not None
    assert order.state is OrderState.SCHEDULED
    assert order.deadline_at is not None
    await desk.work()
    assert street.order(order.order_id)["state"] == "completed"
    assert street.order(order.order_id)["evidence_grade"] == 3  # load seen
    assert home.meter.output_state
    assert street.restraints(home) == []
    assert street.state(home) == "connected"


async def test_a_payment_cancels_an_unsent_disconnect(street: Any, desk: Any) -> None:
    home = street.home()
    order = await desk.ask(home, OFF)
    street.set_balance(home, 100)
    async with desk.store.transaction() as uow:
        assert (
            await desk.control.clear_arrears(
                uow, account_id=home.account_id, usage_point_id=home.usage_point_id,
                payment_id=1, actor="system",
            )
            is None
        )  # fmt: skip
    assert await desk.work() == 0
    assert street.order(order.order_id)["state"] == "cancelled"
    assert home.meter.output_state


async def test_a_payment_behind_a_sent_disconnect_ends_with_power_on(
    street: Any, desk: Any, adapter: FakeMeterAdapter
) -> None:
    home = street.home()

    async def decide(uow: Any, order: Any) -> None:
        if order.action is OFF:
            await desk.control.clear_arrears(
                uow, account_id=home.account_id, usage_point_id=home.usage_point_id,
                payment_id=None, actor="system",
            )  # fmt: skip

    desk.aftermath.on_switched = decide
    successor = []
    home.meter.faults.add(MeterFault.SWITCH_LOST)
    first = await cut(desk, home)
    assert street.order(first.order_id)["state"] == "outcome_unknown"
    street.set_balance(home, 100)
    async with desk.store.transaction() as uow:
        successor.append(
            await desk.control.clear_arrears(
                uow, account_id=home.account_id, usage_point_id=home.usage_point_id,
                payment_id=2, actor="system",
            )
        )  # fmt: skip
    assert successor[0].state is OrderState.SCHEDULED
    assert await desk.work() == 1  # the read-back; the reconnect waits for that outcome
    # The contact had not moved: nothing is sent again, the reconnect takes its place.
    assert street.order(first.order_id)["state"] == "superseded"
    await desk.work()
    assert street.order(successor[0].order_id)["state"] == "completed"
    assert home.meter.output_state


async def test_the_guard_refuses_again_at_send(street: Any, desk: Any) -> None:
    home = street.home()
    order = await desk.ask(home, OFF)
    street.run(
        "insert into hold (usage_point_id, kind, valid_from, owner, evidence)"
        " values (%s, 'life_support', %s, 'o', 'e')",
        (home.usage_point_id, desk.clock.now()),
    )
    await desk.work()
    assert street.moves(order.order_id) == ["requested", "scheduled", "refused"]
    assert street.order(order.order_id)["refusal_codes"] == ["life_support"]
    assert home.meter.output_state


async def test_the_guard_looks_a_last_time_in_the_session(
    street: Any, desk: Any, adapter: FakeMeterAdapter
) -> None:
    home = street.home()
    order = await desk.ask(home, OFF)

    def pay_when_the_relay_is_read(_: int, request: str) -> None:
        if request == "relay":
            street.set_balance(home, 100)

    adapter.before_request = pay_when_the_relay_is_read
    await desk.work()
    stored = street.order(order.order_id)
    assert stored["state"] == "refused"
    assert stored["refusal_codes"] == ["balance_not_below_threshold"]
    assert "switch disconnect" not in adapter.asked(home.number)
    assert home.meter.output_state


async def test_another_device_is_never_switched(
    street: Any, desk: Any, adapter: FakeMeterAdapter
) -> None:
    home = street.home()
    home.meter.identity = street.home().meter.identity
    order = await cut(desk, home)
    stored = street.order(order.order_id)
    assert stored["state"] == "refused"
    assert stored["refusal_codes"] == ["identity_mismatch"]
    assert street.cases() == ["identity_mismatch"]
    assert "switch disconnect" not in adapter.asked(home.number)


async def test_an_unanswered_command_is_read_back_before_anything_is_sent_again(
    street: Any, desk: Any, adapter: FakeMeterAdapter
) -> None:
    home = street.home()
    home.meter.faults.add(MeterFault.SWITCH_UNANSWERED)
    order = await cut(desk, home)
    assert street.state(home) == "unknown"
    await desk.work()
    assert street.order(order.order_id)["state"] == "completed"
    assert adapter.asked(home.number).count("switch disconnect") == 1
    assert street.order(order.order_id)["evidence"]["command_sent"] is False
    assert street.restraints(home) == ["arrears"]


async def test_a_relay_that_stays_gets_three_commands_and_then_a_case(
    street: Any, desk: Any, adapter: FakeMeterAdapter
) -> None:
    home = street.home()
    home.meter.faults.add(MeterFault.CONTACT_STUCK)
    order = await desk.ask(home, OFF)
    for _ in range(6):
        await desk.work()
        desk.clock.advance(seconds=40)
    assert street.order(order.order_id)["state"] == "failed"
    assert adapter.asked(home.number).count("switch disconnect") == 3
    assert street.cases() == ["relay_did_not_move"]
    assert street.state(home) == "connected"


async def test_an_unreachable_reconnect_goes_to_the_field_after_thirty_minutes(
    street: Any, desk: Any
) -> None:
    home = street.home()
    await cut(desk, home)
    street.set_balance(home, 100)
    async with desk.store.transaction() as uow:
        order = await desk.control.clear_arrears(
            uow, account_id=home.account_id, usage_point_id=home.usage_point_id, payment_id=3,
            actor="system",
        )  # fmt: skip
    home.meter.faults.add(MeterFault.SILENT)
    for _ in range(40):
        await desk.work()
        desk.clock.advance(minutes=1)
    assert street.order(order.order_id)["state"] == "with_field"
    assert street.cases() == ["not_reached"]
    assert [each.order_id for each in desk.aftermath.field_orders] == [order.order_id]


async def test_above_a_limit_orders_wait_for_two_people(street: Any, make_desk: Any) -> None:
    desk = make_desk(limits=GovernorLimits(area=1))
    first, second = street.home(), street.home()
    await cut(desk, first)
    order = await desk.ask(second, OFF)
    assert order.state is OrderState.QUARANTINED
    assert await desk.work() == 0
    for person, state in (("Li", "quarantined"), ("li ", "quarantined"), ("Wang", "scheduled")):
        async with desk.store.transaction() as uow:
            order = await desk.control.release(uow, order.order_id, released_by=person)
        assert order.state == state
    await desk.work()
    assert street.order(order.order_id)["state"] == "completed"


async def test_the_stop_switch_stops_disconnects_and_never_a_reconnect(
    street: Any, desk: Any
) -> None:
    off, waiting = street.home(), street.home()
    await cut(desk, off)
    order = await desk.ask(waiting, OFF)
    async with desk.store.transaction() as uow:
        await desk.control.set_stop_switch(
            uow, stopped=True, changed_by="dispatch desk", reason="storm"
        )
        back = await desk.control.clear_arrears(
            uow, account_id=off.account_id, usage_point_id=off.usage_point_id, payment_id=4,
            actor="system",
        )  # fmt: skip
    await desk.work()
    assert street.order(order.order_id)["refusal_codes"] == ["stop_switch_on"]
    assert street.order(back.order_id)["state"] == "completed"
    assert waiting.meter.output_state
    assert off.meter.output_state


async def test_two_processes_never_share_a_link_or_an_order(
    street: Any, make_desk: Any, adapter: FakeMeterAdapter
) -> None:
    one, two = make_desk("one"), make_desk("two")
    first, second = street.home(), street.home()
    await one.ask(first, OFF)
    await one.work()
    order = await one.ask(second, OFF)
    assert await two.work() == 0  # the link is in the other's hands
    await one.links.close()
    assert await two.work() == 1
    assert street.order(order.order_id)["state"] == "completed"
    assert adapter.asked(second.number).count("switch disconnect") == 1


async def test_a_dead_senders_order_is_read_back_by_the_next_process(
    street: Any, make_desk: Any, adapter: FakeMeterAdapter
) -> None:
    dead, heir = make_desk("dead"), make_desk("heir")
    home = street.home()
    order = await dead.ask(home, OFF)
    async with dead.store.transaction() as uow:
        (claimed,) = await uow.orders.claim_due(
            at=dead.clock.now(), holder="dead", lease_s=30, limit=1
        )
        await dead.dispatcher._admit(uow, claimed)
    assert street.order(order.order_id)["state"] == "sending"
    assert await heir.work() == 0
    street.run("update supply_order set lease_until = clock_timestamp() - interval '1 second'")
    assert await heir.work() == 1
    assert adapter.asked(home.number).count("switch disconnect") == 0  # only looked
    await heir.work()
    assert street.order(order.order_id)["state"] == "completed"
    assert "outcome_unknown" in street.moves(order.order_id)


async def test_the_same_key_gets_the_first_result_and_another_request_a_conflict(
    street: Any, desk: Any
) -> None:
    home, other = street.home(), street.home()
    first = await desk.ask(home, OFF, key="k")
    assert (await desk.ask(home, OFF, key="k")).order_id == first.order_id
    with pytest.raises(Conflict, match="belongs to order"):
        await desk.ask(other, OFF, key="k")


async def test_bulk_work_on_the_same_meter_gives_way_to_an_order(
    street: Any, desk: Any, adapter: FakeMeterAdapter
) -> None:
    home = street.home()
    order = await desk.ask(home, OFF)
    access = MeterAccess(meter_id=home.meter_id, address=home.number)

    async def read_on_and_on() -> None:
        async with desk.links.session(1, access, Priority.BULK) as session:
            await desk.dispatcher.pump()
            while True:
                await session.read_clock()
                await asyncio.sleep(0)

    with pytest.raises(Preempted):
        await read_on_and_on()
    await desk.dispatcher.drain()
    assert street.order(order.order_id)["state"] == "completed"
