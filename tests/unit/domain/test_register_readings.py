"""Register readings: exact values, and what of them is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from headend.domain.obis import ACTIVE_ENERGY_IMPORT
from headend.domain.reading import RegisterReading


@pytest.mark.parametrize(
    ("value", "whole"),
    [(12345, 12345), (Decimal("230.4"), 230), (Decimal("-0.05"), -1), (Decimal("7.0"), 7)],
)
def test_the_whole_part_is_rounded_down(value: int | Decimal, whole: int) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    reading = RegisterReading(ACTIVE_ENERGY_IMPORT, value, "V", at)
    assert reading.whole == whole
    assert type(reading.whole) is int
    assert reading.value == value
