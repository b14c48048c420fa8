"""One TCP endpoint that serves many meters by the destination wPort of the WRAPPER header.

Theory of operation. A connection carries any number of conversations, one per pair of client and
meter wPorts, and each has a session of its own. An answer is made and written at once, without a
task; only a slow meter gets one, which serves its conversation's queue in order, so that its
neighbours on the same connection are not kept waiting. A silent meter simply leaves its requests
unanswered, as does a wPort where no meter is. What a client does not read is bounded by pausing
the reading of its requests.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from protocols.dlms.acse import RLRQ
from protocols.dlms.errors import MalformedData
from protocols.dlms.server import ServerSession
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter, encode_frame
from protocols.simulator.business_time import BusinessClock
from protocols.simulator.device import Device, is_association_request
from protocols.simulator.faults import FaultBook, FaultKind

MAX_QUEUED = 16  # requests of one conversation that wait behind a slow answer
MAX_CONVERSATIONS = 8192  # on one connection; a released one no longer counts


@dataclass(slots=True)
class ConcentratorStats:
    """What one concentrator has done since the process began."""

    connections: int = 0
    frames_received: int = 0
    answers_sent: int = 0
    unknown_address: int = 0
    malformed: int = 0
    dropped: int = 0


class Concentrator:
    """The listener and its meters."""

    def __init__(
        self,
        name: str,
        devices: Mapping[int, Device],
        clock: BusinessClock,
        *,
        host: str,
        port: int,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.devices = dict(devices)
        self.faults = FaultBook()
        self.stats = ConcentratorStats()
        self.host = host
        self.port = port
        self.seed = seed
        self._clock = clock
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen; ``port`` then tells the bound one. Raises `OSError` when it is in use."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), self.host, self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
            for connection in tuple(self._connections):
                connection.abort()
            await self._server.wait_closed()
            self._server = None

    @property
    def is_down(self) -> bool:
        """Whether the whole concentrator is down now."""
        return bool(self.faults) and (
            self.faults.active(FaultKind.DOWN, self._clock.now_us()) is not None
        )

    def open_sessions(self) -> list[dict[str, object]]:
        """Describe the open connections and the conversations on each."""
        return [connection.describe() for connection in self._connections]

    def hang_up(self) -> None:
        """Close every connection, as a concentrator that lost its network does."""
        for connection in tuple(self._connections):
            connection.abort()

    def joined(self, connection: _Connection) -> None:
        """Count a new connection."""
        self._connections.add(connection)
        self.stats.connections += 1

    def left(self, connection: _Connection) -> None:
        """Forget a connection that closed."""
        self._connections.discard(connection)


@dataclass(slots=True)
class _Conversation:
    """One client address with one meter, on one connection."""

    client: int
    device: Device
    session: ServerSession
    answers: int = 0
    drop_after: int | None = None
    queue: deque[bytes] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None


class _Connection(asyncio.Protocol):
    """One client's TCP connection."""

    def __init__(self, concentrator: Concentrator) -> None:
        self._concentrator = concentrator
        self._splitter = WrapperSplitter()
        self._conversations: dict[tuple[int, int], _Conversation] = {}
        self._transport: asyncio.Transport | None = None

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (create_server's promise)
        self._transport = transport
        self._concentrator.joined(self)
        if self._concentrator.is_down:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._concentrator.left(self)
        for conversation in self._conversations.values():
            if conversation.worker is not None:
                conversation.worker.cancel()
        self._conversations.clear()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._concentrator.is_down:
            self.abort()
            return
        try:
            frames = self._splitter.feed(data)
        except MalformedData:
            self._concentrator.stats.malformed += 1
            self.abort()
            return
        for frame in frames:
            if self._transport is None or self._transport.is_closing():
                return
            self._take(frame)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    # Ours.

    def abort(self) -> None:
        """Close at once, unsent answers lost."""
        if self._transport is not None:
            self._transport.abort()

    def describe(self) -> dict[str, object]:
        """Return peer and conversations."""
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return {
            "peer": f"{peer[0]}:{peer[1]}" if peer else "",
            "conversations": [
                {"client": client, "address": address} for client, address in self._conversations
            ],
        }

    def _take(self, frame: WrapperFrame) -> None:
        stats = self._concentrator.stats
        stats.frames_received += 1
        device = self._concentrator.devices.get(frame.destination)
        if device is None:
            stats.unknown_address += 1
            return
        if device.fault(FaultKind.SILENT) is not None:
            return
        key = (frame.source, frame.destination)
        conversation = self._conversations.get(key)
        if conversation is None:
            if len(self._conversations) >= MAX_CONVERSATIONS:
                self.abort()
                return
            conversation = _Conversation(frame.source, device, device.open_session(frame.source))
            self._conversations[key] = conversation
        if conversation.worker is None and device.fault(FaultKind.SLOW) is None:
            self._answer(conversation, frame.apdu)
        elif len(conversation.queue) < MAX_QUEUED:
            conversation.queue.append(frame.apdu)
            if conversation.worker is None:
                work = self._work_slowly(conversation)
                conversation.worker = asyncio.get_running_loop().create_task(work)

    async def _work_slowly(self, conversation: _Conversation) -> None:
        while conversation.queue:
            slow = conversation.device.fault(FaultKind.SLOW)
            if slow is not None:
                await asyncio.sleep(slow.parameters["delay_ms"] / 1000)
            self._answer(conversation, conversation.queue.popleft())
        conversation.worker = None

    def _answer(self, conversation: _Conversation, apdu: bytes) -> None:
        device = conversation.device
        if is_association_request(apdu):
            conversation.answers = 0
            conversation.drop_after = self._plan_drop(device)
        answer = device.answer(conversation.session, apdu)
        if apdu[:1] == bytes((RLRQ,)):
            self._conversations.pop((conversation.client, device.spec.address), None)
        if answer is None or self._transport is None:
            return
        octets = encode_frame(device.spec.address, conversation.client, answer)
        conversation.answers += 1
        if conversation.drop_after is not None and conversation.answers > conversation.drop_after:
            self._concentrator.stats.dropped += 1
            self._transport.write(octets[: len(octets) // 2])
            self._transport.close()
            return
        self._concentrator.stats.answers_sent += 1
        self._transport.write(octets)

    def _plan_drop(self, device: Device) -> int | None:
        """Return after how many whole answers this session breaks off, if it does."""
        fault = device.fault(FaultKind.DROP)
        if fault is None:
            return None
        text = f"drop {self._concentrator.seed} {device.meter_no} {device.sessions_opened}"
        draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
        dropped = draw < fault.parameters["probability"]
        return int(fault.parameters["after_answers"]) if dropped else None
