"""COSEM date-times: wildcards survive, deviation and sign make the instant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from headend.domain.errors import LocalProtocolError
from protocols.dlms.cosem_time import (
    DAY_LAST,
    DAY_SECOND_LAST,
    CosemDate,
    CosemDateTime,
    CosemTime,
)
from protocols.dlms.errors import MalformedData


def test_a_local_time_and_its_deviation_make_the_instant() -> None:
    octets = bytes.fromhex("07E7040106152023 00FF8880".replace(" ", ""))
    value = CosemDateTime.parse(octets)
    assert value.deviation_min == -120
    assert value.status == 0x80
    assert value.to_instant(default_deviation_min=0) == datetime(2023, 4, 1, 19, 32, 35, tzinfo=UTC)


def test_encoding_an_instant_in_shanghai() -> None:
    value = CosemDateTime.from_instant(
        datetime(2026, 2, 28, 16, 15, tzinfo=UTC), deviation_min=-480
    )
    # Sunday 1 March 2026, 00:15 local time.
    assert value.octets.hex() == "07ea030107000f0000fe2000"
    assert value.to_instant(default_deviation_min=0) == datetime(2026, 2, 28, 16, 15, tzinfo=UTC)


def test_the_default_deviation_counts_only_where_the_meter_gives_none() -> None:
    value = CosemDateTime.parse(bytes.fromhex("07ea030107000f00ff800000"))
    assert value.deviation_min is None
    assert value.hundredths is None
    instant = value.to_instant(default_deviation_min=-480)
    assert instant == datetime(2026, 2, 28, 16, 15, tzinfo=UTC)


def test_a_meter_with_the_opposite_sign_is_read_by_its_model() -> None:
    value = CosemDateTime.parse(bytes.fromhex("07ea030107000f000001e000"))  # +480 for Shanghai
    instant = value.to_instant(default_deviation_min=0, deviation_sign=-1)
    assert instant == datetime(2026, 2, 28, 16, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "octets",
    [
        "ffff030107000f0000fe2000",  # any year
        "07eafffe07000f0000fe2000",  # any month, last day
        "07ea030107ff0f0000fe2000",  # any hour
        "07ea021e07000f0000fe2000",  # 30 February
        "07ea0301070018ff00fe2000".replace("0018", "1800"),  # hour 24
        "0000030107000f0000fe2000",
        "270f0c1f07171f0000" + "7fff" + "00",  # beyond the last year
    ],
)
def test_a_pattern_or_an_impossible_date_is_no_instant(octets: str) -> None:
    with pytest.raises(MalformedData):
        CosemDateTime.parse(bytes.fromhex(octets)).to_instant(default_deviation_min=0)


def test_wildcards_read_as_none() -> None:
    value = CosemDateTime(b"\xff" * 9 + b"\x80\x00\xff")
    parts = (value.year, value.month, value.day, value.hour, value.minute, value.second)
    assert parts == (None,) * 6
    assert (value.deviation_min, value.status) == (None, None)


def test_other_lengths_are_refused() -> None:
    with pytest.raises(MalformedData):
        CosemDateTime.parse(bytes(11))
    for make, size in ((CosemDateTime, 11), (CosemDate, 4), (CosemTime, 5)):
        with pytest.raises(LocalProtocolError):
            make(bytes(size))


@pytest.mark.parametrize("year", [None, 0, 2026])
@pytest.mark.parametrize("special", [None, 1, DAY_LAST, DAY_SECOND_LAST])
@pytest.mark.parametrize("deviation", [None, -480, 0, 720])
@pytest.mark.parametrize("status", [None, 0, 0x80])
def test_every_part_is_kept_wildcards_included(
    year: int | None, special: int | None, deviation: int | None, status: int | None
) -> None:
    date = CosemDate.of(year, special, special, special)
    time = CosemTime.of(special, None, 59, 0)
    value = CosemDateTime.of(date, time, deviation_min=deviation, status=status)
    again = CosemDateTime.parse(value.octets)
    assert (again.date, again.time) == (date, time)
    assert (date.year, date.month, date.day, date.weekday) == (year, special, special, special)
    assert (time.hour, time.minute, time.second, time.hundredths) == (special, None, 59, 0)
    assert (again.year, again.month, again.weekday, again.hour) == (year, *[special] * 3)
    assert (again.deviation_min, again.status) == (deviation, status)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CosemDate.of(65535),
        lambda: CosemDate.of(2026, 255),
        lambda: CosemTime.of(-1),
        lambda: CosemDateTime.of(CosemDate.of(), CosemTime.of(), deviation_min=40000),
    ],
)
def test_parts_that_do_not_fit_are_refused(make: Callable[[], object]) -> None:
    with pytest.raises(LocalProtocolError):
        make()
