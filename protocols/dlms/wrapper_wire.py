"""WRAPPER frames over TCP and over UDP, for any number of conversations at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from headend.domain.errors import HeadEndError, MeterUnreachable
from protocols.dlms.errors import MalformedData
from protocols.dlms.link import Deliver, Listeners, Lost, Pair, Tap, connect_tcp
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter
from protocols.dlms.wrapper_route import DirectRoute, WrapperRoute


class _WrapperWire:
    """What both transports share: the conversations, and their frames by a route."""

    is_shared = True

    def __init__(self, name: str, route: WrapperRoute) -> None:
        self.name = name
        self.dropped = 0
        self.unsettled: set[Pair] = set()
        self.owing: set[Pair] = set()
        self.tap: Tap | None = None
        self._route = route
        self._listeners = Listeners()
        self._transport: asyncio.BaseTransport | None = None
        self._write: Callable[[bytes], object] | None = None
        self._closed = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        transport = self._transport
        broken = transport is None or transport.is_closing() or self._listeners.has_failed
        return not broken

    def listen(self, server: int, client: int, deliver: Deliver, lost: Lost) -> None:
        self._listeners.add((server, client), deliver, lost)

    def unlisten(self, server: int, client: int) -> None:
        self._listeners.remove((server, client))

    def send(self, server: int, client: int, apdu: bytes) -> None:
        if self._write is None or not self.is_open:
            raise MeterUnreachable(f"the connection to {self.name} is closed")
        octets = self._route.wrap(server, client, apdu)
        if self.tap is not None:
            self.tap(True, octets)
        self._write(octets)
        if self._listeners.has_failed:
            # UDP: what an earlier datagram met is told when the next one is sent.
            raise MeterUnreachable(f"nobody listens at {self.name}")

    def patience(self, server: int, client: int, timeout_s: float) -> float:
        return 0.0

    def abandon(self, server: int, client: int, timeout_s: float) -> HeadEndError:
        return MeterUnreachable(f"meter {server} did not answer in {timeout_s:g} s")

    async def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._closed

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f" ({exc})" if exc is not None else ""
        self._listeners.fail(MeterUnreachable(f"{self.name} closed the connection{reason}"))
        if not self._closed.done():
            self._closed.set_result(None)

    def _take(self, frame: WrapperFrame) -> None:
        came = self._route.unwrap(frame)
        if came is None or not self._listeners.deliver(came[:2], came[2]):
            self.dropped += 1


class TcpWire(_WrapperWire, asyncio.Protocol):
    """Frames in a stream; one that is out of step ends the connection."""

    def __init__(self, name: str, route: WrapperRoute) -> None:
        super().__init__(name, route)
        self._splitter = WrapperSplitter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport, self._write = transport, transport.write

    def data_received(self, data: bytes) -> None:
        if self.tap is not None:
            self.tap(False, data)
        try:
            frames = self._splitter.feed(data)
        except MalformedData as fault:
            self._listeners.fail(MalformedData(f"{self.name}: {fault}"))
            if isinstance(self._transport, asyncio.Transport):
                self._transport.abort()
            return
        for frame in frames:
            self._take(frame)


class UdpWire(_WrapperWire, asyncio.DatagramProtocol):
    """One frame in each datagram, from the connected peer only; others are dropped and counted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's own datagram transport does not derive from that class.
        self._transport = transport
        self._write = cast(asyncio.DatagramTransport, transport).sendto

    def datagram_received(self, data: bytes, addr: object) -> None:
        if self.tap is not None:
            self.tap(False, data)
        splitter = WrapperSplitter()
        try:
            frames = splitter.feed(data)
        except MalformedData:
            frames = []
        if len(frames) != 1 or splitter.pending:
            self.dropped += 1
            return
        self._take(frames[0])

    def error_received(self, exc: Exception) -> None:
        # "Port unreachable": nobody listens there, so the wire is as broken as a closed connection.
        self._listeners.fail(MeterUnreachable(f"nobody listens at {self.name} ({exc})"))


async def connect_wrapper(
    host: str, port: int, *, timeout_s: float, route: WrapperRoute | None = None
) -> TcpWire:
    """Open a TCP connection; raises `MeterUnreachable` naming the address."""
    wire = TcpWire(f"{host}:{port}", DirectRoute() if route is None else route)
    await connect_tcp(lambda: wire, host, port, timeout_s=timeout_s)
    return wire


async def connect_udp(host: str, port: int, route: WrapperRoute | None = None) -> UdpWire:
    """Open a socket to one peer; raises `MeterUnreachable` for a name that nobody knows."""
    wire = UdpWire(f"{host}:{port}", DirectRoute() if route is None else route)
    loop = asyncio.get_running_loop()
    try:
        await loop.create_datagram_endpoint(lambda: wire, remote_addr=(host, port))
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise MeterUnreachable(f"no way to {wire.name}: {reason}") from fault
    return wire
