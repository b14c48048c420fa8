"""Meter keys at rest: wrapped, never shown, useless under another key-encryption key."""

from __future__ import annotations

import copy
import pickle
import stat
from pathlib import Path

import pytest

from headend.domain.errors import ConfigurationError, InvariantViolated
from headend.store.keys import KeyVault, open_demo_vault, open_vault

KEK = bytes.fromhex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F")


def test_a_known_answer_of_rfc_3394() -> None:
    # RFC 3394 section 4.6: 256 bits of key data under a 256-bit key-encryption key.
    key = bytes.fromhex("00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F")
    wrapped = bytes.fromhex(
        "28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21"
    )
    vault = KeyVault(KEK)
    assert vault.wrap(key) == wrapped
    assert vault.unwrap(wrapped) == key


@pytest.mark.parametrize("secret", [b"1", b"12345678", bytes(range(200))])
def test_passwords_of_any_length_come_back(secret: bytes) -> None:
    vault = KeyVault(KEK)
    assert secret not in vault.wrap_secret(secret)
    assert vault.unwrap_secret(vault.wrap_secret(secret)) == secret


def test_another_vault_or_a_changed_octet_is_refused_with_the_way_out() -> None:
    vault = KeyVault(KEK)
    wrapped = vault.wrap(bytes(16))
    changed = bytes([wrapped[0] ^ 1]) + wrapped[1:]
    for opener, octets in ((KeyVault(KEK[::-1]), wrapped), (vault, changed), (vault, b"short")):
        with pytest.raises(ConfigurationError, match="another key-encryption key"):
            opener.unwrap(octets)
        with pytest.raises(ConfigurationError, match="another key-encryption key"):
            opener.unwrap_secret(octets)


@pytest.mark.parametrize("length", [0, 8, 15, 17, 33])
def test_only_aes_keys_are_wrapped_as_keys(length: int) -> None:
    with pytest.raises(InvariantViolated):
        KeyVault(KEK).wrap(bytes(length))


@pytest.mark.parametrize("length", [0, 256])
def test_secrets_have_a_limited_length(length: int) -> None:
    with pytest.raises(InvariantViolated):
        KeyVault(KEK).wrap_secret(bytes(length))


def test_the_key_encryption_key_cannot_be_seen_or_copied() -> None:
    vault = KeyVault(KEK)
    assert KEK.hex() not in repr(vault)
    assert vault.fingerprint in repr(vault)
    with pytest.raises(TypeError):
        pickle.dumps(vault)
    with pytest.raises(TypeError):
        copy.copy(vault)


def test_the_demo_makes_its_key_once_and_for_itself_alone(tmp_path: Path) -> None:
    first = open_demo_vault(tmp_path / "state")
    file = tmp_path / "state" / "key-encryption-key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert open_demo_vault(tmp_path / "state").unwrap(first.wrap(bytes(16))) == bytes(16)


def test_a_named_key_opens_the_same_vault_as_text_and_as_file(tmp_path: Path) -> None:
    file = tmp_path / "kek"
    file.write_text(KEK.hex() + "\n", encoding="ascii")
    file.chmod(0o600)
    wrapped = open_vault(key_text=KEK.hex()).wrap(bytes(16))
    assert open_vault(key_file=file).unwrap(wrapped) == bytes(16)


def test_a_key_file_open_to_others_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kek"
    file.write_text(KEK.hex(), encoding="ascii")
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        open_vault(key_file=file)


@pytest.mark.parametrize("text", ["", "abcd", "not hex at all", KEK.hex()[:-2]])
def test_a_malformed_key_is_refused_without_showing_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "kek"
    file.write_text(text, encoding="ascii")
    file.chmod(0o600)
    for error in (
        pytest.raises(ConfigurationError, match="64 hex digits"),
        pytest.raises(ConfigurationError, match="64 hex digits"),
    ):
        with error as caught:
            open_vault(key_file=file)
        assert not text or text not in str(caught.value)


def test_without_any_key_nothing_is_stored() -> None:
    with pytest.raises(ConfigurationError, match="HEADEND_KEY_ENCRYPTION_KEY_FILE"):
        open_vault()


def test_a_missing_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        open_vault(key_file=tmp_path / "absent")
