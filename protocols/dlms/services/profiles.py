"""Any profile of a meter as a table: whatever it captures, however it compresses.

Columns are what the meter says it captures; numbers are scaled by their own objects. Null-data
stands for "as in the row before", for a clock "one capture period later" (Blue Book, Profile
generic; clause unverified). Rows are chosen by the meter where it can select, by range of time or
by entry; where it refuses, everything is read and chosen here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from headend.domain.errors import MeterBusy, MeterRefused
from headend.domain.obis import Obis
from headend.ports.inspection import ProfileReading, ProfileWindow, TableColumn, Value
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.compact_array import compact_array_elements
from protocols.dlms.data import Data
from protocols.dlms.errors import AccessResult, MalformedData, RequestTooLong
from protocols.dlms.selection import CaptureObject, EntrySelection, RangeSelection, Selection
from protocols.dlms.services import cosem
from protocols.dlms.services.cosem import CosemAccess
from protocols.dlms.services.values import read_scale, show
from protocols.dlms.services.wall_clock import WallClock
from protocols.dlms.targets import Attribute
from protocols.dlms.units import ScalerUnit

_BUFFER, _COLUMNS, _PERIOD, _SORT, _IN_USE = 2, 3, 4, 5, 7
_SORT_LIFO = 2  # sort method of buffers whose first entry is the newest
_DELTAS = (
    d.DeltaInteger, d.DeltaLong, d.DeltaDoubleLong, d.DeltaUnsigned, d.DeltaLongUnsigned,
    d.DeltaDoubleLongUnsigned,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ProfileShape:
    """What a profile captures: its columns with their scales, and its period [s]."""

    captured: tuple[CaptureObject, ...]
    scales: tuple[ScalerUnit | None, ...]
    period_s: int

    @property
    def clock_at(self) -> int | None:
        """The column of the rows' times, None where there is none."""
        for at, column in enumerate(self.captured):
            if column.class_id == cosem.CLOCK and column.attribute == 2:
                return at
        return None

    @property
    def order(self) -> tuple[int, ...]:
        """The columns as they are shown: the time first."""
        clock_at = self.clock_at
        others = tuple(at for at in range(len(self.captured)) if at != clock_at)
        return others if clock_at is None else (clock_at, *others)


async def read_shape(access: CosemAccess, profile: Obis) -> ProfileShape:
    """Read what a profile captures; raises `MeterRefused` where there is none."""
    value = await cosem.read(access, cosem.PROFILE, profile, _COLUMNS)
    if not isinstance(value, d.Array | d.Structure):
        raise MalformedData(f"the capture objects of {profile} are no array")
    captured = tuple(CaptureObject.from_data(each) for each in value)
    period = await cosem.read_if_there(access, cosem.PROFILE, profile, _PERIOD)
    scales = await _read_scales(access, captured)
    return ProfileShape(captured, scales, int(period) if isinstance(period, int) else 0)


async def read_profile(
    access: CosemAccess,
    profile: Obis,
    window: ProfileWindow,
    wall: WallClock,
    *,
    may_select: bool = True,
) -> ProfileReading:
    """Read the rows of a window, oldest first; ``may_select``: selection was negotiated."""
    shape = await read_shape(access, profile)
    start, end = (
        None if moment is None else wall.localise(moment) for moment in (window.start, window.end)
    )
    window = replace(window, start=start, end=end)
    notes: list[str] = []
    selection = await _select(access, profile, shape, window, wall)
    if selection is not None and not may_select:
        selection = None
        notes.append("the meter does not select rows: everything was read, and chosen here")
    buffer = await _read_buffer(access, profile, selection, notes)
    rows = decode_rows(buffer, shape, wall)
    return ProfileReading(
        _name_columns(shape), tuple(_choose(rows, shape, window)), shape.period_s, tuple(notes)
    )


def decode_rows(
    buffer: bytes, shape: ProfileShape, wall: WallClock
) -> list[tuple[Value | datetime, ...]]:
    """Decode a buffer into shown rows in the meter's order; raises `MalformedData`."""
    value = xdr.decode(buffer)
    if isinstance(value, d.CompactArray):
        value = compact_array_elements(value)
    if value is None:
        return []
    if not isinstance(value, d.Array | d.Structure):
        raise MalformedData("a profile buffer that is no array")
    unpacker = _Unpacker(shape, wall)
    return [unpacker.take(row) for row in value]


class _Unpacker:
    """Unfolds rows one after the other: null-data and deltas refer to the row before."""

    def __init__(self, shape: ProfileShape, wall: WallClock) -> None:
        self._shape = shape
        self._wall = wall
        self._before: list[Data] = [None] * len(shape.captured)
        self._time: datetime | None = None

    def take(self, row: Data) -> tuple[Value | datetime, ...]:
        shape = self._shape
        if not isinstance(row, d.Structure | d.Array):
            row = (row,)  # a profile of one column may do without the structure
        if len(row) != len(shape.captured):
            raise MalformedData(
                f"a profile row of {len(row)} columns where {len(shape.captured)} are captured"
            )
        shown: list[Value | datetime] = []
        for at in shape.order:
            if at == shape.clock_at:
                shown.append(self._take_time(row[at]))
                continue
            raw = self._unfold(row[at], self._before[at])
            self._before[at] = raw
            # A further time of a row (of a maximum, say) is shown in the meter's own offset too.
            moment = self._wall.instant_of(raw) if isinstance(raw, bytes) else None
            shown.append(show(raw, shape.scales[at]) if moment is None else moment)
        return tuple(shown)

    def _take_time(self, value: Data) -> Value | datetime:
        if value is None:
            if self._time is not None:
                self._time += timedelta(seconds=self._shape.period_s)
            return self._time
        moment = self._wall.instant_of(value)
        self._time = moment
        return moment if moment is not None else show(value)

    @staticmethod
    def _unfold(value: Data, before: Data) -> Data:
        if value is None:
            return before
        if isinstance(value, _DELTAS) and isinstance(before, int):
            return int(before) + int(value)
        return value


