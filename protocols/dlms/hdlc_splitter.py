"""Finds HDLC frames in a stream cut anywhere, and finds its way back after damage.

Theory of operation. A flag may also stand inside a frame, so that only the length tells where one
ends. Each flag is tried as the opening of a frame: its format, and as soon as they are there its
addresses and header check sequence, so that a damaged length is not waited for. What fails is
damage: the search goes on at the next flag *after the failed one*, so that no frame that follows is
lost with it. A closing flag may serve as the next opening one, and one that is missing costs
nothing. Garbage between frames is dropped.
"""

from __future__ import annotations

from protocols.dlms.errors import MalformedData
from protocols.dlms.hdlc_frame import (
    CHECK_SIZE,
    FLAG_OCTET,
    MAX_LENGTH,
    MIN_LENGTH,
    HdlcFrame,
    address_end,
    decode_frame,
    frame_length,
    is_intact,
)

_FORMAT_SIZE = 2


class HdlcSplitter:
    """Collects bytes as they arrive and gives out whole frames; never raises for what it gets."""

    def __init__(self, *, max_length: int = MAX_LENGTH) -> None:
        self.damaged = 0
        self._buffer = bytearray()
        self._max_length = max_length

    @property
    def pending(self) -> int:
        """How many octets wait for the rest of their frame; the last flag counts as none."""
        return max(0, len(self._buffer) - 1)

    def feed(self, octets: bytes) -> list[HdlcFrame]:
        """Take received bytes, return the frames they complete; ``damaged`` counts the others."""
        buffer = self._buffer
        buffer += octets
        frames: list[HdlcFrame] = []
        position = self._next_flag(0)
        while position >= 0:
            start = position + 1
            try:
                length = self._measure(start)
                if length is None:
                    break
                frames.append(decode_frame(bytes(buffer[start : start + length])))
            except MalformedData:
                self.damaged += 1
            else:
                start += length
                # The closing flag may be the opening one of the next frame.
            position = self._next_flag(start)
        del buffer[: len(buffer) if position < 0 else position]
        return frames

    def _next_flag(self, start: int) -> int:
        """Return the last flag of the next row of flags, -1 for none."""
        buffer = self._buffer
        position = buffer.find(FLAG_OCTET, start)
        while position >= 0 and buffer.startswith(FLAG_OCTET, position + 1):
            position += 1
        return position

    def _measure(self, start: int) -> int | None:
        """Return the length of the frame there, None while more must come.

        Raises `MalformedData` when no whole frame can begin there.
        """
        buffer = self._buffer
        if len(buffer) == start:
            return None
        if buffer[start] & 0xF0 != 0xA0:
            raise MalformedData("no frame begins here")
        if len(buffer) < start + _FORMAT_SIZE:
            return None
        length = frame_length(buffer, start)
        if not MIN_LENGTH <= length <= self._max_length:
            raise MalformedData(f"a frame of {length} octets")
        if len(buffer) >= start + length:
            return length
        self._check_header(start, length)
        return None

    def _check_header(self, start: int, length: int) -> None:
        """Raise `MalformedData` when what has come of a frame shows that it is damaged."""
        buffer = self._buffer
        source = address_end(buffer, start + _FORMAT_SIZE)
        control = None if source is None else address_end(buffer, source)
        if control is None:
            return
        end = control + 1 + CHECK_SIZE
        if len(buffer) >= end and start + length > end and not is_intact(buffer[start:end]):
            raise MalformedData("wrong header check sequence")
