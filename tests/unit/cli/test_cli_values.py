"""Days and shards as people type them."""

from datetime import date

import pytest

from headend.cli.values import parse_day, parse_shard
from headend.domain.errors import BadInput


def test_a_day_is_read() -> None:
    assert parse_day("2026-03-05") == date(2026, 3, 5)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "05.03.2026"])
def test_what_is_no_day_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is not a day such as"):
        parse_day(text)


@pytest.mark.parametrize(("text", "parts"), [("0/1", (0, 1)), ("3/4", (3, 4)), ("0/4", (0, 4))])
def test_shards_count_from_zero(text: str, parts: tuple[int, int]) -> None:
    assert parse_shard(text) == parts


@pytest.mark.parametrize("text", ["", "1", "1/", "-1/4", "4/4", "0/0", "1/2/3", "a/b", "0/99999"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="--shard"):
        parse_shard(text)
