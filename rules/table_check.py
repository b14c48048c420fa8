"""What a decision table must satisfy before it may decide anything.

Every check is exact, over all combinations of facts including unknown ones, and every refusal names
the table, the row (counted from 1) and the column:

- the last row matches anything and decides `none`: no account is left without a decision, and what
  nobody thought of is never acted on;
- every row can be reached;
- a row that disconnects says below which balance, and only for supplies that are on; a supply that
  is off is reconnected or left alone; it is reconnected only well above where it would be cut;
- with more money the outcome never gets worse, whatever the other facts are, even if unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from headend.domain.errors import BadInput
from rules.boxes import (
    Box,
    Space,
    build_space,
    certain_box,
    find_point,
    meet,
    possible_box,
)
from rules.table_model import BALANCE, SEVERITY, SUPPLY_OFF, DecisionTable, Outcome


@dataclass(frozen=True, slots=True)
class _Checked:
    """A table with the boxes of its rows."""

    table: DecisionTable
    space: Space
    certain: tuple[Box, ...]
    possible: tuple[Box, ...]


def check_table(table: DecisionTable) -> None:
    """Raise `BadInput` naming table, row and column unless the table satisfies all of the above."""
    _check_catch_all(table)
    space = build_space(table)
    checked = _Checked(
        table,
        space,
        tuple(certain_box(space, row.tests) for row in table.rows),
        tuple(possible_box(space, row.tests) for row in table.rows),
    )
    _check_reachable(checked)
    _check_disconnect_rows(table)
    _check_supply_off(checked)
    _check_reconnect_above_cut(checked)
    _check_money(checked)


def refuse(table: str, row: int | None, column: str, message: str, code: str) -> BadInput:
    """Build the refusal of a table; ``row`` counts from 0, None is the table as a whole."""
    place = f"table {table!r}" + ("" if row is None else f", row {row + 1}")
    at = "" if not column else f", column {column!r}"
    parts = [table, "" if row is None else f"row {row + 1}", column]
    field = ".".join(part for part in parts if part)
    return BadInput(f"{place}{at}: {message}", field=field, code=code)


def _check_catch_all(table: DecisionTable) -> None:
    if not table.rows:
        raise refuse(table.name, None, "", "there is no row", "missing_catch_all")
    last = len(table.rows) - 1
    row = table.rows[last]
    for spec, test in zip(table.inputs, row.tests, strict=True):
        if test is not None:
            message = "the last row must match anything (every condition empty)"
            raise refuse(table.name, last, spec.name, message, "missing_catch_all")
    if row.outcome is not Outcome.NONE:
        message = "the last row, which catches what nobody thought of, must decide none"
        raise refuse(table.name, last, "outcome", message, "missing_catch_all")


def _check_reachable(checked: _Checked) -> None:
    known = checked.space.known()
    for index, box in enumerate(checked.certain):
        if find_point([known, box], checked.certain[:index]) is None:
            message = "the rows above already match whatever this row would match"
            raise refuse(checked.table.name, index, "", message, "unreachable_row")


def _check_disconnect_rows(table: DecisionTable) -> None:
    for index, row in enumerate(table.rows):
        if row.outcome is Outcome.DISCONNECT and table.cut_threshold_nano(index) is None:
            message = "a row that disconnects must say below which balance"
            raise refuse(table.name, index, BALANCE, message, "unbounded_disconnect")
        if row.outcome is Outcome.RECONNECT and table.reconnect_floor_nano(index) is None:
            message = "a row that reconnects must say from which balance"
            raise refuse(table.name, index, BALANCE, message, "unbounded_reconnect")


def _input_index(table: DecisionTable, fact: str) -> int | None:
    names = [spec.name for spec in table.inputs]
    return names.index(fact) if fact in names else None


def _with_segment(box: Box, index: int, mask: int) -> Box:
    return (*box[:index], box[index] & mask, *box[index + 1 :])


def _check_supply_off(checked: _Checked) -> None:
    # A row acts if it is the first certain one, or possible before it: both must fit the supply.
    table = checked.table
    index = _input_index(table, SUPPLY_OFF)
    for row, rule in enumerate(table.rows):
        if index is None:
            if rule.outcome is Outcome.RECONNECT:
                message = f"a table that reconnects must have the column {SUPPLY_OFF}"
                raise refuse(table.name, row, SUPPLY_OFF, message, "supply_off")
            continue
        if rule.outcome is Outcome.NONE:
            continue
        wrong = _segments_of(checked, index, value=0 if rule.outcome is Outcome.RECONNECT else 1)
        box = _with_segment(checked.space.everything(), index, wrong)
        if find_point([box, checked.possible[row]], checked.certain[:row]) is not None:
            wanted = "true" if rule.outcome is Outcome.RECONNECT else "false"
            message = f"{rule.outcome} can only apply where {SUPPLY_OFF} is {wanted}"
            raise refuse(table.name, row, SUPPLY_OFF, message, "supply_off")


def _segments_of(checked: _Checked, index: int, *, value: int) -> int:
    """Return the mask of the segments of an input that hold ``value``."""
    mask = 0
    for position, (low, high) in enumerate(checked.space.segments[index]):
        if low <= value <= high:
            mask |= 1 << position
    return mask


def _check_reconnect_above_cut(checked: _Checked) -> None:
    table = checked.table
    ignored = [_input_index(table, fact) for fact in (BALANCE, SUPPLY_OFF)]
    full = checked.space.everything()

    def others(box: Box) -> Box:
        return tuple(full[i] if i in ignored else mask for i, mask in enumerate(box))

    for row, rule in enumerate(table.rows):
        floor = table.reconnect_floor_nano(row)
        if rule.outcome is not Outcome.RECONNECT or floor is None:
            continue
        for cut_row in range(len(table.rows)):
            threshold = table.cut_threshold_nano(cut_row)
            if threshold is None or floor > threshold:
                continue
            # Certain boxes suffice: with an unknown fact neither row acts on its own.
            if meet([others(checked.certain[row]), others(checked.certain[cut_row])]):
                message = (
                    f"reconnecting must need a balance above the threshold at which row"
                    f" {cut_row + 1} cuts the same account"
                )
                raise refuse(table.name, row, BALANCE, message, "reconnect_not_above_cut")


def _check_money(checked: _Checked) -> None:
    for index, spec in enumerate(checked.table.inputs):
        if not spec.money:
            continue
        segments = range(len(checked.space.segments[index]))
        order = list(segments) if spec.money > 0 else list(reversed(segments))
        for poorer, richer in pairwise(order):
            _check_step(checked, index, 1 << poorer, 1 << richer)


def _check_step(checked: _Checked, index: int, poorer: int, richer: int) -> None:
    """Refuse if one step to more money can make the outcome worse.

    A decision with unknown facts takes the mildest outcome among the rows that may apply (see
    `rules.table_compile`), so "worse" is looked for among those: some row may apply to the poorer,
    and for the richer a worse row surely applies with nothing as mild before it. For supplies that
    are off the mildest is `none`, and there losing a sure reconnect is what is worse.
    """
    table = checked.table
    for first, mild in enumerate(table.rows):
        for second, worse in enumerate(table.rows):
            if SEVERITY[worse.outcome] <= SEVERITY[mild.outcome]:
                continue
            inside, outside = _worse_where(checked, index, (poorer, first), (richer, second))
            if len(inside) == 2 and find_point(inside, outside) is not None:
                message = (
                    f"with more money the outcome gets worse: row {first + 1} decides"
                    f" {mild.outcome}, this row {worse.outcome}"
                )
                column = table.inputs[index].name
                raise refuse(table.name, second, column, message, "worse_with_more_money")


def _worse_where(
    checked: _Checked, index: int, poorer: tuple[int, int], richer: tuple[int, int]
) -> tuple[list[Box], list[Box]]:
    """Return the boxes to be inside of and outside of for `_check_step`.

    ``poorer`` and ``richer`` are (segment bit of the money fact, row). Rows that do not match the
    segment vanish; the others are compared with the money fact left free.
    """
    (poor, first), (rich, second) = poorer, richer
    rows = checked.table.rows
    free = checked.space.everything()[index]

    def at(boxes: tuple[Box, ...], segment: int, wanted: Iterable[int]) -> list[Box]:
        return [
            (*boxes[row][:index], free, *boxes[row][index + 1 :])
            for row in wanted
            if boxes[row][index] & segment
        ]

    mild = rows[first].outcome
    if mild is Outcome.RECONNECT:
        spoilers = [row for row in range(first) if rows[row].outcome is not mild]
        inside = at(checked.certain, poor, [first]) + at(checked.possible, rich, [second])
        outside = at(checked.certain, rich, range(second)) + at(checked.possible, poor, spoilers)
    else:
        as_mild = [row for row in range(second) if SEVERITY[rows[row].outcome] <= SEVERITY[mild]]
        inside = at(checked.possible, poor, [first]) + at(checked.certain, rich, [second])
        outside = at(checked.certain, poor, range(first)) + at(checked.possible, rich, as_mild)
    return inside, outside
