"""One HDLC frame: known octets, addresses, parameters, and what is refused."""

from __future__ import annotations

import pytest

from headend.domain.errors import LocalProtocolError
from protocols.dlms.errors import MalformedData
from protocols.dlms.hdlc_frame import (
    FrameKind,
    HdlcAddress,
    HdlcFrame,
    decode_address,
    decode_frame,
    make_check_sequence,
)
from protocols.dlms.hdlc_parameters import LinkParameters, decode_parameters
from protocols.dlms.hdlc_splitter import HdlcSplitter

METER, CLIENT = HdlcAddress(1), HdlcAddress(16)


def loop_check_sequence(octets: bytes) -> bytes:
    """The bitwise definition of CRC-16/X-25."""
    crc = 0xFFFF
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return (crc ^ 0xFFFF).to_bytes(2, "little")


def test_the_check_sequence_is_that_of_its_definition() -> None:
    assert make_check_sequence(b"123456789") == bytes.fromhex("6e90")
    for size in (0, 1, 7, 300):
        octets = bytes(number * 7 % 256 for number in range(size))
        assert make_check_sequence(octets) == loop_check_sequence(octets)


@pytest.mark.parametrize(
    ("octets", "frame"),
    [
        # The first request of nearly every client, as found in captures and manuals.
        ("7ea0070321930f017e", HdlcFrame(FrameKind.SET_NORMAL_MODE, METER, CLIENT)),
        (
            "7ea00a00020023219318717e",
            HdlcFrame(FrameKind.SET_NORMAL_MODE, HdlcAddress(1, 17, 4), CLIENT),
        ),
        (
            "7ea01e210373c37a818012050180060180070400000001080400000001533b7e",
            HdlcFrame(FrameKind.ACKNOWLEDGE, CLIENT, METER, information=LinkParameters().encode()),
        ),
    ],
)
def test_known_octets(octets: str, frame: HdlcFrame) -> None:
    whole = bytes.fromhex(octets)
    assert decode_frame(whole[1:-1]) == frame
    assert frame.encode() == whole


def test_a_segment_carries_numbers_poll_bit_and_information() -> None:
    frame = HdlcFrame(
        FrameKind.INFORMATION, METER, CLIENT, final=False, send_number=5, receive_number=6,
        information=b"abc", segmented=True,
    )  # fmt: skip
    octets = frame.encode()
    assert octets[1] == 0xA8
    assert octets[5] == 0b110_0_101_0
    assert decode_frame(octets[1:-1]) == frame


@pytest.mark.parametrize(
    ("address", "octets"),
    [
        (HdlcAddress(1), "03"),
        (HdlcAddress(127), "ff"),
        (HdlcAddress(1, 17), "0223"),
        (HdlcAddress(1, 17, 4), "00020023"),
        (HdlcAddress(1, 200), "00020291"),
        (HdlcAddress(0x3FFF, 0x3FFF), "fefefeff"),
    ],
)
def test_addresses_take_one_two_or_four_octets(address: HdlcAddress, octets: str) -> None:
    assert address.encode() == bytes.fromhex(octets)
    assert decode_address(bytes.fromhex(octets)) == address


@pytest.mark.parametrize(
    ("upper", "lower", "size"),
    [(128, None, 0), (-1, None, 0), (1, 0x4000, 0), (1, 200, 2), (1, 2, 1), (1, None, 2)],
)
def test_an_address_that_does_not_fit_is_refused(upper: int, lower: int | None, size: int) -> None:
    with pytest.raises(LocalProtocolError):
        HdlcAddress(upper, lower, size)


def test_an_address_of_three_octets_is_malformed() -> None:
    with pytest.raises(MalformedData):
        decode_address(b"\x00\x02\x03")


def test_a_frame_beyond_its_length_field_is_refused() -> None:
    HdlcFrame(FrameKind.INFORMATION, METER, CLIENT, information=bytes(2030)).encode()
    with pytest.raises(LocalProtocolError):
        HdlcFrame(FrameKind.INFORMATION, METER, CLIENT, information=bytes(2040)).encode()


