"""``headend meter relay|clock``: what changes a meter, done once and seen to have happened."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from headend.cli.exact_json import to_json
from headend.cli.failures import EXIT_FAILED
from headend.cli.meter_reading import ahead
from headend.cli.meter_tools import (
    AsJson,
    Counter,
    Endpoint,
    Keys,
    Timeout,
    Tool,
    Trace,
    Zone,
    note,
    parse_time,
    prepare,
)
from headend.cli.tables import show_values
from headend.domain.errors import BadInput

if TYPE_CHECKING:
    from headend.ports.inspection import ClockReading, MeterInspection, RelayState
    from headend.services.contact_watch import Watched

MAX_WAIT_S = 600


def relay(
    context: typer.Context,
    endpoint: Endpoint,
    action: Annotated[Literal["get", "open", "close"], typer.Argument(help="What to do.")],
    commissioning: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Why a meter that is not on this machine may be opened."
        ),
    ] = None,
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0, max=MAX_WAIT_S, help="How long the contact may take."
        ),
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(metavar="OBIS", help="The disconnect control, if not the usual one."),
    ] = None,
    as_json: AsJson = False,
    trace: Trace = False,
    keys: Keys = None,
    timeout: Timeout = None,
    counter: Counter = None,
) -> None:
    """Read, open or close the supply contact, and show it as it is seen afterwards."""
    tool = prepare(
        context, endpoint, keys=keys, trace=trace, timeout=timeout, counter=counter, relay=control
    )
    tool.inspector.check_objects([] if control is None else [control])
    if action == "get":
        _show_relay(tool.run(lambda meter: meter.read_relay()), as_json)
        return
    if commissioning is not None and not commissioning.strip():
        raise BadInput("--commissioning needs a reason", field="commissioning")
    watched = asyncio.run(_switch(tool, action, commissioning, wait))
    for text in watched.notes:
        note(text)
    _show_relay(watched.state, as_json)
    if watched.arrived:
        if watched.outcome.value == "armed":
            note("armed: the contact closes when somebody presses the meter's button")
        return
    told = "closed" if watched.state.reading.output_state else "open"
    typer.echo(
        f"headend: the contact did not {action}: it is {told}, its control state is"
        f" {_state_name(watched.state)}",
        err=True,
    )
    raise typer.Exit(EXIT_FAILED)


async def _switch(
    tool: Tool, action: Literal["open", "close"], reason: str | None, wait_s: float | None
) -> Watched:
    from headend.cli.meter_guard import OpeningGuard
    from headend.domain.supply import SupplyAction
    from headend.services.contact_watch import switch_and_watch

    opening = action == "open"
    guard = OpeningGuard(tool.settings, tool.inspector, tool.endpoint, reason)
    if opening:
        guard.check_use()

    async def before_sending(meter: MeterInspection) -> None:
        if opening:
            await guard.check_meter(meter)

    watched = await switch_and_watch(
        tool.inspector,
        tool.endpoint,
        SupplyAction.DISCONNECT if opening else SupplyAction.RECONNECT,
        before_sending=before_sending,
        wait_s=wait_s,
    )
    await guard.record_outcome(watched.outcome.value)
    return watched


def clock(
    context: typer.Context,
    endpoint: Endpoint,
    action: Annotated[Literal["get", "set"], typer.Argument(help="What to do.")],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="TIME", help="With set: this time instead of now."),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", min=0, help="Largest correction; default: the meter model's."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Correct by more than the limit.")] = False,
    as_json: AsJson = False,
    trace: Trace = False,
    keys: Keys = None,
    timeout: Timeout = None,
    counter: Counter = None,
    zone: Zone = None,
) -> None:
    """Show how far a meter's clock is off, or set it within a bound."""
    if action == "get" and (to is not None or force or limit is not None):
        raise BadInput("--to, --limit and --force go with set", field="to")
    wanted = parse_time(to, "--to")
    tool = prepare(
        context, endpoint, keys=keys, trace=trace, timeout=timeout, counter=counter, zone=zone
    )
    if action == "get":
        _show_clock(tool.run(lambda meter: meter.read_clock()), None, as_json)
        return
    bound = float("inf") if force else limit
    before, after = tool.run(lambda meter: _set_clock(meter, wanted, bound))
    _show_clock(after, before, as_json)


async def _set_clock(
    meter: MeterInspection, to: datetime | None, limit_s: float | None
) -> tuple[ClockReading, ClockReading]:
    before = await meter.read_clock()
    await meter.set_clock(to, limit_s=limit_s)
    return before, await meter.read_clock()


def _show_relay(state: RelayState, as_json: bool) -> None:
    reading = state.reading
    if as_json:
        document: dict[str, Any] = {
            "output_state": reading.output_state,
            "control_state": _state_name(state),
            "control_mode": reading.control_mode,
        }
        typer.echo(to_json(document))
        return
    show_values(
        f"Disconnect control {state.obis}",
        {
            "contact": "closed" if reading.output_state else "open",
            "control state": _state_name(state).replace("_", " "),
            "control mode": str(reading.control_mode),
            "meaning": state.meaning,
        },
    )


def _state_name(state: RelayState) -> str:
    return state.reading.control_state.name.lower()


def _show_clock(reading: ClockReading, before: ClockReading | None, as_json: bool) -> None:
    for text in reading.notes:
        note(text)
    if as_json:
        document: dict[str, Any] = {"time": reading.time, "ahead_s": reading.ahead_s}
        if before is not None:
            document["before_s"] = before.ahead_s
        typer.echo(to_json(document))
        return
    facts: dict[str, object] = {
        "time": reading.time.isoformat(sep=" "),
        "offset": ahead(reading.ahead_s),
    }
    if before is not None:
        facts["before"] = ahead(before.ahead_s)
    show_values("Clock", facts)
