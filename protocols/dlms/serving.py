"""The server's requests, carried out: reads, writes and methods of one admitted client.

Theory of operation. A request is asked of the device's objects and answered; only what was
negotiated is served. An answer longer than what the client takes goes out in blocks that the
client asks for one by one; a long value or parameter comes in blocks that are acknowledged one by
one and carried out with the last. Any other request ends an unfinished transfer; a block out of
order ends it too, and nothing of it is carried out. The association object is answered here, as far
as it speaks of this very association.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, TypeVar

from headend.domain.obis import CURRENT_ASSOCIATION, Obis
from protocols.dlms import acse, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.admission import Admission
from protocols.dlms.errors import AccessError, AccessResult, MalformedData
from protocols.dlms.initiate import Conformance
from protocols.dlms.responses import ExceptionResponse, ServiceError, StateError
from protocols.dlms.security import MAX_OVERHEAD
from protocols.dlms.selection import Selection
from protocols.dlms.targets import Outcome, decode_list

MAX_LONG_REQUEST = 1 << 20  # octets over all blocks of a value or parameter
_BLOCK_HEAD = 12  # octets of a response with a block before its data, at most
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
    wrap: Callable[[int, rq.Block], rs.Response]
    block: int = 0


_Opening: TypeAlias = (
    rq.SetRequestFirstBlock | rq.SetRequestListFirstBlock | rq.ActionRequestFirstBlock
)


@dataclass(slots=True)
class _LongRequest:
    """A value or parameter that comes in blocks: how it began, and its parts so far."""

    opening: _Opening
    parts: list[bytes] = field(default_factory=list)
    size: int = 0


class RequestServer:
    """Carries out the requests of one client; see the module."""

    def __init__(
        self,
        objects: CosemObjects,
        admission: Admission,
        *,
        client_address: int,
        server_address: int,
    ) -> None:
        self._objects = objects
        self._admission = admission
        self._client_address = client_address
        self._server_address = server_address
        self._answer: _LongAnswer | None = None
        self._request: _LongRequest | None = None

    def serve(self, request: rq.Request) -> rs.Response:
        """Carry out one request and return its answer."""
        if isinstance(request, rq.GetRequestNext | rq.ActionRequestNext):
            return self._next_block(request)
        self._answer = None
        if isinstance(request, rq.SetRequestBlock | rq.ActionRequestBlock):
            return self._take_block(request)
        self._request = None
        if not self._admission.conformance & _needed(request):
            return ExceptionResponse(
                StateError.SERVICE_NOT_ALLOWED, ServiceError.SERVICE_NOT_SUPPORTED
            )
        if isinstance(request, rq.GetRequest | rq.GetRequestList):
            return self._get(request)
        if isinstance(
            request,
            rq.SetRequestFirstBlock | rq.SetRequestListFirstBlock | rq.ActionRequestFirstBlock,
        ):
            self._request = _LongRequest(request)
            return self._add_block(self._request, request.block, request.invoke)
        if isinstance(request, rq.SetRequest):
            result = self._write(request.attribute, request.value)
            return rs.SetResponse(request.invoke, result)
        if isinstance(request, rq.SetRequestList):
            return rs.SetResponseList(request.invoke, self._write_all(request))
        if isinstance(request, rq.ActionRequestList):
            return self._act_on_list(request)
        outcome = self._invoke(request.method, request.parameter)
        return self._answer_action(request.invoke, outcome)

    # Reading.

    def _get(self, request: rq.GetRequest | rq.GetRequestList) -> rs.Response:
        invoke = request.invoke
        if isinstance(request, rq.GetRequest):
            data = self._read(request.attribute, request.selection)
            response: rs.Response = rs.GetResponse(invoke, data)
            if isinstance(data, AccessResult):
                return response
        else:
            items = tuple(self._read(*item) for item in request.items)
            response = rs.GetResponseList(invoke, items)
            data = response.encode()[3:]
        if self._fits(len(data) + 4, Conformance.BLOCK_TRANSFER_WITH_GET):
            return response
        if not self._admission.conformance & Conformance.BLOCK_TRANSFER_WITH_GET:
            return rs.GetResponse(invoke, AccessResult.DATA_BLOCK_UNAVAILABLE)
        return self._begin_answer(
            invoke, data, lambda n, part: rs.GetResponseBlock(n, part.last, part.number, part.data)
        )

    def _read(self, attribute: rq.Attribute, selection: Selection | None) -> bytes | AccessResult:
        obis, readable = attribute.obis, self._admission.access.readable
        own = self._read_own(attribute)
        if own is not None:
            return own
        if readable is not None and obis not in readable:
            return AccessResult.READ_WRITE_DENIED
        if selection is not None and not self._admission.conformance & Conformance.SELECTIVE_ACCESS:
            return AccessResult.SCOPE_OF_ACCESS_VIOLATED
        objects = self._objects
        return _ask(lambda: objects.read(attribute.class_id, obis, attribute.number, selection))

    def _read_own(self, attribute: rq.Attribute) -> bytes | None:
        """Answer what the association object says of this association, None for all else."""
        if (attribute.class_id, attribute.obis) != (_ASSOCIATION_CLASS, CURRENT_ASSOCIATION):
            return None
        partners = d.Structure(
            (d.Integer(self._client_address & 0x7F), d.LongUnsigned(self._server_address))
        )
        values: dict[int, d.Data] = {
            1: CURRENT_ASSOCIATION.octets,
            3: partners,
            4: acse.context_name(self._admission.context),
            6: acse.mechanism_name(self._admission.mechanism),
            8: d.Enum(2),  # associated
        }
        value = values.get(attribute.number)
        return None if value is None else xdr.encode(value)

    # Writing and methods.

    def _write(self, at: rq.Attribute, value: bytes) -> AccessResult:
        if not self._admission.access.may_write:
            return AccessResult.READ_WRITE_DENIED
        objects = self._objects
        result = _ask(lambda: objects.write(at.class_id, at.obis, at.number, value))
        return result if isinstance(result, AccessResult) else AccessResult.SUCCESS

    def _write_all(self, request: rq.SetRequestList) -> tuple[AccessResult, ...]:
        pairs = zip(request.items, request.values, strict=True)
        return tuple(self._write(attribute, value) for (attribute, _), value in pairs)

    def _invoke(self, at: rq.Attribute, parameter: bytes | None) -> Outcome:
        if not self._admission.access.may_write:
            return AccessResult.READ_WRITE_DENIED, None
        objects = self._objects
        result = _ask(lambda: objects.invoke(at.class_id, at.obis, at.number, parameter))
        if isinstance(result, AccessResult):
            return result, None
        return AccessResult.SUCCESS, result

    def _act_on_list(self, request: rq.ActionRequestList) -> rs.Response:
        pairs = zip(request.methods, request.parameters, strict=True)
        response = rs.ActionResponseList(
            request.invoke, tuple(self._invoke(method, value) for method, value in pairs)
        )
        if self._fits(len(response.encode()), Conformance.BLOCK_TRANSFER_WITH_ACTION):
            return response
        return rs.ActionResponse(request.invoke, AccessResult.DATA_BLOCK_UNAVAILABLE)

    def _answer_action(self, invoke: int, outcome: Outcome) -> rs.Response:
        result, data = outcome
        response = rs.ActionResponse(invoke, result, data)
        size, bit = len(response.encode()), Conformance.BLOCK_TRANSFER_WITH_ACTION
        if not isinstance(data, bytes) or self._fits(size, bit):
            return response
        if not self._admission.conformance & Conformance.BLOCK_TRANSFER_WITH_ACTION:
            # The method ran; what it returned cannot be told.
            return rs.ActionResponse(invoke, result, AccessResult.DATA_BLOCK_UNAVAILABLE)
        return self._begin_answer(invoke, data, rs.ActionResponseBlock)

    # Blocks in.

    def _take_block(self, request: rq.SetRequestBlock | rq.ActionRequestBlock) -> rs.Response:
        long, self._request = self._request, None
        is_set = isinstance(request, rq.SetRequestBlock)
        number, invoke = request.block.number, request.invoke
        if long is None or is_set == isinstance(long.opening, rq.ActionRequestFirstBlock):
            none = AccessResult.NO_LONG_SET_IN_PROGRESS if is_set else _NO_LONG_ACTION
            return _refuse_block(is_set, invoke, none, number)
        self._request = long
        return self._add_block(long, request.block, invoke)

    def _add_block(self, long: _LongRequest, block: rq.Block, invoke: int) -> rs.Response:
        is_set = not isinstance(long.opening, rq.ActionRequestFirstBlock)
        long.size += len(block.data)
        wrong = block.number != len(long.parts) + 1
        if wrong or long.size > MAX_LONG_REQUEST or not (block.data or block.last):
            self._request = None
            aborted = AccessResult.LONG_SET_ABORTED if is_set else _LONG_ACTION_ABORTED
            reason = AccessResult.DATA_BLOCK_NUMBER_INVALID if wrong and is_set else aborted
            return _refuse_block(is_set, invoke, reason, block.number)
        long.parts.append(block.data)
        if block.last:
            self._request = None
            return self._finish(long.opening, b"".join(long.parts), invoke, block.number)
        if is_set:
            return rs.SetResponseBlock(invoke, block.number)
        return rs.ActionResponseNext(invoke, block.number)

    def _finish(self, opening: _Opening, value: bytes, invoke: int, number: int) -> rs.Response:
        if isinstance(opening, rq.ActionRequestFirstBlock):
            return self._answer_action(invoke, self._invoke(opening.method, value))
        if isinstance(opening, rq.SetRequestFirstBlock):
            return rs.SetResponseLastBlock(invoke, self._write(opening.attribute, value), number)
        try:
            values, end = decode_list(value, 0)
        except (MalformedData, IndexError):
            return rs.SetResponseLastBlock(invoke, AccessResult.TYPE_UNMATCHED, number)
        if end != len(value) or len(values) != len(opening.items):
            return rs.SetResponseLastBlock(invoke, AccessResult.TYPE_UNMATCHED, number)
        whole = rq.SetRequestList(invoke, opening.items, values)
        return rs.SetResponseLastBlockList(invoke, self._write_all(whole), number)

    # Blocks out.

    def _begin_answer(
        self, invoke: int, content: bytes, wrap: Callable[[int, rq.Block], rs.Response]
    ) -> rs.Response:
        self._answer = _LongAnswer(content, wrap)
        return self._send_block(invoke, self._answer)

    def _next_block(self, request: rq.GetRequestNext | rq.ActionRequestNext) -> rs.Response:
        long, self._answer = self._answer, None
        is_get = isinstance(request, rq.GetRequestNext)
        if long is None or is_get == (long.wrap is rs.ActionResponseBlock):
            refusal = AccessResult.NO_LONG_GET_IN_PROGRESS
        elif request.block != long.block:
            refusal = AccessResult.DATA_BLOCK_NUMBER_INVALID
        else:
            return self._send_block(request.invoke, long)
        if is_get:
            return rs.GetResponseBlock(request.invoke, True, request.block, refusal)
        return rs.ActionResponse(request.invoke, refusal)

    def _send_block(self, invoke: int, long: _LongAnswer) -> rs.Response:
        size = self._admission.max_answer - _BLOCK_HEAD - self._overhead
        part, long.rest = long.rest[:size], long.rest[size:]
        long.block += 1
        self._answer = long if long.rest else None
        return long.wrap(invoke, rq.Block(long.block, not long.rest, part))

    @property
    def _overhead(self) -> int:
        return MAX_OVERHEAD if self._admission.channel is not None else 0

    def _fits(self, size: int, service_blocks: Conformance) -> bool:
        """Tell whether an answer goes out as it is: it fits, or only general blocks are there."""
        conformance = self._admission.conformance
        if conformance & Conformance.GENERAL_BLOCK_TRANSFER and not conformance & service_blocks:
            return True
        return size + self._overhead <= self._admission.max_answer


_LONG_ACTION_ABORTED = AccessResult.LONG_GET_ABORTED  # 15 in `Action-Result`
_NO_LONG_ACTION = AccessResult.NO_LONG_GET_IN_PROGRESS  # 16 in `Action-Result`

# Service -> the conformance bits without any of which it is not served.
_NEEDED: dict[type, Conformance] = {
    rq.GetRequest: Conformance.GET,
    rq.GetRequestList: Conformance.MULTIPLE_REFERENCES,
    rq.SetRequest: Conformance.SET,
    rq.SetRequestFirstBlock: Conformance.BLOCK_TRANSFER_WITH_SET,
    rq.SetRequestList: Conformance.MULTIPLE_REFERENCES,
    rq.SetRequestListFirstBlock: Conformance.BLOCK_TRANSFER_WITH_SET,
    rq.ActionRequest: Conformance.ACTION,
    rq.ActionRequestFirstBlock: Conformance.BLOCK_TRANSFER_WITH_ACTION,
    rq.ActionRequestList: Conformance.MULTIPLE_REFERENCES,
}


def _needed(request: rq.Request) -> Conformance:
    return _NEEDED[type(request)]


def _refuse_block(is_set: bool, invoke: int, result: AccessResult, number: int) -> rs.Response:
    if is_set:
        return rs.SetResponseLastBlock(invoke, result, number)
    return rs.ActionResponse(invoke, result)


def _ask(question: Callable[[], _T]) -> _T | AccessResult:
    """Put a question to the objects; a parameter they cannot decode is of the wrong type."""
    try:
        return question()
    except AccessError as fault:
        return fault.result
    except MalformedData:
        return AccessResult.TYPE_UNMATCHED
