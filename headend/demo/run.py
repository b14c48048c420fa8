"""``headend demo``: everything embedded, a simulated fleet, and the whole loop on it.

Theory of operation. The business clock jumps to the next due instant whenever the head-end has
drained its work and nobody in the cast has to act; while an order is under way it runs 1:1. The
meters' clocks are moved first, so that no meter is ever behind the head-end. Everything that a
restart needs is in the database, the state folder or the meters' journal.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import time as wall_time
from datetime import timedelta

import httpx
from rich.console import Console

from api.server import bind_listener
from headend.bootstrap import Services, open_services
from headend.configuration import Settings
from headend.demo.director import Director, Round
from headend.demo.display import Display
from headend.demo.options import DemoOptions
from headend.demo.preparation import Prepared, prepare
from headend.demo.proof import Proof, gather_evidence, is_over, prove
from headend.demo.provision import provision
from headend.demo.result import show_proof, write_json
from headend.demo.simulation import Simulation, run_simulation
from headend.demo.story import Story
from headend.demo.town import Household, make_town
from headend.domain.days import DEFAULT_ZONE, local_day, local_instant
from headend.domain.errors import InvariantViolated
from headend.roles import EVERY_ROLE, run_roles

ONCE_LIMIT_S = 240.0  # real time
ROUND_LIMIT = timedelta(days=30)  # business time; a round takes about ten days
LOOK_PAUSE_S = 0.03
# Between two jumps of a demo that stays up, so that a person can follow.
PACE_S = 0.6
MONDAY = 0
INTERRUPTED = 130  # the exit code of a run that was to show everything and was stopped


@dataclass(frozen=True, slots=True)
class _Stage:
    """All that takes part in a running demo."""

    options: DemoOptions
    services: Services
    simulation: Simulation
    director: Director
    display: Display
    story: Story
    households: tuple[Household, ...]


def run_demo(options: DemoOptions) -> int:
    """Run until Ctrl-C, or once; return the exit code. Raises `ConfigurationError`."""
    console = Console()
    with prepare(options, bind_listener) as prepared:
        try:
            return asyncio.run(_run(options, prepared, console))
        except (KeyboardInterrupt, asyncio.CancelledError):
            console.print("stopped; the next ./run goes on from here")
            return INTERRUPTED if options.once else 0


async def _run(options: DemoOptions, prepared: Prepared, console: Console) -> int:
    _cancel_on_signals()
    async with AsyncExitStack() as stack:
        settings = prepared.settings
        services = await stack.enter_async_context(
            open_services(settings, prepared.database_url, demo=True)
        )
        await _begin_on_a_monday(services)
        fleet, households = make_town(prepared.seed)
        simulation = await stack.enter_async_context(
            run_simulation(
                settings.state_dir,
                fleet,
                clock_offset_s=services.clock.offset.total_seconds(),
            )
        )
        await provision(services, households, simulation.endpoints)
        await stack.enter_async_context(
            run_roles(services, EVERY_ROLE, listener=prepared.listener, follow_clock=False)
        )
        address = _address(settings, prepared.listener)
        api = await stack.enter_async_context(_client(address, settings))
        stage = _Stage(
            options=options,
            services=services,
            simulation=simulation,
            director=Director(services, simulation.control, api, households),
            display=Display(services, console, address=address),
            story=Story({each.account_no: each for each in households}),
            households=households,
        )
        console.print(_welcome(address, settings, len(households)))
        return await _act(stage, console)


async def _act(stage: _Stage, console: Console) -> int:
    while True:
        await _rest_until_midnight(stage)
        played = await stage.director.begin_round()
        drawing = asyncio.create_task(stage.display.run(since=played.begun_at))
        try:
            stage.display.tell(f"round {played.number}: the cast begins", style="bold")
            complete = await _play_round(stage, played)
        finally:
            drawing.cancel()
            await asyncio.gather(drawing, return_exceptions=True)
        proof = prove(
            await gather_evidence(
                stage.services, stage.simulation.control, stage.households, played
            )
        )
        await stage.director.end_round(played)
        if stage.options.json_path is not None:
            write_json(proof, stage.options.json_path)
        show_proof(console, proof)
        if stage.options.once:
            return _exit_code(proof, complete, console)


async def _rest_until_midnight(stage: _Stage) -> None:
    """Let the day of the last round end: notices that were given in it are void by then."""
    last = await stage.director.current_round()
    if last is None or last.ended_at is None:
        return
    tomorrow = local_day(last.ended_at, DEFAULT_ZONE) + timedelta(days=1)
    midnight = local_instant(tomorrow, wall_time(0), DEFAULT_ZONE)
    while stage.services.clock.now() < midnight:
        if await stage.services.scheduler.drained():
            await _jump(stage)
        else:
            await asyncio.sleep(LOOK_PAUSE_S)


def _exit_code(proof: Proof, complete: bool, console: Console) -> int:
    if not complete:
        console.print("the loop did not come to its end in time", style="bold red")
    return 0 if proof.ok else 1


async def _play_round(stage: _Stage, played: Round) -> bool:
    """Play until everybody has had their part; False when it takes too long."""
    ends = time.monotonic() + ONCE_LIMIT_S
    while True:
        acted = await _look(stage, played)
        if is_over(await stage.director.progress(played), stage.households):
            if await stage.services.scheduler.drained():
                return True
        elif acted:
            continue
        elif await stage.services.scheduler.drained():
            # Something may have happened between the look and the drained state.
            if not await _look(stage, played):
                await _jump(stage)
            continue
        if stage.options.once and time.monotonic() > ends:
            return False
        if stage.services.clock.now() - played.begun_at > ROUND_LIMIT:
            return False
        await asyncio.sleep(LOOK_PAUSE_S)


async def _look(stage: _Stage, played: Round) -> bool:
    acted = await stage.director.tick(played)
    for line, style in stage.story.continue_with(await stage.director.progress(played)):
        stage.display.tell(line, style=style)
    return acted


async def _jump(stage: _Stage) -> None:
    """Move business time to the next due instant, the meters first."""
    due = await stage.services.scheduler.next_due()
    if due is None or due <= stage.services.clock.now():
        await asyncio.sleep(LOOK_PAUSE_S)
        return
    if not stage.options.once:
        await asyncio.sleep(PACE_S)
    await stage.simulation.control.set_offset(due.timestamp() - time.time())
    await stage.services.clock.jump_to(due)


async def _begin_on_a_monday(services: Services) -> None:
    """Let a new demo begin on the coming Monday at midnight, so that all take the same course."""
    if services.clock.offset:
        return
    today = local_day(services.clock.now(), DEFAULT_ZONE)
    monday = today + timedelta(days=(MONDAY - today.weekday()) % 7 or 7)
    await services.clock.jump_to(local_instant(monday, wall_time(0), DEFAULT_ZONE))


def _cancel_on_signals() -> None:
    """Unwind on Ctrl-C and SIGTERM, also where a shell started us with Ctrl-C ignored."""
    task = asyncio.current_task()
    for number in (signal.SIGINT, signal.SIGTERM):
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)


def _client(address: str, settings: Settings) -> httpx.AsyncClient:
    if settings.api_key is None:
        raise InvariantViolated("a prepared demo always has a key")
    api_key = settings.api_key.get_secret_value()
    return httpx.AsyncClient(
        base_url=address,
        headers={"Authorization": f"Bearer {api_key}", "X-Actor": "demo"},
        timeout=10,
        trust_env=False,
    )


def _address(settings: Settings, listener: socket.socket) -> str:
    return f"http://{settings.api_host}:{listener.getsockname()[1]}"


def _welcome(address: str, settings: Settings, meters: int) -> str:
    return (
        f"[bold]AMI head-end demo[/bold]: {meters} simulated DLMS meters behind 2 concentrators\n"
        f"API {address}/v1 (key in {settings.state_dir / 'api-key'}), "
        f"notices in {settings.state_dir / 'notices.jsonl'}"
    )
