"""A time limit that is set again and again, and hardly ever passes.

Every asyncio timer that is cancelled stays in its loop's heap until its time would have come: at a
thousand sessions a second those are tens of thousands. Here one timer stays, and looks when it
fires whether the limit has been moved or lifted meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Deadline:
    """Calls ``expired`` once when the limit passes; belongs to the running loop."""

    __slots__ = ("_due", "_expired", "_timer")

    def __init__(self, expired: Callable[[], None]) -> None:
        self._expired = expired
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, timeout_s: float) -> None:
        """Let the limit be ``timeout_s`` from now, whatever it was."""
        loop = asyncio.get_running_loop()
        self._due = due = loop.time() + timeout_s
        timer = self._timer
        if timer is not None and timer.when() > due:
            timer.cancel()
            timer = None
        if timer is None:
            self._timer = loop.call_at(due, self._look)

    def lift(self) -> None:
        """There is no limit any more; it may be set again."""
        self._due = None

    def stop(self) -> None:
        """Lift it for good and leave nothing behind in the loop."""
        self._due = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._due is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._due:
            self._timer = loop.call_at(self._due, self._look)
            return
        self._due = None
        self._expired()
