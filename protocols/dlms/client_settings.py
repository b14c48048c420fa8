"""How a client means to associate: what it proposes, presents and proves."""

from __future__ import annotations

from dataclasses import dataclass, field

from headend.domain.errors import LocalProtocolError
from protocols.dlms.acse import Mechanism
from protocols.dlms.hls import DIGEST_MECHANISMS, LEGACY_MECHANISMS
from protocols.dlms.initiate import Conformance
from protocols.dlms.security import SecureChannel

PROPOSED_CONFORMANCE = (
    Conformance.GET
    | Conformance.SET
    | Conformance.ACTION
    | Conformance.SELECTIVE_ACCESS
    | Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.BLOCK_TRANSFER_WITH_SET
    | Conformance.BLOCK_TRANSFER_WITH_ACTION
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.PRIORITY_MANAGEMENT
)
_SUPPORTED = frozenset((Mechanism.NONE, Mechanism.LLS, Mechanism.HLS_GMAC)) | DIGEST_MECHANISMS


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How to associate. ``challenge`` must be fresh random octets for each association.

    ``password`` is that of LLS, or the secret of a digest mechanism. ``dedicated_key``, fresh
    random octets too, is used where the channel's form asks for one. MD5 and SHA-1 need
    ``allow_legacy``. With ``ciphered`` False the channel proves us (GMAC) and ciphers nothing.
    """

    mechanism: Mechanism = Mechanism.NONE
    password: bytes | None = field(default=None, repr=False)
    challenge: bytes | None = field(default=None, repr=False)
    system_title: bytes | None = None
    conformance: Conformance = PROPOSED_CONFORMANCE
    max_pdu: int = 0xFFFF
    dedicated_key: bytes | None = field(default=None, repr=False)
    allow_legacy: bool = False
    ciphered: bool = True


def check_settings(settings: ClientSettings, channel: SecureChannel | None) -> None:
    """Raise `LocalProtocolError` for settings that cannot work."""
    mechanism = settings.mechanism
    if mechanism not in _SUPPORTED:
        raise LocalProtocolError(f"authentication mechanism {mechanism} is not supported")
    if mechanism == Mechanism.LLS and settings.password is None:
        raise LocalProtocolError("LLS needs a password")
    if mechanism > Mechanism.LLS and settings.challenge is None:
        raise LocalProtocolError(f"{mechanism.name} needs a challenge")
    if mechanism in LEGACY_MECHANISMS and not settings.allow_legacy:
        raise LocalProtocolError(f"{mechanism.name} is for legacy meters and was not allowed")
    if channel is not None and settings.ciphered and channel.form.is_dedicated:
        if settings.dedicated_key is None:
            raise LocalProtocolError("the dedicated form needs a dedicated key")
        channel.agree_dedicated(settings.dedicated_key)  # its size is right
