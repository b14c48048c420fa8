"""What an agent reads out for each refusal reason, and who may clear it, in Chinese and English.

The sentences speak to the customer's agent: they say what is so, never a code or a name, and end
with what happens next only where that is certain. `docs/refusal-reasons.md` is rendered from here
by `reasons_as_markdown`.
"""

from __future__ import annotations

from dataclasses import dataclass

from rules.reasons import GROUP_OF_REASON, ReasonGroup, RefusalReason


@dataclass(frozen=True, slots=True)
class Clearer:
    """Who may clear a reason, in the words an agent can read out."""

    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class ReasonText:
    """One reason's sentence in both languages, and who may clear it."""

    zh: str
    en: str
    cleared_by: Clearer


_TIME = Clearer("到时自动解除", "time alone")
_SYSTEM = Clearer("系统取得新数据后自动解除", "the system, when fresh data arrives")
_SUPERVISOR = Clearer("值班主管", "the duty supervisor")
_ACCOUNTS = Clearer("营业厅账务人员", "accounts staff")
_HOLD_OWNER = Clearer("保护登记的责任人", "the owner of the hold")
_DISPATCH = Clearer("调度值班人员", "the dispatch desk")
_ENGINEER = Clearer("计量运维人员", "the meter data engineer")
_FIELD = Clearer("现场班组", "the field crew")
_CHANNEL = Clearer("收费渠道恢复后自动解除", "the system, when the channel is back")
_POLICY = Clearer("电费政策管理人员", "policy staff")
_CUSTOMER = Clearer("客户本人", "the customer")
_NOTICES = Clearer("通知送达后自动解除", "the system, when the notice is delivered")
_TWO = Clearer("两名不同的授权人员", "two different authorised people")
_LIFTER = Clearer("列出的各项限制的解除人", "whoever may lift each restraint that remains")

_R = RefusalReason

