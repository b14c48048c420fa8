"""Association control in BER: AARQ, AARE, RLRQ and RLRE (ISO 8650-1, Green Book 9.4.2).

Only what DLMS uses is kept; fields that peers add beside it are read over. Everything is bytes to
values: what a field means for an association is that module's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from protocols.dlms import xdr
from protocols.dlms.errors import MalformedData

AARQ = 0x60
AARE = 0x61
RLRQ = 0x62
RLRE = 0x63

_OID_CONTEXT = bytes.fromhex("608574050801")  # 2.16.756.5.8.1.n
_OID_MECHANISM = bytes.fromhex("608574050802")  # 2.16.756.5.8.2.n
_AUTHENTICATION_REQUIRED = b"\x07\x80"  # bit-string of one bit
_SOURCE_USER = 0xA1
_SOURCE_PROVIDER = 0xA2


class Context(IntEnum):
    """Application context: how objects are named and whether APDUs are ciphered."""

    LOGICAL_NAME = 1
    SHORT_NAME = 2
    LOGICAL_NAME_CIPHERED = 3
    SHORT_NAME_CIPHERED = 4


class Mechanism(IntEnum):
    """Authentication mechanism."""

    NONE = 0
    LLS = 1
    HLS = 2
    HLS_MD5 = 3
    HLS_SHA1 = 4
    HLS_GMAC = 5
    HLS_SHA256 = 6
    HLS_ECDSA = 7


class AssociationResult(IntEnum):
    ACCEPTED = 0
    REJECTED_PERMANENT = 1
    REJECTED_TRANSIENT = 2


class Diagnostic(IntEnum):
    """Why an association was rejected, as the ACSE service user says it."""

    NULL = 0
    NO_REASON_GIVEN = 1
    APPLICATION_CONTEXT_NAME_NOT_SUPPORTED = 2
    CALLING_AP_TITLE_NOT_RECOGNIZED = 3
    CALLING_AP_INVOCATION_IDENTIFIER_NOT_RECOGNIZED = 4
    CALLING_AE_QUALIFIER_NOT_RECOGNIZED = 5
    CALLING_AE_INVOCATION_IDENTIFIER_NOT_RECOGNIZED = 6
    CALLED_AP_TITLE_NOT_RECOGNIZED = 7
    CALLED_AP_INVOCATION_IDENTIFIER_NOT_RECOGNIZED = 8
    CALLED_AE_QUALIFIER_NOT_RECOGNIZED = 9
    CALLED_AE_INVOCATION_IDENTIFIER_NOT_RECOGNIZED = 10
    AUTHENTICATION_MECHANISM_NAME_NOT_RECOGNISED = 11
    AUTHENTICATION_MECHANISM_NAME_REQUIRED = 12
    AUTHENTICATION_FAILURE = 13
    AUTHENTICATION_REQUIRED = 14


def name_diagnostic(code: int, *, by_provider: bool) -> str:
    """Put a diagnostic in the standard's words."""
    if by_provider:
        names = ("null", "no-reason-given", "no-common-acse-version")
        return names[code] if code < len(names) else f"provider diagnostic {code}"
    try:
        return Diagnostic(code).name.lower().replace("_", "-")
    except ValueError:
        return f"diagnostic {code}"


def context_name(context: int) -> bytes:
    """Return the object identifier of an application context, as octets."""
    return _OID_CONTEXT + bytes((context,))


def mechanism_name(mechanism: int) -> bytes:
    """Return the object identifier of an authentication mechanism, as octets."""
    return _OID_MECHANISM + bytes((mechanism,))


@dataclass(frozen=True, slots=True)
class Aarq:
    """A client asks for an association."""

    context: int
    mechanism: int = Mechanism.NONE
    system_title: bytes | None = None
    authentication: bytes | None = field(default=None, repr=False)  # password or challenge
    user_information: bytes = b""

    def encode(self) -> bytes:
        out = bytearray(_object_identifier(0xA1, _OID_CONTEXT, self.context))
        if self.system_title is not None:
            out += _tlv(0xA6, _tlv(0x04, self.system_title))
        if self.mechanism != Mechanism.NONE:
            out += _tlv(0x8A, _AUTHENTICATION_REQUIRED)
            out += _tlv(0x8B, _OID_MECHANISM + bytes((self.mechanism,)))
        if self.authentication is not None:
            out += _tlv(0xAC, _tlv(0x80, self.authentication))
        if self.user_information:
            out += _tlv(0xBE, _tlv(0x04, self.user_information))
        return _tlv(AARQ, bytes(out))


@dataclass(frozen=True, slots=True)
class Aare:
    """A server's answer to it."""

    context: int
    result: int
    diagnostic: int
    by_provider: bool = False
    mechanism: int = Mechanism.NONE
    system_title: bytes | None = None
    authentication: bytes | None = field(default=None, repr=False)
    user_information: bytes = b""

    def encode(self) -> bytes:
        out = bytearray(_object_identifier(0xA1, _OID_CONTEXT, self.context))
        out += _tlv(0xA2, _tlv(0x02, bytes((self.result,))))
        source = _SOURCE_PROVIDER if self.by_provider else _SOURCE_USER
        out += _tlv(0xA3, _tlv(source, _tlv(0x02, bytes((self.diagnostic,)))))
        if self.system_title is not None:
            out += _tlv(0xA4, _tlv(0x04, self.system_title))
        if self.mechanism != Mechanism.NONE:
            out += _tlv(0x88, _AUTHENTICATION_REQUIRED)
            out += _tlv(0x89, _OID_MECHANISM + bytes((self.mechanism,)))
        if self.authentication is not None:
            out += _tlv(0xAA, _tlv(0x80, self.authentication))
        if self.user_information:
            out += _tlv(0xBE, _tlv(0x04, self.user_information))
        return _tlv(AARE, bytes(out))


