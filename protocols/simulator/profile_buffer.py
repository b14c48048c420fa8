"""The load profile's buffer: which rows a selection asks for, and their encoding.

A row is a structure of capture time, status and interval energy. The capture time is the *end* of
its interval, because a meter captures when the interval is over; it is local time with its
deviation. Rows are encoded by column, many at once; fleets ask for the same day again and again,
so encoded times are kept.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from headend.domain.errors import HeadEndError
from headend.domain.obis import CLOCK, Obis
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.errors import AccessError, AccessResult
from protocols.dlms.selection import (
    CLOCK_COLUMN,
    CaptureObject,
    EntrySelection,
    RangeSelection,
    Selection,
    clock_octets,
)
from protocols.simulator.business_time import US_PER_S, to_us
from protocols.simulator.faults import Fault
from protocols.simulator.meter import IntervalRows, Meter
from protocols.simulator.meter_clock import MeterClock

PROFILE_STATUS = Obis.parse("0.0.96.10.1.255")
INTERVAL_ENERGY = Obis.parse("1.0.1.29.0.255")  # energy of the capture period, not cumulative
CAPTURE_OBJECTS = (
    CLOCK_COLUMN,
    CaptureObject(1, PROFILE_STATUS, 2),
    CaptureObject(3, INTERVAL_ENERGY, 2),
)
PROFILE_DAYS = 62  # rows older than this were overwritten
STATUS_OK = 0

_ALL_COLUMNS = tuple(range(len(CAPTURE_OBJECTS)))
_TIME_HEAD = (d.TAG_OCTET_STRING, 12)

OctetArray = npt.NDArray[np.uint8]


def read_buffer(
    meter: Meter,
    selection: Selection | None,
    *,
    clock: MeterClock,
    deviation_min: int,
    missing: Fault | None = None,
) -> tuple[bytes, int]:
    """Return the encoded rows that ``selection`` asks for, and how many they are.

    ``clock`` is the meter's own; ``deviation_min`` is minutes from local time to UTC, as COSEM
    counts them; ``missing`` is the fault in whose window no row exists. Raises `AccessError` for a
    selection that is not served.
    """
    columns = _ALL_COLUMNS
    if selection is None:
        rows = _stored_rows(meter, clock, None, None)
    elif isinstance(selection, RangeSelection) and selection.column.obis == CLOCK:
        first_us = _end_us(selection.first, deviation_min)
        last_us = _end_us(selection.last, deviation_min)
        rows = _stored_rows(meter, clock, -(-first_us // US_PER_S), last_us // US_PER_S)
        columns = _chosen_columns(selection.columns)
    elif isinstance(selection, EntrySelection):
        rows = _entries(_stored_rows(meter, clock, None, None), selection)
        columns = _ALL_COLUMNS[max(selection.first_column, 1) - 1 : selection.last_column or None]
    else:
        raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED)
    if not columns:
        raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED)
    if missing is not None:
        rows = _without(rows, missing)
    encoded = encode_rows(
        rows, interval_s=meter.interval_s, deviation_min=deviation_min, columns=columns
    )
    return encoded, rows.start_s.size


def entries_in_use(meter: Meter, clock: MeterClock) -> int:
    """Return how many rows the buffer holds."""
    return _stored_rows(meter, clock, None, None).start_s.size


def encode_rows(
    rows: IntervalRows,
    *,
    interval_s: int,
    deviation_min: int,
    columns: tuple[int, ...] = _ALL_COLUMNS,
) -> bytes:
    """Return the buffer attribute: an A-XDR array of one structure per row.

    ``columns`` are indices into `CAPTURE_OBJECTS`, in the order wanted.
    """
    count = rows.start_s.size
    head = bytes((d.TAG_ARRAY,)) + xdr.encode_length(count)
    if count == 0:
        return head
    parts = [_constant(count, (d.TAG_STRUCTURE, len(columns)))]
    parts += [_column(column, rows, interval_s, deviation_min) for column in columns]
    return head + np.concatenate(parts, axis=1).tobytes()


def _stored_rows(
    meter: Meter, clock: MeterClock, first_s: int | None, last_s: int | None
) -> IntervalRows:
    """Return the stored rows whose *capture time* lies in ``[first_s, last_s]``."""
    if clock.was_ever_off:
        return _captured_rows(meter, clock, first_s, last_s)
    now_s = meter.clock.now_us() // US_PER_S
    oldest_s = now_s - PROFILE_DAYS * 86_400
    from_s = oldest_s if first_s is None else max(first_s - meter.interval_s, oldest_s)
    until_s = now_s if last_s is None else last_s - meter.interval_s + 1
    return meter.rows(from_s, until_s)


def _captured_rows(
    meter: Meter, clock: MeterClock, first_s: int | None, last_s: int | None
) -> IntervalRows:
    """Return the rows by the times that the meter's own clock gave them, in order of capture."""
    now_us, step_us = meter.clock.now_us(), meter.interval_s * US_PER_S
    oldest_us = max(now_us - PROFILE_DAYS * 86_400 * US_PER_S, meter.commissioned_s * US_PER_S)
    shown_us, true_us = clock.captures(oldest_us, now_us, step_us=step_us)
    if shown_us.size < 2:
        empty = np.empty(0, dtype=np.int64)
        return IntervalRows(empty, empty)
    energy_wh = np.diff(meter.used_wh(true_us))
    end_s = shown_us[1:] // US_PER_S
    chosen = np.ones(end_s.size, dtype=np.bool_)
    if first_s is not None:
        chosen &= end_s >= first_s
    if last_s is not None:
        chosen &= end_s <= last_s
    return IntervalRows(end_s[chosen] - meter.interval_s, energy_wh[chosen])


