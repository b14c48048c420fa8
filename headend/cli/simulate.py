"""``headend simulate``: simulated meters in the foreground, for any client that speaks DLMS."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headend.cli.context import global_options
from headend.cli.failures import EXIT_DONE, EXIT_INTERRUPTED
from headend.cli.tables import show_table
from headend.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from protocols.simulator.control import ControlServer
    from protocols.simulator.fleet import FleetSpec
    from protocols.simulator.simulator import Simulator

SHOWN_METERS = 5


def simulate(
    context: typer.Context,
    dlms: Annotated[int, typer.Option(min=1, help="How many DLMS meters.")] = 60,
    modbus: Annotated[int, typer.Option(min=0, help="How many Modbus meters (later).")] = 0,
    mqtt: Annotated[int, typer.Option(min=0, help="How many MQTT meters (later).")] = 0,
    concentrators: Annotated[int, typer.Option(min=1, help="They sit behind so many.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Decides numbers, keys and loads.")] = 1,
    faults: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Faults to switch on (JSON).")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A fleet (JSON) instead of one made from the numbers."),
    ] = None,
    transport: Annotated[
        str, typer.Option(help="How they are reached: wrapper (TCP), hdlc (TCP) or udp.")
    ] = "wrapper",
    first_port: Annotated[
        int,
        typer.Option(min=0, max=65_535, help="Port of the first concentrator; 0: any free ports."),
    ] = 0,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep contacts and counters there between runs."),
    ] = None,
) -> None:
    """Run simulated meters that speak the real protocol, on 127.0.0.1, until Ctrl-C.

    The control socket tells the truth about contacts and switches faults, one JSON object a line.
    """
    for option, number in (("--modbus", modbus), ("--mqtt", mqtt)):
        if number:
            raise ConfigurationError(
                f"{option} {number}: simulated meters speak only DLMS in this release;"
                f" leave {option} away"
            )
    from headend.log import configure_logging
    from protocols.simulator.fleet import load_fleet, make_fleet, read_transport

    configure_logging(level=global_options(context).log_level or "warning")
    if config is not None:
        fleet = load_fleet(config)
    else:
        fleet = make_fleet(
            seed, concentrators, dlms, first_port=first_port, transport=read_transport(transport)
        )
    raise typer.Exit(asyncio.run(_simulate(fleet, faults, state)))


async def _simulate(fleet: FleetSpec, faults: Path | None, state: Path | None) -> int:
    import signal

    from protocols.simulator.control import ControlServer
    from protocols.simulator.faults import load_faults_file
    from protocols.simulator.simulator import Simulator

    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    received: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        received.append(number)
        loop.remove_signal_handler(number)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    simulator = Simulator(fleet, state=state)
    control = ControlServer(simulator, on_shutdown=ended.set, host="127.0.0.1", port=0)
    try:
        if faults is not None:
            for target, fault in load_faults_file(faults):
                simulator.set_fault(target, fault)
        await simulator.start()
        await control.start()
        _show(simulator, control)
        await ended.wait()
    finally:
        await control.stop()
        await simulator.stop()
    return EXIT_INTERRUPTED if signal.SIGINT in received else EXIT_DONE


def _show(simulator: Simulator, control: ControlServer) -> None:
    rows = []
    for group in simulator.concentrators.values():
        addresses = sorted(group.devices)
        rows.append(
            (
                group.name,
                group.endpoint,
                len(addresses),
                f"{addresses[0]} to {addresses[-1]}" if addresses else "none",
            )
        )
    show_table("Simulated meters", ("concentrator", "endpoint", "meters", "addresses"), rows)
    first = list(simulator.devices)[:SHOWN_METERS]
    more = " ..." if len(simulator.devices) > len(first) else ""
    typer.echo(f"meters {', '.join(first)}{more}")
    where = control.where()
    typer.echo(f"control socket {where['host']}:{where['port']}")
    typer.echo('their keys: send it {"request": "fleet"}. Ctrl-C ends them.')
