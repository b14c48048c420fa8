"""Connections to PostgreSQL and the named SQL that runs on them.

Knows how to open a pool whose sessions all behave alike (UTC, bounded statements, a name that an
operator recognises in ``pg_stat_activity``) and how to say in one sentence why a server cannot be
used. It contains no SQL of the domain: that stands in ``*.sql`` files, one block per name.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow, dict_row
from psycopg_pool import AsyncConnectionPool

from headend.domain.errors import ConfigurationError

CONNECT_TIMEOUT_S = 5
OLDEST_SERVER = 150000  # PostgreSQL 15, as `server_version_num` counts
JOB_SCHEMA = "procrastinate"

# A session that dies in the middle of a transaction must not hold its locks for ever, and a lock
# not granted in this time is a defect elsewhere that should be seen.
IDLE_TRANSACTION_TIMEOUT_S = 60
LOCK_TIMEOUT_S = 10

Pool: TypeAlias = AsyncConnectionPool[AsyncConnection[dict[str, Any]]]

_NAME_LINE = re.compile(r"^--\s*name:\s*(?P<name>\S+)\s*$")
_IDENTIFIER = re.compile(r"^[a-z][a-z0-9_]*$")


@asynccontextmanager
async def open_pool(
    url: str,
    *,
    application_name: str = "headend",
    min_size: int = 1,
    max_size: int = 10,
    statement_timeout_s: float = 30,
    wait_timeout_s: float = 10,
) -> AsyncIterator[Pool]:
    """Open a pool on a server that has been seen to answer; close it at the end.

    Rows are dictionaries. ``wait_timeout_s`` bounds the wait for a free connection
    (`psycopg_pool.PoolTimeout`).
    Raises `ConfigurationError` when the server is not there, refuses us or is too old.
    """
    conninfo = session_conninfo(
        url, application_name=application_name, statement_timeout_s=statement_timeout_s
    )
    try:
        async with await AsyncConnection.connect(conninfo) as trial:
            await _refuse_unsuitable(trial)
    except psycopg.Error as error:
        raise explain_connection_failure(url, error) from error
    pool: Pool = AsyncConnectionPool(
        conninfo,
        kwargs={"row_factory": dict_row},
        min_size=min_size,
        max_size=max_size,
        timeout=wait_timeout_s,
        max_idle=300,
        open=False,
        name=application_name,
        check=AsyncConnectionPool.check_connection,
    )
    async with pool:
        yield pool


def connect(
    url: str, *, application_name: str = "headend", autocommit: bool = False
) -> Connection[TupleRow]:
    """Open one synchronous connection without a statement time-out, for migrations and tools.

    Raises `ConfigurationError` as `open_pool` does.
    """
    try:
        conninfo = session_conninfo(url, application_name=application_name)
        return Connection.connect(conninfo, autocommit=autocommit)
    except psycopg.Error as error:
        raise explain_connection_failure(url, error) from error


def session_conninfo(
    url: str,
    *,
    application_name: str = "headend",
    statement_timeout_s: float = 0,
    search_path: str | None = None,
) -> str:
    """Return libpq connection settings that make every session behave alike.

    Options that the URL itself carries are kept and win. Raises `psycopg.ProgrammingError` for a
    malformed URL.
    """
    given = conninfo_to_dict(url)
    options = {
        "timezone": "UTC",
        "statement_timeout": f"{statement_timeout_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": str(IDLE_TRANSACTION_TIMEOUT_S * 1000),
        "lock_timeout": str(LOCK_TIMEOUT_S * 1000) if statement_timeout_s else "0",
    }
    if search_path is not None:
        options["search_path"] = search_path
    ours = " ".join(f"-c {name}={value}" for name, value in options.items())
    return make_conninfo(
        url,
        options=f"{ours} {given.get('options') or ''}".strip(),
        application_name=given.get("application_name") or application_name,
        connect_timeout=given.get("connect_timeout") or CONNECT_TIMEOUT_S,
    )


def job_engine_conninfo(url: str) -> str:
    """Return connection settings for procrastinate, whose tables live in a schema of their own.

    No statement time-out: its worker holds a LISTEN connection open.
    """
    return session_conninfo(url, application_name="headend-jobs", search_path=JOB_SCHEMA)


def explain_connection_failure(url: str, error: psycopg.Error) -> ConfigurationError:
    """Turn a failed connection into one sentence naming the server and the way out, no secret."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:
        return ConfigurationError(
            "the database URL cannot be read: it must look like"
            " postgresql://user:password@host:5432/name (HEADEND_DATABASE_URL)"
        )
    server = f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}"
    user, name = parts.get("user") or "", parts.get("dbname") or ""
    text = str(error)
    if "authentication failed" in text or "no password supplied" in text:
        reason = f"refuses the user {user!r}: correct user and password in HEADEND_DATABASE_URL"
    elif "does not exist" in text and "database" in text:
        reason = f"has no database {name!r}: create it, or correct HEADEND_DATABASE_URL"
    elif "too many clients" in text or "remaining connection slots" in text:
        reason = "has no free connection: raise its max_connections or run fewer processes"
    elif "no pg_hba.conf entry" in text:
        reason = f"does not let this machine in as {user!r}: add it to the server's pg_hba.conf"
    elif "starting up" in text or "shutting down" in text or "recovery mode" in text:
        reason = "is starting up or shutting down: try again in a moment"
    else:
        reason = (
            "does not answer: start it, correct HEADEND_DATABASE_URL, or leave that away for the"
            " embedded database"
        )
    return ConfigurationError(f"the database server at {server} {reason}")


