"""Logging: structured lines, for people or for machines, with secrets and phones masked.

Everything that is logged, by this program or by its libraries, passes the same masks: a value
under a secret's name disappears, a phone number keeps its ends, a password inside a URL is
blanked. Masking is the last line of defence: keys have no business in a log call at all.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import Processor

MASK = "***"
DEEPEST = 6  # nesting that is followed; deeper values are masked whole

# Libraries that log each request, job or migration as news; their warnings are kept.
NOISY = ("httpx", "httpcore", "asyncio", "yoyo.migrations", "psycopg.pool", "procrastinate")

# Names of secrets: whole words of a name, so that "monkey" and "break" are no secrets.
_SECRET_WORDS = frozenset(
    {"key", "keys", "password", "passwords", "token", "tokens", "secret", "secrets", "ek", "ak"}
    | {"kek", "authorization", "cookie", "credential", "credentials", "passphrase", "pin", "apikey"}
)
# Names that end in "key" and are no secrets.
_HARMLESS_NAMES = frozenset({"idempotency_key", "entry_key", "primary_key", "key_id"})
_PHONE_NAMES = frozenset({"phone", "mobile", "telephone", "recipient"})
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

# A Chinese mobile number, with or without +86, not inside a longer run of digits (meter numbers
# and OBIS values have 12 digits and more).
_MOBILE = re.compile(r"(?<![\dA-Za-z])(?P<head>(?:\+?86[- ]?)?1[3-9]\d)\d{4}(?P<tail>\d{4})(?!\d)")
_URL_PASSWORD = re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/@]+(?=@)")
_NAMED_SECRET = re.compile(
    r"(?P<head>\b(?:api[_-]?key|password|passwd|pwd|token|secret|ek|ak)\b[\"']?\s*[=:]\s*[\"']?)"
    r"[^\s&\"',;)]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<head>\bBearer\s+)[A-Za-z0-9._~+/=-]+", re.IGNORECASE)


def configure_logging(
    *,
    level: Literal["debug", "info", "warning", "error"] = "info",
    form: Literal["auto", "json", "console"] = "auto",
    stream: TextIO | None = None,
) -> None:
    """Send every log line to ``stream`` (standard error), masked. Safe to call again.

    ``auto`` is for people on a terminal and JSON otherwise. The standard library's loggers come
    out the same way, so that a library cannot bypass the masks.
    """
    output = stream if stream is not None else sys.stderr
    as_json = form == "json" or (form == "auto" and not output.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: list[Processor]
    if as_json:
        renderer = [
            structlog.processors.format_exc_info,
            mask_secrets,
            structlog.processors.JSONRenderer(ensure_ascii=False, default=repr),
        ]
    else:
        # Tracebacks become text before the masks, and without local variables: those hold keys.
        renderer = [
            structlog.processors.format_exc_info,
            mask_secrets,
            structlog.dev.ConsoleRenderer(
                colors=output.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ]
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger of one module."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


def mask_secrets(
    logger: object, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Mask one event, as a structlog processor; names and nesting are kept."""
    return {name: _mask(name, value, 0) for name, value in event.items()}


def mask_text(text: str) -> str:
    """Mask phone numbers, URL passwords and named secrets inside free text."""
    text = _URL_PASSWORD.sub(rf"\g<head>{MASK}", text)
    text = _BEARER.sub(rf"\g<head>{MASK}", text)
    text = _NAMED_SECRET.sub(rf"\g<head>{MASK}", text)
    return _MOBILE.sub(r"\g<head>****\g<tail>", text)


def mask_phone(phone: str) -> str:
    """Keep the first three and last four digits of a phone number; shorter ones vanish."""
    return f"{phone[:-8]}****{phone[-4:]}" if len(phone) >= 11 else MASK


def is_secret_name(name: str) -> bool:
    """Tell whether a value under this name must never be shown."""
    if name.lower() in _HARMLESS_NAMES:
        return False
    words = {word.lower() for word in _WORDS.findall(name)}
    return not words.isdisjoint(_SECRET_WORDS)


def _mask(name: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if is_secret_name(name):
        return MASK
    if isinstance(value, str):
        return mask_phone(value) if name.lower() in _PHONE_NAMES else mask_text(value)
    if isinstance(value, int | float):
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        # Octets may be a key under any name; how many there are is all that a log needs.
        return f"<{len(value)} octets>"
    if depth >= DEEPEST:
        return MASK
    if isinstance(value, Mapping):
        return {key: _mask(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_mask(name, item, depth + 1) for item in value]
    return mask_text(str(value))
