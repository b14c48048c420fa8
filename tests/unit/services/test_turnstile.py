"""Who may use a wire next."""

import asyncio

import pytest

from headend.services.turnstile import Priority, Turnstile


async def _pass(
    turnstile: Turnstile, priority: Priority, name: str, log: list[str], leave: asyncio.Event
) -> None:
    async with turnstile.admit(priority):
        log.append(name)
        await leave.wait()


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_order_overtakes_bulk_work_that_waits_longer() -> None:
    turnstile, log, leave = Turnstile(), [], asyncio.Event()
    tasks = [
        asyncio.create_task(_pass(turnstile, priority, name, log, leave))
        for priority, name in [
            (Priority.BULK, "inside"),
            (Priority.BULK, "first bulk"),
            (Priority.ON_DEMAND, "on demand"),
            (Priority.BULK, "second bulk"),
            (Priority.ORDER, "order"),
        ]
    ]
    await _settle()
    assert log == ["inside"]
    leave.set()
    await asyncio.gather(*tasks)
    assert log == ["inside", "order", "on demand", "first bulk", "second bulk"]


async def test_the_last_of_several_places_is_kept_for_orders() -> None:
    turnstile, log, leave = Turnstile(places=3), [], asyncio.Event()
    tasks = [
        asyncio.create_task(_pass(turnstile, Priority.BULK, f"bulk {n}", log, leave))
        for n in range(4)
    ]
    await _settle()
    assert log == ["bulk 0", "bulk 1"]
    tasks.append(asyncio.create_task(_pass(turnstile, Priority.ORDER, "order", log, leave)))
    await _settle()
    assert log == ["bulk 0", "bulk 1", "order"]
    leave.set()
    await asyncio.gather(*tasks)
    assert len(log) == 5


@pytest.mark.parametrize("victim", range(3))
async def test_a_cancelled_waiter_never_blocks_the_others(victim: int) -> None:
    turnstile, log, leave = Turnstile(), [], asyncio.Event()
    inside = asyncio.create_task(_pass(turnstile, Priority.BULK, "inside", log, leave))
    waiting = [
        asyncio.create_task(_pass(turnstile, Priority.BULK, str(n), log, leave)) for n in range(3)
    ]
    await _settle()
    waiting[victim].cancel()
    leave.set()
    await asyncio.gather(inside, *waiting, return_exceptions=True)
    assert log == ["inside", *(str(n) for n in range(3) if n != victim)]


async def test_one_cancelled_in_the_instant_of_admission_passes_its_place_on() -> None:
    turnstile, log, leave = Turnstile(), [], asyncio.Event()
    leave.set()
    async with turnstile.admit(Priority.BULK):
        doomed = asyncio.create_task(_pass(turnstile, Priority.BULK, "doomed", log, leave))
        next_one = asyncio.create_task(_pass(turnstile, Priority.BULK, "next", log, leave))
        await _settle()
    doomed.cancel()
    await asyncio.gather(doomed, next_one, return_exceptions=True)
    assert log == ["next"]
