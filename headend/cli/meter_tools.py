"""What the commands on one meter share: their options, how they connect, how they say notes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias, TypeVar

import typer

from headend.cli.context import load
from headend.domain.errors import BadInput

if TYPE_CHECKING:
    from headend.configuration import Settings
    from headend.ports.inspection import MeterInspection, MeterInspector

MAX_COUNTER = (1 << 32) - 1
_T = TypeVar("_T")

Endpoint: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="ENDPOINT",
        help="A URL such as dlms+tcp://host:4059?client=1&server=1&auth=gmac&ek=HEX&ak=HEX.",
    ),
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Trace: TypeAlias = Annotated[
    bool, typer.Option("--trace", help="Show frames and APDUs on standard error, secrets masked.")
]
Keys: TypeAlias = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Secrets in TOML or JSON (ek, ak, password), mode 0600."),
]
Timeout: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", min=0.1, max=600, help="How long an answer may take."),
]
Counter: TypeAlias = Annotated[
    int | None,
    typer.Option(min=0, max=MAX_COUNTER, help="Begin at this invocation counter, if higher."),
]
Zone: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Zone of the meter's clock where it tells no offset from UTC."
    ),
]
From: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="TIME", help="First time, ISO; without an offset, by the meter's clock."
    ),
]
To: TypeAlias = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Last time, itself included.")
]


@dataclass(frozen=True, slots=True)
class Tool:
    """One meter to work with, as the command line says."""

    settings: Settings
    inspector: MeterInspector
    endpoint: str

    def run(self, work: Callable[[MeterInspection], Awaitable[_T]]) -> _T:
        """Connect, do the work, release; return its result."""

        async def carry_out() -> _T:
            async with self.inspector.open(self.endpoint) as inspection:
                return await work(inspection)

        return asyncio.run(carry_out())


def prepare(
    context: typer.Context,
    endpoint: str,
    *,
    keys: Path | None,
    trace: bool,
    timeout: float | None,
    counter: int | None,
    zone: str | None = None,
    relay: str | None = None,
) -> Tool:
    """Read configuration and secrets and choose who serves the endpoint.

    Raises `BadInput`, `ConfigurationError`.
    """
    from headend.cli.meter_secrets import gather_secrets
    from headend.inspectors import make_inspector
    from headend.meter_counters import CounterFile
    from headend.ports.inspection import InspectionOptions

    secrets = gather_secrets(keys, os.environ)
    settings = load(context)
    options = InspectionOptions(
        keeper=CounterFile(settings.state_dir, note),
        note=note,
        secrets=secrets,
        timeout_s=settings.meter_answer_timeout_s if timeout is None else timeout,
        zone=zone,
        relay=relay,
        first_counter=counter,
        trace=_trace if trace else None,
    )
    return Tool(settings, make_inspector(endpoint, options), endpoint)


def note(text: str) -> None:
    """Say on standard error what is worth knowing and no failure."""
    typer.echo(f"headend: note: {text}", err=True)


def _trace(line: str) -> None:
    typer.echo(line, err=True)


def parse_time(text: str | None, option: str) -> datetime | None:
    """Read an ISO time; one without an offset stays naive: the meter's wall clock decides."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"{option} {text!r} is not a time such as 2026-03-05T08:00 or 2026-03-05T00:00Z",
            field=option,
        ) from None
