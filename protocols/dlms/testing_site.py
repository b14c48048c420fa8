"""A concentrator with three meters on the loopback interface, for tests of drivers.

What the meters answer can be tampered with on its way out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from headend.domain.errors import Preempted
from headend.domain.obis import (
    ACTIVE_ENERGY_IMPORT,
    CLOCK,
    DEVICE_SERIAL,
    DISCONNECT_CONTROL,
    INSTANTANEOUS_POWER_IMPORT,
    LOAD_PROFILE_1,
    LOGICAL_DEVICE_NAME,
    Obis,
)
from headend.ports import MeterAccess
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.admission import ClientAccess, ServerCounters, ServerSecurity
from protocols.dlms.conversation import Timeouts
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.driver import PUBLIC_CLIENT, DlmsAdapter, DlmsLink
from protocols.dlms.errors import AccessResult
from protocols.dlms.selection import CaptureObject
from protocols.dlms.server import ServerSession
from protocols.dlms.session import DlmsSession
from protocols.dlms.testing import MemoryCounterStore, TableObjects
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter, encode_frame

Tamper = Callable[[WrapperFrame, bytes | None], bytes | None]


class MeterServer(asyncio.Protocol):
    """Meters behind one TCP port, told apart by wPort; for tests on the loopback interface.

    ``tamper`` sees each request with the answer to it and returns what is sent instead: None for
    silence. It may also close the connection through ``transport``.
    """

    def __init__(self, make_session: Callable[[int, int], ServerSession | None]) -> None:
        self.make_session = make_session
        self.tamper: Tamper | None = None
        self.requests: list[WrapperFrame] = []
        self.transport: asyncio.Transport | None = None
        self._sessions: dict[tuple[int, int], ServerSession | None] = {}
        self._splitter = WrapperSplitter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self.transport = transport
        self._sessions.clear()
        self._splitter = WrapperSplitter()

    def data_received(self, data: bytes) -> None:
        for frame in self._splitter.feed(data):
            self.requests.append(frame)
            pair = (frame.destination, frame.source)
            if pair not in self._sessions:
                self._sessions[pair] = self.make_session(*pair)
            session = self._sessions[pair]
            answers = () if session is None else session.handle_all(frame.apdu)
            for answer in answers or (None,):
                sent = answer if self.tamper is None else self.tamper(frame, answer)
                if sent is not None:
                    self.send(frame.destination, frame.source, sent)

    def send(self, server: int, client: int, apdu: bytes) -> None:
        """Send an APDU from a meter to a client, asked for or not."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(encode_frame(server, client, apdu))


@asynccontextmanager
async def serve(
    make_session: Callable[[int, int], ServerSession | None],
) -> AsyncIterator[tuple[MeterServer, int]]:
    """Listen on a free port of the loopback interface; yields the server and its port.

    ``make_session`` returns the session of (meter, client) wPorts, None where there is no meter.
    """
    meters = MeterServer(make_session)
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: meters, "127.0.0.1", 0)
    try:
        yield meters, listener.sockets[0].getsockname()[1]
    finally:
        if meters.transport is not None:
            meters.transport.abort()
        listener.close()
        await listener.wait_closed()


EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
PASSWORD = b"12345678"
NOW = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
MIDNIGHT = datetime(2026, 2, 28, 16, 0, tzinfo=UTC)  # 1 March in Shanghai
INTERVAL_ENERGY = Obis.parse("1.0.1.29.0.255")
FAST = Timeouts(connect_s=2.0, answer_s=0.15, release_s=0.1, probe_s=0.1)


class FixedClock:
    """Business time that stands still at `NOW`."""

    def now(self) -> datetime:
        return NOW


@dataclass
class TurnLog:
    """A turn that counts, and can preempt once."""

    taken: int = 0
    inside: int = 0
    preempt_at: int | None = None

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        if self.preempt_at == self.taken:
            self.preempt_at = None
            raise Preempted("an order waits")
        self.taken += 1
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


