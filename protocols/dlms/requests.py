"""GET, SET and ACTION requests (client to server), encoded and decoded (Green Book 9.4).

Data inside a request stays encoded: the object that takes it decodes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from headend.domain.obis import Obis
from protocols.dlms import xdr
from protocols.dlms.errors import MalformedData
from protocols.dlms.selection import Selection, decode_selection, encode_selection

GET_REQUEST = 0xC0
SET_REQUEST = 0xC1
ACTION_REQUEST = 0xC3

_NORMAL = 1
_NEXT = 2
_WITH_LIST = 3


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of one object."""

    class_id: int
    obis: Obis
    number: int

    def encode(self) -> bytes:
        """Return the 9 octets of the descriptor."""
        return self.class_id.to_bytes(2, "big") + self.obis.octets + bytes((self.number & 0xFF,))

    def __str__(self) -> str:
        return f"{self.obis} class {self.class_id} attribute {self.number}"


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
        head = bytes((GET_REQUEST, _WITH_LIST, self.invoke)) + xdr.encode_length(len(self.items))
        return head + b"".join(
            attribute.encode() + encode_selection(selection) for attribute, selection in self.items
        )


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
class ActionRequest:
    """Invoke one method; the attribute's number is the method's."""

    invoke: int
    method: Attribute
    parameter: bytes | None = None

    def encode(self) -> bytes:
        head = bytes((ACTION_REQUEST, _NORMAL, self.invoke)) + self.method.encode()
        return head + b"\x00" if self.parameter is None else head + b"\x01" + self.parameter


Request: TypeAlias = GetRequest | GetRequestNext | GetRequestList | SetRequest | ActionRequest


def decode_request(octets: bytes) -> Request:
    """Decode a whole request; raises `MalformedData` for anything that is none of ours."""
    try:
        request, end = _decode(octets)
    except IndexError:
        raise MalformedData("a request is cut short") from None
    if end != len(octets):
        raise MalformedData(f"{len(octets) - end} octets follow the request")
    return request


def _decode(octets: bytes) -> tuple[Request, int]:
    kind, invoke = (octets[0], octets[1]), octets[2]
    if kind == (GET_REQUEST, _NORMAL):
        attribute, position = _decode_attribute(octets, 3)
        selection, end = decode_selection(octets, position)
        return GetRequest(invoke, attribute, selection), end
    if kind == (GET_REQUEST, _NEXT):
        if len(octets) < 7:
            raise MalformedData("a block number is cut short")
        return GetRequestNext(invoke, int.from_bytes(octets[3:7], "big")), 7
    if kind == (GET_REQUEST, _WITH_LIST):
        return _decode_list(octets)
    if kind == (SET_REQUEST, _NORMAL):
        attribute, position = _decode_attribute(octets, 3)
        selection, position = decode_selection(octets, position)
        end = xdr.skip(octets, position)
        return SetRequest(invoke, attribute, octets[position:end], selection), end
    if kind == (ACTION_REQUEST, _NORMAL):
        method, position = _decode_attribute(octets, 3)
        if octets[position] == 0:
            return ActionRequest(invoke, method), position + 1
        end = xdr.skip(octets, position + 1)
        return ActionRequest(invoke, method, octets[position + 1 : end]), end
    raise MalformedData(f"request {octets[0]:#04x} of kind {octets[1]} is not served")


def _decode_list(octets: bytes) -> tuple[GetRequestList, int]:
    count, position = xdr.decode_length(octets, 3)
    if count * 10 > len(octets):  # an attribute and its selection take at least 10 octets
        raise MalformedData(f"{count} attributes announced in {len(octets)} octets")
    items = []
    for _ in range(count):
        attribute, position = _decode_attribute(octets, position)
        selection, position = decode_selection(octets, position)
        items.append((attribute, selection))
    return GetRequestList(octets[2], tuple(items)), position


def _decode_attribute(octets: bytes, position: int) -> tuple[Attribute, int]:
    end = position + 9
    if end > len(octets):
        raise MalformedData("an attribute descriptor is cut short")
    class_id = int.from_bytes(octets[position : position + 2], "big")
    number = int.from_bytes(octets[end - 1 : end], "big", signed=True)
    return Attribute(class_id, Obis(octets[position + 2 : position + 8]), number), end
