"""``headend collect|settle|decide``: one day's work now, through the services that `serve` uses.

All three are safe to repeat and beside running workers: what is read, settled or decided already is
left alone. They do not touch the scheduler's runs; a run that comes later finds its work done.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headend.cli.context import checked_database, load, services_on
from headend.cli.failures import EXIT_DONE, EXIT_FAILED
from headend.cli.tables import show_json, show_values
from headend.cli.values import parse_day, parse_shard
from headend.domain.days import DEFAULT_ZONE, local_day
from headend.domain.errors import BadInput

if TYPE_CHECKING:
    from headend.bootstrap import Services
    from headend.services.reading_store import CollectionResult

CONCENTRATORS_AT_ONCE = 4
# How far collection looks back by itself; its days need their partitions.
LOOK_BACK_DAYS = 35
WHOLE = "0/1"

Day = Annotated[
    str | None,
    typer.Option(metavar="DAY", help="Local day such as 2026-03-05.", show_default=False),
]
Shard = Annotated[
    str, typer.Option(metavar="K/N", help="One part of N, counted from 0: 0/4 to 3/4.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Outcome = Mapping[str, Any]
Work = Callable[["Services", date, int, int], Awaitable[Outcome]]


def collect(
    context: typer.Context, day: Day = None, shard: Shard = WHOLE, as_json: Json = False
) -> None:
    """Read from the meters what is missing up to and including DAY (default: yesterday).

    Registers, contact and clock are read as they are now. Exits with 1 when no meter answered.
    """
    outcome = _run(context, "collected", _collect, day, shard, as_json, days_back=1)
    unheard = outcome["meters"] > 0 and outcome["heard"] == 0
    raise typer.Exit(EXIT_FAILED if unheard else EXIT_DONE)


def settle(
    context: typer.Context, day: Day = None, shard: Shard = WHOLE, as_json: Json = False
) -> None:
    """Charge what was used on DAY (default: yesterday) and correct what changed before it."""
    _run(context, "settled", _settle, day, shard, as_json, days_back=1)


def decide(
    context: typer.Context, day: Day = None, shard: Shard = WHOLE, as_json: Json = False
) -> None:
    """Decide for DAY (default: today) who is warned and who is cut, on facts as they are now."""
    _run(context, "decided", _decide, day, shard, as_json, days_back=0)


def _run(
    context: typer.Context,
    done: str,
    work: Work,
    day: str | None,
    shard: str,
    as_json: bool,
    *,
    days_back: int,
) -> Outcome:
    """Do the work and show what it did; ``days_back`` from today is the default and latest day."""
    given = None if day is None else parse_day(day)
    number, shards = parse_shard(shard)
    settings = load(context)

    async def carry_out(url: str) -> tuple[date, Outcome]:
        async with services_on(settings, url) as services:
            latest = local_day(services.clock.now(), DEFAULT_ZONE) - timedelta(days=days_back)
            chosen = given or latest
            if chosen > latest:
                raise BadInput(
                    f"--day {chosen}: the latest day that can be {done} is {latest}", field="day"
                )
            return chosen, await work(services, chosen, number, shards)

    with checked_database(settings) as url:
        chosen, outcome = asyncio.run(carry_out(url))
    if as_json:
        show_json({"day": chosen.isoformat(), "shard": f"{number}/{shards}", **outcome})
    else:
        show_values(f"{done} {chosen}, part {number}/{shards}", _flat(outcome))
    return outcome


async def _collect(services: Services, day: date, shard: int, shards: int) -> Outcome:
    async with services.store.transaction() as uow:
        await uow.readings.ensure_partitions(
            day - timedelta(days=LOOK_BACK_DAYS), day + timedelta(days=2)
        )
        known = await uow.registry.concentrator_ids()
    mine = [number for number in known if number % shards == shard]
    places = asyncio.Semaphore(CONCENTRATORS_AT_ONCE)

    async def collect_one(concentrator_id: int) -> CollectionResult:
        async with places:
            # Collection of a business day reads the days before it.
            return await services.collection.collect_concentrator(
                concentrator_id, day + timedelta(days=1)
            )

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(collect_one(number)) for number in mine]
    return {"concentrators": len(mine), **add_up([task.result().as_detail() for task in tasks])}


async def _settle(services: Services, day: date, shard: int, shards: int) -> Outcome:
    result = await services.billing_run.settle_day(day, shard=shard, shards=shards)
    return {
        "chunks_settled": result.chunks_settled,
        "points_rated": result.points_rated,
        "points_estimated": result.points_estimated,
        "points_unrated": result.points_unrated,
        "charged_nano": result.charged_nano,
        "days_rerated": result.days_rerated,
        "corrected_nano": result.corrected_nano,
        "accounts_corrected": len(result.corrected_accounts),
        "threshold_crossings": len(result.crossings),
    }


async def _decide(services: Services, day: date, shard: int, shards: int) -> Outcome:
    result = await services.decisions.decide_shard(day, shard=shard, shards=shards)
    return {
        "accounts": result.accounts,
        "outcomes": dict(sorted(result.outcomes.items())),
        "refused": dict(sorted(result.refused.items())),
    }


def add_up(details: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Add results of several concentrators: numbers by name, counts by name inside them."""
    from headend.services.reading_store import CollectionResult

    total: dict[str, Any] = CollectionResult().as_detail()
    for detail in details:
        for name, value in detail.items():
            if isinstance(value, Mapping):
                total[name] = dict(sorted((Counter(total[name]) + Counter(value)).items()))
            else:
                total[name] += value
    return total


def _flat(outcome: Outcome) -> dict[str, object]:
    """Name inner counts as people read them: ``causes: unreachable``; money in yuan."""
    from headend.domain.money import format_yuan_exact

    rows: dict[str, object] = {}
    for name, value in outcome.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            rows.update({f"{label}: {inner}": count for inner, count in value.items()})
        elif name.endswith("_nano"):
            rows[f"{label.removesuffix(' nano')} (yuan)"] = format_yuan_exact(value)
        else:
            rows[label] = value
    return rows
