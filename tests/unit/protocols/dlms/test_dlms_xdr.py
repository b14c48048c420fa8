"""A-XDR: what each type looks like on the wire, and what is refused."""

from __future__ import annotations

import copy

import pytest

from headend.domain.errors import LocalProtocolError
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.compact_array import compact_array_elements, make_compact_array
from protocols.dlms.cosem_time import CosemDate, CosemDateTime, CosemTime
from protocols.dlms.errors import MalformedData

NOON = bytes.fromhex("07E8020C 01 0C000000FE2000".replace(" ", ""))

ENCODINGS = [
    (None, "00"),
    (d.DONT_CARE, "FF"),
    (True, "0301"),
    (False, "0300"),
    (d.Integer(-1), "0FFF"),
    (d.Long(-2), "10FFFE"),
    (d.DoubleLong(-3), "05FFFFFFFD"),
    (d.Long64(-4), "14FFFFFFFFFFFFFFFC"),
    (d.Unsigned(255), "11FF"),
    (d.LongUnsigned(0x1234), "121234"),
    (d.DoubleLongUnsigned(0xDEADBEEF), "06DEADBEEF"),
    (d.Long64Unsigned(2**64 - 1), "15FFFFFFFFFFFFFFFF"),
    (d.Enum(30), "161E"),
    (d.Bcd(0x12), "0D12"),
    (d.Float32(1.5), "173FC00000"),
    (d.Float64(-0.1), "18BFB999999999999A"),
    (d.DeltaInteger(-1), "1CFF"),
    (d.DeltaLong(-1), "1DFFFF"),
    (d.DeltaDoubleLong(-1), "1EFFFFFFFF"),
    (d.DeltaUnsigned(1), "1F01"),
    (d.DeltaLongUnsigned(1), "200001"),
    (d.DeltaDoubleLongUnsigned(1), "2100000001"),
    (b"\x01\x02", "09020102"),
    (b"", "0900"),
    (bytes(200), "0981C8" + "00" * 200),
    (bytes(300), "0982012C" + "00" * 300),
    (d.VisibleString("AIDON"), "0A054149444F4E"),
    (d.VisibleString("\xff"), "0A01FF"),
    (d.Utf8String("电"), "0C03E794B5"),
    (d.BitString.from_bits("101"), "0403A0"),
    (d.BitString.from_bits(""), "0400"),
    (d.BitString(4, b"\xaf"), "0404AF"),
    (CosemDateTime(NOON), "19" + NOON.hex().upper()),
    (CosemDate(NOON[:5]), "1A" + NOON[:5].hex().upper()),
    (CosemTime(NOON[5:9]), "1B" + NOON[5:9].hex().upper()),
    (d.Array((d.Unsigned(1), d.Unsigned(2))), "010211011102"),
    (d.Structure((d.Integer(0), d.Enum(27))), "02020F00161B"),
    (d.CompactArray(18, b"\x00\x01\x00\x02"), "13120400010002"),
    (
        d.CompactArray(d.StructureType((17, d.ArrayType(2, 15))), b"\x01\x02\x03"),
        "130202110100020F03010203",
    ),
]


@pytest.mark.parametrize(
    ("value", "octets"), ENCODINGS, ids=[octets[:12] for _, octets in ENCODINGS]
)
def test_a_value_and_its_octets_name_each_other(value: object, octets: str) -> None:
    assert xdr.encode(value).hex().upper() == octets
    decoded = xdr.decode(bytes.fromhex(octets))
    assert decoded == value
    assert type(decoded) is type(value)


def test_any_nonzero_octet_is_true() -> None:
    assert xdr.decode(b"\x03\xff") is True


def test_lengths_need_not_be_in_their_shortest_form() -> None:
    assert xdr.decode(bytes.fromhex("09820002AABB")) == b"\xaa\xbb"


@pytest.mark.parametrize("value", [1, 1.0, "text", object(), [None]])
def test_a_python_value_without_a_width_of_its_own_is_refused(value: object) -> None:
    with pytest.raises(LocalProtocolError):
        xdr.encode(value)


