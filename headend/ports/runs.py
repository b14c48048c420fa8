"""Port of the run repository: what was due and done, and the business clock's offset.

A run row is what makes work resumable and never done twice. Business time says when it is due;
its lease runs on real time, as every lease does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Protocol


class RunKind(StrEnum):
    """What is done each business day."""

    COLLECT = "collect"
    SETTLE = "settle"
    DECIDE = "decide"


class RunState(StrEnum):
    """Where a run stands."""

    DUE = "due"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, order=True)
class RunKey:
    """One piece of work: ``scope`` is ``concentrator/12`` or ``shard/0/4`` (index / count)."""

    kind: RunKind
    business_date: date
    scope: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.business_date}/{self.scope}"


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run with the business instant from which it is due."""

    key: RunKey
    due_at: datetime


@dataclass(frozen=True, slots=True)
class BusinessRun:
    """A run as stored."""

    key: RunKey
    state: RunState
    due_at: datetime
    attempts: int
    started_at: datetime | None = None
    finished_at: datetime | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dependency:
    """``kind`` waits for every due run of ``needs``, ``give_up_s`` from when both were due.

    With ``later_dates`` runs of ``needs`` for later dates are waited for as well.
    """

    kind: RunKind
    needs: RunKind
    give_up_s: int
    later_dates: bool = False


@dataclass(frozen=True, slots=True)
class ClockSetting:
    """The business clock as stored."""

    demo: bool
    offset_s: float


class RunRepository(Protocol):
    """Stores runs and the business clock."""

    async def plan(self, runs: Sequence[PlannedRun]) -> int:
        """Add the runs that are not there yet; return how many were new."""
        ...

    async def last_planned(self, kind: RunKind) -> date | None:
        """Return the latest business date that has a run of this kind."""
        ...

    async def last_done(self, kind: RunKind) -> date | None:
        """Return the latest business date of which a run of this kind is done."""
        ...

    async def claim_due(
        self,
        now: datetime,
        *,
        dependencies: Sequence[Dependency],
        holder: str,
        lease_s: float,
        limit: int,
    ) -> list[BusinessRun]:
        """Lease runs that may start: due, not leased, and with nothing left to wait for.

        A run left running by a holder whose lease ran out is among them.
        """
        ...

    async def start(
        self, key: RunKey, *, at: datetime, holder: str, lease_s: float
    ) -> BusinessRun | None:
        """Mark the run as running under this holder; count the attempt.

        None when it is done, failed, unknown, or leased by another holder that is running it.
        """
        ...

    async def extend_lease(self, key: RunKey, *, holder: str, lease_s: float) -> bool:
        """Keep the run; False when another holder has taken it."""
        ...

    async def finish(
        self, key: RunKey, *, holder: str, at: datetime, detail: Mapping[str, Any]
    ) -> bool:
        """Mark the run as done; False when another holder has taken it."""
        ...

    async def put_back(
        self,
        key: RunKey,
        *,
        holder: str,
        detail: Mapping[str, Any],
        delay_s: float,
    ) -> bool:
        """Make the run due again, after a pause in real time."""
        ...

    async def fail(
        self, key: RunKey, *, holder: str, at: datetime, detail: Mapping[str, Any]
    ) -> bool:
        """Give the run up."""
        ...

    async def holders(self) -> set[str]:
        """Return who holds leases on unfinished runs."""
        ...

    async def release_held(self, holders: Sequence[str]) -> int:
        """End the leases of holders known to be dead; return how many runs became free."""
        ...

    async def get(self, key: RunKey) -> BusinessRun | None: ...

    async def runs_of(self, business_date: date) -> list[BusinessRun]:
        """Return every run of a business date, by kind and scope."""
        ...

    async def next_due(self) -> datetime | None:
        """Return when the earliest unfinished run is or was due."""
        ...

    async def busy(self, now: datetime) -> bool:
        """Tell whether a run is running, or due at ``now``."""
        ...

    async def clock(self) -> ClockSetting:
        """Return the clock setting; real time without offset when none was stored."""
        ...

    async def set_clock_mode(self, *, demo: bool) -> ClockSetting:
        """Store the mode, keeping a demo's offset; a real clock has none."""
        ...

    async def advance_clock(self, offset_s: float) -> ClockSetting:
        """Move a demo clock forward to the offset, never back; return what stands then.

        Raises `InvariantViolated` when the clock is a real one.
        """
        ...
