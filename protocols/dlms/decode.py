"""What a captured frame or APDU says: ``headend meter decode`` and the push listener's diagnosis.

From octets (`capture`) over blocks (`gbt`) and ciphering (`push_ciphering`) to named values
(`push_layout`). Works for any APDU: of one that is no push, the service and its data are told.
Everything that cannot be decoded raises a `HeadEndError` that names the frame, mostly
`MalformedData`; a wrong key is told apart from altered octets. Never shows a key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from headend.domain.errors import HeadEndError
from protocols.dlms import gbt
from protocols.dlms.capture import Capture, CapturedApdu, CapturedFrame, read_capture
from protocols.dlms.errors import MalformedData
from protocols.dlms.hex_text import octets_of
from protocols.dlms.message import Message, read_message
from protocols.dlms.notification import NOTIFICATION_TAGS
from protocols.dlms.push_ciphering import (
    Ciphered,
    is_ciphered,
    open_checked,
    open_unchecked,
    parse_ciphered,
)
from protocols.dlms.security import KEY_SIZES, GcmKey, SecurityFault, TagMismatch

_MAX_NESTING = 4  # blocks in blocks or ciphering in ciphering; real pushes have one of each
_MAX_NOISE = 64  # octets before a bare APDU that are passed over
_SEARCHED_TAGS = NOTIFICATION_TAGS | {0xDB, 0xDC, 0xDD, gbt.TAG}


@dataclass(frozen=True, slots=True)
class DecodeKeys:
    """Keys for ciphered captures; without the authentication key the tag stays unchecked."""

    encryption_key: bytes = field(repr=False)
    authentication_key: bytes | None = field(default=None, repr=False)
    system_title: bytes | None = None


@dataclass(frozen=True, slots=True)
class Protection:
    """How a message was ciphered. ``checked``: its tag was verified."""

    system_title: bytes | None
    counter: int
    control: int
    checked: bool


@dataclass(frozen=True, slots=True)
class DecodedMessage:
    """One APDU of the capture; ``frames`` count from 0, ``protection`` is the innermost."""

    message: Message
    frames: tuple[int, ...]
    protection: Protection | None = None
    block_count: int = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """The whole capture."""

    frames: tuple[CapturedFrame, ...]
    messages: tuple[DecodedMessage, ...]
    warnings: tuple[str, ...]


def decode_capture(
    content: bytes, keys: DecodeKeys | None = None, *, strict: bool = False
) -> Decoded:
    """Decode a capture given as octets or as hex text; raises a `HeadEndError`.

    With ``strict`` a frame with a wrong check sum is refused instead of told in the warnings.
    """
    octets = octets_of(content)
    capture = read_capture(octets, strict=strict)
    try:
        return _decode(capture, keys)
    except MalformedData as fault:
        found = _behind_noise(capture, keys)
        if found is not None:
            return found
        if any(not frame.checked for frame in capture.frames):
            raise MalformedData(f"{fault} (and the check sum of its frame is wrong)") from fault
        raise


def _decode(capture: Capture, keys: DecodeKeys | None) -> Decoded:
    reader = _Reader(capture.frames, keys)
    for apdu in capture.apdus:
        reader.take(apdu)
    reader.finish()
    warnings = (*capture.warnings, *reader.warnings)
    return Decoded(tuple(capture.frames), tuple(reader.messages), warnings)


def _behind_noise(capture: Capture, keys: DecodeKeys | None) -> Decoded | None:
    """Look for a push behind octets that do not belong to it, in a capture without frames."""
    if len(capture.frames) != 1 or capture.frames[0].link != "none" or not capture.apdus:
        return None
    octets = capture.apdus[0].octets
    for start in range(1, min(_MAX_NOISE, len(octets))):
        if octets[start] not in _SEARCHED_TAGS:
            continue
        inner = Capture(list(capture.frames), [replace(capture.apdus[0], octets=octets[start:])])
        try:
            found = _decode(inner, keys)
        except HeadEndError:
            continue
        named = any(message.message.layout.items for message in found.messages)
        if named and not any(message.message.trailing for message in found.messages):
            warning = f"the first {start} octets are no part of the APDU"
            return replace(found, warnings=(warning, *found.warnings))
    return None


class _Reader:
    """Takes the APDUs of a capture in their order, joining blocks per direction."""

    def __init__(self, frames: list[CapturedFrame], keys: DecodeKeys | None) -> None:
        self.messages: list[DecodedMessage] = []
        self.warnings: list[str] = []
        self._frames = frames
        self._keys = keys
        self._blocks: dict[tuple[str, str], tuple[gbt.BlockReceiver, list[int]]] = {}

    def take(self, apdu: CapturedApdu) -> None:
        """Decode one APDU; a block only once it completes one."""
        self._take(apdu.octets, apdu, None, 0, 0)

    def finish(self) -> None:
        """Raise when a transfer in blocks has no end."""
        for receiver, frames in self._blocks.values():
            if receiver.started and not receiver.complete:
                what = f"block {receiver.expected} and what follows it are missing"
                raise self._fault(frames, what)

    def _take(
        self,
        octets: bytes,
        origin: CapturedApdu,
        protection: Protection | None,
        blocks: int,
        nesting: int,
    ) -> None:
        if nesting > _MAX_NESTING:
            raise self._fault(origin.frames, "blocks and ciphering nested too deep")
        try:
            if octets[:1] == bytes((gbt.TAG,)):
                self._take_block(octets, origin, protection, nesting)
            elif is_ciphered(octets):
                plain, protection = self._decipher(octets)
                self._take(plain, origin, protection, blocks, nesting + 1)
            else:
                message = read_message(octets)
                self._note_quirks(message, origin)
                self.messages.append(DecodedMessage(message, origin.frames, protection, blocks))
        except MalformedData as fault:
            raise self._named(origin.frames, fault) from fault

    def _take_block(
        self, octets: bytes, origin: CapturedApdu, protection: Protection | None, nesting: int
    ) -> None:
        block = gbt.decode_block(octets)
        receiver, frames = self._blocks.get(origin.direction, (None, []))
        if receiver is None or (receiver.complete and block.number == 1):
            receiver, frames = gbt.BlockReceiver(), []
            self._blocks[origin.direction] = receiver, frames
        if block.data:
            frames += origin.frames
        whole = receiver.take(block)
        if whole is not None:
            joined = CapturedApdu(whole, tuple(frames), origin.direction)
            self._take(whole, joined, protection, block.number, nesting + 1)

    def _decipher(self, octets: bytes) -> tuple[bytes, Protection]:
        ciphered = parse_ciphered(octets)
        title = ciphered.title or (self._keys.system_title if self._keys else None)
        if self._keys is None:
            raise SecurityFault(_tell_ciphered(ciphered))
        if title is None:
            raise SecurityFault("the APDU names no sender: its system title must be given")
        checked = ciphered.authenticated and self._keys.authentication_key is not None
        key = _key_for(ciphered, self._keys)
        try:
            plain = (open_checked if checked else open_unchecked)(ciphered, key, title=title)
        except TagMismatch as fault:
            raise SecurityFault(_explain_mismatch(ciphered, key, title)) from fault
        if not checked:
            if not _is_plausible(plain):
                raise SecurityFault("deciphering gives no APDU: the encryption key is wrong")
            what = "no authentication key was given" if ciphered.authenticated else "there is none"
            self.warnings.append(f"the authentication tag was not checked: {what}")
        return plain, Protection(title, ciphered.counter, ciphered.control, checked)

    def _note_quirks(self, message: Message, origin: CapturedApdu) -> None:
        for quirk in message.quirks:
            self.warnings.append(f"frame {origin.frames[0] + 1}: the meter sends {quirk}")
        if message.trailing:
            self.warnings.append(f"{len(message.trailing)} octets follow the pushed data")

    def _named(self, frames: Iterable[int], fault: MalformedData) -> MalformedData:
        text = str(fault)
        return fault if text.startswith("frame ") else self._fault(frames, text)

    def _fault(self, frames: Iterable[int], what: str) -> MalformedData:
        index = min(frames, default=0)
        return MalformedData(f"frame {index + 1} at octet {self._frames[index].offset}: {what}")


def _key_for(ciphered: Ciphered, keys: DecodeKeys) -> GcmKey:
    size = KEY_SIZES[ciphered.suite]
    if len(keys.encryption_key) != size:
        raise SecurityFault(
            f"suite {ciphered.suite} takes a key of {size} octets,"
            f" {len(keys.encryption_key)} were given"
        )
    authentication_key = keys.authentication_key or bytes(size)
    if len(authentication_key) != size:
        raise SecurityFault(
            f"suite {ciphered.suite} takes an authentication key of {size} octets,"
            f" {len(authentication_key)} were given"
        )
    return GcmKey(keys.encryption_key, authentication_key, suite=ciphered.suite)


def _tell_ciphered(ciphered: Ciphered) -> str:
    sender = f" by system title {ciphered.title.hex().upper()}" if ciphered.title else ""
    return (
        f"the APDU is ciphered{sender}, invocation counter {ciphered.counter},"
        f" security control {ciphered.control:#04x}: its encryption key is needed"
    )


def _explain_mismatch(ciphered: Ciphered, key: GcmKey, title: bytes) -> str:
    """Tell a wrong encryption key from a wrong authentication key."""
    try:
        plain = open_unchecked(ciphered, key, title=title)
    except (MalformedData, SecurityFault):
        plain = b""
    if ciphered.encrypted and not _is_plausible(plain):
        return "the authentication tag is wrong and deciphering gives no APDU: another key"
    return (
        "the authentication tag is wrong: the authentication key is another one, or the octets"
        " were altered"
    )


def _is_plausible(plain: bytes) -> bool:
    """Tell whether deciphered octets are an APDU: a wrong key gives noise."""
    try:
        if plain[:1] == bytes((gbt.TAG,)):
            gbt.decode_block(plain)
        elif is_ciphered(plain):
            parse_ciphered(plain)
        else:
            return not read_message(plain).trailing
    except MalformedData:
        return False
    return True
