"""Pushed octets cut anywhere: framing, segments, blocks, acknowledgements and bounds."""

from __future__ import annotations

import pytest

from protocols.dlms import gbt
from protocols.dlms.errors import MalformedData
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame, decode_frame
from protocols.dlms.push_stream import MAX_DIRECTIONS, PushStream
from protocols.dlms.wrapper import WrapperSplitter, encode_frame

APDU = bytes(range(15, 75))
BLOCKS = gbt.split_unconfirmed(APDU, block_size=30)


def _hdlc(information: bytes, *, segmented: bool = False, source: int = 1) -> bytes:
    return HdlcFrame(
        FrameKind.UNNUMBERED,
        HdlcAddress(16),
        HdlcAddress(source),
        information=information,
        segmented=segmented,
    ).encode()


CARRIERS = {
    "wrapper": encode_frame(5, 1, APDU),
    "hdlc": _hdlc(b"\xe6\xe7\x00" + APDU),
    "segments": _hdlc(b"\xe6\xe7\x00" + APDU[:20], segmented=True) + _hdlc(APDU[20:]),
    "blocks": b"".join(encode_frame(5, 1, block) for block in BLOCKS),
    "blocks in hdlc": b"".join(_hdlc(b"\xe6\xe7\x00" + block) for block in BLOCKS),
}


@pytest.mark.parametrize("name", CARRIERS)
def test_octets_cut_at_every_place(name: str) -> None:
    octets = CARRIERS[name] + CARRIERS[name]
    for cut in range(len(octets) + 1):
        stream = PushStream()
        parts = [stream.feed(octets[:cut]), stream.feed(octets[cut:])]
        assert [apdu for part in parts for apdu in part.apdus] == [APDU, APDU]
        assert not any(part.faults or part.replies for part in parts)
        assert stream.pending == 0


@pytest.mark.parametrize("name", CARRIERS)
def test_datagrams_hold_whole_frames(name: str) -> None:
    stream = PushStream()
    assert stream.feed_datagram(CARRIERS[name]).apdus == [APDU]
    cut = stream.feed_datagram(CARRIERS[name][:-2])  # an HDLC frame may lack its closing flag
    assert cut.apdus == []
    assert "ends within a frame" in str(cut.faults[-1])
    assert stream.feed_datagram(CARRIERS[name]).apdus == [APDU]


def test_blocks_go_on_over_datagrams() -> None:
    stream = PushStream()
    found = [stream.feed_datagram(encode_frame(5, 1, block)) for block in BLOCKS]
    assert [part.apdus for part in found] == [[]] * (len(BLOCKS) - 1) + [[APDU]]


def test_confirmed_blocks_are_acknowledged_to_their_sender() -> None:
    stream, meter = PushStream(), gbt.BlockTransfer(block_size=30)
    splitter, apdus = WrapperSplitter(), []
    blocks = meter.send(APDU)
    while blocks:
        found = stream.feed(b"".join(encode_frame(5, 1, block) for block in blocks))
        apdus += found.apdus
        frames = [frame for reply in found.replies for frame in splitter.feed(reply)]
        assert {(frame.source, frame.destination) for frame in frames} == {(1, 5)}
        blocks = tuple(b for frame in frames for b in meter.receive(frame.apdu).replies)
    assert apdus == [APDU]
    assert not meter.sending


def test_repeated_only_block_is_acknowledged_again_and_not_delivered_again() -> None:
    stream = PushStream()
    octets = encode_frame(5, 1, gbt.encode_block(gbt.Block(1, 0, APDU, last=True, window=1)))
    assert stream.feed(octets).apdus == [APDU]
    again = stream.feed(octets)
    assert (again.apdus, len(again.replies)) == ([], 1)


def test_acknowledgement_in_hdlc_goes_back_to_the_sender() -> None:
    block = gbt.encode_block(gbt.Block(1, 0, APDU, last=True, window=1))
    (reply,) = PushStream().feed(_hdlc(b"\xe6\xe7\x00" + block)).replies
    frame = decode_frame(reply[1:-1])
    assert (frame.source.upper, frame.destination.upper) == (16, 1)
    assert frame.information.startswith(b"\xe6\xe6\x00\xe0")


def test_lost_block_costs_its_apdu_only() -> None:
    stream = PushStream()
    found = stream.feed(encode_frame(5, 1, BLOCKS[0]) + encode_frame(5, 1, BLOCKS[2]))
    assert found.apdus == []
    assert "block 2" in str(found.faults[0])
    assert stream.feed(CARRIERS["blocks"]).apdus == [APDU]


def test_damaged_hdlc_frame_costs_its_apdu_only() -> None:
    damaged = bytearray(CARRIERS["hdlc"])
    damaged[-4] ^= 1
    stream = PushStream()
    assert stream.feed(bytes(damaged) + CARRIERS["hdlc"]).apdus == [APDU]


def test_stream_of_another_protocol_is_refused() -> None:
    with pytest.raises(MalformedData, match="begins neither"):
        PushStream().feed(b"GET / HTTP/1.1\r\n")
    stream = PushStream()
    stream.feed(CARRIERS["wrapper"])
    with pytest.raises(MalformedData, match="wrapper version"):
        stream.feed(b"\x00\x07" + bytes(6))


def test_memory_is_bounded() -> None:
    stream = PushStream(max_apdu=200)
    for source in range(2, 100):
        stream.feed(_hdlc(bytes(100), segmented=True, source=source))
    assert stream.pending <= MAX_DIRECTIONS * 200
    found = stream.feed(b"".join(_hdlc(bytes(100), segmented=True) for _ in range(3)))
    assert "more than 200 octets" in str(found.faults[0])
    assert stream.feed(_hdlc(b"end")).apdus == []
    assert stream.feed(CARRIERS["hdlc"]).apdus == [APDU]
    with pytest.raises(MalformedData, match="200 allowed"):
        PushStream(max_apdu=200).feed(encode_frame(1, 1, bytes(201)))
    blocks = [
        gbt.encode_block(gbt.Block(n, 0, bytes(90), streaming=True, window=1)) for n in (1, 2, 3)
    ]
    found = PushStream(max_apdu=200).feed(b"".join(encode_frame(1, 1, b) for b in blocks))
    assert "more than 200 octets" in str(found.faults[0])
