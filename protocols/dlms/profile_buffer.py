"""Load-profile buffers to typed columns, many rows at once.

A buffer (class 7 attribute 2) is an array of structures, one per captured row. Rows that share a
layout (`profile_layout`) are taken together, and every column of them is one strided, byte-swapping
copy. Compact arrays and columns of other types take the general codec.

Null-data means "as in the row before" (Blue Book, Profile generic; clause unverified), for a clock
"one capture period later". Both are filled by `repeat_unchanged` and `continue_clock`, never across
two buffers, and stay missing where there is no row before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.reading import Int64Array
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.clock_column import CLOCK_FIELDS, NO_INSTANT, local_seconds
from protocols.dlms.compact_array import compact_array_elements
from protocols.dlms.errors import MalformedData
from protocols.dlms.profile_layout import NUMBER_FORMATS, OTHER, Segment, scan_rows

BoolArray: TypeAlias = npt.NDArray[np.bool_]

_FLOAT_TAGS = frozenset((23, 24))
_UNSIGNED_64 = 21
# Whatever octets these hold is the number of a column.
_PLAIN_NUMBERS = frozenset(NUMBER_FORMATS) - {_UNSIGNED_64, d.TAG_BOOLEAN}


@dataclass(slots=True)
class Column:
    """One column of a profile over all rows.

    values: (row,) int64, or float64 for floating point, or object for other types; for a clock the
    local time in seconds since 1970 as if it were UTC. present: (row,) bool, False for null-data
    and for a clock that names no instant; null: (row,) bool, null-data alone. A clock also has
    deviation_min: (row,) int64, minutes from local time to UTC or `DEVIATION_UNSPECIFIED`, and
    clock_status: (row,) int64.
    """

    values: npt.NDArray[Any]
    present: BoolArray
    null: BoolArray
    deviation_min: Int64Array | None = None
    clock_status: Int64Array | None = None


@dataclass(slots=True)
class ProfileTable:
    """Columns of one or more buffers; ``starts`` is the first row of each, then the row count."""

    columns: tuple[Column, ...]
    starts: Int64Array

    @property
    def rows(self) -> int:
        return int(self.starts[-1])


def decode_buffer(octets: bytes) -> ProfileTable:
    """Decode one buffer; raises `MalformedData` unless it is an array of equally wide rows."""
    return decode_buffers((octets,))


def decode_buffers(buffers: Sequence[bytes]) -> ProfileTable:
    """Decode several buffers of meters of one model in one go, their rows one after the other."""
    bodies: list[bytes] = []
    counts, sizes = [0], [0]
    for octets in buffers:
        tag = octets[0] if octets else -1
        if tag == d.TAG_COMPACT_ARRAY:
            octets = _expand_compact(octets)
        elif tag != d.TAG_ARRAY:
            raise MalformedData("a profile buffer that is no array")
        try:
            count, position = xdr.decode_length(octets, 1)
        except IndexError:
            raise MalformedData("a profile buffer is cut short") from None
        size = len(octets) - position
        if count * 2 > size or (count == 0 and size):
            raise MalformedData(f"{count} rows announced in {size} octets")
        counts.append(count)
        sizes.append(size)
        bodies.append(octets[position:])
    # A whole row more or less must not be balanced by another buffer: check each end.
    starts = np.asarray(counts, dtype=np.int64).cumsum()
    body = bodies[0] if len(bodies) == 1 else b"".join(bodies)
    segments = scan_rows(body, starts, np.asarray(sizes, dtype=np.int64).cumsum())
    return ProfileTable(_fill(body, segments, int(starts[-1])), starts)


def repeat_unchanged(column: Column, starts: Int64Array) -> None:
    """Give each null-data the value of the row before it in the same buffer, in place."""
    if not column.null.any():
        return
    source = _last_with(~column.null, starts)
    fillable = column.null & (source >= 0)
    column.values[fillable] = column.values[source[fillable]]
    column.present[fillable] = column.present[source[fillable]]


def continue_clock(column: Column, starts: Int64Array, *, period_s: int) -> None:
    """Give each null-data clock the time of the last one before it plus its periods, in place."""
    if not column.null.any() or column.deviation_min is None or column.clock_status is None:
        return
    source = _last_with(~column.null, starts)
    fillable = column.null & (source >= 0)
    rows = np.flatnonzero(fillable)
    origin = source[rows]
    column.values[rows] = column.values[origin] + (rows - origin) * period_s
    column.deviation_min[rows] = column.deviation_min[origin]
    column.clock_status[rows] = column.clock_status[origin]
    column.present[rows] = column.present[origin]


def _last_with(mask: BoolArray, starts: Int64Array) -> Int64Array:
    """Return for each row the last one up to it in its buffer where ``mask`` holds, else -1."""
    rows = np.arange(mask.size, dtype=np.int64)
    last = np.maximum.accumulate(np.where(mask, rows, -1))
    first = np.repeat(starts[:-1], np.diff(starts))
    return np.where(last >= first, last, -1)


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one layout: which they are, and their octets as fields."""

    rows: slice | Int64Array
    cells: npt.NDArray[Any]
    tags: tuple[int, ...]


