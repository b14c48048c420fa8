"""Ciphered APDUs outside an association: the sender is known by its system title only.

Reads general-glo, general-ded, general-ciphering with an identified key, and the service-specific
glo- and ded- forms (whose sender must be known from elsewhere); makes general-glo and glo-. The
layout of what is sealed is that of `security`, as are the rules of tags and nonces. A listener
also checks that the counters of each sender grow: see `push_session`.

A capture may be read without the authentication key (`open_unchecked`); what comes out is then no
evidence and marked so. Nothing here shows a key.
"""

from __future__ import annotations

from dataclasses import dataclass

from headend.domain.errors import LocalProtocolError
from protocols.dlms import xdr
from protocols.dlms.errors import MalformedData
from protocols.dlms.security import (
    AUTHENTICATED,
    ENCRYPTED,
    GENERAL_DED,
    GENERAL_GLO,
    HEADER_SIZE,
    KEY_SIZES,
    TAG_SIZE,
    TITLE_SIZE,
    GcmKey,
    SecurityFault,
)

GENERAL_CIPHERING = 0xDD
_SUITE = 0x0F
_BROADCAST = 0x40
_COMPRESSED = 0x80
_IDENTIFIED_KEY = 0
# Service-specific tags: read, write, initiate, report, then GET, SET, EVENT and ACTION.
_GLO = frozenset({0x21, 0x25, 0x26, 0x28, 0x2C, 0x2D, 0x2E, 0x36, 0x38, *range(0xC8, 0xD0)})
_DED = frozenset({0x41, 0x45, 0x46, 0x48, 0x4C, 0x4D, 0x4E, 0x56, 0x58, *range(0xD0, 0xD8)})
CIPHERED_TAGS = _GLO | _DED | {GENERAL_GLO, GENERAL_DED, GENERAL_CIPHERING}


@dataclass(frozen=True, slots=True)
class Ciphered:
    """A ciphered APDU taken apart, nothing checked yet. ``title`` is None where it names none."""

    tag: int
    title: bytes | None
    control: int
    counter: int
    sealed: bytes

    @property
    def suite(self) -> int:
        """The number of the security suite."""
        return self.control & _SUITE

    @property
    def authenticated(self) -> bool:
        """Whether the sender added a tag."""
        return bool(self.control & AUTHENTICATED)

    @property
    def encrypted(self) -> bool:
        """Whether the contents cannot be read without the key."""
        return bool(self.control & ENCRYPTED)

    @property
    def dedicated(self) -> bool:
        """Whether it goes under the key of one association."""
        return self.tag == GENERAL_DED or self.tag in _DED

    @property
    def broadcast(self) -> bool:
        """Whether it goes under the broadcast key."""
        return bool(self.control & _BROADCAST)


def is_ciphered(apdu: bytes) -> bool:
    """Tell by its tag whether an APDU is ciphered."""
    return bool(apdu) and apdu[0] in CIPHERED_TAGS


def parse_ciphered(apdu: bytes) -> Ciphered:
    """Take a ciphered APDU apart; raises `MalformedData`, also for compressed contents."""
    if not is_ciphered(apdu):
        raise MalformedData("not a ciphered APDU")
    title: bytes | None = None
    position = 1
    try:
        if apdu[0] in (GENERAL_GLO, GENERAL_DED):
            title, position = xdr.take(apdu, position)
        elif apdu[0] == GENERAL_CIPHERING:
            title, position = _parse_general_head(apdu)
        sealed, end = xdr.take(apdu, position)
    except IndexError:
        raise MalformedData("a ciphered APDU is cut short") from None
    if end != len(apdu):
        raise MalformedData(f"{len(apdu) - end} octets follow the ciphered APDU")
    if len(sealed) < HEADER_SIZE:
        raise MalformedData("a ciphered APDU without its counter")
    if title is not None and len(title) not in (0, TITLE_SIZE):
        raise MalformedData(f"a system title of {len(title)} octets")
    control = sealed[0]
    if control & _COMPRESSED:
        raise MalformedData("compressed contents, which are not supported")
    if control & _SUITE not in KEY_SIZES:
        raise MalformedData(f"security suite {control & _SUITE} does not exist")
    counter = int.from_bytes(sealed[1:HEADER_SIZE], "big")
    return Ciphered(apdu[0], title or None, control, counter, sealed[HEADER_SIZE:])


def _parse_general_head(apdu: bytes) -> tuple[bytes, int]:
    # transaction-id, originator, recipient, date-time, other-information: five octet strings.
    fields = []
    position = 1
    for _ in range(5):
        value, position = xdr.take(apdu, position)
        fields.append(value)
    present, position = apdu[position], position + 1
    if present:
        if apdu[position] != _IDENTIFIED_KEY:
            raise MalformedData("a wrapped or agreed key in general-ciphering is not supported")
        position += 2  # the choice and the key's id
    return fields[1], position


def open_checked(ciphered: Ciphered, key: GcmKey, *, title: bytes | None = None) -> bytes:
    """Return the plain APDU; raises `TagMismatch`, `SecurityFault`.

    ``title`` counts where the APDU names no sender. Contents without a tag are refused: anybody
    may alter them unnoticed.
    """
    if not ciphered.authenticated:
        raise SecurityFault("the push is not authenticated: its security control has no tag")
    return key.open(ciphered.control, _sender(ciphered, title), ciphered.counter, ciphered.sealed)


def open_unchecked(ciphered: Ciphered, key: GcmKey, *, title: bytes | None = None) -> bytes:
    """Return the plain octets without looking at the tag: not evidence of anything."""
    sealed = ciphered.sealed
    if ciphered.authenticated:
        if len(sealed) < TAG_SIZE:
            raise MalformedData("a ciphered APDU without its tag")
        sealed = sealed[:-TAG_SIZE]
    if not ciphered.encrypted:
        return sealed
    control = ciphered.control & ~AUTHENTICATED
    return key.open(control, _sender(ciphered, title), ciphered.counter, sealed)


def seal_general(
    apdu: bytes,
    key: GcmKey,
    *,
    title: bytes,
    counter: int,
    control: int = AUTHENTICATED | ENCRYPTED,
) -> bytes:
    """Return ``apdu`` as general-glo of ``title``; the caller never gives one counter twice."""
    if len(title) != TITLE_SIZE:
        raise LocalProtocolError(f"a system title has {TITLE_SIZE} octets, not {len(title)}")
    body = _body(apdu, key, title, counter, control)
    return bytes((GENERAL_GLO, TITLE_SIZE)) + title + xdr.encode_length(len(body)) + body


def _body(apdu: bytes, key: GcmKey, title: bytes, counter: int, control: int) -> bytes:
    head = bytes((control,)) + counter.to_bytes(4, "big")
    return head + key.seal(control, title, counter, apdu)


def _sender(ciphered: Ciphered, title: bytes | None) -> bytes:
    sender = ciphered.title or title
    if sender is None or len(sender) != TITLE_SIZE:
        raise SecurityFault("the APDU names no sender and its system title is not known")
    return sender
