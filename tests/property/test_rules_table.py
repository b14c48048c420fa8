"""Decision tables against two references: zen-engine, and a plain loop over all combinations."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import zen
from hypothesis import event, given, settings
from hypothesis import strategies as st

from headend.domain.errors import BadInput
from rules.boxes import build_space
from rules.facts import FACTS, FactColumn, FactColumns, FactKind, columns_of
from rules.table import OUTCOMES, SEVERITY, DecisionTable, Outcome, parse_table, read_table
from rules.table_compile import CHUNK, decide, decide_one
from rules.table_grammar import parse_cell

ORACLE_FACTS = (
    "customer_class",
    "payment_pending",
    "balance_yuan",
    "days_overdue",
    "business_date",
    "temperature_c",
)
ORDERED = ("<", "<=", ">", ">=", "==", "!=")


def document_of(names: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Build a JDM document; each row is its cells and, last, its outcome."""
    columns = [
        {"id": f"i{n}", "name": f"{name} [{FACTS[name].unit}]" if FACTS[name].unit else name}
        | {"field": name}
        for n, name in enumerate(names)
    ]
    rules = [
        {"_id": f"r{n}", **{f"i{k}": cell for k, cell in enumerate(row[:-1])}}
        | {"out": f'"{row[-1]}"'}
        for n, row in enumerate(rows)
    ]
    content = {"hitPolicy": "first", "inputs": columns, "rules": rules}
    content["outputs"] = [{"id": "out", "name": "outcome", "field": "outcome"}]
    at = {"position": {"x": 0, "y": 0}}
    return {
        "contentType": "application/vnd.gorules.decision",
        "nodes": [
            {"id": "a", "type": "inputNode", "name": "in", **at},
            {"id": "b", "type": "decisionTableNode", "name": "t", "content": content, **at},
            {"id": "c", "type": "outputNode", "name": "out", **at},
        ],
        "edges": [
            {"id": "e1", "type": "edge", "sourceId": "a", "targetId": "b"},
            {"id": "e2", "type": "edge", "sourceId": "b", "targetId": "c"},
        ],
    }


# --- generated cells -----------------------------------------------------------------------------

days = st.integers(0, 6).map(lambda n: date(2026, 1, 1) + timedelta(days=n))
yuan = st.decimals(-20, 20, places=2)


def values_of(name: str) -> st.SearchStrategy[Any]:
    spec = FACTS[name]
    if spec.kind is FactKind.TEXT:
        return st.sampled_from(spec.values)
    if spec.kind is FactKind.BOOLEAN:
        return st.booleans()
    if spec.kind is FactKind.DATE:
        return days
    return yuan if spec.scale > 1 else st.integers(-3, 40)


def literal(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, date):
        return f'd("{value}")'
    return str(value)


@st.composite
def cells(draw: st.DrawFn, name: str) -> str:
    """Any cell of the grammar for this fact."""
    kind = FACTS[name].kind
    some = values_of(name)
    ordered = kind in (FactKind.NUMBER, FactKind.DATE)
    operators = ORDERED if ordered else ("==", "!=")

    def comparison() -> str:
        return f"{draw(st.sampled_from(operators))} {literal(draw(some))}"

    def alternative() -> str:
        forms = ["literal", "comparison"] + ["range"] * (2 * (kind is FactKind.NUMBER))
        match draw(st.sampled_from(forms)):
            case "literal":
                return literal(draw(some))
            case "comparison":
                return comparison()
            case _:
                low, high = draw(some), draw(some)
                opening, closing = draw(st.sampled_from("[(")), draw(st.sampled_from("])"))
                return f"{opening}{literal(low)}..{literal(high)}{closing}"

    match draw(st.sampled_from(["any", "any", "one", "one", "both", "many", "in", "not in"])):
        case "any":
            return ""
        case "one":
            return alternative()
        case "both":
            return f"{comparison()} and {comparison()}"
        case "many":
            return ", ".join(alternative() for _ in range(draw(st.integers(2, 3))))
        case word:
            listed = draw(st.lists(some, min_size=1, max_size=3))
            if kind is FactKind.DATE:
                return alternative()  # zen compares listed dates by instant, not by day
            return f"{word} [{', '.join(literal(each) for each in listed)}]"


def usable_cells(name: str) -> st.SearchStrategy[str]:
    def can_match(cell: str) -> bool:
        return refusal_of(parse_cell, cell, FACTS[name]) is None

    return cells(name).filter(can_match)


def refusal_of(call: Callable[..., object], *arguments: object) -> BadInput | None:
    try:
        call(*arguments)
    except BadInput as refused:
        return refused
    return None


@st.composite
def tables(draw: st.DrawFn, names: Sequence[str]) -> list[list[str]]:
    outcomes = st.sampled_from([outcome.value for outcome in Outcome])
    rows = [
        [*(draw(usable_cells(name)) for name in names), draw(outcomes)]
        for _ in range(draw(st.integers(1, 5)))
    ]
    return [*rows, *[["" for _ in names] + ["none"]]]


