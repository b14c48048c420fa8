"""What people and programs see of supply: is it on, why, who ordered it, what happens next.

Reads only, and by the numbers that people know: internal keys do not leave this module, except
those of orders, holds, notices and cases, which are public.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from headend.domain.days import local_day
from headend.domain.errors import BadInput, NotFound
from headend.domain.supply import OPEN, OrderState, SupplyState
from headend.ports.accounts import AccountRecord, OccupiedPoint
from headend.ports.cases import CaseRecord
from headend.ports.clock import Clock
from headend.ports.holds import Hold
from headend.ports.notices import Notice, NoticeCycle
from headend.ports.orders import OrderEvent, OrderFilter, OrderRecord, StateCount, StopSwitch
from headend.ports.payments import PaymentRecord
from headend.ports.supply import StandingRestraint, SupplyView
from headend.ports.supply_views import Numbers, PaidOrder, UsagePointEntry
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.policies import Policies
from headend.services.supply_next import NextStep, SupplyFacts, plan_next_steps

LARGEST_PAGE = 500
_LATEST_ORDERS = 20


@dataclass(frozen=True, slots=True)
class OrderView:
    """A supply order with the numbers of what it is about; events only where asked for."""

    order: OrderRecord
    usage_point_no: str
    account_no: str | None
    meter_no: str
    events: Sequence[OrderEvent] = ()


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Orders, newest first; ``next_before`` continues the list, None on the last page."""

    orders: Sequence[OrderView]
    next_before: int | None


