"""The API's key where the configuration names none: made once, kept in the state folder.

Only for a listener on loopback; the configuration refuses any other without a key of its own.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from pydantic import SecretStr

from headend.configuration import Settings, prepare_state_dir
from headend.domain.errors import ConfigurationError
from headend.store.embedded_state import write_secret

API_KEY_FILE = "api-key"
_RANDOM_OCTETS = 24


def with_api_key(settings: Settings) -> Settings:
    """Return settings that have an API key: the configured one, or the state folder's.

    Raises `ConfigurationError` naming the file when it cannot be read.
    """
    if settings.api_key is not None:
        return settings
    path = api_key_path(settings)
    try:
        if not path.exists():
            prepare_state_dir(settings.state_dir)
            write_secret(path, secrets.token_urlsafe(_RANDOM_OCTETS) + "\n")
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the API key in {path} cannot be read or made: run as the folder's owner, or set"
            " HEADEND_API_KEY"
        ) from error
    return settings.model_copy(update={"api_key": SecretStr(key)})


def api_key_path(settings: Settings) -> Path:
    """Return the file that holds the key when the configuration names none."""
    return settings.state_dir / API_KEY_FILE
