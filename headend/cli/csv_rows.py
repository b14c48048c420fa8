"""CSV files as registry rows: columns are named, types follow from the record, lines are kept.

A column that does not exist, a missing one, or a value that cannot be read is refused with its
line, so that a typing error never leaves a default in force silently.
"""

from __future__ import annotations

import csv
import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

from headend.domain.errors import BadInput
from headend.ports.registry import (
    NewAccount,
    NewArea,
    NewConcentrator,
    NewInstallation,
    NewMeter,
    NewOccupancy,
    NewTransformerArea,
    NewUsagePoint,
    RowProblem,
)

if typing.TYPE_CHECKING:
    from headend.services.registry_import import NewMeterKey

_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0"})
SHOWN_PROBLEMS = 5

Row = TypeVar("Row")
Sections = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class CsvFile:
    """A file's header and rows; ``lines`` gives the line each row began on."""

    path: Path
    columns: Sequence[str]
    rows: Sequence[Mapping[str, str]]
    lines: Sequence[int]

    def refuse(self, row: int, column: str, message: str) -> BadInput:
        """Return the error that names file, line and column."""
        return BadInput(f"{self.path} line {self.lines[row]}: {column}: {message}", field=column)

    def explain(self, problems: Mapping[str, Sequence[RowProblem]]) -> BadInput:
        """Turn what storing found into one sentence naming the first lines at fault."""
        found = [problem for section in problems.values() for problem in section]
        told = [
            f"line {self.lines[problem.row]}: {problem.field}: {problem.message}"
            if problem.row < len(self.lines)
            else f"{problem.field}: {problem.message}"
            for problem in found[:SHOWN_PROBLEMS]
        ]
        more = f" (and {len(found) - len(told)} more)" if len(found) > len(told) else ""
        return BadInput(
            f"{self.path}: nothing was imported; {'; '.join(told)}{more}", field=found[0].field
        )


def read_csv(path: Path) -> CsvFile:
    """Read a file in UTF-8, with or without a byte order mark; raises `BadInput`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows, lines = [], []
            for row in reader:
                lines.append(reader.line_num)
                rows.append(row)
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}", field="file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"{path} is not CSV in UTF-8: {error}", field="file") from error
    if not columns or not rows:
        raise BadInput(f"{path} has no rows: the first line names the columns", field="file")
    content = CsvFile(path, columns, rows, lines)
    for number, row in enumerate(rows):
        if None in row or None in row.values():
            raise content.refuse(
                number, "line", f"it does not have {len(columns)} values as the first line has"
            )
    return content


def usage_point_sections(content: CsvFile) -> Sections:
    """Return usage points, and their areas where the file has the columns for them."""
    area_columns = ("transformer_area_name", "area_code", "area_name")
    _check_columns(content, [NewUsagePoint], optional=area_columns)
    sections: Sections = {"usage_points": _build(content, NewUsagePoint)}
    if set(area_columns) <= set(content.columns):
        sections["areas"] = _distinct(
            NewArea(row["area_code"], row["area_name"]) for row in content.rows
        )
        sections["transformer_areas"] = _distinct(
            NewTransformerArea(
                row["transformer_area_code"], row["transformer_area_name"], row["area_code"]
            )
            for row in content.rows
        )
    elif set(area_columns) & set(content.columns):
        raise BadInput(
            f"{content.path}: {', '.join(area_columns)} belong together: give all or none",
            field="area_code",
        )
    return sections


def concentrator_sections(content: CsvFile) -> Sections:
    """Return concentrators."""
    _check_columns(content, [NewConcentrator])
    return {"concentrators": _build(content, NewConcentrator)}


def meter_sections(content: CsvFile) -> Sections:
    """Return meters."""
    _check_columns(content, [NewMeter])
    return {"meters": _build(content, NewMeter)}


def installation_sections(content: CsvFile) -> Sections:
    """Return installations."""
    _check_columns(content, [NewInstallation])
    return {"installations": _build(content, NewInstallation)}


def account_sections(content: CsvFile) -> Sections:
    """Return accounts, and where they are when the file says so."""
    place = ("usage_point_no", "occupied_from")
    _check_columns(content, [NewAccount], optional=place)
    sections: Sections = {"accounts": _build(content, NewAccount)}
    if set(place) <= set(content.columns):
        sections["occupancies"] = [
            NewOccupancy(
                row["account_no"].strip(),
                row["usage_point_no"].strip(),
                _read(content, number, "occupied_from", date),
            )
            for number, row in enumerate(content.rows)
        ]
    elif set(place) & set(content.columns):
        raise BadInput(
            f"{content.path}: {' and '.join(place)} belong together: give both or none",
            field=place[0],
        )
    return sections


def key_sections(content: CsvFile) -> Sections:
    """Return keys; hex for AES keys, text for passwords."""
    from headend.services.registry_checks import AES_KEY_KINDS
    from headend.services.registry_import import NewMeterKey

    _check_columns(content, [NewMeterKey])

    def octets(number: int) -> bytes:
        row = content.rows[number]
        text = row["key"].strip()
        if row["kind"].strip() not in AES_KEY_KINDS:
            return text.encode()
        try:
            return bytes.fromhex(text)
        except ValueError:
            # The value stays out of the message: it is a key, if a mistyped one.
            raise content.refuse(number, "key", "it is not hex") from None

    keys: list[NewMeterKey] = _build(content, NewMeterKey, {"key": octets})
    return {"meter_keys": keys}


def _build(
    content: CsvFile,
    record: type[Row],
    special: Mapping[str, Callable[[int], object]] | None = None,
) -> list[Row]:
    """Make one record a row; an empty value takes the record's default."""
    hints = typing.get_type_hints(record)
    built = []
    for number, row in enumerate(content.rows):
        values: dict[str, object] = {}
        for item in dataclasses.fields(record):  # type: ignore[arg-type]
            text = row.get(item.name, "").strip()
            if special is not None and item.name in special:
                values[item.name] = special[item.name](number)
            elif text:
                values[item.name] = _read(content, number, item.name, hints[item.name])
            elif item.default is dataclasses.MISSING:
                raise content.refuse(number, item.name, "it is empty")
        built.append(record(**values))
    return built


