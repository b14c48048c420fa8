"""What the guard of a disconnect looks at: facts of one usage point, and its answer.

None means unknown, and what is unknown never disconnects:

=========================  =====================================================================
fact                       when it is None
=========================  =====================================================================
customer_class             the longest notice time of all classes applies
stop_switch_on             refused, `stop_switch_on`
not_before, not_after      passes: the order has no such limit
restraints                 refused, `restraints_unknown` (safety isolation passes)
holds                      refused, `holds_unknown` (safety isolation is warned)
balance_nano               refused, `balance_unknown`
threshold_nano             refused, `threshold_unknown` (a missing rule)
estimated_nano             refused, `balance_rests_on_estimates`
balance_as_of              refused, `balance_stale`
payment_pending            refused, `payment_state_unknown`
channel_at_fault           refused, `payment_state_unknown`
debt_of_former_occupant    refused, `debt_origin_unknown`
back_billing_only          refused, `debt_origin_unknown`
payment_mode               refused, `payment_mode_unknown`
agreement_signed           refused, `no_signed_agreement` (prepaid)
undisputed_debt_nano       refused, `debt_unknown` (postpaid)
days_overdue               refused, `debt_unknown` (postpaid)
debt_dunned                refused, `debt_not_dunned` (postpaid)
debt_approved              refused, `debt_not_approved` (postpaid)
notice_delivered_at        refused, `notice_not_delivered`
cycle_restarted_at         passes: nothing restarted the cycle
waits_until                the floor's waiting time alone applies
planned_at                 refused, `planned_time_unknown`
tolerance                  none: the notified instant must be met exactly
reminder_delivered_at      refused, `reminder_not_delivered` (where a reminder is required)
zone, no_disconnect_day    refused, `local_calendar_unknown`
day_window                 passes: the floor's window alone applies
identity_mismatch_open     passes: the identity is read in the session before any switching
meter_link_confirmed       refused, `meter_link_unconfirmed`
meter_last_heard_at        refused, `meter_not_heard_lately`
remote_close_possible      refused, `remote_close_not_possible`
relay                      refused, `relay_state_unknown` (it is read first)
=========================  =====================================================================

The refusals above hold for arrears; `rules.eligibility` says which other purposes face them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from headend.domain.supply import OrderPurpose, Restraint, SupplyBelief
from rules.moratorium import DailyWindow
from rules.reasons import HoldKind, RefusalReason


class PaymentMode(StrEnum):
    """How the account pays."""

    PREPAID = "prepaid"
    POSTPAID = "postpaid"


@dataclass(frozen=True, slots=True, kw_only=True)
class DisconnectFacts:
    """All that the guard of one disconnect knows. Money in nano-yuan, instants aware UTC.

    ``balance_nano`` is what the account has left, negative when it owes; ``estimated_nano`` is the
    part of the charges since the last actual reading that rests on estimates (positive when the
    estimates lowered the balance); ``balance_as_of`` is the instant up to which the balance rests
    on actual readings. ``payment_pending`` is already judged against its channel's limit.
    ``cycle_restarted_at`` is the last end of a hold, reversal, re-rating or reconnection.
    ``no_disconnect_day`` and ``day_window`` describe the local day of the decision.
    """

    purpose: OrderPurpose
    customer_class: str | None = None
    stop_switch_on: bool | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    restraints: frozenset[Restraint] | None = None
    holds: frozenset[HoldKind] | None = None
    # Money
    balance_nano: int | None = None
    threshold_nano: int | None = None
    estimated_nano: int | None = None
    balance_as_of: datetime | None = None
    payment_pending: bool | None = None
    channel_at_fault: bool | None = None
    debt_of_former_occupant: bool | None = None
    back_billing_only: bool | None = None
    payment_mode: PaymentMode | None = None
    agreement_signed: bool | None = None
    undisputed_debt_nano: int | None = None
    days_overdue: int | None = None
    debt_dunned: bool | None = None
    debt_approved: bool | None = None
    # Notices
    notice_delivered_at: datetime | None = None
    cycle_restarted_at: datetime | None = None
    waits_until: datetime | None = None
    planned_at: datetime | None = None
    tolerance: timedelta | None = None
    reminder_delivered_at: datetime | None = None
    # Local time
    zone: str | None = None
    no_disconnect_day: bool | None = None
    day_window: DailyWindow | None = None
    # The device
    identity_mismatch_open: bool | None = None
    meter_link_confirmed: bool | None = None
    meter_last_heard_at: datetime | None = None
    remote_close_possible: bool | None = None
    relay: SupplyBelief | None = None


@dataclass(frozen=True, slots=True)
class GuardVerdict:
    """The guard's answer: every reason against, most decisive first, and what to be warned of.

    ``warnings`` use the codes of the refusals that another purpose would have met; they are filled
    for safety isolation, and whoever sends it must show them (life support above all).
    """

    reasons: tuple[RefusalReason, ...]
    warnings: tuple[RefusalReason, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons
