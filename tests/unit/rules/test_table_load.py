"""A table is refused at load with table, row and column, for everything it must not say."""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from headend.domain.errors import BadInput
from rules import boxes
from rules.facts import FactColumn, columns_of
from rules.table import DecisionTable, Outcome, parse_table
from rules.table_compile import NO_ROW, decide, decide_one, reconnect_threshold_nano

HEADINGS = {
    "balance_yuan": "余额 balance [yuan]",
    "credit_days_left": "可用天数 [days]",
    "days_overdue": "逾期天数 [days]",
    "undisputed_debt_yuan": "无争议欠费 [yuan]",
    "customer_class": "用户类别",
    "supply_off": "已停电",
    "payment_mode": "付费方式",
}
GOOD = [
    ["true", ">= 10", "", "reconnect"],
    ["true", "", "", "none"],
    ["", "", '"public"', "none"],
    ["", "< 0", "", "disconnect"],
    ["", "< 10", "", "low_balance_warning"],
    ["", "", "", "none"],
]
GOOD_FACTS = ["supply_off", "balance_yuan", "customer_class"]


def document(facts: list[str], rows: list[list[str]]) -> dict[str, Any]:
    inputs = [{"id": fact, "name": HEADINGS[fact], "field": fact} for fact in facts]
    rules = [
        {"_id": f"r{n}", **dict(zip(facts, row[:-1], strict=True)), "o": f'"{row[-1]}"'}
        for n, row in enumerate(rows)
    ]
    return {
        "nodes": [
            {"id": "in", "type": "inputNode"},
            {
                "id": "t",
                "type": "decisionTableNode",
                "name": "T",
                "content": {
                    "hitPolicy": "first",
                    "inputs": inputs,
                    "outputs": [{"id": "o", "name": "outcome", "field": "outcome"}],
                    "rules": rules,
                },
            },
            {"id": "out", "type": "outputNode"},
        ],
        "edges": [
            {"id": "1", "sourceId": "in", "targetId": "t"},
            {"id": "2", "sourceId": "t", "targetId": "out"},
        ],
    }


def load(facts: list[str], rows: list[list[str]]) -> DecisionTable:
    return parse_table(document(facts, rows))


def refusal(facts: list[str], rows: list[list[str]]) -> tuple[str, str]:
    with pytest.raises(BadInput) as refused:
        load(facts, rows)
    return refused.value.code, refused.value.field


def test_a_good_table_loads_and_says_its_thresholds() -> None:
    table = load(GOOD_FACTS, GOOD)
    assert [row.outcome for row in table.rows] == [row[-1] for row in GOOD]
    assert table.cut_threshold_nano(3) == 0
    assert table.cut_threshold_nano(4) is None
    assert table.reconnect_floor_nano(0) == 10 * 10**9
    assert table.reconnect_floor_nano(1) is None


def test_the_digest_is_of_the_content_not_of_the_spelling() -> None:
    one = document(GOOD_FACTS, GOOD)
    other = dict(reversed(copy.deepcopy(one).items()))
    assert parse_table(one).digest == parse_table(other).digest
    changed = copy.deepcopy(one)
    changed["nodes"][1]["content"]["rules"][3]["balance_yuan"] = "< -1"
    assert parse_table(changed).digest != parse_table(one).digest


# --- the structure -------------------------------------------------------------------------------

Change = Callable[[dict[str, Any]], object]