REASON_TEXTS: dict[RefusalReason, ReasonText] = {
    _R.STOP_SWITCH_ON: ReasonText(
        "全网停电操作已被暂停，本次停电不执行。",
        "All disconnections are suspended everywhere; this one is not carried out.",
        _SUPERVISOR,
    ),
    _R.ORDER_EXPIRED: ReasonText(
        "该工单已过有效期，不再执行。",
        "The order has passed its time and will not be carried out.",
        _ACCOUNTS,
    ),
    _R.ORDER_NOT_YET_DUE: ReasonText("该工单尚未到执行时间。", "The order is not due yet.", _TIME),
    _R.FIELD_LOCK: ReasonText(
        "现场班组正在处理，远程操作已锁定。",
        "A field crew has taken this over; remote switching is locked until it reports.",
        _FIELD,
    ),
    _R.RESTRAINTS_UNKNOWN: ReasonText(
        "该用电点的限制状态未知，暂不操作。",
        "What restrains this supply is not known, so it is not switched.",
        _SUPERVISOR,
    ),
    _R.LIFE_SUPPORT: ReasonText(
        "该户登记有生命维持设备，不得停电。",
        "Someone here depends on life-support equipment; the supply is not cut.",
        _HOLD_OWNER,
    ),
    _R.POWER_PROTECTION: ReasonText(
        "该户处于保电期间，不得停电。",
        "This supply is under power protection (保电); it is not cut.",
        _HOLD_OWNER,
    ),
    _R.MEDICAL: ReasonText(
        "该户登记有医疗需要，不得停电。",
        "A medical need is registered here; the supply is not cut.",
        _HOLD_OWNER,
    ),
    _R.IMPORTANT_OR_HAZARDOUS: ReasonText(
        "该户为重要或高危用户，不得自动停电。",
        "This is an important or hazardous user; it is not cut automatically.",
        _HOLD_OWNER,
    ),
    _R.SHARED_SUPPLY: ReasonText(
        "该表供电梯、水泵等公共设施用电，不得停电。",
        "This meter feeds shared equipment such as lifts or pumps; it is not cut.",
        _HOLD_OWNER,
    ),
    _R.ELDERLY_ALONE_UNVISITED: ReasonText(
        "该户为独居老人，尚未上门走访，不得停电。",
        "An elderly person lives here alone and has not been visited yet; no cut before that.",
        Clearer("完成上门走访的人员", "whoever makes the visit and records it"),
    ),
    _R.DISPUTE: ReasonText(
        "该户电费存在争议，处理完毕前不停电。",
        "The bill is in dispute; there is no cut until it is settled.",
        _HOLD_OWNER,
    ),
    _R.INSTALMENT_KEPT: ReasonText(
        "客户正按分期协议付款，不停电。",
        "The customer is keeping an instalment agreement; there is no cut.",
        _ACCOUNTS,
    ),
    _R.INSOLVENCY: ReasonText(
        "该户处于破产程序，不得自动停电。",
        "Insolvency proceedings are open; there is no automatic cut.",
        _HOLD_OWNER,
    ),
    _R.PUBLIC_BUDGET: ReasonText(
        "该户由财政拨款付费，不得自动停电。",
        "A public budget pays for this supply; there is no automatic cut.",
        _HOLD_OWNER,
    ),
    _R.HOLDS_UNKNOWN: ReasonText(
        "无法确认该户是否受保护，不停电。",
        "It cannot be confirmed whether this supply is protected, so it is not cut.",
        _SUPERVISOR,
    ),
    _R.BALANCE_NOT_BELOW_THRESHOLD: ReasonText(
        "账户余额未低于停电限额，不停电。",
        "The balance is not below the disconnection threshold; there is nothing to cut for.",
        Clearer("无需解除", "nobody: nothing is wrong"),
    ),
    _R.PAYMENT_PENDING: ReasonText(
        "有一笔缴费正在入账，不停电。",
        "A payment is on its way, so there is no cut.",
        Clearer("缴费入账或超时后自动解除", "the system, when the payment posts or lapses"),
    ),
    _R.CHANNEL_AT_FAULT: ReasonText(
        "收费渠道或银行故障，期间不停电。",
        "A payment channel or bank is at fault; there is no cut while customers cannot pay.",
        _CHANNEL,
    ),
    _R.DEBT_OF_FORMER_OCCUPANT: ReasonText(
        "欠费属于原用户，现用户不因此停电。",
        "The debt is a former occupant's; the present one is not cut for it.",
        _ACCOUNTS,
    ),
    _R.BACK_BILLING_ONLY: ReasonText(
        "欠费仅由补收电费形成，不自动停电。",
        "The debt comes from back-billing alone, which never leads to an automatic cut.",
        _ACCOUNTS,
    ),
    _R.IDENTITY_MISMATCH: ReasonText(
        "应答的电表与档案不符，不操作，已转人工核查。",
        "The meter that answered is not the one on record; nothing is switched, a case is open.",
        _ENGINEER,
    ),
    _R.METER_LINK_UNCONFIRMED: ReasonText(
        "电表与用电点的对应关系未确认，不操作。",
        "It is not confirmed that this meter serves this supply, so it is not switched.",
        _ENGINEER,
    ),
    _R.METER_NOT_HEARD_LATELY: ReasonText(
        "电表近期没有应答，停电后可能无法及时恢复，不停电。",
        "The meter has not answered lately; what might not be reconnected is not cut.",
        _SYSTEM,
    ),
    _R.REMOTE_CLOSE_NOT_POSSIBLE: ReasonText(
        "无法确认该表可远程合闸，不远程停电。",
        "It is not certain that this meter can be closed remotely, so it is not cut remotely.",
        _ENGINEER,
    ),
    _R.METER_KEY_REJECTED: ReasonText(
        "电表拒绝了我方密钥，未执行任何操作，已转人工核查。",
        "The meter rejected our key; nothing was switched and a case is open.",
        _ENGINEER,
    ),
    _R.BALANCE_RESTS_ON_ESTIMATES: ReasonText(
        "余额仅因估算电量低于限额，取得实际示数前不停电。",
        "The balance is below the threshold only by estimates; no cut before an actual reading.",
        _SYSTEM,
    ),
    _R.BALANCE_STALE: ReasonText(
        "余额依据的示数不够新，更新前不停电。",
        "The balance rests on readings that are too old; no cut until it is fresh.",
        _SYSTEM,
    ),
    _R.BALANCE_UNKNOWN: ReasonText(
        "账户余额未知，不停电。", "The balance is not known, so there is no cut.", _ACCOUNTS
    ),
    _R.THRESHOLD_UNKNOWN: ReasonText(
        "该户没有适用的停电限额，不停电。",
        "No disconnection threshold applies to this account, so there is no cut.",
        _POLICY,
    ),
    _R.PAYMENT_STATE_UNKNOWN: ReasonText(
        "无法确认是否有缴费在途或渠道故障，不停电。",
        "It cannot be said whether a payment is on its way, so there is no cut.",
        _ACCOUNTS,
    ),
    _R.DEBT_ORIGIN_UNKNOWN: ReasonText(
        "欠费的来源未确认，不停电。",
        "Where the debt comes from is not confirmed, so there is no cut.",
        _ACCOUNTS,
    ),
    _R.PAYMENT_MODE_UNKNOWN: ReasonText(
        "该户付费方式未知，不停电。",
        "It is not known how this account pays, so there is no cut.",
        _ACCOUNTS,
    ),
    _R.NO_SIGNED_AGREEMENT: ReasonText(
        "没有该户签署的预付费协议，不停电。",
        "No signed prepaid agreement is on file, so there is no cut.",
        _ACCOUNTS,
    ),
    _R.DEBT_UNKNOWN: ReasonText(
        "欠费金额或逾期天数未知，不停电。",
        "The debt or how long it is overdue is not known, so there is no cut.",
        _ACCOUNTS,
    ),
    _R.NO_UNDISPUTED_DEBT: ReasonText(
        "没有无争议的欠费，不停电。", "There is no undisputed debt, so there is no cut.", _ACCOUNTS
    ),
    _R.DEBT_NOT_LONG_OVERDUE: ReasonText(
        "欠费逾期时间未达到停电条件。",
        "The debt is not overdue for long enough to cut.",
        _TIME,
    ),
    _R.DEBT_NOT_DUNNED: ReasonText(
        "该欠费尚未催交，不停电。", "The debt has not been dunned, so there is no cut.", _ACCOUNTS
    ),
    _R.DEBT_NOT_APPROVED: ReasonText(
        "停电尚未审批。", "The disconnection has not been approved.", _SUPERVISOR
    ),
    _R.NOTICE_NOT_DELIVERED: ReasonText(
        "停电通知没有送达凭据，不停电。",
        "There is no proof that the disconnect notice was delivered, so there is no cut.",
        _NOTICES,
    ),
    _R.NOTICE_CYCLE_RESTARTED: ReasonText(
        "情况变化后需重新通知，不停电。",
        "Something changed since the notice; it has to be given again before any cut.",
        _NOTICES,
    ),
    _R.WAITING_TIME_NOT_OVER: ReasonText(
        "停电通知的等待期未满。", "The waiting time of the notice is not over.", _TIME
    ),
    _R.PLANNED_TIME_UNKNOWN: ReasonText(
        "停电通知没有载明计划时间，不停电。",
        "The notice names no planned time, so there is no cut.",
        _NOTICES,
    ),
    _R.PLANNED_TIME_NOT_REACHED: ReasonText(
        "尚未到通知的计划停电时间。", "The time told in the notice has not come yet.", _TIME
    ),
    _R.PLANNED_TIME_PASSED: ReasonText(
        "已超过通知的停电时间，需重新通知。",
        "The time told in the notice has passed; notice has to be given again.",
        _NOTICES,
    ),
    _R.REMINDER_NOT_DELIVERED: ReasonText(
        "停电前的再次通知没有送达凭据。",
        "There is no proof that the last reminder was delivered.",
        _NOTICES,
    ),
    _R.REMINDER_TOO_RECENT: ReasonText(
        "停电前的再次通知刚送达，时间未到。",
        "The last reminder was delivered too short a time ago.",
        _TIME,
    ),
    _R.LOCAL_CALENDAR_UNKNOWN: ReasonText(
        "当地日历未知，不停电。", "The local calendar is not known, so there is no cut.", _POLICY
    ),
    _R.NO_DISCONNECT_DAY: ReasonText(
        "今天不允许停电（节假日或规定日）。",
        "There are no disconnections today (weekend, holiday or set day).",
        _TIME,
    ),
    _R.OUTSIDE_PERMITTED_WINDOW: ReasonText(
        "当前不在允许停电的时段。", "It is outside the permitted hours.", _TIME
    ),
    _R.TOO_FEW_HOURS_LEFT: ReasonText(
        "当天剩余时间不足以缴费并恢复供电，不停电。",
        "Too few hours are left today to pay and be reconnected, so there is no cut.",
        _TIME,
    ),
    _R.RELAY_STATE_UNKNOWN: ReasonText(
        "开关状态未知，先读取再操作。",
        "The state of the contact is not known; it is read first.",
        _SYSTEM,
    ),
    _R.ALREADY_DISCONNECTED: ReasonText(
        "该户已处于断电状态。", "The supply is already off.", Clearer("无需解除", "nobody")
    ),
    _R.RESTRAINT_REMAINS: ReasonText(
        "仍有其他限制未解除，暂不能合闸。",
        "Another restraint remains, so the contact stays open until it is lifted.",
        _LIFTER,
    ),
    _R.WORKS_PERMITTED_ON_AREA: ReasonText(
        "该区域可能有人作业，暂不能合闸。",
        "Works may be going on in this area; power cannot be given.",
        _DISPATCH,
    ),
    _R.LOAD_SIDE_VOLTAGE: ReasonText(
        "用户侧带电，合闸有危险，已转现场处理。",
        "There is voltage on the customer's side; closing would be dangerous.",
        _FIELD,
    ),
    _R.NO_CONSENT_TO_CLOSE: ReasonText(
        "该表将直接合闸，需确认用电设备已关闭。",
        "This meter closes directly; somebody must confirm that the appliances are off.",
        _CUSTOMER,
    ),
    _R.TRIPPED_AFTER_CLOSING: ReasonText(
        "上次合闸后跳闸，不再自动重试，请检查户内线路。",
        "It tripped after the last closing; it is not retried automatically.",
        _FIELD,
    ),
    _R.UNPAID_RECONNECT_LIMIT: ReasonText(
        "超出未缴费先复电的金额、时长或次数限制。",
        "Reconnecting without a payment would exceed its limit of amount, time or number.",
        _SUPERVISOR,
    ),
    _R.SYSTEM_RATE_EXCEEDED: ReasonText(
        "全网每小时停电数量已达上限，工单待两人放行。",
        "The hourly limit of disconnections is reached; two people must release the order.",
        _TWO,
    ),
    _R.CALLER_RATE_EXCEEDED: ReasonText(
        "该发起方每小时停电数量已达上限，工单待两人放行。",
        "This caller's hourly limit is reached; two people must release the order.",
        _TWO,
    ),
    _R.AREA_RATE_EXCEEDED: ReasonText(
        "该台区每小时停电数量已达上限，工单待两人放行。",
        "This transformer area's hourly limit is reached; two people must release the order.",
        _TWO,
    ),
    _R.POWER_RATE_EXCEEDED: ReasonText(
        "每小时停电负荷已达上限，工单待两人放行。",
        "The hourly limit of load shed is reached; two people must release the order.",
        _TWO,
    ),
    _R.SAFETY_RATE_EXCEEDED: ReasonText(
        "安全隔离操作数量已达上限，工单待两人放行。",
        "The cap on safety isolations is reached; two people must release the order.",
        _TWO,
    ),
    _R.TWO_RELEASERS_NEEDED: ReasonText(
        "放行需要两名不同人员。", "A release needs two different people.", _TWO
    ),
}