@pytest.mark.parametrize(("make", "value"), [(d.Unsigned, 256), (d.Integer, -129), (d.Enum, -1)])
def test_a_number_beyond_its_width_is_refused(make: type, value: int) -> None:
    with pytest.raises(LocalProtocolError):
        make(value)


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "06000001",  # cut number
        "0905AABB",  # cut string
        "0984FFFFFFFFAA",  # far more announced than there is
        "0980",  # indefinite length
        "098500000000010A",  # length of five octets
        "0104110111",  # cut array
        "0200FF",  # octets left over
        "08",  # no such type
        "07",
        "0C01FF",  # not UTF-8
        "0409FF",  # cut bit-string
        "19FFFF",
        "13FE0100",  # compact array of an unknown type
        "1313",  # compact array of compact arrays
    ],
)
def test_what_is_no_value_is_malformed(octets: str) -> None:
    with pytest.raises(MalformedData):
        xdr.decode(bytes.fromhex(octets))


def test_nesting_is_bounded() -> None:
    with pytest.raises(MalformedData, match="nested"):
        xdr.decode(b"\x02\x01" * 200 + b"\x00")
    with pytest.raises(MalformedData, match="nested"):
        xdr.decode(b"\x13" + b"\x01\x00\x01" * 200 + b"\x00\x00")


def test_a_compact_array_decodes_to_its_elements() -> None:
    array = d.CompactArray(d.StructureType((9, 18)), b"\x02AB\x00\x05\x01C\x00\x06")
    elements = compact_array_elements(array)
    assert elements == ((b"AB", 5), (b"C", 6))
    assert type(elements[0][1]) is d.LongUnsigned


@pytest.mark.parametrize(
    "array",
    [
        d.CompactArray(18, b"\x00"),
        d.CompactArray(0, b"\x00"),  # elements without octets never end
        d.CompactArray(d.ArrayType(60000, d.ArrayType(60000, 0)), b"\x00"),
    ],
)
def test_a_compact_array_with_wrong_contents_is_malformed(array: d.CompactArray) -> None:
    with pytest.raises(MalformedData):
        compact_array_elements(array)


@pytest.mark.parametrize(
    "octets", ["17FFA00001", "177FC00000", "177F800000", "1780000000", "18FFF0000000000001"]
)
def test_every_floating_point_value_survives(octets: str) -> None:
    """Signalling and payload-carrying NaN, infinity and minus zero."""
    assert xdr.encode(xdr.decode(bytes.fromhex(octets))) == bytes.fromhex(octets)


def test_a_single_is_rounded_to_its_width_and_bounded() -> None:
    assert xdr.decode(xdr.encode(d.Float32(0.1))) == d.Float32(0.1) != 0.1
    with pytest.raises(LocalProtocolError):
        d.Float32(1e300)


def test_floating_point_values_can_be_copied() -> None:
    nan = xdr.decode(bytes.fromhex("17FFA00001"))
    assert xdr.encode(copy.deepcopy(nan)) == bytes.fromhex("17FFA00001")


MEASURED = d.StructureType((9, d.ArrayType(2, 18), 23))


def test_a_compact_array_is_built_from_its_elements() -> None:
    elements = [
        d.Structure((b"AB", d.Array((d.LongUnsigned(1), d.LongUnsigned(2))), d.Float32(0.5))),
        d.Structure((b"", d.Array((d.LongUnsigned(3), d.LongUnsigned(4))), d.Float32(-1.0))),
    ]
    array = make_compact_array(MEASURED, elements)
    assert compact_array_elements(array) == tuple(elements)
    assert xdr.decode(xdr.encode(array)) == array


@pytest.mark.parametrize(
    "element",
    [
        None,
        d.Structure((b"AB",)),
        d.Structure((b"AB", d.Array((d.LongUnsigned(1),)), d.Float32(0.5))),
        d.Structure((b"AB", d.Array((d.Unsigned(1), d.Unsigned(2))), d.Float32(0.5))),
    ],
)
def test_an_element_that_does_not_fit_its_description_is_refused(element: object) -> None:
    with pytest.raises(LocalProtocolError):
        make_compact_array(MEASURED, [element])
