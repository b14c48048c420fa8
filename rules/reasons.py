"""The closed list of reasons for which a switching is refused or held back.

Knows the codes, their order and their group; the sentences stand in `rules.reason_texts`. A code
is stable: billing systems and reports depend on it, so codes are added, never renamed.

The order of `RefusalReason` is the order in which reasons are told: what makes the whole order
pointless or unlawful first (a hold, nothing owed), then doubt about the device, then doubt about
the money, then what time alone will cure (notices, window).
Source: the guard of the design document; the underlying regulations are policy data to verify.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum, StrEnum


class HoldKind(StrEnum):
    """Why an account must not be cut; each is also the code of the refusal it causes."""

    LIFE_SUPPORT = "life_support"
    POWER_PROTECTION = "power_protection"
    MEDICAL = "medical"
    IMPORTANT_OR_HAZARDOUS = "important_or_hazardous"
    SHARED_SUPPLY = "shared_supply"
    ELDERLY_ALONE_UNVISITED = "elderly_alone_unvisited"
    DISPUTE = "dispute"
    INSTALMENT_KEPT = "instalment_kept"
    INSOLVENCY = "insolvency"
    PUBLIC_BUDGET = "public_budget"


# Holds that protect people or property rather than a debtor: they refuse a disconnect for any
# purpose but safety isolation, which is warned of them.
PROTECTIVE_HOLDS = frozenset(
    {
        HoldKind.LIFE_SUPPORT,
        HoldKind.POWER_PROTECTION,
        HoldKind.MEDICAL,
        HoldKind.IMPORTANT_OR_HAZARDOUS,
        HoldKind.SHARED_SUPPLY,
        HoldKind.ELDERLY_ALONE_UNVISITED,
    }
)


class RefusalReason(StrEnum):
    """Every reason there is, most decisive first."""

    # The order itself
    STOP_SWITCH_ON = "stop_switch_on"
    ORDER_EXPIRED = "order_expired"
    ORDER_NOT_YET_DUE = "order_not_yet_due"
    FIELD_LOCK = "field_lock"
    RESTRAINTS_UNKNOWN = "restraints_unknown"
    # Holds
    LIFE_SUPPORT = "life_support"
    POWER_PROTECTION = "power_protection"
    MEDICAL = "medical"
    IMPORTANT_OR_HAZARDOUS = "important_or_hazardous"
    SHARED_SUPPLY = "shared_supply"
    ELDERLY_ALONE_UNVISITED = "elderly_alone_unvisited"
    DISPUTE = "dispute"
    INSTALMENT_KEPT = "instalment_kept"
    INSOLVENCY = "insolvency"
    PUBLIC_BUDGET = "public_budget"
    HOLDS_UNKNOWN = "holds_unknown"
    # Nothing is owed here, or it cannot be said
    BALANCE_NOT_BELOW_THRESHOLD = "balance_not_below_threshold"
    PAYMENT_PENDING = "payment_pending"
    CHANNEL_AT_FAULT = "channel_at_fault"
    DEBT_OF_FORMER_OCCUPANT = "debt_of_former_occupant"
    BACK_BILLING_ONLY = "back_billing_only"
    # The device
    IDENTITY_MISMATCH = "identity_mismatch"
    METER_LINK_UNCONFIRMED = "meter_link_unconfirmed"
    METER_NOT_HEARD_LATELY = "meter_not_heard_lately"
    REMOTE_CLOSE_NOT_POSSIBLE = "remote_close_not_possible"
    METER_KEY_REJECTED = "meter_key_rejected"
    # The money is in doubt
    BALANCE_RESTS_ON_ESTIMATES = "balance_rests_on_estimates"
    BALANCE_STALE = "balance_stale"
    BALANCE_UNKNOWN = "balance_unknown"
    THRESHOLD_UNKNOWN = "threshold_unknown"
    PAYMENT_STATE_UNKNOWN = "payment_state_unknown"
    DEBT_ORIGIN_UNKNOWN = "debt_origin_unknown"
    PAYMENT_MODE_UNKNOWN = "payment_mode_unknown"
    NO_SIGNED_AGREEMENT = "no_signed_agreement"
    DEBT_UNKNOWN = "debt_unknown"
    NO_UNDISPUTED_DEBT = "no_undisputed_debt"
    DEBT_NOT_LONG_OVERDUE = "debt_not_long_overdue"
    DEBT_NOT_DUNNED = "debt_not_dunned"
    DEBT_NOT_APPROVED = "debt_not_approved"
    # Notices
    NOTICE_NOT_DELIVERED = "notice_not_delivered"
    NOTICE_CYCLE_RESTARTED = "notice_cycle_restarted"
    WAITING_TIME_NOT_OVER = "waiting_time_not_over"
    PLANNED_TIME_UNKNOWN = "planned_time_unknown"
    PLANNED_TIME_NOT_REACHED = "planned_time_not_reached"
    PLANNED_TIME_PASSED = "planned_time_passed"
    REMINDER_NOT_DELIVERED = "reminder_not_delivered"
    REMINDER_TOO_RECENT = "reminder_too_recent"
    # Local time
    LOCAL_CALENDAR_UNKNOWN = "local_calendar_unknown"
    NO_DISCONNECT_DAY = "no_disconnect_day"
    OUTSIDE_PERMITTED_WINDOW = "outside_permitted_window"
    TOO_FEW_HOURS_LEFT = "too_few_hours_left"
    # The contact
    RELAY_STATE_UNKNOWN = "relay_state_unknown"
    ALREADY_DISCONNECTED = "already_disconnected"
    # Closing
    RESTRAINT_REMAINS = "restraint_remains"
    WORKS_PERMITTED_ON_AREA = "works_permitted_on_area"
    LOAD_SIDE_VOLTAGE = "load_side_voltage"
    NO_CONSENT_TO_CLOSE = "no_consent_to_close"
    TRIPPED_AFTER_CLOSING = "tripped_after_closing"
    UNPAID_RECONNECT_LIMIT = "unpaid_reconnect_limit"
    # The governor (the order is quarantined, not refused)
    SYSTEM_RATE_EXCEEDED = "system_rate_exceeded"
    CALLER_RATE_EXCEEDED = "caller_rate_exceeded"
    AREA_RATE_EXCEEDED = "area_rate_exceeded"
    POWER_RATE_EXCEEDED = "power_rate_exceeded"
    SAFETY_RATE_EXCEEDED = "safety_rate_exceeded"
    TWO_RELEASERS_NEEDED = "two_releasers_needed"


class ReasonGroup(IntEnum):
    """What a reason is about."""

    ORDER = 0
    HOLD = 1
    NOTHING_OWED = 2
    DEVICE = 3
    MONEY = 4
    NOTICE = 5
    LOCAL_TIME = 6
    CONTACT = 7
    CLOSE = 8
    GOVERNOR = 9


_GROUP_STARTS: tuple[tuple[RefusalReason, ReasonGroup], ...] = (
    (RefusalReason.STOP_SWITCH_ON, ReasonGroup.ORDER),
    (RefusalReason.LIFE_SUPPORT, ReasonGroup.HOLD),
    (RefusalReason.BALANCE_NOT_BELOW_THRESHOLD, ReasonGroup.NOTHING_OWED),
    (RefusalReason.IDENTITY_MISMATCH, ReasonGroup.DEVICE),
    (RefusalReason.BALANCE_RESTS_ON_ESTIMATES, ReasonGroup.MONEY),
    (RefusalReason.NOTICE_NOT_DELIVERED, ReasonGroup.NOTICE),
    (RefusalReason.LOCAL_CALENDAR_UNKNOWN, ReasonGroup.LOCAL_TIME),
    (RefusalReason.RELAY_STATE_UNKNOWN, ReasonGroup.CONTACT),
    (RefusalReason.RESTRAINT_REMAINS, ReasonGroup.CLOSE),
    (RefusalReason.SYSTEM_RATE_EXCEEDED, ReasonGroup.GOVERNOR),
)


def _groups() -> dict[RefusalReason, ReasonGroup]:
    starts = dict(_GROUP_STARTS)
    groups: dict[RefusalReason, ReasonGroup] = {}
    current = ReasonGroup.ORDER
    for reason in RefusalReason:
        current = starts.get(reason, current)
        groups[reason] = current
    return groups


GROUP_OF_REASON: dict[RefusalReason, ReasonGroup] = _groups()

# Reasons that the guard of a disconnect can give, in order; their position is their bit in the
# masks of `rules.screening`. Codes of a session (`METER_KEY_REJECTED`) keep a bit that stays 0.
DISCONNECT_REASONS: tuple[RefusalReason, ...] = tuple(
    reason for reason in RefusalReason if GROUP_OF_REASON[reason] < ReasonGroup.CLOSE
)

_CURED_BY_WAITING = frozenset({ReasonGroup.NOTICE, ReasonGroup.LOCAL_TIME})


def standing_reasons(reasons: Iterable[RefusalReason]) -> tuple[RefusalReason, ...]:
    """Return the reasons that neither a notice nor the passing of time will cure.

    When none is left, the notice cycle may begin or go on; otherwise the decision is refused now,
    and nobody is told of a disconnection that would be refused in the end.
    """
    return tuple(reason for reason in reasons if GROUP_OF_REASON[reason] not in _CURED_BY_WAITING)
