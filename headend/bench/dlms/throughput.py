"""How many sessions a second one core carries, against meters on the other, and what they cost.

Real sockets: a few concentrator links with many sessions under way, as a collector works. The share
of AES and of system calls is the floor: what no better Python would save.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import statistics
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

from headend.bench.dlms.aes import measure_aes
from headend.bench.dlms.client import make_adapter, run_session
from headend.bench.dlms.meters import running_meters
from headend.bench.dlms.peers import PeerMissing, cosem_sessions
from headend.bench.dlms.samples import METER
from headend.bench.measure import Figures, on_core, silent_logs, two_cores
from headend.domain.errors import MeterUnreachable
from protocols.dlms.driver import DlmsAdapter, DlmsLink

FIRST_METER = METER + 1  # of ours: the peer has counters of its own, and so a meter of its own
LINKS = 8  # concentrators
CONCURRENT = 32  # sessions under way at once
SLICES = 5  # the median counts: something else may use a core for a while
SESSIONS = 800  # of a slice
PEER_SESSIONS = 40
_HEADER_SIZE = 8
_TIMEOUT_S = 10.0
_US = 1e6
_PEER_FIGURE = "session_cpu_on_sockets_vs_dlms_cosem"


@dataclass(frozen=True, slots=True)
class _Slice:
    """What some sessions took [s]."""

    wall_s: float
    user_s: float
    system_s: float

    @property
    def cpu_s(self) -> float:
        return self.user_s + self.system_s


def measure_throughput(*, sessions: int = SESSIONS) -> Figures:
    """Return sessions a second, the floor of their cost, and the peer's cost beside ours."""
    found = Figures()
    client_core, meter_core = two_cores()
    with running_meters(meter_core) as port, on_core(client_core):
        slices, aes_s = asyncio.run(_run_slices(port, sessions))
        peer_s = _time_peer(port, found)
    cpu_s = statistics.median(each.cpu_s for each in slices) / sessions
    system_s = sum(each.system_s for each in slices)
    found.figures["sessions_per_s"] = sessions / statistics.median(e.wall_s for e in slices)
    found.figures["session_share_aes"] = aes_s / cpu_s
    found.figures["session_share_syscalls"] = system_s / sum(each.cpu_s for each in slices)
    found.details["session_cpu_on_sockets_us"] = cpu_s * _US
    found.details["client_core_busy"] = statistics.median(e.cpu_s / e.wall_s for e in slices)
    if peer_s:
        found.details["session_cpu_on_sockets_dlms_cosem_us"] = peer_s * _US
        found.figures[_PEER_FIGURE] = peer_s / cpu_s
    return found


async def _run_slices(port: int, sessions: int) -> tuple[list[_Slice], float]:
    """Return what each slice took, and the AES time of one session [s]."""
    adapter = make_adapter()
    async with AsyncExitStack() as opened:
        links = [await _open_link(adapter, port, opened) for _ in range(LINKS)]
        await _share_out(links, iter(range(CONCURRENT * 2)))  # every meter is known from here on
        slices = []
        for _ in range(SLICES):
            before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            await _share_out(links, iter(range(sessions)))
            wall_s = time.perf_counter() - start
            after = resource.getrusage(resource.RUSAGE_SELF)
            user_s, system_s = after.ru_utime - before.ru_utime, after.ru_stime - before.ru_stime
            slices.append(_Slice(wall_s, user_s, system_s))
        return slices, await measure_aes(lambda: run_session(links[0], FIRST_METER))


async def _open_link(adapter: DlmsAdapter, port: int, opened: AsyncExitStack) -> DlmsLink:
    link = await adapter.open_link(f"dlms+tcp://127.0.0.1:{port}")
    opened.push_async_callback(link.close)
    return link


async def _share_out(links: list[DlmsLink], work: Iterator[int]) -> None:
    """Let `CONCURRENT` workers take sessions from ``work``, each with a meter of its own."""

    async def keep_busy(number: int) -> None:
        for _ in work:
            await run_session(links[number % len(links)], FIRST_METER + number)

    async with asyncio.TaskGroup() as group:
        for number in range(CONCURRENT):
            group.create_task(keep_busy(number))


def _time_peer(port: int, found: Figures) -> float:
    """Return dlms-cosem's CPU time of a session [s], one after the other as it works; 0: none."""
    with socket.create_connection(("127.0.0.1", port), _TIMEOUT_S) as connection, silent_logs():
        try:
            peer = cosem_sessions(lambda octets: _carry(connection, octets))
        except PeerMissing as missing:
            found.missing[_PEER_FIGURE] = str(missing)
            return 0.0
        taken = []
        for _ in range(PEER_SESSIONS):
            start = time.process_time()
            peer.run()
            taken.append(time.process_time() - start)
    return statistics.median(taken)


def _carry(connection: socket.socket, octets: bytes) -> bytes:
    """Send a frame and receive its answer as dlms-cosem's own transport does."""
    connection.sendall(octets)
    header = _receive(connection, _HEADER_SIZE)
    return header + _receive(connection, int.from_bytes(header[6:], "big"))


def _receive(connection: socket.socket, size: int) -> bytes:
    octets = b""
    while len(octets) < size:
        more = connection.recv(size - len(octets))
        if not more:
            raise MeterUnreachable("the meters of the benchmark hung up")
        octets += more
    return octets
