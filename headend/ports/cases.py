"""Port of the case repository: what a named person must settle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class CaseRecord:
    """One case; open while ``closed_at`` is None."""

    case_id: int
    kind: str
    subject_key: str
    usage_point_id: int | None
    account_id: int | None
    meter_id: int | None
    owner: str
    detail: Mapping[str, Any]
    opened_at: datetime
    due_at: datetime | None
    closed_at: datetime | None
    closed_by: str | None
    outcome: str | None


class CaseRepository(Protocol):
    """Stores cases: at most one open case per kind and subject."""

    async def open(
        self,
        kind: str,
        subject_key: str,
        *,
        owner: str,
        detail: Mapping[str, Any],
        at: datetime,
        usage_point_id: int | None = None,
        account_id: int | None = None,
        meter_id: int | None = None,
        due_at: datetime | None = None,
    ) -> int:
        """Open a case, or return the one already open for the kind and subject."""
        ...

    async def close(
        self, kind: str, subject_key: str, *, closed_by: str, outcome: str, at: datetime
    ) -> bool:
        """Close the open case; False when there is none."""
        ...

    async def list_open(self, *, usage_point_id: int | None = None) -> list[CaseRecord]: ...
