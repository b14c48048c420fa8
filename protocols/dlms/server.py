"""The server role: one client's conversation with one simulated logical device, bytes in and out.

Theory of operation. An AARQ is judged by `admission`; from then on each request is deciphered,
decoded, carried out by `serving` and answered in the form it came in (glo-, ded- or general).
Until HLS is proven, only the proof itself is served. Bytes that are malformed, mutated or foreign
are answered with an exception-response and change nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from protocols.dlms import acse, gbt, xdr
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.admission import (
    SERVED_CONFORMANCE,
    Admission,
    ClientAccess,
    ServerCounters,
    ServerSecurity,
    admit,
)
from protocols.dlms.association import HLS_METHOD
from protocols.dlms.errors import AccessError, AccessResult, MalformedData
from protocols.dlms.general_blocks import GeneralBlocks
from protocols.dlms.initiate import Conformance
from protocols.dlms.responses import ExceptionResponse, ServiceError, StateError
from protocols.dlms.security import CounterReplayed, SecurityFault, TagMismatch, form_of
from protocols.dlms.serving import CosemObjects, RequestServer

__all__ = [
    "AccessError",
    "AccessResult",
    "ClientAccess",
    "CosemObjects",
    "ServerCounters",
    "ServerSecurity",
    "ServerSession",
]

DEFAULT_MAX_PDU = 1024  # octets
_CONFIRMED = 0x40  # bit of invoke-id-and-priority


class ServerSession:
    """One client address' conversation; feed it every APDU that comes from that address."""

    def __init__(
        self,
        objects: CosemObjects,
        security: ServerSecurity,
        *,
        client_address: int,
        max_pdu: int = DEFAULT_MAX_PDU,
        server_address: int = 1,
        draw_challenge: Callable[[int], bytes] = secrets.token_bytes,
        conformance: Conformance = SERVED_CONFORMANCE,
        general_blocks: int = 0,
    ) -> None:
        self._objects = objects
        self._security = security
        self._client_address = client_address
        self._server_address = server_address
        self._max_pdu = max_pdu
        self._draw_challenge = draw_challenge
        self._conformance = conformance
        self._window = general_blocks
        if general_blocks:
            self._conformance |= Conformance.GENERAL_BLOCK_TRANSFER
        self._blocks: GeneralBlocks | None = None
        self._admission: Admission | None = None
        self._requests: RequestServer | None = None

    @property
    def associated(self) -> bool:
        """Whether the client is let in and has proven itself."""
        return self._admission is not None and self._admission.proven

    def drop_association(self) -> None:
        """End the association without a word: its keys hold no longer."""
        self._admission = self._requests = self._blocks = None

    def handle_all(self, apdu: bytes) -> tuple[bytes, ...]:
        """Answer one APDU with any number of them: what is too long goes out in general blocks."""
        blocks = self._blocks
        if blocks is None or apdu[:1] != bytes((gbt.TAG,)):
            answer = self.handle(apdu)
            if answer is None:
                return ()
            # An AARQ or RLRQ changes what was agreed, and its own answer is never in blocks.
            if blocks is None or blocks is not self._blocks:
                return (answer,)
            return blocks.send(answer)
        try:
            return blocks.receive(apdu, self.handle)
        except MalformedData:
            return (_refuse(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON),)

    def handle(self, apdu: bytes) -> bytes | None:
        """Answer one APDU; None where the standard answers nothing. Never raises for bad bytes.

        With ``general_blocks`` an answer may take several APDUs: use `handle_all` then.
        """
        if not apdu:
            return None
        if apdu[0] == acse.AARQ:
            return self._associate(apdu)
        if apdu[0] == acse.RLRQ:
            return self._release(apdu)
        admission = self._admission
        if admission is None:
            return _refuse(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)
        try:
            request = rq.decode_request(self._decipher(admission, apdu))
        except CounterReplayed as fault:
            error = ServiceError.INVOCATION_COUNTER_ERROR
            return ExceptionResponse(
                StateError.SERVICE_NOT_ALLOWED, error, fault.highest + 1
            ).encode()
        except TagMismatch:
            return _refuse(StateError.SERVICE_NOT_ALLOWED, ServiceError.DECIPHERING_ERROR)
        except SecurityFault:
            return _refuse(StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE)
        except MalformedData:
            return _refuse(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON)
        response = self._serve(admission, request)
        if not (isinstance(request, _ALWAYS_CONFIRMED) or request.invoke & _CONFIRMED):
            return None
        answer = response.encode()
        if admission.channel is None or isinstance(response, ExceptionResponse):
            return answer
        return admission.channel.protect(answer, form=form_of(apdu))

    def _associate(self, apdu: bytes) -> bytes:
        answer, admission = admit(
            apdu,
            self._security,
            client_address=self._client_address,
            max_pdu=self._max_pdu,
            draw_challenge=self._draw_challenge,
            conformance=self._conformance,
        )
        if admission is not None:
            self._admission = admission
            self._requests = RequestServer(
                self._objects,
                admission,
                client_address=self._client_address,
                server_address=self._server_address,
            )
            agreed = admission.conformance & Conformance.GENERAL_BLOCK_TRANSFER
            self._blocks = GeneralBlocks(admission.max_answer, self._window) if agreed else None
        return answer

    def _release(self, apdu: bytes) -> bytes:
        try:
            acse.decode_rlrq(apdu)
        except MalformedData:
            return _refuse(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON)
        self._admission = self._requests = self._blocks = None
        return acse.Rlre().encode()

    def _decipher(self, admission: Admission, apdu: bytes) -> bytes:
        channel, received = admission.channel, self._security.counters.received
        if channel is None:
            return apdu
        # Another connection of the same client may have gone further meanwhile.
        channel.highest_received = max(
            channel.highest_received, received.get(self._client_address, -1)
        )
        plain = channel.unprotect(apdu)
        received[self._client_address] = channel.highest_received
        return plain

    def _serve(self, admission: Admission, request: rq.Request) -> rs.Response:
        requests = self._requests
        if not admission.proven or requests is None:
            if isinstance(request, rq.ActionRequest) and request.method == HLS_METHOD:
                return self._judge_proof(admission, request)
            error = ServiceError.OPERATION_NOT_POSSIBLE
            return ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, error)
        return requests.serve(request)

    def _judge_proof(self, admission: Admission, request: rq.ActionRequest) -> rs.Response:
        """Check HLS pass 3 and answer with our own proof (pass 4)."""
        proofs = admission.proofs
        own, theirs, title = (
            admission.own_challenge,
            admission.client_challenge,
            admission.client_title,
        )
        try:
            proof = xdr.decode(request.parameter or b"")
            if proofs is None or not isinstance(proof, bytes):
                raise SecurityFault("no proof")
            proofs.check(proof, received=theirs, sent=own, peer_title=title)
        except (SecurityFault, MalformedData):
            self._admission = None
            return rs.ActionResponse(request.invoke, AccessResult.OTHER_REASON)
        admission.proven = True
        answer = xdr.octet_string(proofs.make(received=theirs, sent=own, peer_title=title))
        return rs.ActionResponse(request.invoke, AccessResult.SUCCESS, answer)


_ALWAYS_CONFIRMED = (rq.GetRequestNext, rq.ActionRequestNext)


def _refuse(state_error: StateError, service_error: ServiceError) -> bytes:
    return ExceptionResponse(state_error, service_error).encode()
