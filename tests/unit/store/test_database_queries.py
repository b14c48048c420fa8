"""Named SQL files, session settings and what is said of a server that cannot be used."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from headend.domain.errors import ConfigurationError
from headend.store import database


def test_blocks_become_statements_by_name() -> None:
    queries = database.parse_queries(
        "-- About accounts.\n\n-- name: get_account\nselect *\nfrom account -- all\n\n"
        "-- name: count_accounts\nselect count(*) from account\n",
        source="accounts.sql",
    )
    assert dict(queries) == {
        "get_account": "select *\nfrom account -- all",
        "count_accounts": "select count(*) from account",
    }


def test_an_unknown_name_says_which_file_lacks_it() -> None:
    queries = database.parse_queries("-- name: one\nselect 1", source="ones.sql")
    with pytest.raises(KeyError, match=r"ones\.sql has no statement named two"):
        queries["two"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("select 1\n-- name: one\nselect 1", "x.sql line 1: SQL before the first name"),
        ("-- name: one\nselect 1\n-- name: one\nselect 2", "x.sql line 3: one is named twice"),
        ("-- name: One\nselect 1", "x.sql line 1: One is not a lower_case name"),
        ("-- name: one\n-- name: two\nselect 2", "x.sql: the statement one is empty"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        database.parse_queries(text, source="x.sql")


def test_a_file_is_found_by_path(tmp_path: Path) -> None:
    file = tmp_path / "mine.sql"
    file.write_text("-- name: one\nselect 1\n", encoding="utf-8")
    assert database.load_queries(file)["one"] == "select 1"


def test_every_shipped_file_of_queries_can_be_read() -> None:
    folder = Path(database.__file__).parent / "queries"
    names = sorted(path.stem for path in folder.glob("*.sql"))
    assert names
    assert all(len(database.load_queries(name)) > 0 for name in names)


def test_sessions_are_bounded_and_in_utc() -> None:
    parts = conninfo_to_dict(
        database.session_conninfo(
            "postgresql://u:p@db:6000/n", application_name="tester", statement_timeout_s=1.5
        )
    )
    assert parts["application_name"] == "tester"
    assert "-c timezone=UTC" in str(parts["options"])
    assert "-c statement_timeout=1500" in str(parts["options"])
    assert str(parts["connect_timeout"]) == "5"


def test_what_the_url_itself_says_wins() -> None:
    parts = conninfo_to_dict(
        database.session_conninfo(
            "postgresql://u@db/n?application_name=mine&options=-c%20timezone%3DAsia/Shanghai"
        )
    )
    assert parts["application_name"] == "mine"
    # libpq takes the last of two equal options.
    assert str(parts["options"]).endswith("-c timezone=Asia/Shanghai")


@pytest.mark.parametrize(
    ("fault", "way_out"),
    [
        ('password authentication failed for user "u"', "correct user and password"),
        ('database "n" does not exist', "has no database 'n'"),
        ("sorry, too many clients already", "max_connections"),
        ("no pg_hba.conf entry for host", "pg_hba.conf"),
        ("the database system is starting up", "try again in a moment"),
        ("connection refused", "start it, correct HEADEND_DATABASE_URL"),
    ],
)
def test_a_failed_connection_names_server_and_way_out_and_no_secret(
    fault: str, way_out: str
) -> None:
    error = database.explain_connection_failure(
        "postgresql://u:hush-hush@db.example:6000/n", psycopg.OperationalError(fault)
    )
    assert "db.example:6000" in str(error)
    assert way_out in str(error)
    assert "hush" not in str(error)


def test_a_malformed_url_is_said_to_be_one() -> None:
    error = database.explain_connection_failure("postgresql://[broken", psycopg.Error("x"))
    assert "cannot be read" in str(error)
