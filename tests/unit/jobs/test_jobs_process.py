"""Names of processes in leases, and what may be concluded from them."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import date

import pytest

from headend.jobs.work import as_record
from headend.process import ProcessWatch, name_process


def test_every_start_has_a_name_of_its_own() -> None:
    assert name_process() != name_process()


def test_a_process_is_dead_only_when_that_is_certain() -> None:
    own = name_process()
    host, pid, _ = own.split("/")
    watch = ProcessWatch(own)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert watch.is_dead(f"{host}/{ended.pid}/abcd")
    assert not watch.is_dead(own)
    assert not watch.is_dead(f"{host}/{os.getppid()}/abcd")
    assert not watch.is_dead(f"elsewhere/{ended.pid}/abcd"), "another host cannot be judged"
    assert watch.is_dead(f"{host}/{pid}/earlier"), "an earlier process with our number is gone"


@pytest.mark.parametrize("name", ["", "host", "host/x/y"])
def test_a_name_that_is_none_is_left_alone(name: str) -> None:
    assert not ProcessWatch("host/1/aa").is_dead(name)


def test_results_become_plain_records() -> None:
    @dataclass(frozen=True)
    class Result:
        day: date
        count: int

    assert as_record(Result(date(2026, 3, 5), 2)) == {"day": "2026-03-05", "count": 2}
    assert as_record(7) == {"result": 7}
