"""Load-profile buffers to typed columns, many rows at once.

A buffer (class 7 attribute 2) is an array of structures, one per captured row. Rows of one meter
nearly always share their layout, that is tags and lengths at fixed places; so the layout of a row
is found once, all rows behind it are compared with it in one numpy operation, and every column is
one strided, byte-swapping copy. Where the layout changes (null-data in place of an unchanged value)
the scan goes on with the layout of that row. Compact arrays and columns of other types take the
general codec.

Null-data means "as in the row before" (Blue Book, Profile generic; clause unverified), for a clock
"one capture period later". Both are filled by `repeat_unchanged` and `continue_clock`, never across
two buffers, and stay missing where there is no row before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.reading import Int64Array
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.clock_column import CLOCK_FIELDS, NO_INSTANT, local_seconds
from protocols.dlms.compact_array import compact_array_elements
from protocols.dlms.errors import MalformedData

BoolArray: TypeAlias = npt.NDArray[np.bool_]

CLOCK_SIZE = 12  # octets of a date-time
MAX_COLUMNS = 255
_FIRST_WINDOW = 128  # rows compared at once with a new layout; grows while they fit
_LONG_ROW = 2048  # octets that are compared as one row
_MANY = 16_384  # octets from which on that is worth its second call
_OTHER = -1  # stands for the tag of a column that holds neither numbers nor clocks
_SIZED_TAGS = frozenset(
    (d.TAG_BIT_STRING, d.TAG_OCTET_STRING, d.TAG_VISIBLE_STRING, d.TAG_UTF8_STRING)
)
_NESTED_TAGS = frozenset((d.TAG_ARRAY, d.TAG_STRUCTURE, d.TAG_COMPACT_ARRAY))
_Field: TypeAlias = tuple[int, int, int]  # tag or `_OTHER`, offset in the row, octets

# Data tag -> (numpy format, octets) of what a column can hold as a number.
_NUMBER_FORMATS = {
    d.TAG_BOOLEAN: "u1", 5: ">i4", 6: ">u4", 13: "i1", 15: "i1", 16: ">i2", 17: "u1", 18: ">u2",
    20: ">i8", 21: ">u8", 22: "u1", 23: ">f4", 24: ">f8",
}  # fmt: skip
_FLOAT_TAGS = frozenset((23, 24))
_UNSIGNED_64 = 21
# Whatever octets these hold is the number of a column.
_PLAIN_NUMBERS = frozenset(_NUMBER_FORMATS) - {_UNSIGNED_64, d.TAG_BOOLEAN}


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
    segments = _scan(body, starts, np.asarray(sizes, dtype=np.int64).cumsum())
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


# --- scanning --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the values of a row are: ``tags`` and field names per column, and the fixed octets.

    A tag is the column's own, `TAG_DATE_TIME` for any clock, `_OTHER` for what is no number.
    """

    size: int
    tags: tuple[int, ...]
    dtype: np.dtype[Any]
    skeleton: npt.NDArray[np.uint8]  # the fixed octets in place, zero elsewhere
    mask: npt.NDArray[np.uint8]  # 255 where an octet is fixed


@dataclass(frozen=True, slots=True)
class _Segment:
    first_row: int
    count: int
    offset: int
    layout: _Layout