def _entries(rows: IntervalRows, selection: EntrySelection) -> IntervalRows:
    """Return entries counted from 1, the oldest first."""
    chosen = slice(max(selection.first, 1) - 1, selection.last or None)
    return IntervalRows(rows.start_s[chosen], rows.energy_wh[chosen])


def _without(rows: IntervalRows, missing: Fault) -> IntervalRows:
    """Return the rows outside the window of the fault; without a window none remain."""
    start_us = rows.start_s * US_PER_S
    kept = np.zeros(start_us.size, dtype=np.bool_)
    if missing.from_us is not None:
        kept |= start_us < missing.from_us
    if missing.until_us is not None:
        kept |= start_us >= missing.until_us
    return IntervalRows(rows.start_s[kept], rows.energy_wh[kept])


def _chosen_columns(wanted: tuple[CaptureObject, ...]) -> tuple[int, ...]:
    if not wanted:
        return _ALL_COLUMNS
    indices = tuple(i for i, column in enumerate(CAPTURE_OBJECTS) if column in wanted)
    if len(indices) != len(wanted):
        raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED)
    return indices


def _end_us(value: d.Data, deviation_min: int) -> int:
    try:
        return to_us(clock_octets(value).to_instant(default_deviation_min=deviation_min))
    except HeadEndError:
        raise AccessError(AccessResult.TYPE_UNMATCHED) from None


def _column(column: int, rows: IntervalRows, interval_s: int, deviation_min: int) -> OctetArray:
    count = rows.start_s.size
    if column == 0:
        # A clock that was set back gives the same times again: the first need not be the earliest.
        first_s = int(rows.start_s.min())
        index = (rows.start_s - first_s) // interval_s
        span = int(index.max()) + 1
        times = _encoded_times(first_s + interval_s, interval_s, span, deviation_min)
        return times if np.array_equal(index, np.arange(span)) else times[index]
    if column == 1:
        return _constant(count, (d.Unsigned.tag, STATUS_OK))
    value = rows.energy_wh.astype(">u4").view(np.uint8).reshape(count, 4)
    return np.concatenate((_constant(count, (d.DoubleLongUnsigned.tag,)), value), axis=1)


@lru_cache(maxsize=32)
def _encoded_times(first_s: int, step_s: int, count: int, deviation_min: int) -> OctetArray:
    """Return (row, 14) octets: tag, length and the 12 octets of each capture time."""
    local_s = first_s + step_s * np.arange(count, dtype=np.int64) - 60 * deviation_min
    day = local_s.astype("datetime64[s]").astype("datetime64[D]")
    month = day.astype("datetime64[M]")
    year = day.astype("datetime64[Y]").astype(np.int64) + 1970
    second = local_s % 86_400
    # 1970-01-01 was a Thursday; COSEM counts Monday as 1.
    weekday = (day.astype(np.int64) + 3) % 7 + 1
    fields = (
        year >> 8, year & 0xFF, month.astype(np.int64) % 12 + 1, (day - month).astype(np.int64) + 1,
        weekday, second // 3600, second // 60 % 60, second % 60, np.zeros(count, np.int64),
    )  # fmt: skip
    body = np.stack(fields, axis=1).astype(np.uint8)
    tail = (*deviation_min.to_bytes(2, "big", signed=True), STATUS_OK)
    times = np.concatenate((_constant(count, _TIME_HEAD), body, _constant(count, tail)), axis=1)
    times.flags.writeable = False
    return times


def _constant(count: int, octets: tuple[int, ...]) -> OctetArray:
    return np.broadcast_to(np.asarray(octets, dtype=np.uint8), (count, len(octets)))
