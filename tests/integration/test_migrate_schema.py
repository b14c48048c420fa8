"""The released schema: from empty, again, and what is refused."""

from __future__ import annotations

import psycopg

from headend.store.migrate import check_schema, migrate, read_migrations


def test_an_empty_database_gets_every_migration_once(empty_database_url: str) -> None:
    released = [file.migration_id for file in read_migrations()]
    assert migrate(empty_database_url)[:-1] == released
    assert migrate(empty_database_url) == []
    check_schema(empty_database_url)


def test_names_in_chinese_can_be_searched_by_their_parts(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT cardinality(show_trgm('王小明'))").fetchone()
    assert row is not None
    assert row[0] > 0
