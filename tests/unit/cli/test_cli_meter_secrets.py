"""Secrets come from a closed file or the environment, and are never repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headend.cli.meter_secrets import gather_secrets
from headend.domain.errors import BadInput
from headend.ports.inspection import Secrets

EK, AK = "00112233445566778899aabbccddeeff", "ffeeddccbbaa99887766554433221100"


def write(folder: Path, content: str, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_text(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    "content",
    [
        f'ek = "{EK}"\nak = "{AK}"\npassword = "pw"\n',
        json.dumps({"encryption_key": EK, "authentication_key": AK, "password": "pw"}),
    ],
    ids=["toml", "json"],
)
def test_a_file_in_either_form(tmp_path: Path, content: str) -> None:
    found = gather_secrets(write(tmp_path, content), {})
    assert found == Secrets(EK, AK, "pw", explicit=True)


def test_the_file_wins_over_the_environment(tmp_path: Path) -> None:
    environment = {"HEADEND_METER_EK": AK, "HEADEND_METER_PASSWORD": "from outside"}
    found = gather_secrets(write(tmp_path, f'ek = "{EK}"'), environment)
    assert found == Secrets(EK, None, "from outside", explicit=True)
    assert gather_secrets(None, environment) == Secrets(AK, None, "from outside")


def test_secrets_do_not_show(tmp_path: Path) -> None:
    assert EK not in repr(gather_secrets(write(tmp_path, f'ek = "{EK}"'), {}))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(BadInput, match="chmod 600"):
        gather_secrets(write(tmp_path, f'ek = "{EK}"', mode), {})


@pytest.mark.parametrize(
    "content",
    [
        f'ek = "{EK}"\nak = {AK}',
        f'{{"ek": "{EK}",}}',
        f'key = "{EK}"',
        f'ek = "{EK}00"',
        f'ek = ["{EK}"]',
        f"[[{EK}",
    ],
)
def test_wrong_files_are_refused_without_repeating_them(tmp_path: Path, content: str) -> None:
    with pytest.raises(BadInput) as caught:
        gather_secrets(write(tmp_path, content), {})
    assert EK not in str(caught.value)
    assert AK not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read"):
        gather_secrets(tmp_path / "none", {})


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(BadInput, match="HEADEND_METER_AK is not a key"):
        gather_secrets(None, {"HEADEND_METER_AK": "12"})
