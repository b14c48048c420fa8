"""Results for people (small tables) and for programs (JSON), on standard output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def show_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table; columns whose values are all numbers are aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold")
    for index, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[index], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*map(_cell, row))
    Console().print(table)


def show_values(title: str, values: Mapping[str, object]) -> None:
    """Print a name and a value on each line."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", show_header=False)
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in values.items():
        table.add_row(name, _cell(value))
    Console().print(table)


def show_json(document: Mapping[str, Any]) -> None:
    """Print one JSON document."""
    print(json.dumps(document, ensure_ascii=False, indent=2, default=str))


def _cell(value: object) -> str:
    # Digits in groups, so that a person sees a million at a glance.
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
