"""Commands that stay up, as processes of their own: ready line, signals, crashes, leftovers."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from headend.store.embedded import EmbeddedPostgres, find_running

# They start servers and whole processes.
pytestmark = pytest.mark.slow

READY_S = 60.0  # real time; a busy machine imports slowly
END_S = 30.0

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ``headend`` with arguments and HEADEND_* values; what still runs is killed."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **variables: str) -> subprocess.Popen[str]:
        given = {f"HEADEND_{name.upper()}": value for name, value in variables.items()}
        given.setdefault("HEADEND_STATE_DIR", str(tmp_path / "state"))
        process = subprocess.Popen(
            [sys.executable, "-m", "headend.cli", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "HEADEND_LOG_FORMAT": "json", **given},
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    """Return what it says first, or fail with what it said on its standard error."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], READY_S)
    line = process.stdout.readline() if ready else ""
    if not line:
        process.kill()
        pytest.fail(f"it did not come up: {process.communicate()[1]}")
    return line


def end(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal; return the exit code and the standard error."""
    process.send_signal(number)
    _, errors = process.communicate(timeout=END_S)
    return process.returncode, errors


@contextmanager
def port_in_use() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    with port_in_use() as port:
        return port


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_serve_answers_and_ends_quietly(
    number: signal.Signals, code: int, start: Start, database_url: str, tmp_path: Path
) -> None:
    port = free_port()
    kek = "0b" * 32
    process = start("serve", "--port", str(port), database_url=database_url, key_encryption_key=kek)
    told = first_line(process)
    assert told == (
        "headend runs api, collector, dispatcher, worker"
        f" on http://127.0.0.1:{port}; Ctrl-C ends it\n"
    )
    key = (tmp_path / "state" / "api-key").read_text().strip()
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/readyz").status_code == 200
        assert client.get("/v1/supply-orders").status_code == 401
        orders = client.get("/v1/supply-orders", headers={"Authorization": f"Bearer {key}"})
        assert orders.json()["items"] == []
        # The connection is kept alive: an idle client must not hold the end up.
        assert end(process, number) == (code, "")


def test_a_port_in_use_is_told_before_anything_starts(start: Start, tmp_path: Path) -> None:
    with port_in_use() as port:
        process = start("serve", "--port", str(port))
        _, errors = process.communicate(timeout=READY_S)
    assert process.returncode == 2
    assert errors.startswith(f"headend: port {port} on 127.0.0.1 is in use: ")
    assert errors.count("\n") == 1
    assert not (tmp_path / "state").exists()


def test_a_role_that_crashes_takes_its_process_with_it(start: Start, database_url: str) -> None:
    process = start(
        "serve", "--role", "dispatcher", database_url=database_url, key_encryption_key="0b" * 32
    )
    assert first_line(process).startswith("headend runs dispatcher;")
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE supply_order RENAME TO taken_away")
    _, errors = process.communicate(timeout=END_S)
    assert process.returncode == 1
    assert "role crashed" in errors
    assert "supply_order" in errors


@pytest.mark.slow
def test_the_embedded_database_ends_with_its_starter_and_survives_a_kill(
    start: Start, scratch_dir: Path
) -> None:
    state = scratch_dir / "cli-embedded"
    roles = ("serve", "--role", "worker")
    try:
        process = start("migrate", state_dir=str(state))
        assert "applied 0001.registry" in first_line(process)
        process.communicate(timeout=END_S)
        assert (process.returncode, find_running(state)) == (0, None)

        process = start(*roles, state_dir=str(state))
        first_line(process)
        assert find_running(state) is not None
        process.kill()
        process.communicate()
        assert find_running(state) is not None

        process = start(*roles, state_dir=str(state))
        first_line(process)
        assert end(process, signal.SIGTERM) == (0, "")
        assert find_running(state) is None
    finally:
        EmbeddedPostgres(state).destroy()


def test_simulate_says_where_its_meters_are(start: Start) -> None:
    process = start("simulate", "--dlms", "3", "--concentrators", "2", "--seed", "7")
    assert first_line(process) == "Simulated meters\n"
    assert process.stdout is not None
    lines = []
    while not (lines and lines[-1].startswith("their keys:")):
        lines.append(process.stdout.readline())
    text = "".join(lines)
    ports = [int(part.split()[0]) for part in text.split("dlms+tcp://127.0.0.1:")[1:]]
    assert len(ports) == 2
    for port in ports:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert "meters 000700000001, 000700000002, 000700000003" in text
    assert end(process, signal.SIGINT) == (130, "")


def test_simulate_names_a_port_in_use(start: Start) -> None:
    with port_in_use() as port:
        process = start(
            "simulate", "--dlms", "1", "--concentrators", "1", "--first-port", f"{port}"
        )
        _, errors = process.communicate(timeout=READY_S)
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in errors
    assert errors.count("\n") == 1
