"""``headend meter limits|push``: what a meter enforces and sends by itself."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from headend.cli.exact_json import plain, to_json
from headend.cli.meter_tools import (
    AsJson,
    Counter,
    Endpoint,
    Keys,
    Timeout,
    Tool,
    Trace,
    note,
    prepare,
)
from headend.cli.tables import show_table
from headend.domain.errors import BadInput

if TYPE_CHECKING:
    from headend.ports.inspection import LimitReading, MeterInspection, PushReading

Limit = Annotated[str | None, typer.Option(metavar="NUMBER", help="Set this limit, in its unit.")]


def limits(
    context: typer.Context,
    endpoint: Endpoint,
    power: Limit = None,
    after: Annotated[
        int | None,
        typer.Option(metavar="SECONDS", min=0, help="With --power: how long it may be passed."),
    ] = None,
    sag: Limit = None,
    swell: Limit = None,
    commissioning: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Why the limits of a meter not on this machine may be set."
        ),
    ] = None,
    as_json: AsJson = False,
    trace: Trace = False,
    keys: Keys = None,
    timeout: Timeout = None,
    counter: Counter = None,
) -> None:
    """Show the limits that a meter enforces, or set some and show what it then holds."""
    wanted = {
        name: _number(text, f"--{name}")
        for name, text in (("power", power), ("sag", sag), ("swell", swell))
        if text is not None
    }
    if after is not None and power is None:
        raise BadInput("--after goes with --power", field="after")
    if commissioning is not None and not commissioning.strip():
        raise BadInput("--commissioning needs a reason", field="commissioning")
    tool = prepare(context, endpoint, keys=keys, trace=trace, timeout=timeout, counter=counter)
    if wanted:
        found = asyncio.run(_set_limits(tool, wanted, after, commissioning))
    else:
        found = tool.run(lambda meter: meter.read_limits())
    if not found:
        note("this meter shows no limit")
    if as_json:
        typer.echo(to_json([asdict(each) for each in found]))
    elif found:
        _show_limits(found)


def _show_limits(found: list[LimitReading]) -> None:
    rows = [(e.name, e.obis, _shown(e.value), e.unit, _shown(e.over_s)) for e in found]
    show_table("Limits", ("limit", "OBIS", "value", "unit", "after s"), rows)


async def _set_limits(
    tool: Tool, wanted: dict[str, Decimal], after: int | None, reason: str | None
) -> list[LimitReading]:
    """Write limits, as guarded as an opening: a limiter switches supply off by itself."""
    from headend.cli.meter_guard import LIMIT, OpeningGuard

    guard = OpeningGuard(tool.settings, tool.inspector, tool.endpoint, reason, action=LIMIT)
    guard.check_use()
    async with tool.inspector.open(tool.endpoint) as meter:
        await guard.check_meter(meter)
        for name, value in wanted.items():
            over_s = after if name == "power" else None
            await meter.write_limit(name, value, over_s=over_s)
        found = await meter.read_limits()
    held = ", ".join(f"{each.name} {_shown(each.value)} {each.unit}" for each in found)
    await guard.record_outcome(held)
    return found


def push(
    context: typer.Context,
    endpoint: Endpoint,
    to: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Set where the meter pushes to.")
    ] = None,
    over: Annotated[
        Literal["tcp", "udp"], typer.Option(help="With --to: by which transport.")
    ] = "tcp",
    now: Annotated[bool, typer.Option("--now", help="Let it push at once.")] = False,
    as_json: AsJson = False,
    trace: Trace = False,
    keys: Keys = None,
    timeout: Timeout = None,
    counter: Counter = None,
) -> None:
    """Show what a meter pushes and where to, set its destination, or let it push."""
    tool = prepare(context, endpoint, keys=keys, trace=trace, timeout=timeout, counter=counter)

    async def work(meter: MeterInspection) -> PushReading:
        if to is not None:
            await meter.write_push_destination(to, over)
        if now:
            await meter.push_now()
        return await meter.read_push()

    found = tool.run(work)
    if as_json:
        typer.echo(to_json(asdict(found)))
        return
    rows = [
        ("set-up", found.obis),
        ("destination", f"{found.transport} {found.destination}, {found.message}"),
        ("objects", ", ".join(found.objects)),
        ("spread over s", _shown(found.randomisation_s)),
        ("retries", _shown(found.retries)),
        ("again after s", _shown(found.repetition_delay_s)),
    ]
    show_table("Push", ("what", "says"), rows)


def _number(text: str, option: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or value < 0:
        raise BadInput(f"{option} {text!r} is no number such as 6600 or 195.5", field=option)
    return value


def _shown(value: Decimal | int | None) -> str:
    if value is None:
        return ""
    return plain(value) if isinstance(value, Decimal) else str(value)
