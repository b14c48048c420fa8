"""General-block-transfer: blocks on the wire, both directions, loss, windows and limits."""

from __future__ import annotations

import pytest

from headend.domain.errors import LocalProtocolError
from protocols.dlms import gbt
from protocols.dlms.errors import MalformedData

APDU = bytes(range(100))


def _ends(window: int = 3, peer_window: int = 3, size: int = 25) -> tuple[gbt.BlockTransfer, ...]:
    return (
        gbt.BlockTransfer(block_size=size, window=window, peer_window=peer_window),
        gbt.BlockTransfer(block_size=size, window=peer_window, peer_window=window),
    )


def _numbers(blocks: tuple[bytes, ...]) -> list[int]:
    return [gbt.decode_block(block).number for block in blocks]


def test_block_on_the_wire() -> None:
    block = gbt.Block(2, 1, b"\xaa\xbb", last=True, streaming=True, window=5)
    octets = bytes.fromhex("e0c50002000102aabb")
    assert gbt.encode_block(block) == octets
    assert gbt.decode_block(octets) == block


def test_recorded_push_of_three_blocks_is_unconfirmed() -> None:
    receiver = gbt.BlockTransfer(block_size=200)
    first = receiver.receive(bytes.fromhex("e0400001000003010203"))
    second = receiver.receive(bytes.fromhex("e04000020000020405"))
    third = receiver.receive(bytes.fromhex("e0c0000300000106"))
    assert first == second == gbt.Received()
    assert third == gbt.Received(bytes.fromhex("010203040506"))


def test_window_is_streamed_and_then_acknowledged() -> None:
    sender, receiver = _ends()
    burst = sender.send(APDU)
    assert _numbers(burst) == [1, 2, 3]
    assert [gbt.decode_block(block).streaming for block in burst] == [True, True, False]
    assert receiver.receive(burst[0]) == receiver.receive(burst[1]) == gbt.Received()
    acknowledgement = gbt.decode_block(receiver.receive(burst[2]).replies[0])
    assert (acknowledgement.acknowledged, acknowledgement.data, acknowledgement.window) == (
        3,
        b"",
        3,
    )


def test_lost_block_is_repeated_and_nothing_else_is_lost() -> None:
    sender, receiver = _ends()
    first, _lost, third = sender.send(APDU)
    receiver.receive(first)
    reply = receiver.receive(third).replies[0]
    assert gbt.decode_block(reply).acknowledged == 1
    assert _numbers(sender.receive(reply).replies) == [2, 3, 4]


def test_selective_repetition_completes_too() -> None:
    receiver = gbt.BlockReceiver()
    parts = [gbt.Block(n, 0, bytes([n]), last=n == 4, window=4) for n in (1, 2, 3, 4)]
    taken = [receiver.take(parts[index]) for index in (0, 2, 3, 1)]
    assert taken == [None, None, None, b"\x01\x02\x03\x04"]


def test_answer_in_blocks_acknowledges_the_request() -> None:
    client, server = _ends(peer_window=9)
    burst = client.send(APDU)
    results = [server.receive(block) for block in burst]
    assert results[-1].apdu == APDU
    answers = [client.receive(block) for block in server.send(b"done")]
    assert answers == [gbt.Received(b"done")]
    assert not client.sending


def test_unknown_peer_window_sends_one_block_first() -> None:
    sender = gbt.BlockTransfer(block_size=25)
    assert _numbers(sender.send(APDU)) == [1]
    told = gbt.encode_block(gbt.Block(1, 1, b"", last=True, window=2))
    assert _numbers(sender.receive(told).replies) == [2, 3]


def test_silence_repeats_the_window_and_the_acknowledgement() -> None:
    sender, receiver = _ends()
    burst = sender.send(APDU)
    assert sender.repeat() == burst
    replies = [receiver.receive(block).replies for block in burst][-1]
    assert receiver.repeat() == replies
    assert gbt.BlockTransfer(block_size=25).repeat() == ()


def test_repeated_block_changes_nothing() -> None:
    sender, receiver = _ends()
    burst = sender.send(APDU)
    for block in burst:
        receiver.receive(block)
    held = receiver.pending
    again = receiver.receive(burst[-1])
    assert gbt.decode_block(again.replies[0]).acknowledged == 3
    assert receiver.pending == held


def test_last_block_is_acknowledged_where_no_answer_follows() -> None:
    receiver = gbt.BlockTransfer(block_size=100, acknowledge_last=True)
    only = gbt.encode_block(gbt.Block(1, 0, b"push", last=True, window=1))
    received = receiver.receive(only)
    assert received.apdu == b"push"
    assert gbt.decode_block(received.replies[0]).acknowledged == 1


