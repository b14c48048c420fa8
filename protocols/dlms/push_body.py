"""The body of a push as a tree of data, also where a meter encodes it loosely.

The strict decoder of `xdr` goes first, and what it takes is never questioned. Only what it refuses
is read again with the two liberties seen in the field:

- an attribute descriptor (class, OBIS, attribute: 9 octets) that stands without a tag as an
  element, becoming an `AttributeDescriptor`;
- an OBIS octet string whose tag and length are swapped (06 09 instead of 09 06).

Octets behind the value are returned, not dropped. Raises `MalformedData` with the place.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from headend.domain.obis import Obis
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData

DESCRIPTOR_SIZE = 9
_MAX_PLAIN_CLASS = 0xFF  # classes above 255 would not begin with the octet of null-data
_MAX_ATTRIBUTE = 31
_MAX_MEDIUM = 15  # value group A of an OBIS code: 0 to 15
_MAX_CHANNEL = 199  # value group B; 200 to 255 are reserved


@dataclass(frozen=True, slots=True)
class AttributeDescriptor:
    """Names one attribute of one object."""

    class_id: int
    obis: Obis
    attribute: int


@dataclass(frozen=True, slots=True)
class Body:
    """The value, the octets behind it, and the liberties that were taken, in words."""

    value: Data
    trailing: bytes = b""
    quirks: tuple[str, ...] = ()


def decode_body(octets: bytes) -> Body:
    """Decode one value; raises `MalformedData` telling the octet where it ends."""
    try:
        return Body(xdr.decode(octets))
    except MalformedData:
        reader = _LooseReader(octets)
        value = reader.element(0)
        if reader.position == len(octets) and not reader.quirks:
            raise
        return Body(value, octets[reader.position :], tuple(reader.quirks))


def is_obis(octets: object) -> bool:
    """Tell whether a value can be an OBIS code: its medium and its channel exist."""
    return (
        isinstance(octets, bytes)
        and len(octets) == 6
        and octets[0] <= _MAX_MEDIUM
        and octets[1] <= _MAX_CHANNEL
    )


@dataclass(slots=True)
class _LooseReader:
    """Reads elements one after the other, keeping the place for what it has to say."""

    octets: bytes
    position: int = 0
    quirks: list[str] = field(default_factory=list)

    def element(self, depth: int) -> Data:
        if depth > xdr.MAX_DEPTH:
            raise self._fault("data nested too deep")
        if self.position >= len(self.octets):
            raise self._fault("the data end")
        descriptor = self._descriptor() if depth else None
        if descriptor is not None:
            return descriptor
        code = self._swapped()
        if code is not None:
            return code
        tag = self.octets[self.position]
        if tag in (d.TAG_ARRAY, d.TAG_STRUCTURE):
            return self._sequence(tag, depth)
        try:
            value, self.position = xdr.decode_at(self.octets, self.position)
        except MalformedData as fault:
            raise self._fault(str(fault)) from None
        return value

    def _sequence(self, tag: int, depth: int) -> Data:
        start = self.position
        try:
            count, self.position = xdr.decode_length(self.octets, start + 1)
        except (IndexError, MalformedData):
            raise self._fault("a count is cut short or too wide") from None
        if count > len(self.octets) - self.position:
            self.position = start
            raise self._fault(f"{count} elements announced")
        values = [self.element(depth + 1) for _ in range(count)]
        return d.Array(values) if tag == d.TAG_ARRAY else d.Structure(values)

    def _descriptor(self) -> AttributeDescriptor | None:
        head = self.octets[self.position : self.position + DESCRIPTOR_SIZE]
        if len(head) < DESCRIPTOR_SIZE or head[0] or not head[1]:
            return None
        # An OBIS code of the present (F = 255) cannot be taken for data by chance.
        if not is_obis(head[2:8]) or head[7] != 0xFF or not 1 <= head[8] <= _MAX_ATTRIBUTE:
            return None
        self.position += DESCRIPTOR_SIZE
        self._note("attribute descriptors without a tag")
        return AttributeDescriptor(head[1], Obis(head[2:8]), head[8])

    def _swapped(self) -> bytes | None:
        start = self.position
        if self.octets[start : start + 2] != b"\x06\x09":
            return None
        code = self.octets[start + 2 : start + 8]
        if not is_obis(code) or code[5] != 0xFF:
            return None
        self.position += 8
        self._note("OBIS codes with tag and length swapped")
        return code

    def _note(self, quirk: str) -> None:
        if quirk not in self.quirks:
            self.quirks.append(quirk)

    def _fault(self, what: str) -> MalformedData:
        return MalformedData(f"{what} at octet {self.position} of the pushed data")
