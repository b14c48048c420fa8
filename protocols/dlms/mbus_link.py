"""Wired M-Bus long frames that carry DLMS APDUs, as customer ports of Austria and others push them.

EN 13757-2 (frame) and EN 13757-1 (segments; clauses unverified): 68 L L 68, then L octets, their
sum, 16. The L octets are control, address, CI, and with a CI of 00 to 1F a segment of a DLMS APDU:
bits 0 to 3 count segments, bit 4 marks the last; two octets of source and destination follow.
Raises `MalformedData`.
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.dlms.errors import MalformedData

START = 0x68
STOP = 0x16
_HEAD = 4  # start, length twice, start
_TAIL = 2  # sum and stop
_USER_HEAD = 5  # control, address, CI, source, destination
_LAST_CI = 0x1F
MAX_LENGTH = 0x3FF  # octets between the heads and the sum; the standard ends at 255
_FINAL = 0x10
_SEQUENCE = 0x0F


@dataclass(frozen=True, slots=True)
class MbusFrame:
    """One long frame; ``data`` is the segment of the APDU. ``sum_ok``: the check sum is right."""

    control: int
    address: int
    source: int
    destination: int
    sequence: int
    final: bool
    data: bytes
    sum_ok: bool


def starts_frame(octets: bytes, position: int) -> bool:
    """Tell whether a long frame begins at ``position``."""
    head = octets[position : position + _HEAD]
    return len(head) == _HEAD and head[0] == head[3] == START and head[1] == head[2]


def decode_frame(octets: bytes, position: int) -> tuple[MbusFrame, int]:
    """Decode the frame at ``position``; return it and the position behind it.

    Some meters send frames of more than 255 octets, whose length field has lost its high bits: the
    first length at which sum and stop octet fit counts, else the one announced.
    """
    if not starts_frame(octets, position):
        raise MalformedData("not an M-Bus long frame")
    start, announced = position + _HEAD, octets[position + 1]
    lengths = range(announced, MAX_LENGTH + 1, 0x100)
    length = next((n for n in lengths if _fits(octets, start, n)), announced)
    end = start + length
    if end + _TAIL > len(octets):
        raise MalformedData(f"an M-Bus frame of {length} octets is cut short")
    if octets[end + 1] != STOP:
        raise MalformedData(f"an M-Bus frame of {length} octets without its stop octet")
    user = octets[start:end]
    if length < _USER_HEAD or user[2] > _LAST_CI:
        raise MalformedData("an M-Bus frame that carries no DLMS segment")
    frame = MbusFrame(
        control=user[0],
        address=user[1],
        source=user[3],
        destination=user[4],
        sequence=user[2] & _SEQUENCE,
        final=bool(user[2] & _FINAL),
        data=user[_USER_HEAD:],
        sum_ok=_sum(user) == octets[end],
    )
    return frame, end + _TAIL


def _fits(octets: bytes, start: int, length: int) -> bool:
    tail = octets[start + length : start + length + _TAIL]
    return len(tail) == _TAIL and tail == bytes((_sum(octets[start : start + length]), STOP))


def _sum(user: bytes) -> int:
    return sum(user) & 0xFF
