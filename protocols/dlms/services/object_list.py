"""The objects of a meter: its own list (association, attribute 2), and a guess without it.

The list can be long and some clients may not read it; which class an object has is therefore first
guessed from its OBIS code, and asked of the list only where the guess fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headend.domain.obis import CURRENT_ASSOCIATION, Obis
from protocols.dlms import data as d
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData
from protocols.dlms.services import cosem
from protocols.dlms.services.cosem import CosemAccess

_FIRST_TRIED = (
    cosem.REGISTER, cosem.DATA, cosem.EXTENDED_REGISTER, cosem.DEMAND_REGISTER, cosem.CLOCK,
    cosem.PROFILE,
)  # fmt: skip
# Access modes of association versions 0 to 2: read only, read and write, and both authenticated.
_READABLE = frozenset((1, 3, 4, 6))
_WRITABLE = frozenset((2, 3, 5, 6))
_FLAGS_VERSION = 3  # from here on an access mode is a set of bits: 1 read, 2 write

# (A, C, D) of an OBIS code -> class; None matches any. The first match counts.
_BY_CODE: tuple[tuple[tuple[int | None, int | None, int | None], int], ...] = (
    ((None, 99, None), cosem.PROFILE),
    ((None, 98, None), cosem.PROFILE),
    ((0, 1, 0), cosem.CLOCK),
    ((0, 17, 0), cosem.LIMITER),
    ((0, 40, 0), cosem.ASSOCIATION),
    ((0, 25, 9), cosem.PUSH_SETUP),
    ((0, 10, 0), 9),
    ((0, 11, 0), 11),
    ((0, 13, 0), 20),
    ((0, 15, 0), 22),
    ((0, 41, 0), 17),
    ((0, 43, 0), 64),
    ((0, 44, 0), 18),
    ((0, 22, 0), 23),
    ((0, 25, 0), 41),
    ((0, 25, 1), 42),
    ((0, None, None), cosem.DATA),
    ((1, 0, 8), cosem.REGISTER),
    ((1, 0, None), cosem.DATA),
    ((None, None, 6), cosem.EXTENDED_REGISTER),
    ((None, None, 4), cosem.DEMAND_REGISTER),
    ((None, None, 5), cosem.DEMAND_REGISTER),
    ((None, None, None), cosem.REGISTER),
)
_DISCONNECT = (96, 3, 10)  # C, D, E


@dataclass(frozen=True, slots=True)
class ObjectEntry:
    """One object of the list; ``attributes`` maps an attribute to its access mode."""

    class_id: int
    version: int
    obis: Obis
    attributes: Mapping[int, int] = field(default_factory=dict)
    has_flags: bool = False  # whether modes are sets of bits

    def may_read(self, attribute: int) -> bool | None:
        """Tell whether this client may read an attribute; None where the list does not say."""
        return self._may(attribute, _READABLE, 1)

    def may_write(self, attribute: int) -> bool | None:
        """Tell whether this client may write an attribute; None where the list does not say."""
        return self._may(attribute, _WRITABLE, 2)

    def _may(self, attribute: int, modes: frozenset[int], bit: int) -> bool | None:
        mode = self.attributes.get(attribute)
        if mode is None:
            return None
        return bool(mode & bit) if self.has_flags else mode in modes


class ObjectList:
    """What one client may see of a meter."""

    def __init__(self, entries: Sequence[ObjectEntry]) -> None:
        self._entries = tuple(entries)
        self._classes: dict[Obis, list[ObjectEntry]] = {}
        for entry in self._entries:
            self._classes.setdefault(entry.obis, []).append(entry)

    def __iter__(self) -> Iterator[ObjectEntry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, obis: Obis, class_id: int | None = None) -> ObjectEntry | None:
        """Return the object of that code, and of that class where one is named."""
        for entry in self._classes.get(obis, ()):
            if class_id is None or entry.class_id == class_id:
                return entry
        return None

    def of_class(self, class_id: int) -> list[ObjectEntry]:
        """Return the objects of one class, in the list's order."""
        return [entry for entry in self._entries if entry.class_id == class_id]

    def count_classes(self) -> dict[int, int]:
        """Return how many objects there are of each class."""
        return dict(sorted(Counter(entry.class_id for entry in self._entries).items()))

    def near(self, obis: Obis, limit: int = 3) -> list[Obis]:
        """Return codes that look most like an absent one: the same quantity first."""
        wanted = obis.octets
        scored = []
        for each in self._classes:
            alike = sum(a == b for a, b in zip(each.octets, wanted, strict=True))
            same_quantity = each.octets[2] == wanted[2]
            if alike >= 4 and (same_quantity or alike == 5):
                scored.append((not same_quantity, -alike, each))
        return [each for _, _, each in sorted(scored)[:limit]]


async def read_object_list(
    access: CosemAccess, association: Obis = CURRENT_ASSOCIATION
) -> ObjectList:
    """Read the current association's object list; raises `MeterRefused`, `MalformedData`."""
    return parse_object_list(await cosem.read(access, cosem.ASSOCIATION, association, 2))


def parse_object_list(value: Data) -> ObjectList:
    """Build the list from attribute 2; elements that are no objects are passed over.

    Raises `MalformedData` for what is no array, or an array of other things altogether.
    """
    if not isinstance(value, d.Array):
        raise MalformedData("the object list is no array")
    entries = [entry for each in value if (entry := _parse_entry(each)) is not None]
    if value and not entries:
        raise MalformedData("the object list holds no objects")
    versions = {entry.version for entry in entries if entry.class_id == cosem.ASSOCIATION}
    if versions and min(versions) >= _FLAGS_VERSION:
        entries = [
            ObjectEntry(each.class_id, each.version, each.obis, each.attributes, has_flags=True)
            for each in entries
        ]
    return ObjectList(entries)


def _parse_entry(value: Data) -> ObjectEntry | None:
    match value:
        case (int(class_id), int(version), bytes(obis), *rest) if len(obis) == 6:
            modes = _parse_modes(rest[0]) if rest else {}
            return ObjectEntry(int(class_id), int(version), Obis(obis), modes)
    return None


def _parse_modes(rights: Data) -> dict[int, int]:
    match rights:
        case (attributes, *_) if isinstance(attributes, d.Array):
            modes = {}
            for each in attributes:
                match each:
                    case (int(number), int(mode), *_):
                        modes[int(number)] = int(mode)
            return modes
    return {}


def guess_class(obis: Obis) -> int:
    """Return the class that an object of this code most likely has."""
    a, _, c, dd, e, _ = obis.octets
    if a == 0 and (c, dd, e) == _DISCONNECT:
        return cosem.DISCONNECT_CONTROL
    for (code_a, code_c, code_d), class_id in _BY_CODE:
        if code_a in (None, a) and code_c in (None, c) and code_d in (None, dd):
            return class_id
    return cosem.REGISTER


def likely_classes(obis: Obis) -> list[int]:
    """Return the classes to try, the likeliest first."""
    first = guess_class(obis)
    return [first, *(each for each in _FIRST_TRIED if each != first)]
