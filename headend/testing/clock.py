"""A business clock that moves only when told to."""

from __future__ import annotations

from datetime import datetime, timedelta


class FakeClock:
    """Business time for tests; set ``instant`` or `advance` it."""

    def __init__(self, instant: datetime) -> None:
        self.instant = instant

    def now(self) -> datetime:
        return self.instant

    def advance(self, **amount: float) -> datetime:
        """Move forward by the arguments of `timedelta`; return the new instant."""
        self.instant += timedelta(**amount)
        return self.instant

    async def jump_to(self, instant: datetime) -> bool:
        """Move forward to ``instant``; False when it has passed."""
        if instant <= self.instant:
            return False
        self.instant = instant
        return True
