"""The command line: ``headend COMMAND``. Parses, calls one service or shell, and renders.

Everything heavy (configuration, database, services) is imported by the command that needs it, so
that ``headend --help`` answers at once. Exit codes: 0 done, 1 the meter or the work failed, 2 wrong
use or configuration, 130 ended by Ctrl-C, 143 ended by SIGTERM.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

EXIT_TERMINATED = 128 + signal.SIGTERM


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; operating faults become one sentence."""
    from headend.cli.failures import run_reporting
    from headend.cli.program import run

    given = sys.argv[1:] if arguments is None else list(arguments)
    with _sigterm_ends_blocks():
        return run_reporting(lambda: run(given))


@contextmanager
def _sigterm_ends_blocks() -> Iterator[None]:
    """Let SIGTERM end the program through its `with` blocks, as Ctrl-C does.

    They stop what a command started (a database, a simulator); by default SIGTERM skips them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    # A second signal is not waited for.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise SystemExit(EXIT_TERMINATED)
