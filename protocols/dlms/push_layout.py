"""What pushed data mean: OBIS codes joined with their values, found from the data themselves.

Meters arrange a push in many ways, and no list of models would be complete. Those seen:

- structures of (OBIS, value) or (OBIS, value, (scaler, unit)), in an array or structure;
- one flat structure in which OBIS codes and values alternate, each value followed by its scaler
  and unit or not, with a time or a list name before and a text behind;
- (class, OBIS, attribute, value), tagged or as a descriptor without tags;
- (class, OBIS, scaler, value) and (value, class, (scaler, unit), OBIS);
- the list of captured objects first, and their values in the same order behind it.

`read_layout` reads any mixture of them. What no code belongs to stays in ``loose``, in order;
nothing is dropped and nothing is guessed from a position (`push_lists` knows published lists).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from headend.domain.obis import Obis
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.compact_array import compact_array_elements
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData
from protocols.dlms.push_body import AttributeDescriptor, is_obis
from protocols.dlms.units import ScalerUnit, parse_scaler_unit

MAX_DEPTH = xdr.MAX_DEPTH
_REGISTER_CLASSES = frozenset({3, 4})  # register, extended register
_VALUE, _SCALER_UNIT = 2, 3  # their attributes


@dataclass(frozen=True, slots=True)
class PushItem:
    """One value with its name; class, attribute, scaler and unit as far as the push says."""

    obis: Obis
    value: Data
    class_id: int | None = None
    attribute: int | None = None
    scaler_unit: ScalerUnit | None = None


@dataclass(frozen=True, slots=True)
class PushLayout:
    """The items of a push in its order, and the values without a name."""

    items: tuple[PushItem, ...]
    loose: tuple[Data, ...]


def read_layout(value: Data) -> PushLayout:
    """Join codes and values of a decoded push."""
    reader = _Reader()
    reader.read(value, 0)
    return PushLayout(tuple(reader.finish()), tuple(reader.loose))


@dataclass(slots=True)
class _Numbered:
    """(class, OBIS, number, value): whether the numbers are attributes or scalers shows at last."""

    class_id: int
    obis: Obis
    number: int
    value: Data
    scaler_unit: ScalerUnit | None


@dataclass(slots=True)
class _Reader:
    items: list[PushItem | _Numbered] = field(default_factory=list)
    loose: list[Data] = field(default_factory=list)

    def finish(self) -> list[PushItem]:
        """Return the items, with the numbers of (class, OBIS, number, value) settled."""
        numbers = [item.number for item in self.items if isinstance(item, _Numbered)]
        # No attribute has a number below 1; registers are pushed by attribute 2 as a rule.
        attributes = all(number >= 1 for number in numbers) and 2 in numbers
        return _join_units(
            [
                _settle(item, attributes) if isinstance(item, _Numbered) else item
                for item in self.items
            ]
        )

    def read(self, value: Data, depth: int) -> None:
        elements = _elements(value)
        if elements is None or depth > MAX_DEPTH:
            self.loose.append(value)
            return
        position = self._captured(elements)
        while position < len(elements):
            taken = (
                self._described(elements, position)
                or self._classified(elements, position)
                or self._coded(elements, position)
                or self._value_first(elements, position)
            )
            if taken:
                position += taken
            else:
                self.read(elements[position], depth + 1)
                position += 1

    def _captured(self, elements: Sequence[Data]) -> int:
        """Take (objects, value, value, ...) or (objects, (value, value, ...)); return how many."""
        objects = _captured_objects(elements[0]) if elements else None
        if not objects:
            return 0
        values: Sequence[Data] = elements[1:]
        if len(elements) == 2 and len(objects) > 1:
            inner = _elements(elements[1])
            if inner is not None and len(inner) == len(objects):
                values = inner
        if len(values) == len(objects) - 1 and objects[0].class_id == 40:
            objects = objects[1:]  # the list names itself, as the first of what is pushed
        if len(values) != len(objects):
            return 0
        for name, value in zip(objects, values, strict=True):
            plain, scaler_unit = _split_value(value)
            self.items.append(
                PushItem(name.obis, plain, name.class_id, name.attribute, scaler_unit)
            )
        return len(elements)

    def _described(self, elements: Sequence[Data], at: int) -> int:
        name = elements[at]
        if not isinstance(name, AttributeDescriptor) or at + 1 >= len(elements):
            return 0
        value, scaler_unit = _split_value(elements[at + 1])
        taken = 2
        if scaler_unit is None:
            scaler_unit, extra = _scaler_unit_at(elements, at + 2)
            taken += extra
        self.items.append(PushItem(name.obis, value, name.class_id, name.attribute, scaler_unit))
        return taken

    def _classified(self, elements: Sequence[Data], at: int) -> int:
        """Take class, OBIS, number, value."""
        if at + 3 >= len(elements) or not _is_class(elements[at]) or not is_obis(elements[at + 1]):
            return 0
        class_id, code, number = int(elements[at]), Obis(elements[at + 1]), elements[at + 2]
        if not isinstance(number, d.Integer | d.Unsigned):
            return 0
        value, scaler_unit = _split_value(elements[at + 3])
        taken = 4
        if scaler_unit is None:
            scaler_unit, extra = _scaler_unit_at(elements, at + 4)
            taken += extra
        self.items.append(_Numbered(class_id, code, int(number), value, scaler_unit))
        return taken

    def _coded(self, elements: Sequence[Data], at: int) -> int:
        """Take OBIS, value and, where they follow or stand between, scaler and unit."""
        class_id = None
        start = at
        if _is_class(elements[at]) and at + 2 < len(elements) and is_obis(elements[at + 1]):
            class_id, at = int(elements[at]), at + 1
        if not is_obis(elements[at]) or at + 1 >= len(elements):
            return 0
        code = Obis(elements[at])
        scaler_unit, extra = _scaler_unit_at(elements, at + 1)
        at += extra
        if extra and at + 1 >= len(elements):
            return 0
        value, inner = _split_value(elements[at + 1])
        at += 2
        if scaler_unit is None and inner is None:
            inner, extra = _scaler_unit_at(elements, at)
            at += extra
        self.items.append(PushItem(code, value, class_id, None, scaler_unit or inner))
        return at - start

    def _value_first(self, elements: Sequence[Data], at: int) -> int:
        """Take value, class, (scaler, unit), OBIS."""
        if at + 3 >= len(elements) or not _is_class(elements[at + 1]):
            return 0
        scaler_unit = _scaler_unit(elements[at + 2])
        if scaler_unit is None or not is_obis(elements[at + 3]):
            return 0
        code, class_id = Obis(elements[at + 3]), int(elements[at + 1])
        self.items.append(PushItem(code, elements[at], class_id, None, scaler_unit))
        return 4


def _settle(item: _Numbered, attributes: bool) -> PushItem:
    if attributes:
        return PushItem(item.obis, item.value, item.class_id, item.number, item.scaler_unit)
    scaler_unit = item.scaler_unit or ScalerUnit(item.number, "")
    return PushItem(item.obis, item.value, item.class_id, None, scaler_unit)


def _join_units(items: list[PushItem]) -> list[PushItem]:
    """Give registers the scaler and unit that are pushed beside them as their attribute 3."""
    units: dict[Obis, ScalerUnit] = {}
    for item in items:
        if item.class_id in _REGISTER_CLASSES and item.attribute == _SCALER_UNIT:
            found = _scaler_unit(item.value)
            if found is not None:
                units[item.obis] = found
    valued = {item.obis for item in items if item.attribute == _VALUE}
    joined = []
    for item in items:
        unit = units.get(item.obis) if item.obis in valued else None
        if unit is None or item.class_id not in _REGISTER_CLASSES:
            joined.append(item)
        elif item.attribute == _VALUE:
            joined.append(replace(item, scaler_unit=item.scaler_unit or unit))
        elif item.attribute != _SCALER_UNIT:
            joined.append(item)
    return joined


def _elements(value: Data) -> Sequence[Data] | None:
    if isinstance(value, d.CompactArray):
        try:
            return compact_array_elements(value)
        except MalformedData:
            return None
    return value if isinstance(value, d.Array | d.Structure) else None


def _captured_objects(value: Data) -> list[AttributeDescriptor] | None:
    """Return the objects of a capture or push object list, None when it is none."""
    rows = _elements(value)
    if not rows:
        return None
    objects = []
    for row in rows:
        match row:
            case AttributeDescriptor():
                objects.append(row)
            case d.Structure() if (
                len(row) >= 4 and _is_class(row[0]) and is_obis(row[1])
                and isinstance(row[2], d.Integer) and isinstance(row[3], d.LongUnsigned)
            ):  # fmt: skip
                objects.append(AttributeDescriptor(int(row[0]), Obis(row[1]), int(row[2])))
            case _:
                return None
    return objects


def _split_value(value: Data) -> tuple[Data, ScalerUnit | None]:
    """Take (value, (scaler, unit)) apart."""
    if isinstance(value, d.Structure) and len(value) == 2:
        scaler_unit = _scaler_unit(value[1])
        if scaler_unit is not None and not isinstance(value[0], d.Array | d.Structure):
            return value[0], scaler_unit
    return value, None


def _scaler_unit_at(elements: Sequence[Data], at: int) -> tuple[ScalerUnit | None, int]:
    """Return scaler and unit at a place, together or one after the other, and how many they are."""
    if at >= len(elements):
        return None, 0
    found = _scaler_unit(elements[at])
    if found is not None:
        return found, 1
    found = _scaler_unit(d.Structure(elements[at : at + 2]))
    return (found, 2) if found is not None else (None, 0)


def _scaler_unit(value: Data) -> ScalerUnit | None:
    match value:
        case d.Structure((d.Integer(), d.Enum())):
            try:
                return parse_scaler_unit(value)
            except MalformedData:
                return None
    return None


def _is_class(value: Data) -> bool:
    return isinstance(value, d.LongUnsigned) and value > 0
