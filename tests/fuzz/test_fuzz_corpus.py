"""The corpus of the fuzz targets, replayed: what once reached new code, or broke something."""

from __future__ import annotations

import pytest
from fuzz_targets import CORPUS, TARGETS, make_seeds, read_corpus


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_holds_what_the_target_promises(name: str) -> None:
    inputs = read_corpus(name)
    assert inputs, f"{CORPUS / name}.hex is missing"
    for octets in inputs:
        TARGETS[name](octets)


@pytest.mark.parametrize("name", TARGETS)
def test_genuine_octets_hold_it_too(name: str) -> None:
    for octets in make_seeds(name):
        TARGETS[name](octets)


def test_every_corpus_has_its_target() -> None:
    assert {path.stem for path in CORPUS.glob("*.hex")} == set(TARGETS)
