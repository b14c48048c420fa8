"""The governor: how many may be cut at once, and who may let more through.

Above a limit an order is *quarantined*, not refused: it waits until two different people release
it. Counts are of disconnects within the last hour (sent, or decided and not yet sent; quarantined
ones do not count). Reconnects are never capped, only staggered in bulk, individual payments first.
Safety isolation skips the ordinary limits and the stop switch, and has a small cap of its own.
Source: "The governor" of the design document; the numbers are the deployment's.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from headend.domain.supply import OrderPurpose, SupplyAction
from rules.reasons import RefusalReason

WINDOW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class GovernorLimits:
    """The deployment's limits on disconnects within one `WINDOW`. Power in W.

    ``assumed_power_w`` stands in for a supply whose load is not known; it should be high.
    """

    system: int = 500
    caller: int = 200
    area: int = 20
    power_w: int = 2_000_000
    safety: int = 10
    assumed_power_w: int = 8_000


@dataclass(frozen=True, slots=True)
class RecentDisconnects:
    """What was cut, or is about to be, within the last `WINDOW`, as one order sees it.

    ``caller`` and ``area`` count those of the order's own caller and transformer area;
    ``safety`` counts safety isolations, which the other counts leave out.
    """

    system: int = 0
    caller: int = 0
    area: int = 0
    power_w: int = 0
    safety: int = 0


@dataclass(frozen=True, slots=True)
class GovernedOrder:
    """What the governor looks at. ``power_w`` is the estimated load, None when not known."""

    action: SupplyAction
    purpose: OrderPurpose
    caller: str
    area: str
    power_w: int | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Allowed, or quarantined with every limit that is exceeded."""

    reasons: tuple[RefusalReason, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the order may go on without a release."""
        return not self.reasons


def judge(
    counts: RecentDisconnects,
    limits: GovernorLimits,
    order: GovernedOrder,
    *,
    stop_switch_on: bool = False,
) -> Judgement:
    """Say whether this order may go on, or is quarantined and why.

    A count equal to its limit is full: the order that would exceed it is quarantined. The stop
    switch quarantines here, so that nothing decided before it is lost; the guard refuses whatever
    still reaches the moment of sending.
    """
    if order.action is SupplyAction.RECONNECT:
        return Judgement()
    if order.purpose is OrderPurpose.SAFETY_ISOLATION:
        full = counts.safety >= limits.safety
        return Judgement((RefusalReason.SAFETY_RATE_EXCEEDED,) if full else ())
    power_w = counts.power_w + power_of(order, limits)
    exceeded = (
        (RefusalReason.STOP_SWITCH_ON, stop_switch_on),
        (RefusalReason.SYSTEM_RATE_EXCEEDED, counts.system >= limits.system),
        (RefusalReason.CALLER_RATE_EXCEEDED, counts.caller >= limits.caller),
        (RefusalReason.AREA_RATE_EXCEEDED, counts.area >= limits.area),
        (RefusalReason.POWER_RATE_EXCEEDED, power_w > limits.power_w),
    )
    return Judgement(tuple(reason for reason, is_over in exceeded if is_over))


def power_of(order: GovernedOrder, limits: GovernorLimits) -> int:
    """Return the load [W] that the order counts for; one that feeds in counts as none."""
    return limits.assumed_power_w if order.power_w is None else max(0, order.power_w)


def judge_batch(
    orders: Sequence[GovernedOrder],
    limits: GovernorLimits,
    *,
    system: RecentDisconnects,
    callers: dict[str, int],
    areas: dict[str, int],
    stop_switch_on: bool = False,
) -> list[Judgement]:
    """Judge orders one after another, each allowed one counting against the next.

    ``system`` carries the system-wide counts (its caller and area are ignored); ``callers`` and
    ``areas`` are the counts by name and are left as they are.
    """
    callers, areas = dict(callers), dict(areas)
    judgements = []
    for order in orders:
        counts = replace(system, caller=callers.get(order.caller, 0), area=areas.get(order.area, 0))
        judgement = judge(counts, limits, order, stop_switch_on=stop_switch_on)
        judgements.append(judgement)
        if not judgement.allowed or order.action is SupplyAction.RECONNECT:
            continue
        if order.purpose is OrderPurpose.SAFETY_ISOLATION:
            system = replace(system, safety=system.safety + 1)
            continue
        system = replace(
            system, system=system.system + 1, power_w=system.power_w + power_of(order, limits)
        )
        callers[order.caller] = callers.get(order.caller, 0) + 1
        areas[order.area] = areas.get(order.area, 0) + 1
    return judgements


def check_release(first: str | None, second: str | None) -> RefusalReason | None:
    """Say whether these two may release a quarantined order: two people, and not the same twice.

    Names are compared without case and surrounding spaces, so that one person does not pass as two.
    """
    names = [(name or "").strip().casefold() for name in (first, second)]
    if not all(names) or names[0] == names[1]:
        return RefusalReason.TWO_RELEASERS_NEEDED
    return None


@dataclass(frozen=True, slots=True)
class WaitingReconnect:
    """One reconnect waiting to be sent. ``individual``: its own payment, not a bulk list."""

    order_id: Hashable
    area: str
    individual: bool
    requested_at: datetime


def stagger_reconnects(
    waiting: Sequence[WaitingReconnect], now: datetime, spacing: timedelta
) -> list[tuple[WaitingReconnect, datetime]]:
    """Return when each reconnect may be sent: individual payments now, bulk spaced by area.

    Within one transformer area the bulk follows at ``spacing``, so that the inrush of an area does
    not trip it again. Nothing is dropped. Sorted by the instant, then individual first, then age.
    """
    placed: list[tuple[WaitingReconnect, datetime]] = []
    bulk_in_area: dict[str, int] = {}
    for each in sorted(waiting, key=lambda one: one.requested_at):
        if each.individual:
            placed.append((each, now))
            continue
        position = bulk_in_area.get(each.area, 0)
        bulk_in_area[each.area] = position + 1
        placed.append((each, now + position * spacing))
    placed.sort(key=lambda one: (one[1], not one[0].individual, one[0].requested_at))
    return placed
