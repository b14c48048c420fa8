"""The guard at work: gathers the stored facts of one usage point and asks `rules` about them.

It runs when an order is asked for and again in the transaction that commits ``sending``. It knows
which facts this release does not keep yet, and says nothing about them, so that `rules` applies
its stated default: postpaid debt (amount, age, dunning, approval) is unknown, which refuses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from headend.domain.days import local_day
from headend.domain.supply import LIFTED_BY, OrderPurpose, Restraint, SupplyBelief
from headend.ports.supply import GuardRow
from headend.ports.unit_of_work import UnitOfWork
from rules.closing import CloseFacts, CloseVerdict, check_close
from rules.eligibility import check_disconnect
from rules.floors import Floors
from rules.guard_facts import DisconnectFacts, GuardVerdict, PaymentMode
from rules.moratorium import DisconnectCalendar
from rules.reasons import HoldKind

# How far back corrections are looked at when asking whether the debt is back-billing alone.
CORRECTIONS_LOOK_BACK = timedelta(days=92)


@dataclass(frozen=True, slots=True)
class PolicyTerms:
    """What the policy in force says to the guard about one account.

    ``threshold_nano`` is the balance below which an account may be cut; None when no rule says.
    """

    floors: Floors
    threshold_nano: int | None
    calendar: DisconnectCalendar


class PolicyTermsSource(Protocol):
    """Finds the terms of the policy in force."""

    async def terms(
        self,
        uow: UnitOfWork,
        *,
        at: datetime,
        customer_class: str | None,
        emergency_credit_nano: int | None,
    ) -> PolicyTerms: ...


@dataclass(frozen=True, slots=True)
class DisconnectJudgement:
    """The guard's answer about a disconnect, with the facts it saw."""

    verdict: GuardVerdict
    row: GuardRow
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CloseJudgement:
    """The guard's answer about a close, with the facts it saw."""

    verdict: CloseVerdict
    row: GuardRow
    facts: Mapping[str, Any]