def zen_value(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


@settings(max_examples=150)
@given(st.data())
def test_zen_agrees_on_every_generated_table_and_fact(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 4))
    names = data.draw(st.permutations(ORACLE_FACTS))[:count]
    document = document_of(names, data.draw(tables(names)))
    table = read_table(document)
    rows = data.draw(
        st.lists(
            st.fixed_dictionaries({name: values_of(name) for name in names}),
            min_size=1,
            max_size=4,
        )
    )
    decisions = decide(table, columns_of(rows, names))
    oracle = zen.ZenEngine().create_decision(json.dumps(document))
    for number, row in enumerate(rows):
        context = {name: zen_value(value) for name, value in row.items()}
        expected = oracle.evaluate(context)["result"]["outcome"]
        assert decisions.outcome_of(number) == expected, (document, row)
        assert not decisions.uncertain[number]


# --- a plain loop as the reference for unknown facts and for the checks -------------------------

SMALL = ("supply_off", "customer_class", "payment_pending", "balance_yuan", "undisputed_debt_yuan")
CAUTION = (
    Outcome.NONE,
    Outcome.LOW_BALANCE_WARNING,
    Outcome.ARREARS_WARNING,
    Outcome.RECONNECT,
    Outcome.DISCONNECT,
)  # the most cautious first


def reference(table: DecisionTable, point: Sequence[int | None]) -> tuple[Outcome, int]:
    """Decide one account by the words of `rules.table_compile`; None is unknown."""
    for spec, value in zip(table.inputs, point, strict=True):
        if spec.name == "supply_off" and value is None:
            return Outcome.NONE, -1
    candidates: list[tuple[int, int]] = []
    for index, row in enumerate(table.rows):
        certain = possible = True
        for test, value in zip(row.tests, point, strict=True):
            if test is None:
                continue
            holds = value is not None and any(low <= value <= high for low, high in test)
            certain = certain and holds
            possible = possible and (holds or value is None)
        if possible:
            candidates.append((CAUTION.index(row.outcome), index))
        if certain:
            break
    _, chosen = min(candidates)
    return table.rows[chosen].outcome, chosen


def points_of(table: DecisionTable) -> list[tuple[int | None, ...]]:
    """Return one point of every segment of every input, and unknown, in all combinations."""
    space = build_space(table)
    choices: list[list[int | None]] = []
    for spec, segments in zip(table.inputs, space.segments, strict=True):
        known: list[int | None] = [high if low < -(2**62) else low for low, high in segments]
        choices.append(known if spec.name == "supply_off" else [*known, None])
    return list(itertools.product(*choices))


def columns_from(table: DecisionTable, points: Sequence[Sequence[int | None]]) -> FactColumns:
    return {
        spec.column: FactColumn(
            np.array([point[n] or 0 for point in points]).astype(spec.dtype),
            np.array([point[n] is not None for point in points], dtype=np.bool_),
        )
        for n, spec in enumerate(table.inputs)
    }


@settings(max_examples=80)
@given(st.data())
def test_unknown_facts_get_the_most_cautious_row_that_may_apply(data: st.DataObject) -> None:
    names = data.draw(st.permutations(SMALL))[: data.draw(st.integers(1, 3))]
    table = read_table(document_of(names, data.draw(tables(names))))
    points = points_of(table)[:500]
    decisions = decide(table, columns_from(table, points))
    for number, point in enumerate(points):
        expected, row = reference(table, point)
        assert (decisions.outcome_of(number), int(decisions.row[number])) == (expected, row)


def brute_force_faults(table: DecisionTable) -> set[str]:
    """Find what `check_table` should find, by trying every combination of segments."""
    faults: set[str] = set()
    points = points_of(table)
    reached = {reference(table, point)[1] for point in points if None not in point}
    if reached != set(range(len(table.rows))):
        faults.add("unreachable_row")
    for index, spec in enumerate(table.inputs):
        if not spec.money:
            continue
        for poorer, richer in itertools.product(points, points):
            others_same = (*poorer[:index], *poorer[index + 1 :]) == (
                *richer[:index],
                *richer[index + 1 :],
            )
            low, high = poorer[index], richer[index]
            if not others_same or low is None or high is None:
                continue
            if (high - low) * spec.money <= 0:
                continue
            mild, worse = reference(table, poorer)[0], reference(table, richer)[0]
            if SEVERITY[worse] > SEVERITY[mild]:
                faults.add("worse_with_more_money")
    return faults


