"""WRAPPER framing of DLMS on TCP and UDP (IEC 62056-47): an 8-octet header before each APDU.

Header: version (always 1), source wPort, destination wPort, length; each 2 octets, big endian. A
wPort tells the clients and the meters behind one concentrator apart. The splitter takes a stream
cut anywhere. A stream whose header is not version 1 has lost its frames for good: there is nothing
to search for, so the splitter stays broken and its connection must be closed.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from headend.domain.errors import LocalProtocolError
from protocols.dlms.errors import MalformedData

VERSION = 1
MAX_APDU = 0xFFFF
_HEADER = struct.Struct(">HHHH")


class WrapperFrame(NamedTuple):
    """One APDU with the wPorts it goes from and to."""

    source: int
    destination: int
    apdu: bytes


def encode_frame(source: int, destination: int, apdu: bytes) -> bytes:
    """Put the header before an APDU; raises `LocalProtocolError` beyond 65535 octets."""
    if len(apdu) > MAX_APDU:
        raise LocalProtocolError(f"an APDU of {len(apdu)} octets does not fit one frame")
    return _HEADER.pack(VERSION, source, destination, len(apdu)) + apdu


class WrapperSplitter:
    """Collects bytes as they arrive and gives out whole frames."""

    def __init__(self, *, max_apdu: int = MAX_APDU) -> None:
        self._buffer = bytearray()
        self._max_apdu = max_apdu

    @property
    def pending(self) -> int:
        """How many octets wait for the rest of their frame."""
        return len(self._buffer)

    def feed(self, octets: bytes) -> list[WrapperFrame]:
        """Take received bytes, return the frames they complete.

        Raises `MalformedData` for a foreign or oversized header, after which every further call
        raises too. Frames completed before it are lost with the stream.
        """
        buffer = self._buffer
        if not buffer and len(octets) >= _HEADER.size:
            version, source, destination, length = _HEADER.unpack_from(octets)
            whole = length == len(octets) - _HEADER.size <= self._max_apdu
            if version == VERSION and whole:  # as frames nearly always arrive
                return [WrapperFrame(source, destination, bytes(octets[_HEADER.size :]))]
        buffer += octets
        frames: list[WrapperFrame] = []
        position = 0
        available = len(buffer)
        while available - position >= _HEADER.size:
            version, source, destination, length = _HEADER.unpack_from(buffer, position)
            if version != VERSION:
                raise MalformedData(f"wrapper version {version}: not DLMS over TCP, or out of step")
            if length > self._max_apdu:
                raise MalformedData(f"a frame of {length} octets, {self._max_apdu} allowed")
            start = position + _HEADER.size
            if available - start < length:
                break
            position = start + length
            frames.append(WrapperFrame(source, destination, bytes(buffer[start:position])))
        if position:
            del buffer[:position]
        return frames
