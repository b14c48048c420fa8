"""The HDLC side of the independent meter: SNRM, segmented I-frames and DISC, window 1, on TCP.

Written from the frame format alone (IEC 62056-46; clauses unverified); nothing of `protocols` is
imported.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass

from independent_meter import IndependentMeter
from independent_services import Session

_SNRM, _DISC, _UA, _DM, _FRMR = 0x93, 0x53, 0x73, 0x1F, 0x97
_LLC_DOWN, _LLC_UP = b"\xe6\xe6\x00", b"\xe6\xe7\x00"


@dataclass
class HdlcWays:
    """How this meter's HDLC differs from others'."""

    upper: int = 1
    lower: int | None = None  # None: an address of one octet
    address_size: int = 1  # 1, 2 or 4 octets
    info: int = 128  # octets of an information field
    ua: bytes | None = None  # the information field of UA; None: its own limits
    lose_first: int = 0  # answers that are lost at first
    damage_first: int = 0  # answers whose check sum is wrong at first
    flags_between: bool = True  # one flag between frames, not two
    needs_snrm: bool = True


def fcs(octets: bytes) -> bytes:
    crc = 0xFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ 0x8408 if crc & 1 else crc >> 1
    return (crc ^ 0xFFFF).to_bytes(2, "little")


def frame(
    destination: bytes, source: bytes, control: int, info: bytes = b"", *, more: bool = False
) -> bytes:
    size = 2 + len(destination) + len(source) + 1 + (2 + len(info) + 2 if info else 2)
    head = (0xA000 | (0x0800 if more else 0) | size).to_bytes(2, "big")
    head += destination + source + bytes((control,))
    head += fcs(head)
    if info:
        head += info + fcs(head + info)
    return b"\x7e" + head + b"\x7e"


def address(upper: int, lower: int | None, size: int) -> bytes:
    if size == 1:
        return bytes((upper << 1 | 1,))
    low = lower or 0
    if size == 2:
        return bytes((upper << 1, low << 1 | 1))
    parts = (upper >> 7 & 0x7F, upper & 0x7F, low >> 7 & 0x7F, low & 0x7F)
    return bytes(part << 1 for part in parts[:3]) + bytes((parts[3] << 1 | 1,))


class HdlcMeter:
    """Serves an `IndependentMeter`'s objects over HDLC."""

    def __init__(self, meter: IndependentMeter, ways: HdlcWays | None = None) -> None:
        self.meter = meter
        self.ways = ways or HdlcWays()
        self.address = address(self.ways.upper, self.ways.lower, self.ways.address_size)
        self.frames: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, query: str = "") -> str:
        return f"dlms+hdlc+tcp://127.0.0.1:{self.port}" + (f"?{query}" if query else "")

    def close(self) -> None:
        self.meter.close()
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            line = _Line(self, connection)
            buffer = b""
            while received := connection.recv(4096):
                buffer += received
                while (start := buffer.find(b"\x7e\xa0")) >= 0 or (
                    start := buffer.find(b"\x7e\xa8")
                ) >= 0:
                    size = int.from_bytes(buffer[start + 1 : start + 3], "big") & 0x7FF
                    if len(buffer) < start + size + 2:
                        break
                    line.take(buffer[start + 1 : start + 1 + size])
                    buffer = buffer[start + 1 + size :]


class _Line:
    """One connection's state."""

    def __init__(self, meter: HdlcMeter, connection: socket.socket) -> None:
        self.meter, self.connection = meter, connection
        self.sessions: dict[tuple[int, int], Session | None] = {}
        self.connected = not meter.ways.needs_snrm
        self.sent = self.received = 0
        self.pending: list[bytes] = []
        self.incoming = b""
        self.last = b""

    def take(self, octets: bytes) -> None:
        ways, own = self.meter.ways, self.meter.address
        self.meter.frames.append(octets)
        if octets[-2:] != fcs(octets[:-2]) or octets[2 : 2 + len(own)] != own:
            return
        client, at = octets[2 + len(own)], 3 + len(own)
        control = octets[at]
        info = octets[at + 3 : -2] if len(octets) > at + 3 else b""
        self.peer = bytes((client,))
        if control == _SNRM:
            self.connected, self.sent, self.received = True, 0, 0
            self.pending, self.incoming, self.sessions = [], b"", {}
            limits = b"\x81\x80\x12" + b"\x05\x01" + bytes((min(ways.info, 255),))
            limits += b"\x06\x01" + bytes((min(ways.info, 255),))
            limits += b"\x07\x04\x00\x00\x00\x01\x08\x04\x00\x00\x00\x01"
            self._send(_UA, limits if ways.ua is None else ways.ua)
        elif control == _DISC:
            self._send(_UA if self.connected else _DM)
            self.connected = False
        elif not self.connected:
            self._send(_DM)
        elif control & 1 == 0:
            self._take_information(client, control, info, segmented=bool(octets[0] & 0x08))
        elif control & 0x0F == 0x01:  # RR
            if control >> 5 == self.sent:
                self._send_next()
            else:
                self._put(self.last)

    def _take_information(self, client: int, control: int, info: bytes, *, segmented: bool) -> None:
        if control >> 1 & 7 != self.received:
            self._put(self.last)  # it was there already: our answer was lost
            return
        self.received = (self.received + 1) & 7
        self.incoming += info
        if segmented:
            self._send(0x01 | 0x10 | self.received << 5)
            return
        apdu, self.incoming = self.incoming, b""
        server = self.meter.ways.upper
        answer = self.meter.meter.respond(self.sessions, client >> 1, server, apdu[3:])
        if answer == b"close":
            self.connection.close()
            return
        if answer is None:
            return
        coded, step = _LLC_UP + answer, self.meter.ways.info
        self.pending = [coded[start : start + step] for start in range(0, len(coded), step)]
        self._send_next()

    def _send_next(self) -> None:
        if not self.pending:
            self._send(0x01 | 0x10 | self.received << 5)
            return
        part = self.pending.pop(0)
        control = self.sent << 1 | 0x10 | self.received << 5
        self.sent = (self.sent + 1) & 7
        self._send(control, part, more=bool(self.pending))

    def _send(self, control: int, info: bytes = b"", *, more: bool = False) -> None:
        self.last = frame(self.peer, self.meter.address, control, info, more=more)
        ways = self.meter.ways
        if control in (_UA, _DM):
            self._put(self.last)
        elif ways.lose_first:
            ways.lose_first -= 1
        elif ways.damage_first:
            ways.damage_first -= 1
            self._put(self.last[:-3] + bytes((self.last[-3] ^ 0xFF,)) + self.last[-2:])
        else:
            self._put(self.last)

    def _put(self, octets: bytes) -> None:
        self.connection.sendall(octets)
