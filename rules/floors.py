"""Floors: the deployment's own limits on disconnection, which a policy may only tighten.

The values below are defaults in the shape of the design document (residential notice 7 days, never
less than 3; cut only in the local daytime; paid by 20:00 means back the same day). They are
examples to verify against the law of the place, and a deployment states its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, time, timedelta
from typing import Any

from headend.domain.errors import BadInput
from rules.moratorium import DailyWindow

_DEFAULT_WINDOW = DailyWindow(time(8), time(18))


@dataclass(frozen=True, slots=True)
class Floors:
    """The limits that the guard applies. Immutable; `tighten` makes the policy's own.

    ``notice_time`` maps a customer class to its shortest waiting time from proven delivery; a
    class not listed, or unknown, gets the longest of ``notice_time`` and ``other_notice_time``
    when unknown, ``other_notice_time`` when merely unlisted.
    """

    notice_time: Mapping[str, timedelta] = field(
        default_factory=lambda: {"residential": timedelta(days=7)}
    )
    other_notice_time: timedelta = timedelta(days=3)
    window: DailyWindow = _DEFAULT_WINDOW
    time_to_pay: timedelta = timedelta(hours=2)  # between the cut and `same_day_until`
    same_day_until: time = time(20)  # paid before it: back on the same day
    maximum_data_age: timedelta = timedelta(hours=48)
    meter_heard_within: timedelta = timedelta(hours=24)
    maximum_tolerance: timedelta = timedelta(hours=24)
    reminder_lead: timedelta = timedelta(minutes=30)  # zero: no reminder is required
    overdue_days: int = 30  # postpaid: the debt must be more than this overdue

    def __post_init__(self) -> None:
        for name in _DURATIONS:
            if getattr(self, name) < timedelta(0):
                raise BadInput(f"{name} cannot be negative", field=name)
        for customer_class, waiting in self.notice_time.items():
            if waiting < timedelta(0):
                raise BadInput(
                    f"the notice time of class {customer_class} cannot be negative",
                    field=f"notice_time.{customer_class}",
                )

    def notice_time_of(self, customer_class: str | None) -> timedelta:
        """Return the shortest waiting time of a class; the longest of all when it is unknown."""
        if customer_class is None:
            return max([self.other_notice_time, *self.notice_time.values()])
        return self.notice_time.get(customer_class, self.other_notice_time)


_DURATIONS = (
    "other_notice_time",
    "time_to_pay",
    "maximum_data_age",
    "meter_heard_within",
    "maximum_tolerance",
    "reminder_lead",
)


@dataclass(frozen=True, slots=True)
class PolicyLimits:
    """What a policy asks for in place of the floors; None leaves the floor."""

    notice_time: Mapping[str, timedelta] = field(default_factory=dict)
    other_notice_time: timedelta | None = None
    window: DailyWindow | None = None
    time_to_pay: timedelta | None = None
    same_day_until: time | None = None
    maximum_data_age: timedelta | None = None
    meter_heard_within: timedelta | None = None
    maximum_tolerance: timedelta | None = None
    reminder_lead: timedelta | None = None
    overdue_days: int | None = None


# A larger value of these protects the customer more; of the others a smaller one does.
_MORE_IS_TIGHTER = ("other_notice_time", "time_to_pay", "reminder_lead", "overdue_days")
_LESS_IS_TIGHTER = (
    "same_day_until",
    "maximum_data_age",
    "meter_heard_within",
    "maximum_tolerance",
)


def tighten(floors: Floors, policy: PolicyLimits) -> Floors:
    """Return the floors with the policy's limits in their place.

    Raises `BadInput` naming the first field in which the policy is looser than the floor; nothing
    is clipped silently, because the policy's author must know.
    """
    changes: dict[str, Any] = {}
    for name in _MORE_IS_TIGHTER + _LESS_IS_TIGHTER:
        asked = getattr(policy, name)
        if asked is None:
            continue
        floor = getattr(floors, name)
        if asked < floor if name in _MORE_IS_TIGHTER else asked > floor:
            raise _looser(name, asked, floor)
        changes[name] = asked
    if policy.window is not None:
        if not policy.window.within(floors.window):
            raise _looser("window", policy.window, floors.window)
        changes["window"] = policy.window
    changes["notice_time"] = _tighten_notice_time(floors, policy)
    return replace(floors, **changes)


def _tighten_notice_time(floors: Floors, policy: PolicyLimits) -> dict[str, timedelta]:
    # A class unlisted by the floors follows the policy's general time when that is longer.
    tightened = dict(floors.notice_time)
    for customer_class, asked in policy.notice_time.items():
        floor = floors.notice_time_of(customer_class)
        if asked < floor:
            raise _looser(f"notice_time.{customer_class}", asked, floor)
        tightened[customer_class] = asked
    return tightened


def _looser(name: str, asked: object, floor: object) -> BadInput:
    return BadInput(
        f"the policy's {name} ({_show(asked)}) is looser than this deployment's floor"
        f" ({_show(floor)}); a policy may only tighten it",
        field=name,
        code="looser_than_floor",
    )


def _show(value: object) -> str:
    if isinstance(value, DailyWindow):
        return f"{value.opens:%H:%M}-{value.closes:%H:%M}"
    return str(value)


def parse_limits(document: Mapping[str, Any], *, where: str = "limits") -> PolicyLimits:
    """Read limits from a parsed document such as ``{"notice_days": {"residential": 7}}``.

    Names carry their units: ``notice_days`` (class to days, ``other`` for the rest), ``window``
    (``["09:00", "16:00"]``), ``time_to_pay_hours``, ``same_day_until`` (``"20:00"``),
    ``data_age_hours``, ``meter_heard_hours``, ``tolerance_hours``, ``reminder_minutes``,
    ``overdue_days``. Raises `BadInput` naming an unknown or malformed entry.
    """
    unknown = sorted(set(document) - set(_LIMIT_READERS))
    if unknown:
        raise BadInput(
            f"{where} has no entry {unknown[0]!r}; known are {', '.join(sorted(_LIMIT_READERS))}",
            field=f"{where}.{unknown[0]}",
        )
    values: dict[str, Any] = {}
    for name, raw in document.items():
        try:
            values.update(_LIMIT_READERS[name](raw))
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise BadInput(
                f"{where}.{name}: {raw!r} is not usable ({error})", field=f"{where}.{name}"
            ) from error
    return PolicyLimits(**values)


def parse_floors(document: Mapping[str, Any]) -> Floors:
    """Read a deployment's floors from a parsed document; what is absent keeps its default."""
    limits = parse_limits(document, where="floors")
    given: dict[str, Any] = {}
    for each in fields(limits):
        value = getattr(limits, each.name)
        if each.name == "notice_time":
            given[each.name] = {**Floors().notice_time, **value}
        elif value is not None:
            given[each.name] = value
    return Floors(**given)


