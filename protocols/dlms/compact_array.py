"""Compact arrays: elements of one described type, one after the other without tags (A-XDR).

The codec in `xdr` keeps a compact array's contents as they came, so that it survives untouched;
here they become elements and elements become contents.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from headend.domain.errors import LocalProtocolError
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData


def make_compact_array(description: d.TypeDescription, elements: Sequence[Data]) -> d.CompactArray:
    """Encode elements without their tags; raises `LocalProtocolError` for one of another type."""
    out = bytearray()
    for element in elements:
        _encode_described(element, description, out)
    return d.CompactArray(description, bytes(out))


def compact_array_elements(value: d.CompactArray) -> d.Array:
    """Decode the contents; raises `MalformedData` unless they end with a whole element."""
    values: list[Any] = []
    position = 0
    try:
        while position < len(value.contents):
            start = position
            element, position = _decode_described(value.contents, start, value.description, 0)
            if position == start:
                raise MalformedData("a compact array of elements without octets")
            values.append(element)
    except (struct.error, IndexError):
        raise MalformedData("the contents of a compact array are cut short") from None
    return d.Array(values)


def _encode_described(value: Data, description: d.TypeDescription, out: bytearray) -> None:
    if isinstance(description, int):
        encoded = xdr.encode(value)
        if encoded[0] != description:
            raise LocalProtocolError(f"{value!r} is not of data type {description}")
        out += encoded[1:]
        return
    is_array = isinstance(description, d.ArrayType)
    if isinstance(description, d.ArrayType):
        parts: tuple[d.TypeDescription, ...] = (description.element,) * description.count
    else:
        parts = description.elements
    if not isinstance(value, d.Array if is_array else d.Structure) or len(value) != len(parts):
        raise LocalProtocolError(f"{value!r} does not fit its description in a compact array")
    for element, part in zip(value, parts, strict=True):
        _encode_described(element, part, out)


def _decode_described(
    octets: bytes, position: int, description: d.TypeDescription, depth: int
) -> tuple[Data, int]:
    if isinstance(description, int):
        return xdr.decode_untagged(octets, position, description, depth)
    if isinstance(description, d.ArrayType):
        # Each element must take an octet, or a small message could expand without end.
        if description.count > len(octets) - position:
            raise MalformedData(f"{description.count} elements announced in a compact array")
        parts: tuple[d.TypeDescription, ...] = (description.element,) * description.count
    else:
        parts = description.elements
    values = []
    is_array = isinstance(description, d.ArrayType)
    for part in parts:
        value, end = _decode_described(octets, position, part, depth + 1)
        if end == position and is_array:
            raise MalformedData("array elements without octets in a compact array")
        position = end
        values.append(value)
    return (d.Array if is_array else d.Structure)(values), position
