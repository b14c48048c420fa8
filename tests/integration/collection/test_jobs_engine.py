"""Scheduler and job engine: when work starts, what it waits for, and what a kill leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from headend.domain.errors import InvariantViolated, MeterUnreachable
from headend.jobs.engine import JobEngine, open_engine
from headend.jobs.work import work_of
from headend.ports.runs import RunKey, RunKind, RunState
from headend.ports.unit_of_work import UnitOfWork
from headend.services.run_keeper import RunKeeper
from headend.services.scheduler import Scheduler, StandingWork
from headend.testing.clock import FakeClock

TODAY = date(2026, 3, 5)
MIDNIGHT = datetime(2026, 3, 4, 16, 0, tzinfo=UTC)


class FakeDue:
    """A service with one thing due."""

    def __init__(self) -> None:
        self.due_at: datetime | None = None

    async def next_due(self, uow: UnitOfWork) -> datetime | None:
        return self.due_at


@dataclass
class FakeServices:
    """Notes what jobs ask for; ``faults`` raises once for a call's name."""

    scheduler: Scheduler
    due_notices: FakeDue
    due_decisions: FakeDue
    calls: list[str] = field(default_factory=list)
    faults: dict[str, BaseException] = field(default_factory=dict)

    @property
    def collection(self) -> FakeServices:
        return self

    billing_run = decisions = notices = collection

    def _call(self, name: str) -> dict[str, Any]:
        self.calls.append(name)
        if name in self.faults:
            raise self.faults.pop(name)
        return {"name": name}

    async def collect_concentrator(self, concentrator_id: int, business_date: date) -> Any:
        return self._call(f"collect {concentrator_id} {business_date}")

    async def settle_day(self, business_date: date, *, shard: int, shards: int) -> Any:
        return self._call(f"settle {business_date} {shard}/{shards}")

    async def decide_shard(self, business_date: date, *, shard: int, shards: int) -> Any:
        return self._call(f"decide {business_date} {shard}/{shards}")

    async def decide_planned(self) -> int:
        self._call("decide_planned")
        self.due_decisions.due_at = None
        return 1

    async def deliver_due(self, limit: int = 500) -> int:
        self._call("deliver_due")
        self.due_notices.due_at = None
        return 1


def services_of(store: Any, clock: FakeClock, process: str) -> FakeServices:
    notices, decisions = FakeDue(), FakeDue()
    keeper = RunKeeper(store, clock, process=process)
    scheduler = Scheduler(store, clock, keeper, notices=notices, decisions=decisions)
    return FakeServices(scheduler, notices, decisions)


@pytest.fixture
def services(fleet: Any) -> FakeServices:
    fleet.clock.instant = MIDNIGHT
    return services_of(fleet.store, fleet.clock, "here/1/aaaa")


@pytest.fixture
async def engine(database_url: str, services: FakeServices) -> AsyncIterator[JobEngine]:
    async with open_engine(database_url, services, process="here/1/aaaa") as engine:
        yield engine


async def states(fleet: Any, day: date = TODAY) -> dict[str, str]:
    async with fleet.store.transaction() as uow:
        runs = await uow.runs.runs_of(day)
    return {f"{run.key.kind} {run.key.scope}": run.state for run in runs}


async def test_a_day_goes_its_rhythm(fleet: Any, services: FakeServices, engine: JobEngine) -> None:
    await engine.work_through()
    assert services.calls == []
    assert await services.scheduler.next_due() == MIDNIGHT + timedelta(minutes=5)
    one, two = fleet.concentrator_ids
    expected = [
        [f"collect {one} {TODAY}", f"collect {two} {TODAY}"],
        [f"settle {TODAY - timedelta(days=1)} 0/1"],
        [f"decide {TODAY} 0/1"],
        [
            f"collect {one} {TODAY + timedelta(days=1)}",
            f"collect {two} {TODAY + timedelta(days=1)}",
        ],
    ]
    for calls in expected:
        assert await services.scheduler.drained()
        assert await fleet.clock.jump_to(await services.scheduler.next_due())
        assert not await services.scheduler.drained()
        services.calls.clear()
        await engine.work_through()
        assert sorted(services.calls) == calls
    assert set((await states(fleet)).values()) == {RunState.DONE}


async def test_the_record_of_a_run_says_what_it_did(
    fleet: Any, services: FakeServices, engine: JobEngine
) -> None:
    fleet.clock.advance(hours=1)
    await engine.work_through()
    async with fleet.store.transaction() as uow:
        run = await uow.runs.get(RunKey(RunKind.SETTLE, TODAY, "shard/0/1"))
    assert run.detail == {
        "settled_day": "2026-03-04",
        "result": {"name": "settle 2026-03-04 0/1"},
    }
    assert (run.attempts, run.started_at, run.finished_at) == (
        1,
        fleet.clock.now(),
        fleet.clock.now(),
    )