def parse_time(text: str) -> time:
    """Read ``HH:MM``; raises ValueError for anything else."""
    return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 - a wall-clock time, no date


def parse_window(pair: Any) -> DailyWindow:
    """Read ``["09:00", "16:00"]``."""
    opens, closes = pair
    return DailyWindow(parse_time(opens), parse_time(closes))


def _read_notice_days(raw: Mapping[str, float]) -> dict[str, Any]:
    times = {name: timedelta(days=_amount(days)) for name, days in raw.items()}
    other = times.pop("other", None)
    return {"notice_time": times, "other_notice_time": other}


def _amount(raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or raw < 0:
        raise ValueError("a number of at least 0 is needed")
    return raw


def _hours(name: str) -> Any:
    return lambda raw: {name: timedelta(hours=_amount(raw))}


_LIMIT_READERS: dict[str, Any] = {
    "notice_days": _read_notice_days,
    "window": lambda raw: {"window": parse_window(raw)},
    "time_to_pay_hours": _hours("time_to_pay"),
    "same_day_until": lambda raw: {"same_day_until": parse_time(raw)},
    "data_age_hours": _hours("maximum_data_age"),
    "meter_heard_hours": _hours("meter_heard_within"),
    "tolerance_hours": _hours("maximum_tolerance"),
    "reminder_minutes": lambda raw: {"reminder_lead": timedelta(minutes=_amount(raw))},
    "overdue_days": lambda raw: {"overdue_days": int(_amount(raw))},
}
