"""What a session costs the client's CPU, against dlms-cosem over the same transport in memory.

The two take turns, so that both meet whatever else the machine does. No system call is made on
either side: over sockets, waking up is what costs most, and it costs every client the same.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

from headend.bench.dlms.client import make_adapter, run_session
from headend.bench.dlms.loopback import LoopbackMeters, make_loop, open_loopback
from headend.bench.dlms.peers import PeerMissing, cosem_sessions
from headend.bench.dlms.samples import METER
from headend.bench.measure import Figures, silent_logs
from protocols.dlms.driver import DlmsLink

ROUNDS = 60
_OURS = 8  # sessions in a round
_THEIRS = 3
_WARM_UP = 20
_NS_PER_US = 1000
_FIGURE = "session_cpu_vs_dlms_cosem"


def measure_session_cpu(*, rounds: int = ROUNDS) -> Figures:
    """Return the ratio of client CPU times of one session."""
    with asyncio.Runner(loop_factory=make_loop) as runner, silent_logs():
        return _race(runner, rounds)


def _race(runner: asyncio.Runner, rounds: int) -> Figures:
    found, ours, theirs = Figures(), LoopbackMeters(), LoopbackMeters()
    try:
        run_peer = cosem_sessions(theirs.answer).run
    except PeerMissing as missing:
        run_peer, found.missing[_FIGURE] = _nothing, str(missing)
    link = runner.run(open_loopback(make_adapter(), ours))
    runner.run(_time_ours(link, ours, _WARM_UP))
    run_peer()
    taken, peer_taken, ratios = [], [], []
    for _ in range(rounds):
        ours_ns = statistics.median(runner.run(_time_ours(link, ours, _OURS)))
        theirs_ns = statistics.median(_time_theirs(run_peer, theirs, _THEIRS))
        # Machines run now faster, now slower: only what was measured side by side is compared.
        ratios.append(theirs_ns / ours_ns)
        taken.append(ours_ns)
        peer_taken.append(theirs_ns)
    runner.run(link.close())
    found.details["session_cpu_us"] = statistics.median(taken) / _NS_PER_US
    if not found.missing:
        found.details["session_cpu_dlms_cosem_us"] = statistics.median(peer_taken) / _NS_PER_US
        found.figures[_FIGURE] = statistics.median(ratios)
    return found


async def _time_ours(link: DlmsLink, meters: LoopbackMeters, sessions: int) -> list[float]:
    """Return the client's CPU time of each session [ns]."""
    taken = []
    for _ in range(sessions):
        meters.take_spent_ns()
        start = time.thread_time_ns()
        await run_session(link, METER)
        taken.append(float(time.thread_time_ns() - start - meters.take_spent_ns()))
    return taken


def _time_theirs(run: Callable[[], None], meters: LoopbackMeters, sessions: int) -> list[float]:
    taken = []
    for _ in range(sessions):
        meters.take_spent_ns()
        start = time.thread_time_ns()
        run()
        taken.append(float(time.thread_time_ns() - start - meters.take_spent_ns()))
    return taken


def _nothing() -> None:
    """Stand in for a peer that is not there."""
