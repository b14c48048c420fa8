"""Decision tables run over columns of facts: first hit, the row's index as the reason.

Theory of operation. Accounts are taken in chunks small enough for the cache. Rows are applied from
the last to the first, each overwriting the answer where it matches, so that the first matching row
stands at the end. Two rows with the same test of a column share its mask.

Unknown facts. A test of an unknown fact neither matches nor fails. If, above the first row that
surely matches, some row *might* match, the decision is uncertain, and the most cautious outcome
among those rows is taken: `none`, then the warnings, then a reconnect, and a disconnect only when
every row that might apply disconnects. So an unknown fact never disconnects anybody whom some value
of it would spare. An account of which it is not known whether its supply is off gets `none`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from headend.domain.errors import BadInput
from rules.facts import BoolArray, FactColumn, FactColumns, FactSpec, columns_of
from rules.table_grammar import MAXIMUM, MINIMUM, IntSet
from rules.table_model import BALANCE, OUTCOMES, SUPPLY_OFF, DecisionTable, Outcome

# So that the masks of one chunk and its columns stay in the cache of one core.
CHUNK = 16_384

# Row index of an account that no row was applied to.
NO_ROW = -1

# What to do when it is not certain which row applies: the least of these.
_CAUTION: dict[Outcome, int] = {
    Outcome.NONE: 0,
    Outcome.LOW_BALANCE_WARNING: 1,
    Outcome.ARREARS_WARNING: 2,
    Outcome.RECONNECT: 3,
    Outcome.DISCONNECT: 4,
}

_Chunk: TypeAlias = dict[str, tuple[npt.NDArray[Any], BoolArray | None]]
_MaskCache: TypeAlias = dict[tuple[str, IntSet], tuple[BoolArray, BoolArray | None]]


@dataclass(frozen=True, slots=True)
class Decisions:
    """One decision per account.

    outcome: (account,) int8, position in `OUTCOMES`; row: (account,) int16, index of the deciding
    row, `NO_ROW` where none was applied; uncertain: (account,) bool, an unknown fact mattered.
    """

    outcome: npt.NDArray[np.int8]
    row: npt.NDArray[np.int16]
    uncertain: BoolArray

    def outcome_of(self, account: int) -> Outcome:
        """Return one account's outcome by name."""
        return OUTCOMES[int(self.outcome[account])]


def decide(table: DecisionTable, columns: FactColumns) -> Decisions:
    """Decide every account of the columns.

    ``columns`` maps `FactSpec.column` to equally long columns; others than the table's inputs are
    ignored. The same facts give the same decision in any batch, order and shard. Raises `BadInput`
    naming a column that is missing, of the wrong type or of another length.
    """
    used = _used_columns(table, columns)
    count = len(next(iter(used.values())).values)
    row = np.empty(count, dtype=np.int16)
    uncertain = np.zeros(count, dtype=np.bool_)
    for start in range(0, count, CHUNK):
        span = slice(start, min(start + CHUNK, count))
        chunk = {name: _part(column, span) for name, column in used.items()}
        _decide_chunk(table, chunk, row[span], uncertain[span])
    outcomes = np.array([OUTCOMES.index(each.outcome) for each in table.rows], dtype=np.int8)
    outcome = np.where(row == NO_ROW, OUTCOMES.index(Outcome.NONE), outcomes[row]).astype(np.int8)
    return Decisions(outcome, row, uncertain)


def decide_one(table: DecisionTable, facts: Mapping[str, object]) -> tuple[Outcome, int, bool]:
    """Decide one account from fact names and values; return (outcome, row, uncertain)."""
    decisions = decide(table, columns_of([facts], [spec.name for spec in table.inputs]))
    return decisions.outcome_of(0), int(decisions.row[0]), bool(decisions.uncertain[0])


def reconnect_threshold_nano(table: DecisionTable, facts: Mapping[str, object]) -> int | None:
    """Return the least balance [nano] at which this account would be reconnected, or None.

    ``facts`` are the account's, by name; its balance and supply state are supplied here.
    """
    if all(spec.name != SUPPLY_OFF for spec in table.inputs):
        return None
    floors = {table.reconnect_floor_nano(row) for row in range(len(table.rows))}
    balances = sorted(floor for floor in floors if floor is not None)
    names = [spec.name for spec in table.inputs]
    columns = dict(columns_of([{**facts, SUPPLY_OFF: True}] * len(balances), names))
    spec = next(each for each in table.inputs if each.name == BALANCE) if balances else None
    if spec is None:
        return None
    columns[spec.column] = FactColumn(np.array(balances, dtype=np.int64))
    decisions = decide(table, columns)
    wanted = OUTCOMES.index(Outcome.RECONNECT)
    return next(
        (each for each, got in zip(balances, decisions.outcome, strict=True) if got == wanted), None
    )


