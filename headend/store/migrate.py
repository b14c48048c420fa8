"""The schema: plain-SQL migrations, their checksums, and the job engine's own schema.

``migrations/NNNN.name.sql`` are run in order by yoyo-migrations. Two things it does not do are
done here. It does not notice an edited file: ``migrations/MANIFEST`` lists the SHA-256 of every
released file, and the database keeps the checksum of what it really ran. And it marks a migration
in a transaction of its own: here the mark is written in the migration's transaction, so that a
killed migrator has either done a migration or not.

Only one migrator works at a time (an advisory lock held by a session, which the server gives back
when its process dies).

    python -m headend.store.migrate --write-manifest     after adding a migration
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection
from psycopg.rows import TupleRow
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI
from yoyo.migrations import Migration, MigrationList, StepBase

from headend.domain.errors import ConfigurationError
from headend.store import job_schema
from headend.store.database import connect

MIGRATIONS = Path(__file__).parent / "migrations"
MANIFEST = "MANIFEST"
MIGRATION_TABLE = "_yoyo_migration"
# Any number will do as long as it is ours: "AMIH" in ASCII, then 1.
ADVISORY_LOCK = 0x414D49480001
LOCK_TIMEOUT_S = 300  # a migrator of a large fleet may work for minutes

_FILE_NAME = re.compile(r"^(?P<number>\d{4})\.[a-z0-9_-]+\.sql$")


@dataclass(frozen=True, slots=True)
class MigrationFile:
    """One released file: its id (name without ``.sql``), text and checksum."""

    migration_id: str
    path: Path
    text: str
    sha256: str


def migrate(url: str, *, folder: Path = MIGRATIONS) -> list[str]:
    """Bring the database to this release's schema; return the ids applied, oldest first.

    Safe to call at any time, by several processes at once, and again after a kill. Raises
    `ConfigurationError` and changes nothing when a file was edited after its release or the
    database is newer than this program.
    """
    files = read_migrations(folder)
    with _migrating(url) as connection:
        _create_checksum_table(connection)
        applied = _applied(connection)
        _refuse_foreign(files, applied)
        job_schema.refuse_newer(connection)
        done = _apply(url, [file for file in files if file.migration_id not in applied])
        if job_schema.bring_up_to_date(connection):
            done.append(f"procrastinate/{job_schema.latest_version()}")
    return done


def check_schema(url: str, *, folder: Path = MIGRATIONS) -> None:
    """Raise `ConfigurationError` unless the database has exactly this release's schema."""
    files = read_migrations(folder)
    with connect(url, application_name="headend-check", autocommit=True) as connection:
        applied = _applied(connection)
        _refuse_foreign(files, applied)
        job_schema.refuse_newer(connection)
        missing = [file.migration_id for file in files if file.migration_id not in applied]
        if missing or job_schema.is_outdated(connection):
            what = missing[0] if missing else "the job engine's tables"
            raise ConfigurationError(
                f"the database {connection.info.dbname} has an older schema than this program"
                f" (it lacks {what}): run headend migrate"
            )


def read_migrations(folder: Path = MIGRATIONS) -> list[MigrationFile]:
    """Return the migration files in order, each as its release left it.

    Raises `ConfigurationError` naming a file that is edited, missing or badly named.
    """
    files = _read_files(folder)
    manifest = _read_manifest(folder)
    for file in files:
        name = file.path.name
        # A file not listed is still being written; a test keeps such a state out of releases.
        if manifest.get(name, file.sha256) != file.sha256:
            raise ConfigurationError(
                f"the migration {name} was edited after its release: restore it and write a new"
                " migration for the change"
            )
    missing = sorted(set(manifest) - {file.path.name for file in files})
    if missing:
        raise ConfigurationError(f"the released migration {missing[0]} is missing: restore it")
    return files


def write_manifest(folder: Path = MIGRATIONS) -> Path:
    """Write the checksum of every migration file beside them, in order."""
    target = folder / MANIFEST
    lines = [f"{file.sha256}  {file.path.name}\n" for file in _read_files(folder)]
    target.write_text("".join(lines), encoding="utf-8")
    return target


def _read_files(folder: Path) -> list[MigrationFile]:
    files: list[MigrationFile] = []
    numbers: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        match = _FILE_NAME.match(path.name)
        if match is None:
            raise ConfigurationError(f"the migration {path.name} is badly named: use NNNN.name.sql")
        if match["number"] in numbers:
            raise ConfigurationError(
                f"the migrations {numbers[match['number']]} and {path.name} have one number"
            )
        numbers[match["number"]] = path.name
        content = path.read_bytes()
        files.append(
            MigrationFile(
                migration_id=path.stem,
                path=path,
                text=content.decode("utf-8"),
                sha256=hashlib.sha256(content).hexdigest(),
            )
        )
    return files