def _scan(body: bytes, starts: Int64Array, ends: Int64Array) -> list[_Segment]:
    """Cut the rows into runs of one layout; checks that every buffer ends with its last row."""
    rows, size = int(starts[-1]), len(body)
    segments: list[_Segment] = []
    row = position = 0
    window = _FIRST_WINDOW
    octets = np.frombuffer(body, dtype=np.uint8)
    while row < rows:
        layout = _layout_at(body, position)
        if segments and len(layout.tags) != len(segments[0].layout.tags):
            raise MalformedData("rows of different width in one profile")
        room = min((size - position) // layout.size, rows - row, window)
        count = _count_alike(octets[position : position + room * layout.size], layout)
        # Where layouts alternate, looking far ahead each time would take quadratic time.
        window = _FIRST_WINDOW if count < room else window * 8
        last = segments[-1] if segments else None
        if last is not None and last.layout is layout:
            segments[-1] = _Segment(last.first_row, last.count + count, last.offset, layout)
        else:
            segments.append(_Segment(row, count, position, layout))
        row += count
        position += count * layout.size
    if position != size:
        raise MalformedData(f"{size - position} octets follow the rows of a profile")
    if len(starts) > 2:
        _check_ends(segments, starts, ends)
    return segments


def _count_alike(octets: npt.NDArray[np.uint8], layout: _Layout) -> int:
    """Return how many rows from the first one on have their fixed octets where it has them."""
    size, mask, skeleton = layout.size, layout.mask, layout.skeleton
    # numpy works much faster through long rows than through many short ones.
    repeats = _LONG_ROW // size
    tiled = octets.size // (repeats * size) * repeats * size if repeats > 1 else 0
    if tiled and octets.size >= _MANY:
        alike = _count_same(octets[:tiled], np.tile(mask, repeats), np.tile(skeleton, repeats))
        if alike < tiled:
            return alike // size
    else:
        tiled = 0
    return (tiled + _count_same(octets[tiled:], mask, skeleton)) // size


def _count_same(
    octets: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], wanted: npt.NDArray[np.uint8]
) -> int:
    """Return how many octets come before the first that differs from the repeated pattern."""
    if not octets.size:
        return 0
    differs = ((octets.reshape(-1, mask.size) & mask) != wanted).ravel()
    first = int(differs.argmax())
    return first if differs[first] else differs.size


def _check_ends(segments: list[_Segment], starts: Int64Array, ends: Int64Array) -> None:
    firsts = np.asarray([segment.first_row for segment in segments])
    offsets = np.asarray([segment.offset for segment in segments])
    sizes = np.asarray([segment.layout.size for segment in segments])
    if not len(segments):
        return
    index = np.maximum(np.searchsorted(firsts, starts[:-1], side="right") - 1, 0)
    found = offsets[index] + (starts[:-1] - firsts[index]) * sizes[index]
    inside = starts[:-1] < starts[-1]
    if (found[inside] != ends[:-1][inside]).any():
        raise MalformedData("a profile ends in the middle of a row")


def _layout_at(body: bytes, position: int) -> _Layout:
    """Walk one row and return its layout; raises `MalformedData` for what is no row."""
    start = position
    try:
        if body[position] != d.TAG_STRUCTURE:
            raise MalformedData("a profile row that is no structure")
        width, position = xdr.decode_length(body, position + 1)
        if not 1 <= width <= MAX_COLUMNS:
            raise MalformedData(f"a profile row of {width} columns")
        fixed = [(0, body[start:position])]
        fields: list[_Field] = []
        for _ in range(width):
            tag, at = body[position], position
            number = _NUMBER_FORMATS.get(tag)
            kind, value = tag, at + 1  # of a number and of null-data
            if number is not None:
                head, position = value, value + int(number[-1])
            elif tag == d.TAG_NULL:
                head = position = value
            elif tag == d.TAG_OCTET_STRING and body[at + 1] == CLOCK_SIZE:
                kind, head, value = d.TAG_DATE_TIME, at + 2, at + 2
                position = value + CLOCK_SIZE
            elif tag == d.TAG_DATE_TIME:
                head, position = value, value + CLOCK_SIZE
            else:
                # Another type: its octets are decoded row by row, but its place is fixed.
                kind, value, position = _OTHER, at, xdr.skip(body, at)
                head = xdr.decode_length(body, at + 1)[1] if tag in _SIZED_TAGS else at + 1
                if tag in _NESTED_TAGS:
                    head = position  # only rows that are the same there are sure to be as long
            fields.append((kind, value - start, position - value))
            fixed.append((at - start, body[at:head]))
    except IndexError:
        raise MalformedData("a profile row is cut short") from None
    if position > len(body):
        raise MalformedData("a profile row is cut short")
    return _make_layout(tuple(fixed), tuple(fields), position - start)


