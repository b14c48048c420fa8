"""The simulator's business time: real time plus an offset that only ever carries it forward.

The head-end's demo clock jumps to the next due instant; the meters must have lived through the
same days, so the offset is set over the control socket. Relays and time-outs use real time: a jump
of a week must not finish a relay's 200 ms early. Both kinds are integer microseconds since the
epoch UTC, so that splitting time at a contact movement is exact.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from headend.domain.errors import BadInput

US_PER_S = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_us(instant: datetime) -> int:
    """Return ``instant`` (aware) as integer microseconds since the epoch."""
    return (instant - _EPOCH) // _MICROSECOND


def to_instant(instant_us: int) -> datetime:
    """Return the aware UTC instant of integer microseconds since the epoch."""
    return _EPOCH + timedelta(microseconds=instant_us)


def real_time_us() -> int:
    """Return the wall clock in microseconds since the epoch."""
    return time.time_ns() // 1000


class BusinessClock:
    """Business time by offset, which knows when each offset took effect.

    Theory of operation. An offset is valid from the real instant at which it was set. A relay that
    was ordered to move at a real instant is looked at later, perhaps after a jump; `business_at`
    gives the business time that was valid *then*. Time never goes behind an instant already told,
    whatever the wall clock or a caller does.
    """

    def __init__(self, *, real_us: Callable[[], int] = real_time_us) -> None:
        self._real_us = real_us
        self._since_us: list[int] = [0]
        self._offset_us: list[int] = [0]
        self._told_us = 0

    @property
    def offset_us(self) -> int:
        """Microseconds that business time is ahead of real time."""
        return self._offset_us[-1]

    @property
    def offset_since_us(self) -> int:
        """The real instant at which this offset took effect [us since the epoch]."""
        return self._since_us[-1]

    @property
    def told_us(self) -> int:
        """The latest business instant that anyone was told [us since the epoch]."""
        return self._told_us

    def real_us(self) -> int:
        """Return real time [us since the epoch]."""
        return self._real_us()

    def now_us(self) -> int:
        """Return business time [us since the epoch], never less than before."""
        self._told_us = max(self._told_us, self._real_us() + self._offset_us[-1])
        return self._told_us

    def now(self) -> datetime:
        """Return business time, aware UTC."""
        return to_instant(self.now_us())

    def business_at(self, real_us: int) -> int:
        """Return the business instant that was valid at a real one, both [us since the epoch]."""
        index = max(bisect_right(self._since_us, real_us) - 1, 0)
        return real_us + self._offset_us[index]

    def set_offset(self, offset_s: float) -> None:
        """Carry business time forward; raises `BadInput` when it would go back."""
        offset_us = round(offset_s * US_PER_S)
        real_us = self._real_us()
        if real_us + offset_us < self._told_us:
            asked, told = to_instant(real_us + offset_us), to_instant(self._told_us)
            raise BadInput(
                f"offset_s {offset_s} would set the meters' clocks back to {asked}, but they have "
                f"already shown {told}; business time only moves forward",
                field="offset_s",
            )
        self._since_us.append(real_us)
        self._offset_us.append(offset_us)
        self._told_us = real_us + offset_us

    def restore(self, *, offset_us: int, since_us: int, told_us: int) -> None:
        """Take up an offset from an earlier run, as it was set at the real instant ``since_us``."""
        if since_us < self._since_us[-1]:
            # The wall clock was stepped back between two runs; keep the table in order.
            since_us = self._since_us[-1]
        self._since_us.append(since_us)
        self._offset_us.append(offset_us)
        self.restore_told(told_us)

    def restore_told(self, told_us: int) -> None:
        """Know of a business instant that an earlier run has told someone."""
        self._told_us = max(self._told_us, told_us)
