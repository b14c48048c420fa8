"""The command line as people meet it: help, version, and what wrong use is told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headend.cli import main

COMMANDS = ["demo", "serve", "migrate", "doctor", "collect", "settle", "decide", "simulate"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADEND_STATE_DIR", str(tmp_path / "state"))


def test_help_names_every_command_and_where_to_begin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    for command in [*COMMANDS, "import"]:
        assert f"  {command} " in told
    assert "./run" in told


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Commands:" in capsys.readouterr().out


@pytest.mark.parametrize("command", [[name] for name in COMMANDS] + [["import", "accounts"]])
def test_every_command_explains_itself(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: headend {' '.join(command)} ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("headend 0.")


def test_help_loads_nothing_heavy() -> None:
    """Help answers at once because a command's imports wait until it runs."""
    heavy = ["psycopg", "fastapi", "numpy", "rich", "procrastinate", "headend.bootstrap"]
    code = f"import sys, headend.cli.program; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_the_module_runs_as_the_command_does() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headend.cli", "bogus"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": ""},
    )
    assert done.returncode == 2
    assert done.stderr == "headend: No such command 'bogus'. See headend --help\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["serve", "--bogus"], "No such option: --bogus"),
        (["serve", "--config", "x"], "it goes before the command, as in headend --config"),
        (["--log-level", "loud", "doctor"], "'loud' is not one of 'debug', 'info'"),
        (["import"], "Missing command. See headend import --help"),
        (["import", "accounts"], "Missing argument 'FILE'"),
        (["serve", "--role", "api,consul"], "no role 'consul'; choose from api, collector"),
        (["serve", "--role", "console"], "the console is not part of this release yet"),
        (["serve", "--role", ","], "--role names no role: choose from api"),
        (["serve", "--port", "70000"], "Invalid value for '--port'"),
        (["settle", "--shard", "4/4"], "the shards of 4 are 0/4 to 3/4"),
        (["settle", "--day", "tomorrow"], "'tomorrow' is not a day such as 2026-03-05"),
        (["simulate", "--modbus", "3"], "--modbus 3: simulated meters speak only DLMS"),
        (["simulate", "--mqtt", "1"], "--mqtt 1: simulated meters speak only DLMS"),
        (["simulate", "--faults", "none.json"], "cannot read faults file none.json"),
        (["simulate", "--config", "none.json"], "cannot read fleet file none.json"),
        (["--config", "none.toml", "serve"], "none.toml does not exist: correct the path"),
        (["import", "tariffs", "none.json"], "cannot read none.json: No such file"),
        (["import", "meters", "none.csv"], "cannot read none.csv: No such file"),
    ],
)
def test_wrong_use_is_one_sentence_and_exit_code_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("headend: ")
    assert told in output.err
    assert output.err.count("\n") == 1
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("api_port = 'x'", "has a wrong api_port"),
        ("api_prot = 1", "has an unknown key api_prot: did you mean api_port?"),
        ("api_port = ", "is not TOML"),
        ("api_host = '0.0.0.0'", "reachable from other machines but api_key is not set"),
    ],
)
def test_a_broken_configuration_file_is_named_with_its_key(
    content: str, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "broken.toml"
    file.write_text(content)
    assert main(["--config", str(file), "migrate"]) == 2
    error = capsys.readouterr().err
    assert "broken.toml" in error
    assert told in error
    assert not (tmp_path / "state").exists()
