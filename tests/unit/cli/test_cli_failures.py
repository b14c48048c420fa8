"""Errors become sentences and exit codes; only defects show a traceback, masked."""

import sys

import psycopg
import psycopg_pool
import pytest
import typer

from headend.cli.failures import run_reporting
from headend.domain.errors import (
    BadInput,
    ConfigurationError,
    InvariantViolated,
    MeterRefused,
    MeterUnreachable,
    NotFound,
)
from headend.log import configure_logging


def _raise(error: BaseException) -> int:
    raise error


def _report(error: BaseException) -> int:
    # Here, not in a fixture: pytest puts a handler of its own beside those made before the test.
    configure_logging(form="json", stream=sys.stderr)
    return run_reporting(lambda: _raise(error))


@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_command_that_ends_gives_its_own_code(code: int) -> None:
    assert run_reporting(lambda: code) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigurationError("no database: set HEADEND_DATABASE_URL"), 2),
        (BadInput("line 3: no meter", field="meter_no"), 2),
        (NotFound("there is no tariff 'x': import it first", field="tariff_code"), 2),
        (MeterUnreachable("no answer from 127.0.0.1:4059"), 1),
        (MeterRefused("read-write-denied", code="read-write-denied"), 1),
    ],
)
def test_faults_are_told_in_their_own_words(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _report(error) == code
    assert capsys.readouterr().err == f"headend: {error}\n"


def test_the_first_error_of_a_group_speaks(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [MeterUnreachable("no answer")])])
    assert _report(group) == 1
    assert capsys.readouterr().err == "headend: no answer\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()])
def test_ctrl_c_is_quiet(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert _report(error) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (psycopg.OperationalError("server closed\nmore"), "connection was lost (server closed)"),
        (psycopg_pool.PoolTimeout("x"), "no free connection in time"),
        (psycopg.errors.QueryCanceled("x"), "longer than statement_timeout_s"),
        (psycopg.errors.LockNotAvailable("x"), "could not give a lock"),
    ],
)
def test_a_database_that_leaves_is_told_in_a_sentence(
    error: Exception, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _report(error) == 1
    written = capsys.readouterr().err
    assert told in written
    assert written.count("\n") == 1


@pytest.mark.parametrize("error", [InvariantViolated("legs sum to 1"), ZeroDivisionError("x")])
def test_a_defect_shows_its_traceback(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert _report(error) == 1
    written = capsys.readouterr().err
    assert "ended by a defect" in written
    assert "Traceback" in written


def test_a_traceback_shows_no_password(capsys: pytest.CaptureFixture[str]) -> None:
    error = RuntimeError("cannot use postgresql://headend:hunter2secret@db/headend")
    assert _report(error) == 1
    written = capsys.readouterr().err
    assert "Traceback" in written
    assert "postgresql://headend:***@db" in written
    assert "hunter2secret" not in written
