"""GET, SET and ACTION responses, beside the two ways of refusing outright (Green Book 9.4).

Returned data stays encoded, so that a load profile reaches its fast decoder untouched. What a
refusal means for the head-end is the business of `refusals`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from protocols.dlms import xdr
from protocols.dlms.errors import AccessResult, MalformedData, parse_access_result
from protocols.dlms.refusals import (
    CONFIRMED_SERVICE_ERROR,
    EXCEPTION_RESPONSE,
    ConfirmedServiceError,
    ExceptionResponse,
    ServiceError,
    StateError,
    decode_refusal,
)
from protocols.dlms.targets import (
    HEAD_SIZE,
    Block,
    Outcome,
    decode_block,
    decode_choice,
    decode_outcome_at,
    encode_choice,
    encode_outcome,
)

__all__ = [
    "CONFIRMED_SERVICE_ERROR",
    "EXCEPTION_RESPONSE",
    "ConfirmedServiceError",
    "ExceptionResponse",
    "Response",
    "ServiceError",
    "StateError",
    "decode_response",
]

GET_RESPONSE = 0xC4
SET_RESPONSE = 0xC5
ACTION_RESPONSE = 0xC7

_NORMAL = 1
_WITH_BLOCK = 2
_WITH_LIST = 3
_SET_BLOCK = 2
_SET_LAST_BLOCK = 3
_SET_LAST_BLOCK_LIST = 4
_SET_WITH_LIST = 5
_ACTION_BLOCK = 2
_ACTION_WITH_LIST = 3
_ACTION_NEXT = 4


@dataclass(frozen=True, slots=True)
class GetResponse:
    """The data asked for, encoded, or the result that refuses it."""

    invoke: int
    data: bytes | AccessResult

    def encode(self) -> bytes:
        return bytes((GET_RESPONSE, _NORMAL, self.invoke)) + encode_choice(self.data)


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
        return head + b"".join(encode_choice(item) for item in self.items)


@dataclass(frozen=True, slots=True)
class SetResponse:
    """Whether the attribute was written."""

    invoke: int
    result: AccessResult

    def encode(self) -> bytes:
        return bytes((SET_RESPONSE, _NORMAL, self.invoke, self.result))


@dataclass(frozen=True, slots=True)
class SetResponseBlock:
    """Block ``block`` arrived: the next one may follow."""

    invoke: int
    block: int

    def encode(self) -> bytes:
        return bytes((SET_RESPONSE, _SET_BLOCK, self.invoke)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class SetResponseLastBlock:
    """The last block arrived: whether the attribute was written."""

    invoke: int
    result: AccessResult
    block: int

    def encode(self) -> bytes:
        head = bytes((SET_RESPONSE, _SET_LAST_BLOCK, self.invoke, self.result))
        return head + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class SetResponseLastBlockList:
    """The last block arrived: whether each attribute of the list was written."""

    invoke: int
    results: tuple[AccessResult, ...]
    block: int

    def encode(self) -> bytes:
        head = bytes((SET_RESPONSE, _SET_LAST_BLOCK_LIST, self.invoke))
        return head + _encode_results(self.results) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class SetResponseList:
    """Whether each attribute of the list was written."""

    invoke: int
    results: tuple[AccessResult, ...]

    def encode(self) -> bytes:
        return bytes((SET_RESPONSE, _SET_WITH_LIST, self.invoke)) + _encode_results(self.results)


@dataclass(frozen=True, slots=True)
class ActionResponse:
    """Whether the method ran, and what it returned (encoded data or a result of its own)."""

    invoke: int
    result: AccessResult
    data: bytes | AccessResult | None = None

    def encode(self) -> bytes:
        return bytes((ACTION_RESPONSE, _NORMAL, self.invoke)) + encode_outcome(
            (self.result, self.data)
        )


@dataclass(frozen=True, slots=True)
class ActionResponseList:
    """What `ActionResponse` says, for each method of the list."""

    invoke: int
    outcomes: tuple[Outcome, ...]

    def encode(self) -> bytes:
        head = bytes((ACTION_RESPONSE, _ACTION_WITH_LIST, self.invoke))
        head += xdr.encode_length(len(self.outcomes))
        return head + b"".join(encode_outcome(each) for each in self.outcomes)


@dataclass(frozen=True, slots=True)
class ActionResponseBlock:
    """One block of a long answer; joined they are the returned data, encoded."""

    invoke: int
    block: Block

    def encode(self) -> bytes:
        return bytes((ACTION_RESPONSE, _ACTION_BLOCK, self.invoke)) + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionResponseNext:
    """Block ``block`` of the parameter arrived: the next one may follow."""

    invoke: int
    block: int

    def encode(self) -> bytes:
        return bytes((ACTION_RESPONSE, _ACTION_NEXT, self.invoke)) + self.block.to_bytes(4, "big")


Response: TypeAlias = (
    GetResponse
    | GetResponseBlock
    | GetResponseList
    | SetResponse
    | SetResponseBlock
    | SetResponseLastBlock
    | SetResponseLastBlockList
    | SetResponseList
    | ActionResponse
    | ActionResponseList
    | ActionResponseBlock
    | ActionResponseNext
    | ExceptionResponse
    | ConfirmedServiceError
)


def decode_response(octets: bytes) -> Response:
    """Decode a whole response; raises `MalformedData` for anything that is none of ours."""
    try:
        decoder = _DECODERS.get((octets[0], octets[1]))
        if decoder is not None:
            response, end = decoder(octets)
        elif octets[0] in (EXCEPTION_RESPONSE, CONFIRMED_SERVICE_ERROR):
            response, end = decode_refusal(octets)
        else:
            raise MalformedData(f"response {octets[0]:#04x} of kind {octets[1]} is not known")
    except IndexError:
        raise MalformedData("a response is cut short") from None
    if end != len(octets):
        raise MalformedData(f"{len(octets) - end} octets follow the response")
    return response


def decode_list(invoke: int, octets: bytes) -> GetResponseList:
    """Decode the joined blocks of a long answer to a list; raises `MalformedData`."""
    head = bytes((GET_RESPONSE, _WITH_LIST, invoke))
    response = decode_response(head + octets)
    if not isinstance(response, GetResponseList):
        raise MalformedData("the blocks hold no list of answers")
    return response


def decode_outcome(octets: bytes) -> Outcome:
    """Read the joined blocks of a long answer to an ACTION; raises `MalformedData`.

    They are the returned data alone; some meters put the result and the flags of a short answer
    before it, which no data can be mistaken for: it would be null-data with octets behind it.
    """
    try:
        if xdr.skip(octets, 0) == len(octets):
            return AccessResult.SUCCESS, octets
        outcome, end = decode_outcome_at(octets, 0)
    except IndexError:
        raise MalformedData("the joined blocks of an answer are cut short") from None
    if end != len(octets):
        raise MalformedData("octets follow the joined blocks of an answer")
    return outcome


def _encode_results(results: tuple[AccessResult, ...]) -> bytes:
    return xdr.encode_length(len(results)) + bytes(results)


def _decode_get(octets: bytes) -> tuple[Response, int]:
    if octets[3] == 0:
        # One value up to the end: its reader checks it, and a profile is not walked twice.
        if len(octets) == 4:
            raise MalformedData("a response without its data")
        return GetResponse(octets[2], octets[4:]), len(octets)
    data, end = decode_choice(octets, 3)
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
        item, position = decode_choice(octets, position)
        items.append(item)
    return GetResponseList(octets[2], tuple(items)), position


def _decode_set(octets: bytes) -> tuple[Response, int]:
    return SetResponse(octets[2], parse_access_result(octets[3])), 4


def _decode_set_block(octets: bytes) -> tuple[Response, int]:
    number, end = _decode_number(octets, HEAD_SIZE)
    return SetResponseBlock(octets[2], number), end


def _decode_set_last(octets: bytes) -> tuple[Response, int]:
    result = parse_access_result(octets[3])
    number, end = _decode_number(octets, 4)
    return SetResponseLastBlock(octets[2], result, number), end


def _decode_set_last_list(octets: bytes) -> tuple[Response, int]:
    results, position = _decode_results(octets)
    number, end = _decode_number(octets, position)
    return SetResponseLastBlockList(octets[2], results, number), end


def _decode_set_list(octets: bytes) -> tuple[Response, int]:
    results, end = _decode_results(octets)
    return SetResponseList(octets[2], results), end


def _decode_results(octets: bytes) -> tuple[tuple[AccessResult, ...], int]:
    coded, end = xdr.take(octets, HEAD_SIZE)  # one octet each, so the count is a length
    return tuple(parse_access_result(each) for each in coded), end


def _decode_number(octets: bytes, position: int) -> tuple[int, int]:
    end = position + 4
    if end > len(octets):
        raise MalformedData("a block number is cut short")
    return int.from_bytes(octets[position:end], "big"), end


def _decode_action(octets: bytes) -> tuple[Response, int]:
    # The return-parameter flag is left out by some meters.
    if len(octets) == 4:
        return ActionResponse(octets[2], parse_access_result(octets[3])), 4
    (result, data), end = decode_outcome_at(octets, HEAD_SIZE)
    return ActionResponse(octets[2], result, data), end


def _decode_action_list(octets: bytes) -> tuple[Response, int]:
    count, position = xdr.decode_length(octets, HEAD_SIZE)
    if count * 2 > len(octets):
        raise MalformedData(f"{count} answers announced in {len(octets)} octets")
    outcomes = []
    for _ in range(count):
        outcome, position = decode_outcome_at(octets, position)
        outcomes.append(outcome)
    return ActionResponseList(octets[2], tuple(outcomes)), position


def _decode_action_block(octets: bytes) -> tuple[Response, int]:
    block, end = decode_block(octets, HEAD_SIZE)
    return ActionResponseBlock(octets[2], block), end


def _decode_action_next(octets: bytes) -> tuple[Response, int]:
    number, end = _decode_number(octets, HEAD_SIZE)
    return ActionResponseNext(octets[2], number), end


_DECODERS: dict[tuple[int, int], Callable[[bytes], tuple[Response, int]]] = {
    (GET_RESPONSE, _NORMAL): _decode_get,
    (GET_RESPONSE, _WITH_BLOCK): _decode_block,
    (GET_RESPONSE, _WITH_LIST): _decode_list,
    (SET_RESPONSE, _NORMAL): _decode_set,
    (SET_RESPONSE, _SET_BLOCK): _decode_set_block,
    (SET_RESPONSE, _SET_LAST_BLOCK): _decode_set_last,
    (SET_RESPONSE, _SET_LAST_BLOCK_LIST): _decode_set_last_list,
    (SET_RESPONSE, _SET_WITH_LIST): _decode_set_list,
    (ACTION_RESPONSE, _NORMAL): _decode_action,
    (ACTION_RESPONSE, _ACTION_BLOCK): _decode_action_block,
    (ACTION_RESPONSE, _ACTION_WITH_LIST): _decode_action_list,
    (ACTION_RESPONSE, _ACTION_NEXT): _decode_action_next,
}