async def test_settlement_waits_for_collection_and_decisions_for_settlement_but_not_for_ever(
    fleet: Any, services: FakeServices, engine: JobEngine
) -> None:
    first = fleet.concentrator_ids[0]
    services.faults[f"collect {first} {TODAY}"] = MeterUnreachable("the link is down")
    fleet.clock.advance(hours=1)
    await engine.work_through()
    assert [call for call in services.calls if call.startswith("settle")] == []
    assert (await states(fleet))[f"collect concentrator/{first}"] == RunState.DUE
    assert not await services.scheduler.drained()
    # The failed run's pause is real time; until it is over, business time may pass its patience.
    fleet.clock.advance(hours=6)
    await engine.work_through()
    assert [call for call in services.calls if call.startswith("settle")] == [
        "settle 2026-03-04 0/1"
    ]
    fleet.clock.advance(hours=2)
    await engine.work_through()
    assert services.calls[-1] == f"decide {TODAY} 0/1"


async def test_each_day_is_settled_after_the_one_before(
    fleet: Any, services: FakeServices, engine: JobEngine
) -> None:
    await services.scheduler.plan()
    fleet.clock.advance(days=1, hours=2)
    await engine.work_through()
    settled = [call for call in services.calls if call.startswith("settle")]
    assert settled == ["settle 2026-03-04 0/1", "settle 2026-03-05 0/1"]


async def test_days_on_which_nothing_ran_are_settled_but_not_collected(
    fleet: Any, services: FakeServices, engine: JobEngine
) -> None:
    await services.scheduler.plan()
    fleet.clock.advance(days=4, hours=2)
    await engine.work_through()
    assert [call.split()[1] for call in services.calls if call.startswith("settle")] == [
        f"2026-03-0{day}" for day in (4, 5, 6, 7, 8)
    ]
    collected = {call.split()[2] for call in services.calls if call.startswith("collect")}
    assert collected == {"2026-03-05", "2026-03-06", "2026-03-09"}
    last_collected = max(
        place for place, call in enumerate(services.calls) if call.startswith("collect")
    )
    first_settled = min(
        place for place, call in enumerate(services.calls) if call.startswith("settle")
    )
    assert last_collected < first_settled, "what is missing is read before old days are settled"


async def test_notices_and_planned_disconnects_start_when_they_are_due(
    fleet: Any, services: FakeServices, engine: JobEngine
) -> None:
    services.due_notices.due_at = fleet.clock.now() + timedelta(minutes=1)
    services.due_decisions.due_at = fleet.clock.now() + timedelta(minutes=2)
    assert await services.scheduler.next_due() == services.due_notices.due_at
    for minutes, call in ((1, "deliver_due"), (1, "decide_planned")):
        await engine.work_through()
        assert call not in services.calls
        fleet.clock.advance(minutes=minutes)
        assert not await services.scheduler.drained()
        await engine.work_through()
        assert services.calls[-1] == call
    assert await services.scheduler.drained()


async def test_work_in_hand_keeps_the_clock_from_jumping(services: FakeServices) -> None:
    await services.scheduler.plan()
    assert await services.scheduler.drained()
    async with services.scheduler.standing(StandingWork.DELIVER_NOTICES):
        assert not await services.scheduler.drained()
    assert await services.scheduler.drained()


async def test_a_job_delivered_twice_is_done_once(fleet: Any, services: FakeServices) -> None:
    fleet.clock.advance(minutes=5)
    due = await services.scheduler.enqueue_due()
    key = due.runs[0].key
    assert not (await services.scheduler.enqueue_due()).runs, "a claimed run is not claimed again"
    work = work_of(services, RunKind.COLLECT)
    assert await services.scheduler.perform(key, work)
    assert not await services.scheduler.perform(key, work)
    assert len(services.calls) == 1


async def test_a_run_in_other_hands_is_left_alone(fleet: Any, services: FakeServices) -> None:
    fleet.clock.advance(minutes=5)
    key = (await services.scheduler.enqueue_due()).runs[0].key
    other = services_of(fleet.store, fleet.clock, "there/9/bbbb")
    tried: list[bool] = []

    async def work(_run: object) -> dict[str, Any]:
        tried.append(await other.scheduler.perform(key, work_of(other, RunKind.COLLECT)))
        return {}

    assert await services.scheduler.perform(key, work)
    assert (tried, other.calls) == ([False], [])


