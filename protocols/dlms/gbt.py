"""General-Block-Transfer: one APDU of any kind in numbered blocks, either way, with recovery.

IEC 62056-5-3 (Green Book 9.3.13 and 9.4.6.13; clauses unverified). A block is tag E0, block
control, block number, block number acknowledged, and length-prefixed octets. Block control: bit 7
"last block", bit 6 "streaming: more blocks follow before I listen", bits 5 to 0 how many blocks
its *sender* can take in one stream.

Theory of operation. Each end numbers every block it sends from 1, acknowledgements included, and
acknowledges the highest number up to which nothing is missing. An end that has sent a block
without the streaming bit listens. The other then either acknowledges, which makes the first send
on from the acknowledged number (and so repeat what was lost), or sends an APDU of its own in the
same blocks. Blocks with window 0 that stream to the end belong to an unconfirmed service, such as
a push: nobody answers them and a missing one cannot be recovered.

`BlockTransfer` is one end of one exchange and holds both directions; the APDUs it carries are
ciphered (if at all) before and after, as a whole. Memory is bounded by ``max_apdu`` and the window.
Received faults raise `MalformedData`, after which the transfer is as it was.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from headend.domain.errors import LocalProtocolError
from protocols.dlms import xdr
from protocols.dlms.errors import MalformedData

TAG = 0xE0
MAX_WINDOW = 0x3F
MAX_NUMBER = 0xFFFF
HEADER_SIZE = 6  # tag, block control, block number, acknowledged number
# Octets a block adds to its data at most (a length of two octets behind its size octet).
MAX_OVERHEAD = HEADER_SIZE + 3
DEFAULT_MAX_APDU = 1 << 20
_LAST = 0x80
_STREAMING = 0x40
_NUMBERS = struct.Struct(">HH")


class BlocksLost(MalformedData):
    """Blocks of an unconfirmed transfer are missing; they cannot be had again."""

    def __init__(self, missing: int, seen: int) -> None:
        super().__init__(f"block {missing} of an unconfirmed transfer is missing, {seen} came")
        self.missing = missing
        self.seen = seen


@dataclass(frozen=True, slots=True)
class Block:
    """One block as it goes over the line; ``window`` is what its sender can take at once."""

    number: int
    acknowledged: int
    data: bytes
    last: bool = False
    streaming: bool = False
    window: int = 0


def encode_block(block: Block) -> bytes:
    """Encode a block; raises `LocalProtocolError` for a window or number out of range."""
    if not 0 <= block.window <= MAX_WINDOW:
        raise LocalProtocolError(f"a window of {block.window} blocks, {MAX_WINDOW} allowed")
    if not (0 <= block.number <= MAX_NUMBER and 0 <= block.acknowledged <= MAX_NUMBER):
        raise LocalProtocolError(f"block number {block.number} does not fit two octets")
    control = block.window | (block.last and _LAST) | (block.streaming and _STREAMING)
    head = bytes((TAG, control)) + _NUMBERS.pack(block.number, block.acknowledged)
    return head + xdr.encode_length(len(block.data)) + block.data


def decode_block(apdu: bytes) -> Block:
    """Decode exactly one block; raises `MalformedData`."""
    block, end = decode_block_at(apdu, 0)
    if end != len(apdu):
        raise MalformedData(f"{len(apdu) - end} octets follow the block")
    return block


def decode_block_at(octets: bytes, position: int) -> tuple[Block, int]:
    """Decode the block at ``position``; return it and the position behind it."""
    if octets[position : position + 1] != bytes((TAG,)):
        raise MalformedData("not a general-block-transfer")
    start = position + HEADER_SIZE
    try:
        control = octets[position + 1]
        number, acknowledged = _NUMBERS.unpack_from(octets, position + 2)
        data, end = xdr.take(octets, start)
    except (struct.error, IndexError):
        raise MalformedData("a block is cut short") from None
    block = Block(
        number=number,
        acknowledged=acknowledged,
        data=data,
        last=bool(control & _LAST),
        streaming=bool(control & _STREAMING),
        window=control & MAX_WINDOW,
    )
    return block, end


def split_unconfirmed(apdu: bytes, *, block_size: int) -> list[bytes]:
    """Return the blocks of an unconfirmed service: streamed to the end, nobody answers.

    ``block_size`` is the largest block including its header. The form is what meters send in
    practice (streaming bit set on every block, window 0).
    """
    parts = _cut(apdu, _data_size(block_size))
    return [
        encode_block(Block(number, 0, part, last=number == len(parts), streaming=True))
        for number, part in enumerate(parts, start=1)
    ]


@dataclass(frozen=True, slots=True)
class Received:
    """What one received block brought: an APDU when the last piece came, blocks to send."""

    apdu: bytes | None = None
    replies: tuple[bytes, ...] = ()


class BlockReceiver:
    """Puts received blocks together; knows nothing of sending.

    A block beyond a gap is kept (at most ``window`` of them), so that a peer may repeat only what
    was lost as well as everything from there on.
    """

    def __init__(self, *, max_apdu: int = DEFAULT_MAX_APDU, window: int = MAX_WINDOW) -> None:
        self._max_apdu = max_apdu
        self._window = max(1, window)
        self._start()

    def _start(self) -> None:
        self._octets = bytearray()
        self._ahead: dict[int, Block] = {}
        self._ahead_size = 0
        self.expected = 1
        self.complete = False

    @property
    def acknowledged(self) -> int:
        """The number up to which every block came."""
        return self.expected - 1

    @property
    def started(self) -> bool:
        """Whether any data came."""
        return bool(self._octets or self._ahead or self.complete)

    @property
    def pending(self) -> int:
        """How many octets are held."""
        return len(self._octets) + self._ahead_size

    def take(self, block: Block) -> bytes | None:
        """Take one block; return the APDU when it is whole.

        A block seen before or further ahead than the window is dropped, an empty one only counts.
        Raises `MalformedData` beyond ``max_apdu`` and for a number beyond any window, `BlocksLost`
        for a gap in an unconfirmed transfer.
        """
        if self.complete:
            return None
        if not block.data and not (block.last and self._octets):
            return self._skip(block.number)
        number = block.number
        if not self.started and number == 1:
            self.expected = 1  # peers that do not number their acknowledgements
        if number < self.expected or number in self._ahead:
            return None
        gap = number - self.expected
        if gap and _is_unconfirmed(block):
            raise BlocksLost(self.expected, number)
        if gap > MAX_WINDOW:
            raise MalformedData(f"block {number} where {self.expected} is expected")
        if gap > self._window:
            return None  # the acknowledgement tells where to go on from
        if self.pending + len(block.data) > self._max_apdu:
            raise MalformedData(f"an APDU of more than {self._max_apdu} octets in blocks")
        self._ahead[number] = block
        self._ahead_size += len(block.data)
        return self._drain()

    def _skip(self, number: int) -> bytes | None:
        # Before any data came, whatever numbers are missing were acknowledgements as well.
        if number == self.expected or (number > self.expected and not self.started):
            self.expected = number + 1
        return self._drain()

    def _drain(self) -> bytes | None:
        while (block := self._ahead.pop(self.expected, None)) is not None:
            self._ahead_size -= len(block.data)
            self._octets += block.data
            self.expected += 1
            if block.last:
                self.complete = True
                self._ahead.clear()
                self._ahead_size = 0
                apdu = bytes(self._octets)
                self._octets = bytearray()
                return apdu
        return None


class BlockTransfer:
    """One end of one exchange in blocks: send an APDU, receive the answer, or the other way.

    ``block_size`` is the largest block the peer takes, header included (its PDU size); ``window``
    is what we can take in one stream; ``peer_window`` what the peer can, as far as known: until
    its first block tells, one block is sent at a time. The end that got a whole APDU need not
    acknowledge it: its own answer does. With ``acknowledge_last`` it does so at once, for services
    without an answer.
    """

    def __init__(
        self,
        *,
        block_size: int,
        window: int = 1,
        peer_window: int = 1,
        max_apdu: int = DEFAULT_MAX_APDU,
        acknowledge_last: bool = False,
    ) -> None:
        if not 1 <= window <= MAX_WINDOW:
            raise LocalProtocolError(f"a window of {window} blocks, 1 to {MAX_WINDOW} allowed")
        self._data_size = _data_size(block_size)
        self._window = window
        self._peer_window = max(1, peer_window)
        self._acknowledge_last = acknowledge_last
        self._receiver = BlockReceiver(max_apdu=max_apdu, window=window)
        self._outgoing: list[Block] = []  # what is not yet acknowledged, in order
        self._next_number = 1
        self._highest_sent = 0
        self._peer_has = 0  # the highest number of ours that the peer has acknowledged
        self._answered: int | None = None  # the acknowledgement that the last burst answered
        self._last_replies: tuple[bytes, ...] = ()

    @property
    def sending(self) -> bool:
        """Whether blocks of ours wait for their acknowledgement."""
        return bool(self._outgoing)

    @property
    def pending(self) -> int:
        """How many octets are held, both directions."""
        return self._receiver.pending + sum(len(block.data) for block in self._outgoing)

    def send(self, apdu: bytes) -> tuple[bytes, ...]:
        """Start to send one APDU; return the blocks that may go now.

        Raises `LocalProtocolError` while an earlier one is unacknowledged, or when it takes more
        blocks than there are numbers.
        """
        if self._outgoing:
            raise LocalProtocolError("the blocks before are not acknowledged yet")
        parts = _cut(apdu, self._data_size)
        first = self._next_number
        if first + len(parts) - 1 > MAX_NUMBER:
            raise LocalProtocolError(f"{len(apdu)} octets take more blocks than can be numbered")
        self._outgoing = [
            Block(first + index, 0, part, last=index == len(parts) - 1)
            for index, part in enumerate(parts)
        ]
        self._next_number = first + len(parts)
        self._answered = None
        return self._send_window()

    def receive(self, apdu: bytes) -> Received:
        """Take one received block; return what it completes and what to send now."""
        block = decode_block(apdu)
        if self._outgoing and block.acknowledged > self._highest_sent:
            raise MalformedData(
                f"block {block.acknowledged} acknowledged, {self._highest_sent} were sent"
            )
        whole = self._receiver.take(block)
        self._peer_window = block.window or self._peer_window
        self._peer_has = min(max(self._peer_has, block.acknowledged), self._highest_sent)
        while self._outgoing and self._outgoing[0].number <= block.acknowledged:
            self._outgoing.pop(0)
        if whole is not None:
            # The answer shows that the peer has all of ours, even if it does not say so.
            self._outgoing.clear()
        return Received(whole, self._answer(block))

    def repeat(self) -> tuple[bytes, ...]:
        """Return what to send again when nothing came for too long (empty: only wait)."""
        if not self._outgoing:
            return self._last_replies
        self._answered = None
        return self._missing_acknowledgements() + self._send_window()

    def _answer(self, block: Block) -> tuple[bytes, ...]:
        if block.last:
            wanted = bool(block.data) and block.window > 0
            if self._receiver.complete and not self._acknowledge_last:
                wanted = False
        else:
            wanted = not block.streaming
        if self._outgoing and not (block.streaming and not block.last):
            # One burst per acknowledgement: a doubled one must not double all that follows.
            if block.acknowledged == self._answered:
                return ()
            self._answered = block.acknowledged
            return self._missing_acknowledgements() + self._send_window()
        return self._remember((self._acknowledgement(),)) if wanted else ()

    def _missing_acknowledgements(self) -> tuple[bytes, ...]:
        """Return empty blocks for acknowledgements of ours that got lost: their numbers count."""
        acknowledged, first = self._receiver.acknowledged, self._outgoing[0].number
        return tuple(
            encode_block(Block(number, acknowledged, b"", streaming=True, window=self._window))
            for number in range(self._peer_has + 1, first)[:MAX_WINDOW]
        )

    def _acknowledgement(self) -> bytes:
        number = self._next_number
        self._next_number = min(number + 1, MAX_NUMBER)
        self._highest_sent = max(self._highest_sent, number)
        acknowledged = self._receiver.acknowledged
        return encode_block(Block(number, acknowledged, b"", last=True, window=self._window))

    def _send_window(self) -> tuple[bytes, ...]:
        burst = self._outgoing[: self._peer_window]
        acknowledged = self._receiver.acknowledged
        self._highest_sent = max(self._highest_sent, burst[-1].number)
        final = burst[-1].number
        return self._remember(
            tuple(
                encode_block(
                    replace(
                        block,
                        acknowledged=acknowledged,
                        window=self._window,
                        streaming=block.number != final,
                    )
                )
                for block in burst
            )
        )

    def _remember(self, replies: tuple[bytes, ...]) -> tuple[bytes, ...]:
        self._last_replies = replies
        return replies


def _is_unconfirmed(block: Block) -> bool:
    # A sender that stops without the last block waits for us, whatever its window says.
    return block.window == 0 and (block.streaming or block.last)


def _data_size(block_size: int) -> int:
    size = block_size - MAX_OVERHEAD
    if size < 1:
        raise LocalProtocolError(f"blocks of {block_size} octets leave no room for data")
    return min(size, 0xFFFF)


def _cut(apdu: bytes, size: int) -> list[bytes]:
    if not apdu:
        raise LocalProtocolError("there is no APDU to send in blocks")
    return [apdu[start : start + size] for start in range(0, len(apdu), size)]
