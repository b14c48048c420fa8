"""Counters in a file: never one twice, whatever ends the command that reserved them."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from headend.domain.errors import ConfigurationError
from headend.meter_counters import FILE_NAME, TITLE_PREFIX, CounterFile
from headend.ports.inspection import ToolCounters

KEY = bytes(range(16))
WHO = (0, 1, "unicast")


@pytest.fixture
def notes() -> list[str]:
    return []


def counters(folder: Path, notes: list[str], **options: int) -> ToolCounters:
    return CounterFile(folder, notes.append).counters(KEY, **options)


async def test_each_block_begins_where_the_last_one_ended(tmp_path: Path, notes: list[str]) -> None:
    first = counters(tmp_path, notes)
    assert [await first.reserve(*WHO, 10) for _ in range(2)] == [1, 11]
    # A second command, or one after a crash, knows only the file.
    assert await counters(tmp_path, notes).reserve(*WHO, 10) == 21


async def test_the_file_is_written_before_a_counter_is_used(
    tmp_path: Path, notes: list[str]
) -> None:
    await counters(tmp_path, notes).reserve(*WHO, 10)
    path = tmp_path / FILE_NAME
    (entry,) = json.loads(path.read_text())["counters"].values()
    assert entry["next"] == 11
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert KEY.hex() not in path.read_text()


async def test_what_was_not_used_is_given_back(tmp_path: Path, notes: list[str]) -> None:
    mine = counters(tmp_path, notes)
    await mine.reserve(*WHO, 100)
    await mine.give_back(5, 101)
    assert await mine.reserve(*WHO, 10) == 5


async def test_nothing_is_given_back_that_others_came_behind(
    tmp_path: Path, notes: list[str]
) -> None:
    mine, other = counters(tmp_path, notes), counters(tmp_path, notes)
    await mine.reserve(*WHO, 100)
    await other.reserve(*WHO, 100)
    await mine.give_back(5, 101)
    assert await mine.reserve(*WHO, 10) == 201


async def test_counters_are_raised_and_never_lowered(tmp_path: Path, notes: list[str]) -> None:
    mine = counters(tmp_path, notes)
    await mine.raise_to(*WHO, 5000)
    await mine.raise_to(*WHO, 10)
    assert await mine.reserve(*WHO, 10) == 5000


async def test_a_first_counter_counts_only_upwards(tmp_path: Path, notes: list[str]) -> None:
    assert await counters(tmp_path, notes, first=700).reserve(*WHO, 10) == 700
    assert await counters(tmp_path, notes, first=7).reserve(*WHO, 10) == 710


async def test_each_key_has_a_sequence_of_its_own(tmp_path: Path, notes: list[str]) -> None:
    file = CounterFile(tmp_path, notes.append)
    await file.counters(KEY).reserve(*WHO, 10)
    assert await file.counters(bytes(16)).reserve(*WHO, 10) == 1
    # Whoever sends: the meter compares counters without looking at the title.
    assert await file.counters(KEY).reserve(2, 16, "other", 10) == 11


async def test_a_received_counter_that_fell_is_told_and_taken(
    tmp_path: Path, notes: list[str]
) -> None:
    assert await counters(tmp_path, notes).check_received(*WHO, 900)
    assert notes == []
    assert await counters(tmp_path, notes).check_received(*WHO, 3)
    assert "fell from 900 to 3" in notes[0]
    assert await counters(tmp_path, notes).check_received(*WHO, 4)
    assert len(notes) == 1


def test_the_title_is_drawn_once_and_is_the_tools_own(tmp_path: Path, notes: list[str]) -> None:
    title = CounterFile(tmp_path, notes.append).system_title()
    assert CounterFile(tmp_path, notes.append).system_title() == title
    assert (len(title), title[:3]) == (8, TITLE_PREFIX)
    assert CounterFile(tmp_path / "other", notes.append).system_title() != title


async def test_a_damaged_file_is_refused_rather_than_begun_anew(
    tmp_path: Path, notes: list[str]
) -> None:
    (tmp_path / FILE_NAME).write_text("{")
    with pytest.raises(ConfigurationError, match="--counter"):
        await counters(tmp_path, notes).reserve(*WHO, 10)


async def test_used_up_counters_ask_for_a_new_key(tmp_path: Path, notes: list[str]) -> None:
    mine = counters(tmp_path, notes, first=2**32 - 5)
    with pytest.raises(ConfigurationError, match="new key"):
        await mine.reserve(*WHO, 10)


async def test_no_counter_is_given_twice_by_many_at_once(tmp_path: Path, notes: list[str]) -> None:
    stores = [counters(tmp_path, notes) for _ in range(4)]
    firsts = [await store.reserve(*WHO, 8) for _ in range(10) for store in stores]
    assert len(set(firsts)) == 40
    assert sorted(firsts) == [1 + 8 * n for n in range(40)]
