"""One sender's octets to whole pushed APDUs: WRAPPER or HDLC, segments and blocks joined.

Sans-IO: `PushStream` takes what arrives on a connection (or from one UDP peer) and gives out APDUs,
ciphered or not, together with the blocks to answer where the sender waits for acknowledgements.
The framing is told by the first octet: 7E is HDLC, 00 WRAPPER. Memory is bounded: at most
``max_apdu`` octets per APDU under way and `MAX_DIRECTIONS` of them.

`feed` raises `MalformedData` when the stream has lost its frames for good: close it. Lesser faults
(a missing segment, a lost block) are told in ``faults`` and cost the one APDU.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from headend.domain.errors import MeterMisbehaved
from protocols.dlms import gbt
from protocols.dlms.errors import MalformedData
from protocols.dlms.hdlc_flow import COMMAND_HEADER, RESPONSE_HEADER
from protocols.dlms.hdlc_frame import FLAG, FrameKind, HdlcFrame
from protocols.dlms.hdlc_splitter import HdlcSplitter
from protocols.dlms.wrapper import VERSION, WrapperFrame, WrapperSplitter, encode_frame

MAX_DIRECTIONS = 16  # senders behind one connection, as a concentrator has
DEFAULT_MAX_APDU = 0xFFFF
_ACKNOWLEDGEMENT_SIZE = 128  # octets of a block; ours carry no data
_WINDOW = 16  # blocks that we take at once
_CARRYING = (FrameKind.INFORMATION, FrameKind.UNNUMBERED)
_Direction: TypeAlias = "tuple[object, object]"


@dataclass(slots=True)
class PushInput:
    """What the octets brought: APDUs, octets to send back, and what was wrong with others."""

    apdus: list[bytes] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)
    faults: list[MeterMisbehaved] = field(default_factory=list)


@dataclass(slots=True)
class _Sender:
    """What is under way from one sender to one receiver address."""

    segments: bytearray = field(default_factory=bytearray)
    lost: bool = False
    transfer: gbt.BlockTransfer | None = None
    first_block: bytes = b""


class PushStream:
    """One connection or peer."""

    def __init__(self, *, max_apdu: int = DEFAULT_MAX_APDU) -> None:
        self._max_apdu = max_apdu
        self._senders: OrderedDict[_Direction, _Sender] = OrderedDict()
        self._hdlc: HdlcSplitter | None = None
        self._wrapper: WrapperSplitter | None = None

    @property
    def pending(self) -> int:
        """How many octets are held for APDUs that are not whole yet."""
        splitters = (each for each in (self._hdlc, self._wrapper) if each is not None)
        held = sum(splitter.pending for splitter in splitters)
        for sender in self._senders.values():
            held += len(sender.segments) + (sender.transfer.pending if sender.transfer else 0)
        return held

    def feed_datagram(self, octets: bytes) -> PushInput:
        """Take one datagram: whole frames of either framing; only blocks go on in the next.

        Never raises; what is not a whole frame is told in ``faults``.
        """
        self._hdlc = self._wrapper = None
        try:
            found = self.feed(octets)
        except MalformedData as fault:
            return PushInput(faults=[fault])
        splitter = self._hdlc or self._wrapper
        if splitter is not None and splitter.pending:
            found.faults.append(MalformedData("a datagram that ends within a frame"))
        self._hdlc = self._wrapper = None
        return found

    def feed(self, octets: bytes) -> PushInput:
        """Take received octets; raises `MalformedData` when the stream is beyond repair."""
        found = PushInput()
        if not octets:
            return found
        if self._hdlc is None and self._wrapper is None:
            self._detect(octets[0])
        if self._hdlc is not None:
            for frame in self._hdlc.feed(octets):
                self._take_hdlc(frame, found)
        elif self._wrapper is not None:
            for wrapped in self._wrapper.feed(octets):
                self._take_wrapper(wrapped, found)
        return found

    def _detect(self, first: int) -> None:
        if first == FLAG:
            self._hdlc = HdlcSplitter()
        elif first == VERSION >> 8:
            self._wrapper = WrapperSplitter(max_apdu=self._max_apdu)
        else:
            raise MalformedData(f"{first:#04x} begins neither an HDLC nor a WRAPPER frame")

    def _take_wrapper(self, frame: WrapperFrame, found: PushInput) -> None:
        def reply(apdu: bytes) -> bytes:
            return encode_frame(frame.destination, frame.source, apdu)

        sender = self._sender((frame.source, frame.destination))
        self._take_apdu(frame.apdu, sender, reply, found)

    def _take_hdlc(self, frame: HdlcFrame, found: PushInput) -> None:
        if frame.kind not in _CARRYING or not frame.information:
            return
        sender = self._sender((frame.source, frame.destination))
        part = frame.information
        if part[: len(RESPONSE_HEADER)] in (RESPONSE_HEADER, COMMAND_HEADER):
            # Only the first segment has the header: what stood open before it is lost.
            sender.segments, sender.lost = bytearray(), False
            part = part[len(RESPONSE_HEADER) :]
        if len(sender.segments) + len(part) > self._max_apdu:
            found.faults.append(MalformedData(f"an APDU of more than {self._max_apdu} octets"))
            sender.segments, sender.lost = bytearray(), True
        elif not sender.lost:
            sender.segments += part
        if frame.segmented:
            return
        whole, lost = bytes(sender.segments), sender.lost
        sender.segments, sender.lost = bytearray(), False
        if whole and not lost:
            self._take_apdu(whole, sender, _hdlc_reply(frame), found)

    def _take_apdu(
        self, apdu: bytes, sender: _Sender, reply: Callable[[bytes], bytes], found: PushInput
    ) -> None:
        if apdu[:1] != bytes((gbt.TAG,)):
            found.apdus.append(apdu)
            return
        try:
            block = gbt.decode_block(apdu)
            # A first block begins anew, whatever became of the transfer before; only a sender that
            # waits for acknowledgements may have sent it again because ours was lost.
            repeated = block.window > 0 and apdu == sender.first_block
            if sender.transfer is None or (block.number == 1 and not repeated):
                sender.transfer, sender.first_block = self._new_transfer(), apdu
            received = sender.transfer.receive(apdu)
        except MalformedData as fault:
            found.faults.append(fault)
            sender.transfer = None
            return
        found.replies += [reply(block_octets) for block_octets in received.replies]
        if received.apdu is not None:
            found.apdus.append(received.apdu)

    def _new_transfer(self) -> gbt.BlockTransfer:
        return gbt.BlockTransfer(
            block_size=_ACKNOWLEDGEMENT_SIZE,
            window=_WINDOW,
            max_apdu=self._max_apdu,
            acknowledge_last=True,
        )

    def _sender(self, direction: _Direction) -> _Sender:
        sender = self._senders.get(direction)
        if sender is None:
            if len(self._senders) >= MAX_DIRECTIONS:
                self._senders.popitem(last=False)
            sender = self._senders[direction] = _Sender()
        else:
            self._senders.move_to_end(direction)
        return sender


def _hdlc_reply(frame: HdlcFrame) -> Callable[[bytes], bytes]:
    def reply(apdu: bytes) -> bytes:
        answer = replace(
            frame,
            kind=FrameKind.UNNUMBERED,
            destination=frame.source,
            source=frame.destination,
            information=COMMAND_HEADER + apdu,
            segmented=False,
        )
        return answer.encode()

    return reply