@lru_cache(maxsize=256)
def _make_layout(
    fixed: tuple[tuple[int, bytes], ...], fields: tuple[_Field, ...], size: int
) -> _Layout:
    skeleton, mask = np.zeros(size, dtype=np.uint8), np.zeros(size, dtype=np.uint8)
    for at, part in fixed:
        skeleton[at : at + len(part)] = np.frombuffer(part, dtype=np.uint8)
        mask[at : at + len(part)] = 255
    names, formats, offsets = [], [], []
    for index, (kind, offset, width) in enumerate(fields):
        if kind == d.TAG_NULL:
            continue
        names.append(f"c{index}")
        offsets.append(offset)
        if kind == _OTHER:
            formats.append(f"V{width}")
        else:
            is_clock = kind == d.TAG_DATE_TIME
            formats.append(CLOCK_FIELDS if is_clock else _NUMBER_FORMATS[kind])  # type: ignore[arg-type]
    spec: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    return _Layout(size, tuple(kind for kind, _, _ in fields), np.dtype(spec), skeleton, mask)


# --- filling ---------------------------------------------------------------------------------


def _fill(body: bytes, segments: list[_Segment], rows: int) -> tuple[Column, ...]:
    if not segments:
        return ()
    parts = [
        np.frombuffer(body, segment.layout.dtype, segment.count, segment.offset)
        for segment in segments
    ]
    width = len(segments[0].layout.tags)
    return tuple(_fill_column(index, segments, parts, rows) for index in range(width))


def _fill_column(
    index: int, segments: list[_Segment], parts: list[npt.NDArray[Any]], rows: int
) -> Column:
    name, null = f"c{index}", np.zeros(rows, dtype=np.bool_)
    values: npt.NDArray[Any]
    if len(segments) == 1:
        # All rows alike, as nearly always: converted in place, without a copy before it.
        tag = segments[0].layout.tags[index]
        if tag == d.TAG_DATE_TIME:
            return _fill_clock(parts[0][name], null)
        if tag in _PLAIN_NUMBERS:
            values = parts[0][name].astype(np.float64 if tag in _FLOAT_TAGS else np.int64)
            return Column(values, ~null, null)
    kinds = {segment.layout.tags[index] for segment in segments} - {d.TAG_NULL}
    clocks: npt.NDArray[Any] | None = None
    if kinds == {d.TAG_DATE_TIME}:
        values = clocks = np.zeros(rows, dtype=CLOCK_FIELDS)
    elif kinds & {_OTHER, d.TAG_DATE_TIME}:
        values = np.empty(rows, dtype=object)
    else:
        values = np.zeros(rows, dtype=np.float64 if kinds & _FLOAT_TAGS else np.int64)
    for segment, part in zip(segments, parts, strict=True):
        here = slice(segment.first_row, segment.first_row + segment.count)
        tag = segment.layout.tags[index]
        if tag == d.TAG_NULL:
            null[here] = True
        elif values.dtype == object:
            values[here] = _decode_each(part[name], tag)
        else:
            if tag == _UNSIGNED_64 and values.dtype == np.int64 and (part[name] > 2**63 - 1).any():
                raise MalformedData("a value beyond what an int64 holds")
            values[here] = part[name] != 0 if tag == d.TAG_BOOLEAN else part[name]
    if clocks is None:
        return Column(values, ~null, null)
    return _fill_clock(clocks, null)


def _decode_each(part: npt.NDArray[Any], tag: int) -> list[Any]:
    if tag == _OTHER:
        return [xdr.decode(bytes(value)) for value in part]
    return [value.tobytes() if tag == d.TAG_DATE_TIME else value.item() for value in part]


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