async def _refuse_unsuitable(connection: AsyncConnection[TupleRow]) -> None:
    row = await (
        await connection.execute(
            "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),"
            " current_setting('server_version')"
        )
    ).fetchone()
    if row is None:
        raise ConfigurationError("the database server does not tell its version")
    number, encoding, version = row
    if number < OLDEST_SERVER:
        raise ConfigurationError(
            f"the database server runs PostgreSQL {version}: version 15 or newer is needed"
        )
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database has the encoding {encoding}: create one with ENCODING 'UTF8'"
        )


class Queries(Mapping[str, str]):
    """The named statements of one SQL file; an unknown name is a defect and says so."""

    def __init__(self, statements: Mapping[str, str], source: str) -> None:
        self._statements = MappingProxyType(dict(statements))
        self._source = source

    def __getitem__(self, name: str) -> str:
        try:
            return self._statements[name]
        except KeyError:
            raise KeyError(f"{self._source} has no statement named {name}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._statements)

    def __len__(self) -> int:
        return len(self._statements)


def load_queries(name: str | Path) -> Queries:
    """Read a file of ``-- name: get_account`` blocks, by path or as ``queries/NAME.sql`` here.

    Raises `ConfigurationError` for a duplicate, empty or badly named block, with its line.
    """
    source: Traversable = (
        name
        if isinstance(name, Path)
        else resources.files("headend.store.queries").joinpath(f"{name}.sql")
    )
    return parse_queries(source.read_text(encoding="utf-8"), source=source.name)


def parse_queries(text: str, *, source: str) -> Queries:
    """Split named SQL into statements; comments above the first name belong to nobody."""
    blocks: dict[str, list[str]] = {}
    current: list[str] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        match = _NAME_LINE.match(line)
        if match is None:
            if current is not None:
                current.append(line)
            elif line.strip() and not line.lstrip().startswith("--"):
                raise ConfigurationError(f"{source} line {number}: SQL before the first name")
            continue
        name = match["name"]
        if not _IDENTIFIER.match(name) or name in blocks:
            fault = "named twice" if name in blocks else "not a lower_case name"
            raise ConfigurationError(f"{source} line {number}: {name} is {fault}")
        current = blocks[name] = []
    statements: dict[str, str] = {}
    for name, lines in blocks.items():
        statement = "\n".join(lines).strip()
        if not statement:
            raise ConfigurationError(f"{source}: the statement {name} is empty")
        statements[name] = statement
    return Queries(statements, source)
