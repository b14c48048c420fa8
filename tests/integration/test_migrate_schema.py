"""Migrations: from empty, again, at once, killed, edited, newer and older."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from procrastinate.schema import SchemaManager
from psycopg import sql

from headend.domain.errors import ConfigurationError
from headend.store import job_schema
from headend.store.database import connect, job_engine_conninfo
from headend.store.migrate import (
    MANIFEST,
    MIGRATIONS,
    check_schema,
    migrate,
    read_migrations,
    write_manifest,
)


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """A small release of two migrations."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001.first.sql").write_text(
        "create table first (id bigint primary key);\n"
        "create function half(n bigint) returns bigint language plpgsql as $$\n"
        "begin if n % 2 = 0 then return n / 2; else return n; end if; end; $$;\n",
        encoding="utf-8",
    )
    (folder / "0002.second.sql").write_text("create table second (name text);\n", encoding="utf-8")
    write_manifest(folder)
    return folder


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
    return {row[0] for row in rows}


def test_an_empty_database_gets_every_migration_once(empty_database_url: str) -> None:
    released = [file.migration_id for file in read_migrations()]
    assert migrate(empty_database_url) == [
        *released,
        f"procrastinate/{job_schema.latest_version()}",
    ]
    assert migrate(empty_database_url) == []
    check_schema(empty_database_url)


def test_names_in_chinese_can_be_searched_by_their_parts(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT cardinality(show_trgm('王小明'))").fetchone()
    assert row is not None
    assert row[0] > 0


def test_each_statement_of_a_file_runs_as_written(
    empty_database_url: str, migrations: Path
) -> None:
    migrate(empty_database_url, folder=migrations)
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT half(84)").fetchone() == (42,)


def test_a_later_release_applies_only_what_is_new(
    empty_database_url: str, migrations: Path
) -> None:
    migrate(empty_database_url, folder=migrations)
    (migrations / "0003.third.sql").write_text("create table third ();\n", encoding="utf-8")
    write_manifest(migrations)
    with pytest.raises(ConfigurationError, match=r"lacks 0003\.third\): run headend migrate"):
        check_schema(empty_database_url, folder=migrations)
    assert migrate(empty_database_url, folder=migrations) == ["0003.third"]
    check_schema(empty_database_url, folder=migrations)


def test_migrators_at_once_do_the_work_once(empty_database_url: str, migrations: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: migrate(empty_database_url, folder=migrations), range(3)))
    assert sorted(len(done) for done in results) == [0, 0, 3]


