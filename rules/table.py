"""Decision tables from JDM documents: read strictly, checked, or refused with the place.

A document is the open GoRules format (JDM), so that its visual editor can open it, restricted to
one input node, one decision table with hit policy ``first`` and one output node, joined in that
order. Each input's ``field`` is a fact of `rules.facts`; its ``name`` is free text that ends with
the fact's unit in brackets where it has one ("余额 balance [yuan]"), so that nobody reads yuan for
fen. The only output is ``outcome``, a quoted value of `Outcome`. Cells are in the grammar of
`rules.table_grammar`. Anything else in the document, even a key we do not know, is refused: an
engine that skips what it does not understand would decide something else than was written.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from headend.domain.errors import BadInput
from rules.facts import FACTS, FactSpec
from rules.table_check import check_table, refuse
from rules.table_grammar import IntSet, parse_cell
from rules.table_model import OUTCOMES, SEVERITY, DecisionTable, Outcome, TableRow

__all__ = [
    "OUTCOMES",
    "SEVERITY",
    "DecisionTable",
    "Outcome",
    "TableRow",
    "parse_table",
    "read_table",
]

MAXIMUM_ROWS = 200
MAXIMUM_INPUTS = 24

# What the visual editor writes beside the content, with the only values that mean what we do.
_EDITOR_DEFAULTS: dict[str, tuple[object, ...]] = {
    "passThrough": (False, None),
    "passThorough": (False, None),  # the editor's own misspelling in older documents
    "inputField": (None, ""),
    "outputPath": (None, ""),
    "executionMode": ("single", None),
}
_DOCUMENT_KEYS = frozenset({"contentType", "nodes", "edges", "settings"})
_NODE_TYPES = ("inputNode", "decisionTableNode", "outputNode")
_INPUT_KEYS = frozenset({"id", "name", "field", "type", "defaultValue"})
_RULE_NOTES = frozenset({"_id", "_description"})
_UNIT = re.compile(r"\[([^\[\]]*)\]\s*$")


def parse_table(document: Mapping[str, Any], *, name: str = "") -> DecisionTable:
    """Return the checked table of a parsed JDM document.

    ``name`` stands in messages; without it the table node's own name. Raises `BadInput` whose
    message and ``field`` name the table, the row (from 1) and the column at fault.
    """
    table = read_table(document, name=name)
    check_table(table)
    return table


def read_table(document: Mapping[str, Any], *, name: str = "") -> DecisionTable:
    """Return the table as it is written, not yet checked for what `rules.table_check` demands.

    For the oracle tests and for an editor that wants to show an unfinished table; only a checked
    table may decide anything. Raises `BadInput` as `parse_table` does.
    """
    node = _table_node(document, name)
    content = node["content"]
    title = name or str(node.get("name") or node.get("id") or "table")
    _check_content(content, title)
    inputs = _read_inputs(content.get("inputs"), title)
    output = _read_output(content.get("outputs"), title)
    rules = content.get("rules")
    if not _is_list_of_mappings(rules) or not rules:
        raise refuse(title, None, "", "there is no row", "missing_catch_all")
    if len(rules) > MAXIMUM_ROWS:
        raise refuse(title, None, "", f"more than {MAXIMUM_ROWS} rows", "too_large")
    rows = tuple(
        _read_row(rule, number, inputs, output, title) for number, rule in enumerate(rules)
    )
    return DecisionTable(title, tuple(spec for _, spec in inputs), rows, digest_of(document))


def digest_of(document: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a document's canonical JSON, which identifies it in decisions."""
    canonical = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _is_list_of_mappings(value: object) -> TypeGuard[Sequence[Mapping[str, Any]]]:
    return isinstance(value, Sequence) and all(isinstance(each, Mapping) for each in value)


