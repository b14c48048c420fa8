"""A wall clock that tests move by hand, and a business clock upon it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from protocols.simulator.business_time import US_PER_S, BusinessClock, to_us

NOON = datetime(2025, 3, 10, 4, 0, tzinfo=UTC)  # 12:00 in Shanghai, a Monday


class WallClock:
    """Real time in microseconds."""

    def __init__(self) -> None:
        self.us = to_us(NOON)

    def __call__(self) -> int:
        return self.us

    def advance(self, seconds: float) -> None:
        self.us += round(seconds * US_PER_S)


@pytest.fixture
def wall() -> WallClock:
    return WallClock()


@pytest.fixture
def clock(wall: WallClock) -> BusinessClock:
    return BusinessClock(real_us=wall)
