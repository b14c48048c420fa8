"""The simulator as a process of its own: ready line, restart after a kill, its ends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import pytest

from headend.domain.errors import BadInput, ConfigurationError, MeterUnreachable
from protocols.simulator.control_client import SimulatorControl
from protocols.simulator.fleet import make_fleet
from protocols.simulator.launch import RunningSimulator, running_simulator, start_simulator

FLEET = make_fleet(4, 2, 4, relay_delay_ms=0)
METER = FLEET.meters[0].meter_no
DEADLINE_S = 20.0


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(FLEET.to_json()))
    return path


async def ended(simulator: RunningSimulator) -> int:
    return await asyncio.wait_for(simulator.process.wait(), DEADLINE_S)


async def test_a_fleet_is_served_and_goes_on_from_its_state_after_a_kill(
    tmp_path: Path, config: Path
) -> None:
    arguments = ["--config", config, "--state", tmp_path / "state"]
    async with running_simulator(arguments) as simulator:
        assert set(simulator.endpoints) == {"DC001", "DC002"}
        await simulator.control.set_offset(3 * 86_400)
        await simulator.control.trip(METER)
        before = await simulator.control.truth(METER)
        assert not before.closed
        simulator.process.kill()
        assert await ended(simulator) == -signal.SIGKILL
        with pytest.raises(MeterUnreachable):
            await simulator.control.truths()

    async with running_simulator(arguments) as simulator:
        after = await simulator.control.truth(METER)
        assert after.history == before.history
        assert after.register_wh == before.register_wh
        assert after.business_time > before.business_time
        assert await simulator.control.press_button(METER)
        assert (await simulator.control.truth(METER)).closed
        with pytest.raises(BadInput, match="only moves forward"):
            await simulator.control.set_offset(0)


async def test_it_ends_when_its_parent_closes_the_pipe() -> None:
    simulator = await start_simulator(["--dlms", "2", "--concentrators", "1"])
    await simulator.stop()
    assert simulator.process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_ends_on_signals(number: signal.Signals) -> None:
    async with running_simulator(["--dlms", "2"]) as simulator:
        simulator.process.send_signal(number)
        assert await ended(simulator) == 0
        assert list(simulator.said) == []


async def test_it_ends_when_told_on_the_control_socket(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with running_simulator(["--dlms", "2", "--control", path]) as simulator:
        async with await SimulatorControl.connect(path=path) as control:
            assert (await control.stats())["meters"] == 2
            await control.shutdown()
        assert await ended(simulator) == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--config", "/nowhere/fleet.json"], "cannot read fleet file /nowhere/fleet.json"),
        (["--faults", "/nowhere/faults.json"], "cannot read faults file"),
        (["--control", "0.0.0.0:0"], "may not listen on 0.0.0.0"),
        (["--control", "nonsense"], "neither HOST:PORT nor a path"),
        (["--dlms", "0"], "a fleet needs a meter"),
    ],
)
async def test_wrong_use_is_one_sentence_and_exit_code_two(
    arguments: list[str], sentence: str
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "protocols.simulator", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    stdout, stderr = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 2
    assert stdout == b""
    assert sentence in stderr.decode()
    assert len(stderr.splitlines()) == 1


async def test_a_port_in_use_is_named() -> None:
    holder = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = holder.sockets[0].getsockname()[1]
    arguments = ["--dlms", "2", "--concentrators", "1", "--first-port", str(port)]
    with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
        await start_simulator(arguments)
    holder.close()
    await holder.wait_closed()


async def test_a_faults_file_is_in_force_from_the_start(tmp_path: Path, config: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text(json.dumps({"faults": [{"meter": METER, "fault": "relay_stuck"}]}))
    async with running_simulator(["--config", config, "--faults", faults]) as simulator:
        assert (await simulator.control.truth(METER)).faults == ("relay_stuck",)
