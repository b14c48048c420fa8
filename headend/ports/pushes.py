"""What a push listener needs: keys by system title, and somebody to take what it hears."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from headend.domain.events import PushEvent

PUSH_CLIENT = 0  # pushes belong to no client address; counters of theirs are kept under this one


@dataclass(frozen=True, slots=True)
class PushKeys:
    """How to open the pushes of one meter; secrets never show in ``repr``.

    ``require_tag`` False takes pushes that are encrypted but not authenticated, which some meters
    send; such a push is marked and is no evidence.
    """

    meter_id: int
    encryption_key: bytes = field(repr=False)
    authentication_key: bytes = field(repr=False)
    key_id: str = "push"
    require_tag: bool = True


class PushKeyLookup(Protocol):
    """Finds the keys of a sender."""

    async def keys_for(self, system_title: bytes) -> PushKeys | None:
        """Return the keys of the meter with this system title (8 octets), None for a stranger."""
        ...


class PushSink(Protocol):
    """Takes what a listener hears, one event after the other per connection."""

    async def take(self, event: PushEvent) -> None:
        """Take one event; a `HeadEndError` makes the listener close the sender's connection."""
        ...
