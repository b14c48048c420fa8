"""Coverage-guided fuzzing of the DLMS stack: ``python tests/fuzz/run.py [--seconds N]``.

Runs each target of `fuzz_targets` for its share of the time, one process at a time, beginning with
the corpus and with genuine octets. Prints how many inputs were tried; exits with 1 and the input in
hex when a target breaks. ``--keep`` makes a new corpus of all that reaches a line of its own. Needs
`atheris`, which the extra ``test`` brings where it has wheels.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TypeAlias

ROOT = Path(__file__).parents[2]
MAX_LENGTH = 512  # octets of an input; longer ones reach no further
MAX_KEPT = 120  # inputs of one target in the repository
TIMEOUT_S = 10  # for one input: none may take that long
SPARE_S = 60  # for its start and end
CHILD = "--child"
_STACK = str(ROOT / "protocols")
TraceFunction: TypeAlias = Callable[[FrameType, str, object], "TraceFunction | None"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one target."""

    inputs: int
    broken: str = ""


def main() -> int:
    """Fuzz; return the exit code."""
    sys.path.insert(0, str(ROOT))
    from fuzz_targets import TARGETS

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--target", choices=sorted(TARGETS), action="append", help="only these")
    parser.add_argument("--keep", action="store_true", help="add what was found to the corpus")
    options = parser.parse_args()
    try:
        import atheris  # noqa: F401
    except ImportError:
        print(
            "atheris is not installed: pip install atheris, or ./test sets it up", file=sys.stderr
        )
        return 2
    names = options.target or list(TARGETS)
    total, broken = 0, []
    for name in names:
        outcome = _fuzz(name, max(1, options.seconds // len(names)), keep=options.keep)
        total += outcome.inputs
        print(f"{name:12} {outcome.inputs:10,} inputs{'  BROKEN' if outcome.broken else ''}")
        if outcome.broken:
            broken.append(name)
            print(outcome.broken)
    print(f"{'together':12} {total:10,} inputs")
    return 1 if broken else 0


def _fuzz(name: str, seconds: int, *, keep: bool) -> Outcome:
    from fuzz_targets import make_seeds, read_corpus

    with tempfile.TemporaryDirectory(prefix="fuzz-") as scratch:
        folder = Path(scratch)
        inputs = folder / "inputs"
        inputs.mkdir()
        for number, octets in enumerate([*read_corpus(name), *make_seeds(name)]):
            (inputs / f"seed{number}").write_bytes(octets)
        done = _run(name, seconds + SPARE_S, inputs, f"-max_total_time={seconds}", cwd=folder)
        counted = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
        crashes = sorted(folder.glob("crash-*")) + sorted(folder.glob("timeout-*"))
        if done.returncode or crashes:
            hexes = "\n".join(f"input {path.read_bytes().hex()}" for path in crashes)
            return Outcome(int(counted[1]) if counted else 0, f"{done.stdout}{hexes}\n")
        if keep:
            _keep(name, inputs)
        return Outcome(int(counted[1]) if counted else 0)


def _keep(name: str, inputs: Path) -> None:
    """Keep the smallest inputs that together reach every line that was reached."""
    from fuzz_targets import TARGETS, write_corpus

    reached: set[tuple[str, int]] = set()
    kept: list[bytes] = []
    for octets in sorted((path.read_bytes() for path in inputs.iterdir()), key=len):
        lines = _lines_of(TARGETS[name], octets)
        if not lines <= reached:
            reached |= lines
            kept.append(octets)
    write_corpus(name, kept[:MAX_KEPT])


def _lines_of(target: Callable[[bytes], None], octets: bytes) -> set[tuple[str, int]]:
    """Return the lines of the stack that an input runs through."""
    lines: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _argument: object) -> TraceFunction | None:
        file = frame.f_code.co_filename
        if not file.startswith(_STACK):
            return None
        if event == "line":
            lines.add((file, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        target(octets)
    finally:
        sys.settrace(None)
    return lines


def _run(
    name: str, timeout_s: int, folder: Path, *options: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, str(Path(__file__).resolve()), CHILD, name, str(folder), *options,
        f"-max_len={MAX_LENGTH}", f"-timeout={TIMEOUT_S}", "-print_final_stats=1", "-verbosity=1",
    ]  # fmt: skip
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, check=False, cwd=cwd
    )


def _child(name: str, arguments: list[str]) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=["protocols", "headend.domain"]):
        from fuzz_targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        _child(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main())
