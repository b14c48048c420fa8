"""A-XDR and APDUs: decode inverts encode, and any bytes give a value or a declared error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headend.domain.errors import HeadEndError
from headend.domain.obis import Obis
from protocols.dlms import acse, initiate, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.compact_array import compact_array_elements, make_compact_array
from protocols.dlms.cosem_time import CosemDate, CosemDateTime, CosemTime
from protocols.dlms.errors import AccessResult, MalformedData
from protocols.dlms.profile_buffer import decode_buffer
from protocols.dlms.selection import CaptureObject, EntrySelection, OtherSelection, RangeSelection
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter, encode_frame

NUMBERS = [
    d.DoubleLong, d.DoubleLongUnsigned, d.Bcd, d.Integer, d.Long, d.Unsigned, d.LongUnsigned,
    d.Long64, d.Long64Unsigned, d.Enum, d.DeltaInteger, d.DeltaLong, d.DeltaDoubleLong,
    d.DeltaUnsigned, d.DeltaLongUnsigned, d.DeltaDoubleLongUnsigned,
]  # fmt: skip


def numbers() -> st.SearchStrategy[object]:
    return st.one_of(*(st.integers(cls.low, cls.high).map(cls) for cls in NUMBERS))


def bit_strings() -> st.SearchStrategy[d.BitString]:
    return st.text("01", max_size=40).map(d.BitString.from_bits)


def descriptions() -> st.SearchStrategy[d.TypeDescription]:
    return st.recursive(
        st.sampled_from([0, 3, 5, 6, 9, 15, 18, 22, 23, 25]),
        lambda inner: st.one_of(
            st.builds(d.ArrayType, st.integers(0, 5), inner),
            st.lists(inner, max_size=4).map(lambda parts: d.StructureType(tuple(parts))),
        ),
        max_leaves=6,
    )


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.just(d.DONT_CARE),
    numbers(),
    st.floats(width=32, allow_nan=False).map(d.Float32),
    st.floats(allow_nan=False).map(d.Float64),
    st.binary(max_size=300),
    st.text(st.characters(max_codepoint=255), max_size=20).map(d.VisibleString),
    st.text(max_size=20).map(d.Utf8String),
    bit_strings(),
    st.binary(min_size=12, max_size=12).map(CosemDateTime),
    st.binary(min_size=5, max_size=5).map(CosemDate),
    st.binary(min_size=4, max_size=4).map(CosemTime),
    st.builds(d.CompactArray, descriptions(), st.binary(max_size=30)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=5).map(d.Array), st.lists(inner, max_size=5).map(d.Structure)
    ),
    max_leaves=12,
)

OCTET = st.integers(0, 255)
ATTRIBUTES = st.builds(
    rq.Attribute,
    st.integers(0, 0xFFFF),
    st.binary(min_size=6, max_size=6).map(Obis),
    st.integers(-128, 127),
)
COLUMNS = st.builds(
    CaptureObject,
    st.integers(0, 0xFFFF),
    st.binary(min_size=6, max_size=6).map(Obis),
    st.integers(-128, 127),
    st.integers(0, 0xFFFF),
)
UINT32 = st.integers(0, 0xFFFFFFFF)
SELECTIONS = st.one_of(
    st.none(),
    st.builds(RangeSelection, SCALARS, SCALARS, COLUMNS, st.lists(COLUMNS, max_size=3).map(tuple)),
    st.builds(EntrySelection, UINT32, UINT32, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    st.builds(OtherSelection, st.integers(3, 255), VALUES),
)
ENCODED = VALUES.map(xdr.encode)
BLOCKS = st.builds(rq.Block, UINT32, st.booleans(), st.binary(max_size=300))
TARGETS = st.lists(st.tuples(ATTRIBUTES, SELECTIONS), max_size=4).map(tuple)
REQUESTS = st.one_of(
    st.builds(rq.GetRequest, OCTET, ATTRIBUTES, SELECTIONS),
    st.builds(rq.GetRequestNext, OCTET, UINT32),
    st.builds(
        rq.GetRequestList, OCTET, st.lists(st.tuples(ATTRIBUTES, SELECTIONS), max_size=4).map(tuple)
    ),
    st.builds(rq.SetRequest, OCTET, ATTRIBUTES, ENCODED, SELECTIONS),
    st.builds(rq.ActionRequest, OCTET, ATTRIBUTES, st.none() | ENCODED),
    st.builds(rq.ActionRequestNext, OCTET, UINT32),
    st.builds(rq.SetRequestFirstBlock, OCTET, ATTRIBUTES, BLOCKS, SELECTIONS),
    st.builds(rq.SetRequestBlock, OCTET, BLOCKS),
    st.builds(rq.SetRequestListFirstBlock, OCTET, TARGETS, BLOCKS),
    st.builds(rq.ActionRequestFirstBlock, OCTET, ATTRIBUTES, BLOCKS),
    st.builds(rq.ActionRequestBlock, OCTET, BLOCKS),
    st.lists(st.tuples(ATTRIBUTES, SELECTIONS, ENCODED), max_size=4).map(
        lambda items: rq.SetRequestList(
            0xC1, tuple((at, chosen) for at, chosen, _ in items), tuple(v for *_, v in items)
        )
    ),
    st.lists(st.tuples(ATTRIBUTES, ENCODED), max_size=4).map(
        lambda items: rq.ActionRequestList(
            0xC1, tuple(at for at, _ in items), tuple(value for _, value in items)
        )
    ),
)
RESULTS = st.sampled_from(AccessResult)
RESPONSES = st.one_of(
    st.builds(rs.GetResponse, OCTET, ENCODED | RESULTS),
    st.builds(rs.GetResponseBlock, OCTET, st.booleans(), UINT32, st.binary() | RESULTS),
    st.builds(rs.GetResponseList, OCTET, st.lists(ENCODED | RESULTS, max_size=4).map(tuple)),
    st.builds(rs.SetResponse, OCTET, RESULTS),
    st.builds(rs.ActionResponse, OCTET, RESULTS, st.none() | ENCODED | RESULTS),
    st.builds(rs.SetResponseBlock, OCTET, UINT32),
    st.builds(rs.SetResponseLastBlock, OCTET, RESULTS, UINT32),
    st.builds(rs.SetResponseLastBlockList, OCTET, st.lists(RESULTS, max_size=4).map(tuple), UINT32),
    st.builds(rs.SetResponseList, OCTET, st.lists(RESULTS, max_size=4).map(tuple)),
    st.builds(rs.ActionResponseBlock, OCTET, BLOCKS),
    st.builds(rs.ActionResponseNext, OCTET, UINT32),
    st.builds(
        rs.ActionResponseList,
        OCTET,
        st.lists(st.tuples(RESULTS, st.none() | ENCODED | RESULTS), max_size=4).map(tuple),
    ),
    st.builds(rs.ExceptionResponse, OCTET, OCTET),
    st.builds(rs.ExceptionResponse, OCTET, st.just(6), UINT32),
    st.builds(rs.ConfirmedServiceError, OCTET, OCTET, OCTET),
)


def types_of(value: object) -> object:
    if isinstance(value, tuple):
        return (type(value), [types_of(each) for each in value])
    return type(value)


@given(VALUES)
def test_decode_inverts_encode_with_every_type(value: object) -> None:
    octets = xdr.encode(value)
    decoded = xdr.decode(octets)
    assert decoded == value
    assert types_of(decoded) == types_of(value)
    assert xdr.encode(decoded) == octets


@given(VALUES, st.data())
def test_mutated_data_gives_a_value_or_malformed_data(value: object, data: st.DataObject) -> None:
    octets = bytearray(xdr.encode(value))
    position = data.draw(st.integers(0, len(octets) - 1))
    octets[position] = data.draw(OCTET)
    mutated = bytes(octets[: data.draw(st.integers(0, len(octets)))])
    try:
        decoded = xdr.decode(mutated)
    except MalformedData:
        return
    # What was understood is understood again the same way, in canonical form (NaN apart).
    assert xdr.encode(xdr.decode(xdr.encode(decoded))) == xdr.encode(decoded)


@given(REQUESTS)
def test_requests_survive(request: rq.Request) -> None:
    assert rq.decode_request(request.encode()) == request


@given(RESPONSES)
def test_responses_survive(response: rs.Response) -> None:
    assert rs.decode_response(response.encode()) == response


@given(
    st.builds(
        acse.Aarq,
        OCTET,
        st.integers(0, 7).map(acse.Mechanism),
        st.none() | st.binary(min_size=8, max_size=8),
        st.none() | st.binary(max_size=64),
        st.binary(max_size=200),
    )
)
def test_aarqs_survive(aarq: acse.Aarq) -> None:
    assert acse.decode_aarq(aarq.encode()) == aarq


@given(
    st.builds(
        acse.Aare,
        OCTET,
        OCTET,
        OCTET,
        st.booleans(),
        st.integers(0, 7).map(acse.Mechanism),
        st.none() | st.binary(min_size=8, max_size=8),
        st.none() | st.binary(max_size=64),
        st.binary(max_size=200),
    )
)
def test_aares_survive(aare: acse.Aare) -> None:
    assert acse.decode_aare(aare.encode()) == aare


DECODERS = [
    xdr.decode, rq.decode_request, rs.decode_response, acse.decode_aarq, acse.decode_aare,
    acse.decode_rlrq, acse.decode_rlre, initiate.decode_initiate_request,
    initiate.decode_initiate_response, decode_buffer,
]  # fmt: skip
HEADS = st.sampled_from(
    [
        b"", b"\x01", b"\x02\x02", b"\x13", b"\x60", b"\x61", b"\x63", b"\xc0\x01\xc1",
        b"\xc4\x01\xc1", b"\xc4\x02\xc1", b"\xc4\x03\xc1", b"\xc7\x01\xc1", b"\xd8", b"\x08",
        b"\x01\x02\x02\x02", b"\xc1\x02\xc1", b"\xc1\x03\xc1", b"\xc1\x04\xc1", b"\xc1\x05\xc1",
        b"\xc3\x02\xc1", b"\xc3\x03\xc1", b"\xc3\x04\xc1", b"\xc3\x06\xc1", b"\xc5\x03\xc1",
        b"\xc5\x04\xc1", b"\xc7\x02\xc1", b"\xc7\x03\xc1", b"\x0e",
    ]
)  # fmt: skip


@given(HEADS, st.binary(max_size=60))
def test_any_bytes_give_a_value_or_a_declared_error(head: bytes, tail: bytes) -> None:
    for decode in DECODERS:
        try:
            decode(head + tail)
        except HeadEndError:
            continue


@given(
    st.lists(
        st.builds(WrapperFrame, st.integers(0, 65535), st.integers(0, 65535), st.binary()),
        max_size=5,
    ),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_frames_do_not_depend_on_where_the_stream_is_cut(
    frames: list[WrapperFrame], cuts: list[int]
) -> None:
    stream = b"".join(encode_frame(each.source, each.destination, each.apdu) for each in frames)
    splitter, found, position = WrapperSplitter(), [], 0
    for size in [*cuts, len(stream)]:
        found += splitter.feed(stream[position : position + size])
        position += size
    assert found == frames


@given(st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=8, max_size=8)))
def test_any_floating_point_octets_survive(number: bytes) -> None:
    octets = (b"\x17" if len(number) == 4 else b"\x18") + number
    assert xdr.encode(xdr.decode(octets)) == octets


@given(descriptions(), st.binary(max_size=30))
def test_the_elements_of_a_compact_array_make_it_again(
    description: d.TypeDescription, contents: bytes
) -> None:
    array = d.CompactArray(description, contents)
    try:
        elements = compact_array_elements(array)
    except MalformedData:
        return
    again = compact_array_elements(make_compact_array(description, elements))
    # A boolean comes in more than one form; everything else is what it was.
    assert xdr.encode(again) == xdr.encode(elements)