@dataclass(frozen=True, slots=True)
class OrderSearch:
    """Which orders to list. ``before_order_id`` continues a page."""

    account_no: str | None = None
    usage_point_no: str | None = None
    states: Sequence[OrderState] | None = None
    open_only: bool = False
    before_order_id: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class HoldView:
    """A hold and the usage point that it protects."""

    hold: Hold
    usage_point_no: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class NoticeView:
    """A notice and the usage point that it is about."""

    notice: Notice
    usage_point_no: str


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case with the numbers of what it is about."""

    case: CaseRecord
    usage_point_no: str | None
    account_no: str | None
    meter_no: str | None


@dataclass(frozen=True, slots=True)
class PaymentView:
    """A payment with the supply orders that it led to."""

    payment: PaymentRecord
    orders: Sequence[PaidOrder]


@dataclass(frozen=True, slots=True)
class PointSupply:
    """The supply of one usage point. ``last_switching`` is the newest order that ended."""

    point: OccupiedPoint
    seen: SupplyView | None
    restraints: Sequence[StandingRestraint]
    holds: Sequence[Hold]
    open_orders: Sequence[OrderView]
    last_switching: OrderView | None
    cycle: NoticeCycle | None
    next_steps: Sequence[NextStep]

    @property
    def state(self) -> SupplyState:
        """The belief about the contact; unknown when it was never seen."""
        return SupplyState.UNKNOWN if self.seen is None else self.seen.state


@dataclass(frozen=True, slots=True)
class AccountSupply:
    """The supply of every usage point that an account occupies now."""

    account: AccountRecord
    points: Sequence[PointSupply]


class SupplyViews:
    """Answers questions about supply. Methods raise `NotFound` for what does not exist."""

    def __init__(self, store: Store, clock: Clock, policies: Policies) -> None:
        self._store = store
        self._clock = clock
        self._policies = policies

    async def of_account(self, account_no: str) -> AccountSupply:
        """Return the supply of an account's usage points."""
        now = self._clock.now()
        async with self._store.transaction() as uow:
            account = await find_account(uow, account_no)
            policy = await self._policies.current(uow, at=now)
            reconnect_yuan = policy.reconnect_text(account.customer_class)
            return AccountSupply(
                account,
                [
                    await self._point(uow, point, account.account_id, reconnect_yuan, now)
                    for point in await occupied_now(uow, account.account_id, now)
                ],
            )

    async def order(self, order_id: int) -> OrderView:
        """Return one order with its events."""
        async with self._store.transaction() as uow:
            (view,) = await view_orders(uow, [await uow.orders.get(order_id)])
            return replace(view, events=await uow.orders.events(order_id))

    async def orders(self, search: OrderSearch) -> OrderPage:
        """Return a page of orders, newest first. Raises `BadInput` for a limit beyond 1 to 500."""
        if not 1 <= search.limit <= LARGEST_PAGE:
            raise BadInput(f"limit {search.limit} is not within 1 to {LARGEST_PAGE}", field="limit")
        async with self._store.transaction() as uow:
            account_id = usage_point_id = None
            if search.account_no is not None:
                account_id = (await find_account(uow, search.account_no)).account_id
            if search.usage_point_no is not None:
                point = await uow.supply_views.usage_point(search.usage_point_no)
                usage_point_id = point.usage_point_id
            states = search.states
            if search.open_only:
                states = [state for state in (states or sorted(OPEN)) if state in OPEN]
            found = await uow.orders.search(
                OrderFilter(
                    usage_point_id=usage_point_id,
                    account_id=account_id,
                    states=states,
                    before_order_id=search.before_order_id,
                    limit=search.limit + 1,
                )
            )
            shown = found[: search.limit]
            more = len(found) > search.limit
            return OrderPage(
                await view_orders(uow, shown), shown[-1].order_id if more and shown else None
            )

    async def payment(self, channel_code: str, channel_reference: str) -> PaymentView:
        """Return a payment by its channel's reference, with the orders it led to."""
        async with self._store.transaction() as uow:
            payment = await uow.payments.find(channel_code, channel_reference)
            if payment is None:
                raise NotFound(
                    f"there is no payment {channel_code}/{channel_reference}",
                    field="channel_reference",
                )
            return await view_payment(uow, payment)

    async def led_to(self, payment: PaymentRecord) -> PaymentView:
        """Return a payment at hand with the orders it led to."""
        async with self._store.transaction() as uow:
            return await view_payment(uow, payment)

    async def usage_point(self, usage_point_no: str) -> UsagePointEntry:
        """Return one usage point."""
        async with self._store.transaction() as uow:
            return await uow.supply_views.usage_point(usage_point_no)

    async def numbers(self, *, usage_points: Collection[int], meters: Collection[int]) -> Numbers:
        """Return the public numbers of usage points and meters."""
        async with self._store.transaction() as uow:
            return await uow.supply_views.numbers(usage_points=usage_points, meters=meters)

    async def restraints(self, usage_point_no: str) -> list[StandingRestraint]:
        """Return what keeps the contact of a usage point open."""
        async with self._store.transaction() as uow:
            point = await uow.supply_views.usage_point(usage_point_no)
            return await uow.supply.restraints(point.usage_point_id)

    async def holds(
        self,
        *,
        usage_point_no: str | None = None,
        account_no: str | None = None,
        include_ended: bool = False,
        limit: int = 100,
    ) -> list[HoldView]:
        """Return holds, newest first: of a usage point, of an account's, or all active ones.

        Ended ones are told of a usage point or an account only.
        """
        now = self._clock.now()
        async with self._store.transaction() as uow:
            point_ids = await _chosen_points(uow, usage_point_no, account_no, now)
            found: list[Hold] = []
            for point_id in point_ids if point_ids is not None else [None]:
                if include_ended and point_id is not None:
                    found += await uow.holds.list_of_usage_point(point_id, limit=limit)
                else:
                    found += await uow.holds.list_active(now, usage_point_id=point_id, limit=limit)
            found = sorted(found, key=lambda hold: -hold.hold_id)[:limit]
            return await _view_holds(uow, found, now)

    async def hold(self, hold_id: int) -> HoldView:
        """Return one hold."""
        async with self._store.transaction() as uow:
            return (await _view_holds(uow, [await uow.holds.get(hold_id)], self._clock.now()))[0]

    async def notices(self, account_no: str, *, limit: int = 50) -> list[NoticeView]:
        """Return the notices of an account, newest first."""
        async with self._store.transaction() as uow:
            account = await find_account(uow, account_no)
            found = await uow.notices.notices_of_account(account.account_id, limit=limit)
            numbers = await uow.supply_views.numbers(
                usage_points={notice.usage_point_id for notice in found}
            )
            return [NoticeView(each, numbers.usage_points[each.usage_point_id]) for each in found]

    async def open_cases(self, *, usage_point_no: str | None = None) -> list[CaseView]:
        """Return the cases that somebody must settle, the oldest first."""
        async with self._store.transaction() as uow:
            point_id = None
            if usage_point_no is not None:
                point_id = (await uow.supply_views.usage_point(usage_point_no)).usage_point_id
            found = await uow.cases.list_open(usage_point_id=point_id)
            numbers = await uow.supply_views.numbers(
                usage_points=_known(case.usage_point_id for case in found),
                accounts=_known(case.account_id for case in found),
                meters=_known(case.meter_id for case in found),
            )
            return [
                CaseView(
                    case,
                    numbers.usage_points.get(case.usage_point_id or 0),
                    numbers.accounts.get(case.account_id or 0),
                    numbers.meters.get(case.meter_id or 0),
                )
                for case in found
            ]

    async def stop_switch(self) -> StopSwitch:
        """Return whether all disconnects are suspended."""
        async with self._store.transaction() as uow:
            return await uow.orders.stop_switch()

    async def count_orders(self) -> list[StateCount]:
        """Count orders by action and state; also the proof that the database answers."""
        async with self._store.transaction() as uow:
            return await uow.orders.count_by_state()

    async def _point(
        self,
        uow: UnitOfWork,
        point: OccupiedPoint,
        account_id: int,
        reconnect_yuan: str,
        now: datetime,
    ) -> PointSupply:
        key = point.usage_point_id
        seen = await uow.supply.supply_state(key)
        restraints = await uow.supply.restraints(key)
        holds = await uow.holds.list_active(now, usage_point_id=key)
        latest = await uow.orders.search(OrderFilter(usage_point_id=key, limit=_LATEST_ORDERS))
        cycle = await uow.notices.latest_cycle(key, account_id=account_id)
        if cycle is not None and cycle.closed_at is not None:
            cycle = None
        is_open = [order for order in latest if order.state in OPEN]
        ended = next((order for order in latest if order.state is OrderState.COMPLETED), None)
        views = await view_orders(uow, [*is_open, *([ended] if ended else [])])
        return PointSupply(
            point=point,
            seen=seen,
            restraints=restraints,
            holds=holds,
            open_orders=views[: len(is_open)],
            last_switching=views[-1] if ended else None,
            cycle=cycle,
            next_steps=plan_next_steps(
                SupplyFacts(
                    state=SupplyState.UNKNOWN if seen is None else seen.state,
                    restraints=restraints,
                    holds=holds,
                    open_orders=is_open,
                    cycle=cycle,
                    reconnect_yuan=reconnect_yuan,
                )
            ),
        )


