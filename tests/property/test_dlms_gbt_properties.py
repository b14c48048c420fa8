"""Whatever is lost, doubled or reordered, blocks deliver the APDU whole or not at all."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dlms import gbt
from protocols.dlms.errors import MalformedData

WINDOWS = st.integers(1, gbt.MAX_WINDOW)


@given(
    st.builds(
        gbt.Block,
        number=st.integers(0, 0xFFFF),
        acknowledged=st.integers(0, 0xFFFF),
        data=st.binary(max_size=300),
        last=st.booleans(),
        streaming=st.booleans(),
        window=st.integers(0, gbt.MAX_WINDOW),
    )
)
def test_decode_inverts_encode(block: gbt.Block) -> None:
    assert gbt.decode_block(gbt.encode_block(block)) == block


@given(
    apdu=st.binary(min_size=1, max_size=600),
    answer=st.binary(min_size=1, max_size=600),
    size=st.integers(10, 80),
    windows=st.tuples(WINDOWS, WINDOWS),
    losses=st.lists(st.integers(0, 3), max_size=60),
)
@settings(max_examples=150, deadline=None)
def test_lossy_line_delivers_request_and_answer(
    apdu: bytes, answer: bytes, size: int, windows: tuple[int, int], losses: list[int]
) -> None:
    """0 in ``losses`` drops a block, 3 doubles it; after them the line is good."""
    ends = [
        gbt.BlockTransfer(block_size=size, window=windows[0]),
        gbt.BlockTransfer(block_size=size, window=windows[1]),
    ]
    fates = iter(losses)
    line: list[tuple[int, bytes]] = [(1, block) for block in ends[0].send(apdu)]
    got: list[bytes | None] = [None, None]
    for _ in range(3000):
        if not line:
            if got[0] is not None:
                break
            # Whoever waits repeats; both may, as their time-outs are independent.
            for side in (0, 1):
                line += [(1 - side, block) for block in ends[side].repeat()]
            continue
        target, block = line.pop(0)
        fate = next(fates, 1)
        for _copy in range({0: 0, 3: 2}.get(fate, 1)):
            received = ends[target].receive(block)
            if received.apdu is not None:
                assert got[target] is None
                got[target] = received.apdu
            line += [(1 - target, reply) for reply in received.replies]
            if target == 1 and received.apdu is not None:
                line += [(0, reply) for reply in ends[1].send(answer)]
    assert got == [answer, apdu]


@given(
    blocks=st.lists(
        st.builds(
            gbt.Block,
            number=st.integers(0, 6),
            acknowledged=st.integers(0, 6),
            data=st.binary(max_size=12),
            last=st.booleans(),
            streaming=st.booleans(),
            window=st.integers(0, 3),
        ),
        max_size=25,
    ),
    limit=st.integers(1, 40),
)
def test_any_blocks_keep_within_memory_or_are_refused(blocks: list[gbt.Block], limit: int) -> None:
    transfer = gbt.BlockTransfer(block_size=30, max_apdu=limit)
    for block in blocks:
        held = transfer.pending
        try:
            transfer.receive(gbt.encode_block(block))
        except MalformedData:
            assert transfer.pending == held
        assert transfer.pending <= limit


@given(apdu=st.binary(min_size=1, max_size=500), size=st.integers(10, 90))
def test_unconfirmed_blocks_arrive_without_a_reply(apdu: bytes, size: int) -> None:
    receiver = gbt.BlockTransfer(block_size=size)
    results = [receiver.receive(b) for b in gbt.split_unconfirmed(apdu, block_size=size)]
    assert results[-1].apdu == apdu
    assert all(result.replies == () for result in results)


@given(st.binary(max_size=40))
def test_any_octets_are_a_block_or_a_declared_error(octets: bytes) -> None:
    for candidate in (octets, bytes((gbt.TAG,)) + octets):
        try:
            gbt.decode_block(candidate)
        except MalformedData:
            continue
