"""`MeterAdapter` for DLMS/COSEM: opens links, and on a link one session per meter.

How a session begins and ends (association with fresh challenge and reserved counters, recovery of
counters, release whatever happened) is the business of `opening`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager

from headend.domain.errors import BadInput
from headend.ports import Clock, CounterStore, MeterAccess, Turn
from protocols.dlms.conversation import Timeouts
from protocols.dlms.counter_recovery import CounterRecovery, OnRaise
from protocols.dlms.counters import CounterCache
from protocols.dlms.endpoint import parse_endpoint
from protocols.dlms.knowledge import KnowledgeBase
from protocols.dlms.link import Tap, Wire
from protocols.dlms.opening import PUBLIC_CLIENT, SessionContext, Surroundings
from protocols.dlms.security import TITLE_SIZE
from protocols.dlms.session import DlmsSession
from protocols.dlms.transport import SCHEMES, Transport

__all__ = ["PUBLIC_CLIENT", "DlmsAdapter", "DlmsLink"]

PARALLEL_EXCHANGES = 8  # requests to different meters on one concentrator connection


class DlmsAdapter:
    """Opens DLMS links. ``system_title`` is the head-end's own, 8 octets, stable for its keys.

    ``allow_legacy`` lets accesses ask for MD5 and SHA-1; ``on_raise`` is told of each counter that
    is about to be raised, for the audit; ``tap`` sees every octet on the wires.
    """

    schemes: tuple[str, ...] = SCHEMES

    def __init__(
        self,
        counters: CounterStore,
        clock: Clock,
        *,
        system_title: bytes,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  (frozen)
        parallel_exchanges: int = PARALLEL_EXCHANGES,
        allow_legacy: bool = False,
        on_raise: OnRaise | None = None,
        tap: Tap | None = None,
    ) -> None:
        if len(system_title) != TITLE_SIZE:
            raise BadInput(
                f"a system title has {TITLE_SIZE} octets, not {len(system_title)}",
                field="system_title",
            )
        self.timeouts = timeouts
        self.tap = tap
        self.parallel_exchanges = parallel_exchanges
        self.shared = Surroundings(
            system_title=system_title,
            timeouts=timeouts,
            clock=clock,
            counters=CounterCache(counters),
            recovery=CounterRecovery(counters, now_s=time.monotonic, on_raise=on_raise),
            knowledge=KnowledgeBase(),
            allow_legacy=allow_legacy,
        )

    async def open_link(self, endpoint: str) -> DlmsLink:
        """Connect; raises `MeterUnreachable` or `BadInput` (malformed endpoint)."""
        transport = parse_endpoint(endpoint).transport
        return DlmsLink(self, await self.open_wire(transport), transport)

    async def open_wire(self, transport: Transport) -> Wire:
        """Connect, with the adapter's tap on the wire."""
        wire = await transport.open(self.timeouts)
        wire.tap = self.tap
        return wire


class DlmsLink:
    """One connection to a concentrator or meter; sessions with different meters may overlap."""

    def __init__(self, adapter: DlmsAdapter, wire: Wire, transport: Transport) -> None:
        self.adapter = adapter
        self.wire = wire
        self._transport = transport
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        return self.wire.is_open

    @property
    def shared(self) -> Surroundings:
        return self.adapter.shared

    @property
    def parallel_exchanges(self) -> int:
        return self.adapter.parallel_exchanges if self.wire.is_shared else 1

    def session(self, access: MeterAccess, turn: Turn) -> AbstractAsyncContextManager[DlmsSession]:
        """Associate with one meter, and release it at the end whatever happened.

        Raises `BadInput` for an access that does not fit (unknown model, missing key),
        `AuthenticationFailed`, `CounterRejected`, `MeterBusy`, `MeterUnreachable`,
        `MeterMisbehaved`.
        """
        return SessionContext(self, access, turn)

    async def reopen(self) -> Wire:
        """Return the wire; where it broke, connect once more to the same place."""
        async with self._opening:
            if not self.wire.is_open:
                await self.wire.close()
                self.wire = await self.adapter.open_wire(self._transport)
        return self.wire

    async def close(self) -> None:
        await self.wire.close()
