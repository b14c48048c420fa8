"""A meter in a table, for tests of services: no wire, no session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from headend.domain.errors import HeadEndError
from headend.domain.obis import Obis
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.data import Data
from protocols.dlms.errors import AccessResult, refusal
from protocols.dlms.selection import Selection
from protocols.dlms.targets import Attribute

Key = tuple[int, str, int]


@dataclass(slots=True)
class TableAccess:
    """`CosemAccess` from values by (class, OBIS, attribute); remembers what was asked.

    ``refusals`` are answered instead of a value; ``selects`` False refuses every selection, and a
    list of attributes is refused as a whole where ``lists`` is False. A buffer is answered whole.
    """

    values: dict[Key, Data] = field(default_factory=dict)
    refusals: dict[Key, AccessResult] = field(default_factory=dict)
    selects: bool = True
    selection_refusal: AccessResult = AccessResult.SCOPE_OF_ACCESS_VIOLATED
    lists: bool = True
    asked: list[tuple[Attribute, Selection | None]] = field(default_factory=list)
    written: list[tuple[Key, Data]] = field(default_factory=list)
    invoked: list[tuple[Key, Data]] = field(default_factory=list)

    async def get(self, attribute: Attribute, selection: Selection | None = None) -> bytes:
        self.asked.append((attribute, selection))
        answer = self._answer(attribute, selection)
        if isinstance(answer, AccessResult):
            raise refusal(answer, f"reading {attribute}")
        return answer

    async def get_all(self, attributes: Sequence[Attribute]) -> list[bytes | AccessResult]:
        if not self.lists:
            raise refusal(AccessResult.OTHER_REASON, "reading a list")
        self.asked += [(attribute, None) for attribute in attributes]
        return [self._answer(attribute, None) for attribute in attributes]

    async def set(self, attribute: Attribute, value: bytes) -> None:
        key = _key(attribute)
        if key in self.refusals or key not in self.values:
            raise refusal(AccessResult.READ_WRITE_DENIED, f"writing {attribute}")
        self.values[key] = xdr.decode(value)
        self.written.append((key, self.values[key]))

    async def act(self, method: Attribute, parameter: bytes | None) -> bytes:
        self.invoked.append((_key(method), None if parameter is None else xdr.decode(parameter)))
        return b""

    def _answer(self, attribute: Attribute, selection: Selection | None) -> bytes | AccessResult:
        key = _key(attribute)
        if key in self.refusals:
            return self.refusals[key]
        if selection is not None and not self.selects:
            return self.selection_refusal
        if key in self.values:
            return xdr.encode(self.values[key])
        same = {known[0] for known in self.values if known[1] == str(attribute.obis)}
        if same and attribute.class_id not in same:
            return AccessResult.OBJECT_CLASS_INCONSISTENT
        return AccessResult.READ_WRITE_DENIED if same else AccessResult.OBJECT_UNDEFINED


@dataclass(slots=True)
class FailingAccess(TableAccess):
    """`TableAccess` whose every request fails in the same way."""

    fault: HeadEndError = field(default_factory=HeadEndError)

    async def get(self, attribute: Attribute, selection: Selection | None = None) -> bytes:
        raise self.fault


def list_object(class_id: int, obis: str, **modes: int) -> d.Structure:
    """Return an element of an object list; ``modes`` are access modes by ``a2=1``."""
    rights = d.Array(
        d.Structure((d.Integer(int(name[1:])), d.Enum(mode), None)) for name, mode in modes.items()
    )
    methods = d.Array()
    return d.Structure(
        (
            d.LongUnsigned(class_id),
            d.Unsigned(0),
            Obis.parse(obis).octets,
            d.Structure((rights, methods)),
        )
    )


def scaler_unit(scaler: int, unit: int) -> d.Structure:
    """Return attribute 3 of a register."""
    return d.Structure((d.Integer(scaler), d.Enum(unit)))


def _key(attribute: Attribute) -> Key:
    return attribute.class_id, str(attribute.obis), attribute.number
