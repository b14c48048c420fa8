"""New keys for a meter: wrapped as RFC 3394 says, taken by the meter, used from then on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from headend.domain.errors import LocalProtocolError, MeterRefused
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.errors import AccessResult, MalformedData
from protocols.dlms.key_transfer import (
    SECURITY_SETUP,
    KeyId,
    transfer_keys,
    unwrap_keys,
    wrap_keys,
)
from protocols.dlms.security import TagMismatch
from protocols.dlms.testing import Loopback, TableObjects

MAKE = Callable[..., Loopback]
MASTER = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
NEW = bytes.fromhex("00112233445566778899AABBCCDDEEFF")
# RFC 3394, 4.1: 128 bits of key data wrapped with a 128-bit key.
WRAPPED = bytes.fromhex("1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5")


def reference_wrap(master: bytes, key: bytes) -> bytes:
    """RFC 3394, 2.2.1, index based, on nothing but the block cipher."""
    encryptor = Cipher(algorithms.AES(master), modes.ECB()).encryptor()
    halves = [key[i : i + 8] for i in range(0, len(key), 8)]
    check = bytes.fromhex("A6" * 8)
    for j in range(6):
        for i, half in enumerate(halves):
            block = encryptor.update(check + half)
            step = len(halves) * j + i + 1
            check = (int.from_bytes(block[:8], "big") ^ step).to_bytes(8, "big")
            halves[i] = block[8:]
    return check + b"".join(halves)


def test_the_published_vector() -> None:
    parameter = wrap_keys({KeyId.GLOBAL_UNICAST_ENCRYPTION: NEW}, MASTER)
    assert parameter == b"\x01\x01\x02\x02\x16\x00\x09\x18" + WRAPPED
    assert unwrap_keys(parameter, MASTER) == {KeyId.GLOBAL_UNICAST_ENCRYPTION: NEW}


@pytest.mark.parametrize("size", [16, 32])
def test_wrapping_is_that_of_the_reference(size: int) -> None:
    master, key = bytes(range(size)), bytes(range(100, 100 + size))
    parameter = wrap_keys({KeyId.AUTHENTICATION: key}, master)
    assert parameter.endswith(reference_wrap(master, key))
    assert unwrap_keys(parameter, master) == {KeyId.AUTHENTICATION: key}


def test_a_meter_is_given_all_keys_at_once(make_loopback: MAKE, objects: TableObjects) -> None:
    keys = {
        KeyId.GLOBAL_UNICAST_ENCRYPTION: NEW,
        KeyId.AUTHENTICATION: MASTER[::-1],
        KeyId.MASTER: NEW[::-1],
    }
    objects.methods[64, SECURITY_SETUP, 2] = None
    loopback = make_loopback("gmac")
    loopback.associate()
    draw = loopback.association.draw_invoke
    assert loopback.run(transfer_keys(keys, MASTER, draw)) == b""
    ((class_id, obis, method, parameter),) = objects.invoked
    assert (class_id, obis, method) == (64, SECURITY_SETUP, 2)
    assert unwrap_keys(parameter or b"", MASTER) == keys
    for sent in loopback.log:
        assert NEW not in sent


def test_a_refusal_is_a_refusal(make_loopback: MAKE, objects: TableObjects) -> None:
    objects.methods[64, SECURITY_SETUP, 2] = AccessResult.READ_WRITE_DENIED
    loopback = make_loopback("gmac")
    loopback.associate()
    flow = transfer_keys({KeyId.MASTER: NEW}, MASTER, loopback.association.draw_invoke)
    with pytest.raises(MeterRefused):
        loopback.run(flow)


def test_another_master_key_is_found_out() -> None:
    with pytest.raises(TagMismatch):
        unwrap_keys(wrap_keys({KeyId.MASTER: NEW}, MASTER), NEW)


@pytest.mark.parametrize(
    "value",
    [
        None,
        d.Array(()),
        d.Array((d.Structure((d.Enum(9), WRAPPED)),)),
        d.Array((d.Structure((d.Unsigned(0), WRAPPED)),)),
        d.Array((d.Structure((d.Enum(0), b"")), None)),
    ],
)
def test_what_is_no_key_is_refused(value: object) -> None:
    with pytest.raises((MalformedData, TagMismatch)):
        unwrap_keys(xdr.encode(value), MASTER)


@pytest.mark.parametrize(
    ("keys", "master"),
    [({}, MASTER), ({KeyId.MASTER: b"short"}, MASTER), ({KeyId.MASTER: NEW}, b"short")],
)
def test_wrong_sizes_are_told_without_the_key(keys: dict[KeyId, bytes], master: bytes) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        wrap_keys(keys, master)
    assert "short" not in str(caught.value)
