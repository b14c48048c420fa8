"""A deadline that moves: it passes once, at the last time set, and leaves one timer in the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from protocols.dlms.deadline import Deadline


class Loop(asyncio.SelectorEventLoop):
    """A loop whose clock the test moves; it counts the timers asked of it."""

    now_s = 100.0
    timers = 0

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, **more: Any) -> Any:
        self.timers += 1
        return super().call_at(when, callback, *args, **more)

    def advance(self, seconds: float) -> None:
        """Let time pass and run what is due."""
        self.now_s += seconds
        for _ in range(3):
            self.run_until_complete(asyncio.sleep(0))


@pytest.fixture
def loop() -> Any:
    loop = Loop()
    yield loop
    loop.close()


def inside(loop: Loop, act: Callable[[], None]) -> None:
    async def run() -> None:
        act()

    loop.run_until_complete(run())


def test_it_passes_once(loop: Loop) -> None:
    passed: list[float] = []
    deadline = Deadline(lambda: passed.append(loop.now_s))
    inside(loop, lambda: deadline.set(5))
    loop.advance(4)
    assert passed == []
    loop.advance(1)
    loop.advance(60)
    assert passed == [105.0]


def test_setting_it_again_moves_it_without_another_timer(loop: Loop) -> None:
    passed: list[float] = []
    deadline = Deadline(lambda: passed.append(loop.now_s))
    for _ in range(50):
        inside(loop, lambda: deadline.set(5))
        inside(loop, deadline.lift)
    inside(loop, lambda: deadline.set(5))
    loop.advance(3)
    inside(loop, lambda: deadline.set(5))
    assert loop.timers == 1
    loop.advance(3)
    assert passed == []
    loop.advance(2)
    assert passed == [108.0]


def test_it_can_be_moved_nearer(loop: Loop) -> None:
    passed: list[float] = []
    deadline = Deadline(lambda: passed.append(loop.now_s))
    inside(loop, lambda: deadline.set(5))
    inside(loop, lambda: deadline.set(1))
    loop.advance(1)
    assert passed == [101.0]


@pytest.mark.parametrize("end", ["lift", "stop"])
def test_lifted_or_stopped_it_never_passes(loop: Loop, end: str) -> None:
    passed: list[float] = []
    deadline = Deadline(lambda: passed.append(loop.now_s))
    inside(loop, lambda: deadline.set(5))
    inside(loop, getattr(deadline, end))
    loop.advance(60)
    assert passed == []


def test_it_can_be_set_when_it_has_passed(loop: Loop) -> None:
    passed: list[float] = []
    deadline = Deadline(lambda: passed.append(loop.now_s))
    for _ in range(2):
        inside(loop, lambda: deadline.set(1))
        loop.advance(1)
    assert passed == [101.0, 102.0]
