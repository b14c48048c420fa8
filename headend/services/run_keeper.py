"""Carrying out one run: start it under a lease, keep the lease, and record how it ended.

Theory of operation. The row is committed as running before work begins and as done only after the
work has committed, so a killed process leaves a row that somebody takes up again when its lease has
run out. Work is idempotent; the lease only keeps two workers from doing the same at once. A fault
puts the run back with a pause, a few times; then it has failed and a person gets a case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

import structlog

from headend.domain.errors import InvariantViolated
from headend.ports import Clock
from headend.ports.runs import BusinessRun, RunKey
from headend.ports.unit_of_work import Store

_LOG = structlog.get_logger()
LEASE_S = 30.0
CASE_OWNER = "operations"
# Pauses before each further attempt [s, real time]: a restart of the database, then a hand at work.
PAUSES_S = (2.0, 10.0, 60.0, 300.0)

Work = Callable[[BusinessRun], Awaitable[Mapping[str, Any]]]


def decide_rerun(error: Exception, attempts: int) -> float | None:
    """Return the pause before the run is tried again [s], or None when it has failed.

    A broken invariant is a defect: repeating it would only do more harm.
    """
    if isinstance(error, InvariantViolated) or attempts > len(PAUSES_S):
        return None
    return PAUSES_S[attempts - 1]


class RunKeeper:
    """Carries out runs in this process. ``process`` names it; see `recover` in the scheduler."""

    def __init__(
        self, store: Store, clock: Clock, *, process: str, lease_s: float = LEASE_S
    ) -> None:
        self._store = store
        self._clock = clock
        self.process = process
        self._lease_s = lease_s

    async def perform(self, key: RunKey, work: Work) -> bool:
        """Do the work of a run unless it is done or in other hands; return whether it was done.

        An error of the work is recorded and raised again.
        """
        holder = f"{self.process}#{uuid4().hex[:8]}"
        async with self._store.transaction() as uow:
            run = await uow.runs.start(
                key, at=self._clock.now(), holder=holder, lease_s=self._lease_s
            )
        if run is None:
            return False
        keeping = asyncio.create_task(self._keep(key, holder))
        try:
            detail = await work(run)
        except asyncio.CancelledError:
            await asyncio.shield(self._put_back(run, holder, {"stopped": True}, delay_s=0.0))
            raise
        except Exception as error:
            await self._record_fault(run, holder, error)
            raise
        finally:
            keeping.cancel()
        async with self._store.transaction() as uow:
            finished = await uow.runs.finish(
                key, holder=holder, at=self._clock.now(), detail=detail
            )
        if not finished:
            _LOG.warning("run finished by another process as well", run=str(key))
        return finished

    async def _keep(self, key: RunKey, holder: str) -> None:
        kept = True
        while kept:
            await asyncio.sleep(self._lease_s / 3)
            try:
                async with self._store.transaction() as uow:
                    kept = await uow.runs.extend_lease(key, holder=holder, lease_s=self._lease_s)
            except Exception as error:  # noqa: BLE001 - the work itself meets the same fault and
                # records it; a keeper that died would only lose a lease that may still be saved.
                _LOG.warning("lease of a run not extended", run=str(key), error=str(error))
        _LOG.warning("run taken over by another process", run=str(key))

    async def _record_fault(self, run: BusinessRun, holder: str, error: Exception) -> None:
        fault = {"error": f"{type(error).__name__}: {error}", "attempts": run.attempts}
        pause_s = decide_rerun(error, run.attempts)
        if pause_s is not None:
            await self._put_back(run, holder, fault, delay_s=pause_s)
            return
        now = self._clock.now()
        async with self._store.transaction() as uow:
            if await uow.runs.fail(run.key, holder=holder, at=now, detail=fault):
                await uow.cases.open(
                    "run_failed", str(run.key), owner=CASE_OWNER, detail=fault, at=now
                )

    async def _put_back(
        self, run: BusinessRun, holder: str, detail: Mapping[str, Any], *, delay_s: float
    ) -> None:
        async with self._store.transaction() as uow:
            await uow.runs.put_back(run.key, holder=holder, detail=detail, delay_s=delay_s)
