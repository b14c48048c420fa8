"""What services need from meters: adapters, links, sessions, turns and counters.

Adapters are found by URL scheme behind `MeterAdapter`; services never learn which protocol it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from headend.domain.obis import Obis
from headend.domain.reading import MeterIdentity, ProfileRows, RegisterReading
from headend.domain.supply import RelayReading, SupplyAction


class CounterStore(Protocol):
    """Invocation counters: reserved in blocks before use, so that no crash can repeat one."""

    async def reserve(self, meter_id: int, client_address: int, key_id: str, count: int) -> int:
        """Durably reserve ``count`` counters; return the first. Others never get them again."""
        ...

    async def check_received(
        self, meter_id: int, client_address: int, key_id: str, counter: int
    ) -> bool:
        """Record a received counter; return False when it does not exceed the last one."""
        ...

    async def raise_to(self, meter_id: int, client_address: int, key_id: str, counter: int) -> None:
        """Never hand out a counter below ``counter`` again; a higher next one stays. Durable."""
        ...


@dataclass(frozen=True, slots=True)
class MeterAccess:
    """How to reach and unlock one meter on its link. Secrets never show in ``repr``.

    ``authentication`` is none, lls, gmac (HLS 5), sha256 (HLS 6), or for legacy meters, where the
    deployment allows it, md5 (HLS 3) or sha1 (HLS 4); ``password`` is the secret of lls and of the
    digests. With keys the association is ciphered as ``protection`` says: authentication,
    encryption, both or none, and wrapped as ``ciphering`` says: glo, ded, general-glo or
    general-ded. None leaves either to the meter's model.
    """

    meter_id: int
    address: int
    model: str = "generic"
    client_address: int = 1
    authentication: str = "gmac"  # none | lls | md5 | sha1 | gmac | sha256
    security_suite: int = 0  # 0 and 1: AES-128; 2: AES-256
    key_id: str = "unicast"
    encryption_key: bytes | None = field(default=None, repr=False)
    authentication_key: bytes | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)
    protection: str | None = None
    ciphering: str | None = None


class Turn(Protocol):
    """Leave to use the link for one request and its answer.

    The link's priority queue stands behind it: an order takes its turn before bulk reading, between
    two requests. Raises `Preempted` when the session must give way to an order on its own meter.
    """

    def __call__(self) -> AbstractAsyncContextManager[None]: ...


class MeterSession(Protocol):
    """One authenticated conversation with one meter."""

    async def read_identity(self) -> MeterIdentity: ...

    async def read_clock(self) -> datetime: ...

    async def read_registers(self, obis: Sequence[Obis]) -> list[RegisterReading]:
        """Read cumulative or instantaneous registers, scaled to Wh, W, V, A.

        A register the meter does not have raises `MeterRefused` naming it.
        """
        ...

    async def read_profile(self, profile: Obis, start: datetime, end: datetime) -> ProfileRows:
        """Read load-profile rows whose interval *starts* in ``[start, end)``."""
        ...

    async def read_relay(self) -> RelayReading: ...

    async def switch_relay(self, action: SupplyAction) -> None:
        """Send the switching command once.

        Returns when the meter acknowledged, which is not evidence of the contact. Raises
        `MeterRefused` when it said no, `MeterUnreachable` only when it is certain that no command
        left, `OutcomeUnknown` when it was sent and no answer came.
        """
        ...


class MeterLink(Protocol):
    """One open connection to a concentrator, gateway or meter.

    ``is_open`` turns False for good when the connection broke. ``parallel_exchanges`` is how many
    requests to *different* meters the wire carries at once: 1 on a serial gateway.
    """

    @property
    def is_open(self) -> bool: ...

    @property
    def parallel_exchanges(self) -> int: ...

    def session(self, access: MeterAccess, turn: Turn) -> AbstractAsyncContextManager[MeterSession]:
        """Associate with one meter, and release it at the end whatever happened."""
        ...

    async def close(self) -> None: ...


class MeterAdapter(Protocol):
    """Opens links of one protocol; ``schemes`` are the URL schemes that it serves."""

    schemes: tuple[str, ...]

    async def open_link(self, endpoint: str) -> MeterLink:
        """Connect; raises `MeterUnreachable` or `BadInput` (malformed endpoint)."""
        ...


class MeterKeys(Protocol):
    """Unlocks meters: joins what the registry knows with the keys kept encrypted at rest."""

    async def access_for(self, meter_id: int) -> MeterAccess:
        """Return how to reach and unlock the meter; raises `NotFound`."""
        ...
