"""Any profile becomes a table: scaled, unfolded, in time order, whatever the meter can select."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from headend.domain.errors import MeterRefused
from headend.domain.obis import Obis
from headend.ports.inspection import ProfileReading, ProfileWindow
from protocols.dlms import data as d
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import AccessResult, MalformedData
from protocols.dlms.meter_model import load_model
from protocols.dlms.selection import CaptureObject, EntrySelection, RangeSelection
from protocols.dlms.services.clock import read_wall_clock
from protocols.dlms.services.profiles import read_profile
from protocols.dlms.services.testing import TableAccess, scaler_unit
from protocols.dlms.services.wall_clock import WallClock

PROFILE = "1.0.99.1.0.255"
ENERGY = "1.0.1.8.0.255"
CLOCK = "0.0.1.0.0.255"
CHINA = timezone(timedelta(hours=8))
MIDNIGHT = datetime(2026, 3, 1, tzinfo=CHINA)
QUARTER = timedelta(minutes=15)
ALL = ProfileWindow()


def stamp(moment: datetime, deviation_min: int = -480, status: int = 0) -> bytes:
    return CosemDateTime.from_instant(moment, deviation_min=deviation_min, status=status).octets


def column(class_id: int, obis: str, attribute: int = 2) -> d.Structure:
    return CaptureObject(class_id, Obis.parse(obis), attribute).to_data()


def meter(
    rows: list[tuple[d.Data, ...]], *columns: d.Structure, period_s: int = 900
) -> TableAccess:
    captured = columns or (column(8, CLOCK), column(3, ENERGY))
    return TableAccess(
        {
            (7, PROFILE, 2): d.Array(d.Structure(row) for row in rows),
            (7, PROFILE, 3): d.Array(captured),
            (7, PROFILE, 4): d.DoubleLongUnsigned(period_s),
            (7, PROFILE, 5): d.Enum(1),
            (7, PROFILE, 7): d.DoubleLongUnsigned(len(rows)),
            (3, ENERGY, 3): scaler_unit(-1, 30),
            (8, CLOCK, 2): stamp(MIDNIGHT),
        }
    )


def day(count: int = 4) -> list[tuple[d.Data, ...]]:
    return [(stamp(MIDNIGHT + n * QUARTER), d.DoubleLongUnsigned(1000 + n)) for n in range(count)]


async def read(
    access: TableAccess, window: ProfileWindow = ALL, *, may_select: bool = True
) -> ProfileReading:
    wall = await read_wall_clock(access, load_model("generic"))
    return await read_profile(access, Obis.parse(PROFILE), window, wall, may_select=may_select)


async def test_columns_are_named_scaled_and_in_the_meters_own_time() -> None:
    table = await read(meter(day(2)))
    assert [(c.name, c.unit, c.is_time) for c in table.columns] == [
        (CLOCK, "", True),
        (ENERGY, "Wh", False),
    ]
    assert table.rows == (
        (MIDNIGHT, Decimal("100.0")),
        (MIDNIGHT + QUARTER, Decimal("100.1")),
    )
    assert isinstance(table.rows[0][0], datetime)
    assert table.rows[0][0].isoformat() == "2026-03-01T00:00:00+08:00"
    assert table.period_s == 900


async def test_the_time_comes_first_wherever_it_is_captured() -> None:
    rows = [(d.DoubleLongUnsigned(5), stamp(MIDNIGHT), d.Unsigned(1))]
    table = await read(
        meter(rows, column(3, ENERGY), column(8, CLOCK), column(1, "0.0.96.10.1.255"))
    )
    assert [c.name for c in table.columns] == [CLOCK, ENERGY, "0.0.96.10.1.255"]
    assert table.rows == ((MIDNIGHT, Decimal("0.5"), 1),)


async def test_null_data_repeats_and_continues() -> None:
    rows: list[tuple[d.Data, ...]] = [
        (stamp(MIDNIGHT), d.DoubleLongUnsigned(10)),
        (None, None),
        (None, d.DoubleLongUnsigned(30)),
        (stamp(MIDNIGHT + 8 * QUARTER), None),
        (None, None),
    ]
    table = await read(meter(rows))
    assert [row[0] for row in table.rows] == [
        MIDNIGHT, MIDNIGHT + QUARTER, MIDNIGHT + 2 * QUARTER, MIDNIGHT + 8 * QUARTER,
        MIDNIGHT + 9 * QUARTER,
    ]  # fmt: skip
    assert [row[1] for row in table.rows] == [1, 1, 3, 3, 3]


async def test_deltas_add_to_the_row_before() -> None:
    rows: list[tuple[d.Data, ...]] = [
        (stamp(MIDNIGHT), d.DoubleLongUnsigned(100)),
        (None, d.DeltaUnsigned(7)),
        (None, d.DeltaInteger(-2)),
    ]
    table = await read(meter(rows))
    assert [row[1] for row in table.rows] == [Decimal(10), Decimal("10.7"), Decimal("10.5")]


async def test_null_data_in_a_first_row_is_missing_not_zero() -> None:
    table = await read(meter([(stamp(MIDNIGHT), None)]))
    assert table.rows == ((MIDNIGHT, None),)


async def test_a_range_is_asked_as_the_meter_writes_time() -> None:
    access = meter(day())
    window = ProfileWindow(MIDNIGHT + QUARTER, MIDNIGHT + 2 * QUARTER)
    table = await read(access, window)
    (selection,) = [asked for _, asked in access.asked if asked is not None]
    assert isinstance(selection, RangeSelection)
    assert (selection.first, selection.last) == (
        stamp(MIDNIGHT + QUARTER),
        stamp(MIDNIGHT + 2 * QUARTER),
    )
    # Both ends are included; a meter that answers more is corrected.
    assert [row[0] for row in table.rows] == [MIDNIGHT + QUARTER, MIDNIGHT + 2 * QUARTER]


async def test_a_naive_bound_is_the_meters_wall_clock() -> None:
    table = await read(meter(day()), ProfileWindow(datetime(2026, 3, 1, 0, 30), None))  # noqa: DTZ001
    assert [row[0] for row in table.rows] == [MIDNIGHT + 2 * QUARTER, MIDNIGHT + 3 * QUARTER]


async def test_a_meter_in_another_offset_is_asked_in_its_own() -> None:
    rows = [(stamp(MIDNIGHT, 0), d.DoubleLongUnsigned(1))]
    access = meter(rows)
    access.values[8, CLOCK, 2] = stamp(MIDNIGHT, 0)
    table = await read(access, ProfileWindow(MIDNIGHT, MIDNIGHT))
    (selection,) = [asked for _, asked in access.asked if asked is not None]
    assert isinstance(selection, RangeSelection)
    assert selection.first == stamp(MIDNIGHT, 0)
    assert isinstance(table.rows[0][0], datetime)
    assert table.rows[0][0].isoformat() == "2026-02-28T16:00:00+00:00"


async def test_a_meter_that_tells_no_offset_is_taken_at_its_zone() -> None:
    untold = stamp(MIDNIGHT)[:9] + b"\x80\x00\xff"
    access = meter([(untold, d.DoubleLongUnsigned(1))])
    access.values[8, CLOCK, 2] = untold
    table = await read(access, ProfileWindow(MIDNIGHT, MIDNIGHT))
    (selection,) = [asked for _, asked in access.asked if asked is not None]
    assert isinstance(selection, RangeSelection)
    assert selection.first == untold
    assert table.rows[0][0] == MIDNIGHT


async def test_a_refused_range_reads_everything_and_says_so() -> None:
    access = meter(day())
    access.selects = False
    table = await read(access, ProfileWindow(MIDNIGHT + QUARTER, MIDNIGHT + 2 * QUARTER))
    assert len(table.rows) == 2
    assert table.notes == (
        "the meter refused to select rows (scope-of-access-violated): everything was read, and"
        " chosen here",
    )


async def test_not_now_to_a_selection_is_tried_without_one() -> None:
    access = meter(day())
    access.selects = False
    access.selection_refusal = AccessResult.TEMPORARY_FAILURE
    table = await read(access, ProfileWindow(last=2))
    assert (len(table.rows), "not now" in table.notes[0]) == (2, True)


async def test_a_meter_that_never_selects_is_not_asked_to() -> None:
    access = meter(day())
    table = await read(access, ProfileWindow(MIDNIGHT + 3 * QUARTER, None), may_select=False)
    assert [asked for _, asked in access.asked if asked is not None] == []
    assert (len(table.rows), len(table.notes)) == (1, 1)


async def test_the_newest_rows_are_asked_by_entry() -> None:
    access = meter(day(10))
    table = await read(access, ProfileWindow(last=3))
    assert EntrySelection(8, 10) in [asked for _, asked in access.asked]
    assert [row[0] for row in table.rows] == [MIDNIGHT + n * QUARTER for n in (7, 8, 9)]


async def test_a_buffer_with_the_newest_first_is_turned_round() -> None:
    access = meter(list(reversed(day(5))))
    access.values[7, PROFILE, 5] = d.Enum(2)
    table = await read(access, ProfileWindow(last=2))
    assert EntrySelection(1, 2) in [asked for _, asked in access.asked]
    assert [row[0] for row in table.rows] == [MIDNIGHT + n * QUARTER for n in (3, 4)]


async def test_an_empty_profile_has_columns_and_no_rows() -> None:
    table = await read(meter([]))
    assert (len(table.columns), table.rows) == (2, ())


async def test_a_refused_list_of_scalers_is_read_one_by_one() -> None:
    access = meter(day(1))
    access.lists = False
    assert (await read(access)).rows == ((MIDNIGHT, Decimal("100.0")),)


async def test_an_object_without_scale_is_shown_as_captured() -> None:
    access = meter(day(1))
    access.refusals[3, ENERGY, 3] = AccessResult.READ_WRITE_DENIED
    table = await read(access)
    assert (table.columns[1].unit, table.rows[0][1]) == ("", 1000)


async def test_other_attributes_are_told_apart_by_name() -> None:
    rows = [(stamp(MIDNIGHT), d.LongUnsigned(5), stamp(MIDNIGHT + QUARTER))]
    access = meter(
        rows, column(8, CLOCK), column(4, "1.0.1.6.0.255"), column(4, "1.0.1.6.0.255", 5)
    )
    table = await read(access)
    assert [c.name for c in table.columns] == [CLOCK, "1.0.1.6.0.255", "1.0.1.6.0.255/5"]
    assert table.rows[0][2] == MIDNIGHT + QUARTER


async def test_rows_of_the_wrong_width_are_malformed() -> None:
    with pytest.raises(MalformedData, match="3 columns where 2"):
        await read(meter([(stamp(MIDNIGHT), d.Unsigned(1), d.Unsigned(2))]))


async def test_an_absent_profile_is_refused() -> None:
    with pytest.raises(MeterRefused):
        await read(TableAccess({}))


def test_summer_time_is_written_as_a_meter_in_that_zone_does() -> None:
    berlin = load_model("generic")
    zone = "Europe/Berlin"
    winter = CosemDateTime.from_instant(datetime(2026, 1, 1, tzinfo=UTC), deviation_min=-60)
    wall = WallClock(replace(berlin, zone=zone), winter)
    july = datetime(2026, 7, 1, 10, tzinfo=UTC)
    written = wall.write(july)
    assert (written.hour, written.deviation_min, written.status) == (12, -120, 0x80)
    assert wall.instant_of(written.octets) == july


def test_an_inverted_meter_is_written_inverted() -> None:
    sample = CosemDateTime(stamp(MIDNIGHT)[:9] + (480).to_bytes(2, "big") + b"\x00")
    wall = WallClock(replace(load_model("generic"), deviation="inverted"), sample)
    assert wall.write(MIDNIGHT) == sample
    assert wall.instant_of(sample.octets) == MIDNIGHT