def content(doc: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = doc["nodes"][1]["content"]
    return found


STRUCTURE: list[tuple[str, Change, str]] = [
    ("an unknown entry", lambda d: d.update(version=2), "not_jdm"),
    ("no nodes", lambda d: d.pop("nodes"), "not_jdm"),
    ("a second table", lambda d: d["nodes"].append(copy.deepcopy(d["nodes"][1])), "not_jdm"),
    ("a function node", lambda d: d["nodes"][0].update(type="functionNode"), "not_jdm"),
    ("a missing edge", lambda d: d["edges"].pop(), "not_jdm"),
    ("an edge past the table", lambda d: d["edges"][0].update(targetId="out"), "not_jdm"),
    ("no content", lambda d: d["nodes"][1].pop("content"), "not_jdm"),
    ("hit policy collect", lambda d: content(d).update(hitPolicy="collect"), "not_jdm"),
    ("pass-through", lambda d: content(d).update(passThrough=True), "not_jdm"),
    ("an unknown setting", lambda d: content(d).update(fast=True), "not_jdm"),
    ("no inputs", lambda d: content(d).update(inputs=[]), "not_jdm"),
    ("an input without id", lambda d: content(d)["inputs"][0].pop("id"), "not_jdm"),
    (
        "two inputs of one id",
        lambda d: content(d)["inputs"][0].update(id="balance_yuan"),
        "not_jdm",
    ),
    ("an input with more", lambda d: content(d)["inputs"][0].update(script="1"), "not_jdm"),
    ("an unknown fact", lambda d: content(d)["inputs"][1].update(field="money"), "unknown_fact"),
    (
        "an expression for a fact",
        lambda d: content(d)["inputs"][1].update(field="balance_yuan * 100"),
        "unknown_fact",
    ),
    ("no unit", lambda d: content(d)["inputs"][1].update(name="balance"), "unknown_unit"),
    ("another unit", lambda d: content(d)["inputs"][1].update(name="b [fen]"), "unknown_unit"),
    ("a unit for text", lambda d: content(d)["inputs"][2].update(name="c [x]"), "unknown_unit"),
    (
        "a fact twice",
        lambda d: content(d)["inputs"][2].update(field="balance_yuan", name="b [yuan]"),
        "duplicate_column",
    ),
    ("two outputs", lambda d: content(d)["outputs"].append({"id": "p", "field": "x"}), "not_jdm"),
    ("another output", lambda d: content(d)["outputs"][0].update(field="result"), "not_jdm"),
    ("no rows", lambda d: content(d).update(rules=[]), "missing_catch_all"),
    ("a missing cell", lambda d: content(d)["rules"][0].pop("supply_off"), "outside_grammar"),
    ("a cell that is no text", lambda d: content(d)["rules"][0].update(o=3), "unknown_outcome"),
    ("a cell of no column", lambda d: content(d)["rules"][0].update(zz=""), "not_jdm"),
    ("an unknown outcome", lambda d: content(d)["rules"][0].update(o='"cut"'), "unknown_outcome"),
    ("an unquoted outcome", lambda d: content(d)["rules"][0].update(o="none"), "unknown_outcome"),
    (
        "too many rows",
        lambda d: content(d).update(rules=content(d)["rules"] * 40),
        "too_large",
    ),
]


@pytest.mark.parametrize(("name", "change", "code"), STRUCTURE, ids=[case[0] for case in STRUCTURE])
def test_structure_beyond_the_subset_is_refused(name: str, change: Change, code: str) -> None:
    doc = document(GOOD_FACTS, GOOD)
    change(doc)
    with pytest.raises(BadInput) as refused:
        parse_table(doc)
    assert refused.value.code == code
    assert "table" in str(refused.value)


def test_what_the_visual_editor_adds_is_accepted() -> None:
    doc = document(GOOD_FACTS, GOOD)
    content(doc).update(passThrough=False, inputField=None, outputPath=None, executionMode="single")
    content(doc)["inputs"][0].update(type="expression")
    content(doc)["rules"][0]["_description"] = "back on"
    assert parse_table(doc).rows[0].description == "back on"


def test_a_cell_outside_the_grammar_names_table_row_and_column() -> None:
    rows = [*GOOD[:3], ["", "under zero", "", "disconnect"], *GOOD[4:]]
    with pytest.raises(BadInput) as refused:
        load(GOOD_FACTS, rows)
    assert str(refused.value).startswith("table 'T', row 4, column 'balance_yuan': ")
    assert refused.value.field == "T.row 4.balance_yuan"


# --- the checks ----------------------------------------------------------------------------------


def test_the_last_row_catches_everything_and_decides_none() -> None:
    assert refusal(["balance_yuan"], [["< 0", "disconnect"], ["< 10", "none"]]) == (
        "missing_catch_all",
        "T.row 2.balance_yuan",
    )
    assert refusal(["balance_yuan"], [["< 0", "disconnect"], ["", "arrears_warning"]]) == (
        "missing_catch_all",
        "T.row 2.outcome",
    )


def test_unreachable_rows_are_found_even_when_several_rows_cover_them() -> None:
    rows = [
        ["< 0", "", "disconnect"],
        ["< 20", '"residential"', "low_balance_warning"],
        ["< 20", '!= "residential"', "low_balance_warning"],
        ["< 15", "", "low_balance_warning"],
        ["", "", "none"],
    ]
    assert refusal(["balance_yuan", "customer_class"], rows) == ("unreachable_row", "T.row 4")


def test_a_disconnect_needs_a_balance_it_cuts_below() -> None:
    rows = [["> 30", "disconnect"], ["", "none"]]
    assert refusal(["days_overdue"], rows) == ("unbounded_disconnect", "T.row 1.balance_yuan")
    rows = [[">= -5", "> 30", "disconnect"], ["", "", "none"]]
    assert refusal(["balance_yuan", "days_overdue"], rows)[0] == "unbounded_disconnect"


def test_only_supplies_that_are_off_reconnect_and_only_those_that_are_on_are_cut() -> None:
    assert refusal(["balance_yuan"], [[">= 10", "reconnect"], ["", "none"]]) == (
        "supply_off",
        "T.row 1.supply_off",
    )
    facts = ["supply_off", "balance_yuan"]
    assert refusal(facts, [["", "< 0", "disconnect"], ["", "", "none"]]) == (
        "supply_off",
        "T.row 1.supply_off",
    )
    assert refusal(facts, [["", ">= 10", "reconnect"], ["", "", "none"]])[0] == "supply_off"
    assert refusal(facts, [["true", "", "reconnect"], ["", "", "none"]])[0] == (
        "unbounded_reconnect"
    )
    # Shadowed by a row above, the same row is harmless.
    assert load(facts, [["true", "", "none"], ["", "< 0", "disconnect"], ["", "", "none"]])


def test_reconnecting_needs_more_than_the_cut_threshold_of_the_same_account() -> None:
    facts = ["supply_off", "balance_yuan", "customer_class"]
    rows = [
        ["true", ">= 0", "", "reconnect"],
        ["true", "", "", "none"],
        ["", "< 0", "", "disconnect"],
        ["", "", "", "none"],
    ]
    assert refusal(facts, rows) == ("reconnect_not_above_cut", "T.row 1.balance_yuan")
    rows[0][1] = "> 0"
    assert load(facts, rows)
    # Another class may be cut higher than this one is reconnected.
    rows[0] = ["true", ">= 0.01", '"residential"', "reconnect"]
    rows[2] = ["", "< 50", '"industrial"', "disconnect"]
    assert load(facts, rows)


@pytest.mark.parametrize(
    ("facts", "rows", "place"),
    [
        # More balance: from nothing to a warning.
        (
            ["balance_yuan"],
            [["< 0", "none"], ["< 10", "low_balance_warning"], ["", "none"]],
            "T.row 2.balance_yuan",
        ),
        # Less debt, same balance: from a warning to a disconnect.
        (
            ["undisputed_debt_yuan", "balance_yuan"],
            [["> 100", "", "arrears_warning"], ["", "< 0", "disconnect"], ["", "", "none"]],
            "T.row 2.undisputed_debt_yuan",
        ),
        # More days of credit left: from nothing to a warning, for one class only.
        (
            ["credit_days_left", "customer_class"],
            [["< 2", '"public"', "none"], ["< 5", "", "low_balance_warning"], ["", "", "none"]],
            "T.row 2.credit_days_left",
        ),
        # A supply that is off: enough money reconnects, more does not.
        (
            ["supply_off", "balance_yuan"],
            [["true", "[10..20]", "reconnect"], ["", "", "none"]],
            "T.row 2.balance_yuan",
        ),
    ],
)
def test_more_money_never_makes_an_outcome_worse(
    facts: list[str], rows: list[list[str]], place: str
) -> None:
    assert refusal(facts, rows) == ("worse_with_more_money", place)


def test_an_unknown_fact_does_not_open_a_way_round_the_money_check() -> None:
    """With the class unknown, row 1 may apply to the poor and not to the rich."""
    rows = [
        ["< 5", '"public"', "none"],
        ["< 5", "", "low_balance_warning"],
        ["< 9", "", "low_balance_warning"],
        ["", "", "none"],
    ]
    assert refusal(["balance_yuan", "customer_class"], rows)[0] == "worse_with_more_money"


def test_a_table_too_intricate_to_check_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "MAXIMUM_STEPS", 3)
    assert refusal(GOOD_FACTS, GOOD)[0] == "too_intricate"


