"""The client's side of one association: bytes in, events out, no IO, no clock.

Theory of operation. ``idle`` -> AARQ -> ``associating``. An accepting AARE either makes the
association ``ready`` (no security, LLS) or, with HLS, carries the meter's challenge
(``challenged``): our proof goes out as an ACTION on the current association (``proving``), and only
the meter's proof of *our* challenge makes it ``ready``. A request makes it ``waiting`` until its
answer, `abandon` gives up on that answer, and a release ends in ``closed`` whether it was answered
or not. With a dedicated key every request goes under it. Moves that `_MOVES` does not list raise
`LocalProtocolError` and change nothing; received bytes that are malformed, foreign, late or fail a
security check raise and change nothing either (a genuine but late answer still advances the
received counter). A rejection is an event, because it does change the state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from headend.domain.errors import LocalProtocolError
from headend.domain.obis import CURRENT_ASSOCIATION
from protocols.dlms import acceptance, acse, xdr
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.acceptance import CHALLENGE_SIZES
from protocols.dlms.acse import Aare, Aarq, AssociationResult, Context, Diagnostic, Mechanism
from protocols.dlms.errors import AccessResult, MalformedData
from protocols.dlms.events import (
    Answer,
    Associated,
    Challenged,
    Event,
    Rejected,
    Released,
    StaleAnswer,
)
from protocols.dlms.fitting import check_fits
from protocols.dlms.hls import DIGEST_MECHANISMS, LEGACY_MECHANISMS, Proofs
from protocols.dlms.initiate import Conformance, InitiateRequest, InitiateResponse
from protocols.dlms.security import MAX_OVERHEAD, Form, PlainAnswer, SecureChannel, SecurityFault

__all__ = ["CHALLENGE_SIZES", "HLS_METHOD", "ClientAssociation", "ClientSettings", "State"]

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
HLS_METHOD = rq.Attribute(15, CURRENT_ASSOCIATION, 1)  # reply_to_HLS_authentication
CONFIRMED_HIGH = 0xC0  # invoke-id-and-priority: confirmed service, high priority
_UNCIPHERED_REFUSALS = frozenset((rs.EXCEPTION_RESPONSE, rs.CONFIRMED_SERVICE_ERROR))
_SUPPORTED = frozenset((Mechanism.NONE, Mechanism.LLS, Mechanism.HLS_GMAC)) | DIGEST_MECHANISMS


class State(StrEnum):
    IDLE = "idle"
    ASSOCIATING = "associating"
    CHALLENGED = "challenged"
    PROVING = "proving"
    READY = "ready"
    WAITING = "waiting"
    RELEASING = "releasing"
    CLOSED = "closed"


class _Move(StrEnum):
    OPEN = "open"
    PROVE = "prove"
    REQUEST = "send a request"
    ABANDON = "abandon an answer"
    RELEASE = "release"
    RECEIVE = "receive"


_ASSOCIATED = (State.CHALLENGED, State.PROVING, State.READY, State.WAITING)
_MOVES: dict[_Move, frozenset[State]] = {
    _Move.OPEN: frozenset((State.IDLE,)),
    _Move.PROVE: frozenset((State.CHALLENGED,)),
    _Move.REQUEST: frozenset((State.READY,)),
    _Move.ABANDON: frozenset((State.WAITING,)),
    _Move.RELEASE: frozenset(_ASSOCIATED),
    _Move.RECEIVE: frozenset((State.ASSOCIATING, State.PROVING, State.WAITING, State.RELEASING)),
}


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


class ClientAssociation:
    """One association; ``channel`` ciphers it, None leaves it plain."""

    def __init__(self, settings: ClientSettings, channel: SecureChannel | None = None) -> None:
        _check_settings(settings, channel)
        self._settings = settings
        self._channel = channel if settings.ciphered else None
        self._prover = channel
        self._proofs: Proofs | None = None
        if settings.mechanism > Mechanism.LLS:
            self._proofs = Proofs(
                settings.mechanism, settings.system_title, channel, settings.password
            )
        self._state = State.IDLE
        self._peer_challenge = b""
        self._peer_title: bytes | None = None
        self._negotiated: InitiateResponse | None = None
        self._pending: rq.Request | None = None
        self._invoke = 0

    @property
    def state(self) -> State:
        return self._state

    @property
    def is_ciphered(self) -> bool:
        return self._channel is not None

    @property
    def negotiated(self) -> InitiateResponse:
        """What the meter agreed to; raises `LocalProtocolError` before it did."""
        if self._negotiated is None:
            raise LocalProtocolError("nothing was negotiated yet")
        return self._negotiated

    @property
    def request_limit(self) -> int | None:
        """Octets of the longest plain request that the meter takes, None without a limit."""
        limit = self.negotiated.max_pdu
        if not limit:
            return None
        return limit if self._channel is None else max(limit - MAX_OVERHEAD, 1)

    def open(self) -> bytes:
        """Return the AARQ."""
        self._check(_Move.OPEN)
        settings, channel = self._settings, self._channel
        information = InitiateRequest(
            self._proposed, settings.max_pdu, dedicated_key=self._dedicated_key
        ).encode()
        if channel is not None:
            information = channel.protect(information, form=Form.GLO)
        hls = self._proofs is not None
        aarq = Aarq(
            context=self._context,
            mechanism=settings.mechanism,
            system_title=settings.system_title,
            authentication=settings.challenge if hls else settings.password,
            user_information=information,
        )
        self._state = State.ASSOCIATING
        return aarq.encode()

    def prove(self) -> bytes:
        """Return our proof of the meter's challenge (HLS pass 3)."""
        self._check(_Move.PROVE)
        proofs, own = self._proofs, self._settings.challenge
        if proofs is None or own is None:
            raise LocalProtocolError("nothing to prove without HLS")
        proof = xdr.octet_string(
            proofs.make(received=self._peer_challenge, sent=own, peer_title=self._peer_title)
        )
        request = rq.ActionRequest(self.draw_invoke(), HLS_METHOD, proof)
        apdu, channel = request.encode(), self._channel
        if channel is not None:
            # The association is not ready yet: like others, keep to the key that both had before.
            apdu = channel.protect(apdu, form=Form.GLO)
        self._pending, self._state = request, State.PROVING
        return apdu

    def draw_invoke(self) -> int:
        """Return the next invoke-id-and-priority; identifiers repeat after 16."""
        self._invoke = (self._invoke + 1) & 0x0F
        return CONFIRMED_HIGH | self._invoke

    def request(self, request: rq.Request) -> bytes:
        """Return the APDU of a request; its answer must be received or abandoned next."""
        self._check(_Move.REQUEST)
        apdu = self._protect(request.encode())
        limit = self.negotiated.max_pdu
        if limit and len(apdu) > limit:
            raise LocalProtocolError(f"a request of {len(apdu)} octets, the meter takes {limit}")
        self._pending, self._state = request, State.WAITING
        return apdu

    def abandon(self) -> None:
        """Give up on the answer; when it comes late it is told apart by its invoke-id."""
        self._check(_Move.ABANDON)
        self._pending, self._state = None, State.READY

    def release(self) -> bytes:
        """Return the RLRQ; a request without answer is abandoned with it."""
        self._check(_Move.RELEASE)
        self._pending, self._state = None, State.RELEASING
        return acse.Rlrq().encode()

    def close(self) -> None:
        """The connection is gone or the release stayed unanswered: always allowed."""
        self._pending, self._state = None, State.CLOSED

    def receive(self, apdu: bytes) -> Event:
        """Take one APDU that came for this association; see the module for what raises."""
        self._check(_Move.RECEIVE)
        if not apdu:
            raise MalformedData("an empty APDU")
        if self._state is State.ASSOCIATING:
            return self._receive_aare(apdu)
        if self._state is State.RELEASING:
            return self._receive_release(apdu)
        return self._receive_answer(apdu)

    @property
    def _context(self) -> Context:
        return Context.LOGICAL_NAME if self._channel is None else Context.LOGICAL_NAME_CIPHERED

    @property
    def _proposed(self) -> Conformance:
        conformance = self._settings.conformance
        if self._channel is not None and self._channel.form.is_general:
            conformance |= Conformance.GENERAL_PROTECTION
        return conformance

    @property
    def _dedicated_key(self) -> bytes | None:
        channel = self._channel
        wanted = channel is not None and channel.form.is_dedicated
        return self._settings.dedicated_key if wanted else None

    def _protect(self, apdu: bytes) -> bytes:
        return apdu if self._channel is None else self._channel.protect(apdu)

    def _check(self, move: _Move) -> None:
        if self._state not in _MOVES[move]:
            raise LocalProtocolError(f"an association that is {self._state} cannot {move}")

    def _receive_aare(self, apdu: bytes) -> Event:
        if apdu[0] in _UNCIPHERED_REFUSALS:
            refused = rs.decode_response(apdu)
            if isinstance(refused, rs.ExceptionResponse | rs.ConfirmedServiceError):
                self._state = State.CLOSED
                return Rejected(refused.text, response=refused)
        if apdu[0] != acse.AARE:
            raise StaleAnswer(f"APDU {apdu[0]:#04x} while waiting for an AARE")
        aare = acse.decode_aare(apdu)
        if aare.result != AssociationResult.ACCEPTED:
            rejected = acceptance.read_rejection(aare)
            self._state = State.CLOSED
            return rejected
        if aare.context != self._context:
            raise SecurityFault(f"accepted in application context {aare.context}, not in ours")
        challenge, settings = b"", self._settings
        if self._proofs is not None:
            challenge = acceptance.check_challenge(
                aare, mechanism=settings.mechanism, own_challenge=settings.challenge
            )
        elif aare.diagnostic == Diagnostic.AUTHENTICATION_REQUIRED:
            self._state = State.CLOSED
            return Rejected("authentication-required")
        self._accept(aare)
        if self._proofs is not None:
            self._peer_challenge = challenge
            self._state = State.CHALLENGED
            return Challenged()
        self._become_ready()
        return Associated(self.negotiated)

    def _become_ready(self) -> None:
        channel = self._channel
        if channel is not None:
            channel.only_dedicated = self._dedicated_key is not None
        self._pending, self._state = None, State.READY

    def _accept(self, aare: Aare) -> None:
        """Take over title and InitiateResponse; changes nothing when either is refused."""
        prover, channel = self._prover, self._channel
        if prover is None:
            negotiated = acceptance.read_initiate(aare.user_information, proposed=self._proposed)
        else:
            title, before = acceptance.check_title(aare, prover), prover.peer_title
            prover.peer_title = title
            try:
                plain = aare.user_information
                if channel is not None:
                    plain = channel.unprotect(plain)
                negotiated = acceptance.read_initiate(plain, proposed=self._proposed)
            except BaseException:
                prover.peer_title = before
                raise
        if channel is not None:
            if channel.form.is_general and not (
                negotiated.conformance & Conformance.GENERAL_PROTECTION
            ):
                channel.form = channel.form.specific
            if self._dedicated_key is not None:
                channel.agree_dedicated(self._dedicated_key)
        self._peer_title, self._negotiated = aare.system_title, negotiated

    def _receive_release(self, apdu: bytes) -> Event:
        if apdu[0] != acse.RLRE:
            raise StaleAnswer(f"APDU {apdu[0]:#04x} while waiting for a RLRE")
        acse.decode_rlre(apdu)
        self._state = State.CLOSED
        return Released()

    def _receive_answer(self, apdu: bytes) -> Event:
        if apdu[0] in (acse.AARE, acse.RLRE):
            raise StaleAnswer(f"APDU {apdu[0]:#04x} while waiting for an answer")
        authenticated = self._channel is not None
        try:
            plain = apdu if self._channel is None else self._channel.unprotect(apdu)
        except PlainAnswer:
            if apdu[0] not in _UNCIPHERED_REFUSALS:
                raise
            plain, authenticated = apdu, False
        response = rs.decode_response(plain)
        if not isinstance(response, rs.ExceptionResponse | rs.ConfirmedServiceError):
            check_fits(response, self._pending)
        if self._state is State.PROVING:
            return self._receive_proof(response)
        self._pending, self._state = None, State.READY
        return Answer(response, authenticated)

    def _receive_proof(self, response: rs.Response) -> Event:
        """Judge HLS pass 4."""
        if isinstance(response, rs.ExceptionResponse | rs.ConfirmedServiceError):
            self._pending, self._state = None, State.CLOSED
            return Rejected(response.text, response=response)
        proofs, challenge = self._proofs, self._settings.challenge
        if not isinstance(response, rs.ActionResponse) or proofs is None or challenge is None:
            raise StaleAnswer("not an answer to the proof of authentication")
        if response.result != AccessResult.SUCCESS:
            self._pending, self._state = None, State.CLOSED
            return Rejected(f"proof of authentication: {response.result.text}")
        proof = xdr.decode(response.data) if isinstance(response.data, bytes) else None
        if not isinstance(proof, bytes):
            raise SecurityFault("the meter gives no proof of its own")
        proofs.check(
            proof, received=self._peer_challenge, sent=challenge, peer_title=self._peer_title
        )
        self._become_ready()
        return Associated(self.negotiated)


def _check_settings(settings: ClientSettings, channel: SecureChannel | None) -> None:
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
