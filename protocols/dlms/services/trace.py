"""A conversation with a meter as lines for people: every frame, and what its APDU says.

Takes the octets of both directions as they pass on the wire, cut anywhere, finds frames (WRAPPER or
HDLC) and APDUs, deciphers with the keys that the association uses, and tells each. It never
influences what it watches: octets it cannot follow are told as such. Secrets are blanked in the hex
as well as in the words.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from headend.domain.errors import HeadEndError
from protocols.dlms import acse, gbt
from protocols.dlms.errors import MalformedData
from protocols.dlms.gateway import GATEWAY_REQUEST, GATEWAY_RESPONSE, split_gateway
from protocols.dlms.hdlc_frame import FrameKind, HdlcFrame
from protocols.dlms.hdlc_splitter import HdlcSplitter
from protocols.dlms.push_ciphering import is_ciphered, open_checked, open_unchecked, parse_ciphered
from protocols.dlms.security import KEY_SIZES, GcmKey, TagMismatch
from protocols.dlms.services.apdu_text import Reader
from protocols.dlms.services.masking import MASK, mask_octets
from protocols.dlms.wrapper import WrapperSplitter

_SENT, _RECEIVED = ">", "<"
_HDLC_FLAG = 0x7E
_CARRYING = (FrameKind.INFORMATION, FrameKind.UNNUMBERED)
_LLC = (b"\xe6\xe6\x00", b"\xe6\xe7\x00")
# What decoding may raise on octets that are no such thing.
_FAULTS = (HeadEndError, IndexError, KeyError, ValueError)
_GATEWAY = {True: GATEWAY_REQUEST, False: GATEWAY_RESPONSE}


@dataclass(frozen=True, slots=True)
class TraceKeys:
    """What the trace deciphers with, and what it must never show."""

    encryption_key: bytes | None = field(default=None, repr=False)
    authentication_key: bytes | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)

    @property
    def secrets(self) -> tuple[bytes, ...]:
        known = (self.encryption_key, self.authentication_key, self.password)
        return tuple(each for each in known if each)


class _Direction:
    """The frames of one direction, and the APDU that is being put together."""

    def __init__(self) -> None:
        self.wrapper = WrapperSplitter()
        self.hdlc = HdlcSplitter()
        self.is_hdlc: bool | None = None
        self.segments = b""
        self.blocks: gbt.BlockReceiver | None = None
        self.title: bytes | None = None


class Tracer:
    """Tells a conversation line by line; give its `tap` to an adapter."""

    def __init__(self, keys: TraceKeys, tell: Callable[[str], None]) -> None:
        self._keys = keys
        self._tell_line = tell
        self._reader = Reader()
        self._sent, self._received = _Direction(), _Direction()
        self._dedicated: GcmKey | None = None

    def tap(self, sent: bool, octets: bytes) -> None:
        """Take octets from the wire; never raises."""
        mark = _SENT if sent else _RECEIVED
        direction = self._sent if sent else self._received
        if direction.is_hdlc is None:
            direction.is_hdlc = octets[:1] == bytes((_HDLC_FLAG,))
        try:
            if direction.is_hdlc:
                for hdlc in direction.hdlc.feed(octets):
                    self._tell_hdlc(mark, direction, hdlc, sent=sent)
            else:
                for frame in direction.wrapper.feed(octets):
                    head = f"wrapper {frame.source} to {frame.destination}"
                    self._tell_whole(mark, direction, head, frame.apdu, sent=sent)
        except _FAULTS as fault:
            shown = mask_octets(octets, self._secrets)
            self._tell_line(f"{mark} {len(octets)} octets that cannot be read ({fault}): {shown}")

    def _tell_hdlc(self, mark: str, direction: _Direction, frame: HdlcFrame, *, sent: bool) -> None:
        head = f"hdlc {frame.kind.value} {frame.source} to {frame.destination}"
        if frame.kind not in _CARRYING:
            shown = mask_octets(frame.information, self._secrets)
            self._tell_line(f"{mark} {head}{': ' if shown else ''}{shown}")
            return
        direction.segments += frame.information
        if frame.segmented:
            # Which octets of a part are secret shows only in the whole, which comes with the last.
            self._tell_line(f"{mark} {head}, {len(frame.information)} octets, more follows")
            return
        whole, direction.segments = direction.segments, b""
        apdu = whole[3:] if whole[:3] in _LLC else whole
        self._tell_whole(mark, direction, head, apdu, sent=sent)

    def _tell_whole(
        self, mark: str, direction: _Direction, head: str, apdu: bytes, *, sent: bool
    ) -> None:
        lines, places = self._tell_apdu(direction, apdu, 0, sent=sent) if apdu else ([], [])
        shown = mask_octets(apdu, self._secrets, places)
        self._tell_line(f"{mark} {head}, {len(apdu)} octets: {shown}")
        for line in lines:
            self._tell_line(f"{mark}   {line}")

    def _tell_apdu(
        self, direction: _Direction, apdu: bytes, shift: int, *, sent: bool
    ) -> tuple[list[str], list[range]]:
        if apdu[:1] == bytes((_GATEWAY[sent],)):
            try:
                header, inner = split_gateway(apdu, _GATEWAY[sent])
            except MalformedData:
                return ["a gateway header that cannot be read"], []
            shift += len(apdu) - len(inner)
            lines, places = self._tell_apdu(direction, inner, shift, sent=sent)
            where = f"gateway network {header.network}, device {header.device.hex()}"
            return [where, *lines], places
        if apdu[:1] == bytes((gbt.TAG,)):
            return self._tell_block(direction, apdu, sent=sent), []
        if is_ciphered(apdu):
            return self._tell_ciphered(direction, apdu, sent=sent), []
        lines = [self._read(apdu)]
        places = [range(each.start + shift, each.stop + shift) for each in self._reader.hidden]
        return lines + self._tell_association(direction, apdu, sent=sent), places

    def _tell_association(self, direction: _Direction, apdu: bytes, *, sent: bool) -> list[str]:
        """Learn the sender's title, and tell what its association APDU carries ciphered."""
        try:
            if apdu[0] == acse.AARQ:
                association: acse.Aarq | acse.Aare = acse.decode_aarq(apdu)
            elif apdu[0] == acse.AARE:
                association = acse.decode_aare(apdu)
            else:
                return []
        except (HeadEndError, IndexError):
            return []
        direction.title = association.system_title or direction.title
        inner = association.user_information
        return self._tell_ciphered(direction, inner, sent=sent) if is_ciphered(inner) else []

    def _tell_block(self, direction: _Direction, apdu: bytes, *, sent: bool) -> list[str]:
        block = gbt.decode_block(apdu)
        last = ", the last" if block.last else ""
        lines = [
            f"block {block.number}{last}, acknowledges {block.acknowledged},"
            f" {len(block.data)} octets"
        ]
        receiver = direction.blocks = direction.blocks or gbt.BlockReceiver()
        whole = receiver.take(block) if block.data or receiver.started else None
        if whole is None:
            return lines
        direction.blocks = None
        return lines + self._tell_apdu(direction, whole, 0, sent=sent)[0]

    def _tell_ciphered(self, direction: _Direction, apdu: bytes, *, sent: bool) -> list[str]:
        ciphered = parse_ciphered(apdu)
        head = (
            f"ciphered {apdu[0]:#04x}, security control {ciphered.control:#04x}, invocation"
            f" counter {ciphered.counter}"
        )
        title = ciphered.title or direction.title
        key = self._dedicated if ciphered.dedicated else self._key(ciphered.suite)
        if key is None or title is None:
            missing = "key" if key is None else "sender's system title"
            return [f"{head}: its {missing} is not known"]
        try:
            plain = open_checked(ciphered, key, title=title)
        except TagMismatch:
            return [f"{head}: its authentication tag is wrong for our keys"]
        except HeadEndError:
            plain = open_unchecked(ciphered, key, title=title)
        lines = [head]
        if plain[:1] == bytes((gbt.TAG,)):
            return lines + self._tell_block(direction, plain, sent=sent)
        if is_ciphered(plain):
            return lines + self._tell_ciphered(direction, plain, sent=sent)
        lines.append(self._read(plain))
        for found in self._reader.found:
            global_key = self._key(ciphered.suite)
            if global_key is not None and len(found) == KEY_SIZES[ciphered.suite]:
                self._dedicated = global_key.dedicated(found)
        return lines

    def _read(self, apdu: bytes) -> str:
        text = self._reader.tell(apdu)
        for secret in self._keys.secrets:
            if len(secret) >= 4 and secret.isascii():
                text = text.replace(secret.decode("ascii"), MASK)
            text = text.replace(secret.hex(), MASK).replace(secret.hex().upper(), MASK)
        return text

    def _key(self, suite: int) -> GcmKey | None:
        keys = self._keys
        if keys.encryption_key is None or keys.authentication_key is None:
            return None
        if len(keys.encryption_key) != KEY_SIZES[suite]:
            return None
        return GcmKey(keys.encryption_key, keys.authentication_key, suite=suite)

    @property
    def _secrets(self) -> tuple[bytes, ...]:
        return (*self._keys.secrets, *self._reader.found)
