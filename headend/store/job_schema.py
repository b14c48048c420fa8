"""The job engine's own tables, in a PostgreSQL schema of their own.

procrastinate ships one file for a new database and one per change. Here the name of the newest
change stands for the version: a database without one gets the whole, one with an older version the
changes since. The schema's objects name each other without a schema, so every connection that uses
them has it in its search path (`headend.store.database.job_engine_conninfo`).
"""

from __future__ import annotations

from pathlib import Path

from procrastinate.schema import SchemaManager
from psycopg import Connection, sql
from psycopg.rows import TupleRow

from headend.domain.errors import ConfigurationError
from headend.store.database import JOB_SCHEMA


def latest_version() -> str:
    """Return the version that the installed library expects: its newest change's name."""
    return _changes()[-1].stem


def installed_version(connection: Connection[TupleRow]) -> str | None:
    """Return the version in the database; None when the job engine is not installed."""
    row = connection.execute("SELECT to_regclass(%s)", (f"{JOB_SCHEMA}.schema_version",)).fetchone()
    if row is None or row[0] is None:
        return None
    newest = connection.execute(
        sql.SQL("SELECT max(version) FROM {}.schema_version").format(sql.Identifier(JOB_SCHEMA))
    ).fetchone()
    return None if newest is None else newest[0]


def is_outdated(connection: Connection[TupleRow]) -> bool:
    """Tell whether `bring_up_to_date` would change anything."""
    return installed_version(connection) != latest_version()


def refuse_newer(connection: Connection[TupleRow]) -> None:
    """Raise `ConfigurationError` when the database's job engine is newer than the library."""
    installed = installed_version(connection)
    if installed is not None and installed > latest_version():
        raise ConfigurationError(
            f"the database's job engine is newer than this program (it has {installed}): install"
            " the release that made it, or name another database in HEADEND_DATABASE_URL"
        )


def bring_up_to_date(connection: Connection[TupleRow]) -> bool:
    """Install or upgrade the job engine in one transaction; return whether anything changed."""
    installed = installed_version(connection)
    if installed == latest_version():
        return False
    with connection.transaction():
        schema = sql.Identifier(JOB_SCHEMA)
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(schema))
        connection.execute(sql.SQL("SET LOCAL search_path TO {}").format(schema))
        if installed is None:
            connection.execute(SchemaManager.get_schema())
            connection.execute(
                "CREATE TABLE schema_version ("
                " version text PRIMARY KEY, applied_at timestamptz NOT NULL)"
            )
        else:
            for change in _changes():
                if change.stem > installed:
                    connection.execute(change.read_text(encoding="utf-8"))
        connection.execute(
            "INSERT INTO schema_version VALUES (%s, clock_timestamp())", (latest_version(),)
        )
    return True


def _changes() -> list[Path]:
    """Return the library's changes; their names begin with the release, zero-padded."""
    return sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
