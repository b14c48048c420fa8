"""Shows a proof: a table for people, a JSON file for programs."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headend.demo.proof import Proof


def show_proof(console: Console, proof: Proof) -> None:
    """Print what was seen, what was not, and the figures."""
    steps = Table(title="what was seen to happen", title_justify="left")
    steps.add_column("")
    steps.add_column("step")
    steps.add_column("seen")
    for step in proof.steps:
        mark = Text("yes", style="green") if step.seen else Text("NO", style="bold red")
        steps.add_row(mark, step.name, step.detail)
    console.print(steps)
    table = Table(title="by protocol", title_justify="left")
    for name in ("protocol", "meters", "readings", "disconnects", "reconnects"):
        table.add_column(name, justify="left" if name == "protocol" else "right")
    table.add_column("payment to closed p50 / p99", justify="right")
    for name, figures in proof.figures["protocols"].items():
        delays = figures["payment_to_closed_ms"]
        table.add_row(
            name,
            str(figures["meters"]),
            f"{figures['readings']:,}",
            f"{figures['disconnects_verified']} verified",
            f"{figures['reconnects_verified']} verified",
            f"{_shown(delays['p50'])} / {_shown(delays['p99'])}",
        )
    console.print(table)
    refused = ", ".join(f"{code} {count}" for code, count in proof.figures["refused"].items())
    console.print(f"notices delivered: {proof.figures['notices']}   refused: {refused or 'none'}")
    for step in proof.steps:
        if not step.seen:
            console.print(f"not seen: {step.name} ({step.detail})", style="bold red")


def write_json(proof: Proof, path: Path) -> None:
    """Write the figures; a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(proof.figures, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def _shown(milliseconds: float | None) -> str:
    return "none" if milliseconds is None else f"{milliseconds:.0f} ms"