def _fill(body: bytes, segments: list[Segment], rows: int) -> tuple[Column, ...]:
    if not segments:
        return ()
    parts = _gather(body, segments)
    return tuple(_fill_column(index, parts, rows) for index in range(len(parts[0].tags)))


def _gather(body: bytes, segments: list[Segment]) -> list[_Part]:
    """Bring together what lies apart: a compressed profile changes its layout every few rows."""
    by_layout: dict[int, list[Segment]] = {}
    for segment in segments:
        by_layout.setdefault(id(segment.layout), []).append(segment)
    parts = []
    for group in by_layout.values():
        first, layout = group[0], group[0].layout
        if len(group) == 1:
            here = slice(first.first_row, first.first_row + first.count)
            cells = np.frombuffer(body, layout.dtype, first.count, first.offset)
            parts.append(_Part(here, cells, layout.tags))
            continue
        counts = np.asarray([each.count for each in group])
        within = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        rows = np.repeat([each.first_row for each in group], counts) + within
        offsets = np.repeat([each.offset for each in group], counts) + within * layout.size
        # Every run of so many octets that there is; taking some of them copies no others.
        runs: npt.NDArray[np.uint8] = np.ndarray(
            (len(body) - layout.size + 1, layout.size), np.uint8, body, strides=(1, 1)
        )
        parts.append(_Part(rows, runs[offsets].view(layout.dtype)[:, 0], layout.tags))
    return parts


def _fill_column(index: int, parts: list[_Part], rows: int) -> Column:
    name, null = f"c{index}", np.zeros(rows, dtype=np.bool_)
    values: npt.NDArray[Any]
    if len(parts) == 1:
        # All rows alike, as nearly always: converted in place, without a copy before it.
        tag, cells = parts[0].tags[index], parts[0].cells
        if tag == d.TAG_DATE_TIME:
            return _fill_clock(cells[name], null)
        if tag in _PLAIN_NUMBERS:
            values = cells[name].astype(np.float64 if tag in _FLOAT_TAGS else np.int64)
            return Column(values, ~null, null)
    kinds = {part.tags[index] for part in parts} - {d.TAG_NULL}
    clocks: npt.NDArray[Any] | None = None
    if kinds == {d.TAG_DATE_TIME}:
        values = clocks = np.zeros(rows, dtype=CLOCK_FIELDS)
    elif kinds & {OTHER, d.TAG_DATE_TIME}:
        values = np.empty(rows, dtype=object)
    else:
        values = np.zeros(rows, dtype=np.float64 if kinds & _FLOAT_TAGS else np.int64)
    for part in parts:
        tag = part.tags[index]
        if tag == d.TAG_NULL:
            null[part.rows] = True
            continue
        found = part.cells[name]
        if values.dtype == object:
            found = _decode_each(found, tag)
        elif tag == d.TAG_BOOLEAN:
            found = found != 0
        elif tag == _UNSIGNED_64 and values.dtype == np.int64 and (found > 2**63 - 1).any():
            raise MalformedData("a value beyond what an int64 holds")
        values[part.rows] = found
    if clocks is None:
        return Column(values, ~null, null)
    return _fill_clock(clocks, null)


def _decode_each(cells: npt.NDArray[Any], tag: int) -> npt.NDArray[Any]:
    """Return the values one by one; as a list, nested ones would be taken for more dimensions."""
    values = np.empty(cells.size, dtype=object)
    for row, cell in enumerate(cells):
        if tag == OTHER:
            values[row] = xdr.decode(bytes(cell))
        elif tag == d.TAG_BOOLEAN:
            values[row] = bool(cell)
        else:
            values[row] = cell.tobytes() if tag == d.TAG_DATE_TIME else cell.item()
    return values


def _fill_clock(clock: npt.NDArray[Any], null: BoolArray) -> Column:
    local_s = local_seconds(clock)
    present = (local_s != NO_INSTANT) & ~null
    local_s[~present] = 0
    deviation, status = clock["deviation"].astype(np.int64), clock["status"].astype(np.int64)
    return Column(local_s, present, null, deviation, status)


def _expand_compact(octets: bytes) -> bytes:
    """Encode a compact array as the plain array it stands for."""
    value = xdr.decode(octets)
    return xdr.encode(compact_array_elements(value))
