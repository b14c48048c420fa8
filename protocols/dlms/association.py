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

from enum import StrEnum

from headend.domain.errors import LocalProtocolError
from headend.domain.obis import CURRENT_ASSOCIATION
from protocols.dlms import acceptance, acse, gbt, xdr
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.acceptance import CHALLENGE_SIZES
from protocols.dlms.acse import Aare, Aarq, AssociationResult, Context, Diagnostic, Mechanism
from protocols.dlms.client_settings import (
    PROPOSED_CONFORMANCE,
    ClientSettings,
    check_settings,
)
from protocols.dlms.errors import AccessResult, MalformedData, RequestTooLong
from protocols.dlms.events import (
    Answer,
    Associated,
    Challenged,
    Continue,
    Event,
    Rejected,
    Released,
    StaleAnswer,
)
from protocols.dlms.fitting import AnswerCheck
from protocols.dlms.hls import Proofs
from protocols.dlms.initiate import Conformance, InitiateRequest, InitiateResponse
from protocols.dlms.security import MAX_OVERHEAD, Form, PlainAnswer, SecureChannel, SecurityFault

__all__ = [
    "CHALLENGE_SIZES",
    "HLS_METHOD",
    "PROPOSED_CONFORMANCE",
    "ClientAssociation",
    "ClientSettings",
    "State",
]

HLS_METHOD = rq.Attribute(15, CURRENT_ASSOCIATION, 1)  # reply_to_HLS_authentication
GBT_WINDOW = 16  # blocks that we take in one stream
_NO_LIMIT = 0xFFFF  # octets of an APDU
CONFIRMED_HIGH = 0xC0  # invoke-id-and-priority: confirmed service, high priority
# Unasked: a late AARE or RLRE, and what meters push on the same connection, plain or ciphered.
_NO_ANSWERS = frozenset((acse.AARE, acse.RLRE, 0x0F, 0x18, 0xC2, 0xCA, 0xD2))
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


class ClientAssociation:
    """One association; ``channel`` ciphers it, None leaves it plain."""

    def __init__(self, settings: ClientSettings, channel: SecureChannel | None = None) -> None:
        check_settings(settings, channel)
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
        self._answers = AnswerCheck()
        self._blocks: gbt.BlockTransfer | None = None

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
        return self.limit_of(Conformance(0))

    def limit_of(self, service_blocks: Conformance) -> int | None:
        """Return the `request_limit` for a service whose own blocks are that conformance bit.

        None too where a longer request goes out in general blocks instead.
        """
        limit, conformance = self.negotiated.max_pdu, self.negotiated.conformance
        general = conformance & Conformance.GENERAL_BLOCK_TRANSFER
        if not limit or (general and service_blocks and not conformance & service_blocks):
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
        limit, self._blocks = self.negotiated.max_pdu, None
        if limit and len(apdu) > limit:
            if not self.negotiated.conformance & Conformance.GENERAL_BLOCK_TRANSFER:
                text = f"a request of {len(apdu)} octets, the meter takes {limit}"
                raise RequestTooLong(text)
            self._blocks = self._open_blocks()
            (apdu,) = self._blocks.send(apdu)  # one, until the meter tells its window
        self._pending, self._state = request, State.WAITING
        return apdu

    def abandon(self) -> None:
        """Give up on the answer; when it comes late it is told apart by its invoke-id."""
        self._check(_Move.ABANDON)
        self._pending, self._state = None, State.READY
        self.expect_late_answers()

    def expect_late_answers(self) -> None:
        """Take an answer by its invoke-id alone from now on: one that was given up may come."""
        self._answers.may_be_late = True

    def repeat(self) -> tuple[bytes, ...]:
        """Return what to send again while blocks are under way and nothing comes; else nothing."""
        return () if self._blocks is None else self._blocks.repeat()

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
        return self._receive_block(apdu) if apdu[0] == gbt.TAG else self._receive_answer(apdu)

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
        channel = self._channel
        negotiated = acceptance.open_initiate(
            aare, self._prover, ciphered=channel is not None, proposed=self._proposed
        )
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

    def _open_blocks(self) -> gbt.BlockTransfer:
        size = self.negotiated.max_pdu or _NO_LIMIT
        return gbt.BlockTransfer(block_size=size, window=GBT_WINDOW)

    def _receive_block(self, apdu: bytes) -> Event:
        """Take one general block; the last one makes the answer whole."""
        if not self.negotiated.conformance & Conformance.GENERAL_BLOCK_TRANSFER:
            raise StaleAnswer("a general block, which was not negotiated")
        blocks = self._blocks or self._open_blocks()
        received = blocks.receive(apdu)
        if received.apdu is None:
            self._blocks = blocks
            return Continue(received.replies)
        self._blocks = None
        return self._receive_answer(received.apdu)

    def _receive_answer(self, apdu: bytes) -> Event:
        if apdu[0] in _NO_ANSWERS:
            raise StaleAnswer(f"APDU {apdu[0]:#04x} while waiting for an answer")
        authenticated = self._channel is not None
        try:
            plain = apdu if self._channel is None else self._channel.unprotect(apdu)
        except PlainAnswer:
            if apdu[0] not in _UNCIPHERED_REFUSALS:
                raise
            plain, authenticated = apdu, False
        if plain[:1] and plain[0] in _NO_ANSWERS:
            raise StaleAnswer(f"APDU {plain[0]:#04x} while waiting for an answer")
        response = rs.decode_response(plain)
        if self._state is not State.PROVING:  # what is proven by a fresh challenge is not late
            self._answers.check(response, self._pending, plain)
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
