"""Results of several concentrators are added up by name."""

from collections import Counter

from headend.cli.daily import add_up
from headend.services.reading_store import CollectionResult


def test_nothing_adds_up_to_zeros() -> None:
    assert add_up([]) == CollectionResult().as_detail()


def test_numbers_and_causes_are_added() -> None:
    first = CollectionResult(meters=30, heard=28, causes=Counter(unreachable=2))
    second = CollectionResult(meters=10, heard=9, causes=Counter(unreachable=1, identity=1))
    total = add_up([first.as_detail(), second.as_detail()])
    assert (total["meters"], total["heard"]) == (40, 37)
    assert total["causes"] == {"identity": 1, "unreachable": 3}
