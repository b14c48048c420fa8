"""``headend demo``: hand the options to the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headend.cli.context import global_options
from headend.demo.options import DEFAULT_SEED, DemoOptions


def demo(
    context: typer.Context,
    once: Annotated[
        bool, typer.Option("--once", help="Show the whole loop, print the result and end.")
    ] = False,
    json_path: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the result to FILE as JSON."),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Forget the demo's data first.")] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Port of the HTTP API; default: 8080.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another town.")] = DEFAULT_SEED,
    state_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the demo keeps its data; default: .state."),
    ] = None,
) -> None:
    """Show the whole loop on simulated meters, with everything embedded.

    Exits with 0 only if every step was seen to happen.
    """
    from headend.demo.run import run_demo

    given = global_options(context)
    raise typer.Exit(
        run_demo(
            DemoOptions(
                once=once,
                json_path=json_path,
                reset=reset,
                port=port,
                seed=seed,
                state_dir=state_dir,
                config_path=given.config,
                log_level=given.log_level,
            )
        )
    )
