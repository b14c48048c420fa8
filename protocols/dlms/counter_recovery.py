"""Invocation counters that a meter refuses: asked of its public client, raised, never lowered.

A meter that has seen a higher counter than ours (another head-end used its key, or our store was
restored from a backup) refuses every request until ours exceed it. It says so by an exception-
response, by rejecting the association, or not at all. Its frame counter, read through the public
client without any key, tells which.

That number is not authenticated: whoever is on the wire could name one so high that the key's
2^32 counters were used up at a blow. Therefore each raise is told to the audit before it happens,
a meter gets one per `MIN_INTERVAL_S`, and none may leave fewer than `MIN_LEFT` counters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from headend.domain.errors import CounterRejected
from headend.ports import CounterStore, MeterAccess
from protocols.dlms.counters import MeterCounters
from protocols.dlms.security import COUNTER_LIMIT

MIN_INTERVAL_S = 600.0
MIN_LEFT = 1 << 20  # counters of a key that a raise must leave: three years of 1,000 a day
MAX_ENTRIES = 50_000  # meters whose last raise is remembered


@dataclass(frozen=True, slots=True)
class CounterRaise:
    """Our next counter for a meter is about to be raised. ``cause`` is what the meter did."""

    meter_id: int
    client_address: int
    key_id: str
    before: int
    after: int
    cause: str


OnRaise: TypeAlias = Callable[[CounterRaise], Awaitable[None]]


class CounterRecovery:
    """Decides whether a meter's counter is believed, and raises ours."""

    def __init__(
        self,
        store: CounterStore,
        *,
        now_s: Callable[[], float],
        on_raise: OnRaise | None = None,
        min_interval_s: float = MIN_INTERVAL_S,
    ) -> None:
        self._store = store
        self._now_s = now_s
        self._on_raise = on_raise
        self._min_interval_s = min_interval_s
        self._last_raise_s: OrderedDict[tuple[int, int, str], float] = OrderedDict()

    def may_raise(self, access: MeterAccess) -> bool:
        """Tell whether enough time has passed since this meter's last raise."""
        last_s = self._last_raise_s.get(_key(access))
        return last_s is None or self._now_s() - last_s >= self._min_interval_s

    async def raise_above(
        self, access: MeterAccess, counters: MeterCounters, highest: int, *, cause: str
    ) -> bool:
        """Raise our counters above ``highest``, the meter's; tell whether they were not already.

        False also where the meter was helped too recently. Raises `CounterRejected` when the
        meter's counter leaves too few, and `StorageUnavailable`.
        """
        before, after = counters.block.next_counter, highest + 1
        if after <= before or not self.may_raise(access):
            return False
        if after > COUNTER_LIMIT - MIN_LEFT:
            raise CounterRejected(
                f"meter {access.meter_id} claims invocation counter {highest}, which leaves its key"
                " too few: check who else uses it, then replace the key",
                code="invocation-counter-error",
            )
        self._remember(access)
        if self._on_raise is not None:
            await self._on_raise(
                CounterRaise(
                    access.meter_id,
                    access.client_address,
                    access.key_id,
                    before,
                    after,
                    cause,
                )
            )
        await self._store.raise_to(access.meter_id, access.client_address, access.key_id, after)
        # What is left of the reserved block may be below; the next reservation begins above.
        counters.block.next_counter = min(after, counters.block.limit)
        return True

    def _remember(self, access: MeterAccess) -> None:
        key = _key(access)
        self._last_raise_s[key] = self._now_s()
        self._last_raise_s.move_to_end(key)
        if len(self._last_raise_s) > MAX_ENTRIES:
            self._last_raise_s.popitem(last=False)


def _key(access: MeterAccess) -> tuple[int, int, str]:
    return access.meter_id, access.client_address, access.key_id
