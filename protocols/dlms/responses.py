"""GET, SET and ACTION responses, and the two ways of refusing outright (Green Book 9.4).

Returned data stays encoded, so that a load profile reaches its fast decoder untouched.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from headend.domain.errors import (
    AuthenticationFailed,
    CounterRejected,
    HeadEndError,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
)
from protocols.dlms import xdr
from protocols.dlms.errors import AccessResult, MalformedData, parse_access_result

CONFIRMED_SERVICE_ERROR = 0x0E
GET_RESPONSE = 0xC4
SET_RESPONSE = 0xC5
ACTION_RESPONSE = 0xC7
EXCEPTION_RESPONSE = 0xD8

_NORMAL = 1
_WITH_BLOCK = 2
_WITH_LIST = 3


@dataclass(frozen=True, slots=True)
class GetResponse:
    """The data asked for, encoded, or the result that refuses it."""

    invoke: int
    data: bytes | AccessResult

    def encode(self) -> bytes:
        return bytes((GET_RESPONSE, _NORMAL, self.invoke)) + _encode_choice(self.data)


@dataclass(frozen=True, slots=True)
class GetResponseBlock:
    """One block of a long answer; the blocks joined are the encoded data."""

    invoke: int
    last: bool
    block: int
    data: bytes | AccessResult

    def encode(self) -> bytes:
        head = bytes((GET_RESPONSE, _WITH_BLOCK, self.invoke, int(self.last)))
        head += self.block.to_bytes(4, "big")
        if isinstance(self.data, AccessResult):
            return head + bytes((1, self.data))
        return head + b"\x00" + xdr.encode_length(len(self.data)) + self.data


@dataclass(frozen=True, slots=True)
class GetResponseList:
    """One answer per attribute of the list, in its order."""

    invoke: int
    items: tuple[bytes | AccessResult, ...]

    def encode(self) -> bytes:
        head = bytes((GET_RESPONSE, _WITH_LIST, self.invoke)) + xdr.encode_length(len(self.items))
        return head + b"".join(_encode_choice(item) for item in self.items)


@dataclass(frozen=True, slots=True)
class SetResponse:
    """Whether the attribute was written."""

    invoke: int
    result: AccessResult

    def encode(self) -> bytes:
        return bytes((SET_RESPONSE, _NORMAL, self.invoke, self.result))


@dataclass(frozen=True, slots=True)
class ActionResponse:
    """Whether the method ran, and what it returned (encoded data or a result of its own)."""

    invoke: int
    result: AccessResult
    data: bytes | AccessResult | None = None

    def encode(self) -> bytes:
        head = bytes((ACTION_RESPONSE, _NORMAL, self.invoke, self.result))
        return head + b"\x00" if self.data is None else head + b"\x01" + _encode_choice(self.data)


class StateError(IntEnum):
    SERVICE_NOT_ALLOWED = 1
    SERVICE_UNKNOWN = 2


class ServiceError(IntEnum):
    OPERATION_NOT_POSSIBLE = 1
    SERVICE_NOT_SUPPORTED = 2
    OTHER_REASON = 3
    PDU_TOO_LONG = 4
    DECIPHERING_ERROR = 5
    INVOCATION_COUNTER_ERROR = 6


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    """The request was not even tried. ``counter`` is the one the meter expects, if it says so."""

    state_error: int
    service_error: int
    counter: int | None = None

    def encode(self) -> bytes:
        head = bytes((EXCEPTION_RESPONSE, self.state_error, self.service_error))
        return head if self.counter is None else head + self.counter.to_bytes(4, "big")

    @property
    def text(self) -> str:
        """Name both errors in the standard's words."""
        return f"{_name(StateError, self.state_error)}, {_name(ServiceError, self.service_error)}"


@dataclass(frozen=True, slots=True)
class ConfirmedServiceError:
    """The older way to refuse: which service, which kind of error, which error."""

    service: int
    kind: int
    value: int

    def encode(self) -> bytes:
        return bytes((CONFIRMED_SERVICE_ERROR, self.service, self.kind, self.value))

    @property
    def text(self) -> str:
        """Name the error as far as the standard's table is known here."""
        kinds = (
            "application-reference", "hardware-resource", "vde-state-error", "service",
            "definition", "access", "initiate", "load-data-set", "change-scope", "task", "other",
        )  # fmt: skip
        kind = kinds[self.kind] if self.kind < len(kinds) else f"kind {self.kind}"
        return f"confirmed-service-error {kind} {self.value}"


Response: TypeAlias = (
    GetResponse
    | GetResponseBlock
    | GetResponseList
    | SetResponse
    | ActionResponse
    | ExceptionResponse
    | ConfirmedServiceError
)


