"""JSON whose decimals keep every digit: a float would silently round what a meter said."""

from __future__ import annotations

import json
import re
import secrets
from datetime import datetime
from decimal import Decimal
from typing import Any


def to_json(document: Any, *, indent: int | None = 2) -> str:
    """Return a document as JSON; a `Decimal` becomes a number with all its digits."""
    # json knows no decimals: each is written as a marked text, whose quotes are then taken off.
    # The mark is drawn anew, so that no text from a meter can look like one.
    mark = secrets.token_hex(8)

    def encode(value: object) -> object:
        if isinstance(value, Decimal):
            return f"{mark}:{plain(value)}" if value.is_finite() else None
        if isinstance(value, datetime):
            return value.isoformat()
        return str(value)

    text = json.dumps(document, ensure_ascii=False, indent=indent, default=encode)
    return re.sub(rf'"{mark}:([^"]*)"', r"\1", text)


def plain(value: Decimal) -> str:
    """Return a decimal in digits without exponent."""
    return format(value, "f")
