"""What an embedded PostgreSQL leaves in its state folder, and whether its server lives.

Knows the files (``database.json``, ``database.password``, the locks, ``postmaster.pid``) and how to
read them when they are stale, half-written or somebody else's. It starts and stops nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from headend.domain.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
USER = "headend"
DATABASE = "headend"
LOCK_TIMEOUT_S = 90.0  # longer than one start, so that a waiting process sees its outcome
LOCK_POLL_S = 0.05

_RECORD = "database.json"
_PASSWORD = "database.password"  # noqa: S105 - a file name
_OWNER = "database.owner"
_START_LOCK = "database.lock"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A live server of ours, as its ``postmaster.pid`` and the kernel say."""

    pid: int
    port: int


@contextlib.contextmanager
def exclusive(state_dir: Path) -> Iterator[None]:
    """Hold the folder's short lock: one start or stop at a time on this machine."""
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while (lock := _try_lock(state_dir / _START_LOCK)) is None:
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"another process has been starting or stopping the database in {state_dir} for"
                f" {LOCK_TIMEOUT_S:.0f} s: end it and try again"
            )
        time.sleep(LOCK_POLL_S)
    with lock:
        yield


def claim_ownership(state_dir: Path) -> IO[str] | None:
    """Take the owner's lock, kept until the file closes or the process dies; None when held."""
    return _try_lock(state_dir / _OWNER)


def _try_lock(path: Path) -> IO[str] | None:
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {path}: {error.strerror}; run as the folder's owner, or set"
            " HEADEND_STATE_DIR to a folder of your own"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def recorded_cluster(state_dir: Path) -> Path | None:
    """Return the cluster that the folder points to, if it still exists."""
    place = _read_record(state_dir).get("cluster")
    if not isinstance(place, str):
        return None
    # Relative when inside the state folder, so that a moved checkout keeps its data.
    cluster = state_dir / place
    return cluster if (cluster / "PG_VERSION").exists() else None


def recorded_port(state_dir: Path) -> int | None:
    """Return the port used last; keeping it keeps other tools' settings valid."""
    port = _read_record(state_dir).get("port")
    return port if isinstance(port, int) and 0 < port < 65536 else None


def _read_record(state_dir: Path) -> dict[str, object]:
    try:
        record = json.loads((state_dir / _RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{state_dir / _RECORD} cannot be read ({error}): restore it, or forget the data with"
            " ./run --reset"
        ) from error
    return record if isinstance(record, dict) else {}


def write_record(state_dir: Path, cluster: Path, port: int | None) -> None:
    """Record where the cluster is and how to reach it, replacing the file in one step."""
    inside = cluster.is_relative_to(state_dir)
    record = {
        "cluster": str(cluster.relative_to(state_dir) if inside else cluster),
        "host": LOOPBACK,
        "port": port,
        "user": USER,
        "database": DATABASE,
        "password_file": _PASSWORD,
    }
    text = json.dumps(record, indent=2) + "\n"
    target = state_dir / _RECORD
    if target.exists() and target.read_text(encoding="utf-8", errors="replace") == text:
        return
    handle, scratch = tempfile.mkstemp(prefix=".database-", dir=state_dir)  # mode 0600
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(scratch).replace(target)


def password(state_dir: Path, *, create: bool = False) -> str:
    """Return the server's password; ``create`` makes one, readable by us alone, when missing."""
    path = state_dir / _PASSWORD
    if create and not path.exists():
        write_secret(path, secrets.token_urlsafe(32))
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            f"the embedded database's password cannot be read from {path} ({error.strerror}):"
            " restore the file, or forget the data with ./run --reset"
        ) from error
    if not text:
        raise ConfigurationError(
            f"{path} is empty: restore it, or forget the data with ./run --reset"
        )
    return text


def write_secret(path: Path, secret: str) -> None:
    """Write a secret to a new file of mode 0600; never half-written under its final name."""
    handle, scratch = tempfile.mkstemp(prefix=".secret-", dir=path.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())
    Path(scratch).replace(path)


def server_url(state_dir: Path, port: int, database: str = DATABASE) -> str:
    """Return the connection URL, password included: never log it."""
    return f"postgresql://{USER}:{quote(password(state_dir), safe='')}@{LOOPBACK}:{port}/{database}"


def forget(state_dir: Path, cluster: Path | None) -> None:
    """Delete the cluster and everything the folder says of it. The server must be stopped."""
    (state_dir / _RECORD).unlink(missing_ok=True)
    if cluster is not None:
        shutil.rmtree(cluster, ignore_errors=True)
        home = cluster.parent
        if home != state_dir and (home / "BELONGS_TO").exists():
            shutil.rmtree(home, ignore_errors=True)
    (state_dir / _PASSWORD).unlink(missing_ok=True)


def find_server(cluster: Path) -> RunningServer | None:
    """Return the server that runs on this cluster, or None.

    ``postmaster.pid`` alone is not believed: after a power cut or in a new container its number may
    belong to anybody, so the process must be a postgres that was given this cluster. (Its command
    line is readable by every account; its working folder is not, to root in a container.)
    """
    lines = _pid_file_lines(cluster)
    if lines is None:
        return None
    pid, port = lines
    return RunningServer(pid, port) if _is_server_of(pid, cluster) else None


def remove_stale_pid_file(cluster: Path) -> None:
    """Remove a ``postmaster.pid`` whose process is not ours; PostgreSQL would believe the number.

    Only after `find_server` said None, under the folder's lock.
    """
    lines = _pid_file_lines(cluster)
    if lines is not None and not _is_server_of(lines[0], cluster):
        (cluster / "postmaster.pid").unlink(missing_ok=True)


def _pid_file_lines(cluster: Path) -> tuple[int, int] | None:
    """Return process number and port (first and fourth line), or None."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return int(lines[0]), int(lines[3])
    except (OSError, ValueError, IndexError):
        return None


def _is_server_of(pid: int, cluster: Path) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.path.basename(arguments[0]) == b"postgres" and os.fsencode(cluster) in arguments


def is_free(port: int) -> bool:
    """Tell whether nobody listens on this loopback port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As PostgreSQL does: a connection still closing down is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def find_free_port() -> int:
    """Return a loopback port that is free now; it may be taken before it is used."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
