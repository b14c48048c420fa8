"""The register check never accuses meters that count right, and sees what is lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headend.ports.settlement import Indication
from headend.services.billing_registers import TOLERANCE_PPM, TOLERANCE_WH, register_gap

START = datetime(2026, 3, 1, 16, 0, tzinfo=UTC)
INTERVAL_S = 900
N = 96

energies = st.lists(st.integers(0, 5_000), min_size=N, max_size=N)
# Seconds from midnight at which the register is read, at both ends.
offsets = st.integers(-3_600, 3_600)


def counted(energy: list[int], at_s: int) -> int:
    """Return what a register that counts evenly shows ``at_s`` after the start of the day."""
    whole, rest = divmod(at_s, INTERVAL_S)
    # The days before and after repeat this day's first and last interval.
    extended = [energy[0]] * 8 + energy + [energy[-1]] * 8
    return sum(extended[: whole + 8]) + extended[whole + 8] * rest // INTERVAL_S


def gap(energy: list[int], first_s: int, last_s: int, lost: int = 0) -> int | None:
    closing = N * INTERVAL_S + last_s
    return register_gap(
        np.array(energy, dtype=np.int64),
        start=START,
        interval_s=INTERVAL_S,
        indications=[
            Indication(1, START + timedelta(seconds=first_s), counted(energy, first_s)),
            Indication(1, START + timedelta(seconds=closing), counted(energy, closing) + lost),
        ],
    )


@given(energies, offsets, offsets)
def test_a_meter_that_counts_right_has_no_gap(energy: list[int], first: int, last: int) -> None:
    assert gap(energy, first, last) == 0


@given(energies, offsets, offsets, st.integers(1, 10**6))
def test_energy_that_no_interval_shows_is_seen(
    energy: list[int], first: int, last: int, lost: int
) -> None:
    edges = 10 * max(energy) + TOLERANCE_WH + 2 * sum(energy) * TOLERANCE_PPM // 10**6
    found = gap(energy, first, last, lost + edges)
    assert found is not None
    assert found > 0


def test_without_a_reading_near_both_ends_nothing_is_compared() -> None:
    energy = np.full(N, 10, dtype=np.int64)
    noon = Indication(1, START + timedelta(hours=12), 480)
    ends = [Indication(1, START, 0), Indication(1, START + timedelta(days=1), 960)]
    for indications in ([], [noon], [ends[0], noon], [noon, ends[1]]):
        assert (
            register_gap(energy, start=START, interval_s=INTERVAL_S, indications=indications)
            is None
        )
    assert register_gap(energy, start=START, interval_s=INTERVAL_S, indications=ends) == 0
    ends[1] = Indication(1, START + timedelta(days=1), 100)
    assert register_gap(energy, start=START, interval_s=INTERVAL_S, indications=ends) == 100 - 960
