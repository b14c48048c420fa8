"""What a program reads keeps every digit, in exactly the promised form."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from headend.cli.exact_json import to_json
from headend.cli.meter_reading import _profile_json, _reading_document, ahead
from headend.ports.inspection import ObjectReading, ProfileReading, TableColumn

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("12345678901234.567"), "12345678901234.567"),
        (Decimal("230.0"), "230.0"),
        (Decimal("1E-7"), "0.0000001"),
        (Decimal("-0.5"), "-0.5"),
        (12345678901234567890, "12345678901234567890"),
        (Decimal("NaN"), "null"),
        ("1.5", '"1.5"'),
        ([Decimal("1.10"), "a"], '[1.10, "a"]'),
    ],
)
def test_numbers_keep_their_digits(value: object, text: str) -> None:
    assert to_json(value, indent=None) == text


def test_a_reading_has_exactly_the_promised_fields() -> None:
    reading = ObjectReading("1.0.1.8.0.255", 12345, "Wh", 3)
    assert [_reading_document(reading)] == [{"obis": "1.0.1.8.0.255", "value": 12345, "unit": "Wh"}]
    timed = ObjectReading("1.0.1.6.0.255", 5, "W", 4, time="2026-03-01T00:00:00+08:00")
    assert _reading_document(timed)["time"] == "2026-03-01T00:00:00+08:00"


def test_a_profile_has_columns_and_rows_with_iso_times() -> None:
    table = ProfileReading(
        (TableColumn("0.0.1.0.0.255", is_time=True), TableColumn("1.0.1.8.0.255", "Wh")),
        ((MIDNIGHT, Decimal("1.5")), (MIDNIGHT + timedelta(minutes=15), None)),
        900,
    )
    document = json.loads(_profile_json(table), parse_float=Decimal)
    assert document == {
        "columns": ["0.0.1.0.0.255", "1.0.1.8.0.255"],
        "units": ["", "Wh"],
        "rows": [
            ["2026-03-01T00:00:00+00:00", Decimal("1.5")],
            ["2026-03-01T00:15:00+00:00", None],
        ],
    }
    assert json.loads(_profile_json(ProfileReading((), ())))["rows"] == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "right to the second"), (-31.0, "31 s behind"), (5.5, "5.5 s ahead")],
)
def test_offsets_in_words(seconds: float, words: str) -> None:
    assert ahead(seconds) == words
