"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import datetime, timedelta

from headend.domain.errors import InvariantViolated


class FakeClock:
    """Business time under a test's control; it never goes backwards."""

    def __init__(self, start: datetime) -> None:
        if start.tzinfo is None:
            raise InvariantViolated("business time is aware")
        self._now = start

    def now(self) -> datetime:
        """Return the instant it stands at."""
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move on by a span and return the new instant."""
        return self.jump_to(self._now + by)

    def jump_to(self, instant: datetime) -> datetime:
        """Move on to an instant and return it."""
        if instant < self._now:
            raise InvariantViolated(f"the clock cannot go back from {self._now} to {instant}")
        self._now = instant
        return instant
