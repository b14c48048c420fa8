"""The server role: one client's conversation with one simulated logical device, bytes in and out.

Theory of operation. An AARQ is judged by `admission`; from then on each request is deciphered,
decoded, asked of the device's objects and answered in the form it came in (glo- or general-glo).
Until HLS is proven, only the proof itself is served. The association object is
answered by the session, as far as it speaks of this very association. Answers longer than what the
client takes go out in blocks. Bytes that are malformed, mutated or foreign are answered with an
exception-response and change nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from headend.domain.obis import CURRENT_ASSOCIATION, Obis
from protocols.dlms import acse, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.admission import (
    Admission,
    ClientAccess,
    ServerCounters,
    ServerSecurity,
    admit,
)
from protocols.dlms.association import HLS_METHOD
from protocols.dlms.errors import AccessError, AccessResult, MalformedData
from protocols.dlms.initiate import Conformance
from protocols.dlms.responses import ExceptionResponse, ServiceError, StateError
from protocols.dlms.security import (
    GENERAL_GLO,
    MAX_OVERHEAD,
    CounterReplayed,
    SecurityFault,
    TagMismatch,
)
from protocols.dlms.selection import Selection

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
_BLOCK_HEAD = 12  # octets of a GET-response-with-datablock before its data, at most
_CONFIRMED = 0x40  # bit of invoke-id-and-priority
_ASSOCIATION_CLASS = 15
_T = TypeVar("_T")


class CosemObjects(Protocol):
    """The objects of one logical device. Values are A-XDR encoded (`xdr.encode`)."""

    def read(self, class_id: int, obis: Obis, attribute: int, selection: Selection | None) -> bytes:
        """Return the attribute; raises `AccessError` where it does not exist or is denied."""
        ...

    def write(self, class_id: int, obis: Obis, attribute: int, value: bytes) -> None:
        """Store the attribute; raises `AccessError`."""
        ...

    def invoke(
        self, class_id: int, obis: Obis, method: int, parameter: bytes | None
    ) -> bytes | None:
        """Run the method; return encoded data, or None for none; raises `AccessError`."""
        ...


@dataclass(slots=True)
class _LongAnswer:
    """What is left of an answer in blocks, and the number of the block sent last."""

    rest: bytes
    block: int


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
    ) -> None:
        self._objects = objects
        self._security = security
        self._client_address = client_address
        self._server_address = server_address
        self._max_pdu = max_pdu
        self._draw_challenge = draw_challenge
        self._admission: Admission | None = None
        self._long: _LongAnswer | None = None

    @property
    def associated(self) -> bool:
        """Whether the client is let in and has proven itself."""
        return self._admission is not None and self._admission.proven

    def handle(self, apdu: bytes) -> bytes | None:
        """Answer one APDU; None where the standard answers nothing. Never raises for bad bytes."""
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
        confirmed = isinstance(request, rq.GetRequestNext) or request.invoke & _CONFIRMED
        if not confirmed:
            return None
        answer = response.encode()
        if admission.channel is None or isinstance(response, ExceptionResponse):
            return answer
        return admission.channel.protect(answer, general=apdu[0] == GENERAL_GLO)

    def _associate(self, apdu: bytes) -> bytes:
        answer, admission = admit(
            apdu,
            self._security,
            client_address=self._client_address,
            max_pdu=self._max_pdu,
            draw_challenge=self._draw_challenge,
        )
        if admission is not None:
            self._admission, self._long = admission, None
        return answer

    def _release(self, apdu: bytes) -> bytes:
        try:
            acse.decode_rlrq(apdu)
        except MalformedData:
            return _refuse(StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON)
        self._admission = self._long = None
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
        if not admission.proven:
            if isinstance(request, rq.ActionRequest) and request.method == HLS_METHOD:
                return self._judge_proof(admission, request)
            error = ServiceError.OPERATION_NOT_POSSIBLE
            return ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, error)
        if isinstance(request, rq.GetRequestNext):
            return self._next_block(admission, request)
        self._long = None
        if isinstance(request, rq.GetRequest):
            data = self._read(admission, request.attribute, request.selection)
            response = rs.GetResponse(request.invoke, data)
            return self._fit(admission, request.invoke, data, response)
        if isinstance(request, rq.GetRequestList):
            items = tuple(self._read(admission, *item) for item in request.items)
            listed = rs.GetResponseList(request.invoke, items)
            return self._fit(admission, request.invoke, listed.encode()[3:], listed)
        if isinstance(request, rq.SetRequest):
            return rs.SetResponse(request.invoke, self._write(admission, request))
        return self._invoke(admission, request)

    def _judge_proof(self, admission: Admission, request: rq.ActionRequest) -> rs.Response:
        """Check HLS pass 3 and answer with our own proof (pass 4)."""
        channel = admission.channel
        try:
            proof = xdr.decode(request.parameter or b"")
            if channel is None or not isinstance(proof, bytes):
                raise SecurityFault("no proof")
            channel.check_hls_tag(proof, admission.own_challenge)
        except (SecurityFault, MalformedData):
            self._admission = None
            return rs.ActionResponse(request.invoke, AccessResult.OTHER_REASON)
        admission.proven = True
        own = xdr.octet_string(channel.make_hls_tag(admission.client_challenge))
        return rs.ActionResponse(request.invoke, AccessResult.SUCCESS, own)

    def _read(
        self, admission: Admission, attribute: rq.Attribute, selection: Selection | None
    ) -> bytes | AccessResult:
        obis, readable = attribute.obis, admission.access.readable
        own = self._read_own(admission, attribute)
        if own is not None:
            return own
        if readable is not None and obis not in readable:
            return AccessResult.READ_WRITE_DENIED
        objects = self._objects
        return _ask(lambda: objects.read(attribute.class_id, obis, attribute.number, selection))

    def _read_own(self, admission: Admission, attribute: rq.Attribute) -> bytes | None:
        """Answer what the association object says of this association, None for all else."""
        if (attribute.class_id, attribute.obis) != (_ASSOCIATION_CLASS, CURRENT_ASSOCIATION):
            return None
        partners = d.Structure(
            (d.Integer(self._client_address & 0x7F), d.LongUnsigned(self._server_address))
        )
        values: dict[int, d.Data] = {
            1: CURRENT_ASSOCIATION.octets,
            3: partners,
            4: acse.context_name(admission.context),
            6: acse.mechanism_name(admission.mechanism),
            8: d.Enum(2),  # associated
        }
        value = values.get(attribute.number)
        return None if value is None else xdr.encode(value)

    def _write(self, admission: Admission, request: rq.SetRequest) -> AccessResult:
        if not admission.access.may_write:
            return AccessResult.READ_WRITE_DENIED
        at, objects = request.attribute, self._objects
        result = _ask(lambda: objects.write(at.class_id, at.obis, at.number, request.value))
        return result if isinstance(result, AccessResult) else AccessResult.SUCCESS

    def _invoke(self, admission: Admission, request: rq.ActionRequest) -> rs.Response:
        if not admission.access.may_write:
            return rs.ActionResponse(request.invoke, AccessResult.READ_WRITE_DENIED)
        at, objects = request.method, self._objects
        result = _ask(lambda: objects.invoke(at.class_id, at.obis, at.number, request.parameter))
        if isinstance(result, AccessResult):
            return rs.ActionResponse(request.invoke, result)
        return rs.ActionResponse(request.invoke, AccessResult.SUCCESS, result)

    def _fit(
        self,
        admission: Admission,
        invoke: int,
        content: bytes | AccessResult,
        response: rs.GetResponse | rs.GetResponseList,
    ) -> rs.Response:
        """Return the response, or its first block where the client takes no such long APDU."""
        if isinstance(content, AccessResult):
            return response
        overhead = MAX_OVERHEAD if admission.channel is not None else 0
        if len(content) + 4 + overhead <= admission.max_answer:
            return response
        if not admission.conformance & Conformance.BLOCK_TRANSFER_WITH_GET:
            return rs.GetResponse(invoke, AccessResult.DATA_BLOCK_UNAVAILABLE)
        self._long = _LongAnswer(content, 0)
        return self._send_block(admission, invoke, self._long)

    def _next_block(self, admission: Admission, request: rq.GetRequestNext) -> rs.Response:
        long = self._long
        if long is None:
            refusal = AccessResult.NO_LONG_GET_IN_PROGRESS
        elif request.block != long.block:
            self._long = None
            refusal = AccessResult.DATA_BLOCK_NUMBER_INVALID
        else:
            return self._send_block(admission, request.invoke, long)
        return rs.GetResponseBlock(request.invoke, True, request.block, refusal)

    def _send_block(self, admission: Admission, invoke: int, long: _LongAnswer) -> rs.Response:
        overhead = MAX_OVERHEAD if admission.channel is not None else 0
        size = admission.max_answer - _BLOCK_HEAD - overhead
        part, long.rest = long.rest[:size], long.rest[size:]
        long.block += 1
        last = not long.rest
        if last:
            self._long = None
        return rs.GetResponseBlock(invoke, last, long.block, part)


def _ask(question: Callable[[], _T]) -> _T | AccessResult:
    """Put a question to the objects; a parameter they cannot decode is of the wrong type."""
    try:
        return question()
    except AccessError as fault:
        return fault.result
    except MalformedData:
        return AccessResult.TYPE_UNMATCHED


def _refuse(state_error: StateError, service_error: ServiceError) -> bytes:
    return ExceptionResponse(state_error, service_error).encode()
