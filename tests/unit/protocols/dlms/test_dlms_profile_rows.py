"""From a buffer to interval rows: labels, zones, status bits and registers by the meter model."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from headend.domain.errors import MeterMisbehaved
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, CLOCK, LOAD_PROFILE_1, Obis
from headend.domain.reading import ProfileRows, Quality
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.meter_model import LoadProfile, MeterModel, load_model, parse_model
from protocols.dlms.profile_rows import decode_rows, find_columns, read_instant, select_range
from protocols.dlms.selection import CaptureObject, clock_octets
from protocols.dlms.units import ScalerUnit

INTERVAL_ENERGY = Obis.parse("1.0.1.29.0.255")
STATUS = Obis.parse("0.0.96.10.1.255")
CAPTURED = (
    CaptureObject(8, CLOCK),
    CaptureObject(1, STATUS),
    CaptureObject(3, INTERVAL_ENERGY),
)
REGISTERS = (CaptureObject(8, CLOCK), CaptureObject(3, ACTIVE_ENERGY_IMPORT))
MIDNIGHT = datetime(2026, 2, 28, 16, 0, tzinfo=UTC)  # 1 March in Shanghai
STEP = timedelta(minutes=15)
WH = ScalerUnit(0, "Wh")


def generic(**changes: object) -> tuple[MeterModel, LoadProfile]:
    model = replace(load_model("generic"), **changes)  # type: ignore[arg-type]
    return model, model.profiles[LOAD_PROFILE_1]


def octets_of(instant: datetime, deviation_min: int | None = -480, status: int = 0) -> bytes:
    octets = CosemDateTime.from_instant(
        instant, deviation_min=0 if deviation_min is None else deviation_min, status=status
    ).octets
    return octets if deviation_min is not None else octets[:9] + b"\x80\x00" + octets[11:]


def read(
    rows: list[tuple[d.Data, ...]],
    captured: tuple[CaptureObject, ...] = CAPTURED,
    *,
    model: MeterModel | None = None,
    profile: LoadProfile | None = None,
    scale: ScalerUnit = WH,
    start: datetime = MIDNIGHT,
    end: datetime = MIDNIGHT + timedelta(days=1),
) -> ProfileRows:
    model = model or load_model("generic")
    profile = profile or model.profiles[LOAD_PROFILE_1]
    buffer = xdr.encode(d.Array(d.Structure(row) for row in rows))
    columns = find_columns(profile, captured)
    return decode_rows(buffer, model, profile, columns, scale, start=start, end=end)


def starts(rows: ProfileRows) -> list[datetime]:
    return [datetime.fromtimestamp(value, UTC) for value in rows.start.tolist()]


def energy_row(index: int, energy_wh: int, status: int = 0) -> tuple[d.Data, ...]:
    return (
        octets_of(MIDNIGHT + index * STEP),
        d.Unsigned(status),
        d.DoubleLongUnsigned(energy_wh),
    )


def test_a_label_at_the_end_belongs_to_the_interval_before_it() -> None:
    rows = read([energy_row(1, 10), energy_row(2, 20)])
    assert starts(rows) == [MIDNIGHT, MIDNIGHT + STEP]
    assert rows.energy_wh.tolist() == [10, 20]
    assert rows.quality.tolist() == [Quality.ACTUAL] * 2
    assert (rows.interval_s, rows.start.dtype, rows.quality.dtype) == (900, np.int64, np.int16)


def test_a_label_at_the_start_is_the_interval() -> None:
    model, profile = generic()
    rows = read([energy_row(0, 10)], model=model, profile=replace(profile, timestamp="start"))
    assert starts(rows) == [MIDNIGHT]


def test_rows_outside_of_what_was_asked_are_left_out() -> None:
    rows = read([energy_row(0, 1), energy_row(1, 2), energy_row(97, 3)])
    assert rows.energy_wh.tolist() == [2]


@pytest.mark.parametrize(
    ("status", "quality"),
    [
        (0x00, Quality.ACTUAL),
        (0x80, Quality.ACTUAL),  # power went down: measured all the same
        (0x01, Quality.SUSPECT),
        (0x02, Quality.SUSPECT),
        (0x04, Quality.ESTIMATED_BY_METER),
        (0x06, Quality.SUSPECT),  # the worse of two
    ],
)
def test_status_bits_become_quality(status: int, quality: Quality) -> None:
    assert read([energy_row(1, 5, status)]).quality.tolist() == [quality]


def test_a_status_bit_string_counts_too() -> None:
    row = (octets_of(MIDNIGHT + STEP), d.BitString.from_bits("00000100"), d.Unsigned(5))
    assert read([row]).quality.tolist() == [Quality.ESTIMATED_BY_METER]


@pytest.mark.parametrize(("status", "quality"), [(0x02, Quality.SUSPECT), (0xFF, Quality.ACTUAL)])
def test_a_doubtful_clock_makes_a_row_suspect(status: int, quality: Quality) -> None:
    row = (octets_of(MIDNIGHT + STEP, status=status), d.Unsigned(0), d.Unsigned(5))
    assert read([row]).quality.tolist() == [quality]


def test_registers_become_differences_where_neighbours_are_there() -> None:
    def at(index: int, register: int) -> tuple[d.Data, ...]:
        return (octets_of(MIDNIGHT + index * STEP), d.DoubleLongUnsigned(register))

    rows = read([at(0, 100), at(1, 110), at(3, 150), at(4, 155), at(5, 120)], REGISTERS)
    assert starts(rows) == [MIDNIGHT, MIDNIGHT + 3 * STEP, MIDNIGHT + 4 * STEP]
    assert rows.energy_wh.tolist() == [10, 5, 0]
    assert rows.quality.tolist() == [Quality.ACTUAL, Quality.ACTUAL, Quality.SUSPECT]


@pytest.mark.parametrize(("scaler", "energy_wh"), [(3, 12000), (0, 12), (-1, 1)])
def test_energy_is_scaled_to_wh(scaler: int, energy_wh: int) -> None:
    rows = read([energy_row(1, 12)], scale=ScalerUnit(scaler, "Wh"))
    assert rows.energy_wh.tolist() == [energy_wh]


def test_floating_point_energy_is_rounded() -> None:
    row = (octets_of(MIDNIGHT + STEP), d.Unsigned(0), d.Float32(12.6))
    assert read([row]).energy_wh.tolist() == [13]


def test_null_data_is_filled_by_time_and_value() -> None:
    rows = read([energy_row(1, 7), (None, None, d.Unsigned(8)), (None, None, None)])
    assert starts(rows) == [MIDNIGHT, MIDNIGHT + STEP, MIDNIGHT + 2 * STEP]
    assert rows.energy_wh.tolist() == [7, 8, 8]


def test_rows_off_the_grid_or_without_time_or_energy_are_gaps() -> None:
    minute = (octets_of(MIDNIGHT + timedelta(minutes=7)), d.Unsigned(0), d.Unsigned(1))
    wildcard = (b"\xff" * 12, d.Unsigned(0), d.Unsigned(2))
    rows = read([(octets_of(MIDNIGHT + STEP), d.Unsigned(0), None), minute, wildcard])
    assert rows.start.size == 0


def test_a_capture_a_few_seconds_late_is_on_the_grid() -> None:
    late = MIDNIGHT + STEP + timedelta(seconds=12)
    assert starts(read([(octets_of(late), d.Unsigned(0), d.Unsigned(1))])) == [MIDNIGHT]


@pytest.mark.parametrize(
    ("rule", "deviation_min"),
    [("standard", -480), ("inverted", 480), ("ignored", 0), ("standard", None)],
)
def test_the_deviation_is_read_by_the_models_rule(rule: str, deviation_min: int | None) -> None:
    model, profile = generic(deviation=rule)
    wall_clock = MIDNIGHT + STEP + timedelta(hours=8)
    octets = octets_of(wall_clock, 0)
    if deviation_min is None:
        octets = octets[:9] + b"\x80\x00\x00"
    else:
        octets = octets[:9] + deviation_min.to_bytes(2, "big", signed=True) + b"\x00"
    row = (octets, d.Unsigned(0), d.Unsigned(1))
    assert starts(read([row], model=model, profile=profile)) == [MIDNIGHT]
    assert read_instant(CosemDateTime(octets), model) == MIDNIGHT + STEP


def test_the_repeated_hour_of_a_zone_is_told_by_the_daylight_bit() -> None:
    """Berlin, 25 October 2026: 02:15 comes twice, first in summer time."""
    model, profile = generic(zone="Europe/Berlin")
    first = datetime(2026, 10, 25, 0, 15, tzinfo=UTC)
    wall = datetime(2026, 10, 25, 2, 15, tzinfo=UTC)
    rows = [
        (octets_of(wall, None, status=0x80), d.Unsigned(0), d.Unsigned(1)),
        (octets_of(wall, None, status=0x00), d.Unsigned(0), d.Unsigned(2)),
    ]
    read_rows = read(
        rows, model=model, profile=profile, start=first - STEP, end=first + timedelta(hours=2)
    )
    assert starts(read_rows) == [first - STEP, first - STEP + timedelta(hours=1)]


class TestTheSelection:
    def ends(self, profile: LoadProfile, model: MeterModel, kind: str) -> list[str]:
        energy = next(each for each in profile.energy if each.kind == kind)
        selection = select_range(model, profile, energy, MIDNIGHT, MIDNIGHT + timedelta(days=1))
        return [clock_octets(end).octets.hex() for end in (selection.first, selection.last)]

    def test_names_labels_in_the_meters_wall_clock(self) -> None:
        model, profile = generic()
        assert self.ends(profile, model, "interval") == [
            "07ea030107000f0000fe2000",  # 00:15 on the 1st
            "07ea03020100000000fe2000",  # 00:00 on the 2nd
        ]

    def test_of_registers_begins_with_the_one_before(self) -> None:
        model, profile = generic()
        assert self.ends(profile, model, "cumulative")[0] == "07ea03010700000000fe2000"

    def test_of_start_labels_ends_before_the_end(self) -> None:
        model, profile = generic()
        start_labelled = replace(profile, timestamp="start")
        assert self.ends(start_labelled, model, "interval") == [
            "07ea03010700000000fe2000",
            "07ea030107173b3b00fe2000",
        ]

    def test_turns_the_deviation_round_for_a_meter_that_does(self) -> None:
        model, profile = generic(deviation="inverted")
        assert self.ends(profile, model, "interval")[0] == "07ea030107000f000001e000"


@pytest.mark.parametrize("captured", [CAPTURED[1:], CAPTURED[:2], ()])
def test_a_profile_without_clock_or_energy_is_misbehaviour(
    captured: tuple[CaptureObject, ...],
) -> None:
    with pytest.raises(MeterMisbehaved):
        find_columns(generic()[1], captured)


@pytest.mark.parametrize(
    "row",
    [
        (octets_of(MIDNIGHT), d.Unsigned(0)),
        (d.Unsigned(1), d.Unsigned(0), d.Unsigned(1)),
        (octets_of(MIDNIGHT), d.Unsigned(0), b"text"),
    ],
)
def test_rows_that_do_not_fit_what_is_captured_are_misbehaviour(row: tuple[d.Data, ...]) -> None:
    with pytest.raises(MeterMisbehaved):
        read([row])


def test_no_rows_are_no_rows() -> None:
    assert read([]).start.size == 0


class TestModelFiles:
    def test_every_model_of_the_package_is_understood(self) -> None:
        from protocols.dlms.meter_model import model_names

        assert {"generic", "sim-single-phase"} <= set(model_names())
        for name in model_names():
            assert load_model(name).name == name

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"colour": "red"}, "colour"),
            ({"clock": None}, "model"),
            ({"clock": "1.2.3"}, "obis"),
            ({"deviation": "upside-down"}, "deviation"),
            ({"load_profiles": [{"obis": "1.0.99.1.0.255"}]}, "clock"),
            ({"identity": {"serial": "0.0.96.1.0.255"}}, "logical_device_name"),
        ],
    )
    def test_a_wrong_file_names_model_and_field(
        self, change: dict[str, object], field: str
    ) -> None:
        from headend.domain.errors import BadInput

        raw = {
            "description": "", "uniform": True, "zone": "UTC", "deviation": "standard",
            "identity": {"logical_device_name": "0.0.42.0.0.255", "serial": "0.0.96.1.0.255"},
            "clock": "0.0.1.0.0.255",
        }  # fmt: skip
        assert parse_model("mine", json.dumps(raw)).name == "mine"
        with pytest.raises(BadInput, match="model mine") as caught:
            parse_model("mine", json.dumps(raw | change))
        assert caught.value.field == field

    def test_an_unknown_model_lists_the_known_ones(self) -> None:
        from headend.domain.errors import BadInput

        with pytest.raises(BadInput, match="sim-single-phase"):
            load_model("../generic")
