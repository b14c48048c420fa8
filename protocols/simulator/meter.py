"""The truth of one simulated meter: registers, interval rows and power, from load and contact.

What the household would draw is `HouseholdLoad`; what it got is that, while the contact was closed.
An interval of E Wh of which the contact was closed for a part delivers floor(E x closed / interval)
Wh, and the cumulative register is the initial reading plus exactly the sum of those, so that
registers and rows always reconcile. Faults and protocols are not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headend.domain.reading import Int64Array
from protocols.simulator.business_time import US_PER_S, BusinessClock
from protocols.simulator.contact import Contact
from protocols.simulator.load import DAY_S, HouseholdLoad

# Days of load kept per meter: today and three days of backfill; older ones are computed again.
_CACHED_DAYS = 4


@dataclass(frozen=True, slots=True)
class IntervalRows:
    """Whole intervals, oldest first: start_s (row,) int64 [s since the epoch], energy_wh (row,)."""

    start_s: Int64Array
    energy_wh: Int64Array


class Meter:
    """One meter's measurements; its clock is business time.

    commissioned_s: when the register stood at ``initial_wh`` [s since the epoch]; rounded up to an
    interval boundary. Nothing was measured before.
    """

    def __init__(
        self,
        clock: BusinessClock,
        contact: Contact,
        load: HouseholdLoad,
        *,
        initial_wh: int = 0,
        commissioned_s: int,
    ) -> None:
        self.clock = clock
        self.contact = contact
        self.load = load
        self.interval_s = load.interval_s
        self.initial_wh = initial_wh
        self.commissioned_s = -(-commissioned_s // self.interval_s) * self.interval_s
        # The register as it stood at an interval boundary: the past never changes.
        self._known_s = self.commissioned_s
        self._known_wh = initial_wh
        self._days: dict[int, Int64Array] = {}

    def register_wh(self) -> int:
        """Return the cumulative import register now [Wh]."""
        return self.register_wh_at(self.clock.now_us())

    def register_wh_at(self, at_us: int) -> int:
        """Return the register at a business instant that is not in the future [Wh]."""
        self.contact.settle()
        if at_us <= self.commissioned_s * US_PER_S:
            return self.initial_wh
        boundary_s = at_us // US_PER_S // self.interval_s * self.interval_s
        if boundary_s < self._known_s:
            before = self._delivered_wh(self.commissioned_s, boundary_s)
            return self.initial_wh + int(before.sum()) + self._partial_wh(boundary_s, at_us)
        midnight_s = boundary_s // DAY_S * DAY_S
        if self._known_s < midnight_s:
            self._known_wh += int(self._delivered_wh(self._known_s, midnight_s).sum())
            self._known_s = midnight_s
        since = self._delivered_wh(self._known_s, boundary_s)
        return self._known_wh + int(since.sum()) + self._partial_wh(boundary_s, at_us)

    def power_w(self) -> int:
        """Return the power drawn now [W]: the interval's mean while closed, else 0."""
        if not self.contact.closed:
            return 0
        start_s = self.clock.now_us() // US_PER_S // self.interval_s * self.interval_s
        energy_wh = int(self._load_wh(start_s, start_s + self.interval_s)[0])
        return energy_wh * 3600 // self.interval_s

    def latest_interval_wh(self) -> int:
        """Return the energy of the last finished interval [Wh], 0 before the first."""
        step = self.interval_s
        end_s = self.clock.now_us() // US_PER_S // step * step
        return int(self.rows(end_s - step, end_s).energy_wh.sum())

    def rows(self, start_s: int, end_s: int) -> IntervalRows:
        """Return the finished intervals whose *start* lies in ``[start_s, end_s)``."""
        self.contact.settle()
        step = self.interval_s
        finished_s = self.clock.now_us() // US_PER_S // step * step
        first_s = max(-(-start_s // step) * step, self.commissioned_s)
        last_s = min(-(-end_s // step) * step, finished_s)
        if last_s <= first_s:
            empty = np.empty(0, dtype=np.int64)
            return IntervalRows(empty, empty)
        start = np.arange(first_s, last_s, step, dtype=np.int64)
        return IntervalRows(start, self._delivered_wh(first_s, last_s))

    def used_wh(self, at_us: Int64Array) -> Int64Array:
        """Return what passed until each instant, counted from the first's interval on.

        at_us: (instant,) int64 [us], growing, none in the future; the result: (instant,) int64
        [Wh].
        """
        self.contact.settle()
        at_us = np.maximum(at_us, self.commissioned_s * US_PER_S)
        boundary_s = at_us // US_PER_S // self.interval_s * self.interval_s
        first_s, last_s = int(boundary_s[0]), int(boundary_s[-1])
        whole = np.zeros((last_s - first_s) // self.interval_s + 1, dtype=np.int64)
        if last_s > first_s:
            np.cumsum(self._delivered_wh(first_s, last_s), out=whole[1:])
        partial = [self._partial_wh(int(b), int(a)) for b, a in zip(boundary_s, at_us, strict=True)]
        return np.asarray(whole[(boundary_s - first_s) // self.interval_s] + partial)

    def _delivered_wh(self, start_s: int, end_s: int) -> Int64Array:
        """Return the energy that passed the contact per interval of ``[start_s, end_s)`` [Wh]."""
        load_wh = self._load_wh(start_s, end_s)
        if not self.contact.movements:
            return load_wh
        bounds_us = np.arange(start_s, end_s + 1, self.interval_s, dtype=np.int64) * US_PER_S
        closed_us = np.diff(self.contact.closed_us_until(bounds_us))
        return load_wh * closed_us // (self.interval_s * US_PER_S)

    def _partial_wh(self, boundary_s: int, at_us: int) -> int:
        bounds_us = np.asarray((boundary_s * US_PER_S, at_us), dtype=np.int64)
        since, until = self.contact.closed_us_until(bounds_us)
        energy_wh = int(self._load_wh(boundary_s, boundary_s + self.interval_s)[0])
        return energy_wh * int(until - since) // (self.interval_s * US_PER_S)

    def _load_wh(self, start_s: int, end_s: int) -> Int64Array:
        """Return what the household would draw per interval of ``[start_s, end_s)`` [Wh]."""
        # An empty span may begin at midnight: it still lies in its day.
        first_day, last_day = start_s // DAY_S, max(end_s - 1, start_s) // DAY_S
        if last_day - first_day >= _CACHED_DAYS:
            return self.load.energy_wh(np.arange(start_s, end_s, self.interval_s, dtype=np.int64))
        self._fill_days(first_day, last_day)
        parts = [self._days[day] for day in range(first_day, last_day + 1)]
        whole = np.concatenate(parts) if len(parts) != 1 else parts[0]
        offset = (start_s - first_day * DAY_S) // self.interval_s
        return whole[offset : offset + (end_s - start_s) // self.interval_s]

    def _fill_days(self, first_day: int, last_day: int) -> None:
        """Compute the days that are not kept, at once, and drop the oldest of the others."""
        missing = [day for day in range(first_day, last_day + 1) if day not in self._days]
        if not missing:
            return
        first_s, end_s = missing[0] * DAY_S, (missing[-1] + 1) * DAY_S
        load_wh = self.load.energy_wh(np.arange(first_s, end_s, self.interval_s, dtype=np.int64))
        load_wh.flags.writeable = False
        per_day = DAY_S // self.interval_s
        for day in missing:
            offset = (day - missing[0]) * per_day
            self._days[day] = load_wh[offset : offset + per_day]
        for day in sorted(self._days)[:-_CACHED_DAYS]:
            if not first_day <= day <= last_day:
                del self._days[day]
