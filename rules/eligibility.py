"""The guard of a disconnect: code, not policy; no table and no person bypasses it.

`check_disconnect` is asked twice with fresh facts: when deciding, and again in the transaction
that commits ``sending``. It answers with *every* reason for a refusal, most decisive first, and
with warnings. It knows no storage, no clock and no meter. `rules.guard_facts` lists the facts and
what each means when unknown; `rules.closing` guards the close; `rules.screening` asks the same
questions of a whole fleet at once, and the tests hold the two together.

Which tests apply depends on the purpose. *Arrears* faces all of them. *Customer request*,
*move-out* and *test* face those of the order, the device, the contact and the holds that protect
people or property. *Safety isolation* skips the arrears tests and the stop switch, is warned of
what it overrides, and is refused only where it would act on the wrong premises or behind a crew's
back; its own small cap is the governor's.

Source: "The guard" of the design document.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from headend.domain.days import local_instant
from headend.domain.supply import OrderPurpose, Restraint, SupplyState
from rules.closing import CloseFacts, CloseMode, CloseVerdict, check_close
from rules.floors import Floors
from rules.guard_facts import DisconnectFacts, GuardVerdict, PaymentMode
from rules.moratorium import find_zone
from rules.reasons import PROTECTIVE_HOLDS, HoldKind, RefusalReason

__all__ = [
    "CLOCK_SKEW",
    "GUARD",
    "CloseFacts",
    "CloseMode",
    "CloseVerdict",
    "DisconnectFacts",
    "GuardTest",
    "GuardVerdict",
    "PaymentMode",
    "check_close",
    "check_disconnect",
]

# Hosts' clocks differ a little; evidence from further in the future than this is not evidence.
CLOCK_SKEW = timedelta(minutes=1)

Predicate = Callable[[DisconnectFacts, Floors, datetime], bool]


@dataclass(frozen=True, slots=True)
class GuardTest:
    """One line of the guard: the reason given when ``fails`` says that the test failed.

    ``warns_safety``: safety isolation is not refused by it but warned of it.
    """

    reason: RefusalReason
    purposes: frozenset[OrderPurpose]
    fails: Predicate
    warns_safety: bool = False


def check_disconnect(facts: DisconnectFacts, floors: Floors, now: datetime) -> GuardVerdict:
    """Say whether this disconnect may happen at ``now``, and every reason why not.

    ``floors`` are the deployment's, already tightened by the policy. The order of the reasons is
    fixed by `RefusalReason`. Never raises for a fact.
    """
    reasons: list[RefusalReason] = []
    warnings: list[RefusalReason] = []
    isolating = facts.purpose is OrderPurpose.SAFETY_ISOLATION
    for test in GUARD:
        applies = facts.purpose in test.purposes
        if not applies and not (isolating and test.warns_safety):
            continue
        if test.fails(facts, floors, now):
            (reasons if applies else warnings).append(test.reason)
    return GuardVerdict(tuple(reasons), tuple(warnings))


def _unless_seen_within(seen_at: datetime | None, age: timedelta, now: datetime) -> bool:
    return seen_at is None or now - seen_at > age or seen_at - now > CLOCK_SKEW


# --- the order ---------------------------------------------------------------------------------


def _stop_switch(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return facts.stop_switch_on is not False


def _expired(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return facts.not_after is not None and now > facts.not_after


def _not_yet_due(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return facts.not_before is not None and now < facts.not_before


def _field_lock(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return facts.restraints is not None and Restraint.FIELD_LOCK in facts.restraints


def _holds(kind: HoldKind) -> Predicate:
    def fails(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
        return facts.holds is not None and kind in facts.holds

    return fails


# --- money -------------------------------------------------------------------------------------


def _not_below(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    if facts.balance_nano is None or facts.threshold_nano is None:
        return False
    return facts.balance_nano >= facts.threshold_nano


def _rests_on_estimates(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    # Without the estimated charges the balance would be higher by that much; only what actual
    # readings prove may cut. Estimates in the customer's favour change nothing here.
    if facts.estimated_nano is None:
        return True
    if facts.balance_nano is None or facts.threshold_nano is None or _not_below(facts, floors, now):
        return False
    return facts.balance_nano + max(0, facts.estimated_nano) >= facts.threshold_nano


def _stale(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return _unless_seen_within(facts.balance_as_of, floors.maximum_data_age, now)


def _payment_unknown(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return facts.payment_pending is None or facts.channel_at_fault is None


def _origin_unknown(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return facts.debt_of_former_occupant is None or facts.back_billing_only is None


def _no_agreement(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return facts.payment_mode is PaymentMode.PREPAID and facts.agreement_signed is not True


def _postpaid(fails: Callable[[DisconnectFacts, Floors], bool]) -> Predicate:
    def guarded(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
        return facts.payment_mode is PaymentMode.POSTPAID and fails(facts, floors)

    return guarded


def _debt_unknown(facts: DisconnectFacts, floors: Floors) -> bool:
    return facts.undisputed_debt_nano is None or facts.days_overdue is None


def _no_undisputed_debt(facts: DisconnectFacts, floors: Floors) -> bool:
    return facts.undisputed_debt_nano is not None and facts.undisputed_debt_nano <= 0


def _not_long_overdue(facts: DisconnectFacts, floors: Floors) -> bool:
    return facts.days_overdue is not None and facts.days_overdue <= floors.overdue_days


# --- notices -----------------------------------------------------------------------------------


def _restarted(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    if facts.cycle_restarted_at is None or facts.notice_delivered_at is None:
        return False
    return facts.notice_delivered_at <= facts.cycle_restarted_at


def _still_waiting(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    if facts.notice_delivered_at is None:
        return False
    over = facts.notice_delivered_at + floors.notice_time_of(facts.customer_class)
    return now < over or (facts.waits_until is not None and now < facts.waits_until)


def _too_early(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return facts.planned_at is not None and now < facts.planned_at


def _too_late(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    if facts.planned_at is None:
        return False
    tolerance = min(facts.tolerance or timedelta(0), floors.maximum_tolerance)
    return now > facts.planned_at + tolerance


def _not_reminded(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    if floors.reminder_lead == timedelta(0):
        return False
    reminded, noticed = facts.reminder_delivered_at, facts.notice_delivered_at
    # A reminder older than the notice belongs to an earlier cycle.
    return reminded is None or (noticed is not None and reminded < noticed)


def _reminded_too_late(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    if facts.reminder_delivered_at is None:
        return False
    return now - facts.reminder_delivered_at < floors.reminder_lead


# --- local time --------------------------------------------------------------------------------


def _calendar_unknown(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return facts.no_disconnect_day is None or find_zone(facts.zone) is None


def _local_time(facts: DisconnectFacts, now: datetime) -> time | None:
    zone = find_zone(facts.zone)
    return now.astimezone(zone).time() if zone is not None else None


def _outside_window(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    at = _local_time(facts, now)
    if at is None:
        return False
    if not floors.window.contains(at):
        return True
    return facts.day_window is not None and not facts.day_window.contains(at)


def time_left_to_pay(now: datetime, zone: ZoneInfo, same_day_until: time) -> timedelta:
    """Return the real time from ``now`` to the day's last instant that still counts as same day."""
    limit = local_instant(now.astimezone(zone).date(), same_day_until, zone.key)
    return limit - now


