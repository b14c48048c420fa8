"""How personal data is shown in logs and lists: enough to recognise, too little to use."""

from __future__ import annotations

_SHOWN_FIRST = 3
_SHOWN_LAST = 4


def mask_phone(phone: str) -> str:
    """Show ``13812345678`` as ``138****5678``; of short or odd numbers, nothing but stars."""
    if len(phone) < _SHOWN_FIRST + _SHOWN_LAST + 2:
        return "*" * len(phone)
    hidden = len(phone) - _SHOWN_FIRST - _SHOWN_LAST
    return phone[:_SHOWN_FIRST] + "*" * hidden + phone[-_SHOWN_LAST:]
