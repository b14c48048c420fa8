"""Run a simulated fleet: ``python -m protocols.simulator --config FILE`` or with arguments.

Prints one JSON line with the bound ports when every listener is open, and ends on SIGTERM, SIGINT,
the control socket's ``shutdown`` and, with ``--exit-with-stdin``, when its standard input closes:
a simulator started with a pipe for it can never outlive its parent. Exit code 0 after an orderly
end, 2 for wrong use or configuration.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from headend.domain.errors import BadInput, ConfigurationError
from protocols.simulator.control import ControlServer
from protocols.simulator.faults import load_faults_file
from protocols.simulator.fleet import FleetSpec, load_fleet, make_fleet, read_transport
from protocols.simulator.simulator import Simulator

_STDIN = 0


def main(arguments: list[str] | None = None) -> int:
    """Run until told to end; return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return asyncio.run(_run(options))
    except (BadInput, ConfigurationError) as error:
        print(f"simulator: {error}", file=sys.stderr)
        return 2


async def _run(options: argparse.Namespace) -> int:
    simulator = Simulator(_fleet(options), state=options.state)
    ended = asyncio.Event()
    control = ControlServer(simulator, on_shutdown=ended.set, **_control_address(options.control))
    try:
        if options.faults is not None:
            for target, fault in load_faults_file(options.faults):
                simulator.set_fault(target, fault)
        if options.clock_offset is not None:
            simulator.set_offset(options.clock_offset)
        await simulator.start()
        await control.start()
        _end_on_signals(ended)
        if options.exit_with_stdin:
            _end_with_stdin(asyncio.get_running_loop(), ended)
        print(json.dumps(_ready(simulator, control)), flush=True)
        await ended.wait()
    finally:
        await control.stop()
        await simulator.stop()
    return 0


def _fleet(options: argparse.Namespace) -> FleetSpec:
    if options.config is not None:
        return load_fleet(options.config)
    return make_fleet(
        options.seed,
        options.concentrators,
        options.dlms,
        first_port=options.first_port,
        transport=read_transport(options.transport),
    )


def _control_address(text: str) -> dict[str, Any]:
    if "/" in text:
        return {"path": Path(text)}
    host, _, port = text.rpartition(":")
    if not port.isdigit():
        raise BadInput(f"--control {text!r} is neither HOST:PORT nor a path", field="control")
    return {"host": host or "127.0.0.1", "port": int(port)}


def _ready(simulator: Simulator, control: ControlServer) -> dict[str, Any]:
    return {
        "ready": True,
        "pid": os.getpid(),
        "control": control.where(),
        "concentrators": [
            {
                "name": group.name,
                "host": group.host,
                "port": group.port,
                "endpoint": group.endpoint,
                "meters": len(group.devices),
            }
            for group in simulator.concentrators.values()
        ],
    }


def _end_on_signals(ended: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)


def _end_with_stdin(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    def watch() -> None:
        # os.read, not sys.stdin: a daemon thread inside a buffered reader aborts the interpreter.
        while os.read(_STDIN, 4096):
            continue
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=watch, name="stdin", daemon=True).start()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m protocols.simulator", description=__doc__)
    parser.add_argument("--config", type=Path, help="fleet file (JSON); else one is made")
    parser.add_argument("--dlms", type=int, default=60, help="how many DLMS meters to make")
    parser.add_argument("--concentrators", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first-port", type=int, default=0, help="0: the system picks ports")
    parser.add_argument("--transport", default="wrapper", help="wrapper, hdlc or udp")
    parser.add_argument("--faults", type=Path, help="faults file (JSON)")
    parser.add_argument("--state", type=Path, help="state file to go on from; absent: none kept")
    parser.add_argument("--control", default="127.0.0.1:0", help="HOST:PORT on loopback, or a path")
    parser.add_argument("--clock-offset", type=float, help="seconds ahead of real time")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when stdin closes")
    return parser


if __name__ == "__main__":
    sys.exit(main())
