"""A-XDR: COSEM data (IEC 62056-5-3, IEC 61334-6) to typed values of `data` and back.

``encode(decode(octets)) == octets`` for every canonical encoding (shortest lengths, true as 1),
and ``decode(encode(value))`` has the same types. A plain ``int``, ``float`` or ``str`` is refused,
because its width would be a guess.

Knows nothing of APDUs. Received faults raise `MalformedData`, ours raise `LocalProtocolError`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeAlias

from headend.domain.errors import LocalProtocolError
from protocols.dlms import data as d
from protocols.dlms.cosem_time import CosemDate, CosemDateTime, CosemTime
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData

MAX_DEPTH = 24  # nesting of received structures; real objects stay below 8

_Decoder: TypeAlias = Callable[[bytes, int, int], tuple[Data, int]]
_NUMBERS: tuple[type, ...] = (
    d.DoubleLong, d.DoubleLongUnsigned, d.Bcd, d.Integer, d.Long, d.Unsigned, d.LongUnsigned,
    d.Long64, d.Long64Unsigned, d.Enum, d.DeltaInteger, d.DeltaLong, d.DeltaDoubleLong,
    d.DeltaUnsigned, d.DeltaLongUnsigned, d.DeltaDoubleLongUnsigned,
)  # fmt: skip
_FLOATS: tuple[type[d.Float32] | type[d.Float64], ...] = (d.Float32, d.Float64)
_TIMES: tuple[tuple[int, type, int], ...] = (
    (d.TAG_DATE_TIME, CosemDateTime, 12),
    (d.TAG_DATE, CosemDate, 5),
    (d.TAG_TIME, CosemTime, 4),
)


def encode(value: Data) -> bytes:
    """Encode one value with its tag; raises `LocalProtocolError` for a type that is not ours."""
    out = bytearray()
    _encode_into(value, out)
    return bytes(out)


def decode(octets: bytes) -> Data:
    """Decode exactly one value; octets left over are `MalformedData`."""
    value, end = decode_at(octets, 0)
    if end != len(octets):
        raise MalformedData(f"{len(octets) - end} octets follow the value")
    return value


def decode_at(octets: bytes, position: int) -> tuple[Data, int]:
    """Decode one value at ``position``; return it and the position behind it."""
    try:
        return _decode_tagged(octets, position, 0)
    except (struct.error, IndexError):
        raise MalformedData("the data is cut short") from None


def decode_untagged(octets: bytes, position: int, tag: int, depth: int) -> tuple[Data, int]:
    """Decode a value of type ``tag`` that has no tag of its own; `IndexError` where it is cut."""
    decoder = _DECODERS[tag]
    if decoder is None:
        raise MalformedData(f"{tag} is no data type")
    return decoder(octets, position, depth)


def skip(octets: bytes, position: int) -> int:
    """Return the position behind the value at ``position``, which is checked on the way."""
    return decode_at(octets, position)[1]


def encode_length(length: int) -> bytes:
    """Encode a length or count in its shortest form."""
    if length < 0x80:
        return bytes((length,))
    size = (length.bit_length() + 7) // 8
    return bytes((0x80 | size,)) + length.to_bytes(size, "big")


def decode_length(octets: bytes, position: int) -> tuple[int, int]:
    """Return (length, next position); `IndexError` or `MalformedData` where there is none."""
    first = octets[position]
    position += 1
    if first < 0x80:
        return first, position
    size = first & 0x7F
    end = position + size
    if not 1 <= size <= 4 or end > len(octets):
        raise MalformedData("a length is cut short or too wide")
    return int.from_bytes(octets[position:end], "big"), end


def take(octets: bytes, position: int) -> tuple[bytes, int]:
    """Return the length-prefixed octets at ``position`` and the position behind them."""
    length, start = decode_length(octets, position)
    end = start + length
    if end > len(octets):
        raise MalformedData(f"{length} octets announced, {len(octets) - start} there")
    return octets[start:end], end


def octet_string(value: bytes) -> bytes:
    """Encode an octet-string with its tag."""
    return b"\x09" + encode_length(len(value)) + value


# --- encoding --------------------------------------------------------------------------------


def _encode_into(value: Data, out: bytearray) -> None:
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        raise LocalProtocolError(f"{type(value).__name__} has no COSEM type of its own")
    encoder(value, out)


def _number_encoder(cls: Any) -> Callable[[Data, bytearray], None]:
    pack, head = struct.Struct(cls.format).pack, bytes((cls.tag,))

    def encode_number(value: Data, out: bytearray) -> None:
        out += head
        out += pack(value)

    return encode_number


def _octets_encoder(tag: int, encoding: str | None) -> Callable[[Data, bytearray], None]:
    def encode_octets(value: Data, out: bytearray) -> None:
        try:
            octets = value if encoding is None else value.encode(encoding)
        except UnicodeEncodeError as fault:
            raise LocalProtocolError(f"{value!r} does not fit {encoding}") from fault
        out.append(tag)
        out += encode_length(len(octets))
        out += octets

    return encode_octets


def _sequence_encoder(tag: int) -> Callable[[Data, bytearray], None]:
    def encode_sequence(value: Data, out: bytearray) -> None:
        out.append(tag)
        out += encode_length(len(value))
        for element in value:
            _encode_into(element, out)

    return encode_sequence


def _time_encoder(tag: int) -> Callable[[Data, bytearray], None]:
    def encode_time(value: Data, out: bytearray) -> None:
        out.append(tag)
        out += value.octets

    return encode_time


def _encode_float(value: Data, out: bytearray) -> None:
    out.append(value.tag)
    out += value.encode()


def _encode_bit_string(value: Data, out: bytearray) -> None:
    out.append(d.TAG_BIT_STRING)
    out += encode_length(value.count)
    out += value.octets


def _encode_compact_array(value: Data, out: bytearray) -> None:
    out.append(d.TAG_COMPACT_ARRAY)
    _encode_description(value.description, out)
    out += encode_length(len(value.contents))
    out += value.contents


def _encode_description(description: d.TypeDescription, out: bytearray) -> None:
    if isinstance(description, d.ArrayType):
        out.append(d.TAG_ARRAY)
        out += description.count.to_bytes(2, "big")
        _encode_description(description.element, out)
    elif isinstance(description, d.StructureType):
        out.append(d.TAG_STRUCTURE)
        out += encode_length(len(description.elements))
        for element in description.elements:
            _encode_description(element, out)
    else:
        out.append(description)


_ENCODERS: dict[type, Callable[[Data, bytearray], None]] = {
    type(None): lambda _value, out: out.append(d.TAG_NULL),
    bool: lambda value, out: out.extend((d.TAG_BOOLEAN, int(value))),
    bytes: _octets_encoder(d.TAG_OCTET_STRING, None),
    d.VisibleString: _octets_encoder(d.TAG_VISIBLE_STRING, "latin-1"),
    d.Utf8String: _octets_encoder(d.TAG_UTF8_STRING, "utf-8"),
    d.Array: _sequence_encoder(d.TAG_ARRAY),
    d.Structure: _sequence_encoder(d.TAG_STRUCTURE),
    d.BitString: _encode_bit_string,
    d.CompactArray: _encode_compact_array,
    d.DontCare: lambda _value, out: out.append(d.TAG_DONT_CARE),
    **{cls: _number_encoder(cls) for cls in _NUMBERS},
    **dict.fromkeys(_FLOATS, _encode_float),
    **{cls: _time_encoder(tag) for tag, cls, _ in _TIMES},
}


# --- decoding --------------------------------------------------------------------------------


def _decode_tagged(octets: bytes, position: int, depth: int) -> tuple[Data, int]:
    decoder = _DECODERS[octets[position]]
    if decoder is None:
        raise MalformedData(f"{octets[position]} is no data type")
    return decoder(octets, position + 1, depth)  # not `decode_untagged`: this is the fast path


def _number_decoder(cls: Any) -> _Decoder:
    unpack = struct.Struct(cls.format).unpack_from
    size = struct.calcsize(cls.format)
    new = int.__new__  # the width already guarantees the range: no need for the check

    def decode_number(octets: bytes, position: int, _depth: int) -> tuple[Data, int]:
        return new(cls, unpack(octets, position)[0]), position + size

    return decode_number


def _float_decoder(cls: Any) -> _Decoder:
    unpack = struct.Struct(cls.format).unpack_from
    size = struct.calcsize(cls.format)

    def decode_float(octets: bytes, position: int, _depth: int) -> tuple[Data, int]:
        end = position + size
        return cls(unpack(octets, position)[0], octets[position:end]), end

    return decode_float


def _sequence_decoder(cls: type) -> _Decoder:
    def decode_sequence(octets: bytes, position: int, depth: int) -> tuple[Data, int]:
        if depth >= MAX_DEPTH:
            raise MalformedData(f"data nested deeper than {MAX_DEPTH}")
        count, position = decode_length(octets, position)
        if count > len(octets) - position:
            raise MalformedData(f"{count} elements announced in {len(octets) - position} octets")
        values = []
        for _ in range(count):
            value, position = _decode_tagged(octets, position, depth + 1)
            values.append(value)
        return cls(values), position

    return decode_sequence


def _time_decoder(cls: type, size: int) -> _Decoder:
    def decode_time(octets: bytes, position: int, _depth: int) -> tuple[Data, int]:
        end = position + size
        if end > len(octets):
            raise MalformedData("a date or time is cut short")
        return cls(octets[position:end]), end

    return decode_time


def _decode_boolean(octets: bytes, position: int, _depth: int) -> tuple[Data, int]:
    return octets[position] != 0, position + 1


def _decode_octets(octets: bytes, position: int, _depth: int) -> tuple[Data, int]:
    return take(octets, position)


def _decode_visible(octets: bytes, position: int, _depth: int) -> tuple[Data, int]:
    value, position = take(octets, position)
    return d.VisibleString(value.decode("latin-1")), position


def _decode_utf8(octets: bytes, position: int, _depth: int) -> tuple[Data, int]:
    value, position = take(octets, position)
    try:
        return d.Utf8String(value.decode("utf-8")), position
    except UnicodeDecodeError:
        raise MalformedData("a UTF-8 string that is none") from None


def _decode_bit_string(octets: bytes, position: int, _depth: int) -> tuple[Data, int]:
    count, start = decode_length(octets, position)
    end = start + (count + 7) // 8
    if end > len(octets):
        raise MalformedData("a bit-string is cut short")
    return d.BitString(count, octets[start:end]), end


def _decode_compact_array(octets: bytes, position: int, depth: int) -> tuple[Data, int]:
    description, position = _decode_description(octets, position, depth)
    contents, position = take(octets, position)
    return d.CompactArray(description, contents), position


def _decode_description(octets: bytes, position: int, depth: int) -> tuple[d.TypeDescription, int]:
    if depth >= MAX_DEPTH:
        raise MalformedData(f"a type description nested deeper than {MAX_DEPTH}")
    tag = octets[position]
    position += 1
    if tag == d.TAG_ARRAY:
        count = int.from_bytes(octets[position : position + 2], "big")
        element, end = _decode_description(octets, position + 2, depth + 1)
        return d.ArrayType(count, element), end
    if tag == d.TAG_STRUCTURE:
        count, position = decode_length(octets, position)
        if count > len(octets) - position:
            raise MalformedData(f"{count} element types announced")
        elements = []
        for _ in range(count):
            description, position = _decode_description(octets, position, depth + 1)
            elements.append(description)
        return d.StructureType(tuple(elements)), position
    if _DECODERS[tag] is None or tag == d.TAG_COMPACT_ARRAY:
        raise MalformedData(f"{tag} is no element type of a compact array")
    return tag, position


def _decoder_table() -> tuple[_Decoder | None, ...]:
    table: list[_Decoder | None] = [None] * 256
    table[d.TAG_NULL] = lambda _octets, position, _depth: (None, position)
    table[d.TAG_DONT_CARE] = lambda _octets, position, _depth: (d.DONT_CARE, position)
    table[d.TAG_BOOLEAN] = _decode_boolean
    table[d.TAG_ARRAY] = _sequence_decoder(d.Array)
    table[d.TAG_STRUCTURE] = _sequence_decoder(d.Structure)
    table[d.TAG_BIT_STRING] = _decode_bit_string
    table[d.TAG_OCTET_STRING] = _decode_octets
    table[d.TAG_VISIBLE_STRING] = _decode_visible
    table[d.TAG_UTF8_STRING] = _decode_utf8
    table[d.TAG_COMPACT_ARRAY] = _decode_compact_array
    for cls in _NUMBERS:
        table[cls.tag] = _number_decoder(cls)  # type: ignore[attr-defined]
    for floating in _FLOATS:
        table[floating.tag] = _float_decoder(floating)
    for tag, cls, size in _TIMES:
        table[tag] = _time_decoder(cls, size)
    return tuple(table)


_DECODERS = _decoder_table()
