"""Changing a meter's keys: `global_key_transfer` of the security setup (class 64, method 2).

The new keys travel wrapped (AES key wrap, RFC 3394) under the master key, which itself is never
sent. The meter takes them over when it answers with success, so that the answer is still ciphered
with the old ones; afterwards everything goes under the new keys, whose invocation counters begin
anew on both sides: give the new key a new ``key_id``.

Blue Book, Security setup (clause unverified). Keys never show in ``repr`` or in messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from headend.domain.errors import LocalProtocolError
from headend.domain.obis import Obis
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import xdr
from protocols.dlms.client import DrawInvoke, Flow, action
from protocols.dlms.errors import MalformedData
from protocols.dlms.security import KEY_SIZES, TagMismatch

CLASS_SECURITY_SETUP = 64
SECURITY_SETUP = Obis.parse("0.0.43.0.0.255")
METHOD_KEY_TRANSFER = 2
_SIZES = frozenset(KEY_SIZES.values())


class KeyId(IntEnum):
    """Which key a meter is given."""

    GLOBAL_UNICAST_ENCRYPTION = 0
    GLOBAL_BROADCAST_ENCRYPTION = 1
    AUTHENTICATION = 2
    MASTER = 3


_KEY_IDS = frozenset(int(each) for each in KeyId)


def transfer_keys(
    keys: Mapping[KeyId, bytes],
    master_key: bytes,
    draw_invoke: DrawInvoke,
    *,
    setup: Obis = SECURITY_SETUP,
    limit: int | None = None,
) -> Flow:
    """Give the meter new keys, all in one request, so that it takes all or none.

    Run it through an association ciphered with the old keys, and believe only an authenticated
    answer; without one the outcome is unknown: find out by associating with either set.
    """
    method = rq.Attribute(CLASS_SECURITY_SETUP, setup, METHOD_KEY_TRANSFER)
    return action(method, wrap_keys(keys, master_key), draw_invoke, limit=limit)


def wrap_keys(keys: Mapping[KeyId, bytes], master_key: bytes) -> bytes:
    """Return the encoded parameter of the method; raises `LocalProtocolError` for wrong sizes."""
    if not keys:
        raise LocalProtocolError("no key to transfer")
    for name, key in (("master key", master_key), *((each.name, keys[each]) for each in keys)):
        if len(key) not in _SIZES:
            raise LocalProtocolError(f"the {name} has {len(key)} octets")
    return xdr.encode(
        d.Array(
            d.Structure((d.Enum(key_id), aes_key_wrap(master_key, key)))
            for key_id, key in keys.items()
        )
    )


def unwrap_keys(parameter: bytes, master_key: bytes) -> dict[KeyId, bytes]:
    """Server role: return the keys in a method's parameter.

    Raises `MalformedData`, and `TagMismatch` for keys wrapped under another master key.
    """
    value = xdr.decode(parameter)
    if not isinstance(value, d.Array) or not value:
        raise MalformedData("the transferred keys are no array")
    keys: dict[KeyId, bytes] = {}
    for element in value:
        match element:
            case (d.Enum() as number, bytes(wrapped)) if int(number) in _KEY_IDS:
                keys[KeyId(int(number))] = _unwrap(wrapped, master_key)
            case _:
                raise MalformedData("a transferred key without its number")
    return keys


def _unwrap(wrapped: bytes, master_key: bytes) -> bytes:
    try:
        key = aes_key_unwrap(master_key, wrapped)
    except (InvalidUnwrap, ValueError):
        raise TagMismatch("a transferred key is wrapped under another master key") from None
    if len(key) not in _SIZES:
        raise MalformedData(f"a transferred key of {len(key)} octets")
    return key
