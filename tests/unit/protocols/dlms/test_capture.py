"""Framing found from the octets: M-Bus, WRAPPER, HDLC, gateway headers, bare blocks, noise."""

from __future__ import annotations

import pytest

from protocols.dlms.capture import read_capture
from protocols.dlms.decode import decode_capture
from protocols.dlms.decode_document import build_document
from protocols.dlms.errors import MalformedData
from protocols.dlms.gbt import split_unconfirmed
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame
from protocols.dlms.wrapper import encode_frame

APDU = bytes.fromhex("0f00000001000202 0906 0100010800ff 0600000539".replace(" ", ""))
VALUE = {"1.0.1.8.0.255": 1337}


def _mbus(data: bytes, ci: int, *, length: int | None = None, source: int = 1) -> bytes:
    user = bytes((0x53, 0xFF, ci, source, 0x67)) + data
    announced = (len(user) if length is None else length) & 0xFF
    return bytes((0x68, announced, announced, 0x68)) + user + bytes((sum(user) & 0xFF, 0x16))


def _hdlc(information: bytes, *, segmented: bool = False) -> bytes:
    return HdlcFrame(
        FrameKind.UNNUMBERED,
        HdlcAddress(16),
        HdlcAddress(1),
        information=information,
        segmented=segmented,
    ).encode()


def _values(octets: bytes) -> dict[str, object]:
    return build_document(decode_capture(octets, strict=True))["obis"]


def test_every_framing_of_one_push() -> None:
    captures = [
        APDU,
        b"\xe6\xe7\x00" + APDU,
        encode_frame(1, 16, APDU),
        _hdlc(b"\xe6\xe7\x00" + APDU),
        _hdlc(APDU),
        _hdlc(b"\xe6\xe7\x00" + APDU[:9], segmented=True) + _hdlc(APDU[9:]),
        _mbus(APDU, 0x10),
        _mbus(APDU[:9], 0x00) + _mbus(APDU[9:], 0x11),
        b"".join(split_unconfirmed(APDU, block_size=20)),
        encode_frame(1, 16, b"\xe7\x00\x03123" + APDU),
        b"\xe6\x00\x03123" + APDU,
    ]
    for octets in captures:
        assert _values(octets) == VALUE


def test_bare_data_of_a_push() -> None:
    assert _values(APDU[6:]) == VALUE


def test_long_mbus_frame_whose_length_lost_its_high_bits() -> None:
    body = bytes.fromhex("0f000000010002 04 0906 0100010800ff 0600000539".replace(" ", ""))
    body += b"\x09\x06\x00\x00\x60\x01\x00\xff\x09\x82\x01\x00" + b"1" * 256
    frame = _mbus(body, 0x10)
    assert frame[1] < 0xFF < len(frame)
    assert _values(frame)["1.0.1.8.0.255"] == 1337


def test_noise_around_frames_is_skipped_and_told() -> None:
    capture = read_capture(b"\x00\xff\x13" + _hdlc(APDU) + b"\x99")
    assert [apdu.octets for apdu in capture.apdus] == [APDU]
    assert capture.warnings == [
        "3 octets at octet 0 are no frame",
        f"1 octets at octet {3 + len(_hdlc(APDU))} are no frame",
    ]


def test_noise_before_a_bare_push_is_told() -> None:
    decoded = decode_capture(b"\xff\xff" + APDU)
    assert build_document(decoded)["obis"] == VALUE
    assert decoded.warnings == ("the first 2 octets are no part of the APDU",)


def test_several_pushes_are_merged_and_listed() -> None:
    other = APDU[:-1] + b"\x3a"
    document = build_document(decode_capture(_hdlc(APDU) + _hdlc(other)))
    assert document["obis"] == {"1.0.1.8.0.255": 1338}
    assert [message["obis"] for message in document["messages"]] == [VALUE, document["obis"]]


def test_wrong_check_sum_is_told_and_refused_when_strict() -> None:
    frame = bytearray(_hdlc(APDU))
    frame[-4] ^= 1  # the value's last octet
    decoded = decode_capture(bytes(frame))
    assert build_document(decoded)["obis"] == {"1.0.1.8.0.255": 1336}
    assert decoded.warnings == (
        "frame 1 at octet 0 has a wrong check sum: its values may be wrong",
    )
    with pytest.raises(MalformedData, match="frame 1 at octet 0: wrong check sequence"):
        decode_capture(bytes(frame), strict=True)
    mbus = bytearray(_mbus(APDU, 0x10))
    mbus[-3] ^= 1
    assert "wrong check sum" in decode_capture(bytes(mbus)).warnings[0]
    with pytest.raises(MalformedData, match="frame 1 at octet 0: wrong check sum of an M-Bus"):
        decode_capture(bytes(mbus), strict=True)


def test_supervisory_frames_are_shown_and_carry_nothing() -> None:
    ready = HdlcFrame(FrameKind.RECEIVE_READY, HdlcAddress(16), HdlcAddress(1)).encode()
    capture = read_capture(ready + _hdlc(APDU))
    assert [frame.kind for frame in capture.frames] == ["RR", "UI"]
    assert len(capture.apdus) == 1


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        (b"", "nothing to decode"),
        (_hdlc(APDU)[:-5], "frame 1 at octet 0: an HDLC frame that should have 30 octets"),
        (_hdlc(APDU) + _hdlc(APDU)[:9], "frame 2 at octet 32: an HDLC frame"),
        (_hdlc(APDU[:9], segmented=True), "frame 1 at octet 0: its APDU goes on"),
        (_mbus(APDU, 0x10)[:-4], "frame 1 at octet 0: an M-Bus frame of 26 octets is cut short"),
        (_mbus(APDU, 0x72), "carries no DLMS segment"),
        (_mbus(APDU[:9], 0x00) + _mbus(APDU[9:], 0x12), "segment 2, 1 is due"),
        (encode_frame(1, 16, APDU)[:-1], "a WRAPPER frame of 21 octets of which 20 are there"),
        (
            encode_frame(1, 16, APDU[:-2]),
            "frame 1 at octet 0: the data is cut short at octet 10 of the pushed data",
        ),
        (b"\xe0\x40\x00\x01\x00\x00\x09", "frame 1 at octet 0: 9 octets announced"),
        (b"\xc4\x01", "frame 1 at octet 0"),
        (b"\xf5\x66\x77", "frame 1 at octet 0: 0xf5 begins no APDU"),
    ],
)
def test_broken_captures_name_frame_and_place(octets: bytes, told: str) -> None:
    with pytest.raises(MalformedData, match=told):
        decode_capture(octets)
