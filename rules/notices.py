"""Notices: which is owed, when, and in which words. Pure; delivery is a port.

Theory of operation. A *cycle* starts when the disconnect notice is proven delivered: the waiting
time counts from that proof, never from sending. The planned disconnect is the first opening of a
permitted window at or after the end of the waiting time, a reminder goes out before it, and the
whole cycle lapses when the planned time has passed by more than its tolerance. The end of a hold, a
reversal, a re-rating or a reconnection restarts it: whatever was delivered before no longer counts.

The notice tells the planned time, so it is planned before it is delivered; `confirm_cycle` then
checks the told time against the proof, and a notice that arrived too late for it is given again.
Source: "Service levels" of the design document; the times are policy data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from headend.domain.errors import BadInput
from rules.moratorium import DisconnectCalendar, next_window_opening


class NoticeStage(StrEnum):
    """The stages, in the order in which a customer may meet them."""

    LOW_BALANCE = "low_balance"
    ARREARS = "arrears"
    DISCONNECT_NOTICE = "disconnect_notice"
    REMINDER = "reminder"
    DISCONNECTED = "disconnected"
    RECONNECTED = "reconnected"


@dataclass(frozen=True, slots=True)
class NoticePolicy:
    """When notices are due; policy data, tightened against the floors before use.

    ``notice_time``: customer class to waiting time; unlisted classes get ``other_notice_time``.
    ``delivery_margin`` is how late the proof of delivery may come without moving the planned time
    that the notice tells; ``reminder_margin`` the same for the reminder.
    """

    calendar: DisconnectCalendar
    notice_time: Mapping[str, timedelta] = field(
        default_factory=lambda: {"residential": timedelta(days=7)}
    )
    other_notice_time: timedelta = timedelta(days=3)
    reminder_lead: timedelta = timedelta(minutes=30)
    tolerance: timedelta = timedelta(hours=2)
    delivery_margin: timedelta = timedelta(hours=1)
    reminder_margin: timedelta = timedelta(minutes=5)

    def notice_time_of(self, customer_class: str | None) -> timedelta:
        """Return the waiting time of a class; the longest of all when the class is unknown."""
        if customer_class is None:
            return max([self.other_notice_time, *self.notice_time.values()])
        return self.notice_time.get(customer_class, self.other_notice_time)


@dataclass(frozen=True, slots=True)
class NoticeCycle:
    """The due times of one cycle, aware UTC. ``expires_at`` is the last permitted instant."""

    delivered_at: datetime
    waits_until: datetime
    reminder_at: datetime
    planned_at: datetime
    expires_at: datetime


def plan_notice_cycle(
    delivered_at: datetime, policy: NoticePolicy, *, customer_class: str | None, zone: str
) -> NoticeCycle:
    """Plan a cycle from the delivery of its disconnect notice, proven or expected.

    The reminder is due ``reminder_lead`` and its margin before the planned time, so that its own
    waiting time is over at that instant. Raises `BadInput` when the calendar never opens.
    """
    waits_until = delivered_at + policy.notice_time_of(customer_class)
    planned_at = next_window_opening(waits_until + policy.delivery_margin, policy.calendar, zone)
    return NoticeCycle(
        delivered_at=delivered_at,
        waits_until=waits_until,
        reminder_at=planned_at - policy.reminder_lead - policy.reminder_margin,
        planned_at=planned_at,
        expires_at=planned_at + policy.tolerance,
    )


def confirm_cycle(
    told: NoticeCycle, delivered_at: datetime, policy: NoticePolicy, *, customer_class: str | None
) -> NoticeCycle | None:
    """Return the cycle as the proof of delivery makes it, or None when it must be told again.

    The told planned time stands as long as the waiting time, counted from the proof, is over by
    then. The customer is never cut earlier, nor at another time, than was told.
    """
    waits_until = delivered_at + policy.notice_time_of(customer_class)
    if waits_until > told.planned_at:
        return None
    return NoticeCycle(
        delivered_at=delivered_at,
        waits_until=waits_until,
        reminder_at=told.reminder_at,
        planned_at=told.planned_at,
        expires_at=told.expires_at,
    )


@dataclass(frozen=True, slots=True)
class NoticeHistory:
    """What was proven delivered to the account, newest per stage, and what restarted its cycle."""

    delivered: Mapping[NoticeStage, datetime] = field(default_factory=dict)
    cycle: NoticeCycle | None = None
    restarted_at: datetime | None = None

    def counts(self, stage: NoticeStage) -> bool:
        """Whether the stage was delivered, and after the last restart."""
        delivered_at = self.delivered.get(stage)
        if delivered_at is None:
            return False
        return self.restarted_at is None or delivered_at > self.restarted_at


# Which notice an outcome of the decision table asks for, besides those of a disconnect.
_STAGE_OF_OUTCOME: dict[str, NoticeStage] = {
    "low_balance_warning": NoticeStage.LOW_BALANCE,
    "arrears_warning": NoticeStage.ARREARS,
}


def due_stage(outcome: str, history: NoticeHistory, now: datetime) -> NoticeStage | None:
    """Return the notice that is due now for this outcome of the table, or None.

    ``outcome`` is a value of `rules.table.Outcome`. A warning is given once until something
    restarts the cycle; a disconnect asks for its notice, then its reminder; a lapsed cycle begins
    again with a new notice.
    """
    if outcome in _STAGE_OF_OUTCOME:
        stage = _STAGE_OF_OUTCOME[outcome]
        return None if history.counts(stage) else stage
    if outcome != "disconnect":
        return None
    cycle = history.cycle
    if cycle is None or not history.counts(NoticeStage.DISCONNECT_NOTICE):
        return NoticeStage.DISCONNECT_NOTICE
    if now > cycle.expires_at:
        return NoticeStage.DISCONNECT_NOTICE
    reminded_at = history.delivered.get(NoticeStage.REMINDER)
    if now >= cycle.reminder_at and (reminded_at is None or reminded_at < cycle.delivered_at):
        return NoticeStage.REMINDER
    return None


def next_due(history: NoticeHistory, now: datetime) -> datetime | None:
    """Return the next instant at which the running cycle wants attention, or None.

    The scheduler wakes for it: the reminder, then the planned disconnect, then the lapse.
    """
    if history.cycle is None or not history.counts(NoticeStage.DISCONNECT_NOTICE):
        return None
    cycle = history.cycle
    return min(
        (at for at in (cycle.reminder_at, cycle.planned_at, cycle.expires_at) if at > now),
        default=None,
    )


@dataclass(frozen=True, slots=True)
class NoticeTemplate:
    """One stage's words in both languages, with ``{variables}``."""

    zh: str
    en: str


