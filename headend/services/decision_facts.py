"""From stored facts to the columns that decision tables test, and back to a record to keep.

Knows which fact this release can tell and which it cannot: what is not gathered here (credit
rating, temperature, undisputed debt and days overdue of postpaid accounts, days of credit left) is
unknown, and a table that asks for it gets no match on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from headend.ports.policies import FactBatch
from rules.facts import FACTS, FactColumn, FactColumns, FactKind, FactSpec

_HOUR = timedelta(hours=1)
_STAGES_THAT_COUNT = ("low_balance", "arrears", "disconnect_notice", "reminder")
_EPOCH = date(1970, 1, 1)


def build_columns(batch: FactBatch, names: Sequence[str], *, at: datetime) -> FactColumns:
    """Build the columns of the named facts, one row per row of ``batch``.

    ``at`` is the instant of the decision: ages count to it, and its local time is each usage
    point's own. A fact without a value, or outside its list of values, is unknown.
    """
    return {FACTS[name].column: _column(FACTS[name], batch, at) for name in names}


def _column(spec: FactSpec, batch: FactBatch, at: datetime) -> FactColumn:
    gather = _GATHER.get(spec.name)
    if gather is None:
        return FactColumn(np.zeros(len(batch), spec.dtype), np.zeros(len(batch), np.bool_))
    raw = gather(batch.columns, at)
    if spec.kind is FactKind.TEXT:
        codes = {value: code for code, value in enumerate(spec.values)}
        raw = [codes.get(value) for value in raw]
    known = np.fromiter((value is not None for value in raw), np.bool_, len(raw))
    values = np.fromiter((0 if value is None else value for value in raw), spec.dtype, len(raw))
    return FactColumn(values, known)


Gather = Callable[[Mapping[str, Sequence[Any]], datetime], Sequence[Any]]


def _stored(name: str) -> Gather:
    return lambda columns, at: columns[name]


def _supply_off(columns: Mapping[str, Sequence[Any]], at: datetime) -> Sequence[Any]:
    # A disconnect on its way counts as off: money must be able to call it back.
    return [
        restrained or cutting == "in_flight"
        for restrained, cutting in zip(
            columns["arrears_restraint"], columns["open_disconnect"], strict=True
        )
    ]


def _notice_stage(columns: Mapping[str, Sequence[Any]], at: datetime) -> Sequence[Any]:
    return [
        _last_stage(names, delivered)
        for names, delivered in zip(
            columns["stage_names"], columns["stage_delivered_at"], strict=True
        )
    ]


def _last_stage(names: Sequence[str], delivered: Sequence[datetime | None]) -> str:
    reached = {name for name, when in zip(names, delivered, strict=True) if when is not None}
    return next((stage for stage in reversed(_STAGES_THAT_COUNT) if stage in reached), "none")


def _notice_age_hours(columns: Mapping[str, Sequence[Any]], at: datetime) -> Sequence[Any]:
    ages: list[int | None] = []
    for names, delivered in zip(columns["stage_names"], columns["stage_delivered_at"], strict=True):
        when = dict(zip(names, delivered, strict=True)).get("disconnect_notice")
        ages.append(None if when is None else (at - when) // _HOUR)
    return ages


def _data_quality(columns: Mapping[str, Sequence[Any]], at: datetime) -> Sequence[Any]:
    return [
        "missing" if balance is None or through is None else "estimated" if estimated else "actual"
        for balance, estimated, through in zip(
            columns["balance_nano"],
            columns["estimated_nano"],
            columns["actual_through"],
            strict=True,
        )
    ]


def _silent_hours(columns: Mapping[str, Sequence[Any]], at: datetime) -> Sequence[Any]:
    return [
        None if heard is None else max(0, (at - heard) // _HOUR)
        for heard in columns["meter_last_heard_at"]
    ]


def _local(part: Callable[[datetime], Any]) -> Gather:
    def gather(columns: Mapping[str, Sequence[Any]], at: datetime) -> Sequence[Any]:
        by_zone = {zone: part(at.astimezone(ZoneInfo(zone))) for zone in set(columns["time_zone"])}
        return [by_zone[zone] for zone in columns["time_zone"]]

    return gather


_GATHER: dict[str, Gather] = {
    "customer_class": _stored("customer_class"),
    "payment_mode": _stored("payment_mode"),
    "supply_off": _supply_off,
    "balance_yuan": _stored("balance_nano"),
    "credit_limit_yuan": _stored("emergency_credit_nano"),
    "notice_age_hours": _notice_age_hours,
    "notice_stage": _notice_stage,
    "data_quality": _data_quality,
    "payment_pending": _stored("payment_pending"),
    "local_hour": _local(lambda local: local.hour),
    "day_of_month": _local(lambda local: local.day),
    "business_date": _local(lambda local: (local.date() - _EPOCH).days),
    "meter_silent_hours": _silent_hours,
}


def show_facts(columns: FactColumns, names: Sequence[str], index: int) -> dict[str, Any]:
    """Return one row's facts as plain JSON values under the column's name, None for unknown.

    Numbers stay integers of the column's unit, so that a stored decision can be replayed exactly.
    """
    shown: dict[str, Any] = {}
    for name in names:
        spec = FACTS[name]
        column = columns[spec.column]
        if column.known is not None and not column.known[index]:
            shown[spec.column] = None
        elif spec.kind is FactKind.TEXT:
            shown[spec.column] = spec.values[int(column.values[index])]
        elif spec.kind is FactKind.BOOLEAN:
            shown[spec.column] = bool(column.values[index])
        else:
            shown[spec.column] = int(column.values[index])
    return shown


def columns_of_record(facts: Mapping[str, Any], names: Sequence[str]) -> FactColumns:
    """Build one-row columns from what `show_facts` stored, to replay a decision."""
    columns: dict[str, FactColumn] = {}
    for name in names:
        spec = FACTS[name]
        value = facts.get(spec.column)
        if value is not None and spec.kind is FactKind.TEXT:
            value = spec.values.index(value) if value in spec.values else None
        columns[spec.column] = FactColumn(
            np.array([0 if value is None else value], dtype=spec.dtype),
            np.array([value is not None]),
        )
    return columns
