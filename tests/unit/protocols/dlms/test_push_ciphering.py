"""Ciphered pushes outside an association, against `cryptography` alone."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headend.domain.errors import LocalProtocolError
from protocols.dlms import push_ciphering as pc
from protocols.dlms.errors import MalformedData
from protocols.dlms.security import GcmKey, SecurityFault, TagMismatch

TITLE = b"SIM\x01\x02\x03\x04\x05"
EK, AK = bytes(range(16)), bytes(range(16, 32))
KEY = GcmKey(EK, AK)
PLAIN = bytes.fromhex("0f000000010006000003b4")


def _reference(control: int, counter: int) -> bytes:
    """The sealed octets as the standard describes them, with the library's own GCM."""
    nonce = TITLE + counter.to_bytes(4, "big")
    return AESGCM(EK).encrypt(nonce, PLAIN, bytes((control,)) + AK)[: len(PLAIN) + 12]


def test_general_glo_is_what_the_library_makes() -> None:
    apdu = pc.seal_general(PLAIN, KEY, title=TITLE, counter=7)
    sealed = _reference(0x30, 7)
    body = b"\x30" + (7).to_bytes(4, "big") + sealed
    assert apdu == b"\xdb\x08" + TITLE + bytes((len(body),)) + body
    assert pc.open_checked(pc.parse_ciphered(apdu), KEY) == PLAIN


@pytest.mark.parametrize("tag", [0xDC, 0xCA, 0xD2, 0x38])
def test_other_forms_are_opened_the_same(tag: int) -> None:
    body = b"\x30" + (9).to_bytes(4, "big") + _reference(0x30, 9)
    head = bytes((tag,)) + (b"\x08" + TITLE if tag == 0xDC else b"")
    ciphered = pc.parse_ciphered(head + bytes((len(body),)) + body)
    assert pc.open_checked(ciphered, KEY, title=TITLE) == PLAIN
    assert ciphered.dedicated == (tag in (0xDC, 0xD2))
    assert ciphered.counter == 9


def test_general_ciphering_with_an_identified_key() -> None:
    body = b"\x30" + (3).to_bytes(4, "big") + _reference(0x30, 3)
    head = b"\xdd\x02\x00\x01\x08" + TITLE + b"\x08RECEIVER\x00\x00\x01\x00\x00"
    ciphered = pc.parse_ciphered(head + bytes((len(body),)) + body)
    assert ciphered.title == TITLE
    assert pc.open_checked(ciphered, KEY) == PLAIN
    with pytest.raises(MalformedData, match="wrapped or agreed key"):
        pc.parse_ciphered(head[:-2] + b"\x01\x00" + bytes((len(body),)) + body)


@pytest.mark.parametrize("control", [0x10, 0x20, 0x30])
def test_protections_are_read_unchecked_and_only_tags_checked(control: int) -> None:
    ciphered = pc.parse_ciphered(
        pc.seal_general(PLAIN, KEY, title=TITLE, counter=1, control=control)
    )
    assert pc.open_unchecked(ciphered, GcmKey(EK, bytes(16))) == PLAIN
    if control == 0x20:
        with pytest.raises(SecurityFault, match="not authenticated"):
            pc.open_checked(ciphered, KEY)
    else:
        assert pc.open_checked(ciphered, KEY) == PLAIN
        with pytest.raises(TagMismatch):
            pc.open_checked(ciphered, GcmKey(EK, bytes(16)))


def test_sender_must_be_known() -> None:
    body = b"\x30" + (9).to_bytes(4, "big") + _reference(0x30, 9)
    ciphered = pc.parse_ciphered(b"\xca" + bytes((len(body),)) + body)
    with pytest.raises(SecurityFault, match="names no sender"):
        pc.open_checked(ciphered, KEY)
    with pytest.raises(LocalProtocolError):
        pc.seal_general(PLAIN, KEY, title=b"short", counter=1)


@pytest.mark.parametrize(
    ("octets", "told"),
    [
        ("", "not a ciphered"),
        ("c0", "not a ciphered"),
        ("db", "cut short"),
        ("db0853494d", "announced"),
        ("db0353494d0630000000" + "0100", "system title of 3"),
        ("ca0430000000", "without its counter"),
        ("ca0530000000" + "01ff", "follow"),
        ("ca05b000000001", "compressed"),
        ("ca053700000001", "suite 7"),
    ],
)
def test_malformed_ciphered_apdus(octets: str, told: str) -> None:
    with pytest.raises(MalformedData, match=told):
        pc.parse_ciphered(bytes.fromhex(octets))
