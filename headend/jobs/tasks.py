"""The tasks that the job engine carries: thin, since each only names work that services do.

A task of a run carries the run's key. Whether the run is still to be done is decided by its row,
so that a job delivered twice, or long after its time, does nothing.
"""

from __future__ import annotations

from datetime import date

from procrastinate import App, JobContext
from procrastinate.connector import BaseConnector

from headend.jobs.work import JobServices, do_standing_work, work_of
from headend.ports.runs import RunKey, RunKind
from headend.services.scheduler import StandingWork

SERVICES = "services"

# One queue for each role, so that hosts can differ by what they work on.
COLLECTION_QUEUE = "collection"
WORK_QUEUE = "work"
EVERY_QUEUE = (COLLECTION_QUEUE, WORK_QUEUE)

TASK_OF_RUN = {
    RunKind.COLLECT: "collect_concentrator",
    RunKind.SETTLE: "settle_shard",
    RunKind.DECIDE: "decide_shard",
}


def make_app(connector: BaseConnector) -> App:
    """Return a job engine application that knows every task."""
    app = App(connector=connector)
    for name, queue, function in (
        (TASK_OF_RUN[RunKind.COLLECT], COLLECTION_QUEUE, collect_concentrator),
        (TASK_OF_RUN[RunKind.SETTLE], WORK_QUEUE, settle_shard),
        (TASK_OF_RUN[RunKind.DECIDE], WORK_QUEUE, decide_shard),
        (StandingWork.DELIVER_NOTICES.value, WORK_QUEUE, deliver_notices),
        (StandingWork.DECIDE_PLANNED.value, WORK_QUEUE, decide_planned),
    ):
        app.task(name=name, queue=queue, pass_context=True)(function)
    return app


async def collect_concentrator(context: JobContext, *, business_date: str, scope: str) -> bool:
    """Read what is missing behind one concentrator."""
    return await _run(context, RunKind.COLLECT, business_date, scope)


async def settle_shard(context: JobContext, *, business_date: str, scope: str) -> bool:
    """Settle the day before for one shard of the accounts."""
    return await _run(context, RunKind.SETTLE, business_date, scope)


async def decide_shard(context: JobContext, *, business_date: str, scope: str) -> bool:
    """Decide on one shard of the accounts."""
    return await _run(context, RunKind.DECIDE, business_date, scope)


async def deliver_notices(context: JobContext) -> int:
    """Deliver the notices that are due."""
    return await do_standing_work(_services(context), StandingWork.DELIVER_NOTICES)


async def decide_planned(context: JobContext) -> int:
    """Decide again where a planned disconnect's instant has come."""
    return await do_standing_work(_services(context), StandingWork.DECIDE_PLANNED)


def _services(context: JobContext) -> JobServices:
    services: JobServices = context.additional_context[SERVICES]
    return services


async def _run(context: JobContext, kind: RunKind, business_date: str, scope: str) -> bool:
    services = _services(context)
    key = RunKey(kind, date.fromisoformat(business_date), scope)
    return await services.scheduler.perform(key, work_of(services, kind))
