"""A policy: a decision table with the limits, calendar and notices that go with it.

A *pack* is such a policy as data, with its sources and what is still to be verified; packs stand in
`rules/packs/`, and the shell reads the files. `parse_policy` takes the pack's document and its
table's document; `Policy.floors_under` gives the guard's limits, refusing a policy that is looser
than the deployment's floors anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeVar

from headend.domain.errors import BadInput
from rules.floors import Floors, PolicyLimits, parse_limits, parse_window, tighten
from rules.moratorium import DailyWindow, DisconnectCalendar
from rules.notices import NoticePolicy, NoticeStage, NoticeTemplate, parse_templates
from rules.table import DecisionTable, digest_of, parse_table

_T = TypeVar("_T")

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_KEYS = frozenset(
    {"pack", "title_zh", "title_en", "sources", "verify", "table"}
    | {"limits", "calendar", "notices", "templates"}
)
_CALENDAR_KEYS = frozenset(
    {"weekday_windows", "no_disconnect_dates", "working_dates", "eves_closed"}
)
_NOTICE_KEYS = frozenset({"tolerance_hours", "delivery_margin_minutes", "reminder_margin_minutes"})


@dataclass(frozen=True, slots=True)
class Policy:
    """One checked policy. ``digest`` identifies pack and table together in every decision."""

    pack: str
    title_zh: str
    title_en: str
    sources: tuple[str, ...]
    verify: tuple[str, ...]
    table: DecisionTable
    limits: PolicyLimits
    calendar: DisconnectCalendar
    notices: NoticePolicy
    templates: Mapping[NoticeStage, NoticeTemplate]
    digest: str

    def floors_under(self, floors: Floors) -> Floors:
        """Return the guard's limits: the deployment's floors, tightened by this policy.

        Raises `BadInput` naming the field in which the policy is looser, its notice times and its
        calendar included.
        """
        return tighten(floors, self.limits)

    def notices_under(self, floors: Floors) -> NoticePolicy:
        """Return the notice policy in agreement with the guard's limits.

        So that a cycle planned by it is one that the guard will accept.
        """
        effective = self.floors_under(floors)
        return NoticePolicy(
            calendar=_calendar_within(self.calendar, effective.window),
            notice_time=effective.notice_time,
            other_notice_time=effective.other_notice_time,
            reminder_lead=effective.reminder_lead,
            tolerance=min(self.notices.tolerance, effective.maximum_tolerance),
            delivery_margin=self.notices.delivery_margin,
            reminder_margin=self.notices.reminder_margin,
        )


def _calendar_within(calendar: DisconnectCalendar, window: DailyWindow) -> DisconnectCalendar:
    common = calendar.window.intersect(window)
    if common is None:
        raise BadInput("the policy's window lies outside the floor's", field="calendar")
    return DisconnectCalendar(
        window=common,
        weekday_windows={
            day: None if each is None else each.intersect(window)
            for day, each in calendar.weekday_windows.items()
        },
        no_disconnect_dates=calendar.no_disconnect_dates,
        working_dates=calendar.working_dates,
        eves_closed=calendar.eves_closed,
    )


def parse_policy(document: Mapping[str, Any], table_document: Mapping[str, Any]) -> Policy:
    """Return the checked policy of a pack's document and its table's.

    Raises `BadInput` naming the entry at fault, or the table's row and column.
    """
    _only(document, _KEYS, "policy")
    pack = document.get("pack")
    if not isinstance(pack, str) or not pack:
        raise BadInput("a policy needs its name in 'pack'", field="pack")
    limits = parse_limits(document.get("limits", {}))
    if limits.window is None:
        raise BadInput("a policy must say in which window it disconnects", field="limits.window")
    calendar = _read_calendar(document.get("calendar", {}), limits.window)
    return Policy(
        pack=pack,
        title_zh=str(document.get("title_zh", pack)),
        title_en=str(document.get("title_en", pack)),
        sources=_texts(document, "sources"),
        verify=_texts(document, "verify"),
        table=parse_table(table_document, name=pack),
        limits=limits,
        calendar=calendar,
        notices=_read_notices(document.get("notices", {}), limits, calendar),
        templates=parse_templates(document.get("templates", {})),
        digest=digest_of({"policy": document, "table": table_document}),
    )


def _only(document: Mapping[str, Any], known: frozenset[str], where: str) -> None:
    unknown = sorted(set(document) - known)
    if unknown:
        raise BadInput(
            f"{where} has no entry {unknown[0]!r}; known are {', '.join(sorted(known))}",
            field=f"{where}.{unknown[0]}",
        )


def _texts(document: Mapping[str, Any], name: str) -> tuple[str, ...]:
    raw = document.get(name, ())
    if isinstance(raw, str) or not isinstance(raw, Sequence):
        raise BadInput(f"{name} must be a list of sentences", field=name)
    return tuple(str(each) for each in raw)


def _read(field: str, raw: object, reader: Callable[[Any], _T]) -> _T:
    try:
        return reader(raw)
    except (TypeError, ValueError, AttributeError, OverflowError, BadInput) as error:
        raise BadInput(f"{field}: {raw!r} is not usable ({error})", field=field) from error


def _read_calendar(raw: Mapping[str, Any], window: DailyWindow) -> DisconnectCalendar:
    _only(raw, _CALENDAR_KEYS, "calendar")
    weekday_windows: dict[int, DailyWindow | None] = {}
    for name, pair in raw.get("weekday_windows", {}).items():
        field = f"calendar.weekday_windows.{name}"
        if name not in _WEEKDAYS:
            raise BadInput(f"{name!r} is no weekday such as fri", field=field)
        each = None if pair is None else _read(field, pair, parse_window)
        if each is not None and not each.within(window):
            raise BadInput(f"{name}'s window lies outside limits.window", field=field)
        weekday_windows[_WEEKDAYS.index(name)] = each
    return DisconnectCalendar(
        window=window,
        weekday_windows=weekday_windows,
        no_disconnect_dates=_dates(raw, "no_disconnect_dates"),
        working_dates=_dates(raw, "working_dates"),
        eves_closed=raw.get("eves_closed") is True,
    )


def _dates(raw: Mapping[str, Any], name: str) -> frozenset[date]:
    return frozenset(
        _read(f"calendar.{name}", each, date.fromisoformat) for each in raw.get(name, ())
    )


def _read_notices(
    raw: Mapping[str, Any], limits: PolicyLimits, calendar: DisconnectCalendar
) -> NoticePolicy:
    _only(raw, _NOTICE_KEYS, "notices")
    default = NoticePolicy(calendar)

    def minutes(name: str, otherwise: timedelta, scale: int = 1) -> timedelta:
        if name not in raw:
            return otherwise
        span = _read(f"notices.{name}", raw[name], lambda value: timedelta(minutes=scale * value))
        if span < timedelta(0):
            raise BadInput(f"{name} cannot be negative", field=f"notices.{name}")
        return span

    other = limits.other_notice_time
    return NoticePolicy(
        calendar=calendar,
        notice_time=limits.notice_time or default.notice_time,
        other_notice_time=default.other_notice_time if other is None else other,
        reminder_lead=default.reminder_lead
        if limits.reminder_lead is None
        else limits.reminder_lead,
        tolerance=minutes("tolerance_hours", default.tolerance, 60),
        delivery_margin=minutes("delivery_margin_minutes", default.delivery_margin),
        reminder_margin=minutes("reminder_margin_minutes", default.reminder_margin),
    )
