"""``headend bench``: measure the product on this machine, beside the peers it is compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from headend.cli.tables import show_json, show_table
from headend.domain.errors import BadInput

bench = typer.Typer(
    help="Measure this machine and release; see docs/benchmarks.md.",
    rich_markup_mode=None,
    no_args_is_help=False,
)


@bench.callback()
def _bench() -> None:
    """Keep the sub-commands below one word."""


@bench.command(short_help="DLMS: decoding, sessions, memory.")
def dlms(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="With --json: where to write the document."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document, or write it to FILE.")
    ] = False,
) -> None:
    """Measure decoding, session cost and memory of the DLMS stack: about a minute.

    Figures against peers need the extra `bench`; without it they are named as missing.
    """
    if file is not None and not as_json:
        raise BadInput("FILE goes with --json: headend bench dlms --json FILE", field="FILE")
    from headend.bench.dlms.run import judge, run_dlms

    document = run_dlms(lambda sentence: typer.echo(sentence, err=True))
    for sentence in sorted(set(document["missing"].values())):
        typer.echo(sentence, err=True)
    if as_json and file is None:
        show_json(document)
        return
    if file is not None:
        _write(file, document)
    rows = [(name, value, judge(name, value)) for name, value in document["figures"].items()]
    show_table("DLMS", ("figure", "value", "wanted"), rows)


def _write(file: Path, document: Mapping[str, Any]) -> None:
    try:
        file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"cannot write {file}: {error.strerror}", field=str(file)) from error
