"""What a session costs the client, against dlms-cosem in memory; how many a second on sockets."""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headend.bench.dlms.aes import measure_aes
from headend.bench.dlms.client import make_adapter, run_session
from headend.bench.dlms.loopback import LoopbackMeters, make_loop, open_loopback
from headend.bench.dlms.meters import running_meters
from headend.bench.dlms.peers import PeerMissing, cosem_sessions
from headend.bench.dlms.samples import METER
from headend.bench.measure import Figures, on_core, silent_logs, two_cores
from protocols.dlms.driver import DlmsAdapter, DlmsLink

if TYPE_CHECKING:
    from headend.bench.dlms.cosem_peer import CosemSessions

ROUNDS = 25
_OURS = 12  # sessions in a round
_THEIRS = 3
_WARM_UP = 20
LINKS = 8  # concentrators
CONCURRENT = 32  # sessions under way at once
SESSIONS = 4000
_NS_PER_US = 1000


def measure_session_cpu(*, rounds: int = ROUNDS) -> Figures:
    """Return the ratio of client CPU times of one session, both over the same memory transport."""
    found = Figures()
    figure = "session_cpu_vs_dlms_cosem"
    ours, theirs = LoopbackMeters(), LoopbackMeters()
    try:
        peer: CosemSessions | None = cosem_sessions(theirs.answer)
    except PeerMissing as missing:
        peer, found.missing[figure] = None, str(missing)
    taken: dict[str, list[float]] = {"ours": [], "theirs": []}
    with asyncio.Runner(loop_factory=make_loop) as runner, silent_logs():
        link = runner.run(open_loopback(make_adapter(), ours))
        runner.run(_run_many(link, _WARM_UP))
        if peer is not None:
            peer.run()
        for _ in range(rounds):
            taken["ours"] += runner.run(_time_ours(link, ours))
            if peer is not None:
                taken["theirs"] += _time_theirs(peer, theirs)
        runner.run(link.close())
    cpu_us = statistics.median(taken["ours"]) / _NS_PER_US
    found.details["session_cpu_us"] = cpu_us
    if peer is not None:
        peer_us = statistics.median(taken["theirs"]) / _NS_PER_US
        found.details["session_cpu_dlms_cosem_us"] = peer_us
        found.figures[figure] = peer_us / cpu_us
    return found


def measure_throughput(*, sessions: int = SESSIONS) -> Figures:
    """Return sessions a second on one core against meters on the other, and where its time goes."""
    found = Figures()
    client_core, meter_core = two_cores()
    with running_meters(meter_core) as port, on_core(client_core):
        run = asyncio.run(_run_concurrently(port, sessions))
    found.figures["sessions_per_s"] = sessions / run.wall_s
    found.figures["session_share_aes"] = run.aes_s / (run.cpu_s / sessions)
    found.figures["session_share_syscalls"] = run.system_s / run.cpu_s
    found.details["session_cpu_on_sockets_us"] = run.cpu_s / sessions * 1e6
    found.details["client_core_busy"] = run.cpu_s / run.wall_s
    return found


@dataclass(frozen=True, slots=True)
class _Run:
    wall_s: float
    cpu_s: float
    system_s: float
    aes_s: float  # of one session


async def _run_many(link: DlmsLink, count: int) -> None:
    for _ in range(count):
        await run_session(link, METER)


async def _time_ours(link: DlmsLink, meters: LoopbackMeters) -> list[float]:
    taken = []
    for _ in range(_OURS):
        meters.take_spent_ns()
        start = time.thread_time_ns()
        await run_session(link, METER)
        taken.append(float(time.thread_time_ns() - start - meters.take_spent_ns()))
    return taken


def _time_theirs(peer: CosemSessions, meters: LoopbackMeters) -> list[float]:
    taken = []
    for _ in range(_THEIRS):
        meters.take_spent_ns()
        start = time.thread_time_ns()
        peer.run()
        taken.append(float(time.thread_time_ns() - start - meters.take_spent_ns()))
    return taken


async def _run_concurrently(port: int, sessions: int) -> _Run:
    adapter = make_adapter()
    async with AsyncExitStack() as opened:
        links = [await _open_link(adapter, port, opened) for _ in range(LINKS)]
        await _share_out(links, iter(range(CONCURRENT * 2)))  # every meter is known from here on
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        await _share_out(links, iter(range(sessions)))
        wall_s = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
        aes_s = await measure_aes(lambda: run_session(links[0], METER))
    system_s = after.ru_stime - before.ru_stime
    return _Run(wall_s, after.ru_utime - before.ru_utime + system_s, system_s, aes_s)


async def _open_link(adapter: DlmsAdapter, port: int, opened: AsyncExitStack) -> DlmsLink:
    link = await adapter.open_link(f"dlms+tcp://127.0.0.1:{port}")
    opened.push_async_callback(link.close)
    return link


async def _share_out(links: list[DlmsLink], work: Iterator[int]) -> None:
    """Let `CONCURRENT` workers take sessions from ``work``, each with a meter of its own."""

    async def keep_busy(number: int) -> None:
        for _ in work:
            await run_session(links[number % len(links)], METER + number)

    async with asyncio.TaskGroup() as group:
        for number in range(CONCURRENT):
            group.create_task(keep_busy(number))
