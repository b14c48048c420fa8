"""A meter's own clock: right, or off by an error that grows, until somebody sets it.

The error is a history of segments: from a true instant on, an error [us] that grows by so many
parts per million. The history is kept, because rows captured under an earlier error keep the times
that the meter gave them. Everything else in the simulator, and the control socket, is on true time.

A meter captures when *its* clock passes the end of an interval. A clock that is set forward skips
captures, one that is set back captures the same time twice; what was used since the last capture
goes into the next row, so that rows still add up to the register.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headend.domain.errors import HeadEndError
from headend.domain.reading import Int64Array
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import AccessError, AccessResult
from protocols.simulator.business_time import US_PER_S, BusinessClock, to_us

MAX_SEGMENTS = 64  # the oldest are forgotten, with the rows that were captured under them
_PPM = 1_000_000
_QUARTER_S, _MINUTE_S = 900, 60
_MAX_SHIFT_S = 900  # `shift_time` takes -900 to 900 s (Blue Book, class 8; clause unverified)
_TO_QUARTER, _TO_PERIOD, _TO_MINUTE, _SHIFT = 1, 2, 3, 6


@dataclass(frozen=True, slots=True)
class ClockError:
    """From ``since_us`` on: ahead by ``error_us``, and by ``ppm`` of the time that passes more."""

    since_us: int
    error_us: int
    ppm: float

    def at(self, true_us: int) -> int:
        """Return how far the clock is ahead at a true instant [us]."""
        return self.error_us + round((true_us - self.since_us) * self.ppm / _PPM)

    def true_of(self, shown_us: Int64Array) -> Int64Array:
        """Return the true instants at which the clock shows ``shown_us``: (instant,) int64 [us]."""
        since_shown = shown_us - (self.since_us + self.error_us)
        passed = np.rint(since_shown / (1 + self.ppm / _PPM)).astype(np.int64)
        return np.asarray(self.since_us + passed, dtype=np.int64)


class MeterClock:
    """What one meter takes for the time; ``record`` keeps every change for later runs."""

    def __init__(
        self, clock: BusinessClock, *, record: Callable[[str, Mapping[str, Any]], None]
    ) -> None:
        self._clock = clock
        self._record = record
        self._errors: list[ClockError] = []

    @property
    def was_ever_off(self) -> bool:
        """Whether anything ever happened to it; if not, it shows true time."""
        return bool(self._errors)

    def error_us(self, true_us: int) -> int:
        """Return how far it is ahead at a true instant [us]."""
        index = bisect_right(self._errors, true_us, key=lambda one: one.since_us) - 1
        return self._errors[index].at(true_us) if index >= 0 else 0

    def shown_us(self) -> int:
        """Return what it shows now [us since the epoch]."""
        now_us = self._clock.now_us()
        return now_us + self.error_us(now_us)

    # What changes it.

    def drift(
        self,
        since_us: int,
        until_us: int | None,
        *,
        offset_s: float,
        ppm: float,
        is_first: bool = False,
    ) -> None:
        """Be off from an instant on, and right again from ``until_us`` on.

        ``is_first``: it began so, which is not recorded, as the fleet's file says it.
        """
        errors = [ClockError(since_us, round(offset_s * US_PER_S), ppm)]
        if until_us is not None:
            errors.append(ClockError(until_us, 0, 0.0))
        if is_first:
            self._errors = errors
        else:
            self._change(errors)

    def repair(self) -> None:
        """Be right from now on."""
        if self._errors:
            self._change([ClockError(self._clock.now_us(), 0, 0.0)])

    def set(self, shown_us: int) -> None:
        """Show ``shown_us`` now, and run on as fast or slow as before."""
        now_us = self._clock.now_us()
        index = bisect_right(self._errors, now_us, key=lambda one: one.since_us) - 1
        ppm = self._errors[index].ppm if index >= 0 else 0.0
        later = [one for one in self._errors if one.since_us > now_us]
        self._change([ClockError(now_us, shown_us - now_us, ppm), *later])

    def write(self, value: bytes, *, deviation_min: int) -> None:
        """Take the encoded attribute 2 of the clock object; raises `AccessError`."""
        octets = xdr.decode(value)
        if isinstance(octets, CosemDateTime):
            octets = octets.octets
        if not isinstance(octets, bytes):
            raise AccessError(AccessResult.TYPE_UNMATCHED)
        try:
            instant = CosemDateTime.parse(octets).to_instant(default_deviation_min=deviation_min)
        except HeadEndError:
            raise AccessError(AccessResult.TYPE_UNMATCHED) from None
        self.set(to_us(instant))

    def invoke(self, method: int, parameter: bytes | None, *, period_s: int) -> None:
        """Run a method of the clock object; raises `AccessError`."""
        shown_us = self.shown_us()
        steps = {_TO_QUARTER: _QUARTER_S, _TO_PERIOD: period_s, _TO_MINUTE: _MINUTE_S}
        if method in steps:
            step_us = steps[method] * US_PER_S
            self.set((shown_us + step_us // 2) // step_us * step_us)
            return
        if method != _SHIFT:
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        shift_s = xdr.decode(parameter or b"")
        if not isinstance(shift_s, d.Long) or abs(shift_s) > _MAX_SHIFT_S:
            raise AccessError(AccessResult.TYPE_UNMATCHED)
        self.set(shown_us + int(shift_s) * US_PER_S)

    def _change(self, errors: Sequence[ClockError]) -> None:
        kept = [one for one in self._errors if one.since_us < errors[0].since_us]
        self._errors = [*kept, *errors][-MAX_SEGMENTS:]
        self._record("meter_clock", self._to_json())

    # Rows.

    def captures(self, first_us: int, last_us: int, *, step_us: int) -> tuple[Int64Array, ...]:
        """Return the captures of true time ``[first_us, last_us]``, in their order.

        shown_us, true_us: (capture,) int64: the multiple of ``step_us`` that the clock showed, and
        when it really was.
        """
        errors = [ClockError(first_us, 0, 0.0), *self._errors]
        parts: list[tuple[Int64Array, Int64Array]] = []
        for number, error in enumerate(errors):
            begins = max(error.since_us, first_us)
            later = errors[number + 1 :]
            ends = min(later[0].since_us - 1, last_us) if later else last_us
            if ends < begins:
                continue
            shown_first, shown_last = (at + error.at(at) for at in (begins, ends))
            shown = np.arange(
                -(-shown_first // step_us) * step_us, shown_last + 1, step_us, dtype=np.int64
            )
            parts.append((shown, error.true_of(shown)))
        if not parts:
            empty = np.empty(0, dtype=np.int64)
            return empty, empty
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))

    # Persistence.

    def snapshot(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the records from which `replay` rebuilds the history."""
        return [("meter_clock", self._to_json())] if self._errors else []

    def replay(self, values: Mapping[str, Any]) -> None:
        """Take up the history of an earlier run."""
        self._errors = [ClockError(int(s), int(e), float(p)) for s, e, p in values["errors"]]

    def forget(self) -> None:
        """Forget the history: replaying begins anew."""
        self._errors = []

    def _to_json(self) -> dict[str, Any]:
        return {"errors": [[one.since_us, one.error_us, one.ppm] for one in self._errors]}
