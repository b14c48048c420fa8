"""High-level security: how each side proves that it knows the secret (Green Book 9.2.7.4).

Both sides send a fresh challenge; each answers the other's with f(challenge). With GMAC (mechanism
5) f is the work of `security.SecureChannel`. Here are the digests: MD5 (3) and SHA-1 (4) over
challenge and secret, and SHA-256 (6) over secret, both system titles and both challenges, its own
side first; clause unverified, checked against an independent implementation.

MD5 and SHA-1 are broken as digests and bind neither side's identity: they exist for legacy meters,
and who opens an association must allow them by name.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field

from headend.domain.errors import LocalProtocolError
from protocols.dlms.acse import Mechanism
from protocols.dlms.security import SecureChannel, TagMismatch

DIGEST_MECHANISMS = frozenset((Mechanism.HLS_MD5, Mechanism.HLS_SHA1, Mechanism.HLS_SHA256))
LEGACY_MECHANISMS = frozenset((Mechanism.HLS_MD5, Mechanism.HLS_SHA1))
# The names that accesses and endpoints use.
MECHANISMS = {
    "none": Mechanism.NONE,
    "lls": Mechanism.LLS,
    "md5": Mechanism.HLS_MD5,
    "sha1": Mechanism.HLS_SHA1,
    "gmac": Mechanism.HLS_GMAC,
    "sha256": Mechanism.HLS_SHA256,
}


@dataclass(frozen=True, slots=True)
class Proofs:
    """One side's means of proving and checking; ``channel`` for GMAC, ``secret`` for digests."""

    mechanism: Mechanism
    local_title: bytes | None = None
    channel: SecureChannel | None = None
    secret: bytes | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.mechanism == Mechanism.HLS_GMAC and self.channel is None:
            raise LocalProtocolError("HLS-GMAC needs keys")
        if self.mechanism in DIGEST_MECHANISMS and not self.secret:
            raise LocalProtocolError(f"{self.mechanism.name} needs a secret")
        if self.mechanism == Mechanism.HLS_SHA256 and not self.local_title:
            raise LocalProtocolError("HLS-SHA-256 needs a system title")

    def make(self, *, received: bytes, sent: bytes, peer_title: bytes | None) -> bytes:
        """Return our proof of the challenge that was ``received``."""
        if self.channel is not None and self.mechanism == Mechanism.HLS_GMAC:
            return self.channel.make_hls_tag(received)
        return self._digest(self.local_title, peer_title, received, sent)

    def check(
        self, proof: bytes, *, received: bytes, sent: bytes, peer_title: bytes | None
    ) -> None:
        """Check the peer's proof of the challenge that was ``sent``.

        Raises `TagMismatch` for a wrong one and `SecurityFault` for a malformed GMAC.
        """
        if self.channel is not None and self.mechanism == Mechanism.HLS_GMAC:
            self.channel.check_hls_tag(proof, sent)
            return
        expected = self._digest(peer_title, self.local_title, sent, received)
        if not hmac.compare_digest(expected, proof):
            raise TagMismatch("the peer's proof of authentication is wrong: another secret")

    def _digest(
        self, own_title: bytes | None, other_title: bytes | None, challenge: bytes, other: bytes
    ) -> bytes:
        secret = self.secret or b""
        if self.mechanism != Mechanism.HLS_SHA256:
            return _LEGACY_DIGESTS[self.mechanism](challenge + secret)
        # A meter that gives no title covers none; the digest then differs from that of one.
        message = secret + (own_title or b"") + (other_title or b"") + challenge + other
        return hashlib.sha256(message).digest()


def _md5(octets: bytes) -> bytes:
    return hashlib.md5(octets, usedforsecurity=False).digest()


def _sha1(octets: bytes) -> bytes:
    return hashlib.sha1(octets, usedforsecurity=False).digest()


_LEGACY_DIGESTS: dict[Mechanism, Callable[[bytes], bytes]] = {
    Mechanism.HLS_MD5: _md5,
    Mechanism.HLS_SHA1: _sha1,
}
