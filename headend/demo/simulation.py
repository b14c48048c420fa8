"""The demo's simulated meters: a process of its own that goes on from its own state file.

The ports picked at the first start are kept; when another program has taken one meanwhile, new ones
are picked, and provisioning moves the links in the database to them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from headend.domain.errors import ConfigurationError
from protocols.simulator.control_client import SimulatorControl
from protocols.simulator.fleet import FleetSpec
from protocols.simulator.launch import start_simulator

FOLDER = "simulator"


@dataclass(frozen=True, slots=True)
class Simulation:
    """A running simulator: its control socket and the endpoint of each concentrator, by name."""

    control: SimulatorControl
    endpoints: Mapping[str, str]


@asynccontextmanager
async def run_simulation(
    state_dir: Path, fleet: FleetSpec, *, clock_offset_s: float
) -> AsyncIterator[Simulation]:
    """Run the fleet until the end of the block."""
    folder = state_dir / FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports_file, config = folder / "ports.json", folder / "fleet.json"
    known: dict[str, int] = json.loads(ports_file.read_text()) if ports_file.exists() else {}
    arguments: list[str | Path] = [
        "--config", config,
        "--state", folder / "meters.journal",
        "--control", "127.0.0.1:0",
        "--clock-offset", str(clock_offset_s),
    ]  # fmt: skip
    config.write_text(json.dumps(_with_ports(fleet, known).to_json()))
    config.chmod(0o600)  # it holds the simulated meters' keys
    try:
        simulator = await start_simulator(arguments)
    except ConfigurationError:
        if not known:
            raise
        config.write_text(json.dumps(_with_ports(fleet, {}).to_json()))
        simulator = await start_simulator(arguments)
    try:
        ports = {name: port for name, (_, port) in simulator.endpoints.items()}
        partial = ports_file.with_suffix(".partial")
        partial.write_text(json.dumps(ports))
        partial.replace(ports_file)
        yield Simulation(
            control=simulator.control,
            endpoints={name: f"dlms+tcp://127.0.0.1:{port}" for name, port in ports.items()},
        )
    finally:
        await simulator.stop()


def _with_ports(fleet: FleetSpec, ports: Mapping[str, int]) -> FleetSpec:
    groups = [replace(group, port=ports.get(group.name, 0)) for group in fleet.concentrators]
    return replace(fleet, concentrators=tuple(groups))
