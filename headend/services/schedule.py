"""The daily rhythm as a pure plan: which runs a business day has, and what each waits for.

A run belongs to the business day on which it is due: ``collect`` and ``settle`` of a day deal with
the local days *before* it, ``decide`` with what is known on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta

from headend.domain.days import DEFAULT_ZONE, local_instant
from headend.domain.errors import BadInput
from headend.ports.runs import Dependency, PlannedRun, RunKey, RunKind

# Days that were never planned, because nothing ran, are still settled; older ones need a person.
LONGEST_CATCH_UP_DAYS = 31


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """When work is due, in the wall-clock time of ``zone``, and how long it waits for other work.

    ``*_patience_s`` is business time from when both the run and what it waits for were due:
    settlement then goes on with what has been read, and decisions with what has been settled.
    """

    zone: str = DEFAULT_ZONE
    collect_at: time = time(0, 5)
    settle_at: time = time(1, 0)
    decide_at: time = time(8, 30)
    settle_shards: int = 1
    decide_shards: int = 1
    settle_patience_s: int = 6 * 3600
    decide_patience_s: int = 4 * 3600
    partitions_behind_days: int = 35
    partitions_ahead_days: int = 35

    @property
    def dependencies(self) -> tuple[Dependency, ...]:
        """What waits for what: nothing is settled half read, nobody is judged half settled."""
        return (
            Dependency(RunKind.SETTLE, RunKind.COLLECT, self.settle_patience_s, later_dates=True),
            Dependency(RunKind.DECIDE, RunKind.SETTLE, self.decide_patience_s),
        )


def plan_day(
    day: date,
    concentrator_ids: Iterable[int],
    settings: ScheduleSettings,
    *,
    kinds: Sequence[RunKind] = tuple(RunKind),
) -> list[PlannedRun]:
    """Return the runs of one business day."""
    collect_due = local_instant(day, settings.collect_at, settings.zone)
    settle_due = local_instant(day, settings.settle_at, settings.zone)
    decide_due = local_instant(day, settings.decide_at, settings.zone)
    runs = [
        PlannedRun(RunKey(RunKind.COLLECT, day, concentrator_scope(number)), collect_due)
        for number in concentrator_ids
    ]
    runs += [
        PlannedRun(RunKey(RunKind.SETTLE, day, scope), settle_due)
        for scope in shard_scopes(settings.settle_shards)
    ]
    runs += [
        PlannedRun(RunKey(RunKind.DECIDE, day, scope), decide_due)
        for scope in shard_scopes(settings.decide_shards)
    ]
    return [run for run in runs if run.key.kind in kinds]


def days_to_plan(today: date, last_settled_plan: date | None) -> tuple[list[date], list[date]]:
    """Return (days to settle only, days to plan in full), oldest first.

    Days on which nothing ran are settled and not collected: the next collection reads what is
    missing, and settlement waits for it.
    """
    missed: list[date] = []
    if last_settled_plan is not None:
        oldest = max(
            last_settled_plan + timedelta(days=1), today - timedelta(days=LONGEST_CATCH_UP_DAYS)
        )
        missed = [oldest + timedelta(days=n) for n in range((today - oldest).days)]
    return missed, [today, today + timedelta(days=1)]


def concentrator_scope(concentrator_id: int) -> str:
    """Name the scope of a collection run."""
    return f"concentrator/{concentrator_id}"


def shard_scopes(shards: int) -> list[str]:
    """Name the scopes of a run cut into shards: ``shard/0/4`` is the first of four."""
    return [f"shard/{shard}/{shards}" for shard in range(shards)]


def parse_concentrator(scope: str) -> int:
    """Read a collection scope; raises `BadInput`."""
    kind, _, number = scope.partition("/")
    if kind != "concentrator" or not number.isdigit():
        raise BadInput(f"{scope!r} is not a scope such as concentrator/12", field="scope")
    return int(number)


def parse_shard(scope: str) -> tuple[int, int]:
    """Read ``shard/INDEX/COUNT`` as (index from 0, count); raises `BadInput`."""
    parts = scope.split("/")
    if len(parts) == 3 and parts[0] == "shard" and parts[1].isdigit() and parts[2].isdigit():
        shard, shards = int(parts[1]), int(parts[2])
        if shard < shards:
            return shard, shards
    raise BadInput(f"{scope!r} is not a scope such as shard/0/4", field="scope")
