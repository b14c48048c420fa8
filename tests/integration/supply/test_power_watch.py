"""The last net: nobody stays off whom no restraint holds off and no order brings back."""

from __future__ import annotations

from typing import Any

from headend.domain.supply import Restraint, SupplyAction
from headend.testing.meters import MeterFault

OFF = SupplyAction.DISCONNECT


async def cut_and_cleared(street: Any, desk: Any) -> Any:
    """Return a home that we cut and whose restraint went without anybody asking for power."""
    home = street.home()
    await desk.ask(home, OFF)
    await desk.work()
    async with desk.store.transaction() as uow:
        await uow.supply.lift_restraint(
            home.usage_point_id, Restraint.ARREARS, lifted_by="test", at=desk.clock.now()
        )
    return home


async def test_who_is_off_without_a_reason_gets_power_back(street: Any, desk: Any) -> None:
    home = await cut_and_cleared(street, desk)
    assert await desk.watch.sweep() == 1
    await desk.work()
    assert home.meter.output_state
    assert await desk.watch.sweep() == 0


async def test_what_stands_against_it_becomes_a_case_until_it_is_gone(
    street: Any, desk: Any
) -> None:
    home = await cut_and_cleared(street, desk)
    street.run("update transformer_area set works_permitted = true")
    assert await desk.watch.sweep() == 0
    assert street.cases() == ["off_without_restraint"]
    street.run("update transformer_area set works_permitted = false")
    assert await desk.watch.sweep() == 1
    await desk.work()
    assert home.meter.output_state
    assert street.cases() == []


async def test_a_meter_heard_again_takes_its_order_back_from_the_crew(
    street: Any, desk: Any
) -> None:
    home = street.home()
    await desk.ask(home, OFF)
    await desk.work()
    async with desk.store.transaction() as uow:
        order = await desk.control.clear_arrears(
            uow, account_id=home.account_id, usage_point_id=home.usage_point_id, payment_id=1,
            actor="system",
        )  # fmt: skip
    home.meter.faults.add(MeterFault.SILENT)
    for _ in range(40):
        await desk.work()
        desk.clock.advance(minutes=1)
    assert street.order(order.order_id)["state"] == "with_field"
    home.meter.faults.clear()
    assert await desk.watch.sweep() == 0  # nothing was heard yet
    street.run(
        "update meter_contact set last_heard_at = %s where meter_id = %s",
        (desk.clock.now(), home.meter_id),
    )
    assert await desk.watch.sweep() == 1
    for _ in range(3):
        await desk.work()
        desk.clock.advance(minutes=1)
    assert street.order(order.order_id)["state"] == "completed"
    assert home.meter.output_state
