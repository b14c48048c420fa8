"""The server's decision over an AARQ: whom to admit, in which context, with which limits.

`admit` never raises for received bytes; a refused AARQ leaves everything as it was, so that a
stranger cannot end somebody else's association by asking wrongly.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from headend.domain.errors import LocalProtocolError
from headend.domain.obis import Obis
from protocols.dlms import acse, initiate
from protocols.dlms.acceptance import CHALLENGE_SIZES
from protocols.dlms.acse import Aare, Aarq, AssociationResult, Context, Diagnostic, Mechanism
from protocols.dlms.errors import MalformedData
from protocols.dlms.hls import MECHANISMS, Proofs
from protocols.dlms.initiate import Conformance, InitiateRequest, InitiateResponse
from protocols.dlms.responses import (
    ConfirmedServiceError,
    ExceptionResponse,
    ServiceError,
    StateError,
)
from protocols.dlms.security import (
    AUTHENTICATED_ENCRYPTED,
    TITLE_SIZE,
    CounterReplayed,
    Form,
    GcmKey,
    SecureChannel,
    SecurityFault,
    form_of,
)

SERVED_CONFORMANCE = (
    Conformance.GET
    | Conformance.SET
    | Conformance.ACTION
    | Conformance.SELECTIVE_ACCESS
    | Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.BLOCK_TRANSFER_WITH_SET
    | Conformance.BLOCK_TRANSFER_WITH_ACTION
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.PRIORITY_MANAGEMENT
    | Conformance.GENERAL_PROTECTION
)
MIN_CLIENT_PDU = 64  # octets; below this no ciphered block carries anything worth sending
CHALLENGE_SIZE = 16
# Mechanisms whose proof covers the system titles, so that both sides must give theirs.
_TITLED = frozenset((Mechanism.HLS_GMAC, Mechanism.HLS_SHA256))
# ConfirmedServiceError: initiateError, initiate, pdu-size-too-short / incompatible-conformance.
_PDU_TOO_SHORT = ConfirmedServiceError(1, 6, 3)
_INCOMPATIBLE = ConfirmedServiceError(1, 6, 2)


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """What one client address must present and may do. Secrets never show in ``repr``.

    ``password`` is that of LLS or the secret of md5, sha1 and sha256. ``control`` is the protection
    demanded of every APDU (`security.AUTHENTICATED`, ``ENCRYPTED`` or both); 0 or no keys: none.
    ``readable`` limits reading to these objects (None: all); without ``may_write`` every SET and
    ACTION is denied, as for a public client.
    """

    authentication: Literal["none", "lls", "md5", "sha1", "gmac", "sha256"] = "gmac"
    encryption_key: bytes | None = field(default=None, repr=False)
    authentication_key: bytes | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)
    readable: frozenset[Obis] | None = None
    may_write: bool = True
    suite: int = 0
    control: int = AUTHENTICATED_ENCRYPTED

    @property
    def is_ciphered(self) -> bool:
        """Whether its associations are ciphered."""
        return self.encryption_key is not None and self.control != 0


@dataclass(slots=True)
class ServerCounters:
    """Mutable: the next counter to send, and the highest received from each client address."""

    next_counter: int = 0
    received: dict[int, int] = field(default_factory=dict)

    def take(self) -> int:
        """Draw the next counter to send."""
        self.next_counter += 1
        return self.next_counter - 1


@dataclass(frozen=True, slots=True)
class ServerSecurity:
    """Identity and client table of one logical device; counters outlive its sessions."""

    system_title: bytes
    clients: Mapping[int, ClientAccess]
    counters: ServerCounters = field(default_factory=ServerCounters)


@dataclass(slots=True)
class Admission:
    """A client that was let in; with HLS it must still prove itself (``proven``)."""

    access: ClientAccess
    context: Context
    mechanism: Mechanism
    channel: SecureChannel | None
    conformance: Conformance
    max_answer: int  # longest APDU that may be sent
    proven: bool
    proofs: Proofs | None = None
    client_title: bytes | None = None
    own_challenge: bytes = b""
    client_challenge: bytes = b""


class _Refused(Exception):
    def __init__(
        self, diagnostic: Diagnostic, information: ConfirmedServiceError | None = None
    ) -> None:
        super().__init__(diagnostic.name)
        self.diagnostic = diagnostic
        self.information = information


def admit(
    apdu: bytes,
    security: ServerSecurity,
    *,
    client_address: int,
    max_pdu: int,
    draw_challenge: Callable[[int], bytes],
    conformance: Conformance = SERVED_CONFORMANCE,
) -> tuple[bytes, Admission | None]:
    """Judge an AARQ; return the answer and, where the client is let in, its admission."""
    try:
        aarq = acse.decode_aarq(apdu)
    except MalformedData:
        unknown = ExceptionResponse(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON)
        return unknown.encode(), None
    try:
        access = _judge_client(aarq, security.clients.get(client_address))
        prover = _open_channel(aarq, access, security, client_address)
        channel = prover if access.is_ciphered else None
        request, form = _read_request(aarq, channel)
        admission = _negotiate(aarq, access, request, channel, max_pdu, conformance)
        if channel is not None and request.dedicated_key is not None:
            channel.agree_dedicated(request.dedicated_key)
        if not admission.proven:
            admission.proofs = Proofs(
                admission.mechanism, security.system_title, prover, access.password
            )
    except _Refused as refused:
        return _encode_refusal(aarq, refused), None
    except CounterReplayed as fault:
        error = ServiceError.INVOCATION_COUNTER_ERROR
        refusal = ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, error, fault.highest + 1)
        return refusal.encode(), None
    except (SecurityFault, MalformedData, LocalProtocolError):
        return _encode_refusal(aarq, _Refused(Diagnostic.AUTHENTICATION_FAILURE)), None
    if channel is not None:
        security.counters.received[client_address] = channel.highest_received
    if not admission.proven:
        admission.own_challenge = draw_challenge(CHALLENGE_SIZE)
    return _encode_acceptance(aarq, admission, security, max_pdu, form), admission


def _encode_acceptance(
    aarq: Aarq, admission: Admission, security: ServerSecurity, max_pdu: int, form: Form
) -> bytes:
    information = InitiateResponse(admission.conformance, max_pdu).encode()
    if admission.channel is not None:
        information = admission.channel.protect(information, form=form)
    hls = not admission.proven
    titled = admission.channel is not None or admission.mechanism in _TITLED
    return Aare(
        context=aarq.context,
        result=AssociationResult.ACCEPTED,
        diagnostic=Diagnostic.AUTHENTICATION_REQUIRED if hls else Diagnostic.NULL,
        mechanism=aarq.mechanism if hls else Mechanism.NONE,
        system_title=security.system_title if titled else None,
        authentication=admission.own_challenge if hls else None,
        user_information=information,
    ).encode()


def _judge_client(aarq: Aarq, access: ClientAccess | None) -> ClientAccess:
    if access is None:
        raise _Refused(Diagnostic.NO_REASON_GIVEN)
    required = MECHANISMS[access.authentication]
    if aarq.mechanism != required:
        if aarq.mechanism == Mechanism.NONE:
            raise _Refused(Diagnostic.AUTHENTICATION_MECHANISM_NAME_REQUIRED)
        raise _Refused(Diagnostic.AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED)
    presented = aarq.authentication or b""
    if required == Mechanism.LLS and not hmac.compare_digest(presented, access.password or b""):
        raise _Refused(Diagnostic.AUTHENTICATION_FAILURE)
    if required > Mechanism.LLS and len(presented) not in CHALLENGE_SIZES:
        raise _Refused(Diagnostic.AUTHENTICATION_FAILURE)
    return access


def _open_channel(
    aarq: Aarq, access: ClientAccess, security: ServerSecurity, client_address: int
) -> SecureChannel | None:
    """Return the means of ciphering or proving, None where neither is asked for."""
    wanted = Context.LOGICAL_NAME_CIPHERED if access.is_ciphered else Context.LOGICAL_NAME
    if aarq.context != wanted:
        raise _Refused(Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED)
    title, needs_keys = aarq.system_title, MECHANISMS[access.authentication] == Mechanism.HLS_GMAC
    is_wrong = title is None or len(title) != TITLE_SIZE or title == security.system_title
    if is_wrong and (access.is_ciphered or aarq.mechanism in _TITLED):
        raise _Refused(Diagnostic.CALLING_AP_TITLE_NOT_RECOGNIZED)
    if not access.is_ciphered and not needs_keys:
        return None
    if access.encryption_key is None or access.authentication_key is None:
        raise _Refused(Diagnostic.APPLICATION_CONTEXT_NAME_NOT_SUPPORTED)
    return SecureChannel(
        GcmKey(access.encryption_key, access.authentication_key, suite=access.suite),
        security.counters,
        local_title=security.system_title,
        peer_title=title,
        highest_received=security.counters.received.get(client_address, -1),
        control=access.control,
    )


def _read_request(aarq: Aarq, channel: SecureChannel | None) -> tuple[InitiateRequest, Form]:
    """Decipher the InitiateRequest; return it and the form it came in."""
    information = aarq.user_information
    form = form_of(information) or Form.GLO
    if channel is not None:
        information = channel.unprotect(information)
    return initiate.decode_initiate_request(information), form


def _negotiate(
    aarq: Aarq,
    access: ClientAccess,
    request: InitiateRequest,
    channel: SecureChannel | None,
    max_pdu: int,
    served: Conformance,
) -> Admission:
    conformance = request.conformance & served
    if not conformance & Conformance.GET:
        raise _Refused(Diagnostic.NO_REASON_GIVEN, _INCOMPATIBLE)
    if request.max_pdu and request.max_pdu < MIN_CLIENT_PDU:
        raise _Refused(Diagnostic.NO_REASON_GIVEN, _PDU_TOO_SHORT)
    mechanism = Mechanism(aarq.mechanism)
    hls = mechanism > Mechanism.LLS
    return Admission(
        access=access,
        context=Context(aarq.context),
        mechanism=mechanism,
        channel=channel,
        conformance=conformance,
        max_answer=min(max_pdu, request.max_pdu or max_pdu),
        proven=not hls,
        client_title=aarq.system_title,
        client_challenge=aarq.authentication or b"" if hls else b"",
    )


def _encode_refusal(aarq: Aarq, refused: _Refused) -> bytes:
    information = b"" if refused.information is None else refused.information.encode()
    return Aare(
        context=aarq.context,
        result=AssociationResult.REJECTED_PERMANENT,
        diagnostic=refused.diagnostic,
        user_information=information,
    ).encode()
