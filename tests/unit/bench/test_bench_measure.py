"""How benchmarks measure: medians, alternating rounds, cores given back, silence lifted again."""

from __future__ import annotations

import os
from itertools import count

import pytest
import structlog

from headend.bench import measure
from headend.bench.measure import Contestant, Figures, on_core, race, silent_logs, two_cores


def test_rounds_of_contestants_alternate_after_a_warm_up() -> None:
    order: list[str] = []
    race(
        {
            "ours": Contestant(lambda: order.append("o"), calls=2),
            "theirs": Contestant(lambda: order.append("t")),
        },
        rounds=2,
    )
    assert "".join(order) == "oott" + "oot" * 2


def test_the_median_of_the_rounds_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([10.0, 500.0, 12.0])
    monkeypatch.setattr(measure, "time_calls", lambda run, calls: next(taken))
    assert race({"ours": Contestant(lambda: None)}, rounds=3) == {"ours": 12.0}


def test_the_time_of_a_call_is_the_mean_of_those_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(0, 3_000_000_000)
    monkeypatch.setattr(measure.time, "perf_counter_ns", lambda: next(clock))
    assert measure.time_calls(lambda: None, 6) == pytest.approx(0.5)


def test_a_process_is_kept_on_its_core_for_the_block_only() -> None:
    before = os.sched_getaffinity(0)
    with on_core(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
    with on_core(None):
        assert os.sched_getaffinity(0) == before


def test_two_cores_are_different_or_none() -> None:
    ours, theirs = two_cores()
    assert (ours is None) == (theirs is None)
    assert ours is None or ours != theirs


def test_logs_are_silent_in_the_block_only(capsys: pytest.CaptureFixture[str]) -> None:
    log = structlog.get_logger()
    with silent_logs():
        log.error("not to be seen")
    log.error("to be seen")
    shown = capsys.readouterr().out
    assert "not to be seen" not in shown
    assert "to be seen" in shown


def test_figures_are_put_together() -> None:
    found = Figures({"a": 1.0}, {"b": 2.0})
    found.add(Figures({"c": 3.0}, {}, {"d": "because"}))
    assert (found.figures, found.details, found.missing) == (
        {"a": 1.0, "c": 3.0},
        {"b": 2.0},
        {"d": "because"},
    )


def test_the_machine_is_described() -> None:
    facts = measure.describe_machine()
    assert facts["cores"] == os.cpu_count()
    assert {"processor", "python", "numpy", "cryptography", "dlms-cosem", "gurux-dlms"} <= set(
        facts
    )