def _too_few_hours(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    zone = find_zone(facts.zone)
    if zone is None:
        return False
    return time_left_to_pay(now, zone, floors.same_day_until) < floors.time_to_pay


# --- the device --------------------------------------------------------------------------------


def _silent(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return _unless_seen_within(facts.meter_last_heard_at, floors.meter_heard_within, now)


def _relay_state(facts: DisconnectFacts) -> SupplyState:
    # A belief that was never observed is no belief.
    relay = facts.relay
    return SupplyState.UNKNOWN if relay is None or relay.observed_at is None else relay.state


def _relay_unknown(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return _relay_state(facts) is SupplyState.UNKNOWN


def _already_off(facts: DisconnectFacts, floors: Floors, now: datetime) -> bool:
    return _relay_state(facts) is SupplyState.DISCONNECTED


_EVERY = frozenset(OrderPurpose)
_NOT_SAFETY = _EVERY - {OrderPurpose.SAFETY_ISOLATION}
_ARREARS = frozenset({OrderPurpose.ARREARS})
_R = RefusalReason


def _hold_test(kind: HoldKind) -> GuardTest:
    protective = kind in PROTECTIVE_HOLDS
    purposes = _NOT_SAFETY if protective else _ARREARS
    return GuardTest(RefusalReason(kind.value), purposes, _holds(kind), warns_safety=protective)


_TESTS: tuple[GuardTest, ...] = (
    GuardTest(_R.STOP_SWITCH_ON, _NOT_SAFETY, _stop_switch),
    GuardTest(_R.ORDER_EXPIRED, _EVERY, _expired),
    GuardTest(_R.ORDER_NOT_YET_DUE, _EVERY, _not_yet_due),
    GuardTest(_R.FIELD_LOCK, _EVERY, _field_lock),
    GuardTest(_R.RESTRAINTS_UNKNOWN, _NOT_SAFETY, lambda f, _l, _n: f.restraints is None, True),
    *(_hold_test(kind) for kind in HoldKind),
    GuardTest(_R.HOLDS_UNKNOWN, _NOT_SAFETY, lambda f, _l, _n: f.holds is None, True),
    GuardTest(_R.BALANCE_NOT_BELOW_THRESHOLD, _ARREARS, _not_below),
    GuardTest(_R.PAYMENT_PENDING, _ARREARS, lambda f, _l, _n: f.payment_pending is True),
    GuardTest(_R.CHANNEL_AT_FAULT, _ARREARS, lambda f, _l, _n: f.channel_at_fault is True),
    GuardTest(
        _R.DEBT_OF_FORMER_OCCUPANT, _ARREARS, lambda f, _l, _n: f.debt_of_former_occupant is True
    ),
    GuardTest(_R.BACK_BILLING_ONLY, _ARREARS, lambda f, _l, _n: f.back_billing_only is True),
    GuardTest(_R.IDENTITY_MISMATCH, _EVERY, lambda f, _l, _n: f.identity_mismatch_open is True),
    GuardTest(
        _R.METER_LINK_UNCONFIRMED, _EVERY, lambda f, _l, _n: f.meter_link_confirmed is not True
    ),
    GuardTest(_R.METER_NOT_HEARD_LATELY, _NOT_SAFETY, _silent, True),
    GuardTest(
        _R.REMOTE_CLOSE_NOT_POSSIBLE,
        _NOT_SAFETY,
        lambda f, _l, _n: f.remote_close_possible is not True,
        True,
    ),
    GuardTest(_R.BALANCE_RESTS_ON_ESTIMATES, _ARREARS, _rests_on_estimates),
    GuardTest(_R.BALANCE_STALE, _ARREARS, _stale),
    GuardTest(_R.BALANCE_UNKNOWN, _ARREARS, lambda f, _l, _n: f.balance_nano is None),
    GuardTest(_R.THRESHOLD_UNKNOWN, _ARREARS, lambda f, _l, _n: f.threshold_nano is None),
    GuardTest(_R.PAYMENT_STATE_UNKNOWN, _ARREARS, _payment_unknown),
    GuardTest(_R.DEBT_ORIGIN_UNKNOWN, _ARREARS, _origin_unknown),
    GuardTest(_R.PAYMENT_MODE_UNKNOWN, _ARREARS, lambda f, _l, _n: f.payment_mode is None),
    GuardTest(_R.NO_SIGNED_AGREEMENT, _ARREARS, _no_agreement),
    GuardTest(_R.DEBT_UNKNOWN, _ARREARS, _postpaid(_debt_unknown)),
    GuardTest(_R.NO_UNDISPUTED_DEBT, _ARREARS, _postpaid(_no_undisputed_debt)),
    GuardTest(_R.DEBT_NOT_LONG_OVERDUE, _ARREARS, _postpaid(_not_long_overdue)),
    GuardTest(_R.DEBT_NOT_DUNNED, _ARREARS, _postpaid(lambda f, _l: f.debt_dunned is not True)),
    GuardTest(_R.DEBT_NOT_APPROVED, _ARREARS, _postpaid(lambda f, _l: f.debt_approved is not True)),
    GuardTest(_R.NOTICE_NOT_DELIVERED, _ARREARS, lambda f, _l, _n: f.notice_delivered_at is None),
    GuardTest(_R.NOTICE_CYCLE_RESTARTED, _ARREARS, _restarted),
    GuardTest(_R.WAITING_TIME_NOT_OVER, _ARREARS, _still_waiting),
    GuardTest(_R.PLANNED_TIME_UNKNOWN, _ARREARS, lambda f, _l, _n: f.planned_at is None),
    GuardTest(_R.PLANNED_TIME_NOT_REACHED, _ARREARS, _too_early),
    GuardTest(_R.PLANNED_TIME_PASSED, _ARREARS, _too_late),
    GuardTest(_R.REMINDER_NOT_DELIVERED, _ARREARS, _not_reminded),
    GuardTest(_R.REMINDER_TOO_RECENT, _ARREARS, _reminded_too_late),
    GuardTest(_R.LOCAL_CALENDAR_UNKNOWN, _ARREARS, _calendar_unknown),
    GuardTest(_R.NO_DISCONNECT_DAY, _ARREARS, lambda f, _l, _n: f.no_disconnect_day is True),
    GuardTest(_R.OUTSIDE_PERMITTED_WINDOW, _ARREARS, _outside_window),
    GuardTest(_R.TOO_FEW_HOURS_LEFT, _ARREARS, _too_few_hours),
    GuardTest(_R.RELAY_STATE_UNKNOWN, _NOT_SAFETY, _relay_unknown, True),
    GuardTest(_R.ALREADY_DISCONNECTED, _NOT_SAFETY, _already_off, True),
)

# The guard, in the order in which its reasons are told.
_RANK = {reason: rank for rank, reason in enumerate(RefusalReason)}
GUARD: tuple[GuardTest, ...] = tuple(sorted(_TESTS, key=lambda test: _RANK[test.reason]))