def _table_node(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    title = name or "table"
    if not isinstance(document, Mapping):
        raise refuse(title, None, "", "the document is no JDM object", "not_jdm")
    unknown = sorted(set(document) - _DOCUMENT_KEYS)
    if unknown:
        raise refuse(title, None, "", f"unknown entry {unknown[0]!r}", "not_jdm")
    nodes, edges = document.get("nodes"), document.get("edges")
    if not _is_list_of_mappings(nodes) or not _is_list_of_mappings(edges):
        raise refuse(title, None, "", "the document needs nodes and edges", "not_jdm")
    by_type = {kind: [node for node in nodes if node.get("type") == kind] for kind in _NODE_TYPES}
    if len(nodes) != len(_NODE_TYPES) or any(len(found) != 1 for found in by_type.values()):
        message = "exactly one inputNode, one decisionTableNode and one outputNode are needed"
        raise refuse(title, None, "", message, "not_jdm")
    ids = [by_type[kind][0].get("id") for kind in _NODE_TYPES]
    joined = {(edge.get("sourceId"), edge.get("targetId")) for edge in edges}
    if len(edges) != 2 or joined != {(ids[0], ids[1]), (ids[1], ids[2])}:
        message = "the edges must lead from the input through the table to the output"
        raise refuse(title, None, "", message, "not_jdm")
    node: Mapping[str, Any] = by_type["decisionTableNode"][0]
    if not isinstance(node.get("content"), Mapping):
        raise refuse(title, None, "", "the table node has no content", "not_jdm")
    return node


def _check_content(content: Mapping[str, Any], title: str) -> None:
    if content.get("hitPolicy") != "first":
        message = f"hit policy {content.get('hitPolicy')!r}; only 'first' is allowed"
        raise refuse(title, None, "hitPolicy", message, "not_jdm")
    for key, value in content.items():
        if key in ("hitPolicy", "inputs", "outputs", "rules"):
            continue
        if key not in _EDITOR_DEFAULTS or value not in _EDITOR_DEFAULTS[key]:
            raise refuse(title, None, key, f"{value!r} is not allowed here", "not_jdm")


def _read_inputs(raw: object, title: str) -> list[tuple[str, FactSpec]]:
    if not _is_list_of_mappings(raw) or not raw:
        raise refuse(title, None, "", "there is no input column", "not_jdm")
    if len(raw) > MAXIMUM_INPUTS:
        raise refuse(title, None, "", f"more than {MAXIMUM_INPUTS} input columns", "too_large")
    inputs: list[tuple[str, FactSpec]] = []
    for column in raw:
        spec = _fact_of(column, title)
        key = column.get("id")
        if not isinstance(key, str) or not key or key in [known for known, _ in inputs]:
            raise refuse(title, None, spec.name, "an input needs an id of its own", "not_jdm")
        if spec.name in [known.name for _, known in inputs]:
            raise refuse(title, None, spec.name, "this fact has two columns", "duplicate_column")
        inputs.append((key, spec))
    return inputs


def _fact_of(column: Mapping[str, Any], title: str) -> FactSpec:
    field = str(column.get("field") or "")
    label = str(column.get("name") or "")
    spec = FACTS.get(field)
    if spec is None:
        message = f"unknown fact {field!r}; known are {', '.join(FACTS)}"
        raise refuse(title, None, field or label, message, "unknown_fact")
    unknown = sorted(set(column) - _INPUT_KEYS)
    if unknown:
        raise refuse(title, None, field, f"unknown entry {unknown[0]!r}", "not_jdm")
    found = _UNIT.search(label)
    unit = found.group(1).strip() if found else None
    if unit != spec.unit:
        wanted = f"must end with [{spec.unit}]" if spec.unit else "must not name a unit"
        raise refuse(title, None, field, f"the heading {label!r} {wanted}", "unknown_unit")
    return spec


def _read_output(raw: object, title: str) -> str:
    if not _is_list_of_mappings(raw) or len(raw) != 1:
        raise refuse(title, None, "outcome", "there must be exactly one output", "not_jdm")
    key = raw[0].get("id")
    if raw[0].get("field") != "outcome" or not isinstance(key, str) or not key:
        raise refuse(title, None, "outcome", "the only output is the field outcome", "not_jdm")
    return key


def _read_row(
    rule: Mapping[str, Any],
    number: int,
    inputs: list[tuple[str, FactSpec]],
    output: str,
    title: str,
) -> TableRow:
    unknown = sorted(set(rule) - {key for key, _ in inputs} - {output} - _RULE_NOTES)
    if unknown:
        raise refuse(title, number, unknown[0], "the row has a cell without column", "not_jdm")
    tests: list[IntSet | None] = []
    cells: list[str] = []
    for key, spec in inputs:
        cell = rule.get(key)
        if not isinstance(cell, str):
            raise refuse(title, number, spec.name, f"{cell!r} is no cell", "outside_grammar")
        try:
            tests.append(parse_cell(cell, spec))
        except BadInput as error:
            raise refuse(title, number, spec.name, str(error), "outside_grammar") from error
        cells.append(cell.strip())
    return TableRow(
        tests=tuple(tests),
        outcome=_outcome_of(rule.get(output), number, title),
        row_id=str(rule.get("_id") or number + 1),
        description=str(rule.get("_description") or ""),
        cells=tuple(cells),
    )


def _outcome_of(cell: object, number: int, title: str) -> Outcome:
    quoted = {f'"{outcome.value}"': outcome for outcome in Outcome}
    quoted |= {f"'{outcome.value}'": outcome for outcome in Outcome}
    text = cell.strip() if isinstance(cell, str) else ""
    if text not in quoted:
        message = f"{cell!r} is no outcome; known are {', '.join(OUTCOMES)}, in quotes"
        raise refuse(title, number, "outcome", message, "unknown_outcome")
    return quoted[text]
