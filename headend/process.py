"""The name of this process in leases, and whether another process of this host is dead.

``host/pid/token``: the token tells a process from an earlier one that had the same number, which
in a container, where everything is number 1, is the usual case.
"""

from __future__ import annotations

import os
import secrets
import socket


def name_process() -> str:
    """Return a name for this process that no other process ever had."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


class ProcessWatch:
    """Judges other processes from the point of view of one."""

    def __init__(self, own_name: str) -> None:
        self._own_name = own_name
        self._host, self._pid, _ = own_name.split("/")

    def is_dead(self, name: str) -> bool:
        """Tell whether the process is certainly gone; one of another host is never certain."""
        host, _, rest = name.partition("/")
        pid, _, _ = rest.partition("/")
        if host != self._host or not pid.isdigit():
            return False
        if pid == self._pid:
            return name != self._own_name
        return not _exists(int(pid))


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
