"""Stand-ins for tests of this stack: objects in a table, counters in memory, a loopback server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from headend.domain.obis import Obis
from protocols.dlms.association import ClientAssociation
from protocols.dlms.client import Flow, ListFlow
from protocols.dlms.errors import AccessError, AccessResult
from protocols.dlms.events import Answer, Challenged, Event
from protocols.dlms.selection import Selection
from protocols.dlms.server import ServerSession
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter, encode_frame

Invoked = tuple[int, Obis, int, bytes | None]


@dataclass(slots=True)
class TableObjects:
    """`CosemObjects` from a table of encoded attributes; remembers what was asked of it.

    ``methods`` maps (class, OBIS, method) to the encoded answer, None for none, or a result.
    """

    attributes: dict[tuple[int, Obis, int], bytes] = field(default_factory=dict)
    methods: dict[tuple[int, Obis, int], bytes | AccessResult | None] = field(default_factory=dict)
    selections: list[Selection | None] = field(default_factory=list)
    invoked: list[Invoked] = field(default_factory=list)
    on_invoke: Callable[[Invoked], None] | None = None

    def read(self, class_id: int, obis: Obis, attribute: int, selection: Selection | None) -> bytes:
        value = self.attributes.get((class_id, obis, attribute))
        if value is None:
            raise AccessError(AccessResult.OBJECT_UNDEFINED)
        self.selections.append(selection)
        return value

    def write(self, class_id: int, obis: Obis, attribute: int, value: bytes) -> None:
        if (class_id, obis, attribute) not in self.attributes:
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        self.attributes[class_id, obis, attribute] = value

    def invoke(
        self, class_id: int, obis: Obis, method: int, parameter: bytes | None
    ) -> bytes | None:
        if (class_id, obis, method) not in self.methods:
            raise AccessError(AccessResult.OBJECT_UNDEFINED)
        call = (class_id, obis, method, parameter)
        self.invoked.append(call)
        if self.on_invoke is not None:
            self.on_invoke(call)
        answer = self.methods[class_id, obis, method]
        if isinstance(answer, AccessResult):
            raise AccessError(answer)
        return answer


@dataclass(slots=True)
class MemoryCounterStore:
    """`CounterStore` in a dictionary; counts how often it was asked."""

    first: int = 0
    reservations: list[tuple[int, int, str, int, int]] = field(default_factory=list)
    received: dict[tuple[int, int, str], int] = field(default_factory=dict)
    checks: int = 0
    _next: dict[tuple[int, int, str], int] = field(default_factory=dict)

    async def reserve(self, meter_id: int, client_address: int, key_id: str, count: int) -> int:
        key = (meter_id, client_address, key_id)
        first = self._next.get(key, self.first)
        self._next[key] = first + count
        self.reservations.append((*key, first, count))
        return first

    async def check_received(
        self, meter_id: int, client_address: int, key_id: str, counter: int
    ) -> bool:
        key = (meter_id, client_address, key_id)
        self.checks += 1
        if counter <= self.received.get(key, -1):
            return False
        self.received[key] = counter
        return True


@dataclass(slots=True)
class Loopback:
    """An association and a server session joined in memory; ``log`` holds both directions."""

    association: ClientAssociation
    server: ServerSession
    log: list[bytes] = field(default_factory=list)

    def exchange(self, apdu: bytes) -> Event:
        """Carry one APDU over and its answer back."""
        answer = self.server.handle(apdu)
        self.log += [apdu, answer or b""]
        return self.association.receive(answer or b"")

    def associate(self) -> Event:
        """Open the association; returns the last event, `Associated` if all is well."""
        event = self.exchange(self.association.open())
        return self.exchange(self.association.prove()) if event == Challenged() else event

    def run(self, flow: Flow | ListFlow) -> object:
        """Carry out a flow and return its result."""
        request = next(flow)
        while True:
            event = self.exchange(self.association.request(request))
            if not isinstance(event, Answer):
                return event
            try:
                request = flow.send(event.response)
            except StopIteration as end:
                return end.value


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
            answer = None if session is None else session.handle(frame.apdu)
            if self.tamper is not None:
                answer = self.tamper(frame, answer)
            if answer is not None:
                self.send(frame.destination, frame.source, answer)

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
