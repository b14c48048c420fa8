"""Start a simulator as a process of its own and hold on to it: for the demo and the tests.

The child watches a pipe that only this process holds, so it ends with it, ``kill -9`` included.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headend.domain.errors import ConfigurationError
from protocols.simulator.control_client import SimulatorControl

READY_TIMEOUT_S = 60.0  # real time; ten thousand meters with a long state file take seconds
STOP_TIMEOUT_S = 3.0
KEPT_LINES = 50  # of what it says on its standard error


@dataclass(frozen=True, slots=True)
class RunningSimulator:
    """A simulator that is ready: its control socket, and ``(host, port)`` by concentrator name."""

    process: asyncio.subprocess.Process
    control: SimulatorControl
    control_address: dict[str, Any]
    endpoints: dict[str, tuple[str, int]]
    said: deque[str]
    listener: asyncio.Task[None]

    async def stop(self) -> None:
        """End it in an orderly way, or kill it when it does not end in time."""
        await self.control.close()
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self.listener


async def start_simulator(arguments: Sequence[str | Path]) -> RunningSimulator:
    """Start ``python -m protocols.simulator`` with arguments, and return when it is ready.

    Raises `ConfigurationError` with its own sentence when it does not come up.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "protocols.simulator", "--exit-with-stdin", *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        # Ctrl-C in the terminal is its parent's to handle; it ends when the parent closes stdin.
        start_new_session=True,
    )  # fmt: skip
    said: deque[str] = deque(maxlen=KEPT_LINES)
    # Read to the end: a child whose pipe is full would stand still.
    listener = asyncio.create_task(_listen(process, said))
    try:
        ready = await asyncio.wait_for(_ready_line(process), READY_TIMEOUT_S)
        if ready is None:
            await listener
            raise ConfigurationError(
                f"the simulator did not start: {' '.join(said) or 'it said nothing'}"
            )
        address = ready["control"]
        path = address.get("path")
        control = await SimulatorControl.connect(
            host=address.get("host", ""),
            port=address.get("port", 0),
            path=Path(path) if path else None,
        )
    except BaseException:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await listener
        raise
    endpoints = {group["name"]: (group["host"], group["port"]) for group in ready["concentrators"]}
    return RunningSimulator(process, control, address, endpoints, said, listener)


@asynccontextmanager
async def running_simulator(arguments: Sequence[str | Path]) -> AsyncIterator[RunningSimulator]:
    """Start a simulator and stop it at the end of the block, whatever happened."""
    simulator = await start_simulator(arguments)
    try:
        yield simulator
    finally:
        await simulator.stop()


async def _ready_line(process: asyncio.subprocess.Process) -> dict[str, Any] | None:
    if process.stdout is None:
        raise ConfigurationError("the simulator was started without a pipe")
    line = await process.stdout.readline()
    ready: dict[str, Any] | None = json.loads(line) if line else None
    return ready


async def _listen(process: asyncio.subprocess.Process, said: deque[str]) -> None:
    if process.stderr is not None:
        async for line in process.stderr:
            said.append(line.decode(errors="replace").strip())
