"""What an agent reads out about what happens next: most immediate first, and never a guess."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from headend.domain.supply import (
    LIFTED_BY,
    EvidenceGrade,
    OrderPurpose,
    OrderState,
    Restraint,
    SupplyAction,
    SupplyState,
)
from headend.ports.holds import Hold
from headend.ports.notices import NoticeCycle
from headend.ports.orders import OrderRecord
from headend.ports.supply import StandingRestraint
from headend.services.supply_next import NextStep, NextStepCode, SupplyFacts, plan_next_steps
from rules.reasons import HoldKind

NOW = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)
DEADLINE = NOW + timedelta(hours=12)

CALM = SupplyFacts(
    state=SupplyState.CONNECTED,
    restraints=(),
    holds=(),
    open_orders=(),
    cycle=None,
    reconnect_yuan="10.00",
)
CYCLE = NoticeCycle(
    cycle_id=1,
    account_id=1,
    usage_point_id=1,
    opened_at=NOW,
    planned_disconnect_at=NOW + timedelta(days=7),
    expires_at=None,
    next_decision_at=None,
    refused_since=None,
    closed_at=None,
    close_reason=None,
)


def order(action: SupplyAction, state: OrderState) -> OrderRecord:
    """Return an order of a kind in a state."""
    return OrderRecord(
        order_id=1,
        usage_point_id=1,
        account_id=1,
        meter_id=1,
        link_id=1,
        action=action,
        purpose=OrderPurpose.ARREARS,
        state=state,
        priority=10,
        reason="",
        requested_by="system",
        idempotency_key="k",
        not_before=None,
        not_after=None,
        deadline_at=DEADLINE if action is SupplyAction.RECONNECT else None,
        next_attempt_at=NOW,
        attempts=0,
        lease_holder=None,
        fence=0,
        appliances_off=False,
        refusal_codes=(),
        evidence_grade=EvidenceGrade.NONE,
        evidence={},
        decision_id=None,
        payment_id=None,
        notice_cycle_id=None,
        created_at=NOW,
        created_real_at=NOW,
        finished_at=None,
        finished_real_at=None,
    )


def restraint(kind: Restraint) -> StandingRestraint:
    """Return a standing restraint."""
    return StandingRestraint(1, kind, NOW, "test", "as the test says", None)


def hold(valid_to: datetime | None) -> Hold:
    """Return an active hold."""
    return Hold(1, 1, HoldKind.MEDICAL, NOW, valid_to, "owner", "letter", None, None)


def codes(facts: SupplyFacts) -> list[NextStepCode]:
    """Return the codes of the steps, each told in both languages."""
    steps = plan_next_steps(facts)
    assert all(step.zh and step.en for step in steps)
    return [step.code for step in steps]


def only(facts: SupplyFacts) -> NextStep:
    """Return the only step."""
    (step,) = plan_next_steps(facts)
    return step


def test_where_nothing_is_under_way_that_is_said() -> None:
    assert codes(CALM) == [NextStepCode.NOTHING]


@pytest.mark.parametrize(
    ("action", "state", "code", "by"),
    [
        (SupplyAction.RECONNECT, OrderState.QUEUED, NextStepCode.RECONNECTING, DEADLINE),
        (SupplyAction.RECONNECT, OrderState.SENDING, NextStepCode.RECONNECTING, DEADLINE),
        (SupplyAction.RECONNECT, OrderState.WITH_FIELD, NextStepCode.FIELD_CREW, DEADLINE),
        (
            SupplyAction.RECONNECT,
            OrderState.AWAITING_CUSTOMER,
            NextStepCode.CUSTOMER_PRESSES_BUTTON,
            DEADLINE,
        ),
        (SupplyAction.DISCONNECT, OrderState.SCHEDULED, NextStepCode.DISCONNECTING, NOW),
        (SupplyAction.DISCONNECT, OrderState.VERIFYING, NextStepCode.DISCONNECTING, NOW),
        (SupplyAction.DISCONNECT, OrderState.QUARANTINED, NextStepCode.RELEASE_BY_TWO, None),
    ],
)
def test_an_open_order_says_what_it_waits_for_and_by_when(
    action: SupplyAction, state: OrderState, code: NextStepCode, by: datetime | None
) -> None:
    step = only(replace(CALM, open_orders=[order(action, state)]))
    assert (step.code, step.by) == (code, by)


def test_a_disconnection_under_way_is_told_from_one_that_waits() -> None:
    waiting = only(replace(CALM, open_orders=[order(SupplyAction.DISCONNECT, OrderState.QUEUED)]))
    sent = only(replace(CALM, open_orders=[order(SupplyAction.DISCONNECT, OrderState.SENDING)]))
    assert waiting.zh != sent.zh
    assert waiting.en != sent.en


def test_arrears_say_how_far_to_pay() -> None:
    step = only(
        replace(CALM, state=SupplyState.DISCONNECTED, restraints=[restraint(Restraint.ARREARS)])
    )
    assert step.code is NextStepCode.PAY_TO_RECONNECT
    assert "10.00" in step.zh
    assert "10.00" in step.en


def test_a_payment_that_is_reconnecting_is_not_asked_for_again() -> None:
    facts = replace(
        CALM,
        state=SupplyState.DISCONNECTED,
        restraints=[restraint(Restraint.ARREARS)],
        open_orders=[order(SupplyAction.RECONNECT, OrderState.QUEUED)],
    )
    assert codes(facts) == [NextStepCode.RECONNECTING]


@pytest.mark.parametrize("kind", [kind for kind in Restraint if kind is not Restraint.ARREARS])
def test_another_restraint_says_who_lifts_it(kind: Restraint) -> None:
    step = only(replace(CALM, state=SupplyState.DISCONNECTED, restraints=[restraint(kind)]))
    assert step.code is NextStepCode.RESTRAINT_REMAINS
    assert LIFTED_BY[kind][0] in step.zh
    assert LIFTED_BY[kind][1] in step.en


def test_a_notice_cycle_tells_the_time_that_the_customer_was_told() -> None:
    planned = only(replace(CALM, cycle=CYCLE))
    assert (planned.code, planned.by) == (
        NextStepCode.DISCONNECT_PLANNED,
        CYCLE.planned_disconnect_at,
    )
    running = only(replace(CALM, cycle=replace(CYCLE, planned_disconnect_at=None)))
    assert (running.code, running.by) == (NextStepCode.NOTICES_RUNNING, None)


def test_a_hold_says_until_when_it_protects() -> None:
    first, later = NOW + timedelta(days=1), NOW + timedelta(days=2)
    step = only(replace(CALM, holds=[hold(None), hold(later), hold(first)]))
    assert (step.code, step.by) == (NextStepCode.PROTECTED, first)
    assert only(replace(CALM, holds=[hold(None)])).by is None


def test_a_contact_that_nobody_saw_has_to_be_read() -> None:
    assert codes(replace(CALM, state=SupplyState.UNKNOWN)) == [NextStepCode.SUPPLY_UNKNOWN]
