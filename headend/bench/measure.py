"""How benchmarks measure: medians after a warm-up, contestants taking turns in one run.

Other work on the machine slows whatever is running at that moment. Contestants whose rounds
alternate meet the same disturbances, so that their ratio is steadier than either figure.
"""

from __future__ import annotations

import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata

import structlog

WARM_UPS = 2
NS_PER_S = 1_000_000_000


@dataclass(slots=True)
class Figures:
    """What one benchmark found.

    figures: the named numbers; details: what they were computed from; missing: figures that could
    not be measured here, and why.
    """

    figures: dict[str, float] = field(default_factory=dict)
    details: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, other: Figures) -> None:
        """Take over what another part of the run found."""
        self.figures |= other.figures
        self.details |= other.details
        self.missing |= other.missing


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something to time; ``calls`` are made per round, to make a round long enough to time."""

    run: Callable[[], object]
    calls: int = 1


def time_calls(run: Callable[[], object], calls: int) -> float:
    """Return the wall time of one call [s], the mean of ``calls`` in a row."""
    start = time.perf_counter_ns()
    for _ in range(calls):
        run()
    return (time.perf_counter_ns() - start) / calls / NS_PER_S


def race(contestants: Mapping[str, Contestant], *, rounds: int) -> dict[str, float]:
    """Return the median wall time per call [s] of each; their rounds alternate."""
    for each in contestants.values():
        for _ in range(WARM_UPS):
            each.run()
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, each in contestants.items():
            taken[name].append(time_calls(each.run, each.calls))
    return {name: statistics.median(values) for name, values in taken.items()}


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Keep this process on one core for the block, where the system lets it."""
    if core is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def silent_logs() -> Iterator[None]:
    """Drop what is logged through structlog in the block, however it was configured."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def two_cores() -> tuple[int | None, int | None]:
    """Return a core for the measured side and another for its counterpart; None: not to be had."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def describe_machine() -> dict[str, str | int | float]:
    """Return what a reader must know of the machine to judge the figures."""
    facts: dict[str, str | int | float] = {
        "cores": os.cpu_count() or 0,
        "processor": _processor(),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    if hasattr(os, "getloadavg"):
        facts["load_before"] = round(os.getloadavg()[0], 2)
    for name in ("numpy", "cryptography", "dlms-cosem", "gurux-dlms"):
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            facts[name] = "not installed"
    return facts


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            for line in lines:
                name, _, value = line.partition(":")
                if name.strip() == "model name":
                    return value.strip()
    except OSError:
        return platform.processor()
    return platform.processor()
