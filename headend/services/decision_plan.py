"""Which way a decision goes: whether anything follows, and whether a notice cycle still holds.

Pure: facts and the table's outcome in, an answer out. `headend.services.decision_effects` acts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from headend.domain.days import local_day
from headend.ports.notices import CycleClose, NoticeState
from headend.ports.policies import AccountFacts
from rules.notices import NoticeStage
from rules.table import Outcome

# The triggers of the runs; everything else that decides an account is an event of its own.
DAILY = "daily"
PLANNED = "planned"
# Asked when a disconnect was just seen to have happened.
JUST_CUT = "disconnected"

# Business time between two attempts on a planned disconnect that was refused or came to nothing.
RETRY_SPACING = timedelta(hours=1)

# What makes delivered notices worthless, by the trigger that tells of it.
RESTARTS: dict[str, CycleClose] = {
    "hold_ended": CycleClose.HOLD_ENDED,
    "reversal": CycleClose.REVERSAL,
    "re_rating": CycleClose.RE_RATING,
    "reconnection": CycleClose.RECONNECTION,
}


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why and when a decision is made."""

    trigger: str
    at: datetime
    business_date: date
    payment_id: int | None = None

    @property
    def may_begin(self) -> bool:
        """Whether warnings and notices may begin now.

        Only the daily run begins them, at an hour chosen for it: a re-rating at night or a payment
        that is too small undoes what no longer holds, and wakes nobody with a message.
        """
        return self.trigger == DAILY


@dataclass(frozen=True, slots=True)
class Judged:
    """One usage point's facts and what the table made of them.

    ``outcome`` is the table's, unless the account's emergency credit still covers what it owes:
    then a disconnect is an arrears warning.
    """

    facts: AccountFacts
    outcome: Outcome
    row: int
    shown: Mapping[str, Any]
    threshold_nano: int | None

    @property
    def covered(self) -> bool:
        """Whether the balance is known and does not permit a cut: money, not doubt, decides."""
        balance = self.facts.balance_nano
        if balance is None:
            return False
        return self.threshold_nano is None or balance >= self.threshold_nano


def needs_effects(judged: Judged, occasion: Occasion) -> bool:
    """Say whether a decision changes anything or ends something; the rest is not even stored."""
    facts = judged.facts
    return (
        judged.outcome is not Outcome.NONE
        or facts.cycle_id is not None
        or facts.open_disconnect == "unsent"
        or protected_too_late(facts, occasion)
    )


def protected_too_late(facts: AccountFacts, occasion: Occasion) -> bool:
    """Whether a hold came while the disconnect was on its way: it has to be undone at once.

    A hold placed on a supply that was off before is no such thing: it forbids cuts to come.
    """
    if not facts.hold_kinds:
        return False
    just_cut = facts.arrears_restraint and occasion.trigger == JUST_CUT
    return facts.open_disconnect == "in_flight" or just_cut


def closes_cycle(judged: Judged, occasion: Occasion) -> CycleClose | None:
    """Say why the open notice cycle ends here, or None when it goes on."""
    facts, at = judged.facts, occasion.at
    if facts.cycle_id is None or facts.cycle_opened_at is None:
        return None
    if facts.cycle_account_id != facts.account_id:
        return CycleClose.MOVED_OUT
    if judged.outcome is Outcome.RECONNECT:
        return CycleClose.PAID
    if facts.arrears_restraint:
        return CycleClose.DISCONNECTED
    noticed = state_of(facts, NoticeStage.DISCONNECT_NOTICE)
    if judged.covered and (judged.outcome is Outcome.NONE or noticed is not None):
        return CycleClose.PAID
    if noticed is None:
        return None  # it has only warned: no waiting time runs that anything could restart
    if occasion.trigger in RESTARTS:
        return RESTARTS[occasion.trigger]
    if facts.hold_ended_at is not None and facts.hold_ended_at > facts.cycle_opened_at:
        return CycleClose.HOLD_ENDED
    if not occasion.may_begin:
        return None  # what ended without an event is begun again, and so closed, by the daily run
    if noticed == NoticeState.FAILED:
        return CycleClose.NOTICE_FAILED
    lapsed = facts.expires_at is not None and at > facts.expires_at
    return CycleClose.EXPIRED if lapsed and facts.open_disconnect != "in_flight" else None


def plan_attempt(at: datetime, expires_at: datetime | None) -> datetime | None:
    """Return when to try a disconnect again, or None when its tolerance is used up."""
    retry_at = at + RETRY_SPACING
    return retry_at if expires_at is not None and retry_at <= expires_at else None


def occasion_at(
    trigger: str, at: datetime, *, zone: str, payment_id: int | None = None
) -> Occasion:
    """Return an occasion of the local day of ``at``."""
    return Occasion(trigger, at, local_day(at, zone), payment_id)


def withdraws(judged: Judged, closed: CycleClose | None) -> bool:
    """Whether an unsent disconnect no longer has what it rests on."""
    return (
        judged.outcome is not Outcome.DISCONNECT
        or closed is not None
        or bool(judged.facts.hold_kinds)
    )


def is_due(facts: AccountFacts, at: datetime) -> bool:
    """Say whether the cycle's planned instant, or a retry, has come."""
    return facts.next_decision_at is not None and facts.next_decision_at <= at


def state_of(facts: AccountFacts, stage: NoticeStage) -> str | None:
    """Return the state of a stage in the open cycle; None when it has no such notice."""
    states = dict(zip(facts.stage_names, facts.stage_states, strict=True))
    return states.get(stage.value)