class Guard:
    """Judges one usage point on the facts stored at this instant."""

    def __init__(self, policies: PolicyTermsSource) -> None:
        self._policies = policies

    async def judge_disconnect(
        self,
        uow: UnitOfWork,
        usage_point_id: int,
        *,
        purpose: OrderPurpose,
        at: datetime,
        account_id: int | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> DisconnectJudgement:
        """Judge a disconnect. ``account_id`` is whose debt it is; None means the occupant's."""
        row = await self.row(uow, usage_point_id, at=at)
        terms = await self._policies.terms(
            uow,
            at=at,
            customer_class=row.customer_class,
            emergency_credit_nano=row.emergency_credit_nano,
        )
        facts = disconnect_facts(
            row,
            terms,
            purpose=purpose,
            at=at,
            account_id=account_id,
            not_before=not_before,
            not_after=not_after,
        )
        verdict = check_disconnect(facts, terms.floors, at)
        return DisconnectJudgement(verdict, row, show_facts(row, terms.threshold_nano))

    async def judge_close(
        self,
        uow: UnitOfWork,
        usage_point_id: int,
        *,
        at: datetime,
        automatic: bool,
        appliances_off: bool,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        disregard: frozenset[Restraint] = frozenset(),
    ) -> CloseJudgement:
        """Judge a close. ``disregard`` are restraints that the caller lifts in this transaction."""
        row = await self.row(uow, usage_point_id, at=at)
        remaining = frozenset(Restraint(kind) for kind in row.restraints) - disregard
        facts = CloseFacts(
            restraints=remaining,
            works_permitted_on_area=row.works_permitted,
            closes_directly=row.closes_directly,
            standing_consent=row.standing_close_consent,
            appliances_off_recorded=appliances_off,
            automatic=automatic,
            not_before=not_before,
            not_after=not_after,
        )
        return CloseJudgement(check_close(facts, at), row, show_facts(row, None))

    async def row(self, uow: UnitOfWork, usage_point_id: int, *, at: datetime) -> GuardRow:
        """Read the stored facts."""
        return await uow.supply.guard_row(
            usage_point_id, at=at, corrections_since=(at - CORRECTIONS_LOOK_BACK).date()
        )


def disconnect_facts(
    row: GuardRow,
    terms: PolicyTerms,
    *,
    purpose: OrderPurpose,
    at: datetime,
    account_id: int | None,
    not_before: datetime | None,
    not_after: datetime | None,
) -> DisconnectFacts:
    """Put a stored row and the policy's terms into the guard's own words."""
    today = local_day(at, row.time_zone)
    window = terms.calendar.window_on(today)
    holds = _known_holds(row.holds)
    tolerance = None
    if row.notice_expires_at is not None and row.planned_at is not None:
        tolerance = row.notice_expires_at - row.planned_at
    return DisconnectFacts(
        purpose=purpose,
        customer_class=row.customer_class,
        stop_switch_on=row.stop_switch_on,
        not_before=not_before,
        not_after=not_after,
        restraints=frozenset(Restraint(kind) for kind in row.restraints),
        holds=holds,
        balance_nano=row.balance_nano,
        threshold_nano=terms.threshold_nano,
        estimated_nano=row.estimated_nano,
        balance_as_of=row.balance_as_of,
        payment_pending=row.payment_pending,
        channel_at_fault=row.channel_at_fault,
        debt_of_former_occupant=_is_former(row, account_id),
        back_billing_only=_is_back_billing_only(row, terms.threshold_nano),
        payment_mode=PaymentMode(row.payment_mode) if row.payment_mode else None,
        agreement_signed=row.agreement_signed,
        notice_delivered_at=row.notice_delivered_at,
        cycle_restarted_at=row.cycle_restarted_at,
        planned_at=row.planned_at,
        tolerance=tolerance,
        reminder_delivered_at=row.reminder_delivered_at,
        zone=row.time_zone,
        no_disconnect_day=window is None,
        day_window=window,
        identity_mismatch_open=row.identity_mismatch_open,
        meter_link_confirmed=row.meter_link_confirmed,
        meter_last_heard_at=row.meter_last_heard_at,
        remote_close_possible=row.remote_close,
        relay=SupplyBelief(row.supply_state, row.supply_source or "", row.supply_observed_at),
    )


def _known_holds(kinds: tuple[str, ...]) -> frozenset[HoldKind] | None:
    # A hold whose kind this release does not know still protects: the set counts as unknown.
    try:
        return frozenset(HoldKind(kind) for kind in kinds)
    except ValueError:
        return None


def _is_former(row: GuardRow, account_id: int | None) -> bool | None:
    if row.account_id is None:
        return None
    return account_id is not None and account_id != row.account_id


def _is_back_billing_only(row: GuardRow, threshold_nano: int | None) -> bool | None:
    """Whether the balance would be high enough without the charges posted as corrections."""
    if row.balance_nano is None or threshold_nano is None:
        return None
    charged_back = max(0, -row.corrections_nano)
    return charged_back > 0 and row.balance_nano + charged_back >= threshold_nano


def show_facts(row: GuardRow, threshold_nano: int | None) -> dict[str, Any]:
    """Return the facts as plain JSON values, for the record of what was seen."""
    shown = {
        "balance_nano": row.balance_nano,
        "estimated_nano": row.estimated_nano,
        "threshold_nano": threshold_nano,
        "balance_as_of": row.balance_as_of,
        "holds": list(row.holds),
        "restraints": list(row.restraints),
        "meter_last_heard_at": row.meter_last_heard_at,
        "notice_delivered_at": row.notice_delivered_at,
        "planned_at": row.planned_at,
        "reminder_delivered_at": row.reminder_delivered_at,
        "supply_state": row.supply_state,
        "supply_observed_at": row.supply_observed_at,
        "payment_pending": row.payment_pending,
        "stop_switch_on": row.stop_switch_on,
    }
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in shown.items()
    }


def show_remaining(remaining: tuple[Restraint, ...]) -> list[dict[str, str]]:
    """Name the restraints that remain and who lifts each, in both languages."""
    return [
        {"restraint": kind, "lifted_by_zh": LIFTED_BY[kind][0], "lifted_by_en": LIFTED_BY[kind][1]}
        for kind in remaining
    ]
