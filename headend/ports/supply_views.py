"""Port of the read views of supply: what people and programs see, by the numbers they know."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from headend.domain.supply import OrderState, SupplyAction


@dataclass(frozen=True, slots=True)
class UsagePointEntry:
    """A usage point with who occupies it and which meter serves it now."""

    usage_point_id: int
    usage_point_no: str
    address: str
    time_zone: str
    account_id: int | None
    account_no: str | None
    meter_no: str | None


@dataclass(frozen=True, slots=True)
class Numbers:
    """Public numbers by internal key."""

    usage_points: Mapping[int, str]
    accounts: Mapping[int, str]
    meters: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class PaidOrder:
    """A supply order that a payment led to."""

    order_id: int
    usage_point_no: str
    action: SupplyAction
    state: OrderState
    refusal_codes: tuple[str, ...]


class SupplyViewRepository(Protocol):
    """Finds things by their public numbers, and the numbers of things."""

    async def usage_point(self, usage_point_no: str) -> UsagePointEntry:
        """Return one usage point; raises `NotFound`."""
        ...

    async def numbers(
        self,
        *,
        usage_points: Collection[int] = (),
        accounts: Collection[int] = (),
        meters: Collection[int] = (),
    ) -> Numbers:
        """Return the public numbers of these keys; unknown ones are left out."""
        ...

    async def orders_of_payment(self, payment_id: int, *, account_id: int) -> list[PaidOrder]:
        """Return the orders that a payment led to, at the usage points its account ever had."""
        ...
