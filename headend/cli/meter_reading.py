"""``headend meter identify|read|profile|events``: what a meter is and what it has recorded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headend.cli.exact_json import plain, to_json
from headend.cli.failures import EXIT_FAILED
from headend.cli.meter_tools import (
    AsJson,
    Counter,
    Endpoint,
    From,
    Keys,
    Timeout,
    To,
    Trace,
    Zone,
    note,
    parse_time,
    prepare,
)
from headend.cli.tables import show_table

if TYPE_CHECKING:
    from headend.ports.inspection import (
        EventReading,
        MeterSummary,
        ObjectReading,
        ProfileReading,
        ProfileWindow,
    )


def identify(
    context: typer.Context,
    endpoint: Endpoint,
    as_json: AsJson = False,
    trace: Trace = False,
    keys: Keys = None,
    timeout: Timeout = None,
    counter: Counter = None,
    zone: Zone = None,
) -> None:
    """Tell what a meter is: names, clock, relay, objects, and the model that fits it."""
    tool = prepare(
        context, endpoint, keys=keys, trace=trace, timeout=timeout, counter=counter, zone=zone
    )
    summary = tool.run(lambda meter: meter.identify())
    for text in summary.notes:
        note(text)
    if as_json:
        typer.echo(to_json(_summary_document(summary)))
    else:
        _show_summary(summary)


def read(
    context: typer.Context,
    endpoint: Endpoint,
    objects: Annotated[
        list[str],
        typer.Argument(metavar="OBIS...", help="OBIS codes, or CLASS/OBIS/ATTRIBUTE."),
    ],
    as_json: AsJson = False,
    trace: Trace = False,
    keys: Keys = None,
    timeout: Timeout = None,
    counter: Counter = None,
    zone: Zone = None,
) -> None:
    """Read objects: registers in their unit, data, clocks, any attribute."""
    tool = prepare(
        context, endpoint, keys=keys, trace=trace, timeout=timeout, counter=counter, zone=zone
    )
    tool.inspector.check_objects(objects)
    readings = tool.run(lambda meter: meter.read_objects(objects))
    if as_json:
        typer.echo(to_json([_reading_document(reading) for reading in readings]))
    else:
        _show_readings(readings)
    refused = [reading for reading in readings if reading.problem is not None]
    for reading in refused:
        typer.echo(f"headend: refused: {reading.detail}", err=True)
    if refused:
        raise typer.Exit(EXIT_FAILED)


def profile(
    context: typer.Context,
    endpoint: Endpoint,
    obis: Annotated[str, typer.Argument(metavar="OBIS", help="E.g. 1.0.99.1.0.255.")],
    start: From = None,
    end: To = None,
    last: Annotated[
        int | None, typer.Option(min=1, help="Only so many of the newest rows.")
    ] = None,
    as_json: AsJson = False,
    trace: Trace = False,
    keys: Keys = None,
    timeout: Timeout = None,
    counter: Counter = None,
    zone: Zone = None,
) -> None:
    """Read a profile with whatever it captures; both ends of the time are included."""
    window = _window(start, end, last)
    tool = prepare(
        context, endpoint, keys=keys, trace=trace, timeout=timeout, counter=counter, zone=zone
    )
    tool.inspector.check_objects([obis])
    table = tool.run(lambda meter: meter.read_profile(obis, window))
    if as_json:
        typer.echo(_profile_json(table))
    else:
        _show_profile(obis, table)


def events(
    context: typer.Context,
    endpoint: Endpoint,
    start: From = None,
    end: To = None,
    log: Annotated[
        str | None, typer.Option(metavar="OBIS", help="Only this log, e.g. 0.0.99.98.0.255.")
    ] = None,
    as_json: AsJson = False,
    trace: Trace = False,
    keys: Keys = None,
    timeout: Timeout = None,
    counter: Counter = None,
    zone: Zone = None,
) -> None:
    """Read the event logs, oldest first."""
    window = _window(start, end, None)
    tool = prepare(
        context, endpoint, keys=keys, trace=trace, timeout=timeout, counter=counter, zone=zone
    )
    tool.inspector.check_objects([] if log is None else [log])
    found = tool.run(lambda meter: meter.read_events(window, log))
    if as_json:
        typer.echo(to_json([_event_document(event) for event in found]))
        return
    rows = [(_shown(e.time), e.log, str(_shown(e.code)), _others(e)) for e in found]
    show_table("Events", ("time", "log", "code", "captured"), rows)


def _window(start: str | None, end: str | None, last: int | None) -> ProfileWindow:
    from headend.domain.errors import BadInput
    from headend.ports.inspection import ProfileWindow

    first, final = parse_time(start, "--from"), parse_time(end, "--to")
    if first is not None and final is not None:
        # One with an offset and one without are compared where the meter's clock is known.
        alike = (first.tzinfo is None) == (final.tzinfo is None)
        if alike and final < first:
            raise BadInput(f"--to {end} lies before --from {start}", field="to")
    return ProfileWindow(first, final, last)


def _reading_document(reading: ObjectReading) -> dict[str, Any]:
    document: dict[str, Any] = {
        "obis": reading.obis,
        "value": reading.value,
        "unit": reading.unit,
    }
    if reading.time is not None:
        document["time"] = reading.time
    if reading.problem is not None:
        document["problem"] = reading.problem
    return document


def _show_readings(readings: Sequence[ObjectReading]) -> None:
    columns: dict[str, list[object]] = {
        "OBIS": [r.obis for r in readings],
        # Identifiers are no amounts: only numbers with a unit get their digits grouped.
        "value": [_shown(r.value) if r.unit else str(_shown(r.value)) for r in readings],
        "unit": [r.unit for r in readings],
        "time": [r.time or "" for r in readings],
        "problem": [r.problem or "" for r in readings],
    }
    kept = [name for name in columns if name in ("OBIS", "value") or any(columns[name])]
    show_table("Objects", kept, list(zip(*(columns[name] for name in kept), strict=True)))


def _profile_json(table: ProfileReading) -> str:
    """Return the document with a row on each line: a day has 96 of them."""
    rows = ",\n  ".join(to_json(list(row), indent=None) for row in table.rows)
    columns = to_json([column.name for column in table.columns], indent=None)
    units = to_json([column.unit for column in table.columns], indent=None)
    body = f"\n  {rows}\n " if rows else ""
    return f'{{\n "columns": {columns},\n "units": {units},\n "rows": [{body}]\n}}'


def _show_profile(obis: str, table: ProfileReading) -> None:
    heads = [f"{c.name} [{c.unit}]" if c.unit else c.name for c in table.columns]
    rows = [[_shown(value) for value in row] for row in table.rows]
    show_table(f"Profile {obis}", heads, rows)
    typer.echo(_count_rows(table))


def _count_rows(table: ProfileReading) -> str:
    """Say how many rows there are, and how many the capture period lets expect between them."""
    count = len(table.rows)
    text = f"{count} row{'' if count == 1 else 's'}"
    times = [row[0] for row in table.rows if row and isinstance(row[0], datetime)]
    period = timedelta(seconds=table.period_s)
    if not period or len(times) < 2:
        return text
    missing = sum(max(round((after - before) / period) - 1, 0) for before, after in pairwise(times))
    every = f"every {table.period_s // 60} min" if table.period_s % 60 == 0 else str(period)
    return f"{text} {every}, {missing} missing between them"


def _event_document(event: EventReading) -> dict[str, Any]:
    return {
        "time": event.time,
        "log": event.log,
        "code": event.code,
        "values": dict(event.values),
    }


def _others(event: EventReading) -> str:
    values = list(event.values.items())[1:]
    return ", ".join(f"{name}={_shown(value)}" for name, value in values)


def _summary_document(summary: MeterSummary) -> dict[str, Any]:
    clock, relay = summary.clock, summary.relay
    return {
        "logical_device_name": summary.identity.logical_device_name,
        "serial": summary.identity.serial,
        "model": summary.models[0] if summary.models else None,
        "models": list(summary.models),
        "clock": None
        if clock is None
        else {"time": clock.time, "ahead_s": clock.ahead_s, "notes": list(clock.notes)},
        "relay": None
        if relay is None
        else {
            "obis": relay.obis,
            "output_state": relay.reading.output_state,
            "control_state": relay.reading.control_state.name.lower(),
            "control_mode": relay.reading.control_mode,
            "meaning": relay.meaning,
        },
        "objects": {"count": sum(summary.classes.values()), "classes": dict(summary.classes)},
        "profiles": list(summary.profiles),
        "event_logs": list(summary.event_logs),
        **summary.facts,
        "notes": list(summary.notes),
    }


def _show_summary(summary: MeterSummary) -> None:
    clock, relay = summary.clock, summary.relay
    count = sum(summary.classes.values())
    facts: dict[str, object] = {
        "logical device name": summary.identity.logical_device_name or "not shown",
        "serial": summary.identity.serial or "not shown",
        "model": ", else ".join(summary.models),
        "clock": "not read" if clock is None else f"{_shown(clock.time)}, {ahead(clock.ahead_s)}",
        "relay": "not read" if relay is None else _relay_words(relay.reading.output_state),
    }
    if relay is not None:
        state = relay.reading.control_state.name.lower().replace("_", " ")
        facts["control"] = f"{relay.obis}, {state}"
        facts[f"control mode {relay.reading.control_mode}"] = relay.meaning
    kinds = ", ".join(f"{number} {name}" for name, number in summary.classes.items())
    facts["objects"] = f"{count}: {kinds}" if count else "not read"
    facts["profiles"] = ", ".join(summary.profiles) or "none seen"
    facts["event logs"] = ", ".join(summary.event_logs) or "none seen"
    for name, value in summary.facts.items():
        shown = " ".join(map(str, value)) if isinstance(value, list) else str(value)
        facts[name.replace("_", " ")] = shown
    show_table("Meter", ("what", "says"), list(facts.items()))


def ahead(seconds: float) -> str:
    """Say how far a clock is off."""
    if abs(seconds) < 1:
        return "right to the second"
    return f"{abs(seconds):g} s {'ahead' if seconds > 0 else 'behind'}"


def _relay_words(closed: bool) -> str:
    return "contact closed" if closed else "contact open"


def _shown(value: object) -> object:
    """Return a value for a table cell; what is not there is empty."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(str(_shown(each)) for each in value)
    return value
