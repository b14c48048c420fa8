"""What services need to deliver notices."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class NoticeMessage:
    """A message owed to a customer. The recipient and the text are masked in logs."""

    notice_id: int
    stage: str
    recipient: str = field(repr=False)
    text_zh: str = field(repr=False)
    text_en: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class DeliveryEvidence:
    """Proof that a notice was delivered: which channel, its own reference, and when."""

    channel: str
    reference: str
    delivered_at: datetime


class Notifier(Protocol):
    """Delivers notices; only evidence of delivery starts a waiting time."""

    async def deliver(self, message: NoticeMessage) -> DeliveryEvidence | None:
        """Deliver, or return None when delivery could not be proven (retry later)."""
        ...
