"""Ciphering of security suites 0, 1 and 2: AES-GCM with 12-octet tags (Green Book 9.2).

A ciphered APDU is control octet, invocation counter (4) and the sealed octets; the initialisation
vector is the sender's system title and that counter, the additional data is control octet and
authentication key (and the plain text, where it is authenticated only). Suites 0 and 1 cipher with
AES-128, suite 2 with AES-256; the suite's number is the low half of the control octet.

A key is *global* (kept by the meter) or *dedicated* (drawn for one association and given to the
meter in the ciphered InitiateRequest). A ciphered APDU is service-specific (glo-, ded-) or names
its sender (general-glo, general-ded); see `Form`.

Rules this module keeps, whatever the peer does:
- the received control octet must be the association's own, bit for bit, before the tag counts;
- nothing deciphered leaves before its tag was checked in constant time;
- the received counter must exceed the highest one accepted (0 is a valid first) and is taken over
  only from an APDU whose tag was good;
- no counter is sent twice under one key: the HLS tag draws one of its own, and what goes under the
  dedicated key draws from the same source as what goes under the global one;
- once the association is ready, a client that agreed a dedicated key takes nothing under the global
  one any more;
- a plain answer on a ciphered channel raises and is never evidence.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headend.domain.errors import LocalProtocolError, MeterMisbehaved
from protocols.dlms import xdr
from protocols.dlms.errors import MalformedData

TAG_SIZE = 12
TITLE_SIZE = 8
COUNTER_LIMIT = 0xFFFFFFFF
AUTHENTICATED = 0x10
ENCRYPTED = 0x20
AUTHENTICATED_ENCRYPTED = AUTHENTICATED | ENCRYPTED
HEADER_SIZE = 5  # control octet and counter
KEY_SIZES = {0: 16, 1: 16, 2: 32}  # octets of every key of a security suite
KEY_SIZE = KEY_SIZES[0]

GENERAL_GLO = 0xDB
GENERAL_DED = 0xDC
# Octets that ciphering adds at most: tag, length (3), title (9) of general-glo, header, GCM tag.
MAX_OVERHEAD = 1 + 3 + 9 + HEADER_SIZE + TAG_SIZE

# Plain service tag -> glo- tag: InitiateRequest and Response, then GET, SET, EVENT, ACTION.
_GLO_OF_PLAIN = {0x01: 0x21, 0x08: 0x28, 0x0E: 0x2E} | {
    plain: plain + 8 for plain in (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC7)
}
_DED_OF_PLAIN = {0x01: 0x41, 0x08: 0x48, 0x0E: 0x4E} | {
    plain: plain + 16 for plain in (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5, 0xC7)
}


class Form(StrEnum):
    """How a ciphered APDU is wrapped, and under which key."""

    GLO = "glo"
    DED = "ded"
    GENERAL_GLO = "general-glo"
    GENERAL_DED = "general-ded"

    @property
    def is_dedicated(self) -> bool:
        """Whether it goes under the dedicated key."""
        return self in _DEDICATED_FORMS

    @property
    def is_general(self) -> bool:
        """Whether it names its sender instead of its service."""
        return self in _GENERAL_FORMS

    @property
    def specific(self) -> Form:
        """Return the service-specific form under the same key."""
        return Form.DED if self.is_dedicated else Form.GLO


_DEDICATED_FORMS = (Form.DED, Form.GENERAL_DED)
_GENERAL_FORMS = (Form.GENERAL_GLO, Form.GENERAL_DED)
# Ciphered tag -> form, and the plain tag that must appear (None: any).
_FORMS: dict[int, tuple[Form, int | None]] = {
    GENERAL_GLO: (Form.GENERAL_GLO, None),
    GENERAL_DED: (Form.GENERAL_DED, None),
    **{tag: (Form.GLO, plain) for plain, tag in _GLO_OF_PLAIN.items()},
    **{tag: (Form.DED, plain) for plain, tag in _DED_OF_PLAIN.items()},
}
CIPHERED_TAGS = frozenset(_FORMS)


def form_of(apdu: bytes) -> Form | None:
    """Return the form of a ciphered APDU, None for a plain one."""
    known = _FORMS.get(apdu[0]) if apdu else None
    return None if known is None else known[0]


class SecurityFault(MeterMisbehaved):
    """A received APDU failed a security check; it is no evidence of anything."""


class TagMismatch(SecurityFault):
    """The authentication tag is wrong: another key, another sender, or altered octets."""


class CounterReplayed(SecurityFault):
    """The received counter does not exceed the highest one accepted."""

    def __init__(self, received: int, highest: int) -> None:
        super().__init__(f"received invocation counter {received}, expected above {highest}")
        self.received = received
        self.highest = highest


class PlainAnswer(SecurityFault):
    """A plain APDU came where the association is ciphered."""


class CounterSource(Protocol):
    """Gives out invocation counters, each once."""

    def take(self) -> int:
        """Return the next counter; raises `LocalProtocolError` when none is left."""
        ...


@dataclass(slots=True)
class CounterBlock:
    """Counters ``[next_counter, limit)`` reserved for one sender and key."""

    next_counter: int
    limit: int

    @property
    def left(self) -> int:
        """How many counters remain."""
        return self.limit - self.next_counter

    def take(self) -> int:
        if self.next_counter >= self.limit:
            raise LocalProtocolError("the reserved invocation counters are used up")
        self.next_counter += 1
        return self.next_counter - 1


class GcmKey:
    """One encryption key with its authentication key, both of one suite; never shows either."""

    __slots__ = ("_aead", "_authentication_key", "suite")

    def __init__(self, encryption_key: bytes, authentication_key: bytes, *, suite: int = 0) -> None:
        size = KEY_SIZES.get(suite)
        if size is None:
            raise LocalProtocolError(f"security suite {suite} is none of 0, 1, 2")
        for name, key in (("encryption", encryption_key), ("authentication", authentication_key)):
            if len(key) != size:
                raise LocalProtocolError(
                    f"the {name} key has {len(key)} octets, suite {suite} takes {size}"
                )
        self.suite = suite
        self._aead = AESGCM(encryption_key)
        self._authentication_key = authentication_key

    def dedicated(self, key: bytes) -> GcmKey:
        """Return the dedicated key of an association, with the same authentication key."""
        return GcmKey(key, self._authentication_key, suite=self.suite)

    def seal(self, control: int, title: bytes, counter: int, plain: bytes) -> bytes:
        """Return the octets that follow control octet and counter."""
        iv = title + counter.to_bytes(4, "big")
        head = bytes((control,)) + self._authentication_key
        if control & AUTHENTICATED_ENCRYPTED == AUTHENTICATED_ENCRYPTED:
            return self._aead.encrypt(iv, plain, head)[: len(plain) + TAG_SIZE]
        if control & AUTHENTICATED:
            return plain + self._aead.encrypt(iv, b"", head + plain)[:TAG_SIZE]
        return self._aead.encrypt(iv, plain, None)[: len(plain)]

    def open(self, control: int, title: bytes, counter: int, sealed: bytes) -> bytes:
        """Return the plain octets; raises `TagMismatch`, `MalformedData` when too short."""
        iv = title + counter.to_bytes(4, "big")
        if not control & AUTHENTICATED:
            return self._aead.encrypt(iv, sealed, None)[: len(sealed)]
        size = len(sealed) - TAG_SIZE
        if size < 0:
            raise MalformedData("a ciphered APDU without its tag")
        body = sealed[:size]
        head = bytes((control,)) + self._authentication_key
        if control & ENCRYPTED:
            # GCM is a counter mode: sealing the cipher text gives the plain text, sealing that
            # gives the tag. `AESGCM.decrypt` takes 16-octet tags only, and two sealings cost a
            # third of the library's streaming interface, which would take 12.
            plain = self._aead.encrypt(iv, body, None)[:size]
            expected = self._aead.encrypt(iv, plain, head)[size : size + TAG_SIZE]
        else:
            plain = body
            expected = self._aead.encrypt(iv, b"", head + body)[:TAG_SIZE]
        if not hmac.compare_digest(expected, sealed[size:]):
            raise TagMismatch("the authentication tag is wrong: another key or altered octets")
        return plain

    def gmac(self, title: bytes, counter: int, message: bytes) -> bytes:
        """Return the 12-octet GMAC over control octet, authentication key and ``message``."""
        iv = title + counter.to_bytes(4, "big")
        head = bytes((AUTHENTICATED | self.suite,)) + self._authentication_key
        return self._aead.encrypt(iv, b"", head + message)[:TAG_SIZE]


class SecureChannel:
    """Ciphers what one association sends and checks what it receives.

    ``control`` holds the protection demanded both ways (`AUTHENTICATED`, `ENCRYPTED` or both); the
    suite of the key is added to it. ``form`` is how `protect` wraps unless it is told otherwise.
    """

    def __init__(
        self,
        key: GcmKey,
        counters: CounterSource,
        *,
        local_title: bytes,
        peer_title: bytes | None = None,
        highest_received: int = -1,
        control: int = AUTHENTICATED_ENCRYPTED,
        form: Form = Form.GLO,
    ) -> None:
        _check_title(local_title)
        if peer_title is not None:
            _check_title(peer_title)
        self._key = key
        self._counters = counters
        self._local_title = local_title
        self._last_sent = -1
        self._dedicated: GcmKey | None = None
        self._highest_dedicated = -1
        self.peer_title = peer_title
        self.highest_received = highest_received  # under the global key; -1: none yet
        self.control = control | key.suite
        self.form = form
        self.only_dedicated = False  # whether nothing comes under the global key any more

    @property
    def local_title(self) -> bytes:
        return self._local_title

    def agree_dedicated(self, key: bytes) -> None:
        """Begin to use a fresh dedicated key; raises `LocalProtocolError` for a wrong size."""
        self._dedicated = self._key.dedicated(key)
        self._highest_dedicated = -1

    def protect(self, apdu: bytes, *, form: Form | None = None) -> bytes:
        """Cipher one plain APDU in ``form``, the channel's own unless given."""
        form = self.form if form is None else form
        dedicated = form.is_dedicated
        key = self._dedicated if dedicated else self._key
        if key is None:
            raise LocalProtocolError("no dedicated key was agreed")
        if form.is_general:
            tag = GENERAL_DED if dedicated else GENERAL_GLO
            head = bytes((tag, TITLE_SIZE)) + self._local_title
        else:
            specific = (_DED_OF_PLAIN if dedicated else _GLO_OF_PLAIN).get(apdu[0])
            if specific is None:
                raise LocalProtocolError(f"APDU {apdu[0]:#x} has no ciphered form")
            head = bytes((specific,))
        counter = self._draw()
        body = key.seal(self.control, self._local_title, counter, apdu)
        control = bytes((self.control,)) + counter.to_bytes(4, "big")
        return head + xdr.encode_length(len(body) + HEADER_SIZE) + control + body

    def unprotect(self, apdu: bytes) -> bytes:
        """Check and decipher one received APDU; the channel changes only when all is well."""
        known = _FORMS.get(apdu[0]) if apdu else None
        if known is None:
            raise PlainAnswer("a plain APDU where the association is ciphered")
        form, expected = known
        key, highest = self._key, self.highest_received
        dedicated = form.is_dedicated
        if dedicated:
            if self._dedicated is None:
                raise SecurityFault("ciphered with a dedicated key that was never agreed")
            key, highest = self._dedicated, self._highest_dedicated
        elif self.only_dedicated:
            raise SecurityFault("ciphered with the global key where the dedicated one was agreed")
        title, sealed = self._take_sealed(apdu, form)
        if sealed[0] != self.control:
            raise SecurityFault(f"security control {sealed[0]:#04x}, expected {self.control:#04x}")
        counter = int.from_bytes(sealed[1:HEADER_SIZE], "big")
        plain = key.open(self.control, title, counter, sealed[HEADER_SIZE:])
        if expected is not None and (not plain or plain[0] != expected):
            # Without a tag to check, this is all that shows another key.
            fault = SecurityFault if self.control & AUTHENTICATED else TagMismatch
            raise fault("the ciphered service is not the one its tag announces")
        if counter <= highest:
            raise CounterReplayed(counter, highest)
        if dedicated:
            self._highest_dedicated = counter
        else:
            self.highest_received = counter
        return plain

    def _take_sealed(self, apdu: bytes, form: Form) -> tuple[bytes, bytes]:
        """Return the sender's title, and control octet, counter and sealed octets."""
        title = self.peer_title
        position = 1
        try:
            if form.is_general:
                sender, position = xdr.take(apdu, position)
                if title is not None and sender != title:
                    raise SecurityFault(f"ciphered by {sender.hex()}, expected {title.hex()}")
                title = sender
            sealed, end = xdr.take(apdu, position)
        except IndexError:
            raise MalformedData("a ciphered APDU is cut short") from None
        if end != len(apdu) or len(sealed) < HEADER_SIZE:
            raise MalformedData("the length of a ciphered APDU is wrong")
        if title is None or len(title) != TITLE_SIZE:
            raise SecurityFault("the sender's system title is not known")
        if title == self._local_title:
            raise SecurityFault("our own ciphered APDU came back")
        return title, sealed

    def make_hls_tag(self, challenge: bytes) -> bytes:
        """Return our proof f(challenge): control octet, a counter of its own, GMAC."""
        counter = self._draw()
        tag = self._key.gmac(self._local_title, counter, challenge)
        return bytes((AUTHENTICATED | self._key.suite,)) + counter.to_bytes(4, "big") + tag

    def check_hls_tag(self, proof: bytes, challenge: bytes) -> None:
        """Check the peer's proof of our fresh challenge; raises `TagMismatch` or `SecurityFault`.

        Its counter is not compared: the challenge makes it fresh, and peers that give tag and
        carrier one counter are common.
        """
        if self.peer_title is None:
            raise SecurityFault("the sender's system title is not known")
        if len(proof) != HEADER_SIZE + TAG_SIZE or proof[0] != AUTHENTICATED | self._key.suite:
            raise SecurityFault("the proof of authentication is malformed")
        counter = int.from_bytes(proof[1:HEADER_SIZE], "big")
        expected = self._key.gmac(self.peer_title, counter, challenge)
        if not hmac.compare_digest(expected, proof[HEADER_SIZE:]):
            raise TagMismatch("the peer's proof of authentication is wrong: another key")

    def _draw(self) -> int:
        counter = self._counters.take()
        if not self._last_sent < counter <= COUNTER_LIMIT:
            raise LocalProtocolError(f"invocation counter {counter} after {self._last_sent}")
        self._last_sent = counter
        return counter


def _check_title(title: bytes) -> None:
    if len(title) != TITLE_SIZE:
        raise LocalProtocolError(f"a system title has {TITLE_SIZE} octets, not {len(title)}")
