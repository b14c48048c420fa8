"""The facts a decision table may test: name, unit, kind, meaning; and their columnar form.

A fact's name carries its unit as policy staff read it (``balance_yuan``); the column behind it is
an integer array in the unit of storage (``balance_nano``), and ``scale`` says how many of the
column's units make one of the table's. Literals are scaled exactly when a table is compiled, so
that no float ever decides anything.

A column is ``values: (account,)`` with ``known: (account,) bool``; values under a False mask mean
nothing. Text columns hold the position of the value in `FactSpec.values`; dates hold days since
1970-01-01; booleans hold bool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.errors import BadInput
from headend.domain.money import NANO_PER_YUAN

BoolArray: TypeAlias = npt.NDArray[np.bool_]

_EPOCH = date(1970, 1, 1)
# Beyond any balance, and far enough from the ends of int64 that they can mean infinity.
_LIMIT = 2**62


class FactKind(StrEnum):
    """What a fact's values are, and so which tests a cell may make of it."""

    NUMBER = "number"
    TEXT = "text"
    BOOLEAN = "boolean"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class FactSpec:
    """One fact.

    ``unit`` is told in the heading of a table's column, in brackets; None for what has no unit.
    ``money``: +1 where more is better for the customer, -1 where less is, 0 where it is no money.
    """

    name: str
    column: str
    kind: FactKind
    meaning: str
    unit: str | None = None
    scale: int = 1
    money: int = 0
    values: tuple[str, ...] = ()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the column behind the fact."""
        return np.dtype(
            {
                FactKind.NUMBER: np.int64,
                FactKind.TEXT: np.int16,
                FactKind.BOOLEAN: np.bool_,
                FactKind.DATE: np.int32,
            }[self.kind]
        )


@dataclass(frozen=True, slots=True)
class FactColumn:
    """One fact of many accounts. ``known`` None: every value is known."""

    values: npt.NDArray[Any]
    known: BoolArray | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or (
            self.known is not None and self.known.shape != self.values.shape
        ):
            raise BadInput("a fact column and its mask are one-dimensional alike", field="known")


FactColumns: TypeAlias = Mapping[str, FactColumn]


def _number(name: str, unit: str, meaning: str, *, money: int = 0) -> FactSpec:
    return FactSpec(name, name, FactKind.NUMBER, meaning, unit=unit, money=money)


def _money(stem: str, meaning: str, *, money: int) -> FactSpec:
    return FactSpec(
        f"{stem}_yuan",
        f"{stem}_nano",
        FactKind.NUMBER,
        meaning,
        unit="yuan",
        scale=NANO_PER_YUAN,
        money=money,
    )


def _text(name: str, values: tuple[str, ...], meaning: str) -> FactSpec:
    return FactSpec(name, name, FactKind.TEXT, meaning, values=values)


def _flag(name: str, meaning: str) -> FactSpec:
    return FactSpec(name, name, FactKind.BOOLEAN, meaning)


CUSTOMER_CLASSES = ("residential", "commercial", "industrial", "agricultural", "public")
PAYMENT_MODES = ("prepaid", "postpaid")

_SPECS: tuple[FactSpec, ...] = (
    _text("customer_class", CUSTOMER_CLASSES, "class of the customer"),
    _text("payment_mode", PAYMENT_MODES, "how the account pays"),
    _flag("supply_off", "whether the supply is off for arrears"),
    _money("balance", "what the account has left, negative when it owes", money=1),
    _money("credit_limit", "how far the account may go below zero", money=1),
    _money("undisputed_debt", "overdue debt that nobody disputes", money=-1),
    _number("credit_days_left", "days", "days the balance lasts at recent use", money=1),
    _number("days_overdue", "days", "days since the oldest undisputed bill was due"),
    _number("notice_age_hours", "hours", "hours since the disconnect notice was delivered"),
    _text(
        "notice_stage",
        ("none", "low_balance", "arrears", "disconnect_notice", "reminder", "disconnected"),
        "last notice delivered in the running cycle",
    ),
    _text("credit_rating", ("A", "B", "C", "D"), "payment behaviour, A best"),
    _text("data_quality", ("actual", "estimated", "missing"), "what the balance rests on"),
    _flag("payment_pending", "whether a payment is on its way within its channel's limit"),
    _number("local_hour", "hours", "hour of the local day, 0 to 23"),
    _number("day_of_month", "days", "local day of the month, 1 to 31"),
    _text("day_type", ("workday", "weekend", "holiday"), "type of the local day"),
    FactSpec("business_date", "business_date", FactKind.DATE, "local date of the decision"),
    FactSpec(
        "temperature_c",
        "temperature_millidegree",
        FactKind.NUMBER,
        "forecast air temperature of the local day",
        unit="degC",
        scale=1000,
    ),
    _number("meter_silent_hours", "hours", "hours since the meter was last heard"),
)

FACTS: dict[str, FactSpec] = {spec.name: spec for spec in _SPECS}


def encode_value(spec: FactSpec, value: object) -> int | bool:
    """Return a fact's value as its column holds it.

    ``value`` is in the table's unit (yuan as Decimal or int, never float). Raises `BadInput` for a
    value of another kind, outside the fact's list, or finer than the column's unit.
    """
    if spec.kind is FactKind.BOOLEAN and isinstance(value, bool):
        return value
    if spec.kind is FactKind.DATE and isinstance(value, date):
        return (value - _EPOCH).days
    if spec.kind is FactKind.TEXT and isinstance(value, str):
        if value not in spec.values:
            raise BadInput(
                f"{value!r} is no value of {spec.name}; known are {', '.join(spec.values)}",
                field=spec.name,
            )
        return spec.values.index(value)
    if (
        spec.kind is FactKind.NUMBER
        and isinstance(value, int | Decimal)
        and not isinstance(value, bool)
    ):
        return _scale(spec, value)
    raise BadInput(f"{value!r} is no {spec.kind} for {spec.name}", field=spec.name)


def _scale(spec: FactSpec, value: int | Decimal) -> int:
    # Fractions, because Decimal arithmetic rounds to its context's precision without a word.
    if isinstance(value, Decimal) and not value.is_finite():
        raise BadInput(f"{value} is no number for {spec.name}", field=spec.name)
    if not -_LIMIT < value < _LIMIT:
        raise BadInput(f"{value} is beyond what {spec.name} can hold", field=spec.name)
    scaled = Fraction(value) * spec.scale
    if scaled.denominator != 1:
        raise BadInput(f"{value} is finer than {spec.name} can hold", field=spec.name)
    if not -_LIMIT < scaled < _LIMIT:
        raise BadInput(f"{value} is beyond what {spec.name} can hold", field=spec.name)
    return int(scaled)


def columns_of(rows: Sequence[Mapping[str, object]], names: Sequence[str]) -> FactColumns:
    """Build the columns of the named facts from one mapping per account.

    For the few accounts a payment re-decides; a fleet is loaded in columns. A fact absent or None
    is unknown. Keys are fact names, values in the table's units.
    """
    columns: dict[str, FactColumn] = {}
    for name in names:
        spec = FACTS[name]
        values = np.zeros(len(rows), dtype=spec.dtype)
        known = np.zeros(len(rows), dtype=np.bool_)
        for index, row in enumerate(rows):
            value = row.get(name)
            if value is not None:
                values[index], known[index] = encode_value(spec, value), True
        columns[spec.column] = FactColumn(values, known)
    return columns