@dataclass
class Site:
    """Meters 1 to 3 behind one concentrator, and an adapter that reads them."""

    server: MeterServer
    port: int
    meters: dict[int, TableObjects]
    security: dict[int, ServerSecurity]
    store: MemoryCounterStore = field(default_factory=MemoryCounterStore)
    turn: TurnLog = field(default_factory=TurnLog)

    def __post_init__(self) -> None:
        self.adapter = DlmsAdapter(
            self.store, FixedClock(), system_title=b"HEADEND1", timeouts=FAST
        )

    async def open_link(self) -> DlmsLink:
        """Connect to the concentrator."""
        return await self.adapter.open_link(f"dlms+tcp://127.0.0.1:{self.port}")

    @asynccontextmanager
    async def opened(self, **changes: Any) -> AsyncIterator[DlmsSession]:
        """Open a link and a session with one meter; see `make_access`."""
        link = await self.open_link()
        try:
            async with link.session(make_access(**changes), self.turn) as session:
                yield session
        finally:
            await link.close()

    def tags(self) -> list[int]:
        """Return the tags of all requests received so far."""
        return [frame.apdu[0] for frame in self.server.requests]


def make_access(address: int = 1, **changes: Any) -> MeterAccess:
    """Return the access of one of the meters, by its good keys unless changed."""
    good = MeterAccess(meter_id=address, address=address, encryption_key=EK, authentication_key=AK)
    return replace(good, **changes)


@asynccontextmanager
async def serve_site() -> AsyncIterator[Site]:
    """Serve the meters until the block ends."""
    meters = {address: make_objects(address) for address in (1, 2, 3)}
    security = {address: _make_security(address) for address in meters}

    def make_session(address: int, client: int) -> ServerSession | None:
        if address not in meters:
            return None
        return ServerSession(meters[address], security[address], client_address=client, max_pdu=256)

    async with serve(make_session) as (server, port):
        yield Site(server, port, meters, security)


def _make_security(address: int) -> ServerSecurity:
    clients = {
        1: ClientAccess("gmac", EK, AK),
        2: ClientAccess("lls", password=PASSWORD),
        PUBLIC_CLIENT: ClientAccess("none", may_write=False),
    }
    return ServerSecurity(f"METER{address:03}".encode(), clients, ServerCounters())


def make_objects(address: int) -> TableObjects:
    """Return a meter with identity, clock, registers, four profile rows and a closed contact."""
    rows = d.Array(
        d.Structure(
            (
                CosemDateTime.from_instant(
                    MIDNIGHT + (i + 1) * timedelta(minutes=15), deviation_min=-480
                ).octets,
                d.Unsigned(4 if i == 1 else 0),
                d.DoubleLongUnsigned(10 * i),
            )
        )
        for i in range(4)
    )
    captured = d.Array(
        CaptureObject(class_id, obis).to_data()
        for class_id, obis in ((8, CLOCK), (1, Obis.parse("0.0.96.10.1.255")), (3, INTERVAL_ENERGY))
    )
    clock = CosemDateTime.from_instant(NOW, deviation_min=-480).octets
    values: dict[tuple[int, Obis, int], d.Data] = {
        (1, LOGICAL_DEVICE_NAME, 2): f"SIM{address:013}".encode(),
        (1, DEVICE_SERIAL, 2): f"{address:08}".encode(),
        (8, CLOCK, 2): clock,
        (3, ACTIVE_ENERGY_IMPORT, 2): d.DoubleLongUnsigned(12345),
        (3, ACTIVE_ENERGY_IMPORT, 3): d.Structure((d.Integer(1), d.Enum(30))),
        (3, INTERVAL_ENERGY, 3): d.Structure((d.Integer(0), d.Enum(30))),
        (3, INSTANTANEOUS_POWER_IMPORT, 2): d.LongUnsigned(230),
        (3, INSTANTANEOUS_POWER_IMPORT, 3): d.Structure((d.Integer(0), d.Enum(27))),
        (7, LOAD_PROFILE_1, 2): rows,
        (7, LOAD_PROFILE_1, 3): captured,
        (70, DISCONNECT_CONTROL, 2): True,
        (70, DISCONNECT_CONTROL, 3): d.Enum(1),
        (70, DISCONNECT_CONTROL, 4): d.Enum(4),
    }
    methods: dict[tuple[int, Obis, int], bytes | AccessResult | None] = {
        (70, DISCONNECT_CONTROL, 1): None,
        (70, DISCONNECT_CONTROL, 2): None,
    }
    return TableObjects({key: xdr.encode(value) for key, value in values.items()}, methods)
