"""The embedded server's life: who starts, uses, adopts and stops it, and what kills leave."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from headend.domain.errors import ConfigurationError
from headend.store import embedded_host, embedded_state
from headend.store.embedded import EmbeddedPostgres, find_running

ROOT = Path(__file__).parents[2]
STARTER = """
import sys
from pathlib import Path
from headend.store.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print("owner" if server.owned else "user", flush=True)
sys.stdin.read()
server.stop()
"""

# They start servers and whole processes.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """One state folder for the module: making a cluster is the slow part."""
    base = Path(tempfile.mkdtemp(prefix="headend-embedded-"))
    base.chmod(0o711)
    state_dir = base / "state"
    yield state_dir
    EmbeddedPostgres(state_dir).destroy()
    shutil.rmtree(base)


@pytest.fixture
def state_dir(folder: Path) -> Iterator[Path]:
    yield folder
    if find_running(folder) is not None:  # a failed test left it: adopt it and stop it
        leftover = EmbeddedPostgres(folder)
        leftover.start()
        leftover.stop()


@pytest.fixture
def closed_base(tmp_path: Path) -> Iterator[Path]:
    """A folder that nobody else may pass, as /root is."""
    base = tmp_path / "closed"
    base.mkdir(mode=0o700)
    yield base
    EmbeddedPostgres(base / "state").destroy()


def spawn_starter(state_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(state_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def role_of(starter: subprocess.Popen[str]) -> str:
    """Wait until it has started; say whether it owns the server or uses it."""
    assert starter.stdout is not None
    return starter.stdout.readline().strip()


def start_in_another_process(state_dir: Path) -> subprocess.Popen[str]:
    starter = spawn_starter(state_dir)
    assert role_of(starter) == "owner"
    return starter


def end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=30)
    assert process.returncode == 0


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=30)


def server_of(state_dir: Path) -> embedded_state.RunningServer | None:
    cluster = embedded_state.recorded_cluster(state_dir)
    return None if cluster is None else embedded_state.find_server(cluster)


def pid_of(state_dir: Path) -> int:
    server = server_of(state_dir)
    assert server is not None
    return server.pid


def ask(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(query)
        row = cursor.fetchone() if cursor.description else None
    return None if row is None else row[0]


def test_it_starts_with_a_password_on_loopback_and_leaves_no_secret_readable(
    state_dir: Path,
) -> None:
    with EmbeddedPostgres(state_dir) as server:
        assert ask(server.url, "SELECT current_database()") == "headend"
        assert ask(server.url, "SHOW listen_addresses") == "127.0.0.1"
        assert ask(server.url, "SELECT datctype FROM pg_database LIMIT 1") == "C.UTF-8"
        secret = embedded_state.password(state_dir)
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(server.url.replace(secret, "guessed"))
        assert secret not in repr(server)
    assert stat.S_IMODE((state_dir / "database.password").stat().st_mode) == 0o600
    assert secret not in (state_dir / "database.json").read_text(encoding="utf-8")


def test_data_survive_a_stop_and_the_port_stays(state_dir: Path) -> None:
    with EmbeddedPostgres(state_dir) as server:
        first_url = server.url
        ask(first_url, "CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")
    with EmbeddedPostgres(state_dir) as server:
        assert server.url == first_url
        assert ask(server.url, "SELECT answer FROM kept") == 42


def test_a_second_process_uses_it_and_only_the_starter_stops_it(state_dir: Path) -> None:
    starter = start_in_another_process(state_dir)
    second = EmbeddedPostgres(state_dir)
    second.start()
    assert not second.owned
    assert find_running(state_dir) == second.url
    second.stop()
    assert find_running(state_dir) is not None
    end(starter)
    assert find_running(state_dir) is None


def test_processes_that_start_at_once_share_one_server(state_dir: Path) -> None:
    starters = [spawn_starter(state_dir) for _ in range(3)]
    by_role = sorted(
        ((role_of(starter), starter.pid, starter) for starter in starters), reverse=True
    )
    assert [role for role, _, _ in by_role] == ["user", "user", "owner"]
    for _, _, starter in by_role:
        end(starter)
    assert find_running(state_dir) is None


def test_a_server_whose_starter_was_killed_is_adopted(state_dir: Path) -> None:
    starter = start_in_another_process(state_dir)
    orphan = pid_of(state_dir)
    kill(starter)
    assert pid_of(state_dir) == orphan
    adopter = EmbeddedPostgres(state_dir)
    adopter.start()
    assert adopter.owned
    assert pid_of(state_dir) == orphan
    adopter.stop()
    assert find_running(state_dir) is None


def test_a_killed_server_starts_again_with_its_committed_data(state_dir: Path) -> None:
    with EmbeddedPostgres(state_dir) as server:
        ask(server.url, "CREATE TABLE IF NOT EXISTS paid AS SELECT 7 AS fen")
        os.kill(pid_of(state_dir), signal.SIGKILL)
    with EmbeddedPostgres(state_dir) as server:
        assert ask(server.url, "SELECT fen FROM paid") == 7


def test_a_server_killed_under_a_living_owner_is_restarted_for_it(state_dir: Path) -> None:
    starter = start_in_another_process(state_dir)
    os.kill(pid_of(state_dir), signal.SIGKILL)
    other = EmbeddedPostgres(state_dir)
    assert ask(other.start(), "SELECT 1") == 1
    assert not other.owned
    end(starter)
    assert find_running(state_dir) is None


def test_starter_and_server_killed_together_leave_a_usable_folder(state_dir: Path) -> None:
    starter = start_in_another_process(state_dir)
    server_pid = pid_of(state_dir)
    kill(starter)
    os.kill(server_pid, signal.SIGKILL)
    with EmbeddedPostgres(state_dir) as server:
        assert server.owned
        assert ask(server.url, "SELECT 1") == 1


def test_a_taken_port_is_avoided(state_dir: Path) -> None:
    with EmbeddedPostgres(state_dir):
        pass
    port = embedded_state.recorded_port(state_dir)
    assert port is not None
    with socket.create_server(("127.0.0.1", port)), EmbeddedPostgres(state_dir) as server:
        assert f":{port}/" not in server.url
        assert ask(server.url, "SELECT 1") == 1


def test_a_pid_file_that_names_a_foreign_process_is_not_believed(state_dir: Path) -> None:
    with EmbeddedPostgres(state_dir):
        cluster = embedded_state.recorded_cluster(state_dir)
        assert cluster is not None
        left_behind = (cluster / "postmaster.pid").read_text(encoding="utf-8")
    foreign = "\n".join([str(os.getpid()), *left_behind.splitlines()[1:]])
    (cluster / "postmaster.pid").write_text(foreign, encoding="utf-8")
    assert find_running(state_dir) is None
    with EmbeddedPostgres(state_dir) as server:
        assert ask(server.url, "SELECT 1") == 1


def test_a_moved_state_folder_keeps_its_data(state_dir: Path) -> None:
    with EmbeddedPostgres(state_dir) as server:
        ask(server.url, "CREATE TABLE IF NOT EXISTS moved AS SELECT 1 AS one")
    elsewhere = state_dir.with_name("moved")
    state_dir.rename(elsewhere)
    try:
        with EmbeddedPostgres(elsewhere) as server:
            assert ask(server.url, "SELECT one FROM moved") == 1
    finally:
        elsewhere.rename(state_dir)


def test_a_cluster_made_by_another_release_is_refused_by_name(state_dir: Path) -> None:
    with EmbeddedPostgres(state_dir):
        cluster = embedded_state.recorded_cluster(state_dir)
    assert cluster is not None
    version = cluster / "PG_VERSION"
    ours = version.read_text(encoding="ascii")
    version.write_text("16\n", encoding="ascii")
    try:
        with pytest.raises(ConfigurationError, match=r"made by PostgreSQL 16, this is 18"):
            EmbeddedPostgres(state_dir).start()
    finally:
        version.write_text(ours, encoding="ascii")


def test_a_wrong_password_file_is_named(state_dir: Path) -> None:
    starter = start_in_another_process(state_dir)
    right = embedded_state.password(state_dir)
    (state_dir / "database.password").write_text("something else", encoding="ascii")
    try:
        with pytest.raises(ConfigurationError, match="refuses the password"):
            EmbeddedPostgres(state_dir).start()
        assert server_of(state_dir) is not None
    finally:
        (state_dir / "database.password").write_text(right, encoding="ascii")
        end(starter)


def test_destroying_is_refused_while_another_process_owns_it(state_dir: Path) -> None:
    starter = start_in_another_process(state_dir)
    with pytest.raises(ConfigurationError, match="in use by another process"):
        EmbeddedPostgres(state_dir).destroy()
    assert find_running(state_dir) is not None
    end(starter)


def test_a_half_made_cluster_is_made_anew(closed_base: Path) -> None:
    state_dir = closed_base / "state"
    first = EmbeddedPostgres(state_dir)
    first.start()
    cluster = embedded_state.recorded_cluster(state_dir)
    assert cluster is not None
    first.destroy()
    # As a killed initdb leaves it: scratch folder, no record.
    cluster.parent.mkdir(parents=True, exist_ok=True)
    (cluster.parent / "postgres-partial-x1" / "data").mkdir(parents=True)
    with EmbeddedPostgres(state_dir) as server:
        assert ask(server.url, "SELECT 1") == 1
    assert list(cluster.parent.glob("postgres-partial-*")) == []


def test_under_a_closed_folder_it_runs_without_opening_it(closed_base: Path) -> None:
    state_dir = closed_base / "state"
    with EmbeddedPostgres(state_dir) as server:
        assert ask(server.url, "SELECT 1") == 1
        assert find_running(state_dir) == server.url
        assert stat.S_IMODE(closed_base.stat().st_mode) == 0o700
        cluster = embedded_state.recorded_cluster(state_dir)
    assert cluster is not None
    # Root's server runs as another account, which cannot get in there; everybody else's can.
    assert cluster.is_relative_to(state_dir) == (os.geteuid() != 0)
    EmbeddedPostgres(state_dir).destroy()
    assert not cluster.exists()
    assert find_running(state_dir) is None


def test_programs_out_of_reach_are_copied_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "programs-partial-killed").mkdir()
    monkeypatch.setattr(embedded_host, "is_reachable", lambda path, account: False)
    programs = embedded_host.provide_binaries(tmp_path, None)
    assert programs.is_relative_to(tmp_path)
    done = subprocess.run(
        [programs / "initdb", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PostgreSQL" in done.stdout, done.stderr  # it found its own libpq by a relative path
    assert (programs.parent / "share" / "postgres.bki").is_file()
    assert not (tmp_path / "programs-partial-killed").exists()
    assert embedded_host.provide_binaries(tmp_path, None) == programs


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("in the way", encoding="ascii")
    with pytest.raises(ConfigurationError, match="HEADEND_STATE_DIR"):
        EmbeddedPostgres(blocker / "state").start()
