"""What requests and answers are built of: attributes, blocks, lists, results (Green Book 9.4).

Values stay encoded. A block is one numbered part of a long value; the parts joined are the value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from headend.domain.obis import Obis
from protocols.dlms import xdr
from protocols.dlms.errors import AccessResult, MalformedData, parse_access_result
from protocols.dlms.selection import Selection, decode_selection, encode_selection

HEAD_SIZE = 3  # octets of service, kind and invoke-id-and-priority


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of one object."""

    class_id: int
    obis: Obis
    number: int

    def encode(self) -> bytes:
        """Return the 9 octets of the descriptor."""
        return self.class_id.to_bytes(2, "big") + self.obis.octets + bytes((self.number & 0xFF,))

    def __str__(self) -> str:
        return f"{self.obis} class {self.class_id} attribute {self.number}"


@dataclass(frozen=True, slots=True)
class Block:
    """One numbered part of a long request or answer; numbers begin at 1."""

    number: int
    last: bool
    data: bytes

    def encode(self) -> bytes:
        """Return the octets: last-block, block-number, raw-data."""
        head = bytes((int(self.last),)) + self.number.to_bytes(4, "big")
        return head + xdr.encode_length(len(self.data)) + self.data


def decode_block(octets: bytes, position: int) -> tuple[Block, int]:
    """Decode a block at ``position``; return it and the position behind it."""
    if position + 5 >= len(octets):
        raise MalformedData("a block is cut short")
    number = int.from_bytes(octets[position + 1 : position + 5], "big")
    data, end = xdr.take(octets, position + 5)
    return Block(number, octets[position] != 0, data), end


Targets: TypeAlias = "tuple[tuple[Attribute, Selection | None], ...]"


def encode_list(values: Sequence[bytes]) -> bytes:
    """Encode a counted list of encoded values."""
    return xdr.encode_length(len(values)) + b"".join(values)


def decode_list(octets: bytes, position: int) -> tuple[tuple[bytes, ...], int]:
    """Decode a counted list into its encoded values; return them and the position behind."""
    count, position = xdr.decode_length(octets, position)
    if count > len(octets) - position:
        raise MalformedData(f"{count} values announced in {len(octets) - position} octets")
    values = []
    for _ in range(count):
        end = xdr.skip(octets, position)
        values.append(octets[position:end])
        position = end
    return tuple(values), position


def as_many(values: tuple[bytes, ...], count: int) -> tuple[bytes, ...]:
    """Return ``values``; raises `MalformedData` unless there are ``count``."""
    if len(values) != count:
        raise MalformedData(f"{len(values)} values for {count} objects")
    return values


def encode_items(items: Targets) -> bytes:
    """Encode the counted attributes with their selections."""
    return xdr.encode_length(len(items)) + b"".join(
        attribute.encode() + encode_selection(selection) for attribute, selection in items
    )


def decode_count(octets: bytes, least: int) -> tuple[int, int]:
    """Return the count of things that take ``least`` octets each, and the position behind it."""
    count, position = xdr.decode_length(octets, HEAD_SIZE)
    if count * least > len(octets):
        raise MalformedData(f"{count} objects announced in {len(octets)} octets")
    return count, position


def decode_items(octets: bytes) -> tuple[Targets, int]:
    """Decode the attributes that a request with list names, behind its head."""
    count, position = decode_count(octets, 10)
    items = []
    for _ in range(count):
        attribute, position = decode_attribute(octets, position)
        selection, position = decode_selection(octets, position)
        items.append((attribute, selection))
    return tuple(items), position


def decode_attribute(octets: bytes, position: int) -> tuple[Attribute, int]:
    """Decode a descriptor at ``position``; return it and the position behind it."""
    end = position + 9
    if end > len(octets):
        raise MalformedData("an attribute descriptor is cut short")
    class_id = int.from_bytes(octets[position : position + 2], "big")
    number = int.from_bytes(octets[end - 1 : end], "big", signed=True)
    return Attribute(class_id, Obis(octets[position + 2 : position + 8]), number), end


Outcome: TypeAlias = "tuple[AccessResult, bytes | AccessResult | None]"


def encode_outcome(outcome: Outcome) -> bytes:
    """Encode a result with the optional data or result of its own behind it."""
    result, data = outcome
    head = bytes((result,))
    return head + b"\x00" if data is None else head + b"\x01" + encode_choice(data)


def encode_choice(data: bytes | AccessResult) -> bytes:
    """Encode data, or the result that refuses it."""
    return bytes((1, data)) if isinstance(data, AccessResult) else b"\x00" + data


def decode_choice(octets: bytes, position: int) -> tuple[bytes | AccessResult, int]:
    """Decode data or result at ``position``; return it and the position behind it."""
    choice = octets[position]
    position += 1
    if choice == 1:
        return parse_access_result(octets[position]), position + 1
    if choice != 0:
        raise MalformedData(f"{choice} is neither data nor a result")
    end = xdr.skip(octets, position)
    return octets[position:end], end


def decode_outcome_at(octets: bytes, position: int) -> tuple[Outcome, int]:
    """Decode a result with what follows it; return both and the position behind."""
    result = parse_access_result(octets[position])
    if octets[position + 1] == 0:
        return (result, None), position + 2
    data, end = decode_choice(octets, position + 2)
    return (result, data), end
