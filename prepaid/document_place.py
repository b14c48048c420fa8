"""A value inside a parsed document together with its place, so that every refusal names it.

Knows how documents are addressed (``versions[0].seasons[1].from``) and the plain kinds of value
they hold; refuses to know what any of it means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NoReturn

from headend.domain.errors import BadInput

_PLAIN_DECIMAL = re.compile(r"(-?[0-9]{1,12})(?:\.([0-9]{1,18}))?")
_CLOCK = re.compile(r"([0-9]{2}):([0-9]{2})")
_MONTH_DAY = re.compile(r"([0-9]{2})-([0-9]{2})")
_LEAP_YEAR = 2000
MINUTES_PER_DAY = 1440


@dataclass(frozen=True, slots=True)
class Place:
    """One value of a document and how to find it."""

    path: str
    value: object

    def refuse(self, message: str, *, code: str = "invalid") -> NoReturn:
        """Raise `BadInput` that names this place."""
        raise BadInput(f"{self.path or 'document'}: {message}", field=self.path, code=code)

    def keys(self, *, required: Sequence[str] = (), optional: Sequence[str] = ()) -> None:
        """Refuse a missing key or one that the format does not know (most often a misspelling)."""
        mapping = self.mapping()
        for name in required:
            if name not in mapping:
                Place(self._child(name), None).refuse("is missing", code="missing")
        allowed = {*required, *optional}
        for name in mapping:
            if name not in allowed:
                Place(self._child(name), None).refuse(
                    f"is not a field here; known are {', '.join(sorted(allowed))}",
                    code="unknown_field",
                )

    def mapping(self) -> Mapping[str, object]:
        """Return the value as a mapping with text keys."""
        if not isinstance(self.value, Mapping) or not all(isinstance(k, str) for k in self.value):
            self.refuse("must be an object with named fields")
        return self.value

    def at(self, name: str) -> Place:
        """Return a field's place; its value is None where the field is absent."""
        return Place(self._child(name), self.mapping().get(name))

    def fields(self) -> Iterator[tuple[str, Place]]:
        """Walk the fields of an object."""
        for name, value in self.mapping().items():
            yield name, Place(self._child(name), value)

    def items(self, *, at_least: int = 1) -> list[Place]:
        """Return the elements of a list."""
        if not isinstance(self.value, Sequence) or isinstance(self.value, (str, bytes)):
            self.refuse("must be a list")
        if len(self.value) < at_least:
            self.refuse(f"must have at least {at_least} element(s)")
        return [Place(f"{self.path}[{i}]", element) for i, element in enumerate(self.value)]

    def text(self) -> str:
        """Return a text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip():
            self.refuse("must be a text that is not empty")
        return self.value

    def one_of(self, choices: Sequence[str]) -> str:
        """Return a text out of ``choices``."""
        if self.value not in choices:
            self.refuse(f"{self.value!r} is not one of {', '.join(choices)}")
        return str(self.value)

    def day(self) -> date:
        """Return a date, given as one or as ``YYYY-MM-DD``."""
        if type(self.value) is date:
            return self.value
        try:
            return date.fromisoformat(self.text())
        except ValueError:
            self.refuse(f"{self.value!r} is not a date such as 2025-01-31")

    def month_day(self) -> tuple[int, int]:
        """Return ``MM-DD`` as (month, day); 02-29 exists."""
        match = _MONTH_DAY.fullmatch(self.text())
        if match is None:
            self.refuse(f"{self.value!r} is not a day of the year such as 07-01")
        month, day = int(match[1]), int(match[2])
        try:
            date(_LEAP_YEAR, month, day)
        except ValueError:
            self.refuse(f"{self.value!r} is not a day of the year")
        return month, day

    def minute_of_day(self) -> int:
        """Return ``HH:MM`` as minutes since midnight; ``24:00`` is the end of the day."""
        match = _CLOCK.fullmatch(self.text())
        if match is None or int(match[2]) > 59:
            self.refuse(f"{self.value!r} is not a time of day such as 08:30")
        minute = int(match[1]) * 60 + int(match[2])
        if minute > MINUTES_PER_DAY:
            self.refuse(f"{self.value!r} is after 24:00")
        return minute

    def scaled(self, places: int, *, whole_is_scaled: bool, unit: str) -> int:
        """Return an exact number times ``10**places``.

        Decimal texts have at most ``places`` decimals. A whole number is taken as already scaled
        when ``whole_is_scaled``, else as units. Binary floats are refused: they are not exact.
        """
        value = self.value
        if isinstance(value, int) and not isinstance(value, bool):
            return value if whole_is_scaled else value * 10**places
        match = _PLAIN_DECIMAL.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            self.refuse(
                f"{value!r} is not an exact number of {unit}; write it as text, e.g. '0.53'"
            )
        fraction = (match[2] or "").rstrip("0")
        if len(fraction) > places:
            self.refuse(f"{value!r} has more than {places} decimals", code="too_precise")
        return int(match[1] + fraction.ljust(places, "0"))

    def _child(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name
