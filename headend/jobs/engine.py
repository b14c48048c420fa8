"""The job engine: procrastinate carries work to any number of worker processes.

Theory of operation. The scheduler, on business time, says what may start; this module hands it to
procrastinate, whose queueing lock keeps one waiting job a run. Rows of `business_run` stay the
truth: a job that dies with its worker is forgotten here, and its run is handed out again when the
scheduler sees that its lease has ended, at once when the dead worker was on this host.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import structlog
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import DeleteJobCondition, Status

from headend.jobs.tasks import EVERY_QUEUE, SERVICES, TASK_OF_RUN, make_app
from headend.jobs.work import JobServices
from headend.ports.runs import BusinessRun, RunKind
from headend.process import ProcessWatch
from headend.services.scheduler import DueWork, StandingWork
from headend.store.database import job_engine_conninfo

_LOG = structlog.get_logger()
POLLING_INTERVAL_S = 0.2
TICK_S = 0.2
HEARTBEAT_S = 5.0
STALLED_AFTER_S = 20.0
CLEAN_EVERY_S = 30.0
# Ctrl-C ends everything within five seconds; work that is cut off goes on at the next start.
SHUTDOWN_S = 1.5
LONGEST_BACKOFF_S = 10.0

# A notice or a planned disconnect has an instant; collection has hours. The larger goes first.
_PRIORITY = {RunKind.COLLECT: 0, RunKind.SETTLE: 10, RunKind.DECIDE: 20}
_STANDING_PRIORITY = 30


class JobEngine:
    """Hands out due work and works on it, in this process or in many."""

    def __init__(self, app: App, services: JobServices, *, process: str) -> None:
        self._app = app
        self._services = services
        self._process = process

    async def run_worker(
        self, *, concurrency: int = 4, queues: Iterable[str] = EVERY_QUEUE
    ) -> None:
        """Work on jobs until cancelled, through restarts of the database."""
        faults = 0
        while True:
            try:
                await self._recover()
                faults = 0
                await self._app.run_worker_async(
                    queues=list(queues),
                    name=self._process,
                    concurrency=concurrency,
                    fetch_job_polling_interval=POLLING_INTERVAL_S,
                    install_signal_handlers=False,
                    delete_jobs=DeleteJobCondition.ALWAYS,
                    shutdown_graceful_timeout=SHUTDOWN_S,
                    update_heartbeat_interval=HEARTBEAT_S,
                    stalled_worker_timeout=STALLED_AFTER_S,
                    additional_context={SERVICES: self._services},
                )
            except Exception as error:  # noqa: BLE001 - see run_scheduler
                faults += 1
                _LOG.error("worker stopped and starts again", error=_describe(error))
            await asyncio.sleep(min(TICK_S * 2**faults, LONGEST_BACKOFF_S))

    async def run_scheduler(self) -> None:
        """Hand out what is due until cancelled."""
        await self._recover()
        faults = 0
        cleaned_at = asyncio.get_running_loop().time()
        while True:
            try:
                await self.tick()
                if asyncio.get_running_loop().time() - cleaned_at > CLEAN_EVERY_S:
                    await self.forget_stalled()
                    cleaned_at = asyncio.get_running_loop().time()
                faults = 0
            except Exception as error:  # noqa: BLE001 - the database may be away for a while; a
                # scheduler that ended would leave every other process without work.
                faults += 1
                _LOG.error("scheduler could not hand out work", error=_describe(error))
            await asyncio.sleep(min(TICK_S * 2**faults, LONGEST_BACKOFF_S))

    async def work_through(self, *, concurrency: int = 1, rounds: int = 20) -> None:
        """Hand out what is due and work on it until nothing is left to start.

        ``rounds`` bounds work that makes further work due.
        """
        for _ in range(rounds):
            if not await self.tick():
                return
            await self._app.run_worker_async(
                wait=False,
                concurrency=concurrency,
                install_signal_handlers=False,
                listen_notify=False,
                delete_jobs=DeleteJobCondition.ALWAYS,
                additional_context={SERVICES: self._services},
            )

    async def tick(self) -> DueWork:
        """Hand out what may start now, once."""
        due = await self._services.scheduler.enqueue_due()
        for run in due.runs:
            await self._hand_out_run(run)
        for work in due.standing:
            await self._hand_out_standing(work)
        return due

    async def forget_stalled(self) -> int:
        """Delete jobs whose worker is dead; their work is handed out again by what is due."""
        stalled = await self._app.job_manager.get_stalled_jobs(
            seconds_since_heartbeat=STALLED_AFTER_S
        )
        count = 0
        for job in stalled:
            try:
                await self._app.job_manager.finish_job(job, Status.ABORTED, delete_job=True)
            except ConnectorException as error:
                # Another worker forgot it in the same moment; if not, the next look finds it.
                _LOG.info("stalled job not forgotten", job_id=job.id, error=str(error.__cause__))
                continue
            count += 1
        return count

    async def _recover(self) -> None:
        freed = await self._services.scheduler.recover(ProcessWatch(self._process).is_dead)
        forgotten = await self.forget_stalled()
        if freed or forgotten:
            _LOG.info("work of dead processes taken up", runs=freed, jobs=forgotten)

    async def _hand_out_run(self, run: BusinessRun) -> None:
        key = run.key
        task = self._app.tasks[TASK_OF_RUN[key.kind]].configure(
            queueing_lock=str(key), priority=_PRIORITY[key.kind]
        )
        try:
            await task.defer_async(business_date=key.business_date.isoformat(), scope=key.scope)
        except AlreadyEnqueued:
            _LOG.debug("run is waiting already", run=str(key))

    async def _hand_out_standing(self, work: StandingWork) -> None:
        task = self._app.tasks[work.value].configure(
            queueing_lock=work.value, priority=_STANDING_PRIORITY
        )
        try:
            await task.defer_async()
        except AlreadyEnqueued:
            _LOG.debug("work is waiting already", work=work.value)


def _describe(error: Exception) -> str:
    """Name what went wrong; the job engine hides the database's words behind its own."""
    return f"{type(error).__name__}: {error.__cause__ or error}".strip()


@asynccontextmanager
async def open_engine(
    database_url: str, services: JobServices, *, process: str, max_connections: int = 4
) -> AsyncIterator[JobEngine]:
    """Open the job engine on its own small pool; ``process`` is the name given to `RunKeeper`."""
    connector = PsycopgConnector(
        conninfo=job_engine_conninfo(database_url), min_size=1, max_size=max_connections
    )
    app = make_app(connector)
    async with app.open_async():
        yield JobEngine(app, services, process=process)
