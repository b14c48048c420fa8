"""Fixtures for every suite: one PostgreSQL server per session, one fresh database per test.

The server lives in a scratch folder and is stopped when the session ends, however it ends: a
watchdog process that outlives even ``kill -9`` stops it and deletes the folder when the pipe to
this process breaks.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from headend.store.embedded import EmbeddedPostgres
from headend.store.migrate import migrate

# "default" always tries the same examples, so that a red run can be repeated and a green one says
# the same tomorrow; "long" searches.
settings.register_profile(
    "default", max_examples=50, deadline=None, derandomize=True, database=None
)
settings.register_profile(
    "long",
    max_examples=2_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

_TEMPLATE = "headend_template"
_WATCHDOG = """
import sys
sys.stdin.read()
from pathlib import Path
import shutil
from headend.store.embedded import EmbeddedPostgres
folder = Path(sys.argv[1])
if (folder / "state").exists():
    EmbeddedPostgres(folder / "state").destroy()
shutil.rmtree(folder, ignore_errors=True)
"""
_numbers = count(1)


@pytest.fixture(autouse=True)
def _no_configuration_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's HEADEND_* variables must not change what a test means."""
    for name in [name for name in os.environ if name.startswith("HEADEND_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def scratch_dir() -> Iterator[Path]:
    """A folder that the account PostgreSQL runs as can reach (pytest's own are closed to it)."""
    folder = Path(tempfile.mkdtemp(prefix="headend-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(scratch_dir: Path) -> Iterator[EmbeddedPostgres]:
    """One running server for the whole session, without crash safety."""
    watchdog = subprocess.Popen(
        [sys.executable, "-c", _WATCHDOG, str(scratch_dir)],
        stdin=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
        start_new_session=True,
    )
    server = EmbeddedPostgres(scratch_dir / "state", durable=False)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        watchdog.kill()
        watchdog.wait()


@pytest.fixture(scope="session")
def template(postgres_server: EmbeddedPostgres) -> str:
    """The name of a migrated database that every test's own is copied from."""
    url = database_url_on(postgres_server.url, _TEMPLATE)
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(_TEMPLATE)))
    migrate(url)
    return _TEMPLATE


class DatabaseSupply:
    """Copies of the template, made ahead by a thread while tests run: a copy takes a third of a
    second, more than most tests. They go with the server at the session's end."""

    AHEAD = 3

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url = server_url
        self._template = template
        self._ready: queue.Queue[str | Exception] = queue.Queue(maxsize=self.AHEAD)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._make, name="databases", daemon=True)
        self._thread.start()

    def take(self) -> str:
        """Return the URL of a database that nobody has used."""
        made = self._ready.get(timeout=60)
        if isinstance(made, Exception):
            raise made
        return made

    def stop(self) -> None:
        """Make no more."""
        self._stopping.set()
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._ready.get(timeout=0.05)

    def _make(self) -> None:
        try:
            while not self._stopping.is_set():
                self._ready.put(_copy(self._server_url, self._template))
        except psycopg.Error as error:
            self._ready.put(error)


@pytest.fixture(scope="session")
def database_supply(postgres_server: EmbeddedPostgres, template: str) -> Iterator[DatabaseSupply]:
    """Fresh migrated databases, as many as are asked for."""
    supply = DatabaseSupply(postgres_server.url, template)
    yield supply
    supply.stop()


@pytest.fixture
def database_url(database_supply: DatabaseSupply) -> str:
    """The URL of a fresh migrated database."""
    return database_supply.take()


@pytest.fixture
def empty_database_url(postgres_server: EmbeddedPostgres) -> str:
    """The URL of a fresh database with nothing in it."""
    return _copy(postgres_server.url, "template1")


@pytest.fixture(scope="module")
def module_database_url(database_supply: DatabaseSupply) -> str:
    """As `database_url`, shared by one module's tests."""
    return database_supply.take()


def database_url_on(server_url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    return server_url.rsplit("/", 1)[0] + "/" + name


def _copy(server_url: str, template: str) -> str:
    name = f"test_{next(_numbers)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    url = database_url_on(server_url, name)
    assert conninfo_to_dict(url)["dbname"] == name
    return url
