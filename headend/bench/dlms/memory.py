"""How much memory an open session takes: ``python -m headend.bench.dlms.memory PORT COUNT``.

Runs in a process of its own, whose memory nothing else has touched; each session has a connection,
adapter-side counters and an association that has read its meter once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from headend.bench.dlms.client import make_access, make_adapter, run_session, take_turn, use_session
from headend.bench.dlms.meters import running_meters
from headend.bench.measure import Figures, two_cores
from headend.domain.errors import ConfigurationError
from protocols.dlms.driver import DlmsAdapter

SESSIONS = 5_000
_AT_ONCE = 64  # sessions that are being opened
_SPARE_FILES = 64
_TIMEOUT_S = 60.0
_KIB = 1024


def measure_memory(*, sessions: int = SESSIONS) -> Figures:
    """Return KiB of client memory per open session, a connection each."""
    found, figure = Figures(), "memory_per_session_kib"
    _allow_files(sessions + _SPARE_FILES)
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _SPARE_FILES
    if allowed < sessions:
        found.missing[figure] = f"{sessions} connections need more files than the {allowed} allowed"
        return found
    with running_meters(two_cores()[1]) as port:
        ended = subprocess.run(  # noqa: S603  (our own module)
            [sys.executable, "-m", "headend.bench.dlms.memory", str(port), str(sessions)],
            stdout=subprocess.PIPE,
            timeout=_TIMEOUT_S,
            check=False,
        )
    if ended.returncode:
        raise ConfigurationError("the memory of open sessions could not be measured")
    found.figures[figure] = json.loads(ended.stdout)["bytes"] / sessions / _KIB
    found.details["open_sessions"] = float(sessions)
    return found


def _allow_files(wanted: int) -> None:
    """Raise the limit of open files as far as needed and allowed; children inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    if soft < wanted and (unlimited or hard > soft):
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if unlimited else min(wanted, hard), hard)
        )


async def _measure(port: int, sessions: int, opened: AsyncExitStack) -> int:
    """Return the octets that open sessions added to this process."""
    adapter = make_adapter()
    link = await adapter.open_link(f"dlms+tcp://127.0.0.1:{port}")
    for _ in range(_AT_ONCE):
        await run_session(link, sessions + 1)  # code, models and buffers are loaded from here on
    await link.close()
    gc.collect()
    before = _resident()
    work = iter(range(1, sessions + 1))

    async def keep_opening() -> None:
        for address in work:
            await _open(adapter, port, address, opened)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(keep_opening())
    gc.collect()
    return _resident() - before


async def _open(adapter: DlmsAdapter, port: int, address: int, opened: AsyncExitStack) -> None:
    link = await adapter.open_link(f"dlms+tcp://127.0.0.1:{port}")
    opened.push_async_callback(link.close)
    session = await opened.enter_async_context(link.session(make_access(address), take_turn))
    await use_session(session)


def _resident() -> int:
    """Return the resident memory of this process [octets]."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def _report(port: int, sessions: int) -> None:
    async with AsyncExitStack() as opened:
        print(json.dumps({"bytes": await _measure(port, sessions, opened)}), flush=True)
        # The meters forget when their connections close; releasing thousands of sessions one by
        # one would take longer than measuring them.
        os._exit(0)


if __name__ == "__main__":
    asyncio.run(_report(int(sys.argv[1]), int(sys.argv[2])))