async def test_the_runs_of_a_killed_process_go_on_at_once_on_its_host(
    fleet: Any, database_url: str, services: FakeServices
) -> None:
    """What `kill -9` leaves: rows leased by a process that is no more, and a job being done."""
    fleet.clock.advance(minutes=5)
    started = asyncio.Event()

    async def hang(concentrator_id: int, business_date: date) -> None:
        started.set()
        await asyncio.Event().wait()

    services.collect_concentrator = hang  # type: ignore[method-assign]
    async with open_engine(database_url, services, process="here/1/aaaa") as engine:
        await engine.tick()
        key = RunKey(RunKind.COLLECT, TODAY, f"concentrator/{fleet.concentrator_ids[0]}")
        async with fleet.store.transaction() as uow:
            await uow.runs.start(key, at=fleet.clock.now(), holder="here/1/aaaa#1", lease_s=900)
    successor = services_of(fleet.store, fleet.clock, "here/1/cccc")
    async with open_engine(database_url, successor, process="here/1/cccc") as engine:
        assert (await engine.tick()).runs == (), "another process may still hold them"
        await engine._recover()
        await engine.work_through()
    assert len(successor.calls) == 2
    assert {state for name, state in (await states(fleet)).items() if "collect" in name} == {
        RunState.DONE
    }


async def test_workers_take_up_work_as_it_falls_due_and_stop_when_told(
    fleet: Any, services: FakeServices, engine: JobEngine
) -> None:
    done = asyncio.Event()
    settle = services.settle_day

    async def notice(business_date: date, *, shard: int, shards: int) -> Any:
        done.set()
        return await settle(business_date, shard=shard, shards=shards)

    services.settle_day = notice  # type: ignore[method-assign]
    running = [
        asyncio.create_task(engine.run_worker(concurrency=2)),
        asyncio.create_task(engine.run_scheduler()),
    ]
    try:
        fleet.clock.advance(hours=1, minutes=1)
        async with asyncio.timeout(20):
            await done.wait()
    finally:
        async with asyncio.timeout(5):
            for task in running:
                task.cancel()
            ended = await asyncio.gather(*running, return_exceptions=True)
    assert [type(end) for end in ended] == [asyncio.CancelledError, asyncio.CancelledError]
    assert sorted(services.calls)[-1] == "settle 2026-03-04 0/1"


async def test_a_process_that_lost_its_lease_cannot_finish_the_run(
    fleet: Any, services: FakeServices
) -> None:
    fleet.clock.advance(minutes=5)
    key = (await services.scheduler.enqueue_due()).runs[0].key

    async def lose(_run: object) -> dict[str, Any]:
        async with fleet.store.transaction() as uow:
            await uow.runs.release_held(list(await uow.runs.holders()))
            await uow.runs.start(key, at=fleet.clock.now(), holder="there/2/x#1", lease_s=60)
        return {}

    assert not await services.scheduler.perform(key, lose)
    async with fleet.store.transaction() as uow:
        run = await uow.runs.get(key)
    assert run.state is RunState.RUNNING


async def test_a_cancelled_run_is_due_again_at_once(fleet: Any, services: FakeServices) -> None:
    fleet.clock.advance(minutes=5)
    key = (await services.scheduler.enqueue_due()).runs[0].key

    async def stop(_run: object) -> dict[str, Any]:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await services.scheduler.perform(key, stop)
    assert [run.key for run in (await services.scheduler.enqueue_due()).runs] == [key]


async def test_a_defect_fails_the_run_and_a_person_gets_a_case(
    fleet: Any, services: FakeServices
) -> None:
    fleet.clock.advance(minutes=5)
    key = (await services.scheduler.enqueue_due()).runs[0].key

    async def break_down(_run: object) -> dict[str, Any]:
        raise InvariantViolated("entries do not balance")

    with pytest.raises(InvariantViolated):
        await services.scheduler.perform(key, break_down)
    async with fleet.store.transaction() as uow:
        run = await uow.runs.get(key)
        (case,) = await uow.cases.list_open()
    assert run.state is RunState.FAILED
    assert "entries do not balance" in run.detail["error"]
    assert (case.kind, case.subject_key) == ("run_failed", str(key))


async def test_new_concentrators_join_the_plan_and_nothing_is_planned_twice(
    fleet: Any, services: FakeServices
) -> None:
    assert await services.scheduler.plan() == 8
    assert await services.scheduler.plan() == 0
    await fleet.rows(
        "with l as (insert into link (endpoint) values ('fake+tcp://three') returning link_id)"
        " insert into concentrator (concentrator_no, link_id) select 'C9', link_id from l"
        " returning 1"
    )
    assert await services.scheduler.plan() == 2
