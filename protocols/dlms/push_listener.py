"""Listens for pushes on TCP and UDP: frames in, events out to one sink.

Theory of operation. Each TCP connection has a `PushStream` and is read only as fast as the sink
takes its events, so that memory per connection stays bounded by one read and one APDU under way.
Datagrams of all peers pass one bounded queue; what does not fit is dropped and counted, as UDP
drops it anyway. The framing is WRAPPER or HDLC, whatever the sender uses. A connection whose stream
is lost, that stays silent too long, or whose event the sink could not take, is closed: the sender
connects and pushes again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from headend.domain.errors import ConfigurationError, HeadEndError, MeterMisbehaved
from headend.domain.events import PushEvent, PushRefusal, PushRefused
from headend.ports.pushes import PushSink
from protocols.dlms.errors import MalformedData
from protocols.dlms.push_receiver import PushReceiver
from protocols.dlms.push_stream import DEFAULT_MAX_APDU, PushInput, PushStream

_READ_SIZE = 1 << 14


@dataclass(frozen=True, slots=True)
class PushLimits:
    """Bounds of a listener: octets, seconds of real time, connections, datagrams, peers."""

    max_apdu: int = DEFAULT_MAX_APDU
    idle_timeout_s: float = 600.0
    write_timeout_s: float = 10.0
    max_connections: int = 10_000
    max_queued_datagrams: int = 2_000
    max_peers: int = 1_024


@dataclass(slots=True)
class PushStats:
    """What a listener has done; for metrics."""

    connections: int = 0
    refused_connections: int = 0
    datagrams: int = 0
    dropped_datagrams: int = 0
    accepted: int = 0
    refused: int = 0
    sink_failures: int = 0


class PushListener:
    """One TCP and one UDP port on one address."""

    def __init__(
        self, receiver: PushReceiver, sink: PushSink, *, limits: PushLimits | None = None
    ) -> None:
        self.stats = PushStats()
        self._receiver = receiver
        self._sink = sink
        self._limits = limits or PushLimits()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._transport: asyncio.DatagramTransport | None = None
        self._worker: asyncio.Task[None] | None = None
        self._peers: OrderedDict[Any, PushStream] = OrderedDict()

    async def listen_tcp(self, host: str, port: int) -> int:
        """Listen for connections; return the bound port. Raises `ConfigurationError`."""
        try:
            self._server = await asyncio.start_server(self._connected, host, port)
        except OSError as error:
            raise _in_use("TCP", host, port, error) from error
        return int(self._server.sockets[0].getsockname()[1])

    async def listen_udp(self, host: str, port: int) -> int:
        """Listen for datagrams; return the bound port. Raises `ConfigurationError`."""
        queue: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue(self._limits.max_queued_datagrams)
        loop = asyncio.get_running_loop()
        try:
            self._transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(queue, self.stats), local_addr=(host, port)
            )
        except OSError as error:
            raise _in_use("UDP", host, port, error) from error
        self._worker = loop.create_task(self._take_datagrams(queue))
        self._worker.add_done_callback(self._worker_ended)
        return int(self._transport.get_extra_info("sockname")[1])

    async def close(self) -> None:
        """Stop listening and close every connection; events already handed over are finished."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        tasks = [*self._connections, *([self._worker] if self._worker is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._worker = None

    # TCP.

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._connections) >= self._limits.max_connections:
            self.stats.refused_connections += 1
            writer.transport.abort()
            return
        self.stats.connections += 1
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, TimeoutError):
            writer.transport.abort()  # the sender left, or is silent; it connects again
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stream = PushStream(max_apdu=self._limits.max_apdu)
        peer = _name(writer.get_extra_info("peername"))
        while True:
            async with asyncio.timeout(self._limits.idle_timeout_s):
                octets = await reader.read(_READ_SIZE)
            if not octets:
                return
            try:
                found = stream.feed(octets)
            except MalformedData as fault:
                await self._hand_over(PushInput(faults=[fault]), peer)
                return
            if not await self._hand_over(found, peer):
                return
            if found.replies:
                writer.writelines(found.replies)
                async with asyncio.timeout(self._limits.write_timeout_s):
                    await writer.drain()

    # UDP.

    async def _take_datagrams(self, queue: asyncio.Queue[tuple[bytes, Any]]) -> None:
        while True:
            octets, address = await queue.get()
            stream = self._peer_stream(address)
            found = stream.feed_datagram(octets)
            if await self._hand_over(found, _name(address)) and self._transport is not None:
                for reply in found.replies:
                    self._transport.sendto(reply, address)

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        # Only a defect ends it while the port is open: tell it at once, and stop pretending.
        if not task.cancelled() and (defect := task.exception()) is not None:
            if self._transport is not None:
                self._transport.close()
            context = {"message": "the push listener's UDP port ended", "exception": defect}
            task.get_loop().call_exception_handler(context)

    def _peer_stream(self, address: Any) -> PushStream:
        stream = self._peers.get(address)
        if stream is None:
            stream = self._peers[address] = PushStream(max_apdu=self._limits.max_apdu)
            if len(self._peers) > self._limits.max_peers:
                self._peers.popitem(last=False)
        self._peers.move_to_end(address)
        return stream

    # Both.

    async def _hand_over(self, found: PushInput, peer: str) -> bool:
        """Judge and hand over everything found; return False when the sink failed."""
        try:
            for fault in found.faults:
                await self._tell(PushRefused(peer, PushRefusal.MALFORMED, _sentence(fault)))
            for apdu in found.apdus:
                await self._tell(await self._receiver.judge(apdu, peer=peer))
        except HeadEndError:
            # The sink or the key store said why where it belongs; without an acknowledgement the
            # sender still has its data.
            self.stats.sink_failures += 1
            return False
        return True

    async def _tell(self, event: PushEvent) -> None:
        if isinstance(event, PushRefused):
            self.stats.refused += 1
        else:
            self.stats.accepted += 1
        await self._sink.take(event)


class _Datagrams(asyncio.DatagramProtocol):
    """Queues what arrives; drops it when the queue is full."""

    def __init__(self, queue: asyncio.Queue[tuple[bytes, Any]], stats: PushStats) -> None:
        self._queue = queue
        self._stats = stats

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._stats.datagrams += 1
        try:
            self._queue.put_nowait((data, addr))
        except asyncio.QueueFull:
            self._stats.dropped_datagrams += 1


def _in_use(kind: str, host: str, port: int, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot listen for pushes on {kind} {host}:{port} ({error.strerror or error});"
        " choose another port"
    )


def _name(address: Any) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)


def _sentence(fault: MeterMisbehaved) -> str:
    return str(fault) or type(fault).__name__
