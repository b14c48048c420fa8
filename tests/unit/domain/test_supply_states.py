"""The order transition table: what may follow what, and that an illegal move changes nothing."""

import itertools

import pytest

from headend.domain.errors import InvariantViolated
from headend.domain.supply import (
    FINAL,
    IN_FLIGHT,
    LIFTED_BY,
    OPEN,
    RESTRAINT_OF_PURPOSE,
    TRANSITIONS,
    UNSENT,
    ControlState,
    OrderPurpose,
    OrderState,
    RelayReading,
    Restraint,
    SupplyState,
    check_transition,
)

PAIRS = list(itertools.product(OrderState, OrderState))


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_only_the_table_allows_a_move(old: OrderState, new: OrderState) -> None:
    if new in TRANSITIONS[old]:
        check_transition(old, new)
    else:
        with pytest.raises(InvariantViolated, match=f"from {old} to {new}"):
            check_transition(old, new)


def test_every_state_has_its_row_and_its_group() -> None:
    assert set(TRANSITIONS) == set(OrderState)
    assert set(OrderState) == OPEN | FINAL
    assert IN_FLIGHT | UNSENT < OPEN
    assert not IN_FLIGHT & UNSENT


def test_what_was_sent_can_never_be_cancelled_or_refused_afterwards() -> None:
    for state in IN_FLIGHT - {OrderState.SENDING}:
        assert OrderState.REFUSED not in TRANSITIONS[state]
        assert OrderState.CANCELLED not in TRANSITIONS[state]


def test_only_seen_evidence_completes() -> None:
    before_completed = {
        s for s, following in TRANSITIONS.items() if OrderState.COMPLETED in following
    }
    assert before_completed == {
        OrderState.VERIFYING,
        OrderState.AWAITING_CUSTOMER,
        OrderState.WITH_FIELD,
    }


def test_an_unknown_outcome_is_never_sent_again_without_a_look() -> None:
    assert OrderState.SENDING not in TRANSITIONS[OrderState.OUTCOME_UNKNOWN]


def test_final_states_are_the_ones_the_design_names() -> None:
    assert {state.value for state in FINAL} == {
        "completed", "refused", "failed", "expired", "cancelled", "superseded",
    }  # fmt: skip


def test_every_restraint_says_who_lifts_it_and_every_purpose_leaves_one() -> None:
    assert set(LIFTED_BY) == set(Restraint)
    assert set(RESTRAINT_OF_PURPOSE) == set(OrderPurpose)


@pytest.mark.parametrize(
    ("output", "control", "expected"),
    [
        (True, ControlState.CONNECTED, SupplyState.CONNECTED),
        (False, ControlState.DISCONNECTED, SupplyState.DISCONNECTED),
        (False, ControlState.READY_FOR_RECONNECTION, SupplyState.READY_FOR_RECONNECTION),
        (True, ControlState.DISCONNECTED, SupplyState.UNKNOWN),
        (False, ControlState.CONNECTED, SupplyState.UNKNOWN),
        (True, ControlState.READY_FOR_RECONNECTION, SupplyState.UNKNOWN),
    ],
)
def test_output_and_control_state_must_agree(
    output: bool, control: ControlState, expected: SupplyState
) -> None:
    assert RelayReading(output, control, 4).supply_state is expected
