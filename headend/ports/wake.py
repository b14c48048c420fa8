"""A signal that something may be due: the sooner way to learn it than the floor poll."""

from __future__ import annotations

from typing import Protocol


class WakeSignal(Protocol):
    """Wakes a loop; may wake it for nothing, and is never the only way to learn a thing."""

    async def wait(self, timeout_s: float) -> bool:
        """Return True when woken, False after ``timeout_s`` of real time."""
        ...