async def find_account(uow: UnitOfWork, account_no: str) -> AccountRecord:
    """Return an account by its number; raises `NotFound`."""
    account = await uow.accounts.find(account_no)
    if account is None:
        raise NotFound(f"there is no account {account_no!r}", field="account_no")
    return account


async def occupied_now(uow: UnitOfWork, account_id: int, now: datetime) -> list[OccupiedPoint]:
    """Return the usage points that an account occupies on the local day of ``now``."""
    return [
        point
        for point in await uow.accounts.points(account_id)
        if point.valid_from <= local_day(now, point.time_zone)
        and (point.valid_to is None or local_day(now, point.time_zone) < point.valid_to)
    ]


async def view_orders(uow: UnitOfWork, orders: Sequence[OrderRecord]) -> list[OrderView]:
    """Put the public numbers beside orders."""
    numbers = await uow.supply_views.numbers(
        usage_points={order.usage_point_id for order in orders},
        accounts=_known(order.account_id for order in orders),
        meters={order.meter_id for order in orders},
    )
    return [
        OrderView(
            order,
            numbers.usage_points[order.usage_point_id],
            numbers.accounts.get(order.account_id or 0),
            numbers.meters[order.meter_id],
        )
        for order in orders
    ]


async def view_payment(uow: UnitOfWork, payment: PaymentRecord) -> PaymentView:
    """Put the orders that a payment led to beside it."""
    return PaymentView(
        payment,
        await uow.supply_views.orders_of_payment(payment.payment_id, account_id=payment.account_id),
    )


async def _chosen_points(
    uow: UnitOfWork, usage_point_no: str | None, account_no: str | None, now: datetime
) -> list[int] | None:
    if usage_point_no is not None:
        return [(await uow.supply_views.usage_point(usage_point_no)).usage_point_id]
    if account_no is not None:
        account = await find_account(uow, account_no)
        return [each.usage_point_id for each in await occupied_now(uow, account.account_id, now)]
    return None


async def _view_holds(uow: UnitOfWork, holds: Sequence[Hold], now: datetime) -> list[HoldView]:
    numbers = await uow.supply_views.numbers(usage_points={hold.usage_point_id for hold in holds})
    return [
        HoldView(hold, numbers.usage_points[hold.usage_point_id], hold.is_active(now))
        for hold in holds
    ]


def _known(keys: Iterable[int | None]) -> set[int]:
    return {key for key in keys if key is not None}