def test_a_failing_migration_leaves_nothing_and_can_be_corrected(
    empty_database_url: str, migrations: Path
) -> None:
    broken = migrations / "0003.third.sql"
    broken.write_text("create table third (); select nonsense;\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"0003\.third failed and left nothing"):
        migrate(empty_database_url, folder=migrations)
    assert "third" not in tables(empty_database_url)
    broken.write_text("create table third ();\n", encoding="utf-8")
    done = migrate(empty_database_url, folder=migrations)
    assert done[0] == "0003.third"
    assert "third" in tables(empty_database_url)


def test_the_lock_row_of_a_killed_migrator_does_not_block(
    empty_database_url: str, migrations: Path
) -> None:
    migrate(empty_database_url, folder=migrations)
    with psycopg.connect(empty_database_url) as connection:
        connection.execute("INSERT INTO yoyo_lock (locked, pid) VALUES (1, 4711)")
    (migrations / "0003.third.sql").write_text("create table third ();\n", encoding="utf-8")
    assert migrate(empty_database_url, folder=migrations) == ["0003.third"]


def test_an_edited_release_is_refused_by_name(empty_database_url: str, migrations: Path) -> None:
    (migrations / "0002.second.sql").write_text("create table other ();\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"0002\.second\.sql was edited"):
        migrate(empty_database_url, folder=migrations)
    assert tables(empty_database_url) == set()


def test_a_file_edited_together_with_its_manifest_is_refused_by_the_database(
    empty_database_url: str, migrations: Path
) -> None:
    migrate(empty_database_url, folder=migrations)
    (migrations / "0002.second.sql").write_text("create table other ();\n", encoding="utf-8")
    write_manifest(migrations)
    for refuse in (migrate, check_schema):
        with pytest.raises(ConfigurationError, match=r"0002\.second\.sql differs from the one"):
            refuse(empty_database_url, folder=migrations)


def test_a_missing_release_is_refused_by_name(empty_database_url: str, migrations: Path) -> None:
    (migrations / "0002.second.sql").unlink()
    with pytest.raises(ConfigurationError, match=r"0002\.second\.sql is missing"):
        migrate(empty_database_url, folder=migrations)


@pytest.mark.parametrize("name", ["third.sql", "3.third.sql", "0003.Third.sql"])
def test_a_badly_named_file_is_refused(migrations: Path, name: str) -> None:
    (migrations / name).write_text("select 1;\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="badly named"):
        read_migrations(migrations)


def test_two_files_of_one_number_are_refused(migrations: Path) -> None:
    (migrations / "0002.other.sql").write_text("select 1;\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="have one number"):
        read_migrations(migrations)


def test_a_newer_database_is_refused_in_one_sentence(
    empty_database_url: str, migrations: Path
) -> None:
    migrate(empty_database_url, folder=migrations)
    (migrations / "0002.second.sql").unlink()
    write_manifest(migrations)
    for refuse in (migrate, check_schema):
        with pytest.raises(ConfigurationError, match=r"newer schema .* \(it has 0002\.second\)"):
            refuse(empty_database_url, folder=migrations)


def test_an_empty_database_is_said_to_be_older(empty_database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="run headend migrate"):
        check_schema(empty_database_url)


def test_the_job_engine_lives_in_its_own_schema(database_url: str) -> None:
    assert not any("procrastinate" in name for name in tables(database_url))
    with psycopg.connect(job_engine_conninfo(database_url)) as connection:
        assert connection.execute("SELECT count(*) FROM procrastinate_jobs").fetchone() == (0,)


def test_an_older_job_engine_is_upgraded_to_what_a_new_one_is(
    empty_database_url: str, database_url: str
) -> None:
    changes = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    older, newer = changes[:-6], changes[-6:]
    with connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA procrastinate")
        connection.execute("SET search_path TO procrastinate")
        for change in older:
            connection.execute(change.read_text(encoding="utf-8"))
        connection.execute(
            "CREATE TABLE schema_version (version text PRIMARY KEY, applied_at timestamptz)"
        )
        connection.execute("INSERT INTO schema_version VALUES (%s)", (older[-1].stem,))
        connection.execute("SET search_path TO public")
        assert job_schema.is_outdated(connection)
        assert job_schema.bring_up_to_date(connection)
        assert job_schema.installed_version(connection) == newer[-1].stem
        assert not job_schema.bring_up_to_date(connection)
        upgraded = job_engine_functions(connection)
    with connect(database_url, autocommit=True) as connection:
        assert job_engine_functions(connection) <= upgraded


def job_engine_functions(connection: psycopg.Connection[tuple[object, ...]]) -> set[object]:
    rows = connection.execute(
        "SELECT proname || pg_get_function_identity_arguments(pg_proc.oid) FROM pg_proc"
        " JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE nspname = 'procrastinate'"
    ).fetchall()
    return {row[0] for row in rows}


def test_a_newer_job_engine_is_refused(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            sql.SQL(
                "INSERT INTO procrastinate.schema_version VALUES ({}, clock_timestamp())"
            ).format(sql.Literal("99.00.00_01_pre_future"))
        )
    for refuse in (migrate, check_schema):
        with pytest.raises(ConfigurationError, match="job engine is newer"):
            refuse(database_url)


def test_the_manifest_lists_every_migration() -> None:
    listed = [line.split("  ")[1] for line in (MIGRATIONS / MANIFEST).read_text().splitlines()]
    assert listed == [file.path.name for file in read_migrations()], (
        "run python -m headend.store.migrate --write-manifest"
    )


def test_the_released_files_can_be_read_from_a_copy(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(
        MIGRATIONS, copy, ignore=shutil.ignore_patterns("*.py", "__pycache__", MANIFEST)
    )
    write_manifest(copy)
    assert [file.sha256 for file in read_migrations(copy)] == [
        file.sha256 for file in read_migrations()
    ]
