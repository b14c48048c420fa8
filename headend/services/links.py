"""Links: every wire is leased by one process and shared by its urgent and its patient work.

Theory of operation. A link (concentrator, gateway or direct meter) may be spoken on only by the
process that holds its lease. Inside that process each exchange passes the link's `Turnstile`, so
an order goes ahead of bulk reading between two requests. Two conversations with the *same* meter
would break its association, so they are serialised per meter; bulk work there is asked to give way
(`Preempted`) when an order arrives. A lease that could not be renewed in time stops every further
exchange before anybody else can take the link.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import structlog

from headend.domain.errors import BadInput, HeadEndError, MeterBusy, MeterUnreachable, Preempted
from headend.ports import MeterAccess, MeterAdapter, MeterLink, MeterSession, Turn
from headend.ports.unit_of_work import Store
from headend.services.turnstile import Priority, Turnstile

_LOG = structlog.get_logger()
LEASE_S = 15.0
RENEW_EVERY_S = LEASE_S / 3
IDLE_RELEASE_S = 30.0
CONNECT_BACKOFF_S = 1.0


@dataclass(slots=True)
class _MeterGate:
    """Serialises conversations with one meter; the talking one can be asked to give way."""

    turnstile: Turnstile = field(default_factory=Turnstile)
    users: int = 0
    talking: Priority | None = None
    give_way: bool = False


@dataclass(slots=True)
class _HeldLink:
    link_id: int
    endpoint: str
    lease_ends: float  # time.monotonic()
    turnstile: Turnstile = field(default_factory=Turnstile)
    connecting: asyncio.Lock = field(default_factory=asyncio.Lock)
    connection: MeterLink | None = None
    refused_until: float = 0.0
    gates: dict[int, _MeterGate] = field(default_factory=dict)
    users: int = 0
    idle_since: float = 0.0

    def check_lease(self) -> None:
        if time.monotonic() >= self.lease_ends:
            raise MeterUnreachable(f"the lease of link {self.link_id} was lost")


class LinkPool:
    """The links that this process holds."""

    def __init__(self, store: Store, adapters: Mapping[str, MeterAdapter], *, holder: str) -> None:
        self._store = store
        self._adapters = adapters
        self.holder = holder
        self._held: dict[int, _HeldLink] = {}
        self._leasing: dict[int, asyncio.Lock] = {}

    @asynccontextmanager
    async def session(
        self, link_id: int, access: MeterAccess, priority: Priority
    ) -> AsyncIterator[MeterSession]:
        """Converse with one meter on its link.

        Raises `MeterBusy` when another process holds the link, `MeterUnreachable` when it cannot
        be opened, `Preempted` in bulk work when an order arrives for the same meter.
        """
        held = await self._lease(link_id)
        held.users += 1
        gate = held.gates.setdefault(access.meter_id, _MeterGate())
        gate.users += 1
        try:
            if gate.talking is not None and priority is Priority.ORDER < gate.talking:
                gate.give_way = True
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(gate.turnstile.admit(priority))
                gate.talking, gate.give_way = priority, False
                stack.callback(setattr, gate, "talking", None)
                connection = await self._connect(held)
                turn = _turn(held, gate, priority)
                yield await stack.enter_async_context(connection.session(access, turn))
        finally:
            gate.users -= 1
            if gate.users == 0:
                held.gates.pop(access.meter_id, None)
            held.users -= 1
            held.idle_since = time.monotonic()

    async def keep_leases(self) -> None:
        """Renew the leases for as long as this runs; give idle links back."""
        while True:
            await asyncio.sleep(RENEW_EVERY_S)
            try:
                await self._renew()
            except HeadEndError as error:
                _LOG.warning("leases not renewed", error=str(error))

    async def close(self) -> None:
        """Hang up and give every lease back."""
        held, self._held = list(self._held.values()), {}
        for link in held:
            if link.connection is not None:
                await link.connection.close()
        if held:
            async with self._store.transaction() as uow:
                await uow.links.release([link.link_id for link in held], holder=self.holder)

    async def _renew(self) -> None:
        now = time.monotonic()
        for link in list(self._held.values()):
            if link.users == 0 and now - link.idle_since > IDLE_RELEASE_S:
                await self._give_back(link)
        async with self._store.transaction() as uow:
            kept = await uow.links.renew(list(self._held), holder=self.holder, lease_s=LEASE_S)
        for link_id in kept & self._held.keys():
            self._held[link_id].lease_ends = now + LEASE_S

    async def _give_back(self, link: _HeldLink) -> None:
        # Under the leasing lock: whoever takes the link meanwhile must not lose the lease it got.
        async with self._leasing.setdefault(link.link_id, asyncio.Lock()):
            if link.users or self._held.get(link.link_id) is not link:
                return
            del self._held[link.link_id]
            if link.connection is not None:
                await link.connection.close()
            async with self._store.transaction() as uow:
                await uow.links.release([link.link_id], holder=self.holder)

    async def _lease(self, link_id: int) -> _HeldLink:
        async with self._leasing.setdefault(link_id, asyncio.Lock()):
            held = self._held.get(link_id)
            now = time.monotonic()
            if held is not None and now < held.lease_ends:
                return held
            async with self._store.transaction() as uow:
                lease = await uow.links.try_lease(link_id, holder=self.holder, lease_s=LEASE_S)
            if lease is None:
                raise MeterBusy(f"link {link_id} is held by another process")
            if held is None:
                held = _HeldLink(link_id, lease.endpoint, now + LEASE_S, idle_since=now)
                self._held[link_id] = held
            held.lease_ends = now + LEASE_S
            return held

    async def _connect(self, held: _HeldLink) -> MeterLink:
        async with held.connecting:
            if held.connection is not None and held.connection.is_open:
                return held.connection
            if time.monotonic() < held.refused_until:
                raise MeterUnreachable(f"{held.endpoint} refused a connection a moment ago")
            try:
                held.connection = await self._adapter(held.endpoint).open_link(held.endpoint)
            except MeterUnreachable:
                # One failed attempt speaks for every meter behind the link.
                held.refused_until = time.monotonic() + CONNECT_BACKOFF_S
                raise
            held.turnstile = Turnstile(held.connection.parallel_exchanges)
            return held.connection

    def _adapter(self, endpoint: str) -> MeterAdapter:
        scheme = urlsplit(endpoint).scheme
        adapter = self._adapters.get(scheme)
        if adapter is None:
            raise BadInput(f"no adapter speaks {scheme!r} ({endpoint})", field="endpoint")
        return adapter


def _turn(held: _HeldLink, gate: _MeterGate, priority: Priority) -> Turn:
    @asynccontextmanager
    async def turn() -> AsyncIterator[None]:
        if gate.give_way and priority is not Priority.ORDER:
            gate.give_way = False  # raised once: the release that follows must pass
            raise Preempted("gave way to a supply order on the same meter")
        async with held.turnstile.admit(priority):
            held.check_lease()
            yield

    return turn
