"""A stored decision in a sentence per language, as an agent reads it out.

Made from what was stored with the decision and the policy version that made it, so that it says
tomorrow what was true then. Amounts show in yuan, times in the usage point's zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from headend.domain.money import format_yuan
from headend.ports.notices import NoticeContext
from headend.ports.policies import DecisionRecord
from headend.services.policies import PolicyInForce
from rules.reason_texts import explain_reasons
from rules.reasons import RefusalReason
from rules.table import Outcome

_OUTCOME_TEXTS: dict[Outcome, tuple[str, str]] = {
    Outcome.NONE: ("不采取措施", "nothing is done"),
    Outcome.LOW_BALANCE_WARNING: ("提醒余额不足", "the customer is told that the balance is low"),
    Outcome.ARREARS_WARNING: ("催缴电费", "the customer is asked to pay"),
    Outcome.DISCONNECT: ("按程序通知并停电", "disconnection, after notice"),
    Outcome.RECONNECT: ("恢复供电", "the supply is restored"),
}
_TRIGGER_TEXTS: dict[str, tuple[str, str]] = {
    "daily": ("每日例行", "in the daily run"),
    "planned": ("计划停电时刻已到", "at the planned time of disconnection"),
    "payment": ("缴费到账", "when a payment posted"),
    "reversal": ("缴费冲正", "when a payment was reversed"),
    "re_rating": ("电费重算", "when the bill was rated again"),
    "hold_placed": ("登记保护", "when a hold was placed"),
    "hold_ended": ("保护解除", "when a hold ended"),
    "disconnected": ("停电完成", "when the disconnection was seen"),
    "reconnection": ("复电完成", "when the reconnection was seen"),
}
_CLOSE_TEXTS: dict[str, tuple[str, str]] = {
    "paid": ("欠费已缴清，原停电通知作废", "the debt is paid and earlier notices are void"),
    "disconnected": ("停电程序已完成", "the notice procedure ended with the cut"),
    "expired": (
        "已超过通知的停电时间，须重新通知",
        "the notified time has passed",
    ),
    "moved_out": ("客户已迁出", "the customer has moved out"),
    "notice_failed": (
        "停电通知未能送达，须重新通知",
        "the notice was not delivered",
    ),
    "hold_ended": ("保护解除，须重新通知", "a hold ended, so notice starts anew"),
    "reversal": ("缴费冲正，须重新通知", "a payment was reversed, so notice starts anew"),
    "re_rating": ("电费重算，须重新通知", "the bill was rated again, so notice starts anew"),
    "reconnection": ("已复电，须重新通知", "the supply was restored, so notice starts anew"),
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """One decision explained, with the codes that programs use."""

    zh: str
    en: str
    outcome: str
    row: int
    refusal_codes: tuple[str, ...]


def explain_decision(
    record: DecisionRecord, policy: PolicyInForce, context: NoticeContext
) -> Explanation:
    """Put a stored decision into words; ``policy`` is the version that made it."""
    outcome = _OUTCOME_TEXTS[Outcome(record.outcome)]
    trigger = _TRIGGER_TEXTS.get(record.trigger, (record.trigger, f"on {record.trigger}"))
    at = f"{record.decided_at.astimezone(ZoneInfo(context.time_zone)):%Y-%m-%d %H:%M}"
    row_zh, row_en = _row_texts(record, policy)
    money_zh, money_en = _money_texts(record.facts)
    refusals = tuple(
        RefusalReason(code)
        for code in record.refusal_codes
        if code in {reason.value for reason in RefusalReason}
    )
    refused_zh, refused_en = explain_reasons(refusals)
    closed = _CLOSE_TEXTS.get(str(record.facts.get("cycle_closed")))
    zh = (
        f"{at}（{trigger[0]}），户号{context.account_no}{money_zh}，依据“{policy.policy.title_zh}”"
        f"第{record.policy_version}版{row_zh}，决定：{outcome[0]}。"
    )
    en = (
        f"At {at}, {trigger[1]}, account {context.account_no} {money_en}; by"
        f" '{policy.policy.title_en}', version {record.policy_version}{row_en}: {outcome[1]}."
    )
    if closed is not None:
        zh, en = f"{zh}{closed[0]}。", f"{en} {closed[1][0].upper()}{closed[1][1:]}."
    if refused_zh:
        zh, en = f"{zh}未执行：{refused_zh}", f"{en} Not carried out: {refused_en}"
    return Explanation(zh, en, record.outcome, record.row_index, record.refusal_codes)


def _row_texts(record: DecisionRecord, policy: PolicyInForce) -> tuple[str, str]:
    rows = policy.table.rows
    if not 0 <= record.row_index < len(rows):
        return "", ""
    description = rows[record.row_index].description
    zh, _, en = description.partition(" / ")
    number = record.row_index + 1
    return (
        f"第{number}条（{zh}）" if zh else f"第{number}条",
        f", row {number} ({en or zh})" if description else f", row {number}",
    )


def _money_texts(facts: Mapping[str, Any]) -> tuple[str, str]:
    balance = facts.get("balance_nano")
    if balance is None:
        return "余额未知", "has an unknown balance"
    credit = facts.get("emergency_credit_nano")
    zh, en = f"余额{format_yuan(balance)}元", f"has a balance of {format_yuan(balance)} yuan"
    if credit is not None:
        zh = f"{zh}（在{format_yuan(credit)}元应急额度内）"
        en = f"{en}, within its emergency credit of {format_yuan(credit)} yuan"
    return zh, en