def with_check_sequence(octets: str) -> bytes:
    body = bytes.fromhex(octets)
    return body + make_check_sequence(body)


@pytest.mark.parametrize(
    "octets",
    [
        with_check_sequence("a0080002039300")[:-1],  # shorter than it says
        with_check_sequence("b007032193"),  # another format type
        with_check_sequence("a007032197")[:-1] + b"\x00",  # wrong check sequence
        with_check_sequence("a0070321ef"),  # no such control field
        with_check_sequence("a00b00020402030593"),  # an address of three octets
        with_check_sequence("a0090000000002"),  # an address without end
        with_check_sequence("a00a03211000000a"),  # wrong header check sequence
        with_check_sequence("a0080321100a"),  # too short for one
    ],
)
def test_what_is_no_frame_is_malformed(octets: bytes) -> None:
    with pytest.raises(MalformedData):
        decode_frame(octets)


def test_limits_meet_at_the_lower_of_each_side() -> None:
    own = LinkParameters(512, 256, 7, 3)
    peer = LinkParameters(128, 1024, 1, 4)
    assert own.meet(peer) == LinkParameters(512, 128, 4, 1)
    assert peer.meet(own) == LinkParameters(128, 512, 1, 4)


@pytest.mark.parametrize(
    ("octets", "parameters"),
    [
        ("", LinkParameters()),
        ("818000", LinkParameters()),
        ("818003050140", LinkParameters(transmit_information=64)),
        ("8180040502ffff", LinkParameters(transmit_information=2030)),
        ("818003070103", LinkParameters(transmit_window=3)),
        ("81800608040000000c", LinkParameters(receive_window=7)),
        ("818003630101", LinkParameters()),  # one that is not known here
    ],
)
def test_parameters_left_out_have_their_defaults(octets: str, parameters: LinkParameters) -> None:
    assert decode_parameters(bytes.fromhex(octets)) == parameters


@pytest.mark.parametrize(
    "octets", ["81", "828000", "818001", "81800105", "8180030502ff", "818003050100",
               "818003070100", "81800205008180"],
)  # fmt: skip
def test_wrong_parameters_are_malformed(octets: str) -> None:
    with pytest.raises(MalformedData):
        decode_parameters(bytes.fromhex(octets))


def test_limits_out_of_bounds_are_a_defect_of_ours() -> None:
    for wrong in ((4, 128, 1, 1), (128, 2031, 1, 1), (128, 128, 0, 1), (128, 128, 1, 8)):
        with pytest.raises(LocalProtocolError):
            LinkParameters(*wrong)


def test_a_damaged_length_is_noticed_before_its_octets_would_have_come() -> None:
    """Else one frame would swallow the answers of the next seconds."""
    good = HdlcFrame(FrameKind.INFORMATION, CLIENT, METER, information=b"answer")
    damaged = bytearray(good.encode())
    damaged[1] |= 0x07  # claims 1,800 octets
    splitter = HdlcSplitter()
    assert splitter.feed(bytes(damaged)) == []
    assert splitter.feed(good.encode()) == [good]
    assert splitter.damaged >= 1


def test_lost_octets_cost_their_frame_only() -> None:
    good = HdlcFrame(FrameKind.INFORMATION, CLIENT, METER, information=bytes(range(100)))
    octets = good.encode()
    splitter = HdlcSplitter()
    assert splitter.feed(octets[:40] + octets[60:]) == []
    assert splitter.feed(octets) == [good]


def test_a_frame_without_its_closing_flag_is_complete() -> None:
    frame = HdlcFrame(FrameKind.RECEIVE_READY, CLIENT, METER, receive_number=3)
    splitter = HdlcSplitter()
    assert splitter.feed(frame.encode()[:-1]) == [frame]
    assert splitter.feed(b"\x7e") == []
    assert splitter.damaged == 0