_VARIABLE = re.compile(r"\{([a-z_]+)\}")

DEFAULT_TEMPLATES: dict[NoticeStage, NoticeTemplate] = {
    NoticeStage.LOW_BALANCE: NoticeTemplate(
        "【电费提醒】户号{account_no}：当前可用余额{balance}元，即将不足，请及时充值。",
        "[Electricity] Account {account_no}: your balance is {balance} yuan and running low. "
        "Please top up soon.",
    ),
    NoticeStage.ARREARS: NoticeTemplate(
        "【欠费提醒】户号{account_no}：当前余额{balance}元，即将用尽或已欠费，请尽快缴费，以免影响用电。",
        "[Electricity] Account {account_no}: your balance is {balance} yuan, used up or nearly so. "
        "Please pay soon so that your supply is not affected.",
    ),
    NoticeStage.DISCONNECT_NOTICE: NoticeTemplate(
        "【停电通知】户号{account_no}，地址{address}：当前余额{balance}元，欠费未缴。"
        "如在{planned_at}前仍未缴费，我们将中止供电。缴费后自动恢复供电。",
        "[Disconnection notice] Account {account_no}, {address}: your balance is {balance} yuan. "
        "Unless you pay before {planned_at}, the supply will be disconnected. "
        "It comes back by itself when you pay.",
    ),
    NoticeStage.REMINDER: NoticeTemplate(
        "【停电前提醒】户号{account_no}：将于{planned_at}停电，当前余额{balance}元，请立即缴费。",
        "[Last reminder] Account {account_no}: the supply will be disconnected at {planned_at}. "
        "Your balance is {balance} yuan; please pay now.",
    ),
    NoticeStage.DISCONNECTED: NoticeTemplate(
        "【已停电】户号{account_no}：已于{switched_at}因欠费停电，当前余额{balance}元。"
        "缴费至{reconnect_balance}元以上后自动恢复供电。",
        "[Disconnected] Account {account_no}: disconnected for arrears at {switched_at}, balance "
        "{balance} yuan. It comes back by itself when you pay up to {reconnect_balance} yuan.",
    ),
    NoticeStage.RECONNECTED: NoticeTemplate(
        "【已复电】户号{account_no}：已于{switched_at}恢复供电，当前余额{balance}元。"
        "如仍无电，请检查电表开关或拨打95598。",
        "[Reconnected] Account {account_no}: supply restored at {switched_at}, balance {balance} "
        "yuan. Still no power? Check the switch at the meter, or call 95598.",
    ),
}


