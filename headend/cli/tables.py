"""Results for people (small tables) and for programs (JSON), on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH_ELSEWHERE = 200


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; columns whose values are all numbers are aligned to the right."""
    from rich.table import Table

    table = Table()
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*map(_cell, row))
    _print(title, table)


def show_values(title: str, values: Mapping[str, object]) -> None:
    """Print a name and a value on each line."""
    from rich.table import Table

    table = Table(show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in values.items():
        table.add_row(name, _cell(value))
    _print(title, table)


def show_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    print(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def console() -> Console:
    """Return where people read; a file or pipe has no width to fold lines to."""
    from rich.console import Console

    on_terminal = sys.stdout.isatty()
    return Console(highlight=False, width=None if on_terminal else WIDTH_ELSEWHERE)


def _print(title: str, table: Table) -> None:
    output = console()
    output.print(title, style="bold")
    output.print(table)


def _cell(value: object) -> str:
    # Digits in groups, so that a person sees a million at a glance.
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
