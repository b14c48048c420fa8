"""What happens next to one supply and by when, in the words that an agent reads out.

Pure: it judges what is stored and promises nothing that is not. Steps come most immediate first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headend.domain.supply import (
    IN_FLIGHT,
    LIFTED_BY,
    OrderState,
    Restraint,
    SupplyAction,
    SupplyState,
)
from headend.ports.holds import Hold
from headend.ports.notices import NoticeCycle
from headend.ports.orders import OrderRecord
from headend.ports.supply import StandingRestraint


class NextStepCode(StrEnum):
    """What is going to happen, or what somebody has to do."""

    CUSTOMER_PRESSES_BUTTON = "customer_presses_button"
    FIELD_CREW = "field_crew"
    RELEASE_BY_TWO = "release_by_two"
    RECONNECTING = "reconnecting"
    DISCONNECTING = "disconnecting"
    PAY_TO_RECONNECT = "pay_to_reconnect"
    RESTRAINT_REMAINS = "restraint_remains"
    DISCONNECT_PLANNED = "disconnect_planned"
    NOTICES_RUNNING = "notices_running"
    PROTECTED = "protected"
    SUPPLY_UNKNOWN = "supply_unknown"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class NextStep:
    """One step; ``by`` is its latest or planned instant where there is one."""

    code: NextStepCode
    zh: str
    en: str
    by: datetime | None = None


@dataclass(frozen=True, slots=True)
class SupplyFacts:
    """What is stored about one supply. ``reconnect_yuan`` is the balance that gets power back."""

    state: SupplyState
    restraints: Sequence[StandingRestraint]
    holds: Sequence[Hold]
    open_orders: Sequence[OrderRecord]
    cycle: NoticeCycle | None
    reconnect_yuan: str


def plan_next_steps(facts: SupplyFacts) -> tuple[NextStep, ...]:
    """Say what happens next; never empty."""
    steps = [_of_order(order) for order in facts.open_orders]
    reconnecting = any(order.action is SupplyAction.RECONNECT for order in facts.open_orders)
    steps += [
        _of_restraint(each.kind, facts.reconnect_yuan)
        for each in facts.restraints
        if not (reconnecting and each.kind is Restraint.ARREARS)
    ]
    if facts.cycle is not None and not facts.restraints:
        steps.append(_of_cycle(facts.cycle))
    if facts.holds:
        steps.append(
            NextStep(
                NextStepCode.PROTECTED,
                "该户登记有保护，保护期间不停电。",
                "A hold protects this supply; it is not cut while the hold stands.",
                min((hold.valid_to for hold in facts.holds if hold.valid_to), default=None),
            )
        )
    if facts.state is SupplyState.UNKNOWN and not facts.open_orders:
        steps.append(
            NextStep(
                NextStepCode.SUPPLY_UNKNOWN,
                "开关状态未知，需先读取电表。",
                "The state of the contact is not known; the meter has to be read first.",
            )
        )
    return tuple(steps) or (
        NextStep(NextStepCode.NOTHING, "无待办事项。", "Nothing is under way."),
    )


def _of_order(order: OrderRecord) -> NextStep:
    if order.state is OrderState.AWAITING_CUSTOMER:
        return NextStep(
            NextStepCode.CUSTOMER_PRESSES_BUTTON,
            "已允许合闸，请客户在电表上按键合闸。",
            "The meter is ready: the customer has to press its button.",
            order.deadline_at,
        )
    if order.state is OrderState.WITH_FIELD:
        return NextStep(
            NextStepCode.FIELD_CREW,
            "远程未能复电，已转现场班组处理。",
            "The meter was not reached from afar; a field crew has the order.",
            order.deadline_at,
        )
    if order.state in (OrderState.QUARANTINED, OrderState.AWAITING_APPROVAL):
        return NextStep(
            NextStepCode.RELEASE_BY_TWO,
            "工单暂扣，需两名不同人员放行。",
            "The order is held back until two different people release it.",
            order.not_after,
        )
    if order.action is SupplyAction.RECONNECT:
        return NextStep(
            NextStepCode.RECONNECTING,
            "正在恢复供电。",
            "Power is being restored.",
            order.deadline_at,
        )
    return NextStep(
        NextStepCode.DISCONNECTING,
        "停电正在执行。" if order.state in IN_FLIGHT else "停电工单已排队。",
        "The disconnection is being carried out."
        if order.state in IN_FLIGHT
        else "A disconnection is waiting to be carried out.",
        order.next_attempt_at,
    )


def _of_restraint(kind: Restraint, reconnect_yuan: str) -> NextStep:
    if kind is Restraint.ARREARS:
        return NextStep(
            NextStepCode.PAY_TO_RECONNECT,
            f"缴费至余额{reconnect_yuan}元以上后自动恢复供电。",
            f"Power comes back by itself when the balance is paid up to {reconnect_yuan} yuan.",
        )
    zh, en = LIFTED_BY[kind]
    return NextStep(
        NextStepCode.RESTRAINT_REMAINS,
        f"限制未解除：{zh}。",
        f"The contact stays open ({kind.replace('_', ' ')}) until it is lifted by: {en}.",
    )


def _of_cycle(cycle: NoticeCycle) -> NextStep:
    if cycle.planned_disconnect_at is None:
        return NextStep(
            NextStepCode.NOTICES_RUNNING,
            "正在按程序催缴，缴费后终止。",
            "The customer is being asked to pay; a payment ends this.",
        )
    return NextStep(
        NextStepCode.DISCONNECT_PLANNED,
        "如届时仍未缴费将停电，缴费后自动取消。",
        "Supply will be disconnected then unless it is paid; a payment cancels this by itself.",
        cycle.planned_disconnect_at,
    )