def render_notice(
    stage: NoticeStage,
    variables: Mapping[str, str],
    templates: Mapping[NoticeStage, NoticeTemplate] = DEFAULT_TEMPLATES,
) -> tuple[str, str]:
    """Return the notice's text, (zh, en).

    Amounts and times come in already formatted for the customer. Raises `BadInput` naming a stage
    without template or the first variable without value; a value is inserted as it is and never
    read as a template itself.
    """
    template = templates.get(stage)
    if template is None:
        raise BadInput(f"there is no template for the notice {stage}", field="stage")
    return _fill(template.zh, variables, stage), _fill(template.en, variables, stage)


def _fill(text: str, variables: Mapping[str, str], stage: NoticeStage) -> str:
    def value(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in variables or not variables[name].strip():
            raise BadInput(f"the notice {stage} needs a value for {{{name}}}", field=name)
        return variables[name]

    return _VARIABLE.sub(value, text)


def variables_of(template: NoticeTemplate) -> frozenset[str]:
    """Return the variables that a template needs."""
    return frozenset(_VARIABLE.findall(template.zh)) | frozenset(_VARIABLE.findall(template.en))


def parse_templates(
    document: Mapping[str, Mapping[str, str]],
) -> dict[NoticeStage, NoticeTemplate]:
    """Read templates ``{stage: {"zh": ..., "en": ...}}`` over the default ones.

    Raises `BadInput` for an unknown stage, a missing language, or a brace that is no variable or a
    variable that the default template of that stage does not have (the shell would not fill it).
    """
    templates = dict(DEFAULT_TEMPLATES)
    for name, texts in document.items():
        if name not in {stage.value for stage in NoticeStage}:
            raise BadInput(f"{name!r} is not a notice stage", field=f"templates.{name}")
        stage = NoticeStage(name)
        if set(texts) != {"zh", "en"} or not all(text.strip() for text in texts.values()):
            raise BadInput(f"the notice {name} needs both zh and en", field=f"templates.{name}")
        template = NoticeTemplate(texts["zh"], texts["en"])
        unknown = variables_of(template) - variables_of(DEFAULT_TEMPLATES[stage])
        stray = any(brace in _VARIABLE.sub("", text) for text in texts.values() for brace in "{}")
        if unknown or stray:
            known = ", ".join(sorted(variables_of(DEFAULT_TEMPLATES[stage])))
            raise BadInput(
                f"the notice {name} may only use {{variables}} among {known}",
                field=f"templates.{name}",
            )
        templates[stage] = template
    return templates
