"""Port of the hold repository: what protects a usage point from being cut, and who answers for it.

A hold is active while ``valid_from <= instant``, ``valid_to`` is later or open, and nobody ended
it. Ended holds stay: a notice cycle begun before the end is worthless after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from rules.reasons import HoldKind


@dataclass(frozen=True, slots=True)
class NewHold:
    """A hold to be placed; ``evidence`` says what it rests on."""

    usage_point_id: int
    kind: HoldKind
    valid_from: datetime
    valid_to: datetime | None
    owner: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as it is stored."""

    hold_id: int
    usage_point_id: int
    kind: HoldKind
    valid_from: datetime
    valid_to: datetime | None
    owner: str
    evidence: str
    ended_at: datetime | None
    ended_by: str | None

    def is_active(self, at: datetime) -> bool:
        """Say whether the hold protects at this instant."""
        return (
            self.ended_at is None
            and self.valid_from <= at
            and (self.valid_to is None or at < self.valid_to)
        )


class HoldRepository(Protocol):
    """Stores holds that protect a usage point."""

    async def usage_point_of(self, usage_point_no: str) -> int:
        """Return the id of a usage point; raises `NotFound`."""
        ...

    async def place(self, hold: NewHold) -> Hold:
        """Store a hold. Raises `NotFound` for an unknown usage point."""
        ...

    async def end(self, hold_id: int, *, ended_by: str, at: datetime) -> Hold:
        """End an active hold. Raises `NotFound`, or `Conflict` when it was ended before."""
        ...

    async def get(self, hold_id: int) -> Hold:
        """Return one hold; raises `NotFound`."""
        ...

    async def list_active(
        self, at: datetime, *, usage_point_id: int | None = None, limit: int = 500
    ) -> Sequence[Hold]:
        """List the holds active at ``at``, newest first, of one usage point or of all."""
        ...

    async def list_of_usage_point(self, usage_point_id: int, *, limit: int = 100) -> Sequence[Hold]:
        """List active and former holds of a usage point, newest first."""
        ...

    async def accounts_of(self, usage_point_id: int) -> Sequence[int]:
        """Return the ids of the accounts that occupy the usage point now, in id order."""
        ...
