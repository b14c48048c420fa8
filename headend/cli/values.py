"""Values that people type: a day, a shard."""

from __future__ import annotations

import re
from datetime import date

from headend.domain.errors import BadInput

_SHARD = re.compile(r"(?P<shard>[0-9]+)/(?P<shards>[0-9]+)")
MOST_SHARDS = 10_000


def parse_day(text: str) -> date:
    """Read ``2026-03-05``; raises `BadInput`."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"--day {text!r} is not a day such as 2026-03-05", field="day") from None


def parse_shard(text: str) -> tuple[int, int]:
    """Read ``K/N`` as (shard from 0, number of shards); raises `BadInput`."""
    match = _SHARD.fullmatch(text)
    if match is None:
        raise BadInput(f"--shard {text!r} is not K/N such as 0/4, the first of four", field="shard")
    shard, shards = int(match["shard"]), int(match["shards"])
    if not 1 <= shards <= MOST_SHARDS:
        raise BadInput(f"--shard {text}: there are 1 to {MOST_SHARDS} shards", field="shard")
    if shard >= shards:
        raise BadInput(
            f"--shard {text}: the shards of {shards} are 0/{shards} to {shards - 1}/{shards}",
            field="shard",
        )
    return shard, shards
