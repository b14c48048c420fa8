"""Secrets of one meter from a file or the environment, for endpoints that hold none themselves.

What the URL says wins over the file, and the file over the environment. A file that others may read
is refused. No secret is ever repeated in a message.
"""

from __future__ import annotations

import json
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headend.configuration import METER_AK_VARIABLE, METER_EK_VARIABLE, METER_PASSWORD_VARIABLE
from headend.domain.errors import BadInput
from headend.ports.inspection import Secrets

# Names in a file, short as in a URL or long, and the field they fill.
_FIELDS = {
    "ek": "encryption_key",
    "encryption_key": "encryption_key",
    "ak": "authentication_key",
    "authentication_key": "authentication_key",
    "password": "password",
}
_HEX_FIELDS = ("encryption_key", "authentication_key")
_HEX_SIZES = (32, 64)  # digits: AES-128 and AES-256
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def gather_secrets(file: Path | None, environment: Mapping[str, str]) -> Secrets:
    """Return what file and environment hold; raises `BadInput` naming the field at fault."""
    found = {
        "encryption_key": environment.get(METER_EK_VARIABLE) or None,
        "authentication_key": environment.get(METER_AK_VARIABLE) or None,
        "password": environment.get(METER_PASSWORD_VARIABLE) or None,
    }
    for name, variable in (
        ("encryption_key", METER_EK_VARIABLE),
        ("authentication_key", METER_AK_VARIABLE),
    ):
        _check_hex(found[name], variable)
    if file is not None:
        found |= _read_file(file)
    return Secrets(**found, explicit=file is not None)


def _read_file(file: Path) -> dict[str, str | None]:
    try:
        mode = file.stat().st_mode
        content = file.read_text(encoding="utf-8")
    except OSError as error:
        raise BadInput(f"--keys: cannot read {file}: {error.strerror}", field="keys") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"--keys: {file} is neither TOML nor JSON", field="keys") from error
    if mode & _OTHERS:
        raise BadInput(
            f"--keys: {file} may be read by others (mode {stat.S_IMODE(mode):04o}): chmod 600 it",
            field="keys",
        )
    return _read_values(file, _parse(file, content))


def _parse(file: Path, content: str) -> Mapping[str, Any]:
    # Neither parser's message is repeated: it may quote a line with a key.
    try:
        document = json.loads(content) if content.lstrip()[:1] == "{" else tomllib.loads(content)
    except ValueError:
        raise BadInput(f"--keys: {file} is neither TOML nor JSON", field="keys") from None
    if not isinstance(document, dict):
        raise BadInput(f"--keys: {file} holds no names and values", field="keys")
    return document


def _read_values(file: Path, document: Mapping[str, Any]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for name, value in document.items():
        field = _FIELDS.get(name)
        if field is None:
            raise BadInput(
                f"--keys: {file} has an unknown name {name!r}; known are {', '.join(_FIELDS)}",
                field="keys",
            )
        if not isinstance(value, str):
            raise BadInput(f"--keys: {name} in {file} is no text", field="keys")
        found[field] = value
        if field in _HEX_FIELDS:
            _check_hex(value, f"{name} in {file}")
    return found


def _check_hex(value: str | None, where: str) -> None:
    if value is None:
        return
    digits = set("0123456789abcdefABCDEF")
    if len(value) not in _HEX_SIZES or not set(value) <= digits:
        raise BadInput(f"{where} is not a key of 32 or 64 hex digits", field="keys")
