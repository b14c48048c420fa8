"""``headend demo`` hands every option on, and its exit code is the demo's."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from headend.cli import main
from headend.demo.options import DemoOptions


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[DemoOptions]:
    """Stand in for the demo; collect what it is asked for. It exits with 1."""
    asked: list[DemoOptions] = []

    def run_demo(options: DemoOptions) -> int:
        asked.append(options)
        return 1

    stand_in = ModuleType("headend.demo.run")
    stand_in.run_demo = run_demo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "headend.demo.run", stand_in)
    return asked


def test_without_options_everything_is_left_to_the_configuration(asked: list[DemoOptions]) -> None:
    assert main(["demo"]) == 1
    assert asked == [DemoOptions()]


def test_every_option_arrives(asked: list[DemoOptions]) -> None:
    given = ["--config", "my.toml", "--log-level", "debug", "demo", "--once", "--json", "out.json"]
    assert main([*given, "--reset", "--port", "8090", "--seed", "7", "--state-dir", "there"]) == 1
    assert asked == [
        DemoOptions(
            once=True,
            json_path=Path("out.json"),
            reset=True,
            port=8090,
            seed=7,
            state_dir=Path("there"),
            config_path=Path("my.toml"),
            log_level="debug",
        )
    ]


@pytest.mark.parametrize("wrong", [["--port", "0"], ["--port", "x"], ["--seed", "-1"], ["extra"]])
def test_wrong_options_start_nothing(wrong: list[str], asked: list[DemoOptions]) -> None:
    assert main(["demo", *wrong]) == 2
    assert asked == []
