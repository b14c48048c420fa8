"""What the state folder says, and when it is not believed; no server needed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from headend.domain.errors import ConfigurationError
from headend.store import embedded_host, embedded_state


def make_cluster(folder: Path) -> Path:
    cluster = folder / "postgres"
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("18\n", encoding="ascii")
    return cluster


def test_an_empty_folder_points_to_nothing(tmp_path: Path) -> None:
    assert embedded_state.recorded_cluster(tmp_path) is None
    assert embedded_state.recorded_port(tmp_path) is None


def test_a_record_points_to_cluster_and_port(tmp_path: Path) -> None:
    cluster = make_cluster(tmp_path)
    embedded_state.write_record(tmp_path, cluster, 5555)
    assert embedded_state.recorded_cluster(tmp_path) == cluster
    assert embedded_state.recorded_port(tmp_path) == 5555


def test_a_record_of_a_deleted_cluster_points_to_nothing(tmp_path: Path) -> None:
    embedded_state.write_record(tmp_path, tmp_path / "gone", 5555)
    assert embedded_state.recorded_cluster(tmp_path) is None


def test_a_damaged_record_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "database.json").write_text('{"cluster": ', encoding="ascii")
    with pytest.raises(ConfigurationError, match=r"database\.json cannot be read .*--reset"):
        embedded_state.recorded_cluster(tmp_path)


@pytest.mark.parametrize("content", ["", "12", "x\n/c\n0\n5432\n", "1\n/c\n0\n"])
def test_a_broken_pid_file_is_no_server(tmp_path: Path, content: str) -> None:
    cluster = make_cluster(tmp_path)
    (cluster / "postmaster.pid").write_text(content, encoding="ascii")
    assert embedded_state.find_server(cluster) is None


def test_a_pid_file_of_a_foreign_process_is_removed(tmp_path: Path) -> None:
    cluster = make_cluster(tmp_path)
    pid_file = cluster / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{cluster}\n0\n5432\n", encoding="ascii")
    assert embedded_state.find_server(cluster) is None
    embedded_state.remove_stale_pid_file(cluster)
    assert not pid_file.exists()


def test_the_password_is_made_once_for_us_alone(tmp_path: Path) -> None:
    secret = embedded_state.password(tmp_path, create=True)
    assert embedded_state.password(tmp_path, create=True) == secret
    assert len(secret) >= 32
    file = tmp_path / "database.password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_lost_password_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.password"):
        embedded_state.password(tmp_path)


def test_ownership_is_held_by_one_and_given_back(tmp_path: Path) -> None:
    first = embedded_state.claim_ownership(tmp_path)
    assert first is not None
    assert embedded_state.claim_ownership(tmp_path) is None
    first.close()
    second = embedded_state.claim_ownership(tmp_path)
    assert second is not None
    second.close()


def test_a_folder_on_the_way_that_others_may_not_pass_is_unreachable(tmp_path: Path) -> None:
    stranger = embedded_host.Account("stranger", uid=os.geteuid() + 4242, gid=os.getegid() + 4242)
    inner = tmp_path / "closed" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent):
        folder.chmod(0o700)
    ourselves = embedded_host.Account("ourselves", uid=os.geteuid(), gid=os.getegid())
    assert not embedded_host.is_reachable(inner, stranger)
    assert embedded_host.is_reachable(inner, None)
    assert embedded_host.is_reachable(inner, ourselves)
