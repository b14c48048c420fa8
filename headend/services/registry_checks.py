"""What a registry row must satisfy by itself, before the database sees it.

Pure; one problem a row, the first found, naming the field and the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from headend.ports.registry import RowProblem

AUTHENTICATIONS = ("none", "lls", "md5", "sha1", "gmac", "sha256")
PAYMENT_MODES = ("prepaid", "postpaid")
AES_KEY_KINDS = ("encryption", "authentication", "master")
KEY_KINDS = (*AES_KEY_KINDS, "password")
AES_KEY_OCTETS = (16, 24, 32)
SYSTEM_TITLE_OCTETS = 8

Check = Callable[[Any], bool]


def check_rows(section: str, rows: Sequence[object]) -> list[RowProblem]:
    """Return the first problem of each row that has one."""
    checks = _CHECKS.get(section, ())
    problems: list[RowProblem] = []
    for number, row in enumerate(rows):
        for name, is_right, wanted in checks:
            value = getattr(row, name)
            if not is_right(value):
                problems.append(RowProblem(number, name, f"{value!r} is not {wanted}"))
                break
    return problems


def check_key(kind: str, key: bytes) -> str | None:
    """Say what is wrong with a key, without showing it."""
    if kind not in KEY_KINDS:
        return f"{kind!r} is not one of {', '.join(KEY_KINDS)}"
    if kind in AES_KEY_KINDS and len(key) not in AES_KEY_OCTETS:
        return f"the {kind} key has {len(key)} octets, not 16, 24 or 32"
    if not 1 <= len(key) <= 255:
        return f"the {kind} has {len(key)} octets, not 1 to 255"
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0


def _is_not_negative(value: object) -> bool:
    return isinstance(value, int) and value >= 0


@lru_cache(maxsize=1024)
def _is_zone(value: str) -> bool:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        return False
    return True


def _is_title(value: bytes | None) -> bool:
    return value is None or len(value) == SYSTEM_TITLE_OCTETS


def _is_aware(value: Any) -> bool:
    return value is None or value.tzinfo is not None


def _text(name: str) -> tuple[str, Check, str]:
    return (name, _is_text, "a text")


def _aware(name: str) -> tuple[str, Check, str]:
    return (name, _is_aware, "an instant with its offset from UTC")


_CHECKS: dict[str, tuple[tuple[str, Check, str], ...]] = {
    "areas": (_text("area_code"), _text("name")),
    "transformer_areas": (_text("transformer_area_code"), _text("name")),
    "usage_points": (
        _text("usage_point_no"),
        _text("address"),
        ("time_zone", _is_zone, "a time zone such as Asia/Shanghai"),
        ("expected_load_w", _is_not_negative, "a load in W, 0 or more"),
    ),
    "concentrators": (_text("concentrator_no"), _text("endpoint")),
    "meters": (
        _text("meter_no"),
        _text("endpoint"),
        _text("logical_device_name"),
        _text("serial"),
        ("link_address", _is_not_negative, "an address, 0 or more"),
        ("authentication", AUTHENTICATIONS.__contains__, f"one of {', '.join(AUTHENTICATIONS)}"),
        ("maximum_current_a", _is_count, "a current in A above 0"),
        ("system_title", _is_title, "a system title of 8 octets"),
    ),
    "installations": (
        _aware("valid_from"),
        _aware("link_confirmed_at"),
        ("multiplier", _is_count, "a multiplier, 1 or more"),
    ),
    "accounts": (
        _text("account_no"),
        _aware("created_at"),
        _aware("agreement_signed_at"),
        _aware("standing_close_consent_at"),
        ("payment_mode", PAYMENT_MODES.__contains__, f"one of {', '.join(PAYMENT_MODES)}"),
        ("emergency_credit_nano", _is_not_negative, "an amount, 0 or more"),
    ),
}
