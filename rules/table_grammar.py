"""The language of a decision table's cell, and what a cell means.

    cell        = "" | list | both | alternative *( "," alternative ) ; "" matches anything
    list        = ["not"] "in" "[" literal *( "," literal ) "]"
    both        = comparison "and" comparison
    alternative = range | comparison | literal                      ; "," means or
    comparison  = ("<" | "<=" | ">" | ">=" | "==" | "!=") literal
    range       = ("[" | "(") number ".." number ("]" | ")")        ; numbers only
    literal     = number | text | "true" | "false" | date
    number      = ["-"] digits ["." digits]
    text        = '"' characters '"' | "'" characters "'"           ; no escapes
    date        = 'd("' YYYY-MM-DD '")'

Nothing else. It is a subset of what the open GoRules format (JDM, its "unary" expressions) accepts,
with the same meaning; a dash, an expression, a function or a second ``in`` is refused, because
other engines skip a cell they cannot read without a word. ``<`` and its kin apply to numbers and
dates; text and booleans are compared for equality only.

Every column is of integers once scaled, so a test is a set of integers: sorted, disjoint, closed
ranges. That makes reachability and monotonicity decidable without sampling.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeAlias

from headend.domain.errors import BadInput
from rules.facts import FactKind, FactSpec, encode_value

# Closed ranges of integers, sorted and disjoint. MINIMUM and MAXIMUM stand for no bound.
IntSet: TypeAlias = tuple[tuple[int, int], ...]

MINIMUM = -(2**63)
MAXIMUM = 2**63 - 1

# A cell longer than this is no rule that anybody can read.
MAXIMUM_CELL_LENGTH = 500
MAXIMUM_DIGITS = 18

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<date>d\(\s*(?:"(?P<d1>[^"]*)"|'(?P<d2>[^']*)')\s*\))
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?)
      | (?P<text>"[^"\\]*"|'[^'\\]*')
      | (?P<op><=|>=|==|!=|<|>)
      | (?P<dots>\.\.)
      | (?P<punct>[\[\](),])
      | (?P<word>[A-Za-z_]+)
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def parse_cell(text: str, spec: FactSpec) -> IntSet | None:
    """Return what the cell matches, in units of the fact's column; None matches anything.

    Raises `BadInput` (``field`` is the fact) saying what is outside the grammar, of the wrong kind,
    or matches nothing at all.
    """
    if not text.strip():
        return None
    if len(text) > MAXIMUM_CELL_LENGTH:
        raise _refuse(spec, f"a cell may have {MAXIMUM_CELL_LENGTH} characters, not {len(text)}")
    reader = _Reader(_tokens(text, spec), spec)
    matched = reader.read_cell()
    if not matched:
        raise _refuse(spec, f"{text!r} can never match")
    return matched


def domain_of(spec: FactSpec) -> IntSet:
    """Return every value the fact's column may hold."""
    if spec.kind is FactKind.TEXT:
        return ((0, len(spec.values) - 1),)
    if spec.kind is FactKind.BOOLEAN:
        return ((0, 1),)
    return ((MINIMUM, MAXIMUM),)


