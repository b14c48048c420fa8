"""The client's side of one association: bytes in, events out, no IO, no clock.

Theory of operation. ``idle`` -> AARQ -> ``associating``. An accepting AARE either makes the
association ``ready`` (no security, LLS) or, with HLS, carries the meter's challenge
(``challenged``): our proof goes out as an ACTION on the current association (``proving``), and only
the meter's proof of *our* challenge makes it ``ready``. A request makes it ``waiting`` until its
answer, `abandon` gives up on that answer, and a release ends in ``closed`` whether it was answered
or not. Moves that `_MOVES` does not list raise `LocalProtocolError` and change nothing; received
bytes that are malformed, foreign, late or fail a security check raise and change nothing either
(a genuine but late answer still advances the received counter). A rejection is an event, because
it does change the state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from headend.domain.errors import (
    LocalProtocolError,
)
from headend.domain.obis import CURRENT_ASSOCIATION
from protocols.dlms import acse, initiate, xdr
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.acse import Aarq, AssociationResult, Context, Diagnostic, Mechanism
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
from protocols.dlms.initiate import Conformance, InitiateRequest, InitiateResponse
from protocols.dlms.security import PlainAnswer, SecureChannel, SecurityFault

PROPOSED_CONFORMANCE = (
    Conformance.GET
    | Conformance.SET
    | Conformance.ACTION
    | Conformance.SELECTIVE_ACCESS
    | Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.MULTIPLE_REFERENCES
    | Conformance.PRIORITY_MANAGEMENT
)
CHALLENGE_SIZES = range(8, 65)  # octets, Green Book 9.2.7.4 (clause unverified)
HLS_METHOD = rq.Attribute(15, CURRENT_ASSOCIATION, 1)  # reply_to_HLS_authentication
CONFIRMED_HIGH = 0xC0  # invoke-id-and-priority: confirmed service, high priority
_UNCIPHERED_REFUSALS = frozenset((rs.EXCEPTION_RESPONSE, rs.CONFIRMED_SERVICE_ERROR))


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
    """How to associate. ``challenge`` must be fresh random octets for each association."""

    mechanism: Mechanism = Mechanism.NONE
    password: bytes | None = field(default=None, repr=False)
    challenge: bytes | None = field(default=None, repr=False)
    system_title: bytes | None = None
    conformance: Conformance = PROPOSED_CONFORMANCE
    max_pdu: int = 0xFFFF


class ClientAssociation:
    """One association; ``channel`` ciphers it, None leaves it plain."""

    def __init__(self, settings: ClientSettings, channel: SecureChannel | None = None) -> None:
        if settings.mechanism == Mechanism.LLS and settings.password is None:
            raise LocalProtocolError("LLS needs a password")
        if settings.mechanism == Mechanism.HLS_GMAC and (
            channel is None or settings.challenge is None
        ):
            raise LocalProtocolError("HLS-GMAC needs keys and a challenge")
        self._settings = settings
        self._channel = channel
        self._state = State.IDLE
        self._peer_challenge = b""
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

    def open(self) -> bytes:
        """Return the AARQ."""
        self._check(_Move.OPEN)
        settings, channel = self._settings, self._channel
        request = InitiateRequest(settings.conformance, settings.max_pdu).encode()
        if channel is not None:
            request = channel.protect(request)
        hls = settings.mechanism > Mechanism.LLS
        aarq = Aarq(
            context=self._context,
            mechanism=settings.mechanism,
            system_title=settings.system_title,
            authentication=settings.challenge if hls else settings.password,
            user_information=request,
        )
        self._state = State.ASSOCIATING
        return aarq.encode()

    def prove(self) -> bytes:
        """Return our proof of the meter's challenge (HLS pass 3)."""
        self._check(_Move.PROVE)
        channel = self._channel
        if channel is None:
            raise LocalProtocolError("HLS-GMAC needs keys")
        proof = xdr.octet_string(channel.make_hls_tag(self._peer_challenge))
        request = rq.ActionRequest(self.draw_invoke(), HLS_METHOD, proof)
        apdu = channel.protect(request.encode())
        self._pending, self._state = request, State.PROVING
        return apdu

    def draw_invoke(self) -> int:
        """Return the next invoke-id-and-priority; identifiers repeat after 16."""
        self._invoke = (self._invoke + 1) & 0x0F
        return CONFIRMED_HIGH | self._invoke

    def request(self, request: rq.Request) -> bytes:
        """Return the APDU of a request; its answer must be received or abandoned next."""
        self._check(_Move.REQUEST)
        apdu = request.encode()
        if self._channel is not None:
            apdu = self._channel.protect(apdu)
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
            rejected = _read_rejection(aare)
            self._state = State.CLOSED
            return rejected
        if aare.context != self._context:
            raise SecurityFault(f"accepted in application context {aare.context}, not in ours")
        hls = self._settings.mechanism > Mechanism.LLS
        if hls:
            self._check_challenge(aare)
        elif aare.diagnostic == Diagnostic.AUTHENTICATION_REQUIRED:
            self._state = State.CLOSED
            return Rejected("authentication-required")
        self._negotiated = self._read_initiate_response(aare)
        if hls:
            self._peer_challenge = aare.authentication or b""
            self._state = State.CHALLENGED
            return Challenged()
        self._state = State.READY
        return Associated(self._negotiated)

    def _check_challenge(self, aare: acse.Aare) -> None:
        if aare.mechanism != self._settings.mechanism:
            raise SecurityFault(f"the meter answers with mechanism {aare.mechanism}, not with ours")
        if aare.diagnostic != Diagnostic.AUTHENTICATION_REQUIRED or aare.by_provider:
            raise SecurityFault("the meter skips the proof of authentication")
        challenge = aare.authentication or b""
        if len(challenge) not in CHALLENGE_SIZES:
            raise SecurityFault(f"a challenge of {len(challenge)} octets")
        if challenge == self._settings.challenge:
            raise SecurityFault("the meter reflects our own challenge")

    def _read_initiate_response(self, aare: acse.Aare) -> InitiateResponse:
        information, channel = aare.user_information, self._channel
        if channel is None:
            return _decode_initiate(information)
        if aare.system_title is None or len(aare.system_title) != 8:
            raise SecurityFault("the meter gives no system title")
        if aare.system_title == self._settings.system_title:
            raise SecurityFault("the meter claims our own system title")
        if channel.peer_title not in (None, aare.system_title):
            raise SecurityFault("the meter's system title is not the one known")
        before = channel.peer_title
        channel.peer_title = aare.system_title
        try:
            return _decode_initiate(channel.unprotect(information))
        except BaseException:
            channel.peer_title = before
            raise

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
            self._check_fits(response)
        if self._state is State.PROVING:
            return self._receive_proof(response)
        self._pending, self._state = None, State.READY
        return Answer(response, authenticated)

    def _check_fits(self, response: rs.Response) -> None:
        """Raise `StaleAnswer` unless service and invoke-id are those of the pending request."""
        pending = self._pending
        if pending is None or isinstance(response, rs.ExceptionResponse | rs.ConfirmedServiceError):
            return
        if not isinstance(response, _ANSWERS[type(pending)]):
            raise StaleAnswer(f"a {type(response).__name__} to a {type(pending).__name__}")
        if (response.invoke ^ pending.invoke) & 0x0F:
            raise StaleAnswer(f"the answer to request {response.invoke & 0x0F} came late")

    def _receive_proof(self, response: rs.Response) -> Event:
        """Judge HLS pass 4."""
        if isinstance(response, rs.ExceptionResponse | rs.ConfirmedServiceError):
            self._pending, self._state = None, State.CLOSED
            return Rejected(response.text, response=response)
        channel, challenge = self._channel, self._settings.challenge
        if not isinstance(response, rs.ActionResponse) or channel is None or challenge is None:
            raise StaleAnswer("not an answer to the proof of authentication")
        if response.result != AccessResult.SUCCESS:
            self._pending, self._state = None, State.CLOSED
            return Rejected(f"proof of authentication: {response.result.text}")
        proof = xdr.decode(response.data) if isinstance(response.data, bytes) else None
        if not isinstance(proof, bytes):
            raise SecurityFault("the meter gives no proof of its own")
        channel.check_hls_tag(proof, challenge)
        self._pending, self._state = None, State.READY
        return Associated(self.negotiated)


_ANSWERS: dict[type, tuple[type, ...]] = {
    rq.GetRequest: (rs.GetResponse, rs.GetResponseBlock),
    rq.GetRequestNext: (rs.GetResponse, rs.GetResponseBlock),
    rq.GetRequestList: (rs.GetResponseList, rs.GetResponseBlock, rs.GetResponse),
    rq.SetRequest: (rs.SetResponse,),
    rq.ActionRequest: (rs.ActionResponse,),
}


def _decode_initiate(information: bytes) -> InitiateResponse:
    response = initiate.decode_initiate_response(information)
    if response.version != initiate.DLMS_VERSION:
        raise MalformedData(f"DLMS version {response.version}")
    return response


def _read_rejection(aare: acse.Aare) -> Rejected:
    reason = acse.name_diagnostic(aare.diagnostic, by_provider=aare.by_provider)
    information = aare.user_information
    response = None
    if information[:1] == bytes((rs.CONFIRMED_SERVICE_ERROR,)):
        response = rs.decode_response(information)
    transient = aare.result == AssociationResult.REJECTED_TRANSIENT
    if isinstance(response, rs.ConfirmedServiceError):
        return Rejected(f"{reason} ({response.text})", transient, response)
    return Rejected(reason, transient)
