"""Profile buffers by column, compared with the same rows as the general codec reads them."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import MalformedData
from protocols.dlms.profile_buffer import (
    Column,
    continue_clock,
    decode_buffer,
    decode_buffers,
    repeat_unchanged,
)

START = datetime(2026, 2, 27, 16, 0, tzinfo=UTC)
STEP = timedelta(minutes=15)


def clock(index: int, deviation_min: int = -480) -> bytes:
    return CosemDateTime.from_instant(START + index * STEP, deviation_min=deviation_min).octets


def row(index: int, *, null_clock: bool = False, null_status: bool = False) -> d.Structure:
    return d.Structure(
        (
            None if null_clock else clock(index),
            None if null_status else d.Unsigned(index % 7),
            d.DoubleLongUnsigned(100_000 + index),
            d.LongUnsigned(index * 3),
            d.Long(-index),
        )
    )


def buffer(rows: list[d.Structure]) -> bytes:
    return xdr.encode(d.Array(rows))


def local_seconds(column: Column) -> list[float]:
    return [value - 8 * 3600 for value in column.values.tolist()]


@pytest.mark.parametrize("rows", [1, 2, 96, 130, 700])
def test_columns_are_what_the_general_codec_reads(rows: int) -> None:
    octets = buffer([row(index) for index in range(rows)])
    table = decode_buffer(octets)
    plain = xdr.decode(octets)
    assert table.rows == rows
    assert local_seconds(table.columns[0]) == [
        (START + index * STEP).timestamp() for index in range(rows)
    ]
    for column in range(1, 5):
        assert table.columns[column].values.tolist() == [int(each[column]) for each in plain]
        assert table.columns[column].present.all()
    deviation = table.columns[0].deviation_min
    assert deviation is not None
    assert set(deviation.tolist()) == {-480}


@pytest.mark.parametrize("pattern", ["all", "after first", "alternating", "runs"])
def test_null_data_continues_the_clock_and_repeats_the_value(pattern: str) -> None:
    def is_null(index: int) -> bool:
        return {
            "all": True,
            "after first": index > 0,
            "alternating": index % 2 == 1,
            "runs": index % 11 > 2,
        }[pattern]

    rows = [row(i, null_clock=is_null(i), null_status=is_null(i)) for i in range(200)]
    table = decode_buffer(buffer(rows))
    times, status = table.columns[0], table.columns[1]
    continue_clock(times, table.starts, period_s=900)
    repeat_unchanged(status, table.starts)
    if pattern == "all":
        assert not times.present.any()
        assert not status.present.any()
        return
    expected, last = [], 0
    for index in range(200):
        last = last if is_null(index) else index % 7
        expected.append(last)
    assert status.values.tolist() == expected
    assert local_seconds(times) == [(START + index * STEP).timestamp() for index in range(200)]
    assert times.present.all()
    assert table.columns[2].values.tolist() == [100_000 + index for index in range(200)]


def test_null_data_never_reaches_back_into_another_buffer() -> None:
    first = buffer([row(0), row(1)])
    second = buffer([row(0, null_clock=True, null_status=True), row(1), row(2, null_status=True)])
    table = decode_buffers([first, second])
    assert table.starts.tolist() == [0, 2, 5]
    status = table.columns[1]
    repeat_unchanged(status, table.starts)
    continue_clock(table.columns[0], table.starts, period_s=900)
    assert status.present.tolist() == [True, True, False, True, True]
    assert status.values.tolist()[3:] == [1, 1]
    assert table.columns[0].present.tolist() == [True, True, False, True, True]


def test_many_buffers_are_their_rows_one_after_the_other() -> None:
    parts = [buffer([row(i) for i in range(first, first + 3)]) for first in range(0, 30, 3)]
    together = decode_buffers([*parts, buffer([])])
    whole = decode_buffer(buffer([row(i) for i in range(30)]))
    assert together.starts.tolist() == [*range(0, 31, 3), 30]
    for left, right in zip(together.columns, whole.columns, strict=True):
        np.testing.assert_array_equal(left.values, right.values)


def test_widths_may_change_from_row_to_row() -> None:
    rows = [
        d.Structure((d.Unsigned(1),)),
        d.Structure((d.DoubleLong(-70000),)),
        d.Structure((None,)),
    ]
    column = decode_buffer(buffer(rows)).columns[0]
    assert column.values.tolist() == [1, -70000, 0]
    assert column.present.tolist() == [True, True, False]


def test_floats_strings_and_flags_have_columns_too() -> None:
    rows = [
        d.Structure((d.Float32(1.5), b"ab", d.BitString.from_bits("1010"), True)),
        d.Structure((d.Float32(2.5), b"abc", d.BitString.from_bits("0001"), False)),
    ]
    columns = decode_buffer(buffer(rows)).columns
    assert columns[0].values.tolist() == [1.5, 2.5]
    assert columns[1].values.tolist() == [b"ab", b"abc"]
    assert [value.bits for value in columns[2].values] == ["1010", "0001"]
    assert columns[3].values.tolist() == [1, 0]


def test_a_date_time_type_is_a_clock_as_well() -> None:
    rows = [d.Structure((CosemDateTime(clock(index)),)) for index in range(3)]
    assert local_seconds(decode_buffer(buffer(rows)).columns[0]) == [
        (START + index * STEP).timestamp() for index in range(3)
    ]


def test_a_compact_array_is_a_buffer() -> None:
    description = d.StructureType((9, 6))
    contents = b"".join(b"\x0c" + clock(i) + (50 + i).to_bytes(4, "big") for i in range(5))
    table = decode_buffer(xdr.encode(d.CompactArray(description, contents)))
    assert table.columns[1].values.tolist() == [50, 51, 52, 53, 54]
    assert local_seconds(table.columns[0])[4] == (START + 4 * STEP).timestamp()


@pytest.mark.parametrize(
    "octets",
    [
        "ffff0101070c000000fe2000",
        "07ea0d01070c000000fe2000",
        "07ea0001070c000000fe2000",
        "07ea021d070c000000fe2000",  # 29 February 2026
        "07ea0200070c000000fe2000",
        "07ea0101071800000 0fe2000".replace(" ", ""),
        "07ea0101070c3c0000fe2000",
        "07b00101070c000000fe2000",  # 1968
    ],
)
def test_a_clock_that_names_no_instant_is_not_present(octets: str) -> None:
    rows = [d.Structure((clock(0),)), d.Structure((bytes.fromhex(octets),))]
    column = decode_buffer(buffer(rows)).columns[0]
    assert column.present.tolist() == [True, False]
    assert column.null.tolist() == [False, False]


def test_an_unspecified_second_counts_as_zero() -> None:
    whole = clock(0)
    rows = [d.Structure((whole,)), d.Structure((whole[:7] + b"\xff\xff" + whole[9:],))]
    values = decode_buffer(buffer(rows)).columns[0].values
    assert values[0] == values[1]


def test_no_rows_is_an_empty_table() -> None:
    table = decode_buffer(buffer([]))
    assert (table.rows, table.columns) == (0, ())


WHOLE = buffer([row(index) for index in range(3)])


@pytest.mark.parametrize("size", range(len(WHOLE)))
def test_every_cut_is_malformed(size: int) -> None:
    with pytest.raises(MalformedData):
        decode_buffer(WHOLE[:size])


@pytest.mark.parametrize(
    "octets",
    [
        WHOLE + b"\x00",
        b"\x00",
        xdr.encode(d.Structure(())),
        xdr.encode(d.Array((d.Unsigned(1), d.Unsigned(2)))),
        xdr.encode(d.Array((d.Structure((d.Unsigned(1),)), d.Structure((None, None))))),
        xdr.encode(d.Array((d.Structure(()),))),
        xdr.encode(d.Array((d.Structure((d.Long64Unsigned(2**63),)),))),
        b"\x01\x84\xff\xff\xff\xff" + WHOLE[2:],
        b"\x13\x12\x04\x00\x01\x00\x02",  # compact array of numbers, not of rows
        b"\x13",
    ],
)
def test_what_is_no_profile_is_malformed(octets: bytes) -> None:
    with pytest.raises(MalformedData):
        decode_buffer(octets)


def test_a_row_missing_in_one_buffer_is_not_balanced_by_the_next() -> None:
    body = WHOLE[2:]
    size = len(body) // 3
    short, long = b"\x01\x03" + body[: 2 * size], b"\x01\x03" + body + body[:size]
    with pytest.raises(MalformedData):
        decode_buffers([short, long])


def test_any_octet_but_zero_is_true() -> None:
    table = decode_buffer(bytes.fromhex("0103 0201 0300 0201 0301 0201 03FF"))
    assert table.columns[0].values.tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "cells",
    [
        [b"ok", b"a longer text", b"", b"other"],
        [d.BitString.from_bits("1"), d.BitString.from_bits("1" * 20), d.BitString.from_bits("")],
        [d.Array((d.Unsigned(1),)), d.Array(()), d.Array((d.Unsigned(1), d.Unsigned(2)))],
        [d.Array((d.Unsigned(1), d.Unsigned(2)))] * 4,
        [d.Structure((None, None)), d.Structure((d.Unsigned(0),)), d.Structure((d.Enum(0),))],
        [d.VisibleString("abc"), b"abcd", None, d.Utf8String("abcdef")],
    ],
)
def test_cells_of_any_type_and_size_in_the_last_column(cells: list[d.Data]) -> None:
    rows = [d.Structure((d.Unsigned(n), cell)) for n, cell in enumerate(cells)]
    table = decode_buffers([xdr.encode(d.Array(rows)), xdr.encode(d.Array(rows))])
    assert table.columns[0].values.tolist() == [*range(len(cells))] * 2
    shown = [None if table.columns[1].null[n] else table.columns[1].values[n] for n in range(6)]
    assert shown == (cells * 2)[:6]


def test_a_row_that_only_looks_like_the_one_before_it() -> None:
    octets = bytes.fromhex(
        "0103 0203 090C07EA03010000000000000080 1100 0600000000"
        "0203 0011 0006 0000000102031A00000000000000"
    )
    assert decode_buffers((octets, octets)).rows == 6


def test_rows_whose_layout_changes_all_the_time() -> None:
    draw = random.Random(3)
    cells: tuple[d.Data, ...] = (None, d.Unsigned(7), d.LongUnsigned(700), d.Integer(-7))
    rows = [d.Structure((d.Unsigned(n % 256), *draw.choices(cells, k=3))) for n in range(500)]
    octets = xdr.encode(d.Array(rows))
    table = decode_buffers((octets, octets))
    for number, column in enumerate(table.columns):
        expected = [row[number] for row in rows] * 2
        assert column.null.tolist() == [cell is None for cell in expected]
        assert column.values.tolist() == [0 if cell is None else int(cell) for cell in expected]
