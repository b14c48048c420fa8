"""InitiateRequest and InitiateResponse: version, conformance and PDU sizes (Green Book 9.4.6).

They travel as user-information of AARQ and AARE, ciphered or plain; here they are always plain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag

from protocols.dlms import xdr
from protocols.dlms.errors import MalformedData

DLMS_VERSION = 6
VAA_LOGICAL_NAME = b"\x00\x07"
_CONFORMANCE_HEAD = b"\x5f\x1f\x04\x00"
_REQUEST = 0x01
_RESPONSE = 0x08


class Conformance(IntFlag):
    """What a side can do; bit 0 of the standard is the highest of these 24."""

    GENERAL_PROTECTION = 1 << 22
    GENERAL_BLOCK_TRANSFER = 1 << 21
    READ = 1 << 20
    WRITE = 1 << 19
    UNCONFIRMED_WRITE = 1 << 18
    DELTA_VALUE_ENCODING = 1 << 17
    ATTRIBUTE_0_WITH_SET = 1 << 15
    PRIORITY_MANAGEMENT = 1 << 14
    ATTRIBUTE_0_WITH_GET = 1 << 13
    BLOCK_TRANSFER_WITH_GET = 1 << 12
    BLOCK_TRANSFER_WITH_SET = 1 << 11
    BLOCK_TRANSFER_WITH_ACTION = 1 << 10
    MULTIPLE_REFERENCES = 1 << 9
    INFORMATION_REPORT = 1 << 8
    DATA_NOTIFICATION = 1 << 7
    ACCESS = 1 << 6
    PARAMETERIZED_ACCESS = 1 << 5
    GET = 1 << 4
    SET = 1 << 3
    SELECTIVE_ACCESS = 1 << 2
    EVENT_NOTIFICATION = 1 << 1
    ACTION = 1 << 0


@dataclass(frozen=True, slots=True)
class InitiateRequest:
    """What the client proposes; ``max_pdu`` is the longest APDU it takes (0: no limit)."""

    conformance: Conformance
    max_pdu: int
    dedicated_key: bytes | None = field(default=None, repr=False)
    response_allowed: bool = True
    quality_of_service: int | None = None
    version: int = DLMS_VERSION

    def encode(self) -> bytes:
        out = bytearray((_REQUEST,))
        if self.dedicated_key is None:
            out += b"\x00"
        else:
            out += b"\x01" + xdr.encode_length(len(self.dedicated_key)) + self.dedicated_key
        out += b"\x00" if self.response_allowed else b"\x01\x00"
        out += _encode_optional(self.quality_of_service)
        out.append(self.version)
        return bytes(out) + _encode_negotiated(self.conformance, self.max_pdu)


@dataclass(frozen=True, slots=True)
class InitiateResponse:
    """What the server agrees to; ``max_pdu`` is the longest APDU it takes (0: no limit)."""

    conformance: Conformance
    max_pdu: int
    quality_of_service: int | None = None
    version: int = DLMS_VERSION
    vaa_name: bytes = VAA_LOGICAL_NAME

    def encode(self) -> bytes:
        head = bytes((_RESPONSE,)) + _encode_optional(self.quality_of_service)
        negotiated = _encode_negotiated(self.conformance, self.max_pdu)
        return head + bytes((self.version,)) + negotiated + self.vaa_name


def decode_initiate_request(octets: bytes) -> InitiateRequest:
    """Decode the whole of ``octets``; raises `MalformedData`."""
    try:
        if octets[0] != _REQUEST:
            raise MalformedData(f"{octets[0]:#04x} is no InitiateRequest")
        position = 2
        dedicated_key = None
        if octets[1]:
            dedicated_key, position = xdr.take(octets, position)
        response_allowed = True
        if octets[position]:
            position += 1
            response_allowed = octets[position] != 0
        position += 1
        quality, position = _decode_optional(octets, position)
        version = octets[position]
        conformance, max_pdu, end = _decode_negotiated(octets, position + 1)
    except IndexError:
        raise MalformedData("an InitiateRequest is cut short") from None
    if end != len(octets):
        raise MalformedData("octets follow the InitiateRequest")
    return InitiateRequest(conformance, max_pdu, dedicated_key, response_allowed, quality, version)


def decode_initiate_response(octets: bytes) -> InitiateResponse:
    """Decode the whole of ``octets``; raises `MalformedData`."""
    try:
        if octets[0] != _RESPONSE:
            raise MalformedData(f"{octets[0]:#04x} is no InitiateResponse")
        quality, position = _decode_optional(octets, 1)
        version = octets[position]
        conformance, max_pdu, end = _decode_negotiated(octets, position + 1)
    except IndexError:
        raise MalformedData("an InitiateResponse is cut short") from None
    if end + 2 != len(octets):
        raise MalformedData("an InitiateResponse of the wrong length")
    return InitiateResponse(conformance, max_pdu, quality, version, octets[end:])


def _encode_optional(value: int | None) -> bytes:
    return b"\x00" if value is None else bytes((1, value & 0xFF))


def _decode_optional(octets: bytes, position: int) -> tuple[int | None, int]:
    if octets[position] == 0:
        return None, position + 1
    return octets[position + 1], position + 2


def _encode_negotiated(conformance: Conformance, max_pdu: int) -> bytes:
    return _CONFORMANCE_HEAD + int(conformance).to_bytes(3, "big") + max_pdu.to_bytes(2, "big")


def _decode_negotiated(octets: bytes, position: int) -> tuple[Conformance, int, int]:
    if octets[position] != 0x5F:
        raise MalformedData("the conformance block is missing")
    # Some meters write the application tag 31 in one octet, without the 1f that belongs to it.
    position += 2 if octets[position + 1] == 0x1F else 1
    end = position + 7
    if octets[position : position + 2] != b"\x04\x00" or end > len(octets):
        raise MalformedData("the conformance block is malformed")
    block = octets[position + 2 : position + 5]
    conformance = Conformance(int.from_bytes(block, "big") & _ALL_BITS)
    return conformance, int.from_bytes(octets[position + 5 : end], "big"), end


_ALL_BITS = sum(flag.value for flag in Conformance)
