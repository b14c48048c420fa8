"""Decision tables in memory: outcomes, rows, and what a hit row says about thresholds.

A table is read with `rules.table.parse_table` and run with `rules.table_compile.decide`; it is
immutable and small. Rows are counted from 0 in decisions and from 1 in messages to people.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from rules.facts import FactSpec
from rules.table_grammar import MAXIMUM, MINIMUM, IntSet

BALANCE = "balance_yuan"
SUPPLY_OFF = "supply_off"


class Outcome(StrEnum):
    """What a table may decide, in the order of `OUTCOMES`."""

    NONE = "none"
    LOW_BALANCE_WARNING = "low_balance_warning"
    ARREARS_WARNING = "arrears_warning"
    DISCONNECT = "disconnect"
    RECONNECT = "reconnect"


# Position is the code in decision arrays.
OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)

# How bad an outcome is for the customer; more money must never make it worse.
SEVERITY: dict[Outcome, int] = {
    Outcome.RECONNECT: -1,
    Outcome.NONE: 0,
    Outcome.LOW_BALANCE_WARNING: 1,
    Outcome.ARREARS_WARNING: 2,
    Outcome.DISCONNECT: 3,
}


@dataclass(frozen=True, slots=True)
class TableRow:
    """One rule: a test per input (None matches anything) and its outcome."""

    tests: tuple[IntSet | None, ...]
    outcome: Outcome
    row_id: str
    description: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecisionTable:
    """A checked table. ``digest`` identifies its document in every decision it makes."""

    name: str
    inputs: tuple[FactSpec, ...]
    rows: tuple[TableRow, ...]
    digest: str

    def test_of(self, row: int, fact: str) -> IntSet | None:
        """Return a row's test of a fact; None when it makes none."""
        for spec, test in zip(self.inputs, self.rows[row].tests, strict=True):
            if spec.name == fact:
                return test
        return None

    def cut_threshold_nano(self, row: int) -> int | None:
        """Return the balance below which a disconnect row cuts [nano]; None for other rows.

        The guard holds the balance by actual readings against it.
        """
        if self.rows[row].outcome is not Outcome.DISCONNECT:
            return None
        test = self.test_of(row, BALANCE)
        return None if test is None or test[-1][1] == MAXIMUM else test[-1][1] + 1

    def reconnect_floor_nano(self, row: int) -> int | None:
        """Return the least balance at which a reconnect row acts [nano]; None for other rows."""
        if self.rows[row].outcome is not Outcome.RECONNECT:
            return None
        test = self.test_of(row, BALANCE)
        return None if test is None or test[0][0] == MINIMUM else test[0][0]
