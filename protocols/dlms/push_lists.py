"""Published push lists in which a value is known by its place alone: `push-lists.json`.

Such a push names the list and its version as its first text, and nothing else. A list counts only
when both that name and the number of elements agree, so that no value is ever misnamed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources

from headend.domain.obis import Obis
from protocols.dlms.data import Data
from protocols.dlms.push_values import as_text

_FILE = "push-lists.json"


def list_name(values: Sequence[Data]) -> str | None:
    """Return the first text among values, which names the list where there is one."""
    first = values[0] if values else None
    if isinstance(first, bytes):
        return as_text(first)
    return first if isinstance(first, str) else None


def objects_of(values: Sequence[Data]) -> tuple[Obis, ...] | None:
    """Return the code of each value of a published list, None for a list that is not known."""
    name = list_name(values)
    return None if name is None else _lists().get((name, len(values)))


@lru_cache(maxsize=1)
def _lists() -> dict[tuple[str, int], tuple[Obis, ...]]:
    text = resources.files("protocols.dlms").joinpath(_FILE).read_text(encoding="utf-8")
    return {
        (entry["identifier"], len(entry["objects"])): tuple(map(Obis.parse, entry["objects"]))
        for entry in json.loads(text)["lists"]
    }
