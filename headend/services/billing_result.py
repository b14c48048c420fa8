"""What a settlement did: counts of this call, never of what was done before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import numpy as np

from headend.ports.settlement import RatedDays


@dataclass(frozen=True, slots=True)
class Crossing:
    """An account whose balance went over a threshold; falling means it is below it now."""

    account_id: int
    threshold_nano: int
    falling: bool
    balance_nano: int


@dataclass(frozen=True, slots=True)
class SettlementResult:
    """What one call did.

    ``charged_nano`` is the sum of first ratings, ``corrected_nano`` that of balance differences by
    re-rating (negative: charged in addition).
    """

    business_date: date
    shard: int
    shards: int
    chunks_settled: int
    points_rated: int
    points_estimated: int
    points_unrated: int
    charged_nano: int
    days_rerated: int
    corrected_nano: int
    corrected_accounts: tuple[int, ...]
    crossings: tuple[Crossing, ...]


@dataclass(slots=True)
class Tally:
    """The result while it is counted."""

    chunks_settled: int = 0
    points_rated: int = 0
    points_estimated: int = 0
    points_unrated: int = 0
    charged_nano: int = 0
    days_rerated: int = 0
    corrected_nano: int = 0
    corrected_accounts: set[int] = field(default_factory=set)
    crossings: list[Crossing] = field(default_factory=list)

    def count_chunk(self, days: RatedDays) -> None:
        """Count a chunk that was settled."""
        unrated = sum(reason is not None for reason in days.unrated_reason)
        self.chunks_settled += 1
        self.points_rated += len(days) - unrated
        self.points_unrated += unrated
        self.points_estimated += int(np.count_nonzero(days.estimated_wh > 0))
        self.charged_nano += sum(days.charge_nano.tolist())

    def result(self, business_date: date, shard: int, shards: int) -> SettlementResult:
        """Return what was counted."""
        return SettlementResult(
            business_date=business_date,
            shard=shard,
            shards=shards,
            chunks_settled=self.chunks_settled,
            points_rated=self.points_rated,
            points_estimated=self.points_estimated,
            points_unrated=self.points_unrated,
            charged_nano=self.charged_nano,
            days_rerated=self.days_rerated,
            corrected_nano=self.corrected_nano,
            corrected_accounts=tuple(sorted(self.corrected_accounts)),
            crossings=tuple(self.crossings),
        )
