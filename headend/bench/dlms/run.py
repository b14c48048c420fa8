"""All figures of ``headend bench dlms``, in one run; `docs/benchmarks.md` says what they mean."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from headend.bench.dlms.decoding import measure_decoding
from headend.bench.dlms.memory import measure_memory
from headend.bench.dlms.samples import SEED
from headend.bench.dlms.session_cost import measure_session_cpu
from headend.bench.dlms.throughput import measure_throughput
from headend.bench.measure import Figures, describe_machine

# Below the first, or above the second, the product is not what it says it is.
TARGETS: dict[str, tuple[float | None, float | None]] = {
    "decode_vs_dlms_cosem": (80, None),
    "decode_vs_gurux": (90, None),
    "session_cpu_vs_dlms_cosem": (5, None),
    "memory_per_session_kib": (None, 48),
}
_PARTS: tuple[tuple[str, Callable[[], Figures]], ...] = (
    ("decoding", measure_decoding),
    ("session cost", measure_session_cpu),
    ("sessions a second", measure_throughput),
    ("memory of open sessions", measure_memory),
)
_DIGITS = 4  # significant ones; more would be noise


def run_dlms(tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything and return the document; ``tell`` is told what is being measured."""
    start, machine = time.monotonic(), describe_machine()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    found = Figures()
    for name, measure in _PARTS:
        tell(f"measuring {name} ...")
        found.add(measure())
    return {
        "figures": {name: _round(value) for name, value in found.figures.items()},
        "details": {name: _round(value) for name, value in found.details.items()},
        "missing": found.missing,
        "machine": machine,
        "measured_at": at,
        "took_s": round(time.monotonic() - start, 1),
        "seed": SEED,
    }


def judge(name: str, value: float) -> str:
    """Say what a figure should be, and whether it is; empty where nothing is asked of it."""
    least, most = TARGETS.get(name, (None, None))
    if least is not None:
        return f"at least {least:g}: {'met' if value >= least else 'MISSED'}"
    if most is not None:
        return f"at most {most:g}: {'met' if value <= most else 'MISSED'}"
    return ""


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
