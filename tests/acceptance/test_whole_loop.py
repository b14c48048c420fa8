"""The product's promise, as its user runs it: the whole loop on real processes, and killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.slow

LIMIT_S = 240
REASONS = {
    "balance_rests_on_estimates",
    "identity_mismatch",
    "life_support",
    "meter_not_heard_lately",
    "restraint_remains",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(state_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("HEADEND_")
    }
    return subprocess.Popen(
        [sys.executable, "-m", "headend.cli", "demo", "--state-dir", str(state_dir), *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def state_dir(scratch_dir: Path) -> Iterator[Path]:
    """A state folder of its own, whose server is stopped and forgotten at the end."""
    folder = scratch_dir / f"demo-{time.monotonic_ns()}"
    yield folder
    from headend.store.embedded import EmbeddedPostgres

    if folder.exists():
        EmbeddedPostgres(folder).destroy()


def check_result(result: dict[str, Any]) -> None:
    assert result["ok"] is True
    dlms = result["protocols"]["dlms"]
    assert dlms["meters"] == 60
    assert dlms["readings"] > 60 * 96 * 9
    assert dlms["disconnects_verified"] >= 7
    assert dlms["reconnects_verified"] >= 6
    assert dlms["payment_to_closed_ms"]["p50"] > 200  # the relay alone takes that long
    assert dlms["payment_to_closed_ms"]["p99"] >= dlms["payment_to_closed_ms"]["p50"]
    assert set(result["refused"]) == REASONS
    assert result["notices"] > 20
    assert result["ledger_imbalance_nano"] == 0


def test_the_loop_is_seen_once_more_after_a_kill(state_dir: Path, tmp_path: Path) -> None:
    port, file = free_port(), tmp_path / "result.json"
    killed = start(state_dir, "--port", str(port))
    assert killed.stdout is not None
    for line in killed.stdout:  # into the story: money and supply are under way
        if "given notice" in line:
            break
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    process = start(state_dir, "--once", "--json", str(file), "--port", str(port))
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output
    check_result(json.loads(file.read_text()))
    assert "seen reconnected" in output


def test_ctrl_c_stops_everything_within_five_seconds_and_leaves_nothing(state_dir: Path) -> None:
    process = start(state_dir, "--port", str(free_port()))
    assert process.stdout is not None
    for line in process.stdout:
        if "the cast begins" in line:
            break
    began = time.monotonic()
    os.kill(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert "goes on from here" in output
    assert time.monotonic() - began < 10  # the promise is 5 s; the machine may be busy
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(state_dir) not in left


def test_a_port_in_use_is_told_before_anything_starts(state_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(state_dir, "--port", str(taken.getsockname()[1]))
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "is in use" in output
    assert len(output.strip().splitlines()) == 1
    assert not state_dir.exists()
