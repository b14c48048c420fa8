"""Captured octets to the APDUs in them: HDLC, M-Bus and WRAPPER frames, or bare APDUs.

The framing is found from the octets. HDLC and M-Bus segments are joined per direction and LLC and
gateway headers taken off; blocks and ciphering are left to `decode`. What cannot be framed raises
`MalformedData` naming the frame and the octet where it begins; noise between frames is skipped and
told in ``warnings``. So is a frame with a wrong check sum, because captures that people publish
have been edited; with ``strict`` it is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from protocols.dlms import gbt, hdlc_frame, mbus_link
from protocols.dlms.errors import MalformedData
from protocols.dlms.hdlc_flow import COMMAND_HEADER, RESPONSE_HEADER
from protocols.dlms.hdlc_frame import CHECK_SIZE, FLAG, FrameKind, HdlcFrame

_LLC_HEADERS = (COMMAND_HEADER, RESPONSE_HEADER)
_WRAPPER_HEAD = 8
_WRAPPER_VERSION = b"\x00\x01"
_GATEWAY_TAGS = (0xE6, 0xE7)
_CARRYING = (FrameKind.INFORMATION, FrameKind.UNNUMBERED)
MAX_CAPTURE = 1 << 22  # octets
MAX_APDU = 1 << 20


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """One frame: where it stands, and what it says beside its contents."""

    link: str  # hdlc | mbus | wrapper | gbt | none
    offset: int
    length: int
    source: str = ""
    destination: str = ""
    kind: str = ""
    more: bool = False
    checked: bool = True


@dataclass(frozen=True, slots=True)
class CapturedApdu:
    """An APDU and which of the frames (from 0) it came in; ``direction`` tells senders apart."""

    octets: bytes
    frames: tuple[int, ...]
    direction: tuple[str, str] = ("", "")


@dataclass(slots=True)
class Capture:
    """Everything that was found."""

    frames: list[CapturedFrame] = field(default_factory=list)
    apdus: list[CapturedApdu] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def read_capture(octets: bytes, *, strict: bool = False) -> Capture:
    """Find frames and APDUs; raises `MalformedData` when there is nothing or it is broken."""
    if not octets:
        raise MalformedData("there is nothing to decode")
    if len(octets) > MAX_CAPTURE:
        raise MalformedData(f"a capture of {len(octets)} octets, {MAX_CAPTURE} at most")
    reader = _Reader(octets, strict)
    reader.read()
    return reader.capture


@dataclass(slots=True)
class _Segments:
    octets: bytearray = field(default_factory=bytearray)
    frames: list[int] = field(default_factory=list)
    next_sequence: int | None = None


class _Reader:
    def __init__(self, octets: bytes, strict: bool) -> None:
        self.capture = Capture()
        self._octets = octets
        self._strict = strict
        self._open: dict[tuple[str, str], _Segments] = {}

    def read(self) -> None:
        octets, position = self._octets, self._unflagged()
        while position < len(octets):
            end = self._frame(position)
            if end is None:
                end = self._noise_or_bare(position)
            position = end
        for segments in self._open.values():
            if segments.frames:
                raise self._fault(segments.frames[0], "its APDU goes on in frames that are missing")
        if not self.capture.apdus and not self.capture.frames:
            raise MalformedData("there is no frame in these octets")

    # Finding frames.

    def _frame(self, position: int) -> int | None:
        """Take the frame at a place; return the place behind it, None where none begins."""
        octets = self._octets
        if octets[position] == FLAG:
            return self._hdlc_at(position)
        if mbus_link.starts_frame(octets, position):
            return self._mbus(position)
        head = octets[position : position + _WRAPPER_HEAD]
        if len(head) == _WRAPPER_HEAD and head.startswith(_WRAPPER_VERSION):
            return self._wrapper(position)
        return None

    def _noise_or_bare(self, position: int) -> int:
        following = self._next_frame(position + 1)
        if position == 0 and following is None:
            self._bare()
            return len(self._octets)
        end = len(self._octets) if following is None else following
        self.capture.warnings.append(f"{end - position} octets at octet {position} are no frame")
        return end

    def _next_frame(self, position: int) -> int | None:
        """Return where the next *intact* frame begins: noise may look like a beginning."""
        octets = self._octets
        for start in range(position, len(octets)):
            if octets[start] == FLAG:
                end = _hdlc_end(octets, start + 1)
                if end is not None and hdlc_frame.is_intact(octets[start + 1 : end]):
                    return start
            elif mbus_link.starts_frame(octets, start):
                end = start + octets[start + 1] + 6
                if octets[end - 1 : end] == bytes((mbus_link.STOP,)):
                    return start
        return None

    # HDLC.

    def _unflagged(self) -> int:
        """Take a first HDLC frame that has lost its opening flag; return the place behind it."""
        octets = self._octets
        if octets[0] & 0xF0 != 0xA0 or len(octets) < hdlc_frame.MIN_LENGTH:
            return 0
        length = hdlc_frame.frame_length(octets)
        whole = length == len(octets) or octets[length : length + 1] == bytes((FLAG,))
        if not whole or not hdlc_frame.is_intact(octets[:length]):
            return 0
        self._hdlc(0, octets[:length])
        return length

    def _hdlc_at(self, position: int) -> int | None:
        octets, start = self._octets, position + 1
        while start < len(octets) and octets[start] == FLAG:
            start += 1
        if start >= len(octets):
            return start
        if octets[start] & 0xF0 != 0xA0:
            return None
        end = _hdlc_end(octets, start)
        if end is None:
            length = hdlc_frame.frame_length(octets + b"\0", start)
            raise self._fault_at(
                position, f"an HDLC frame that should have {length} octets is cut short or altered"
            )
        self._hdlc(position, octets[start:end])
        # One flag may close a frame and open the next.
        shared = len(octets) > end + 1 and octets[end + 1] & 0xF0 == 0xA0
        return end if shared else end + 1

    def _hdlc(self, position: int, content: bytes) -> None:
        checked = True
        try:
            frame = hdlc_frame.decode_frame(content)
        except MalformedData as fault:
            frame = self._decode_unchecked(position, content, fault)
            checked = False
        direction = (str(frame.source), str(frame.destination))
        index = self._add(
            CapturedFrame(
                "hdlc", position, len(content) + 2, *direction,
                kind=frame.kind.value, more=frame.segmented, checked=checked,
            )
        )  # fmt: skip
        if frame.kind in _CARRYING and frame.information:
            self._segment(direction, index, frame.information, last=not frame.segmented)

    def _decode_unchecked(self, position: int, content: bytes, fault: MalformedData) -> HdlcFrame:
        repaired = _with_right_checks(content)
        if repaired == content or self._strict:
            raise self._fault_at(position, str(fault)) from fault
        try:
            frame = hdlc_frame.decode_frame(repaired)
        except MalformedData as other:
            raise self._fault_at(position, str(other)) from other
        self._warn_unchecked(position)
        return frame

    # M-Bus and WRAPPER.

    def _mbus(self, position: int) -> int:
        try:
            frame, end = mbus_link.decode_frame(self._octets, position)
        except MalformedData as fault:
            raise self._fault_at(position, str(fault)) from fault
        if not frame.sum_ok:
            if self._strict:
                raise self._fault_at(position, "wrong check sum of an M-Bus frame")
            self._warn_unchecked(position)
        direction = (str(frame.source), str(frame.destination))
        index = self._add(
            CapturedFrame(
                "mbus", position, end - position, *direction,
                more=not frame.final, checked=frame.sum_ok,
            )
        )  # fmt: skip
        segments = self._open.get(direction)
        if segments and segments.next_sequence not in (None, frame.sequence):
            raise self._fault(index, f"segment {frame.sequence}, {segments.next_sequence} is due")
        self._segment(direction, index, frame.data, last=frame.final)
        if not frame.final:
            self._open[direction].next_sequence = (frame.sequence + 1) & 0x0F
        return end

    def _wrapper(self, position: int) -> int:
        octets = self._octets
        source, destination, length = (
            int.from_bytes(octets[position + at : position + at + 2], "big") for at in (2, 4, 6)
        )
        start = position + _WRAPPER_HEAD
        if start + length > len(octets):
            raise self._fault_at(
                position,
                f"a WRAPPER frame of {length} octets of which {len(octets) - start} are there",
            )
        direction = (str(source), str(destination))
        index = self._add(CapturedFrame("wrapper", position, _WRAPPER_HEAD + length, *direction))
        self._give(octets[start : start + length], (index,), direction)
        return start + length

    def _bare(self) -> None:
        octets = _without_llc(self._octets)
        position = len(self._octets) - len(octets)
        while octets[:1] == bytes((gbt.TAG,)):
            try:
                _, end = gbt.decode_block_at(octets, 0)
            except MalformedData as fault:
                raise self._fault_at(position, str(fault)) from fault
            self._give(octets[:end], (self._add(CapturedFrame("gbt", position, end)),), ("", ""))
            octets, position = octets[end:], position + end
        if octets:
            index = self._add(CapturedFrame("none", position, len(octets)))
            self._give(octets, (index,), ("", ""))

    # Joining.

    def _segment(self, direction: tuple[str, str], index: int, data: bytes, *, last: bool) -> None:
        segments = self._open.setdefault(direction, _Segments())
        if not segments.frames:
            data = _without_llc(data)
        segments.octets += data
        segments.frames.append(index)
        if len(segments.octets) > MAX_APDU:
            raise self._fault(index, f"an APDU of more than {MAX_APDU} octets")
        if last:
            del self._open[direction]
            self._give(bytes(segments.octets), tuple(segments.frames), direction)

    def _give(self, octets: bytes, frames: tuple[int, ...], direction: tuple[str, str]) -> None:
        apdu = _without_gateway(octets)
        if apdu:
            self.capture.apdus.append(CapturedApdu(apdu, frames, direction))

    def _add(self, frame: CapturedFrame) -> int:
        self.capture.frames.append(frame)
        return len(self.capture.frames) - 1

    # Telling.

    def _warn_unchecked(self, position: int) -> None:
        number = len(self.capture.frames) + 1
        self.capture.warnings.append(
            f"frame {number} at octet {position} has a wrong check sum: its values may be wrong"
        )

    def _fault_at(self, position: int, what: str) -> MalformedData:
        return MalformedData(f"frame {len(self.capture.frames) + 1} at octet {position}: {what}")

    def _fault(self, index: int, what: str) -> MalformedData:
        frame = self.capture.frames[index]
        return MalformedData(f"frame {index + 1} at octet {frame.offset}: {what}")


def _hdlc_end(octets: bytes, start: int) -> int | None:
    """Return where the closing flag of the frame that begins behind a flag stands."""
    if start + hdlc_frame.MIN_LENGTH > len(octets) or octets[start] & 0xF0 != 0xA0:
        return None
    length = hdlc_frame.frame_length(octets, start)
    end = start + length
    whole = length >= hdlc_frame.MIN_LENGTH and octets[end : end + 1] == bytes((FLAG,))
    # The last flag of a capture is easily lost.
    return end if whole or end == len(octets) else None


def _with_right_checks(content: bytes) -> bytes:
    """Return a frame's content with both check sequences as they should be."""
    try:
        source = hdlc_frame.address_end(content, 2)
        control = None if source is None else hdlc_frame.address_end(content, source)
    except MalformedData:
        return content
    if control is None or len(content) < control + 1 + CHECK_SIZE:
        return content
    head, rest = content[: control + 1], content[control + 1 : -CHECK_SIZE]
    if rest:
        head += hdlc_frame.make_check_sequence(head) + rest[CHECK_SIZE:]
    return head + hdlc_frame.make_check_sequence(head)


def _without_llc(octets: bytes) -> bytes:
    return octets[3:] if octets[:3] in _LLC_HEADERS else octets


def _without_gateway(octets: bytes) -> bytes:
    """Take off a gateway header: tag, network, and the length-prefixed physical address."""
    if len(octets) > 3 and octets[0] in _GATEWAY_TAGS and octets[:3] not in _LLC_HEADERS:
        return octets[3 + octets[2] :]
    return octets