def decode_response(octets: bytes) -> Response:
    """Decode a whole response; raises `MalformedData` for anything that is none of ours."""
    try:
        decoder = _DECODERS.get((octets[0], octets[1]))
        if decoder is not None:
            response, end = decoder(octets)
        elif octets[0] == EXCEPTION_RESPONSE:
            response, end = _decode_exception(octets)
        elif octets[0] == CONFIRMED_SERVICE_ERROR:
            response, end = ConfirmedServiceError(octets[1], octets[2], octets[3]), 4
        else:
            raise MalformedData(f"response {octets[0]:#04x} of kind {octets[1]} is not known")
    except IndexError:
        raise MalformedData("a response is cut short") from None
    if end != len(octets):
        raise MalformedData(f"{len(octets) - end} octets follow the response")
    return response


def fault_of(response: Response, what: str) -> HeadEndError:
    """Return the fault that an answer of another kind than expected stands for."""
    if isinstance(response, ExceptionResponse):
        message = f"the meter answered {response.text} to {what}"
        if response.service_error == ServiceError.INVOCATION_COUNTER_ERROR:
            return CounterRejected(message, code="invocation-counter-error")
        if response.service_error == ServiceError.DECIPHERING_ERROR:
            return AuthenticationFailed(message, code="deciphering-error")
        if response.state_error == StateError.SERVICE_NOT_ALLOWED:
            # The meter restarted or is busy: a new association may well succeed.
            return MeterBusy(message)
        return MeterRefused(message, code=response.text)
    if isinstance(response, ConfirmedServiceError):
        return MeterRefused(f"the meter answered {response.text} to {what}", code=response.text)
    return MeterMisbehaved(f"a {type(response).__name__} in answer to {what}")


def decode_list(invoke: int, octets: bytes) -> GetResponseList:
    """Decode the joined blocks of a long answer to a list; raises `MalformedData`."""
    head = bytes((GET_RESPONSE, _WITH_LIST, invoke))
    response = decode_response(head + octets)
    if not isinstance(response, GetResponseList):
        raise MalformedData("the blocks hold no list of answers")
    return response


def _encode_choice(data: bytes | AccessResult) -> bytes:
    return bytes((1, data)) if isinstance(data, AccessResult) else b"\x00" + data


def _decode_choice(octets: bytes, position: int) -> tuple[bytes | AccessResult, int]:
    choice = octets[position]
    position += 1
    if choice == 1:
        return parse_access_result(octets[position]), position + 1
    if choice != 0:
        raise MalformedData(f"{choice} is neither data nor a result")
    end = xdr.skip(octets, position)
    return octets[position:end], end


def _decode_get(octets: bytes) -> tuple[Response, int]:
    if octets[3] == 0:
        # One value up to the end: its reader checks it, and a profile is not walked twice.
        if len(octets) == 4:
            raise MalformedData("a response without its data")
        return GetResponse(octets[2], octets[4:]), len(octets)
    data, end = _decode_choice(octets, 3)
    return GetResponse(octets[2], data), end


def _decode_block(octets: bytes) -> tuple[Response, int]:
    if len(octets) < 9:
        raise MalformedData("a block is cut short")
    invoke, last, block = octets[2], octets[3] != 0, int.from_bytes(octets[4:8], "big")
    if octets[8] == 1:
        return GetResponseBlock(invoke, last, block, parse_access_result(octets[9])), 10
    if octets[8] != 0:
        raise MalformedData(f"{octets[8]} is neither a block nor a result")
    data, end = xdr.take(octets, 9)
    return GetResponseBlock(invoke, last, block, data), end


def _decode_list(octets: bytes) -> tuple[Response, int]:
    count, position = xdr.decode_length(octets, 3)
    if count * 2 > len(octets):
        raise MalformedData(f"{count} answers announced in {len(octets)} octets")
    items = []
    for _ in range(count):
        item, position = _decode_choice(octets, position)
        items.append(item)
    return GetResponseList(octets[2], tuple(items)), position


def _decode_set(octets: bytes) -> tuple[Response, int]:
    return SetResponse(octets[2], parse_access_result(octets[3])), 4


def _decode_action(octets: bytes) -> tuple[Response, int]:
    invoke, result = octets[2], parse_access_result(octets[3])
    # The return-parameter flag is left out by some meters.
    if len(octets) == 4:
        return ActionResponse(invoke, result), 4
    if octets[4] == 0:
        return ActionResponse(invoke, result), 5
    data, end = _decode_choice(octets, 5)
    return ActionResponse(invoke, result, data), end


def _decode_exception(octets: bytes) -> tuple[Response, int]:
    state_error, service_error = octets[1], octets[2]
    if service_error == ServiceError.INVOCATION_COUNTER_ERROR and len(octets) == 7:
        counter = int.from_bytes(octets[3:7], "big")
        return ExceptionResponse(state_error, service_error, counter), 7
    return ExceptionResponse(state_error, service_error), 3


def _name(names: type[IntEnum], code: int) -> str:
    try:
        return names(code).name.lower().replace("_", "-")
    except ValueError:
        return str(code)


_DECODERS = {
    (GET_RESPONSE, _NORMAL): _decode_get,
    (GET_RESPONSE, _WITH_BLOCK): _decode_block,
    (GET_RESPONSE, _WITH_LIST): _decode_list,
    (SET_RESPONSE, _NORMAL): _decode_set,
    (ACTION_RESPONSE, _NORMAL): _decode_action,
}
