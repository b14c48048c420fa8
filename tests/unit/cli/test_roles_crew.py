"""Endless tasks beside a block: nothing ends silently, and the end itself is bounded."""

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from headend import roles
from headend.domain.errors import InvariantViolated, MeterUnreachable, StorageUnavailable
from headend.roles import _Crew
from headend.services.business_clock import BusinessClock


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _crash(error: Exception) -> None:
    raise error


async def _at_once() -> None:
    return


async def _beside(*tasks: Coroutine[Any, Any, None]) -> None:
    """Run a block that waits for ever beside the tasks."""
    async with _Crew() as crew:
        for number, task in enumerate(tasks):
            crew.start(f"task {number}", task)
        await _for_ever()


async def test_a_block_that_ends_stops_its_tasks() -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await _for_ever()
        finally:
            seen.append("cleaned up")

    async with _Crew() as crew:
        crew.start("worker", work())
        await asyncio.sleep(0)
    assert seen == ["cleaned up"]


async def test_a_crash_ends_the_block_with_its_error() -> None:
    with pytest.raises(MeterUnreachable, match="gone"):
        await _beside(_crash(MeterUnreachable("gone")))


async def test_a_task_that_ends_by_itself_is_a_fault() -> None:
    with pytest.raises(InvariantViolated, match="the task 0 ended by itself"):
        await _beside(_at_once())


async def test_the_first_crash_counts_and_the_others_are_stopped() -> None:
    stopped = asyncio.Event()

    async def work() -> None:
        try:
            await _for_ever()
        finally:
            stopped.set()

    with pytest.raises(MeterUnreachable, match="first"):
        await _beside(work(), _crash(MeterUnreachable("first")), _crash(MeterUnreachable("second")))
    assert stopped.is_set()


async def test_after_a_crash_the_caller_is_not_left_cancelled() -> None:
    async def run() -> str:
        try:
            await _beside(_crash(MeterUnreachable("gone")))
        except MeterUnreachable:
            await asyncio.sleep(0)
            return "went on"
        return "not reached"

    task = asyncio.create_task(run())
    assert await task == "went on"
    assert task.cancelling() == 0


async def test_being_cancelled_from_outside_stays_a_cancellation() -> None:
    begun = asyncio.Event()

    async def run() -> None:
        async with _Crew() as crew:
            crew.start("worker", _for_ever())
            begun.set()
            await _for_ever()

    task = asyncio.create_task(run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_passes() -> None:
    async def run() -> None:
        async with _Crew() as crew:
            crew.start("worker", _for_ever())
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await run()


async def test_told_to_stop_a_task_may_end() -> None:
    async with _Crew() as crew:
        crew.start("worker", _for_ever())
        crew.tell_to_stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_a_task_that_clings_on_is_cut_off_and_then_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roles, "STOP_S", 0.01)
    monkeypatch.setattr(roles, "CUT_OFF_S", 0.01)
    told = 0
    released = asyncio.Event()

    async def cling() -> None:
        nonlocal told
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                told += 1

    async with _Crew() as crew:
        crew.start("stubborn", cling())
        await asyncio.sleep(0)
    assert told == 2
    released.set()


async def test_the_clock_is_followed_through_a_restart_of_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roles, "CLOCK_PAUSE_S", 0.0)
    tries: list[int] = []

    class Clock:
        async def follow(self) -> None:
            tries.append(len(tries))
            if len(tries) < 3:
                raise StorageUnavailable("the database is away")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await roles._follow_clock(cast(BusinessClock, Clock()))
    assert tries == [0, 1, 2]
