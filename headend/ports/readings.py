"""Port of the readings repository: profile days, registers, events, coverage, meter contact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol

from headend.domain.coverage import CoverageCause
from headend.domain.obis import Obis
from headend.domain.reading import ProfileDay, RegisterReading


@dataclass(frozen=True, slots=True)
class StoredDays:
    """What storing profile days changed: new rows, rows revised, rows that were so already."""

    inserted: int
    revised: int
    unchanged: int

    def __add__(self, other: StoredDays) -> StoredDays:
        return StoredDays(
            self.inserted + other.inserted,
            self.revised + other.revised,
            self.unchanged + other.unchanged,
        )


@dataclass(frozen=True, slots=True)
class StoredProfileDay:
    """A profile day as stored, with the revision that readers saw."""

    profile: ProfileDay
    revision: int
    source: str
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class MeterRegister:
    """One register of one meter."""

    meter_id: int
    reading: RegisterReading


@dataclass(frozen=True, slots=True)
class MeterEvent:
    """Something a meter reported or we noticed about it, e.g. ``clock_drift``."""

    meter_id: int
    occurred_at: datetime
    event_code: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MeterContact:
    """One attempt to talk to a meter: ``failure`` is None when it answered."""

    meter_id: int
    at: datetime
    failure: CoverageCause | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A meter's day that an attempt left incomplete, and why."""

    meter_id: int
    channel: Obis
    day: date
    expected: int
    cause: CoverageCause


@dataclass(frozen=True, slots=True)
class MissingDay:
    """A day that is not complete: ``present`` intervals of it are stored."""

    meter_id: int
    day: date
    present: int
    cause: CoverageCause | None


class ReadingRepository(Protocol):
    """Stores what meters delivered, and keeps coverage true in the same transaction."""

    async def ensure_partitions(self, first: date, last: date) -> None:
        """Create the partitions of every partitioned table that cover ``[first, last]``."""
        ...

    async def store_profile_days(
        self, days: Sequence[ProfileDay], *, source: str, at: datetime
    ) -> StoredDays:
        """Store days in bulk, idempotently.

        The same values change nothing. Differing values become a revision, the earlier row kept.
        Merging is by interval: a missing value never replaces one that is there, nor an estimate
        of ours one that a meter gave. Raises `InvariantViolated` when two rows are the same day.
        """
        ...

    async def profile_days(
        self, meter_ids: Sequence[int], channel: Obis, first: date, last: date
    ) -> list[StoredProfileDay]:
        """Return the stored days in ``[first, last]``, by meter and day."""
        ...

    async def store_registers(self, registers: Sequence[MeterRegister], *, source: str) -> int:
        """Store registers; the same instant again changes nothing. Returns how many are new."""
        ...

    async def store_events(self, events: Sequence[MeterEvent], *, source: str) -> int:
        """Store events; the same again changes nothing. Returns how many are new."""
        ...

    async def record_contacts(self, contacts: Sequence[MeterContact]) -> None:
        """Remember when each meter was last heard, or failed, and how often in a row."""
        ...

    async def record_gaps(self, gaps: Sequence[Gap], *, at: datetime) -> None:
        """Record the cause of each gap; a day complete by now stays complete."""
        ...

    async def missing_days(
        self, meter_ids: Sequence[int], channel: Obis, first: date, last: date
    ) -> list[MissingDay]:
        """Return the days in ``[first, last]`` that are neither complete nor given up."""
        ...
