"""The rows of load-profile buffers: where each begins, and which share their layout.

Rows of one meter nearly always have tags and lengths at the same places; so the layout of a row is
found once, and all rows behind it are compared with it in one numpy operation. Where the layout
changes (null-data in place of an unchanged value) the scan goes on with the layout of that row.
What the octets between the fixed ones mean is the business of `profile_buffer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.reading import Int64Array
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.clock_column import CLOCK_FIELDS
from protocols.dlms.errors import MalformedData

CLOCK_SIZE = 12  # octets of a date-time
MAX_COLUMNS = 255
OTHER = -1  # stands for the tag of a column that holds neither numbers nor clocks
# Data tag -> (numpy format, octets) of what a column can hold as a number.
NUMBER_FORMATS = {
    d.TAG_BOOLEAN: "u1", 5: ">i4", 6: ">u4", 13: "i1", 15: "i1", 16: ">i2", 17: "u1", 18: ">u2",
    20: ">i8", 21: ">u8", 22: "u1", 23: ">f4", 24: ">f8",
}  # fmt: skip
_FIRST_WINDOW = 128  # rows compared at once with a new layout; grows while they fit
_FEW = 4  # rows alike that are not worth comparing with those behind them
_LONG_ROW = 2048  # octets that are compared as one row
_MANY = 16_384  # octets from which on that is worth its second call
_SIZED_TAGS = frozenset(
    (d.TAG_BIT_STRING, d.TAG_OCTET_STRING, d.TAG_VISIBLE_STRING, d.TAG_UTF8_STRING)
)
# Octets with its tag of a cell whose tag alone (of a clock, with its length) tells them; else 0.
_PLAIN_SIZES = [0] * 256
_PLAIN_SIZES[d.TAG_NULL] = 1
_PLAIN_SIZES[d.TAG_DATE_TIME] = 1 + CLOCK_SIZE
_PLAIN_SIZES[d.TAG_OCTET_STRING] = 2 + CLOCK_SIZE  # another length is no clock
for _tag, _format in NUMBER_FORMATS.items():
    _PLAIN_SIZES[_tag] = 1 + int(_format[-1])
_NESTED_TAGS = frozenset((d.TAG_ARRAY, d.TAG_STRUCTURE, d.TAG_COMPACT_ARRAY))
_Field: TypeAlias = tuple[int, int, int]  # tag or `OTHER`, offset in the row, octets


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Where the values of a row are: column n is field ``cn`` of ``dtype``, unless it is null-data.

    A tag is the column's own, `TAG_DATE_TIME` for any clock, `OTHER` for what is no number.
    """

    size: int
    tags: tuple[int, ...]
    dtype: np.dtype[Any]
    skeleton: npt.NDArray[np.uint8]  # the fixed octets in place, zero elsewhere
    mask: npt.NDArray[np.uint8]  # 255 where an octet is fixed


@dataclass(slots=True)
class Segment:
    """``count`` rows of one layout, the first of them at ``offset``."""

    first_row: int
    count: int
    offset: int
    layout: RowLayout


def scan_rows(body: bytes, starts: Int64Array, ends: Int64Array) -> list[Segment]:
    """Cut the rows into runs of one layout; checks that every buffer ends with its last row."""
    rows, size = int(starts[-1]), len(body)
    segments: list[Segment] = []
    row = position = 0
    window = _FIRST_WINDOW
    octets = np.frombuffer(body, dtype=np.uint8)
    while row < rows:
        layout = _layout_at(body, position)
        if segments and len(layout.tags) != len(segments[0].layout.tags):
            raise MalformedData("rows of different width in one profile")
        room = min((size - position) // layout.size, rows - row, window)
        count = room
        if room > 1:
            count = _count_alike(octets[position : position + room * layout.size], layout)
        last = segments[-1] if segments else None
        repeated = last is not None and last.layout is layout
        if count < room:
            # Where layouts alternate, looking far ahead each time would take quadratic time.
            window = _FIRST_WINDOW if count >= _FEW else 1
        elif window > 1 or repeated:
            window *= 8
        if last is not None and repeated:
            last.count += count
        else:
            segments.append(Segment(row, count, position, layout))
        row += count
        position += count * layout.size
    if position != size:
        raise MalformedData(f"{size - position} octets follow the rows of a profile")
    if len(starts) > 2:
        _check_ends(segments, starts, ends)
    return segments


def _count_alike(octets: npt.NDArray[np.uint8], layout: RowLayout) -> int:
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


def _check_ends(segments: list[Segment], starts: Int64Array, ends: Int64Array) -> None:
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


def _layout_at(body: bytes, position: int) -> RowLayout:
    """Walk one row and return its layout; raises `MalformedData` for what is no row."""
    start = position
    try:
        if body[position] != d.TAG_STRUCTURE:
            raise MalformedData("a profile row that is no structure")
        width, position = xdr.decode_length(body, position + 1)
        if not 1 <= width <= MAX_COLUMNS:
            raise MalformedData(f"a profile row of {width} columns")
        head = body[start:position]
        tags = bytearray()
        for _ in range(width):
            tag = body[position]
            size = _PLAIN_SIZES[tag]
            if not size or (tag == d.TAG_OCTET_STRING and body[position + 1] != CLOCK_SIZE):
                return _walk_row(body, start, len(head), width)
            tags.append(tag)
            position += size
    except IndexError:
        raise MalformedData("a profile row is cut short") from None
    if position > len(body):
        raise MalformedData("a profile row is cut short")
    return _plain_layout(head, bytes(tags))


@lru_cache(maxsize=1024)
def _plain_layout(head: bytes, tags: bytes) -> RowLayout:
    """Return the layout of rows of numbers, clocks and null-data, which their tags decide."""
    sample = bytearray(head)
    for tag in tags:
        cell = bytearray(_PLAIN_SIZES[tag])
        cell[0] = tag
        if tag == d.TAG_OCTET_STRING:
            cell[1] = CLOCK_SIZE
        sample += cell
    return _walk_row(bytes(sample), 0, len(head), len(tags))


def _walk_row(body: bytes, start: int, head_size: int, width: int) -> RowLayout:
    """Return the layout of the row at ``start``; `IndexError` or `MalformedData` if it is cut."""
    position = start + head_size
    fixed = [(0, body[start:position])]
    fields: list[_Field] = []
    for _ in range(width):
        tag, at = body[position], position
        number = NUMBER_FORMATS.get(tag)
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
            kind, value, position = OTHER, at, xdr.skip(body, at)
            head = xdr.decode_length(body, at + 1)[1] if tag in _SIZED_TAGS else at + 1
            if tag in _NESTED_TAGS:
                head = position  # only rows that are the same there are sure to be as long
        fields.append((kind, value - start, position - value))
        fixed.append((at - start, body[at:head]))
    if position > len(body):
        raise MalformedData("a profile row is cut short")
    return _make_layout(tuple(fixed), tuple(fields), position - start)


@lru_cache(maxsize=256)
def _make_layout(
    fixed: tuple[tuple[int, bytes], ...], fields: tuple[_Field, ...], size: int
) -> RowLayout:
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
        if kind == OTHER:
            formats.append(f"V{width}")
        else:
            is_clock = kind == d.TAG_DATE_TIME
            formats.append(CLOCK_FIELDS if is_clock else NUMBER_FORMATS[kind])  # type: ignore[arg-type]
    spec: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
    return RowLayout(size, tuple(kind for kind, _, _ in fields), np.dtype(spec), skeleton, mask)