# --- deciding ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (
            {"supply_off": False, "balance_yuan": Decimal("-0.01"), "customer_class": "commercial"},
            (Outcome.DISCONNECT, 3, False),
        ),
        (
            {"supply_off": False, "balance_yuan": Decimal(0), "customer_class": "commercial"},
            (Outcome.LOW_BALANCE_WARNING, 4, False),
        ),
        (
            {"supply_off": True, "balance_yuan": Decimal(10), "customer_class": "public"},
            (Outcome.RECONNECT, 0, False),
        ),
        # The class is unknown, and one class would be spared.
        ({"supply_off": False, "balance_yuan": Decimal(-5)}, (Outcome.NONE, 2, True)),
        # The balance is unknown: nothing, whatever the class.
        ({"supply_off": False, "customer_class": "commercial"}, (Outcome.NONE, 5, True)),
        # It is not known whether the supply is off: nobody decides anything.
        (
            {"balance_yuan": Decimal(-5), "customer_class": "commercial"},
            (Outcome.NONE, NO_ROW, True),
        ),
    ],
)
def test_single_accounts(facts: dict[str, object], expected: tuple[Outcome, int, bool]) -> None:
    assert decide_one(load(GOOD_FACTS, GOOD), facts) == expected


def test_the_reconnect_threshold_told_to_a_customer_is_that_of_the_account() -> None:
    table = load(GOOD_FACTS, GOOD)
    assert reconnect_threshold_nano(table, {"customer_class": "public"}) == 10 * 10**9
    rows = [["true", ">= 10", '"residential"', "reconnect"], *GOOD[1:]]
    narrow = load(GOOD_FACTS, rows)
    assert reconnect_threshold_nano(narrow, {"customer_class": "residential"}) == 10 * 10**9
    assert reconnect_threshold_nano(narrow, {"customer_class": "industrial"}) is None
    assert (
        reconnect_threshold_nano(load(["balance_yuan"], [["< 0", "disconnect"], ["", "none"]]), {})
        is None
    )


