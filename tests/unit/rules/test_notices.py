"""Which notice is owed when, and in which words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from headend.domain.errors import BadInput
from rules.moratorium import DailyWindow, DisconnectCalendar
from rules.notices import (
    DEFAULT_TEMPLATES,
    NoticeHistory,
    NoticePolicy,
    NoticeStage,
    confirm_cycle,
    due_stage,
    next_due,
    parse_templates,
    plan_notice_cycle,
    render_notice,
    variables_of,
)
from rules.table import Outcome

ZONE = "Asia/Shanghai"
POLICY = NoticePolicy(DisconnectCalendar(DailyWindow(time(9), time(16)), {5: None, 6: None}))
# Wednesday 2026-03-11, 15:00 in Shanghai.
NOW = datetime(2026, 3, 11, 7, 0, tzinfo=UTC)
S = NoticeStage
VARIABLES = {
    "account_no": "1000234",
    "address": "幸福路1号",
    "balance": "-3.20",
    "planned_at": "2026-03-19 09:00",
    "switched_at": "2026-03-19 09:02",
    "reconnect_balance": "10.00",
}


def cycle_of(customer_class: str | None = "residential", now: datetime = NOW):  # type: ignore[no-untyped-def]
    return plan_notice_cycle(now, POLICY, customer_class=customer_class, zone=ZONE)


def test_a_residential_cycle_waits_seven_days_and_opens_with_a_window() -> None:
    cycle = cycle_of()
    assert cycle.waits_until == NOW + timedelta(days=7)
    assert cycle.planned_at == datetime(2026, 3, 19, 1, 0, tzinfo=UTC)  # Thursday 09:00
    assert cycle.reminder_at == cycle.planned_at - timedelta(minutes=35)
    assert cycle.expires_at == cycle.planned_at + timedelta(hours=2)


def test_other_classes_wait_three_days_over_the_weekend() -> None:
    cycle = cycle_of("commercial")
    assert cycle.waits_until == NOW + timedelta(days=3)  # Saturday
    assert cycle.planned_at == datetime(2026, 3, 16, 1, 0, tzinfo=UTC)  # Monday 09:00


def test_an_unknown_class_waits_the_longest() -> None:
    assert cycle_of(None).waits_until == NOW + timedelta(days=7)


def test_a_delivery_within_the_margin_keeps_the_told_time() -> None:
    nine = datetime(2026, 3, 11, 1, 0, tzinfo=UTC)
    told = cycle_of(now=nine)
    assert told.planned_at == nine + timedelta(days=8)  # never the very instant of the deadline
    late = nine + timedelta(hours=1)
    confirmed = confirm_cycle(told, late, POLICY, customer_class="residential")
    assert confirmed is not None
    assert confirmed.delivered_at == late
    assert confirmed.waits_until == late + timedelta(days=7)
    assert (confirmed.planned_at, confirmed.reminder_at, confirmed.expires_at) == (
        told.planned_at,
        told.reminder_at,
        told.expires_at,
    )


def test_a_delivery_too_late_for_the_told_time_is_told_again() -> None:
    told = cycle_of()
    last = told.planned_at - timedelta(days=7)
    assert confirm_cycle(told, last, POLICY, customer_class="residential") is not None
    too_late = last + timedelta(microseconds=1)
    assert confirm_cycle(told, too_late, POLICY, customer_class="residential") is None


def test_warnings_are_given_once_until_the_cycle_restarts() -> None:
    blank = NoticeHistory()
    assert due_stage(Outcome.LOW_BALANCE_WARNING, blank, NOW) is S.LOW_BALANCE
    assert due_stage(Outcome.ARREARS_WARNING, blank, NOW) is S.ARREARS
    assert due_stage(Outcome.NONE, blank, NOW) is None
    assert due_stage(Outcome.RECONNECT, blank, NOW) is None
    warned = NoticeHistory({S.ARREARS: NOW})
    assert due_stage(Outcome.ARREARS_WARNING, warned, NOW) is None
    assert due_stage(Outcome.LOW_BALANCE_WARNING, warned, NOW) is S.LOW_BALANCE
    restarted = replace(warned, restarted_at=NOW)
    assert due_stage(Outcome.ARREARS_WARNING, restarted, NOW) is S.ARREARS


def test_a_disconnect_asks_for_its_notice_then_its_reminder_then_waits() -> None:
    assert due_stage(Outcome.DISCONNECT, NoticeHistory(), NOW) is S.DISCONNECT_NOTICE
    cycle = cycle_of()
    history = NoticeHistory({S.DISCONNECT_NOTICE: NOW}, cycle)
    before = cycle.reminder_at - timedelta(microseconds=1)
    assert due_stage(Outcome.DISCONNECT, history, before) is None
    assert due_stage(Outcome.DISCONNECT, history, cycle.reminder_at) is S.REMINDER
    reminded = replace(history, delivered={**history.delivered, S.REMINDER: cycle.reminder_at})
    assert due_stage(Outcome.DISCONNECT, reminded, cycle.planned_at) is None


def test_an_old_reminder_does_not_count_for_a_new_cycle() -> None:
    cycle = cycle_of()
    old = {S.DISCONNECT_NOTICE: NOW, S.REMINDER: NOW - timedelta(days=30)}
    assert due_stage(Outcome.DISCONNECT, NoticeHistory(old, cycle), cycle.planned_at) is S.REMINDER


def test_a_lapsed_or_restarted_cycle_begins_with_a_new_notice() -> None:
    cycle = cycle_of()
    history = NoticeHistory({S.DISCONNECT_NOTICE: NOW, S.REMINDER: cycle.reminder_at}, cycle)
    assert due_stage(Outcome.DISCONNECT, history, cycle.expires_at) is None
    lapsed = cycle.expires_at + timedelta(microseconds=1)
    assert due_stage(Outcome.DISCONNECT, history, lapsed) is S.DISCONNECT_NOTICE
    restarted = replace(history, restarted_at=NOW)
    assert due_stage(Outcome.DISCONNECT, restarted, cycle.planned_at) is S.DISCONNECT_NOTICE


def test_the_scheduler_wakes_for_each_due_time_of_the_cycle() -> None:
    cycle = cycle_of()
    history = NoticeHistory({S.DISCONNECT_NOTICE: NOW}, cycle)
    assert next_due(history, NOW) == cycle.reminder_at
    assert next_due(history, cycle.reminder_at) == cycle.planned_at
    assert next_due(history, cycle.planned_at) == cycle.expires_at
    assert next_due(history, cycle.expires_at) is None
    assert next_due(replace(history, restarted_at=NOW), NOW) is None
    assert next_due(NoticeHistory(), NOW) is None


@pytest.mark.parametrize("stage", list(NoticeStage))
def test_every_stage_renders_in_both_languages_with_the_same_facts(stage: NoticeStage) -> None:
    zh, en = render_notice(stage, VARIABLES)
    assert "{" not in zh + en
    for text in (zh, en):
        assert "1000234" in text
        assert "-3.20" in text
    assert variables_of(DEFAULT_TEMPLATES[stage]) <= set(VARIABLES)


def test_the_disconnect_notice_reads_as_written() -> None:
    assert render_notice(S.DISCONNECT_NOTICE, VARIABLES) == (
        "【停电通知】户号1000234，地址幸福路1号：当前余额-3.20元，欠费未缴。"
        "如在2026-03-19 09:00前仍未缴费，我们将中止供电。缴费后自动恢复供电。",
        "[Disconnection notice] Account 1000234, 幸福路1号: your balance is -3.20 yuan. "
        "Unless you pay before 2026-03-19 09:00, the supply will be disconnected. "
        "It comes back by itself when you pay.",
    )


@pytest.mark.parametrize("value", [None, " "])
def test_a_missing_variable_is_an_error_by_name(value: str | None) -> None:
    variables = {key: text for key, text in VARIABLES.items() if key != "planned_at"}
    if value is not None:
        variables["planned_at"] = value
    with pytest.raises(BadInput, match="planned_at") as refused:
        render_notice(S.REMINDER, variables)
    assert refused.value.field == "planned_at"


def test_a_value_is_never_read_as_a_template() -> None:
    zh, _ = render_notice(S.LOW_BALANCE, {**VARIABLES, "account_no": "{balance}"})
    assert "户号{balance}" in zh


def test_a_stage_without_template_is_an_error() -> None:
    with pytest.raises(BadInput, match="no template"):
        render_notice(S.ARREARS, VARIABLES, {})


def test_own_templates_replace_the_defaults_one_by_one() -> None:
    templates = parse_templates({"arrears": {"zh": "欠费{balance}", "en": "owing {balance}"}})
    assert render_notice(S.ARREARS, VARIABLES, templates) == ("欠费-3.20", "owing -3.20")
    assert templates[S.REMINDER] == DEFAULT_TEMPLATES[S.REMINDER]


@pytest.mark.parametrize(
    "document",
    [
        {"farewell": {"zh": "再见", "en": "bye"}},
        {"arrears": {"zh": "欠费"}},
        {"arrears": {"zh": "欠费", "en": " "}},
        {"arrears": {"zh": "欠费{phone}", "en": "owing"}},
        {"arrears": {"zh": "欠费{", "en": "owing"}},
        {"arrears": {"zh": "欠费{balance!r}", "en": "owing"}},
    ],
)
def test_unusable_templates_are_refused(document: dict[str, dict[str, str]]) -> None:
    with pytest.raises(BadInput) as refused:
        parse_templates(document)
    assert refused.value.field.startswith("templates.")