@dataclass(frozen=True, slots=True)
class Rlrq:
    """A client ends the association; reason 0 is normal."""

    reason: int | None = 0
    user_information: bytes = b""

    def encode(self) -> bytes:
        return _encode_release(RLRQ, self.reason, self.user_information)


@dataclass(frozen=True, slots=True)
class Rlre:
    """A server confirms; many send no reason at all (``63 00``)."""

    reason: int | None = 0
    user_information: bytes = b""

    def encode(self) -> bytes:
        return _encode_release(RLRE, self.reason, self.user_information)


def decode_aarq(octets: bytes) -> Aarq:
    """Decode an AARQ; raises `MalformedData`."""
    fields = _fields(octets, AARQ)
    context = _object_number(_inner(fields, 0xA1, 0x06), _OID_CONTEXT)
    if context is None:
        raise MalformedData("an AARQ without application context")
    return Aarq(
        context=context,
        mechanism=_object_number(fields.get(0x8B), _OID_MECHANISM) or Mechanism.NONE,
        system_title=_inner(fields, 0xA6, 0x04),
        authentication=_authentication_value(fields.get(0xAC)),
        user_information=_inner(fields, 0xBE, 0x04) or b"",
    )


def decode_aare(octets: bytes) -> Aare:
    """Decode an AARE; raises `MalformedData`."""
    fields = _fields(octets, AARE)
    result = _inner(fields, 0xA2, 0x02)
    context = _object_number(_inner(fields, 0xA1, 0x06), _OID_CONTEXT)
    if not result or context is None or 0xA3 not in fields:
        raise MalformedData("an AARE without context, result or diagnostic")
    source, chosen = next(_tlvs(fields[0xA3]), (0, b""))
    diagnostic = _only(chosen, 0x02)
    if source not in (_SOURCE_USER, _SOURCE_PROVIDER) or not diagnostic:
        raise MalformedData("an AARE whose diagnostic has no known source")
    return Aare(
        context=context,
        result=result[-1],
        diagnostic=diagnostic[-1],
        by_provider=source == _SOURCE_PROVIDER,
        mechanism=_object_number(fields.get(0x89), _OID_MECHANISM) or Mechanism.NONE,
        system_title=_inner(fields, 0xA4, 0x04),
        authentication=_authentication_value(fields.get(0xAA)),
        user_information=_inner(fields, 0xBE, 0x04) or b"",
    )


def decode_rlrq(octets: bytes) -> Rlrq:
    """Decode a RLRQ; raises `MalformedData`."""
    fields = _fields(octets, RLRQ)
    return Rlrq(_reason(fields), _inner(fields, 0xBE, 0x04) or b"")


def decode_rlre(octets: bytes) -> Rlre:
    """Decode a RLRE, ``63 00`` included; raises `MalformedData`."""
    fields = _fields(octets, RLRE)
    return Rlre(_reason(fields), _inner(fields, 0xBE, 0x04) or b"")


# --- BER -------------------------------------------------------------------------------------


def _tlv(tag: int, value: bytes) -> bytes:
    return bytes((tag,)) + xdr.encode_length(len(value)) + value


def _object_identifier(tag: int, prefix: bytes, number: int) -> bytes:
    return _tlv(tag, _tlv(0x06, prefix + bytes((number,))))


def _encode_release(tag: int, reason: int | None, user_information: bytes) -> bytes:
    body = b"" if reason is None else _tlv(0x80, bytes((reason,)))
    if user_information:
        body += _tlv(0xBE, _tlv(0x04, user_information))
    return _tlv(tag, body)


def _tlvs(octets: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(octets):
        tag = octets[position]
        try:
            value, position = xdr.take(octets, position + 1)
        except IndexError:
            raise MalformedData("a BER field is cut short") from None
        yield tag, value


def _fields(octets: bytes, expected: int) -> dict[int, bytes]:
    outer = list(_tlvs(octets))
    if len(outer) != 1 or outer[0][0] != expected:
        raise MalformedData(f"not exactly one APDU of tag {expected:#04x}")
    fields: dict[int, bytes] = {}
    for tag, value in _tlvs(outer[0][1]):
        if tag in fields:
            raise MalformedData(f"field {tag:#04x} comes twice")
        fields[tag] = value
    return fields


def _only(octets: bytes, tag: int) -> bytes:
    inner = list(_tlvs(octets))
    if len(inner) != 1 or inner[0][0] != tag:
        raise MalformedData(f"expected one field {tag:#04x}")
    return inner[0][1]


def _inner(fields: dict[int, bytes], outer: int, tag: int) -> bytes | None:
    return _only(fields[outer], tag) if outer in fields else None


def _object_number(identifier: bytes | None, prefix: bytes) -> int | None:
    if identifier is None:
        return None
    if len(identifier) != len(prefix) + 1 or not identifier.startswith(prefix):
        raise MalformedData(f"object identifier {identifier.hex()} is none of DLMS")
    return identifier[-1]


def _authentication_value(value: bytes | None) -> bytes | None:
    if value is None:
        return None
    tag, content = next(_tlvs(value), (0, b""))
    if tag not in (0x80, 0x81):  # charstring; some peers send bitstring
        raise MalformedData("an authentication value of unknown form")
    return content


def _reason(fields: dict[int, bytes]) -> int | None:
    value = fields.get(0x80)
    return value[-1] if value else None
