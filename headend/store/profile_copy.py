"""Binary COPY of profile days: whole groups of rows encoded at once, by column, in numpy.

Days with the same channel length and number of intervals have rows of the same size, so a group is
one structured array. Source: PostgreSQL documentation, "COPY", Binary Format, and the array layout
of ``array_send`` (dimensions, null flag, element type, then length and value of each element).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.reading import ProfileDay, Quality

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_POSTGRES_EPOCH = date(2000, 1, 1).toordinal()
_INT8_OID, _INT2_OID = 20, 21
_ARRAY_HEAD_OCTETS = 20
_COLUMNS = 7
# Bounds the memory of one encoded block: 96 intervals are about 1.8 kB a day.
_BLOCK_DAYS = 2_000

Rows: TypeAlias = npt.NDArray[np.void]


def encode_profile_days(days: Sequence[ProfileDay]) -> Iterator[bytes]:
    """Yield the blocks of a binary COPY stream of (meter_id, channel, day, interval_s, energy_wh
    bigint[], quality smallint[], present smallint), grouped by shape.
    """
    groups: dict[tuple[bytes, int], list[ProfileDay]] = defaultdict(list)
    for day in days:
        groups[str(day.channel).encode("ascii"), day.energy_wh.shape[0]].append(day)
    yield _HEADER
    for (channel, intervals), members in groups.items():
        for first in range(0, len(members), _BLOCK_DAYS):
            yield _encode_group(members[first : first + _BLOCK_DAYS], channel, intervals)
    yield _TRAILER


def _encode_group(days: list[ProfileDay], channel: bytes, intervals: int) -> bytes:
    rows = np.zeros(len(days), dtype=_row_type(len(channel), intervals))
    quality = np.stack([day.quality for day in days])
    rows["columns"] = _COLUMNS
    _fill(rows, "meter_id", 8, [day.meter_id for day in days])
    _fill(rows, "channel", len(channel), channel)
    _fill(rows, "day", 4, [day.day.toordinal() - _POSTGRES_EPOCH for day in days])
    _fill(rows, "interval_s", 4, [day.interval_s for day in days])
    energy_wh = np.stack([day.energy_wh for day in days])
    _fill_array(rows, "energy_wh", oid=_INT8_OID, octets=8, values=energy_wh)
    _fill_array(rows, "quality", oid=_INT2_OID, octets=2, values=quality)
    _fill(rows, "present", 2, np.count_nonzero(quality != Quality.MISSING, axis=1))
    return rows.tobytes()


def _row_type(channel_octets: int, intervals: int) -> np.dtype[np.void]:
    """Return the layout of one row: each column is preceded by its length."""
    fields: list[tuple[str, Any]] = [("columns", ">i2")]
    for name, kind in (
        ("meter_id", ">i8"),
        ("channel", f"S{channel_octets}"),
        ("day", ">i4"),
        ("interval_s", ">i4"),
        ("energy_wh", _array_type(">i8", intervals)),
        ("quality", _array_type(">i2", intervals)),
        ("present", ">i2"),
    ):
        fields += [(f"{name}_octets", ">i4"), (name, kind)]
    return np.dtype(fields)


def _array_type(kind: str, intervals: int) -> np.dtype[np.void]:
    element = np.dtype([("octets", ">i4"), ("value", kind)])
    return np.dtype([("head", ">i4", (5,)), ("elements", element, (intervals,))])


def _fill(rows: Rows, name: str, octets: int, values: object) -> None:
    rows[f"{name}_octets"] = octets
    rows[name] = values


def _fill_array(
    rows: Rows, name: str, *, oid: int, octets: int, values: npt.NDArray[np.integer[Any]]
) -> None:
    intervals = values.shape[1]
    rows[f"{name}_octets"] = _ARRAY_HEAD_OCTETS + intervals * (4 + octets)
    # One dimension, no NULL, element type, length, lower bound 1.
    rows[name]["head"] = (1, 0, oid, intervals, 1)
    rows[name]["elements"]["octets"] = octets
    rows[name]["elements"]["value"] = values
