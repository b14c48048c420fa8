"""The arguments of one rating call, checked, and cut into the parts that fit a cache.

Refuses what could make an integer wrap or an array be read against the wrong one. Errors name the
row in the caller's numbering.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.errors import BadInput
from headend.domain.reading import Int64Array
from prepaid.tariff import TariffVersion
from prepaid.tou import PeriodArray

BoolArray: TypeAlias = npt.NDArray[np.bool_]

_INT64_MAX = 2**63 - 1
_CYCLE_LIMIT_WH = 2**61  # so that cycle + day stays below `UNLIMITED_WH`


@dataclass(frozen=True, slots=True, eq=False)
class RatingWork:
    """Energy of some accounts over one day, with what is needed to price it.

    energy_wh: (account, interval) int64 or int32 [Wh]; period: (interval,) int8; cycle_wh and
    cycle_estimated_wh: (account,) int64 [Wh]; tier_upper_wh: (tier,) or (account, tier) int64 [Wh];
    billable, estimated: (account, interval) bool. None stands for none, or for all billable.
    """

    version: TariffVersion
    period: PeriodArray
    energy_wh: Int64Array
    cycle_wh: Int64Array
    tier_upper_wh: Int64Array
    billable: BoolArray | None = None
    estimated: BoolArray | None = None
    cycle_estimated_wh: Int64Array | None = None

    @property
    def usage_wh(self) -> Int64Array:
        """Energy with masked intervals as nothing: (account, interval) [Wh]."""
        if self.billable is None:
            return self.energy_wh
        return np.where(self.billable, self.energy_wh, 0)

    def part(self, rows: slice | Int64Array) -> RatingWork:
        """Return the same work for some of the accounts."""
        upper, carried = self.tier_upper_wh, self.cycle_estimated_wh
        return RatingWork(
            version=self.version,
            period=self.period,
            energy_wh=self.energy_wh[rows],
            cycle_wh=self.cycle_wh[rows],
            tier_upper_wh=upper if upper.ndim == 1 else upper[rows],
            billable=None if self.billable is None else self.billable[rows],
            estimated=None if self.estimated is None else self.estimated[rows],
            cycle_estimated_wh=None if carried is None else carried[rows],
        )

    def check(self) -> None:
        """Raise `BadInput` when the arrays do not fit together or a cycle's energy is absurd."""
        if self.energy_wh.ndim != 2 or self.energy_wh.dtype not in (np.int64, np.int32):
            raise BadInput(
                f"energy_wh is {self.energy_wh.ndim}-dimensional {self.energy_wh.dtype}, "
                "not (account, interval) int64 or int32",
                field="energy_wh",
            )
        accounts, intervals = self.energy_wh.shape
        tiers = self.version.tier_upper_wh.shape[0]
        upper_shape = (tiers,) if self.tier_upper_wh.ndim == 1 else (accounts, tiers)
        self._check_shape("period_of_interval", self.period, (intervals,))
        self._check_shape("cycle_to_date_wh", self.cycle_wh, (accounts,))
        self._check_shape("cycle_to_date_estimated_wh", self.cycle_estimated_wh, (accounts,))
        self._check_shape("billable", self.billable, (accounts, intervals))
        self._check_shape("estimated", self.estimated, (accounts, intervals))
        self._check_shape("tier_upper_wh", self.tier_upper_wh, upper_shape)
        self._check_cycle()

    @staticmethod
    def _check_shape(
        name: str, values: npt.NDArray[np.generic] | None, shape: tuple[int, ...]
    ) -> None:
        if values is not None and values.shape != shape:
            raise BadInput(f"{name} has shape {values.shape}, not {shape}", field=name)

    def _check_cycle(self) -> None:
        wrong = (self.cycle_wh < 0) | (self.cycle_wh > _CYCLE_LIMIT_WH)
        carried = self.cycle_estimated_wh
        if carried is not None:
            wrong |= (carried < 0) | (carried > self.cycle_wh)
        if wrong.any():
            row = int(np.argmax(wrong))
            part = "" if carried is None else f", {int(carried[row])} Wh of it estimated,"
            raise BadInput(
                f"row {row}: {int(self.cycle_wh[row])} Wh{part} cannot be a cycle's energy so far",
                field=f"cycle_to_date_wh[{row}]",
            )


def check_usage(usage_wh: Int64Array, *, first_row: int) -> None:
    """Refuse interval energy that is negative, or so large that a day's sum could wrap.

    usage_wh: (account, interval) int64 or int32 [Wh]; ``first_row`` is the first account's number
    in the caller's counting. Raises `BadInput` (``negative`` or ``overflow``) naming the row.
    """
    if not usage_wh.size:
        return
    # Seen as unsigned, a negative value is larger than any allowed one: one pass finds both.
    limit = _CYCLE_LIMIT_WH // usage_wh.shape[1]
    unsigned = usage_wh.view(np.uint64 if usage_wh.dtype == np.int64 else np.uint32)
    if int(unsigned.max()) <= min(limit, np.iinfo(usage_wh.dtype).max):
        return
    row = int(np.argmax(((usage_wh < 0) | (usage_wh > limit)).any(axis=1)))
    least, most = int(usage_wh[row].min()), int(usage_wh[row].max())
    raise BadInput(
        f"row {first_row + row}: intervals of {least} to {most} Wh cannot be charged",
        field=f"energy_wh[{first_row + row}]",
        code="negative" if least < 0 else "overflow",
    )


def check_charge(day_wh: Int64Array, version: TariffVersion, *, first_row: int) -> None:
    """Refuse a day whose charge could exceed what an account holds; (account,) int64 [Wh]."""
    wrong = day_wh > _INT64_MAX // max(int(version.price_micro.max()), 1)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise BadInput(
            f"row {first_row + row}: {int(day_wh[row])} Wh cost more than an account can hold",
            field=f"energy_wh[{first_row + row}]",
            code="overflow",
        )
