"""Port of the supply repository: supply states, restraints, and the facts that the guard judges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

from headend.domain.reading import MeterIdentity
from headend.domain.supply import RelayReading, Restraint, SupplyState


@dataclass(frozen=True, slots=True)
class StandingRestraint:
    """A reason for which a contact is open, not lifted yet."""

    restraint_id: int
    kind: Restraint
    placed_at: datetime
    placed_by: str
    evidence: str
    order_id: int | None


@dataclass(frozen=True, slots=True)
class SupplyView:
    """The supply state of a usage point with the meter's own words."""

    usage_point_id: int
    meter_id: int
    state: SupplyState
    output_state: bool | None
    control_state: int | None
    control_mode: int | None
    power_w: int | None
    source: str
    observed_at: datetime


@dataclass(frozen=True, slots=True)
class GuardRow:
    """Everything stored about one usage point that the guard asks for, read at one instant.

    None means that it is not known. Amounts are nano-units of the currency.
    """

    usage_point_id: int
    usage_point_no: str
    time_zone: str
    expected_load_w: int
    transformer_area_id: int
    works_permitted: bool
    meter_id: int | None
    link_id: int | None
    meter_link_confirmed: bool
    remote_close: bool | None
    closes_directly: bool | None
    meter_last_heard_at: datetime | None
    identity_mismatch_open: bool
    account_id: int | None
    customer_class: str | None
    payment_mode: str | None
    agreement_signed: bool | None
    standing_close_consent: bool
    emergency_credit_nano: int | None
    balance_nano: int | None
    estimated_nano: int | None
    corrections_nano: int
    balance_as_of: datetime | None
    payment_pending: bool
    channel_at_fault: bool
    cycle_id: int | None
    notice_delivered_at: datetime | None
    planned_at: datetime | None
    notice_expires_at: datetime | None
    reminder_delivered_at: datetime | None
    cycle_restarted_at: datetime | None
    restraints: tuple[str, ...]
    holds: tuple[str, ...]
    supply_state: SupplyState
    supply_source: str | None
    supply_observed_at: datetime | None
    stop_switch_on: bool


@dataclass(frozen=True, slots=True)
class InstalledMeterRef:
    """The meter that serves a usage point now, and the link it is on."""

    meter_id: int
    link_id: int


class SupplyRepository(Protocol):
    """Stores what is seen of contacts and why they are open."""

    async def guard_row(
        self, usage_point_id: int, *, at: datetime, corrections_since: date
    ) -> GuardRow:
        """Read the facts of the guard. Raises `NotFound`."""
        ...

    async def record_supply_state(
        self,
        usage_point_id: int,
        meter_id: int,
        relay: RelayReading | None,
        *,
        source: str,
        at: datetime,
    ) -> Restraint | None:
        """Store what was seen of a contact; None means that it could not be read.

        An observation older than the stored one changes nothing. A contact seen open without a
        restraint gets the restraint `LOCAL`, never `ARREARS`, unless an order is open or the last
        completed one was a disconnect of ours; one seen closed loses it, and with it the restraint
        of a disconnect that failed in doubt. Returns the restraint placed, if any.
        """
        ...

    async def lock_usage_point(self, usage_point_id: int) -> None:
        """Let nobody else change restraints or orders here until the transaction ends.

        Taken after the account's balance and before orders. Without it, two people who lift the
        last two restraints at once would each see the other's standing, and nobody would close.
        """
        ...

    async def installed_meter(self, usage_point_id: int) -> InstalledMeterRef | None:
        """Return the meter that serves the usage point now, None when there is none."""
        ...

    async def off_without_reason(
        self, *, limit: int, usage_point_id: int | None = None
    ) -> list[int]:
        """Return usage points that we switched off and that nothing would bring back.

        Their contact is not known to be closed, no restraint stands, no order is open, and the
        last completed order was a disconnect. ``usage_point_id`` asks about one.
        """
        ...

    async def expected_identity(self, meter_id: int) -> MeterIdentity:
        """Return what the installed device must say it is. Raises `NotFound`."""
        ...

    async def supply_state(self, usage_point_id: int) -> SupplyView | None: ...

    async def restraints(self, usage_point_id: int) -> list[StandingRestraint]: ...

    async def place_restraint(
        self,
        usage_point_id: int,
        kind: Restraint,
        *,
        placed_by: str,
        evidence: str,
        at: datetime,
        order_id: int | None = None,
    ) -> bool:
        """Place a restraint; False when it already stands."""
        ...

    async def lift_restraint(
        self, usage_point_id: int, kind: Restraint, *, lifted_by: str, at: datetime
    ) -> bool:
        """Lift a restraint; False when it does not stand."""
        ...
