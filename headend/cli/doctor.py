"""``headend doctor``: look at everything that must be right, change nothing."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from headend.cli.context import load
from headend.cli.failures import EXIT_DONE, EXIT_FAILED
from headend.cli.tables import console, show_json
from headend.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from headend.cli.doctor_checks import Finding
    from headend.configuration import Settings

_STYLE = {"ok": "green", "look": "yellow", "wrong": "bold red"}


def doctor(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Check configuration, database, keys, books, orders, leases and disk.

    Each line that is not in order says what to do. Exits with 1 when something is wrong.
    """
    from headend.cli.doctor_checks import Verdict

    settings = load(context)
    findings = examine(settings)
    if as_json:
        show_json({"findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        _show(findings)
    wrong = any(finding.verdict is Verdict.WRONG for finding in findings)
    raise typer.Exit(EXIT_FAILED if wrong else EXIT_DONE)


def examine(settings: Settings) -> list[Finding]:
    """Make every check that can be made, in the order in which they build on each other."""
    from headend.cli import doctor_checks as checks
    from headend.cli.context import running_database
    from headend.store.embedded import find_running
    from headend.store.embedded_state import recorded_cluster
    from headend.store.migrate import check_schema

    findings = [checks.check_configuration(settings), *checks.check_disk(settings)]
    embedded = settings.database_url is None
    if embedded and recorded_cluster(settings.state_dir) is None:
        return [*findings, checks.no_database_yet(settings)]
    was_running = not embedded or find_running(settings.state_dir) is not None
    try:
        with running_database(settings) as url:
            findings.append(checks.describe_database(settings, was_running=was_running))
            check_schema(url)
            findings.append(checks.schema_is_right())
            findings += asyncio.run(checks.check_content(settings, url))
    except ConfigurationError as error:
        findings.append(checks.refused(error))
    return findings


def _show(findings: list[Finding]) -> None:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        style = _STYLE[finding.verdict]
        text = f"{finding.text}\n-> {finding.advice}" if finding.advice else finding.text
        table.add_row(f"[{style}]{finding.verdict}[/{style}]", finding.subject, text)
    console().print(table)
