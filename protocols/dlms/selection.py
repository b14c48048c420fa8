"""Selective access: which rows and columns of a profile a GET asks for.

Selector 1 is a range over a restricting column (normally the clock), selector 2 a range of entries
counted from 1 (Blue Book, Profile generic; clause unverified). Any other selector is kept as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from headend.domain.obis import CLOCK, Obis
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData

RANGE = 1
ENTRY = 2


@dataclass(frozen=True, slots=True)
class CaptureObject:
    """One column of a profile: class, OBIS, attribute (0: all) and index in a structure (0)."""

    class_id: int
    obis: Obis
    attribute: int = 2
    index: int = 0

    def to_data(self) -> d.Structure:
        """Return the structure that stands for it on the wire."""
        return d.Structure(
            (
                d.LongUnsigned(self.class_id),
                self.obis.octets,
                d.Integer(self.attribute),
                d.LongUnsigned(self.index),
            )
        )

    @classmethod
    def from_data(cls, value: Data) -> CaptureObject:
        """Read the structure; raises `MalformedData` for anything else."""
        match value:
            case (int(class_id), bytes(obis), int(attribute), int(index)) if len(obis) == 6:
                return cls(int(class_id), Obis(obis), int(attribute), int(index))
        raise MalformedData("not a capture object")


CLOCK_COLUMN = CaptureObject(8, CLOCK)


@dataclass(frozen=True, slots=True)
class RangeSelection:
    """Rows whose ``column`` lies in ``[first, last]``, both ends included.

    The ends are COSEM values: octet-strings of 12 (or `CosemDateTime`) for a clock column.
    No ``columns`` means all.
    """

    first: Data
    last: Data
    column: CaptureObject = CLOCK_COLUMN
    columns: tuple[CaptureObject, ...] = ()


@dataclass(frozen=True, slots=True)
class EntrySelection:
    """Entries ``[first, last]`` counted from 1; a last of 0 means up to the newest."""

    first: int
    last: int
    first_column: int = 1
    last_column: int = 0


@dataclass(frozen=True, slots=True)
class OtherSelection:
    """A selector of another class, with its parameters."""

    selector: int
    parameters: Data


Selection: TypeAlias = RangeSelection | EntrySelection | OtherSelection


def clock_octets(value: Data) -> CosemDateTime:
    """Return the date-time in an end of a range; raises `MalformedData` if there is none."""
    if isinstance(value, CosemDateTime):
        return value
    if isinstance(value, bytes):
        return CosemDateTime.parse(value)
    raise MalformedData(f"{type(value).__name__} is no date-time")


def encode_selection(selection: Selection | None) -> bytes:
    """Encode the optional access selection, its presence flag included."""
    if selection is None:
        return b"\x00"
    if isinstance(selection, RangeSelection):
        columns = d.Array(column.to_data() for column in selection.columns)
        parts = d.Structure((selection.column.to_data(), selection.first, selection.last, columns))
        return bytes((1, RANGE)) + xdr.encode(parts)
    if isinstance(selection, EntrySelection):
        parts = d.Structure(
            (
                d.DoubleLongUnsigned(selection.first),
                d.DoubleLongUnsigned(selection.last),
                d.LongUnsigned(selection.first_column),
                d.LongUnsigned(selection.last_column),
            )
        )
        return bytes((1, ENTRY)) + xdr.encode(parts)
    return bytes((1, selection.selector)) + xdr.encode(selection.parameters)


def decode_selection(octets: bytes, position: int) -> tuple[Selection | None, int]:
    """Decode an optional access selection; return it and the position behind it."""
    if position >= len(octets):
        raise MalformedData("the access selection is missing")
    if octets[position] == 0:
        return None, position + 1
    if position + 1 >= len(octets):
        raise MalformedData("the access selector is missing")
    selector = octets[position + 1]
    parameters, end = xdr.decode_at(octets, position + 2)
    match selector, parameters:
        case 1, (column, first, last, d.Array() as columns):
            chosen = tuple(CaptureObject.from_data(each) for each in columns)
            return RangeSelection(first, last, CaptureObject.from_data(column), chosen), end
        case 2, (int(first), int(last), int(first_column), int(last_column)):
            return (
                EntrySelection(int(first), int(last), int(first_column), int(last_column)),
                end,
            )
    return OtherSelection(selector, parameters), end
