"""The deployment's configuration: HEADEND_* variables over a TOML file over defaults.

Knows every setting, its unit and its bounds, and where it came from, so that a wrong one is named
together with its file or variable. Values that protect people (the floors) can be tightened by a
policy, never loosened. It opens no connection and reads no key.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from headend.domain.errors import BadInput, ConfigurationError
from rules.floors import Floors, parse_floors

PREFIX = "HEADEND_"
CONFIG_VARIABLE = "HEADEND_CONFIG"
DEFAULT_FILE = "headend.toml"
# Variables of ours that are not settings.
METER_EK_VARIABLE = "HEADEND_METER_EK"
METER_AK_VARIABLE = "HEADEND_METER_AK"
METER_PASSWORD_VARIABLE = "HEADEND_METER_PASSWORD"  # noqa: S105  (a variable's name)
OTHER_VARIABLES = frozenset(
    {CONFIG_VARIABLE, METER_EK_VARIABLE, METER_AK_VARIABLE, METER_PASSWORD_VARIABLE}
)
_PATHS = ("state_dir", "key_encryption_key_file")


def _read_floors(value: Any) -> Floors:
    if isinstance(value, Floors):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("floors must be a table of limits")
    try:
        return parse_floors(value)
    except BadInput as error:
        raise ValueError(str(error)) from error


class GovernorLimits(BaseModel):
    """How many disconnects may happen; above a limit orders wait for two people's release."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_hour: int = Field(default=200, ge=0)
    per_caller_hour: int = Field(default=50, ge=0)
    per_area_hour: int = Field(default=20, ge=0)
    estimated_kw_hour: int = Field(default=2_000, ge=0)
    safety_per_hour: int = Field(default=10, ge=0)


class Settings(BaseSettings):
    """Every setting of one deployment. Secrets do not show in ``repr``."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    database_url: SecretStr | None = None  # None: the embedded database
    database_pool_size: int = Field(default=10, ge=1, le=200)
    statement_timeout_s: float = Field(default=30, gt=0, le=3600)
    state_dir: Path = Field(default_factory=lambda: default_state_dir())
    api_host: str = "127.0.0.1"
    api_port: int = Field(default=8080, ge=1, le=65535)
    api_key: SecretStr | None = None
    push_host: str = "127.0.0.1"
    push_port: int | None = Field(default=None, ge=1, le=65535)  # None: nobody listens
    key_encryption_key: SecretStr | None = None  # 32 octets as hex
    key_encryption_key_file: Path | None = None
    meter_answer_timeout_s: float = Field(default=5, gt=0, le=120)
    dlms_legacy_authentication: bool = False  # MD5 and SHA-1, for the meters that name them
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "console"] = "auto"
    floors: Annotated[InstanceOf[Floors], BeforeValidator(_read_floors)] = Floors()
    governor: GovernorLimits = GovernorLimits()

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.database_url is not None:
            _check_database_url(self.database_url.get_secret_value())
        if self.api_key is not None and len(self.api_key.get_secret_value()) < 8:
            raise ValueError("api_key needs at least 8 characters")
        if not is_loopback(self.api_host) and self.api_key is None:
            raise ValueError(
                f"api_host {self.api_host} is reachable from other machines but api_key is not"
                " set: set api_key, or use 127.0.0.1"
            )
        if self.key_encryption_key is not None and self.key_encryption_key_file is not None:
            raise ValueError("set key_encryption_key or key_encryption_key_file, not both")
        return self


def load_settings(file: Path | None = None, **overrides: Any) -> Settings:
    """Read the configuration; ``overrides`` (from command-line options) win over everything.

    ``file``, else HEADEND_CONFIG, must exist when named; ``headend.toml`` in the current folder is
    read when it is there. Raises `ConfigurationError`: one sentence with source, key and way out.
    """
    path = _find_file(file)
    values = _read_toml(path) if path is not None else {}
    _refuse_unknown_variables(os.environ)

    class _Loaded(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            from_file = InitSettingsSource(settings_cls, init_kwargs=values)
            return init_settings, env_settings, from_file

    try:
        loaded = _Loaded(**overrides)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path, overrides)) from None
    except ValueError as error:  # pydantic-settings: a nested variable that is not JSON
        raise ConfigurationError(f"a {PREFIX}* variable cannot be read: {error}") from None
    return loaded


def default_state_dir() -> Path:
    """Return ``.state`` beside the checkout, or the account's state folder when installed."""
    root = Path(__file__).resolve().parent.parent
    if (root / "pyproject.toml").exists():
        return root / ".state"
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "ami-headend"


