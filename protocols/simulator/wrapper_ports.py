"""A concentrator's WRAPPER connections: one client's TCP stream, or all clients' datagrams.

Meters are told apart by the destination wPort, or by the gateway header before the APDU: its device
is a meter's address in binary or its number in ASCII. What a client does not read is bounded by
pausing the reading of its requests.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from protocols.dlms.errors import MalformedData
from protocols.dlms.gateway import GATEWAY_REQUEST, GatewayHeader, split_gateway
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter, encode_frame
from protocols.simulator.conversations import Conversation, Host, open_conversation
from protocols.simulator.device import Device
from protocols.simulator.faults import FaultKind

MAX_CONVERSATIONS = 8192  # on one connection; a released one no longer counts
_Peer: TypeAlias = tuple[Any, ...] | None  # of a datagram; None on a stream
_Write: TypeAlias = Callable[[bytes, _Peer], None]


@dataclass(frozen=True, slots=True)
class _Key:
    """What tells one conversation from another."""

    client: int
    wport: int
    gateway: GatewayHeader | None
    peer: _Peer


@dataclass(frozen=True, slots=True)
class _Outlet:
    """Where one conversation's answers go."""

    book: _Book
    key: _Key

    def send(self, apdu: bytes | None) -> None:
        if apdu is not None:
            self.book.write(self._frame(apdu), self.key.peer)

    def break_off(self, apdu: bytes) -> None:
        octets = self._frame(apdu)
        self.book.write(octets[: len(octets) // 2], self.key.peer)
        self.book.hang_up()

    def released(self) -> None:
        self.book.conversations.pop(self.key, None)

    def _frame(self, apdu: bytes) -> bytes:
        key = self.key
        octets = apdu if key.gateway is None else key.gateway.response(apdu)
        return encode_frame(key.wport, key.client, octets)


class _Book:
    """The conversations of one connection; ``is_full`` refuses another one."""

    def __init__(self, host: Host, write: _Write, hang_up: Callable[[], None]) -> None:
        self.conversations: OrderedDict[_Key, Conversation] = OrderedDict()
        self.write = write
        self.hang_up = hang_up
        self._host = host

    @property
    def is_full(self) -> bool:
        return len(self.conversations) >= MAX_CONVERSATIONS

    def describe(self) -> list[dict[str, object]]:
        """Return client and meter of each conversation."""
        return [
            {"client": key.client, "address": each.device.spec.address}
            for key, each in self.conversations.items()
        ]

    def take(self, frame: WrapperFrame, peer: _Peer = None) -> None:
        """Let the meter that a frame is for answer it."""
        host = self._host
        host.stats.frames_received += 1
        found = self._find(frame, peer)
        if found is None:
            host.stats.unknown_address += 1
            return
        key, device, apdu = found
        if device.fault(FaultKind.SILENT) is not None:
            return
        conversation = self.conversations.get(key)
        if conversation is None:
            conversation = open_conversation(host, _Outlet(self, key), device, key.client)
            self.conversations[key] = conversation
        conversation.take(apdu)

    def drop_oldest(self) -> None:
        """Forget the conversation that began first."""
        _, conversation = self.conversations.popitem(last=False)
        conversation.end()

    def end(self) -> None:
        """Stop everything under way."""
        for conversation in self.conversations.values():
            conversation.end()
        self.conversations.clear()

    def _find(self, frame: WrapperFrame, peer: _Peer) -> tuple[_Key, Device, bytes] | None:
        devices = self._host.devices
        if frame.apdu[:1] != bytes((GATEWAY_REQUEST,)):
            direct = devices.get(frame.destination)
            key = _Key(frame.source, frame.destination, None, peer)
            return None if direct is None else (key, direct, frame.apdu)
        try:
            header, apdu = split_gateway(frame.apdu, GATEWAY_REQUEST)
        except MalformedData:
            return None
        behind = devices.get(int.from_bytes(header.device, "big"))
        if behind is None:
            named = (each for each in devices.values() if each.meter_no.encode() == header.device)
            behind = next(named, None)
        key = _Key(frame.source, frame.destination, header, peer)
        return None if behind is None else (key, behind, apdu)


class TcpPort(asyncio.Protocol):
    """One client's TCP connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._splitter = WrapperSplitter()
        self._book = _Book(host, self._write, self._close)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (create_server's promise)
        self._transport = transport
        self._host.joined(self)
        if self._host.is_down:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._host.left(self)
        self._book.end()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._host.is_down:
            self.abort()
            return
        try:
            frames = self._splitter.feed(data)
        except MalformedData:
            self._host.stats.malformed += 1
            self.abort()
            return
        for frame in frames:
            if self._transport is None or self._transport.is_closing():
                return
            if self._book.is_full:
                self.abort()
                return
            self._book.take(frame)

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, unsent answers lost."""
        if self._transport is not None:
            self._transport.abort()

    def describe(self) -> dict[str, object]:
        """Return peer and conversations."""
        peer = self._transport.get_extra_info("peername") if self._transport else None
        return {
            "peer": f"{peer[0]}:{peer[1]}" if peer else "",
            "conversations": self._book.describe(),
        }

    def _write(self, octets: bytes, _peer: _Peer) -> None:
        if self._transport is not None:
            self._transport.write(octets)

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class UdpPort(asyncio.DatagramProtocol):
    """All clients' datagrams; the oldest conversation gives way when there are too many."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._book = _Book(host, self._write, lambda: None)
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's own datagram transport does not derive from that class.
        self._transport = cast(asyncio.DatagramTransport, transport)
        self._host.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._host.left(self)
        self._book.end()
        self._transport = None

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        if self._host.is_down:
            return
        splitter = WrapperSplitter()
        try:
            frames = splitter.feed(data)
        except MalformedData:
            frames = []
        if len(frames) != 1 or splitter.pending:
            self._host.stats.malformed += 1
            return
        if self._book.is_full:
            self._book.drop_oldest()
        self._book.take(frames[0], addr)

    def abort(self) -> None:
        """Forget every conversation, as a device without network does."""
        self._book.end()

    def describe(self) -> dict[str, object]:
        """Return the conversations of all peers."""
        return {"peer": "", "conversations": self._book.describe()}

    def _write(self, octets: bytes, peer: _Peer) -> None:
        if self._transport is not None:
            self._transport.sendto(octets, peer)
