"""`headend bench dlms`: a table, or one JSON document on standard output or in a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headend.bench.dlms import run as bench_run
from headend.cli.failures import run_reporting
from headend.cli.program import run

DOCUMENT: dict[str, Any] = {
    "figures": {"decode_vs_gurux": 120.0, "sessions_per_s": 900.0},
    "details": {},
    "missing": {"decode_vs_dlms_cosem": "dlms-cosem is not installed"},
    "machine": {"cores": 2},
}


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_run, "run_dlms", lambda tell: DOCUMENT)


def test_the_document_is_all_that_goes_to_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["bench", "dlms", "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == DOCUMENT
    assert "dlms-cosem is not installed" in shown.err


def test_it_is_written_to_a_file_beside_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    assert run(["bench", "dlms", "--json", str(file)]) == 0
    assert json.loads(file.read_text()) == DOCUMENT
    shown = capsys.readouterr().out
    assert "decode_vs_gurux" in shown
    assert "at least 90: met" in shown


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["bench", "dlms", "figures.json"], "FILE goes with --json"),
        (["bench", "dlms", "--json", "/no/such/folder/f.json"], "cannot write"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_reporting(lambda: run(arguments)) == 2
    assert sentence in capsys.readouterr().err