async def _read_scales(
    access: CosemAccess, captured: Sequence[CaptureObject]
) -> tuple[ScalerUnit | None, ...]:
    wanted = {
        column: Attribute(column.class_id, column.obis, number)
        for column in captured
        if (number := cosem.SCALER_ATTRIBUTE.get((column.class_id, column.attribute))) is not None
    }
    attributes = list(dict.fromkeys(wanted.values()))
    try:
        answers = await access.get_all(attributes) if attributes else []
    except MeterBusy:
        raise
    except MeterRefused:
        # Some meters refuse a whole list for one object that this client may not see.
        answers = [await _get_or_refusal(access, each) for each in attributes]
    scales: dict[Attribute, ScalerUnit | None] = {
        attribute: read_scale(xdr.decode(answer)) if isinstance(answer, bytes) else None
        for attribute, answer in zip(attributes, answers, strict=True)
    }
    return tuple(scales[wanted[column]] if column in wanted else None for column in captured)


async def _get_or_refusal(access: CosemAccess, attribute: Attribute) -> bytes | AccessResult:
    try:
        return await access.get(attribute)
    except MeterBusy:
        raise
    except MeterRefused:
        return AccessResult.OTHER_REASON


async def _select(
    access: CosemAccess,
    profile: Obis,
    shape: ProfileShape,
    window: ProfileWindow,
    wall: WallClock,
) -> Selection | None:
    """Return what to ask for; None for everything."""
    clock_at = shape.clock_at
    if window.start is not None or window.end is not None:
        if clock_at is None:
            return None
        first = window.start or _EARLIEST
        last = window.end or _LATEST
        return RangeSelection(
            wall.write(first).octets, wall.write(last).octets, column=shape.captured[clock_at]
        )
    if window.last is None:
        return None
    in_use = await cosem.read_if_there(access, cosem.PROFILE, profile, _IN_USE)
    if not isinstance(in_use, int) or in_use <= window.last:
        return None
    sort = await cosem.read_if_there(access, cosem.PROFILE, profile, _SORT)
    if isinstance(sort, int) and sort == _SORT_LIFO:
        return EntrySelection(1, window.last)
    return EntrySelection(int(in_use) - window.last + 1, int(in_use))


# Ends of an open range: years that every meter's calendar has.
_EARLIEST = datetime.fromisoformat("2000-01-01T12:00:00+00:00")
_LATEST = datetime.fromisoformat("2089-12-31T12:00:00+00:00")


async def _read_buffer(
    access: CosemAccess, profile: Obis, selection: Selection | None, notes: list[str]
) -> bytes:
    attribute = Attribute(cosem.PROFILE, profile, _BUFFER)
    if selection is None:
        return await access.get(attribute)
    try:
        return await access.get(attribute, selection)
    except RequestTooLong as fault:
        why = f"the meter takes no request that selects rows ({fault})"
    except (MeterRefused, MeterBusy) as fault:
        # "Not now" is how some meters say "never" to a selection; a busy one says it again.
        code = fault.code if isinstance(fault, MeterRefused) else "not now"
        why = f"the meter refused to select rows ({code})"
    buffer = await access.get(attribute)
    notes.append(f"{why}: everything was read, and chosen here")
    return buffer


def _choose(
    rows: list[tuple[Value | datetime, ...]], shape: ProfileShape, window: ProfileWindow
) -> list[tuple[Value | datetime, ...]]:
    """Return the rows of the window, oldest first; rows without a time only where all is wanted."""
    if shape.clock_at is not None:
        timed = [(row[0], row) for row in rows if isinstance(row[0], datetime)]
        if len(timed) == len(rows):
            rows = [row for _, row in sorted(timed, key=lambda pair: pair[0])]
        if window.start is not None or window.end is not None:
            rows = [row for row in rows if _is_inside(row[0], window)]
    return rows if window.last is None else rows[-window.last :]


def _is_inside(moment: Value | datetime, window: ProfileWindow) -> bool:
    if not isinstance(moment, datetime):
        return False
    return (window.start is None or moment >= window.start) and (
        window.end is None or moment <= window.end
    )


def _name_columns(shape: ProfileShape) -> tuple[TableColumn, ...]:
    columns = []
    for at in shape.order:
        column, scale = shape.captured[at], shape.scales[at]
        name = str(column.obis)
        if column.attribute != 2:
            name = f"{name}/{column.attribute}"
        if column.index:
            name = f"{name}[{column.index}]"
        unit = "" if scale is None else scale.unit
        columns.append(TableColumn(name, unit, is_time=at == shape.clock_at))
    return tuple(columns)
