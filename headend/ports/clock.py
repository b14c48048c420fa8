"""Business time."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Business time. Time-outs, leases and latency figures use real time instead."""

    def now(self) -> datetime:
        """Return the business instant, aware UTC."""
        ...
