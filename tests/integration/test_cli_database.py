"""Commands on a real database: what they do, what they refuse, and with which sentence."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog

from headend.cli import main

TARIFF = Path(__file__).parents[2] / "headend" / "demo" / "tariff.json"
KEK = "0b" * 32


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of its own, a key-encryption key, and logging put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADEND_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADEND_KEY_ENCRYPTION_KEY", KEK)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HEADEND_DATABASE_URL", database_url)
    return database_url


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def doctor(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    """Return the exit code and ``verdict: text`` by subject."""
    code = main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    return code, {each["subject"]: f"{each['verdict']}: {each['text']}" for each in findings}


def test_migrate_makes_the_schema_once(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADEND_DATABASE_URL", empty_database_url)
    assert main(["migrate"]) == 0
    assert "applied 0001.registry" in capsys.readouterr().out
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == "the database has this release's schema already\n"


@pytest.mark.parametrize(
    "command", [["settle"], ["decide"], ["collect"], ["serve", "--role", "worker"]]
)
def test_an_older_schema_is_refused_with_the_way_out(
    command: list[str],
    empty_database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HEADEND_DATABASE_URL", empty_database_url)
    assert main(command) == 2
    assert "older schema than this program" in (error := capsys.readouterr().err)
    assert error.endswith("run headend migrate\n")


@pytest.mark.parametrize("command", ["migrate", "settle"])
def test_a_newer_schema_is_refused_and_left_alone(
    command: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(database, "INSERT INTO schema_migration VALUES ('9999.future', 'x', now())")
    assert main([command]) == 2
    error = capsys.readouterr().err
    assert "newer schema than this program (it has 9999.future)" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("command", [["migrate"], ["settle"], ["import", "tariffs", str(TARIFF)]])
def test_a_database_that_is_not_there_is_named(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADEND_DATABASE_URL", "postgresql://headend:hidden123@127.0.0.1:1/headend")
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "127.0.0.1:1" in error
    assert "hidden123" not in error
    assert error.count("\n") == 1


def test_the_doctor_finds_a_fresh_database_in_order(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = doctor(capsys)
    assert code == 0
    assert found["schema"] == "ok: exactly this release's"
    assert found["ledger"].startswith("ok")
    assert all(text.startswith("ok") for text in found.values()), found


def test_the_doctor_shows_lines_to_people(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(database, "INSERT INTO stop_switch VALUES (true, true, 'li', 'storm', now())")
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "look  stop switch" in told
    assert "suspended by li: storm" in told
    assert "-> end the suspension" in told


def test_the_doctor_finds_a_balance_without_entries(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(
        database,
        "INSERT INTO account_balance (account_id, balance_nano, changed_at) VALUES (7, 5, now())",
    )
    code, found = doctor(capsys)
    assert code == 1
    assert "account id 7: 0.000000005 stored, 0.000000000 posted" in found["balances"]


def test_the_doctor_finds_failed_runs(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    execute(
        database,
        "INSERT INTO business_run (kind, business_date, scope, state, due_at)"
        " VALUES ('settle', current_date, 'shard/0/1', 'failed', now())",
    )
    code, found = doctor(capsys)
    assert code == 1
    assert "1 runs failed lately (first: settle/" in found["daily work"]


def test_the_doctor_says_when_the_database_is_away_or_older(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADEND_DATABASE_URL", "postgresql://headend@127.0.0.1:1/headend")
    code, found = doctor(capsys)
    assert (code, found["database"].split(":")[0]) == (1, "wrong")
    monkeypatch.setenv("HEADEND_DATABASE_URL", empty_database_url)
    code, found = doctor(capsys)
    assert code == 1
    assert "older schema" in found["database"]


def test_the_doctor_makes_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(capsys)
    assert code == 1
    assert "there is no embedded database" in found["database"]
    assert not (tmp_path / "state").exists()


def test_a_day_s_work_on_an_empty_database(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--json"]) == 0
    collected = json.loads(capsys.readouterr().out)
    assert (collected["concentrators"], collected["meters"], collected["causes"]) == (0, 0, {})
    assert main(["settle", "--day", "2026-03-05", "--shard", "1/4", "--json"]) == 0
    settled = json.loads(capsys.readouterr().out)
    assert (settled["day"], settled["shard"]) == ("2026-03-05", "1/4")
    assert settled["charged_nano"] == 0
    assert main(["decide"]) == 0
    assert "accounts" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["collect", "settle", "decide"])
def test_a_day_that_is_not_over_is_refused(
    command: str, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--day", "2999-01-01"]) == 2
    assert "--day 2999-01-01: the latest day that can be" in capsys.readouterr().err


def test_a_demo_s_clock_stays_ahead(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A command beside a demo must not turn its business time back."""
    execute(database, "INSERT INTO business_clock (mode, offset_s) VALUES ('demo', 8640000)")
    assert main(["settle", "--json"]) == 0
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT mode, offset_s FROM business_clock").fetchone()
    assert row == ("demo", 8_640_000)
    day = json.loads(capsys.readouterr().out)["day"]
    with psycopg.connect(database) as connection:
        ahead = connection.execute("SELECT %s::date > current_date + 90", (day,)).fetchone()
    assert ahead == (True,)