@st.composite
def plausible_tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """Tables of the shape people write, so that many pass and many nearly pass."""
    conditions = {
        "customer_class": ["", "", '"residential"', 'in ["public", "industrial"]'],
        "payment_pending": ["", "", "true", "false"],
        "undisputed_debt_yuan": ["", "> 5", "> 9", "<= 9"],
    }
    extra = draw(st.sampled_from(sorted(conditions)))
    balances = ["", "< 0", "< 5", "< 9", ">= 5", ">= 9", "[0..5)", ">= 12"]
    outcomes = ["none", "low_balance_warning", "arrears_warning", "disconnect", "reconnect"]
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        outcome = draw(st.sampled_from(outcomes))
        if outcome == "disconnect":
            balance = draw(st.sampled_from(balances[1:4]))
        elif outcome == "reconnect":
            balance = draw(st.sampled_from([">= 12", ">= 20"]))
        else:
            balance = draw(st.sampled_from(balances))
        off = "true" if outcome == "reconnect" else "false"
        if outcome == "none":
            off = draw(st.sampled_from(["", "true", "false"]))
        rows.append([off, balance, draw(st.sampled_from(conditions[extra])), outcome])
    rows.append(["", "", "", "none"])
    return ["supply_off", "balance_yuan", extra], rows


@settings(max_examples=150)
@given(plausible_tables())
def test_the_checks_find_exactly_what_trying_everything_finds(
    generated: tuple[list[str], list[list[str]]],
) -> None:
    names, rows = generated
    document = document_of(names, rows)
    faults = brute_force_faults(read_table(document))
    refused = refusal_of(parse_table, document)
    event("refused" if refused else "accepted")
    if refused is None:
        assert not faults
    else:
        assert refused.code in faults
        assert "row " in refused.field


@settings(max_examples=300)
@given(plausible_tables())
def test_a_loaded_table_never_disconnects_on_what_is_unknown(
    generated: tuple[list[str], list[list[str]]],
) -> None:
    """Where an unknown fact leads to a disconnect, every value of it would."""
    names, rows = generated
    document = document_of(names, rows)
    if refusal_of(parse_table, document) is not None:
        return
    table = parse_table(document)
    known = [point for point in points_of(table) if None not in point]
    for point in points_of(table):
        if reference(table, point)[0] is not Outcome.DISCONNECT:
            continue
        completions = [
            each
            for each in known
            if all(mine in (None, other) for mine, other in zip(point, each, strict=True))
        ]
        assert {reference(table, each)[0] for each in completions} == {Outcome.DISCONNECT}


def test_the_same_facts_give_the_same_decision_in_any_batch_and_order() -> None:
    table = parse_table(
        document_of(
            ["balance_yuan", "customer_class"],
            [
                ["< 0", '"residential"', "disconnect"],
                ["< 5", "", "low_balance_warning"],
                ["", "", "none"],
            ],
        )
    )
    generator = np.random.default_rng(1)
    count = 2 * CHUNK + 77
    values = generator.integers(-10_000_000_000, 10_000_000_000, count)
    classes = generator.integers(0, 5, count).astype(np.int16)
    known = generator.random(count) < 0.9
    known_class = generator.random(count) < 0.9

    def run(order: Any) -> tuple[Any, Any]:
        columns: Mapping[str, FactColumn] = {
            "balance_nano": FactColumn(values[order], known[order]),
            "customer_class": FactColumn(classes[order], known_class[order]),
        }
        decisions = decide(table, columns)
        return decisions.outcome, decisions.row

    everything = np.arange(count)
    outcome, row = run(everything)
    shuffled = generator.permutation(count)
    assert np.array_equal(run(shuffled)[0], outcome[shuffled])
    assert np.array_equal(run(everything[CHUNK - 3 : CHUNK + 9])[1], row[CHUNK - 3 : CHUNK + 9])
    assert {OUTCOMES[code] for code in np.unique(outcome)} == {row.outcome for row in table.rows}


def test_zen_skips_a_cell_that_it_cannot_read_and_we_refuse_it() -> None:
    document = document_of(["balance_yuan"], [["-", "disconnect"], ["", "none"]])
    decision = zen.ZenEngine().create_decision(json.dumps(document))
    assert decision.evaluate({"balance_yuan": -5})["result"] == {"outcome": "none"}
    with pytest.raises(BadInput, match="row 1, column 'balance_yuan'"):
        read_table(document)


def test_zen_binds_a_comma_tighter_than_and_so_we_refuse_the_mixture() -> None:
    mixed = "0, < 0 and < 0"
    assert zen.evaluate_unary_expression(mixed, {"$": 0}) is False  # (0 or < 0) and < 0
    with pytest.raises(BadInput, match="cannot stand in one cell"):
        read_table(document_of(["balance_yuan"], [[mixed, "none"], ["", "none"]]))


def test_one_account_is_decided_like_a_fleet() -> None:
    table = parse_table(document_of(["balance_yuan"], [["< 0", "disconnect"], ["", "none"]]))
    assert decide_one(table, {"balance_yuan": Decimal("-0.01")}) == (Outcome.DISCONNECT, 0, False)
    assert decide_one(table, {"balance_yuan": Decimal(0)}) == (Outcome.NONE, 1, False)
    assert decide_one(table, {}) == (Outcome.NONE, 1, True)
