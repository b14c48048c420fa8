"""First validation on the way in: what no meter of this size can have measured becomes suspect.

Only the interval values are judged here; settlement holds a day against its registers, because the
register of the next midnight may come later than the day. A suspect value is kept and flagged, and
does not reach money.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from headend.domain.reading import ProfileDay, Quality, QualityArray
from rules.validation import maximum_interval_wh, validate_days

# Nominal voltage to neutral in China, GB/T 156 (unverified). Whether a meter has one phase or three
# is not in the registry: three is the assumption that accuses nobody wrongly.
NOMINAL_VOLTAGE_V = 220
PHASES = 3


@dataclass(frozen=True, slots=True)
class FusedDay:
    """A day and the largest current of the meter that measured it."""

    profile: ProfileDay
    maximum_current_a: int


def judge_days(days: Sequence[FusedDay]) -> list[ProfileDay]:
    """Return the days, in the order given, with the quality that validation leaves them."""
    judged: list[ProfileDay] = [day.profile for day in days]
    alike: dict[tuple[int, int], list[int]] = defaultdict(list)
    for place, day in enumerate(days):
        alike[day.profile.interval_s, day.profile.energy_wh.shape[0]].append(place)
    for (interval_s, _), places in alike.items():
        quality = _judge(interval_s, [days[place] for place in places])
        for place, row in zip(places, quality, strict=True):
            judged[place] = replace(days[place].profile, quality=row)
    return judged


def count_suspect(days: Sequence[ProfileDay]) -> int:
    """Return how many intervals are kept but not trusted."""
    return sum(int(np.count_nonzero(day.quality == Quality.SUSPECT)) for day in days)


def _judge(interval_s: int, days: Sequence[FusedDay]) -> QualityArray:
    unknown = np.zeros(len(days), dtype=np.int64)
    return validate_days(
        np.stack([day.profile.energy_wh for day in days]),
        np.stack([day.profile.quality for day in days]),
        maximum_wh=np.array(
            [
                maximum_interval_wh(
                    fuse_a=day.maximum_current_a,
                    voltage_v=NOMINAL_VOLTAGE_V,
                    phases=PHASES,
                    interval_s=interval_s,
                )
                for day in days
            ],
            dtype=np.int64,
        ),
        register_start_wh=unknown,
        register_end_wh=unknown,
        register_known=np.zeros(len(days), dtype=np.bool_),
    ).quality
