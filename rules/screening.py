"""The guard asked of a whole fleet at once: one bitmask of refusal reasons per usage point.

`screen_disconnects` gives, for every row, exactly the reasons that `rules.eligibility` gives for
the same facts; the scalar guard is the specification, and a property test holds the two together.
A screening narrows a fleet down; the scalar guard still runs before anything is sent.

Columns. Each fact of `rules.guard_facts.DisconnectFacts` is one `FactColumn`; a masked value is an
unknown one (None), and a column left out is unknown throughout. Instants are int64 microseconds
since 1970 UTC, durations int64 microseconds, flags bool. Sets are int64 masks by position:
``holds`` over `HoldKind`, ``restraints`` over `Restraint`. Enumerations are positions: ``purpose``
in `OrderPurpose`, ``payment_mode`` in `PaymentMode`, ``relay`` in `SupplyState` (masked when it was
never observed). ``customer_class`` and ``zone`` are positions in the names given beside;
``day_opens`` and ``day_closes`` are the day's window in microseconds since local midnight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.errors import BadInput
from headend.domain.supply import OrderPurpose, Restraint, SupplyState
from rules.eligibility import CLOCK_SKEW, GUARD, time_left_to_pay
from rules.facts import BoolArray, FactColumn
from rules.floors import Floors
from rules.guard_facts import PaymentMode
from rules.moratorium import find_zone
from rules.reasons import DISCONNECT_REASONS, HoldKind, RefusalReason

MaskArray: TypeAlias = npt.NDArray[np.uint64]

_MICROSECOND = timedelta(microseconds=1)
_BIT = {reason: np.uint64(1 << bit) for bit, reason in enumerate(DISCONNECT_REASONS)}


@dataclass(frozen=True, slots=True)
class Screening:
    """The facts of many disconnects. ``count`` rows; columns as the module docstring says."""

    count: int
    columns: Mapping[str, FactColumn]
    customer_classes: Sequence[str] = ()
    zones: Sequence[str] = ()


def screen_disconnects(screening: Screening, floors: Floors, now: datetime) -> MaskArray:
    """Return (row,) uint64, one bit per reason in the order of `DISCONNECT_REASONS`; 0 is allowed.

    Warnings are left out. Raises `BadInput` for a column of another length.
    """
    screen = _Screen(screening, floors, now)
    purpose, known = screen.values("purpose")
    if not bool(known.all()):
        raise BadInput("every row of a screening needs its purpose", field="purpose")
    positions = {each: index for index, each in enumerate(OrderPurpose)}
    result = np.zeros(screening.count, dtype=np.uint64)
    failures = screen.failures()
    for test in GUARD:
        applies = np.isin(purpose, [positions[each] for each in test.purposes])
        result[applies & failures[test.reason]] |= _BIT[test.reason]
    return result


def reasons_of_mask(mask: int) -> tuple[RefusalReason, ...]:
    """Return the reasons that a mask holds, most decisive first."""
    return tuple(reason for bit, reason in enumerate(DISCONNECT_REASONS) if mask >> bit & 1)


def microseconds(instant: datetime) -> int:
    """Return an instant as the columns hold it."""
    return (instant - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND


def _since_midnight(at: time) -> int:
    span = timedelta(
        hours=at.hour, minutes=at.minute, seconds=at.second, microseconds=at.microsecond
    )
    return span // _MICROSECOND


class _Screen:
    """One screening in progress: columns with their masks, and the instant in microseconds."""

    def __init__(self, screening: Screening, floors: Floors, now: datetime) -> None:
        self._screening = screening
        self._floors = floors
        self._now = now
        self._now_us = microseconds(now)
        self._nothing = np.zeros(screening.count, dtype=np.bool_)

    def values(self, name: str) -> tuple[npt.NDArray[Any], BoolArray]:
        """Return a column and its mask; one left out is zero and unknown throughout."""
        column = self._screening.columns.get(name)
        if column is None:
            return np.zeros(self._screening.count, dtype=np.int64), self._nothing
        if len(column.values) != self._screening.count:
            raise BadInput(
                f"column {name} has {len(column.values)} rows, not {self._screening.count}",
                field=name,
            )
        known = ~self._nothing if column.known is None else column.known
        return column.values, known

    def failures(self) -> dict[RefusalReason, BoolArray]:
        """Return where each test of the guard fails, purposes aside."""
        return {
            **self._order(),
            **self._holds(),
            **self._balance(),
            **self._debt(),
            **self._notices(),
            **self._local_time(),
            **self._device(),
        }

    def _known(self, name: str) -> BoolArray:
        return self.values(name)[1]

    def _is(self, name: str, wanted: bool) -> BoolArray:
        values, known = self.values(name)
        return np.asarray(known & (values.astype(np.bool_) == wanted))

    def _later_than_now(self, name: str) -> BoolArray:
        values, known = self.values(name)
        return np.asarray(known & (self._now_us < values))

    def _not_seen_within(self, name: str, age: timedelta) -> BoolArray:
        seen, known = self.values(name)
        oldest = self._now_us - age // _MICROSECOND
        latest = self._now_us + CLOCK_SKEW // _MICROSECOND
        return np.asarray(~known | (seen < oldest) | (seen > latest))

    def _order(self) -> dict[RefusalReason, BoolArray]:
        not_after, limited = self.values("not_after")
        restraints, known = self.values("restraints")
        lock = 1 << list(Restraint).index(Restraint.FIELD_LOCK)
        return {
            RefusalReason.STOP_SWITCH_ON: ~self._is("stop_switch_on", False),
            RefusalReason.ORDER_EXPIRED: limited & (self._now_us > not_after),
            RefusalReason.ORDER_NOT_YET_DUE: self._later_than_now("not_before"),
            RefusalReason.FIELD_LOCK: known & ((restraints & lock) != 0),
            RefusalReason.RESTRAINTS_UNKNOWN: ~known,
        }

    def _holds(self) -> dict[RefusalReason, BoolArray]:
        holds, known = self.values("holds")
        failed = {
            RefusalReason(kind.value): known & ((holds & (1 << bit)) != 0)
            for bit, kind in enumerate(HoldKind)
        }
        return {**failed, RefusalReason.HOLDS_UNKNOWN: ~known}

    def _balance(self) -> dict[RefusalReason, BoolArray]:
        balance, balance_known = self.values("balance_nano")
        threshold, threshold_known = self.values("threshold_nano")
        estimated, estimated_known = self.values("estimated_nano")
        both = balance_known & threshold_known
        not_below = both & (balance >= threshold)
        by_actual = np.where(both & ~not_below, threshold - np.maximum(estimated, 0), 0)
        rests = both & ~not_below & (balance >= by_actual)
        return {
            RefusalReason.BALANCE_NOT_BELOW_THRESHOLD: not_below,
            RefusalReason.BALANCE_RESTS_ON_ESTIMATES: ~estimated_known | rests,
            RefusalReason.BALANCE_STALE: self._not_seen_within(
                "balance_as_of", self._floors.maximum_data_age
            ),
            RefusalReason.BALANCE_UNKNOWN: ~balance_known,
            RefusalReason.THRESHOLD_UNKNOWN: ~threshold_known,
            RefusalReason.PAYMENT_PENDING: self._is("payment_pending", True),
            RefusalReason.CHANNEL_AT_FAULT: self._is("channel_at_fault", True),
            RefusalReason.PAYMENT_STATE_UNKNOWN: ~self._known("payment_pending")
            | ~self._known("channel_at_fault"),
        }

    def _debt(self) -> dict[RefusalReason, BoolArray]:
        mode, mode_known = self.values("payment_mode")
        modes = list(PaymentMode)
        prepaid = mode_known & (mode == modes.index(PaymentMode.PREPAID))
        postpaid = mode_known & (mode == modes.index(PaymentMode.POSTPAID))
        debt, debt_known = self.values("undisputed_debt_nano")
        overdue, overdue_known = self.values("days_overdue")
        return {
            RefusalReason.DEBT_OF_FORMER_OCCUPANT: self._is("debt_of_former_occupant", True),
            RefusalReason.BACK_BILLING_ONLY: self._is("back_billing_only", True),
            RefusalReason.DEBT_ORIGIN_UNKNOWN: ~self._known("debt_of_former_occupant")
            | ~self._known("back_billing_only"),
            RefusalReason.PAYMENT_MODE_UNKNOWN: ~mode_known,
            RefusalReason.NO_SIGNED_AGREEMENT: prepaid & ~self._is("agreement_signed", True),
            RefusalReason.DEBT_UNKNOWN: postpaid & ~(debt_known & overdue_known),
            RefusalReason.NO_UNDISPUTED_DEBT: postpaid & debt_known & (debt <= 0),
            RefusalReason.DEBT_NOT_LONG_OVERDUE: postpaid
            & overdue_known
            & (overdue <= self._floors.overdue_days),
            RefusalReason.DEBT_NOT_DUNNED: postpaid & ~self._is("debt_dunned", True),
            RefusalReason.DEBT_NOT_APPROVED: postpaid & ~self._is("debt_approved", True),
        }

    def _notice_time_us(self) -> npt.NDArray[np.int64]:
        names = self._screening.customer_classes
        times = [self._floors.notice_time_of(name) // _MICROSECOND for name in names]
        unknown = self._floors.notice_time_of(None) // _MICROSECOND
        position, known = self.values("customer_class")
        table = np.array([*times, unknown], dtype=np.int64)
        within = known & (position >= 0) & (position < len(names))
        return np.asarray(table[np.where(within, position, len(names))])

    def _notices(self) -> dict[RefusalReason, BoolArray]:
        delivered, noticed = self.values("notice_delivered_at")
        restarted, was_restarted = self.values("cycle_restarted_at")
        planned, planned_known = self.values("planned_at")
        tolerance, tolerance_known = self.values("tolerance")
        reminded, was_reminded = self.values("reminder_delivered_at")
        waiting = self._now_us < delivered + self._notice_time_us()
        allowed = np.minimum(
            np.where(tolerance_known, tolerance, 0), self._floors.maximum_tolerance // _MICROSECOND
        )
        lead = self._floors.reminder_lead // _MICROSECOND
        not_reminded = ~was_reminded | (noticed & (reminded < delivered))
        return {
            RefusalReason.NOTICE_NOT_DELIVERED: ~noticed,
            RefusalReason.NOTICE_CYCLE_RESTARTED: noticed
            & was_restarted
            & (delivered <= restarted),
            RefusalReason.WAITING_TIME_NOT_OVER: noticed
            & (waiting | self._later_than_now("waits_until")),
            RefusalReason.PLANNED_TIME_UNKNOWN: ~planned_known,
            RefusalReason.PLANNED_TIME_NOT_REACHED: self._later_than_now("planned_at"),
            RefusalReason.PLANNED_TIME_PASSED: planned_known & (self._now_us - planned > allowed),
            RefusalReason.REMINDER_NOT_DELIVERED: not_reminded if lead else self._nothing,
            RefusalReason.REMINDER_TOO_RECENT: was_reminded & (self._now_us - reminded < lead),
        }

    def _local_time(self) -> dict[RefusalReason, BoolArray]:
        # Every row is judged at the same instant, so local time is one number per zone.
        found = [find_zone(name) for name in self._screening.zones]
        local = [None if zone is None else self._now.astimezone(zone).time() for zone in found]
        exists = np.array([zone is not None for zone in found] + [False])
        at = np.array([0 if each is None else _since_midnight(each) for each in local] + [0])
        inside = np.array(
            [each is not None and self._floors.window.contains(each) for each in local] + [False]
        )
        short = np.array(
            [
                zone is not None
                and time_left_to_pay(self._now, zone, self._floors.same_day_until)
                < self._floors.time_to_pay
                for zone in found
            ]
            + [False]
        )
        position, zone_known = self.values("zone")
        index = np.where(zone_known, position, len(found))
        opens, opens_known = self.values("day_opens")
        closes, closes_known = self.values("day_closes")
        outside_day = opens_known & closes_known & ~((opens <= at[index]) & (at[index] < closes))
        return {
            RefusalReason.LOCAL_CALENDAR_UNKNOWN: ~self._known("no_disconnect_day")
            | ~exists[index],
            RefusalReason.NO_DISCONNECT_DAY: self._is("no_disconnect_day", True),
            RefusalReason.OUTSIDE_PERMITTED_WINDOW: exists[index] & (~inside[index] | outside_day),
            RefusalReason.TOO_FEW_HOURS_LEFT: short[index],
        }

    def _device(self) -> dict[RefusalReason, BoolArray]:
        relay, relay_known = self.values("relay")
        states = list(SupplyState)
        return {
            RefusalReason.IDENTITY_MISMATCH: self._is("identity_mismatch_open", True),
            RefusalReason.METER_LINK_UNCONFIRMED: ~self._is("meter_link_confirmed", True),
            RefusalReason.METER_NOT_HEARD_LATELY: self._not_seen_within(
                "meter_last_heard_at", self._floors.meter_heard_within
            ),
            RefusalReason.REMOTE_CLOSE_NOT_POSSIBLE: ~self._is("remote_close_possible", True),
            RefusalReason.RELAY_STATE_UNKNOWN: ~relay_known
            | (relay == states.index(SupplyState.UNKNOWN)),
            RefusalReason.ALREADY_DISCONNECTED: relay_known
            & (relay == states.index(SupplyState.DISCONNECTED)),
        }
