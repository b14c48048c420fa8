"""GET, SET and ACTION requests (client to server), encoded and decoded (Green Book 9.4).

Data inside a request stays encoded: the object that takes it decodes it. A long SET or ACTION goes
out as a first request that names the target and carries block 1, and then a request per further
block; joined, the blocks are the encoded value (SET), parameter (ACTION) or the counted list of
values (SET with list).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from protocols.dlms import xdr
from protocols.dlms.errors import MalformedData
from protocols.dlms.selection import Selection, decode_selection, encode_selection
from protocols.dlms.targets import (
    HEAD_SIZE,
    Attribute,
    Block,
    Targets,
    as_many,
    decode_attribute,
    decode_block,
    decode_count,
    decode_items,
    decode_list,
    encode_items,
    encode_list,
)

__all__ = ["Attribute", "Block", "Request", "Targets", "decode_request"]

GET_REQUEST = 0xC0
SET_REQUEST = 0xC1
ACTION_REQUEST = 0xC3

_NORMAL = 1
_NEXT = 2
_WITH_LIST = 3
_SET_FIRST_BLOCK = 2
_SET_BLOCK = 3
_SET_WITH_LIST = 4
_SET_LIST_FIRST_BLOCK = 5
_ACTION_NEXT = 2
_ACTION_WITH_LIST = 3
_ACTION_FIRST_BLOCK = 4
_ACTION_BLOCK = 6


@dataclass(frozen=True, slots=True)
class GetRequest:
    """Read one attribute; ``invoke`` is invoke-id-and-priority."""

    invoke: int
    attribute: Attribute
    selection: Selection | None = None

    def encode(self) -> bytes:
        head = bytes((GET_REQUEST, _NORMAL, self.invoke))
        return head + self.attribute.encode() + encode_selection(self.selection)


@dataclass(frozen=True, slots=True)
class GetRequestNext:
    """Acknowledge block ``block`` of a long answer and ask for the next one."""

    invoke: int
    block: int

    def encode(self) -> bytes:
        return bytes((GET_REQUEST, _NEXT, self.invoke)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class GetRequestList:
    """Read several attributes at once."""

    invoke: int
    items: tuple[tuple[Attribute, Selection | None], ...]

    def encode(self) -> bytes:
        return bytes((GET_REQUEST, _WITH_LIST, self.invoke)) + encode_items(self.items)


@dataclass(frozen=True, slots=True)
class SetRequest:
    """Write one attribute."""

    invoke: int
    attribute: Attribute
    value: bytes
    selection: Selection | None = None

    def encode(self) -> bytes:
        head = bytes((SET_REQUEST, _NORMAL, self.invoke))
        return head + self.attribute.encode() + encode_selection(self.selection) + self.value


@dataclass(frozen=True, slots=True)
class SetRequestFirstBlock:
    """Begin to write one attribute with a value in blocks."""

    invoke: int
    attribute: Attribute
    block: Block
    selection: Selection | None = None

    def encode(self) -> bytes:
        head = bytes((SET_REQUEST, _SET_FIRST_BLOCK, self.invoke)) + self.attribute.encode()
        return head + encode_selection(self.selection) + self.block.encode()


@dataclass(frozen=True, slots=True)
class SetRequestBlock:
    """A further block of what is being written."""

    invoke: int
    block: Block

    def encode(self) -> bytes:
        return bytes((SET_REQUEST, _SET_BLOCK, self.invoke)) + self.block.encode()


@dataclass(frozen=True, slots=True)
class SetRequestList:
    """Write several attributes at once; ``values`` are theirs, in order."""

    invoke: int
    items: Targets
    values: tuple[bytes, ...]

    def encode(self) -> bytes:
        head = bytes((SET_REQUEST, _SET_WITH_LIST, self.invoke)) + encode_items(self.items)
        return head + encode_list(self.values)


@dataclass(frozen=True, slots=True)
class SetRequestListFirstBlock:
    """Begin to write several attributes with their list of values in blocks."""

    invoke: int
    items: Targets
    block: Block

    def encode(self) -> bytes:
        head = bytes((SET_REQUEST, _SET_LIST_FIRST_BLOCK, self.invoke))
        return head + encode_items(self.items) + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """Invoke one method; the attribute's number is the method's."""

    invoke: int
    method: Attribute
    parameter: bytes | None = None

    def encode(self) -> bytes:
        head = bytes((ACTION_REQUEST, _NORMAL, self.invoke)) + self.method.encode()
        return head + b"\x00" if self.parameter is None else head + b"\x01" + self.parameter


@dataclass(frozen=True, slots=True)
class ActionRequestNext:
    """Acknowledge block ``block`` of a long answer and ask for the next one."""

    invoke: int
    block: int

    def encode(self) -> bytes:
        return bytes((ACTION_REQUEST, _ACTION_NEXT, self.invoke)) + self.block.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class ActionRequestFirstBlock:
    """Begin to invoke one method with a parameter in blocks."""

    invoke: int
    method: Attribute
    block: Block

    def encode(self) -> bytes:
        head = bytes((ACTION_REQUEST, _ACTION_FIRST_BLOCK, self.invoke))
        return head + self.method.encode() + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionRequestBlock:
    """A further block of the parameter."""

    invoke: int
    block: Block

    def encode(self) -> bytes:
        return bytes((ACTION_REQUEST, _ACTION_BLOCK, self.invoke)) + self.block.encode()


@dataclass(frozen=True, slots=True)
class ActionRequestList:
    """Invoke several methods, one after the other; null-data stands for no parameter."""

    invoke: int
    methods: tuple[Attribute, ...]
    parameters: tuple[bytes, ...]

    def encode(self) -> bytes:
        head = bytes((ACTION_REQUEST, _ACTION_WITH_LIST, self.invoke))
        head += xdr.encode_length(len(self.methods))
        return (
            head + b"".join(each.encode() for each in self.methods) + encode_list(self.parameters)
        )


Request: TypeAlias = (
    GetRequest
    | GetRequestNext
    | GetRequestList
    | SetRequest
    | SetRequestFirstBlock
    | SetRequestBlock
    | SetRequestList
    | SetRequestListFirstBlock
    | ActionRequest
    | ActionRequestNext
    | ActionRequestFirstBlock
    | ActionRequestBlock
    | ActionRequestList
)


def decode_request(octets: bytes) -> Request:
    """Decode a whole request; raises `MalformedData` for anything that is none of ours."""
    try:
        decoder = _DECODERS.get((octets[0], octets[1]))
        if decoder is None:
            raise MalformedData(f"request {octets[0]:#04x} of kind {octets[1]} is not served")
        request, end = decoder(octets, octets[2])
    except IndexError:
        raise MalformedData("a request is cut short") from None
    if end != len(octets):
        raise MalformedData(f"{len(octets) - end} octets follow the request")
    return request


def _decode_get(octets: bytes, invoke: int) -> tuple[Request, int]:
    attribute, position = decode_attribute(octets, HEAD_SIZE)
    selection, end = decode_selection(octets, position)
    return GetRequest(invoke, attribute, selection), end


def _decode_get_next(octets: bytes, invoke: int) -> tuple[Request, int]:
    number, end = _decode_number(octets)
    return GetRequestNext(invoke, number), end


def _decode_get_list(octets: bytes, invoke: int) -> tuple[Request, int]:
    items, end = decode_items(octets)
    return GetRequestList(invoke, items), end


def _decode_set(octets: bytes, invoke: int) -> tuple[Request, int]:
    attribute, position = decode_attribute(octets, HEAD_SIZE)
    selection, position = decode_selection(octets, position)
    end = xdr.skip(octets, position)
    return SetRequest(invoke, attribute, octets[position:end], selection), end


def _decode_set_first(octets: bytes, invoke: int) -> tuple[Request, int]:
    attribute, position = decode_attribute(octets, HEAD_SIZE)
    selection, position = decode_selection(octets, position)
    block, end = decode_block(octets, position)
    return SetRequestFirstBlock(invoke, attribute, block, selection), end


def _decode_set_block(octets: bytes, invoke: int) -> tuple[Request, int]:
    block, end = decode_block(octets, HEAD_SIZE)
    return SetRequestBlock(invoke, block), end


def _decode_set_list(octets: bytes, invoke: int) -> tuple[Request, int]:
    items, position = decode_items(octets)
    values, end = decode_list(octets, position)
    return SetRequestList(invoke, items, as_many(values, len(items))), end


def _decode_set_list_first(octets: bytes, invoke: int) -> tuple[Request, int]:
    items, position = decode_items(octets)
    block, end = decode_block(octets, position)
    return SetRequestListFirstBlock(invoke, items, block), end


def _decode_action(octets: bytes, invoke: int) -> tuple[Request, int]:
    method, position = decode_attribute(octets, HEAD_SIZE)
    if octets[position] == 0:
        return ActionRequest(invoke, method), position + 1
    end = xdr.skip(octets, position + 1)
    return ActionRequest(invoke, method, octets[position + 1 : end]), end


def _decode_action_next(octets: bytes, invoke: int) -> tuple[Request, int]:
    number, end = _decode_number(octets)
    return ActionRequestNext(invoke, number), end


def _decode_action_first(octets: bytes, invoke: int) -> tuple[Request, int]:
    method, position = decode_attribute(octets, HEAD_SIZE)
    block, end = decode_block(octets, position)
    return ActionRequestFirstBlock(invoke, method, block), end


def _decode_action_block(octets: bytes, invoke: int) -> tuple[Request, int]:
    block, end = decode_block(octets, HEAD_SIZE)
    return ActionRequestBlock(invoke, block), end


def _decode_action_list(octets: bytes, invoke: int) -> tuple[Request, int]:
    count, position = decode_count(octets, 9)
    methods = []
    for _ in range(count):
        method, position = decode_attribute(octets, position)
        methods.append(method)
    parameters, end = decode_list(octets, position)
    return ActionRequestList(invoke, tuple(methods), as_many(parameters, count)), end


_DECODERS: dict[tuple[int, int], Callable[[bytes, int], tuple[Request, int]]] = {
    (GET_REQUEST, _NORMAL): _decode_get,
    (GET_REQUEST, _NEXT): _decode_get_next,
    (GET_REQUEST, _WITH_LIST): _decode_get_list,
    (SET_REQUEST, _NORMAL): _decode_set,
    (SET_REQUEST, _SET_FIRST_BLOCK): _decode_set_first,
    (SET_REQUEST, _SET_BLOCK): _decode_set_block,
    (SET_REQUEST, _SET_WITH_LIST): _decode_set_list,
    (SET_REQUEST, _SET_LIST_FIRST_BLOCK): _decode_set_list_first,
    (ACTION_REQUEST, _NORMAL): _decode_action,
    (ACTION_REQUEST, _ACTION_NEXT): _decode_action_next,
    (ACTION_REQUEST, _ACTION_FIRST_BLOCK): _decode_action_first,
    (ACTION_REQUEST, _ACTION_BLOCK): _decode_action_block,
    (ACTION_REQUEST, _ACTION_WITH_LIST): _decode_action_list,
}


def _decode_number(octets: bytes) -> tuple[int, int]:
    if len(octets) < 7:
        raise MalformedData("a block number is cut short")
    return int.from_bytes(octets[3:7], "big"), 7