_GROUP_TITLES: dict[ReasonGroup, str] = {
    ReasonGroup.ORDER: "The order itself",
    ReasonGroup.HOLD: "Holds",
    ReasonGroup.NOTHING_OWED: "Nothing is owed here",
    ReasonGroup.DEVICE: "The device",
    ReasonGroup.MONEY: "The money is in doubt",
    ReasonGroup.NOTICE: "Notices",
    ReasonGroup.LOCAL_TIME: "Local time",
    ReasonGroup.CONTACT: "The contact",
    ReasonGroup.CLOSE: "Closing",
    ReasonGroup.GOVERNOR: "The governor",
}


def explain_reasons(reasons: tuple[RefusalReason, ...]) -> tuple[str, str]:
    """Return what the agent reads out for these reasons, (zh, en), in their order."""
    texts = [REASON_TEXTS[reason] for reason in reasons]
    return "".join(text.zh for text in texts), " ".join(text.en for text in texts)


def reasons_as_markdown() -> str:
    """Render the tables of `docs/refusal-reasons.md`: one section per group, one row per code."""
    lines: list[str] = []
    for group, title in _GROUP_TITLES.items():
        lines += [
            f"## {title}",
            "",
            "| Code | 说明 | In English | Cleared by |",
            "|---|---|---|---|",
        ]
        for reason in RefusalReason:
            if GROUP_OF_REASON[reason] is group:
                text = REASON_TEXTS[reason]
                clearer = f"{text.cleared_by.zh} / {text.cleared_by.en}"
                lines.append(f"| `{reason}` | {text.zh} | {text.en} | {clearer} |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"