def union(*sets: IntSet) -> IntSet:
    """Return the union as sorted, disjoint, non-adjacent ranges."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(each for one in sets for each in one):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def intersect(first: IntSet, second: IntSet) -> IntSet:
    """Return the values in both."""
    return union(
        tuple((max(a, c), min(b, d)) for a, b in first for c, d in second if max(a, c) <= min(b, d))
    )


def complement(one: IntSet, domain: IntSet) -> IntSet:
    """Return the values of ``domain`` that are not in ``one``."""
    gaps: list[tuple[int, int]] = []
    start = MINIMUM
    for low, high in one:
        if start < low:
            gaps.append((start, low - 1))
        start = high + 1
    if start <= MAXIMUM:
        gaps.append((start, MAXIMUM))
    return intersect(tuple(gaps), domain)


def _refuse(spec: FactSpec, message: str) -> BadInput:
    return BadInput(message, field=spec.name, code="outside_grammar")


def _tokens(text: str, spec: FactSpec) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None:
            raise _refuse(
                spec, f"{stripped[position:].strip()!r} in {text!r} is outside the grammar"
            )
        position = match.end()
        kind = match.lastgroup or ""
        if match["date"] is not None:
            tokens.append(_Token("date", match["d1"] if match["d1"] is not None else match["d2"]))
        else:
            tokens.append(_Token(kind, match[kind]))
    return tokens


class _Reader:
    """Reads one cell's tokens by recursive descent; each method consumes what it names."""

    def __init__(self, tokens: list[_Token], spec: FactSpec) -> None:
        self._tokens = tokens
        self._next = 0
        self._spec = spec
        self._domain = domain_of(spec)

    def read_cell(self) -> IntSet:
        if self._peek() in (_Token("word", "in"), _Token("word", "not")):
            matched = self._read_list()
        else:
            matched = self._read_alternative()
            if self._tokens[0].kind == "op" and self._peek() == _Token("word", "and"):
                self._take()
                matched = intersect(matched, self._read_comparison())
            while self._peek() == _Token("punct", ","):
                if _Token("word", "and") in self._tokens:
                    raise _refuse(self._spec, "'and' and ',' cannot stand in one cell")
                self._take()
                matched = union(matched, self._read_alternative())
        if self._next < len(self._tokens):
            raise self._unexpected()
        return matched

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _take(self) -> _Token:
        token = self._peek()
        if token is None:
            raise _refuse(self._spec, "the cell ends too early")
        self._next += 1
        return token

    def _expect(self, kind: str, text: str) -> None:
        if self._peek() != _Token(kind, text):
            raise self._unexpected(f"{text!r}")
        self._take()

    def _unexpected(self, wanted: str = "the end of the cell") -> BadInput:
        token = self._peek()
        found = "the end of the cell" if token is None else repr(token.text)
        return _refuse(self._spec, f"expected {wanted}, found {found}")

    def _read_list(self) -> IntSet:
        negated = self._peek() == _Token("word", "not")
        if negated:
            self._take()
        self._expect("word", "in")
        self._expect("punct", "[")
        values = [self._read_literal()]
        while self._peek() == _Token("punct", ","):
            self._take()
            values.append(self._read_literal())
        self._expect("punct", "]")
        listed = union(*(((value, value),) for value in values))
        return complement(listed, self._domain) if negated else listed

    def _read_alternative(self) -> IntSet:
        token = self._peek()
        if token is not None and token.kind == "punct" and token.text in "[(":
            return self._read_range()
        if token is not None and token.kind == "op":
            return self._read_comparison()
        value = self._read_literal()
        return ((value, value),)

    def _read_comparison(self) -> IntSet:
        token = self._take()
        if token.kind != "op":
            raise _refuse(self._spec, f"expected a comparison, found {token.text!r}")
        ordered = self._spec.kind in (FactKind.NUMBER, FactKind.DATE)
        if token.text not in ("==", "!=") and not ordered:
            raise _refuse(self._spec, f"{token.text} has no meaning for a {self._spec.kind}")
        value = self._read_literal()
        match token.text:
            case "<":
                return ((MINIMUM, value - 1),)
            case "<=":
                return ((MINIMUM, value),)
            case ">":
                return ((value + 1, MAXIMUM),)
            case ">=":
                return ((value, MAXIMUM),)
            case "==":
                return ((value, value),)
            case _:
                return complement(((value, value),), self._domain)

    def _read_range(self) -> IntSet:
        if self._spec.kind is not FactKind.NUMBER:
            raise _refuse(self._spec, "a range is of numbers; compare dates with 'and'")
        opening = self._take().text
        low = self._read_literal()
        self._expect("dots", "..")
        high = self._read_literal()
        closing = self._take()
        if closing.text not in ("]", ")"):
            raise _refuse(self._spec, f"a range ends with ] or ), not {closing.text!r}")
        low += opening == "("
        high -= closing.text == ")"
        return ((low, high),) if low <= high else ()

    def _read_literal(self) -> int:
        token = self._take()
        value: object
        if token.kind == "number":
            if sum(character.isdigit() for character in token.text) > MAXIMUM_DIGITS:
                raise _refuse(self._spec, f"{token.text} has more than {MAXIMUM_DIGITS} digits")
            value = Decimal(token.text)
        elif token.kind == "text":
            value = token.text[1:-1]
        elif token.kind == "date":
            value = self._read_date(token.text)
        elif token.kind == "word" and token.text in ("true", "false"):
            value = token.text == "true"
        else:
            raise _refuse(self._spec, f"expected a value, found {token.text!r}")
        return int(encode_value(self._spec, value))

    def _read_date(self, text: str) -> date:
        if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
            raise _refuse(self._spec, f"{text!r} is no date such as 2026-01-31")
        try:
            return date.fromisoformat(text)
        except ValueError as error:
            raise _refuse(self._spec, f"{text!r} is no date: {error}") from error
