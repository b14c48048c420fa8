"""Business time: real time plus an offset that only grows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headend.domain.errors import InvariantViolated
from headend.ports.runs import ClockSetting
from headend.services.business_clock import BusinessClock, RealClock

REAL = datetime(2026, 1, 1, tzinfo=UTC)


class FakeRuns:
    """The clock's row, as several processes share it."""

    def __init__(self) -> None:
        self.setting = ClockSetting(demo=False, offset_s=0.0)

    async def clock(self) -> ClockSetting:
        return self.setting

    async def set_clock_mode(self, *, demo: bool) -> ClockSetting:
        offset_s = self.setting.offset_s if demo else 0.0
        self.setting = ClockSetting(demo=demo, offset_s=offset_s)
        return self.setting

    async def advance_clock(self, offset_s: float) -> ClockSetting:
        self.setting = replace(self.setting, offset_s=max(self.setting.offset_s, offset_s))
        return self.setting


class FakeStore:
    def __init__(self) -> None:
        self.runs = FakeRuns()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        yield self


class Machine:
    """The machine's clock."""

    def __init__(self) -> None:
        self.at = REAL.timestamp()

    def __call__(self) -> float:
        return self.at


def make(store: FakeStore, machine: Machine) -> BusinessClock:
    return BusinessClock(store, real_time=machine)  # type: ignore[arg-type]


async def test_a_jump_is_seen_by_every_process_and_survives_a_restart() -> None:
    store, machine = FakeStore(), Machine()
    clock, other = make(store, machine), make(store, machine)
    await clock.load(demo=True)
    await other.load(demo=True)
    assert clock.now() == REAL
    target = REAL + timedelta(days=7, hours=1)
    assert await clock.jump_to(target)
    assert clock.now() == target
    assert other.now() == REAL
    await other.refresh()
    assert other.now() == target
    restarted = make(store, machine)
    await restarted.load(demo=True)
    machine.at += 5
    assert restarted.now() == target + timedelta(seconds=5), "1:1 between jumps"


async def test_time_never_goes_back() -> None:
    store, machine = FakeStore(), Machine()
    clock = make(store, machine)
    await clock.load(demo=True)
    await clock.jump_to(REAL + timedelta(days=1))
    assert not await clock.jump_to(REAL)
    assert clock.now() == REAL + timedelta(days=1)
    machine.at -= 3600
    assert clock.now() == REAL + timedelta(days=1), "even when the machine's clock is set back"


async def test_only_a_demo_may_jump() -> None:
    store, machine = FakeStore(), Machine()
    clock = make(store, machine)
    with pytest.raises(InvariantViolated):
        clock.now()
    await clock.load(demo=False)
    with pytest.raises(InvariantViolated):
        await clock.jump_to(REAL + timedelta(days=1))
    assert clock.now() == REAL
    assert not clock.is_demo
    assert clock.offset == timedelta()


def test_real_time_is_aware() -> None:
    assert RealClock().now().utcoffset() == timedelta()