def test_peer_that_numbers_its_acknowledgements_and_peer_that_does_not() -> None:
    for first_number in (1, 3):
        client = gbt.BlockTransfer(block_size=25, peer_window=9)
        client.send(APDU)
        for number in (1, 2):
            client.receive(gbt.encode_block(gbt.Block(number, number, b"", last=True, window=1)))
        answer = gbt.Block(first_number, 7, b"ok", last=True, window=1)
        assert client.receive(gbt.encode_block(answer)).apdu == b"ok"


def test_gap_in_an_unconfirmed_transfer_is_final() -> None:
    receiver = gbt.BlockTransfer(block_size=100)
    first, _lost, third = gbt.split_unconfirmed(bytes(25), block_size=20)[:3]
    receiver.receive(first)
    with pytest.raises(gbt.BlocksLost, match="block 2"):
        receiver.receive(third)


def test_memory_is_bounded() -> None:
    receiver = gbt.BlockTransfer(block_size=100, max_apdu=10)
    receiver.receive(gbt.encode_block(gbt.Block(1, 0, bytes(8), streaming=True, window=1)))
    with pytest.raises(MalformedData, match="more than 10 octets"):
        receiver.receive(gbt.encode_block(gbt.Block(2, 0, bytes(3), last=True, window=1)))
    assert receiver.pending == 8


def test_block_far_ahead_is_dropped_and_told() -> None:
    receiver = gbt.BlockTransfer(block_size=100, window=2)
    received = receiver.receive(gbt.encode_block(gbt.Block(9, 0, b"x", window=1)))
    assert received.apdu is None
    assert gbt.decode_block(received.replies[0]).acknowledged == 0
    assert receiver.pending == 0
    with pytest.raises(MalformedData, match="block 256 where 1 is expected"):
        receiver.receive(gbt.encode_block(gbt.Block(256, 0, b"x", window=1)))


def test_lost_acknowledgement_does_not_stop_the_answer() -> None:
    client = gbt.BlockTransfer(block_size=25, window=2)
    server = gbt.BlockTransfer(block_size=25, window=2)
    (first,) = client.send(APDU[:30])
    (second,) = client.receive(server.receive(first).replies[0]).replies
    (lost,) = server.receive(first).replies  # the first again, late; its answer gets lost
    assert gbt.decode_block(lost).number == 2
    assert server.receive(second).apdu == APDU[:30]
    (answer,) = server.send(b"done")
    assert gbt.decode_block(answer).number == 3
    waiting = client.receive(answer)
    assert waiting.apdu is None
    filled = server.receive(waiting.replies[0]).replies
    assert _numbers(filled) == [2, 3]
    assert [client.receive(block).apdu for block in filled] == [b"done", None]


def test_doubled_acknowledgement_does_not_double_the_burst() -> None:
    sender, receiver = _ends()
    burst = sender.send(APDU)
    reply = [receiver.receive(block).replies for block in burst][-1][0]
    assert len(sender.receive(reply).replies) == 3
    assert sender.receive(reply).replies == ()
    assert len(sender.repeat()) == 3


def test_acknowledgement_of_what_was_never_sent_is_refused() -> None:
    sender = gbt.BlockTransfer(block_size=25)
    sender.send(APDU)
    with pytest.raises(MalformedData, match="were sent"):
        sender.receive(gbt.encode_block(gbt.Block(1, 5, b"", window=1)))
    assert sender.sending


@pytest.mark.parametrize(
    "octets",
    ["", "e0", "e04000010000", "e0400001000005aa", "e0400001000001aabb", "c0400001000001aa"],
)
def test_malformed_blocks(octets: str) -> None:
    with pytest.raises(MalformedData):
        gbt.decode_block(bytes.fromhex(octets))


def test_wrong_use_of_ours() -> None:
    with pytest.raises(LocalProtocolError):
        gbt.BlockTransfer(block_size=9)
    with pytest.raises(LocalProtocolError):
        gbt.BlockTransfer(block_size=90, window=64)
    with pytest.raises(LocalProtocolError):
        gbt.encode_block(gbt.Block(70000, 0, b""))
    sender = gbt.BlockTransfer(block_size=25)
    with pytest.raises(LocalProtocolError):
        sender.send(b"")
    with pytest.raises(LocalProtocolError):
        sender.send(bytes(70000 * 16))
    sender.send(APDU)
    with pytest.raises(LocalProtocolError, match="not acknowledged"):
        sender.send(APDU)
