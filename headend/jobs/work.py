"""What each kind of work calls; the same for the job engine and for the shell."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Protocol

from headend.ports.runs import BusinessRun, RunKind
from headend.services.run_keeper import Work
from headend.services.schedule import parse_concentrator, parse_shard
from headend.services.scheduler import Scheduler, StandingWork


class Collecting(Protocol):
    async def collect_concentrator(self, concentrator_id: int, business_date: date) -> Any: ...


class Settling(Protocol):
    async def settle_day(self, business_date: date, *, shard: int, shards: int) -> Any: ...


class Deciding(Protocol):
    async def decide_shard(self, business_date: date, *, shard: int, shards: int) -> Any: ...

    async def decide_planned(self) -> int: ...


class Delivering(Protocol):
    async def deliver_due(self, limit: int = 500) -> int: ...


class JobServices(Protocol):
    """What jobs need of the container that bootstrap makes."""

    @property
    def scheduler(self) -> Scheduler: ...
    @property
    def collection(self) -> Collecting: ...
    @property
    def billing_run(self) -> Settling: ...
    @property
    def decisions(self) -> Deciding: ...
    @property
    def notices(self) -> Delivering: ...


def work_of(services: JobServices, kind: RunKind) -> Work:
    """Return what carries out runs of this kind and returns the run's record."""

    async def collect(run: BusinessRun) -> Mapping[str, Any]:
        result = await services.collection.collect_concentrator(
            parse_concentrator(run.key.scope), run.key.business_date
        )
        return as_record(result)

    async def settle(run: BusinessRun) -> Mapping[str, Any]:
        shard, shards = parse_shard(run.key.scope)
        settled_day = run.key.business_date - timedelta(days=1)
        result = await services.billing_run.settle_day(settled_day, shard=shard, shards=shards)
        return {"settled_day": settled_day.isoformat(), **as_record(result)}

    async def decide(run: BusinessRun) -> Mapping[str, Any]:
        shard, shards = parse_shard(run.key.scope)
        result = await services.decisions.decide_shard(
            run.key.business_date, shard=shard, shards=shards
        )
        return as_record(result)

    return {RunKind.COLLECT: collect, RunKind.SETTLE: settle, RunKind.DECIDE: decide}[kind]


async def do_standing_work(services: JobServices, work: StandingWork) -> int:
    """Do work that is due by rows of its own; return how much was done."""
    async with services.scheduler.standing(work):
        if work is StandingWork.DELIVER_NOTICES:
            return await services.notices.deliver_due()
        return await services.decisions.decide_planned()


def as_record(result: object) -> dict[str, Any]:
    """Turn a service's result into plain JSON values for the run's record."""
    as_detail = getattr(result, "as_detail", None)
    if as_detail is not None:
        plain: object = as_detail()
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        plain = dataclasses.asdict(result)
    else:
        plain = {"result": result}
    record: dict[str, Any] = json.loads(json.dumps(plain, default=str))
    return record
