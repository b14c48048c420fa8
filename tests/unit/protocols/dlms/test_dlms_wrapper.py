"""WRAPPER framing: frames whole, however the stream was cut."""

from __future__ import annotations

import pytest

from headend.domain.errors import LocalProtocolError
from protocols.dlms.errors import MalformedData
from protocols.dlms.wrapper import WrapperFrame, WrapperSplitter, encode_frame

FRAMES = [
    WrapperFrame(1, 16, b"\xc4\x01"),
    WrapperFrame(0xFFFF, 0, b""),
    WrapperFrame(2, 1, b"x" * 300),
]
STREAM = b"".join(encode_frame(frame.source, frame.destination, frame.apdu) for frame in FRAMES)


def test_the_header_is_version_source_destination_length() -> None:
    assert encode_frame(0x0010, 0x0001, b"\xaa\xbb").hex() == "0001001000010002aabb"


def test_a_stream_cut_at_every_position_gives_the_same_frames() -> None:
    for cut in range(len(STREAM) + 1):
        splitter = WrapperSplitter()
        assert splitter.feed(STREAM[:cut]) + splitter.feed(STREAM[cut:]) == FRAMES
        assert splitter.pending == 0


def test_octet_by_octet_gives_the_same_frames() -> None:
    splitter = WrapperSplitter()
    frames = [frame for octet in STREAM for frame in splitter.feed(bytes((octet,)))]
    assert frames == FRAMES


def test_a_foreign_stream_is_refused_for_good() -> None:
    splitter = WrapperSplitter()
    for octets in (b"HTTP/1.1 400 Bad Request\r\n", encode_frame(1, 1, b"\x00")):
        with pytest.raises(MalformedData, match="wrapper version"):
            splitter.feed(octets)


def test_an_oversized_frame_is_refused_before_it_is_buffered() -> None:
    splitter = WrapperSplitter(max_apdu=100)
    with pytest.raises(MalformedData):
        splitter.feed(encode_frame(1, 1, bytes(101))[:8])
    with pytest.raises(LocalProtocolError):
        encode_frame(1, 1, bytes(0x10000))
