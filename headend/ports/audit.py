"""Port of the audit repository: who did what to whom, append-only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One thing that somebody or some program did. ``real_at`` is real time."""

    audit_id: int
    at: datetime
    real_at: datetime
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]


class AuditRepository(Protocol):
    """Records audit events in the transaction of what they tell."""

    async def record(
        self,
        actor: str,
        action: str,
        subject: str,
        *,
        at: datetime,
        detail: Mapping[str, Any] | None = None,
    ) -> None: ...

    async def about(self, subject: str, *, limit: int = 100) -> list[AuditEvent]:
        """Return the latest events about one subject, newest first."""
        ...