def test_columns_that_do_not_fit_are_refused_by_name() -> None:
    table = load(["balance_yuan", "days_overdue"], [["< 0", "", "disconnect"], ["", "", "none"]])
    whole = np.zeros(3, dtype=np.int64)
    with pytest.raises(BadInput, match="no column days_overdue"):
        decide(table, {"balance_nano": FactColumn(whole)})
    with pytest.raises(BadInput, match="has 2 rows, not 3"):
        decide(
            table,
            {"balance_nano": FactColumn(whole), "days_overdue": FactColumn(whole[:2])},
        )
    with pytest.raises(BadInput, match="float64"):
        decide(
            table,
            {"balance_nano": FactColumn(whole.astype(float)), "days_overdue": FactColumn(whole)},
        )


def test_no_accounts_give_no_decisions() -> None:
    table = load(["balance_yuan"], [["< 0", "disconnect"], ["", "none"]])
    decisions = decide(table, {"balance_nano": FactColumn(np.zeros(0, dtype=np.int64))})
    assert len(decisions.outcome) == len(decisions.row) == len(decisions.uncertain) == 0


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("balance_yuan", 1.5),
        ("balance_yuan", True),
        ("balance_yuan", Decimal("0.0000000001")),
        ("balance_yuan", Decimal("NaN")),
        ("balance_yuan", Decimal("1e30")),
        ("balance_yuan", 10**10),
        ("customer_class", "residental"),
        ("supply_off", 1),
    ],
)
def test_facts_of_the_wrong_kind_are_refused(fact: str, value: object) -> None:
    with pytest.raises(BadInput) as refused:
        columns_of([{fact: value}], [fact])
    assert refused.value.field == fact