def _read_manifest(folder: Path) -> dict[str, str]:
    """Read ``sha256  name`` lines, the format of ``sha256sum``."""
    try:
        lines = (folder / MANIFEST).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigurationError(
            f"{folder / MANIFEST} cannot be read ({error.strerror}): restore it"
        ) from error
    manifest: dict[str, str] = {}
    for line in lines:
        checksum, _, name = line.partition("  ")
        manifest[name] = checksum
    return manifest


@contextmanager
def _migrating(url: str) -> Iterator[Connection[TupleRow]]:
    """Hold the advisory lock on a connection of its own while migrating."""
    with connect(url, application_name="headend-migrate", autocommit=True) as connection:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{LOCK_TIMEOUT_S}s",))
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", (ADVISORY_LOCK,))
        except psycopg.errors.LockNotAvailable as error:
            raise ConfigurationError(
                f"another process has been migrating this database for {LOCK_TIMEOUT_S} s:"
                " wait for it or end it, and try again"
            ) from error
        yield connection


def _create_checksum_table(connection: Connection[TupleRow]) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migration ("
        " migration_id text PRIMARY KEY,"
        " sha256 text NOT NULL,"
        " applied_at timestamptz NOT NULL)"
    )


def _applied(connection: Connection[TupleRow]) -> dict[str, str]:
    """Return id and checksum of every migration that the database has."""
    row = connection.execute("SELECT to_regclass('schema_migration')").fetchone()
    if row is None or row[0] is None:
        return {}
    return dict(connection.execute("SELECT migration_id, sha256 FROM schema_migration").fetchall())


def _refuse_foreign(files: list[MigrationFile], applied: Mapping[str, str]) -> None:
    ours = {file.migration_id: file.sha256 for file in files}
    newer = sorted(set(applied) - set(ours))
    if newer:
        raise ConfigurationError(
            f"the database has a newer schema than this program (it has {newer[-1]}): install the"
            " release that made it, or name another database in HEADEND_DATABASE_URL"
        )
    for migration_id, checksum in sorted(applied.items()):
        if ours[migration_id] != checksum:
            raise ConfigurationError(
                f"the migration {migration_id}.sql differs from the one that this database ran:"
                " restore the file, or forget a demo's data with ./run --reset"
            )


def _apply(url: str, files: list[MigrationFile]) -> list[str]:
    if not files:
        return []
    backend = _Backend(url)
    done: list[str] = []
    with backend:
        backend.create_lock_table()
        # A migrator killed inside yoyo's own bookkeeping leaves its lock row behind; we hold the
        # real lock, so nobody else can be in there.
        backend.break_lock()
        migrations = MigrationList([_FileMigration(file) for file in files])
        for migration in backend.to_apply(migrations):
            try:
                backend.apply_one(migration, mark=False)
            except psycopg.Error as error:
                raise ConfigurationError(
                    f"the migration {migration.id} failed and left nothing behind: {error}"
                ) from error
            done.append(migration.id)
    return done


class _FileMigration(Migration):  # type: ignore[misc]
    """One file as one step, in yoyo's terms; no splitting of SQL, which PostgreSQL does better."""

    def __init__(self, file: MigrationFile) -> None:
        super().__init__(file.migration_id, str(file.path), str(file.path.parent))
        self._file = file

    def load(self) -> None:
        self._depends: set[Migration] = set()
        self.steps = [_FileStep(self, self._file)]


class _FileStep(StepBase):  # type: ignore[misc]
    """Runs the file and records it, in the transaction that yoyo opened for the migration."""

    def __init__(self, migration: _FileMigration, file: MigrationFile) -> None:
        self._migration = migration
        self._file = file

    def apply(self, backend: _Backend, force: bool = False) -> None:
        backend.mark_one(self._migration, log=False)
        backend.connection.execute(
            "INSERT INTO schema_migration VALUES (%s, %s, clock_timestamp())",
            (self._file.migration_id, self._file.sha256),
        )
        backend.connection.execute(self._file.text)


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo's psycopg 3 backend on our own connection settings."""

    def __init__(self, url: str) -> None:
        self._url = url
        # yoyo pickles its URI as a cache key; it needs no secret of ours in there.
        uri = DatabaseURI("postgresql+psycopg", None, None, None, None, "headend", {})
        super().__init__(uri, MIGRATION_TABLE)

    def connect(self, dburi: DatabaseURI) -> Connection[TupleRow]:
        return connect(self._url, application_name="headend-migrate", autocommit=True)

    def copy(self) -> _Backend:
        return _Backend(self._url)

    def get_log_data(
        self, migration: Migration | None = None, operation: str = "apply"
    ) -> dict[str, Any]:
        # Not the original's: it asks for the login name, which fails in a container without an
        # account entry, and for the host's full name, which may wait seconds for a name server.
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": str(os.geteuid()),
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }


def main(arguments: list[str]) -> int:
    """Refresh the manifest; with no argument, only check it."""
    if arguments not in ([], ["--write-manifest"]):
        print("usage: python -m headend.store.migrate [--write-manifest]", file=sys.stderr)
        return 2
    try:
        if arguments:
            print(f"wrote {write_manifest()}")
        else:
            print(f"{len(read_migrations())} migrations as released")
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
