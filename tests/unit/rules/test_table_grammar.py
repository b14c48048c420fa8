"""The cell grammar: what each form matches, and what is refused."""

from __future__ import annotations

import pytest

from headend.domain.errors import BadInput
from rules.facts import FACTS
from rules.table_grammar import (
    MAXIMUM,
    MINIMUM,
    complement,
    intersect,
    parse_cell,
    union,
)

YUAN = 10**9

NUMBERS = [
    ("", None),
    ("   ", None),
    ("< 5", ((MINIMUM, 4),)),
    ("<= 5", ((MINIMUM, 5),)),
    ("> 5", ((6, MAXIMUM),)),
    (">=5", ((5, MAXIMUM),)),
    ("== 5", ((5, 5),)),
    ("!= 5", ((MINIMUM, 4), (6, MAXIMUM))),
    ("5", ((5, 5),)),
    ("-5", ((-5, -5),)),
    ("[1..5]", ((1, 5),)),
    ("(1..5)", ((2, 4),)),
    ("[1..5)", ((1, 4),)),
    ("(1..5]", ((2, 5),)),
    ("[-5..-1]", ((-5, -1),)),
    ("1, 2, 9", ((1, 2), (9, 9))),
    ("[1..5], > 8", ((1, 5), (9, MAXIMUM))),
    ("< 1, >= 1", ((MINIMUM, MAXIMUM),)),
    ("in [3, 1]", ((1, 1), (3, 3))),
    ("not in [3]", ((MINIMUM, 2), (4, MAXIMUM))),
    ("> 1 and < 4", ((2, 3),)),
    ("!= 3 and != 4", ((MINIMUM, 2), (5, MAXIMUM))),
]


@pytest.mark.parametrize(("cell", "expected"), NUMBERS)
def test_numbers(cell: str, expected: object) -> None:
    assert parse_cell(cell, FACTS["days_overdue"]) == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("< -0.01", ((MINIMUM, -YUAN // 100 - 1),)),
        (">= 12.50", ((12_500_000_000, MAXIMUM),)),
        ("0.000000001", ((1, 1),)),
    ],
)
def test_money_is_scaled_exactly(cell: str, expected: object) -> None:
    assert parse_cell(cell, FACTS["balance_yuan"]) == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ('"residential"', ((0, 0),)),
        ("'residential'", ((0, 0),)),
        ('"industrial", "residential"', ((0, 0), (2, 2))),
        ('!= "residential"', ((1, 4),)),
        ('== "public"', ((4, 4),)),
        ('in ["commercial", "industrial"]', ((1, 2),)),
        ('not in ["residential", "public"]', ((1, 3),)),
    ],
)
def test_text(cell: str, expected: object) -> None:
    assert parse_cell(cell, FACTS["customer_class"]) == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("true", ((1, 1),)),
        ("false", ((0, 0),)),
        ("!= true", ((0, 0),)),
        ("true, false", ((0, 1),)),
    ],
)
def test_booleans(cell: str, expected: object) -> None:
    assert parse_cell(cell, FACTS["payment_pending"]) == expected


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ('d("1970-01-03")', ((2, 2),)),
        ("< d('1970-01-03')", ((MINIMUM, 1),)),
        ('>= d("1970-01-02") and < d("1970-02-01")', ((1, 30),)),
    ],
)
def test_dates(cell: str, expected: object) -> None:
    assert parse_cell(cell, FACTS["business_date"]) == expected


@pytest.mark.parametrize(
    ("fact", "cell"),
    [
        ("days_overdue", "-"),
        ("days_overdue", "5 days"),
        ("days_overdue", "1e3"),
        ("days_overdue", "1.5"),
        ("days_overdue", "<"),
        ("days_overdue", "< < 5"),
        ("days_overdue", "5,"),
        ("days_overdue", ", 5"),
        ("days_overdue", "[1..5"),
        ("days_overdue", "[1...5]"),
        ("days_overdue", "]1..5["),
        ("days_overdue", "[1, 5]"),
        ("days_overdue", "in []"),
        ("days_overdue", "not [1]"),
        ("days_overdue", "in [1], 2"),
        ("days_overdue", "> 1 or < 0"),
        ("days_overdue", "> 1 and < 5 and < 3"),
        ("days_overdue", "> 1 and < 5, 9"),
        ("days_overdue", "9, > 1 and < 5"),
        ("days_overdue", "5 and < 3"),
        ("days_overdue", "> 1 and 3"),
        ("days_overdue", "$ > 5"),
        ("days_overdue", "sum(1)"),
        ("days_overdue", "null"),
        ("days_overdue", '"5"'),
        ("days_overdue", "true"),
        ("days_overdue", "1234567890123456789"),
        ("days_overdue", "+5"),
        ("days_overdue", "0x10"),
        ("days_overdue", "٥"),
        ("balance_yuan", "< 0.0000000001"),
        ("balance_yuan", "< 9999999999"),
        ("customer_class", "residential"),
        ("customer_class", '"residental"'),
        ("customer_class", '> "a"'),
        ("customer_class", '["public".."residential"]'),
        ("customer_class", '"resi\\"dential"'),
        ("payment_pending", "yes"),
        ("payment_pending", "1"),
        ("payment_pending", ">= true"),
        ("payment_pending", "TRUE"),
        ("business_date", "2026-01-01"),
        ("business_date", '"2026-01-01"'),
        ("business_date", 'd("2026-02-30")'),
        ("business_date", 'd("2026-1-1")'),
        ("business_date", 'd("20260101")'),
        ("business_date", '[d("2026-01-01")..d("2026-02-01")]'),
        ("days_overdue", "5" + ", 5" * 200),
    ],
)
def test_anything_else_is_refused_by_fact(fact: str, cell: str) -> None:
    with pytest.raises(BadInput) as refused:
        parse_cell(cell, FACTS[fact])
    assert refused.value.field == fact


@pytest.mark.parametrize("cell", ["[5..1]", "(1..2)", "> 5 and < 3", "== 1 and == 2"])
def test_a_cell_that_can_never_match_is_a_mistake(cell: str) -> None:
    with pytest.raises(BadInput, match="can never match"):
        parse_cell(cell, FACTS["days_overdue"])


def test_the_algebra_of_ranges() -> None:
    domain = ((0, 9),)
    assert union(((5, 6),), ((1, 2),), ((3, 4),)) == ((1, 6),)
    assert union(((1, 9),), ((2, 3),)) == ((1, 9),)
    assert intersect(((0, 4), (6, 9)), ((3, 7),)) == ((3, 4), (6, 7))
    assert complement(((0, 2), (9, 9)), domain) == ((3, 8),)
    assert complement(((0, 9),), domain) == ()