def _used_columns(table: DecisionTable, columns: FactColumns) -> dict[str, FactColumn]:
    used: dict[str, FactColumn] = {}
    length: int | None = None
    for spec in table.inputs:
        column = columns.get(spec.column)
        if column is None:
            raise BadInput(f"the facts have no column {spec.column}", field=spec.column)
        _check_dtype(spec, column)
        length = len(column.values) if length is None else length
        if len(column.values) != length:
            raise BadInput(
                f"column {spec.column} has {len(column.values)} rows, not {length}",
                field=spec.column,
            )
        used[spec.column] = column
    return used


def _check_dtype(spec: FactSpec, column: FactColumn) -> None:
    kinds = "b" if spec.dtype == np.bool_ else "i"
    if column.values.dtype.kind not in kinds:
        raise BadInput(
            f"column {spec.column} is {column.values.dtype}, not {spec.dtype}", field=spec.column
        )


def _part(column: FactColumn, span: slice) -> tuple[npt.NDArray[Any], BoolArray | None]:
    known = None if column.known is None else column.known[span]
    if known is not None and bool(known.all()):
        known = None
    return column.values[span], known


def _decide_chunk(
    table: DecisionTable, chunk: _Chunk, row: npt.NDArray[np.int16], uncertain: BoolArray
) -> None:
    cache: _MaskCache = {}
    for index in range(len(table.rows) - 1, -1, -1):
        match = _row_mask(table, index, chunk, cache, possible=False)
        if match is None:
            row[:] = index
        else:
            np.putmask(row, match, np.int16(index))
    if any(known is not None for _, known in chunk.values()):
        _settle_uncertain(table, chunk, cache, row, uncertain)
    off = next((spec for spec in table.inputs if spec.name == SUPPLY_OFF), None)
    if off is not None and chunk[off.column][1] is not None:
        unknown = ~np.asarray(chunk[off.column][1])
        row[unknown] = NO_ROW
        uncertain[unknown] = True


def _row_mask(
    table: DecisionTable, index: int, chunk: _Chunk, cache: _MaskCache, *, possible: bool
) -> BoolArray | None:
    """Return where the row matches, surely or possibly; None means everywhere."""
    result: BoolArray | None = None
    owned = False
    for spec, test in zip(table.inputs, table.rows[index].tests, strict=True):
        if test is None:
            continue
        sure, maybe = _test_mask(spec, test, chunk, cache)
        mask = maybe if possible and maybe is not None else sure
        if result is None:
            result = mask
        elif owned:
            np.logical_and(result, mask, out=result)
        else:
            result, owned = result & mask, True
    return result


def _test_mask(
    spec: FactSpec, test: IntSet, chunk: _Chunk, cache: _MaskCache
) -> tuple[BoolArray, BoolArray | None]:
    """Return where the test surely holds, and where it may hold (None: the same)."""
    key = (spec.column, test)
    if key not in cache:
        values, known = chunk[spec.column]
        inside = _inside(values, test)
        cache[key] = (inside, None) if known is None else (inside & known, inside | ~known)
    return cache[key]


def _inside(values: npt.NDArray[Any], test: IntSet) -> BoolArray:
    result: BoolArray | None = None
    for low, high in test:
        mask = _between(values, low, high)
        result = mask if result is None else result | mask
    return np.zeros(len(values), dtype=np.bool_) if result is None else result


def _between(values: npt.NDArray[Any], low: int, high: int) -> BoolArray:
    # Python integers compare exactly with any integer column; booleans count as 0 and 1.
    numbers = values.view(np.int8) if values.dtype == np.bool_ else values
    if low == high:
        return np.asarray(numbers == low)
    if low == MINIMUM:
        return np.asarray(numbers <= high)
    if high == MAXIMUM:
        return np.asarray(numbers >= low)
    return np.asarray((numbers >= low) & (numbers <= high))


def _settle_uncertain(
    table: DecisionTable,
    chunk: _Chunk,
    cache: _MaskCache,
    row: npt.NDArray[np.int16],
    uncertain: BoolArray,
) -> None:
    """Take the most cautious of the rows that may apply, where an unknown fact leaves a choice."""
    hit = row.copy()
    caution = np.array([_CAUTION[each.outcome] for each in table.rows], dtype=np.int8)
    best = caution[hit]
    for index in range(len(table.rows) - 1, -1, -1):
        possible = _row_mask(table, index, chunk, cache, possible=True)
        open_ = hit > index if possible is None else possible & (hit > index)
        if not open_.any():
            continue
        uncertain |= open_
        take = open_ & (caution[index] <= best)
        row[take] = index
        best[take] = caution[index]