def prepare_state_dir(state_dir: Path) -> Path:
    """Create the state folder where missing, closed to others; return it.

    For root it can be passed through (0711), not listed: the account that the embedded database
    runs as has its cluster inside. Every secret in it is a file of mode 0600.
    """
    if state_dir.is_dir():
        return state_dir
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            state_dir.chmod(0o711)
    except OSError as error:
        raise ConfigurationError(
            f"cannot make the state folder {state_dir} ({error.strerror}): set HEADEND_STATE_DIR"
            " to a folder that you may write"
        ) from error
    return state_dir


def is_loopback(name: str) -> bool:
    """Tell whether a listener on this address is reachable from this machine only."""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _find_file(file: Path | None) -> Path | None:
    named = file or (Path(value) if (value := os.environ.get(CONFIG_VARIABLE)) else None)
    if named is not None:
        if not named.is_file():
            source = "" if file else f" ({CONFIG_VARIABLE})"
            raise ConfigurationError(
                f"the configuration file {named}{source} does not exist: correct the path or"
                " leave it away"
            )
        return named
    usual = Path(DEFAULT_FILE)
    return usual if usual.is_file() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"the configuration file {path} cannot be read: {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the configuration file {path} is not TOML: {error}") from error
    for key in _PATHS:
        # A path in a file means relative to that file, wherever the program is started.
        if isinstance(values.get(key), str):
            values[key] = str(path.resolve().parent / values[key])
    return values


def _known_variables() -> set[str]:
    known = set(OTHER_VARIABLES)
    for name, field in Settings.model_fields.items():
        known.add(PREFIX + name.upper())
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            for part in field.annotation.model_fields:
                known.add(f"{PREFIX}{name}__{part}".upper())
    return known


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    """A mistyped variable would silently leave a default in force; refuse it."""
    known = _known_variables()
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "see docs/configuration.md"
            raise ConfigurationError(f"the variable {name} is not a setting: {hint}")


def _explain(error: ValidationError, path: Path | None, overrides: Mapping[str, Any]) -> str:
    """Say which source holds the first wrong value. Values are not shown: they may be secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    keys = [str(part) for part in first["loc"]]
    message = first["msg"].removeprefix("Value error, ")
    more = error.error_count() - 1
    tail = f" (and {more} more)" if more else ""
    source = "the configuration" if path is None else f"the configuration file {path}"
    if not keys:
        where = f" (from {path} and {PREFIX}* variables)" if path is not None else ""
        return f"{message}{where}{tail}"
    dotted = ".".join(keys)
    if first["type"] == "extra_forbidden":
        names = list(Settings.model_fields)
        if keys[0] == "governor":
            names = list(GovernorLimits.model_fields)
        near = difflib.get_close_matches(keys[-1], names, n=1)
        hint = f"did you mean {near[0]}?" if near else "see docs/configuration.md"
        return f"{source} has an unknown key {dotted}: {hint}{tail}"
    variable = PREFIX + "__".join(keys).upper()
    if keys[0] in overrides:
        source = "the command line"
    elif variable in os.environ:
        source = f"the variable {variable}"
    return f"{source} has a wrong {dotted}: {message}{tail}"


def _check_database_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or not url.startswith(("postgresql://", "postgres://")):
        raise ValueError(
            "database_url must look like postgresql://user:password@host:5432/name; leave it away"
            " for the embedded database"
        )
