"""Boxes: which combinations of facts a row covers, and whether anything is left outside others.

Each input of a table is cut into *segments* at every bound that any row tests, so that within a
segment no row can tell two values apart. A box is one bitmask of segments per input; one further
bit per input stands for "unknown". Asking for a point inside some boxes and outside others is then
finite and exact; it decides reachability and monotonicity of a table without sampling.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from headend.domain.errors import BadInput
from rules.table_grammar import IntSet, domain_of
from rules.table_model import SUPPLY_OFF, DecisionTable

Box: TypeAlias = tuple[int, ...]

# A table of 20 rows and 12 facts takes some hundreds of steps; beyond this nobody can read it.
MAXIMUM_STEPS = 200_000


@dataclass(frozen=True, slots=True)
class Space:
    """The segments of every input: ``segments[input][k]`` is the k-th range [low, high]."""

    segments: tuple[tuple[tuple[int, int], ...], ...]
    unknown: tuple[int, ...]  # the bit of "unknown" per input; 0 where it cannot be unknown

    def everything(self) -> Box:
        """Return the box of all points, unknown ones included."""
        return tuple(
            (1 << len(segments)) - 1 | unknown
            for segments, unknown in zip(self.segments, self.unknown, strict=True)
        )

    def known(self) -> Box:
        """Return the box of the points at which every fact is known."""
        return tuple((1 << len(segments)) - 1 for segments in self.segments)


def build_space(table: DecisionTable) -> Space:
    """Cut every input of the table into its segments."""
    segments = []
    unknown = []
    for index, spec in enumerate(table.inputs):
        ranges = list(domain_of(spec))
        for row in table.rows:
            ranges = _cut(ranges, row.tests[index])
        segments.append(tuple(ranges))
        # Whether the supply is off is always known: an account of unknown supply is not decided.
        unknown.append(0 if spec.name == SUPPLY_OFF else 1 << len(ranges))
    return Space(tuple(segments), tuple(unknown))


def _cut(ranges: list[tuple[int, int]], test: IntSet | None) -> list[tuple[int, int]]:
    bounds = {low for low, _ in test or ()} | {high + 1 for _, high in test or ()}
    pieces: list[tuple[int, int]] = []
    for low, high in ranges:
        start = low
        for bound in sorted(bounds):
            if start < bound <= high:
                pieces.append((start, bound - 1))
                start = bound
        pieces.append((start, high))
    return pieces


def certain_box(space: Space, tests: Sequence[IntSet | None]) -> Box:
    """Return where a row surely matches: a test of an unknown fact is not certain."""
    return _box(space, tests, with_unknown=False)


def possible_box(space: Space, tests: Sequence[IntSet | None]) -> Box:
    """Return where a row matches for at least one value of the unknown facts."""
    return _box(space, tests, with_unknown=True)


def _box(space: Space, tests: Sequence[IntSet | None], *, with_unknown: bool) -> Box:
    masks = []
    for segments, unknown, test in zip(space.segments, space.unknown, tests, strict=True):
        if test is None:
            masks.append((1 << len(segments)) - 1 | unknown)
            continue
        mask = unknown if with_unknown else 0
        for position, (low, high) in enumerate(segments):
            if any(first <= low and high <= last for first, last in test):
                mask |= 1 << position
        masks.append(mask)
    return tuple(masks)


def meet(boxes: Iterable[Box]) -> Box | None:
    """Return the common part of the boxes, or None when it is empty."""
    common: Box | None = None
    for box in boxes:
        common = box if common is None else tuple(a & b for a, b in zip(common, box, strict=True))
        if not all(common):
            return None
    return common


def find_point(inside: Iterable[Box], outside: Sequence[Box]) -> Box | None:
    """Return a non-empty box inside all of ``inside`` and outside all of ``outside``, or None.

    Raises `BadInput` after `MAXIMUM_STEPS`: a table that intricate is refused, not half-checked.
    """
    start = meet(inside)
    if start is None:
        return None
    steps = 0
    pending: list[tuple[Box, int]] = [(start, 0)]
    while pending:
        steps += 1
        if steps > MAXIMUM_STEPS:
            raise BadInput(
                "the table is too intricate to be checked; split it or simplify its conditions",
                field="rules",
                code="too_intricate",
            )
        box, index = pending.pop()
        while index < len(outside) and meet((box, outside[index])) is None:
            index += 1
        if index == len(outside):
            return box
        pending.extend((piece, index + 1) for piece in _subtract(box, outside[index]))
    return None


def _subtract(box: Box, other: Box) -> list[Box]:
    """Return disjoint boxes that together are ``box`` without ``other``."""
    pieces: list[Box] = []
    rest = box
    for index, (mask, blocked) in enumerate(zip(box, other, strict=True)):
        left = mask & ~blocked
        if left:
            pieces.append((*rest[:index], left, *rest[index + 1 :]))
        rest = (*rest[:index], mask & blocked, *rest[index + 1 :])
    return pieces
