"""Port of the link repository: which process holds which wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LinkLease:
    """A link held by one process; ``fence`` grows with every new holder."""

    link_id: int
    endpoint: str
    fence: int


class LinkRepository(Protocol):
    """Leases links. Leases run on real time, never on the business clock."""

    async def try_lease(self, link_id: int, *, holder: str, lease_s: float) -> LinkLease | None:
        """Take or renew the lease; None when another process holds it. Raises `NotFound`."""
        ...

    async def renew(self, link_ids: Sequence[int], *, holder: str, lease_s: float) -> set[int]:
        """Extend the leases still held by ``holder``; return those links."""
        ...

    async def release(self, link_ids: Sequence[int], *, holder: str) -> None:
        """Give the leases back at once."""
        ...

    async def holders(self) -> set[str]:
        """Return who holds leases that have not run out."""
        ...

    async def release_held(self, holders: Sequence[str]) -> int:
        """End all leases of holders known to be dead; return how many."""
        ...

    async def move_concentrator(self, concentrator_no: str, endpoint: str) -> bool:
        """Give a concentrator's link its new endpoint; False when it has it already."""
        ...
