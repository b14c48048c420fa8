"""The program ``headend``: its global options and its commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.main

from headend.cli.bench import bench
from headend.cli.context import GlobalOptions, LevelName
from headend.cli.daily import collect, decide, settle
from headend.cli.demo import demo
from headend.cli.doctor import doctor
from headend.cli.importing import importing
from headend.cli.meter import meter
from headend.cli.migrate import migrate
from headend.cli.serve import serve
from headend.cli.simulate import simulate

HELP = """Collect meters, settle prepaid balances, and switch supply off and on again safely.

Begin with `headend demo` (or ./run): everything embedded, with simulated meters.
A deployment runs `headend migrate` once and then `headend serve`.
"""

app = typer.Typer(
    help=HELP,
    add_completion=False,
    # Plain help: drawing it with rich would take longer than everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"headend {version('ami-headend')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Configuration in TOML; default: HEADEND_CONFIG, else ./headend.toml.",
        ),
    ] = None,
    log_level: Annotated[
        LevelName | None, typer.Option(help="Log at least this; default: info.")
    ] = None,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and end.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Keep the global options for the command that follows."""
    context.obj = GlobalOptions(config, log_level)


app.command(short_help="Show the whole loop on simulated meters.")(demo)
app.command(short_help="Run the head-end until Ctrl-C.")(serve)
app.command(short_help="Bring the database to this release's schema.")(migrate)
app.command(short_help="Check that everything is as it must be.")(doctor)
app.command(short_help="Read from the meters what is missing.")(collect)
app.command(short_help="Charge what was used on a day.")(settle)
app.command(short_help="Decide who is warned and who is cut.")(decide)
app.command(short_help="Run simulated meters for any DLMS client.")(simulate)
app.add_typer(meter, name="meter", short_help="Diagnose one meter, decode what one sent.")
app.add_typer(bench, name="bench", short_help="Measure this machine and release.")
app.add_typer(importing, name="import", short_help="Bring in tariffs, places, meters, customers.")


def run(arguments: Sequence[str]) -> int:
    """Carry out the command line; return the exit code. Errors pass through."""
    command: Any = typer.main.get_command(app)
    # Without a command people want to see what there is.
    given = list(arguments) or ["--help"]
    code = command.main(args=given, prog_name="headend", standalone_mode=False)
    return code if isinstance(code, int) else 0
