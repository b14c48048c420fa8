"""What every answer shares: money, instants, pages, bounded text, sentences in two languages.

Money is a decimal string in yuan, energy integer Wh, instants are UTC with ``Z``. Bodies refuse
unknown fields, and text is bounded and free of control characters before any service sees it.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

from headend.domain.money import format_yuan, format_yuan_exact
from rules.reason_texts import REASON_TEXTS
from rules.reasons import RefusalReason

# Business systems plan within this; arithmetic with time zones fails at the ends of the calendar.
_FIRST_YEAR, _LAST_YEAR = 2000, 2199
# [0-9] and not \d, here and below: \d takes in the digits of every script.
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})"
)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2028\u2029]")
INT64_MAX = 2**63 - 1


class RequestBody(BaseModel):
    """A body that a client sends: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Answer(BaseModel):
    """A body that we send."""

    model_config = ConfigDict(frozen=True)


def show_instant(value: datetime) -> str:
    """Show an aware instant as UTC with ``Z``."""
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _read_instant(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or _INSTANT.fullmatch(value) is None:
        raise ValueError("must be an instant with its zone, such as 2026-03-01T08:30:00Z")
    return value


def _in_calendar(value: datetime) -> datetime:
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"must be within the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return value.astimezone(UTC)


def _read_day(value: Any) -> Any:
    if isinstance(value, date):
        return value
    if not isinstance(value, str) or _DAY.fullmatch(value) is None:
        raise ValueError("must be a day such as 2026-03-01")
    return value


def _day_in_calendar(value: date) -> date:
    if not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        raise ValueError(f"must be within the years {_FIRST_YEAR} to {_LAST_YEAR}")
    return value


def _clean(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    if not text.strip():
        raise ValueError("must not be empty")
    return text.strip()


Instant = Annotated[
    datetime,
    BeforeValidator(_read_instant),
    AfterValidator(_in_calendar),
    PlainSerializer(show_instant, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-03-01T08:30:00Z"]}),
]
Day = Annotated[
    date,
    BeforeValidator(_read_day),
    AfterValidator(_day_in_calendar),
    WithJsonSchema({"type": "string", "format": "date", "examples": ["2026-03-01"]}),
]
# Amounts come in as int64 nano and go out as decimal yuan, rounded in the one place that rounds.
Yuan = Annotated[
    int,
    PlainSerializer(format_yuan, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^-?[0-9]+\.[0-9]{2}$",
            "description": "Decimal yuan, rounded to fen.",
            "examples": ["128.50"],
        }
    ),
]
YuanExact = Annotated[
    int,
    PlainSerializer(format_yuan_exact, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": r"^-?[0-9]+\.[0-9]{9}$",
            "description": "Decimal yuan with all nine places, unrounded: these add up.",
            "examples": ["-4.318200000"],
        }
    ),
]
AmountText = Annotated[
    str,
    Field(
        pattern=r"^[0-9]{1,9}(\.[0-9]{1,2})?$",
        description="Decimal yuan with at most two places.",
        examples=["200.00"],
    ),
]
Text = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_clean)]
_NUMBER = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
AccountNo = Annotated[
    str,
    Field(pattern=_NUMBER, description="Account number (户号).", examples=["3301000001"]),
]
UsagePointNo = Annotated[
    str, Field(pattern=_NUMBER, description="Usage point number.", examples=["UP000001"])
]
# Narrower than what is printable: it is part of a path, so no slash, and of no query or header.
ChannelReference = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@+=-]{0,63}$",
        description="The channel's own number of the payment: unique within the channel.",
        examples=["4200002026030112345678"],
    ),
]
ChannelCode = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9_]{0,31}$",
        description="Payment channel: counter, wechat, alipay, bank, or one added by data.",
        examples=["wechat"],
    ),
]
PublicId = Annotated[int, Field(ge=1, le=INT64_MAX)]


class Bilingual(Answer):
    """One sentence in both languages, for the customer or the agent."""

    zh: str
    en: str


class Refusal(Answer):
    """Why something was not done, and who may clear it."""

    code: str = Field(
        description="Stable code; see docs/refusal-reasons.md.", examples=["life_support"]
    )
    sentence: Bilingual
    cleared_by: Bilingual

    @classmethod
    def of(cls, code: str) -> Refusal:
        """Put a stored code into words; one that this release does not know speaks for itself."""
        try:
            text = REASON_TEXTS[RefusalReason(code)]
        except ValueError:
            unknown = Bilingual(zh=code, en=code)
            return cls(code=code, sentence=unknown, cleared_by=Bilingual(zh="", en=""))
        return cls(
            code=code,
            sentence=Bilingual(zh=text.zh, en=text.en),
            cleared_by=Bilingual(zh=text.cleared_by.zh, en=text.cleared_by.en),
        )