def _read(content: CsvFile, number: int, column: str, wanted: Any) -> Any:
    """Read one value as the type that its record declares; None in a union is for no value."""
    text = content.rows[number][column].strip()
    if isinstance(wanted, types.UnionType):
        wanted = next(kind for kind in wanted.__args__ if kind is not type(None))
    try:
        return _READERS[wanted](text)
    except ValueError:
        raise content.refuse(number, column, f"{text!r} is not {_WANTED[wanted]}") from None


def _read_flag(text: str) -> bool:
    lowered = text.lower()
    if lowered not in _TRUE | _FALSE:
        raise ValueError(text)
    return lowered in _TRUE


def _read_instant(text: str) -> datetime:
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(text)
    return instant


_READERS: Mapping[Any, Callable[[str], object]] = {
    str: str,
    int: int,
    bool: _read_flag,
    bytes: bytes.fromhex,
    date: date.fromisoformat,
    datetime: _read_instant,
}
_WANTED: Mapping[Any, str] = {
    int: "a whole number",
    bool: "true or false",
    bytes: "octets as hex",
    date: "a day such as 2026-03-05",
    datetime: "an instant with its offset, such as 2026-03-05T00:00:00+08:00",
}


def _check_columns(
    content: CsvFile, records: Sequence[type], *, optional: Sequence[str] = ()
) -> None:
    """Refuse a file whose columns do not fit the records."""
    fields = [item for record in records for item in dataclasses.fields(record)]
    known = [*(item.name for item in fields), *optional]
    for column in content.columns:
        if content.columns.count(column) > 1:
            raise BadInput(f"{content.path}: the column {column} stands there twice", field=column)
        if column not in known:
            near = difflib.get_close_matches(column, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise BadInput(f"{content.path}: unknown column {column!r}: {hint}", field=column)
    for item in fields:
        if item.default is dataclasses.MISSING and item.name not in content.columns:
            raise BadInput(f"{content.path}: the column {item.name} is missing", field=item.name)


def _distinct(rows: Any) -> list[Any]:
    return list(dict.fromkeys(rows))
