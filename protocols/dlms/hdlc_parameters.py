"""What two HDLC stations agree on when they connect: information field lengths and windows.

SNRM proposes and UA answers, both as ``81 80 length (identifier length value)*``; each side speaks
of its own transmission (5, 7) and reception (6, 8). What is left out has its default. After
IEC 62056-46, 6.4.4.4.3.2 (clause unverified).
"""

from __future__ import annotations

from dataclasses import dataclass

from headend.domain.errors import LocalProtocolError
from protocols.dlms.errors import MalformedData

DEFAULT_INFORMATION = 128  # octets
DEFAULT_WINDOW = 1  # frames
MIN_INFORMATION = 8  # octets; the standard asks for 32, some meters offer less
MAX_INFORMATION = 2030  # octets
MAX_WINDOW = 7  # frames, of numbers modulo 8
_FORMAT, _GROUP = 0x81, 0x80
_TRANSMIT_INFORMATION, _RECEIVE_INFORMATION, _TRANSMIT_WINDOW, _RECEIVE_WINDOW = 5, 6, 7, 8
_MAX_VALUE_SIZE = 4


@dataclass(frozen=True, slots=True)
class LinkParameters:
    """Limits of one station, as it sees them: information field [octets] and window [frames]."""

    transmit_information: int = DEFAULT_INFORMATION
    receive_information: int = DEFAULT_INFORMATION
    transmit_window: int = DEFAULT_WINDOW
    receive_window: int = DEFAULT_WINDOW

    def __post_init__(self) -> None:
        for size in (self.transmit_information, self.receive_information):
            if not MIN_INFORMATION <= size <= MAX_INFORMATION:
                raise LocalProtocolError(f"an HDLC information field of {size} octets")
        for window in (self.transmit_window, self.receive_window):
            if not 1 <= window <= MAX_WINDOW:
                raise LocalProtocolError(f"an HDLC window of {window} frames")

    def encode(self) -> bytes:
        """Return the information field of SNRM or UA."""
        values = b"".join((
            _encode_information(_TRANSMIT_INFORMATION, self.transmit_information),
            _encode_information(_RECEIVE_INFORMATION, self.receive_information),
            bytes((_TRANSMIT_WINDOW, 4)) + self.transmit_window.to_bytes(4, "big"),
            bytes((_RECEIVE_WINDOW, 4)) + self.receive_window.to_bytes(4, "big"),
        ))  # fmt: skip
        return bytes((_FORMAT, _GROUP, len(values))) + values

    def meet(self, peer: LinkParameters) -> LinkParameters:
        """Return what holds between this station and its peer: the lower of each pair."""
        return LinkParameters(
            min(self.transmit_information, peer.receive_information),
            min(self.receive_information, peer.transmit_information),
            min(self.transmit_window, peer.receive_window),
            min(self.receive_window, peer.transmit_window),
        )


def decode_parameters(information: bytes) -> LinkParameters:
    """Read the information field of SNRM or UA; an empty one leaves every default.

    Values beyond the standard's highest are taken as the highest. Raises `MalformedData`.
    """
    if not information:
        return LinkParameters()
    if len(information) < 3 or information[:2] != bytes((_FORMAT, _GROUP)):
        raise MalformedData("unknown HDLC parameters")
    if information[2] != len(information) - 3:
        raise MalformedData("HDLC parameters of another length than they claim")
    values: dict[int, int] = {}
    position = 3
    while position < len(information):
        if len(information) < position + 2:
            raise MalformedData("an HDLC parameter is cut")
        identifier, size = information[position], information[position + 1]
        value = information[position + 2 : position + 2 + size]
        if len(value) != size or not 1 <= size <= _MAX_VALUE_SIZE:
            raise MalformedData(f"HDLC parameter {identifier} of {size} octets")
        values[identifier] = int.from_bytes(value, "big")
        position += 2 + size
    return LinkParameters(
        _information_size(values, _TRANSMIT_INFORMATION),
        _information_size(values, _RECEIVE_INFORMATION),
        _window(values, _TRANSMIT_WINDOW),
        _window(values, _RECEIVE_WINDOW),
    )


def _encode_information(identifier: int, size: int) -> bytes:
    octets = 1 if size <= 0xFF else 2
    return bytes((identifier, octets)) + size.to_bytes(octets, "big")


def _information_size(values: dict[int, int], identifier: int) -> int:
    size = min(values.get(identifier, DEFAULT_INFORMATION), MAX_INFORMATION)
    if size < MIN_INFORMATION:
        raise MalformedData(f"an HDLC information field of {size} octets")
    return size


def _window(values: dict[int, int], identifier: int) -> int:
    window = values.get(identifier, DEFAULT_WINDOW)
    if not window:
        raise MalformedData("an HDLC window of 0 frames")
    return min(window, MAX_WINDOW)
