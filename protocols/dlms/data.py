"""The data types of COSEM (Blue Book, 4.1.5; clause unverified) as Python values.

Every type has a Python type of its own: numbers are ``int`` and ``float`` subclasses that compute
and compare as numbers, so that only the encoder looks at their width. Octet strings are ``bytes``
(a date-time inside one stays ``bytes``), null-data is ``None``, boolean is ``bool``. Two values of
different types may be equal (``Unsigned(5) == Long(5)``); their encodings are not.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum as _PythonEnum
from typing import Any, ClassVar, Self, TypeAlias

from headend.domain.errors import LocalProtocolError

TAG_NULL = 0
TAG_ARRAY = 1
TAG_STRUCTURE = 2
TAG_BOOLEAN = 3
TAG_BIT_STRING = 4
TAG_OCTET_STRING = 9
TAG_VISIBLE_STRING = 10
TAG_UTF8_STRING = 12
TAG_COMPACT_ARRAY = 19
TAG_DATE_TIME = 25
TAG_DATE = 26
TAG_TIME = 27
TAG_DONT_CARE = 255


class _Number(int):
    """An integer of fixed width; the class carries tag, format and range."""

    __slots__ = ()
    tag: ClassVar[int]
    format: ClassVar[str]
    low: ClassVar[int]
    high: ClassVar[int]

    def __new__(cls, value: int) -> _Number:
        if not cls.low <= value <= cls.high:
            raise LocalProtocolError(f"{value} does not fit {cls.__name__}")
        return int.__new__(cls, value)

    def __init_subclass__(cls, tag: int, format: str) -> None:
        cls.tag, cls.format = tag, ">" + format
        bits = 8 * struct.calcsize(cls.format)
        signed = format.islower()
        cls.low, cls.high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, 2**bits - 1)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"


class DoubleLong(_Number, tag=5, format="i"): ...


class DoubleLongUnsigned(_Number, tag=6, format="I"): ...


class Bcd(_Number, tag=13, format="b"): ...


class Integer(_Number, tag=15, format="b"): ...


class Long(_Number, tag=16, format="h"): ...


class Unsigned(_Number, tag=17, format="B"): ...


class LongUnsigned(_Number, tag=18, format="H"): ...


class Long64(_Number, tag=20, format="q"): ...


class Long64Unsigned(_Number, tag=21, format="Q"): ...


class Enum(_Number, tag=22, format="B"): ...


class DeltaInteger(_Number, tag=28, format="b"): ...


class DeltaLong(_Number, tag=29, format="h"): ...


class DeltaDoubleLong(_Number, tag=30, format="i"): ...


class DeltaUnsigned(_Number, tag=31, format="B"): ...


class DeltaLongUnsigned(_Number, tag=32, format="H"): ...


class DeltaDoubleLongUnsigned(_Number, tag=33, format="I"): ...


class _Float(float):
    """A floating-point number; ``octets`` are kept for NaN, of which there are many.

    Values beyond the width are refused, others are rounded to it: that is what is compared.
    """

    __slots__ = ("octets",)
    tag: ClassVar[int]
    format: ClassVar[str]
    octets: bytes | None

    def __new__(cls, value: float | str, octets: bytes | None = None) -> Self:
        try:
            packed = struct.pack(cls.format, float(value))
        except OverflowError:
            raise LocalProtocolError(f"{value!r} does not fit {cls.__name__}") from None
        number = float.__new__(cls, struct.unpack(cls.format, packed)[0])
        number.octets = octets if number != number else None
        return number

    def __reduce__(self) -> tuple[type, tuple[float, bytes | None]]:
        return type(self), (float(self), self.octets)

    def __init_subclass__(cls, tag: int, format: str) -> None:
        cls.tag, cls.format = tag, ">" + format

    def __repr__(self) -> str:
        return f"{type(self).__name__}({float(self)!r})"

    def encode(self) -> bytes:
        """Return the octets, those of a received NaN as they came."""
        return self.octets or struct.pack(self.format, self)


class Float32(_Float, tag=23, format="f"):
    """IEEE 754 single."""

    __slots__ = ()


class Float64(_Float, tag=24, format="d"):
    """IEEE 754 double."""

    __slots__ = ()


class VisibleString(str):
    """Octets of an ASCII string; others survive as Latin-1, because meters do send them."""

    __slots__ = ()


class Utf8String(str):
    """A UTF-8 string."""

    __slots__ = ()


class Array(tuple):  # type: ignore[type-arg]
    """Elements of one type."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Array({tuple.__repr__(self)})"


class Structure(tuple):  # type: ignore[type-arg]
    """Elements of any types."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"Structure({tuple.__repr__(self)})"


class DontCare(_PythonEnum):
    """The value that stands for "whatever you have"."""

    DONT_CARE = TAG_DONT_CARE


DONT_CARE = DontCare.DONT_CARE


@dataclass(frozen=True, slots=True)
class BitString:
    """``count`` bits, most significant first; unused low bits of the last octet are kept."""

    count: int
    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != (self.count + 7) // 8:
            raise LocalProtocolError(f"{self.count} bits do not fill {len(self.octets)} octets")

    @classmethod
    def from_bits(cls, bits: str) -> BitString:
        """Build from text such as ``"0110"``."""
        size = (len(bits) + 7) // 8
        padded = bits.ljust(size * 8, "0")
        return cls(len(bits), int(padded, 2).to_bytes(size, "big") if bits else b"")

    @property
    def bits(self) -> str:
        """Return the bits as text, first bit first."""
        return "".join(f"{octet:08b}" for octet in self.octets)[: self.count]


@dataclass(frozen=True, slots=True)
class ArrayType:
    """Type description of an array inside a compact array."""

    count: int
    element: TypeDescription


@dataclass(frozen=True, slots=True)
class StructureType:
    """Type description of a structure inside a compact array."""

    elements: tuple[TypeDescription, ...]


TypeDescription: TypeAlias = "int | ArrayType | StructureType"


@dataclass(frozen=True, slots=True)
class CompactArray:
    """Elements of one described type, without tags; ``contents`` stays as it came."""

    description: TypeDescription
    contents: bytes


Data: TypeAlias = Any  # None, bool, or one of the types above; recursive, so left to the codec
