"""One TCP connection to a concentrator or meter: frames to and from many conversations.

An answer goes to the conversation whose meter (source wPort) and client (destination wPort) it
names; one that nobody waits for is dropped and counted. When the connection breaks, every
conversation that waits is told, and the link stays closed for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias

from headend.domain.errors import HeadEndError, LocalProtocolError, MeterUnreachable
from protocols.dlms.errors import MalformedData
from protocols.dlms.wrapper import WrapperSplitter, encode_frame

Deliver: TypeAlias = Callable[[bytes], None]
Lost: TypeAlias = Callable[[HeadEndError], None]


class Wire(asyncio.Protocol):
    """The connection; conversations register under (server, client) wPorts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dropped = 0
        # Pairs whose association request stayed unanswered: an answer may still be under way.
        self.unsettled: set[tuple[int, int]] = set()
        self._splitter = WrapperSplitter()
        self._transport: asyncio.Transport | None = None
        self._listeners: dict[tuple[int, int], tuple[Deliver, Lost]] = {}
        self._fault: HeadEndError | None = None
        self._closed = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._fault is None

    def listen(self, server: int, client: int, deliver: Deliver, lost: Lost) -> None:
        """Send what comes from ``server`` to ``client`` there; one conversation per pair."""
        if (server, client) in self._listeners:
            raise LocalProtocolError(f"client {client} already talks to meter {server}")
        self._listeners[server, client] = (deliver, lost)

    def unlisten(self, server: int, client: int) -> None:
        """Drop whatever still comes for the pair."""
        self._listeners.pop((server, client), None)

    def send(self, server: int, client: int, apdu: bytes) -> None:
        """Write one APDU; raises `MeterUnreachable` when it is certain that nothing left."""
        transport = self._transport
        if transport is None or not self.is_open:
            raise MeterUnreachable(f"the connection to {self.name} is closed")
        transport.write(encode_frame(client, server, apdu))

    async def close(self) -> None:
        """Close the connection; conversations that wait are told."""
        if self._transport is not None:
            self._transport.close()
            await self._closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._splitter.feed(data)
        except MalformedData as fault:
            self._fail(MalformedData(f"{self.name}: {fault}"))
            if self._transport is not None:
                self._transport.abort()
            return
        for frame in frames:
            listener = self._listeners.get((frame.source, frame.destination))
            if listener is None:
                self.dropped += 1
            else:
                listener[0](frame.apdu)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f" ({exc})" if exc is not None else ""
        self._fail(MeterUnreachable(f"{self.name} closed the connection{reason}"))
        if not self._closed.done():
            self._closed.set_result(None)

    def _fail(self, fault: HeadEndError) -> None:
        if self._fault is not None:
            return
        self._fault = fault
        for _, lost in tuple(self._listeners.values()):
            lost(fault)


async def connect(host: str, port: int, *, timeout_s: float) -> Wire:
    """Open a connection; raises `MeterUnreachable` naming the address."""
    name = f"{host}:{port}"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, wire = await loop.create_connection(lambda: Wire(name), host, port)
    except TimeoutError:
        raise MeterUnreachable(f"{name} did not accept a connection in {timeout_s:g} s") from None
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise MeterUnreachable(f"no connection to {name}: {reason}") from fault
    return wire
