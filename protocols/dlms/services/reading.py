"""Any object of a meter as one value: its class found, its number scaled, its time beside it.

Which class an object has is guessed from its code and corrected by the meter's object list, or by
trying where the list may not be read. What the meter refuses becomes a reading with a problem, so
that the others are still read; a meter that is busy, silent or misbehaves ends the reading.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from headend.domain.errors import BadInput, MeterBusy, MeterRefused
from headend.domain.obis import Obis
from headend.ports.inspection import ObjectReading
from protocols.dlms import xdr
from protocols.dlms.data import Data
from protocols.dlms.errors import AccessRefused, AccessResult, MalformedData
from protocols.dlms.meter_model import MeterModel
from protocols.dlms.services import cosem
from protocols.dlms.services.cosem import CosemAccess, name_class
from protocols.dlms.services.object_list import ObjectList, likely_classes, read_object_list
from protocols.dlms.services.values import read_scale, show, show_instant
from protocols.dlms.targets import Attribute
from protocols.dlms.units import ScalerUnit

_TARGET = re.compile(r"(?:(?P<class>\d{1,5})/)?(?P<obis>[^/@]+?)(?:/(?P<attribute>\d{1,3}))?")
_VALUE = 2  # the attribute of values in every class that has one
# Answers that say that the object is not there, or not of this class.
_NOT_HERE = frozenset(
    (
        AccessResult.OBJECT_UNDEFINED,
        AccessResult.OBJECT_CLASS_INCONSISTENT,
        AccessResult.OBJECT_UNAVAILABLE,
        AccessResult.SCOPE_OF_ACCESS_VIOLATED,
        AccessResult.OTHER_REASON,
    )
)


@dataclass(frozen=True, slots=True)
class Target:
    """What to read: ``OBIS``, ``CLASS/OBIS``, ``OBIS/ATTRIBUTE`` or ``CLASS/OBIS/ATTRIBUTE``."""

    obis: Obis
    class_id: int | None = None
    attribute: int = _VALUE

    @classmethod
    def parse(cls, text: str) -> Target:
        """Read a target as it is typed; raises `BadInput` naming it."""
        match = _TARGET.fullmatch(text.strip())
        if match is None:
            raise BadInput(
                f"{text!r} is neither an OBIS code such as 1.0.1.8.0.255 nor"
                " CLASS/OBIS/ATTRIBUTE such as 3/1.0.1.8.0.255/2",
                field="obis",
            )
        class_id, attribute = match["class"], match["attribute"]
        if class_id is not None and not 0 < int(class_id) <= 0xFFFF:
            raise BadInput(f"{text!r}: {class_id} is no COSEM class", field="obis")
        if attribute is not None and not 0 < int(attribute) <= 127:
            raise BadInput(f"{text!r}: {attribute} is no attribute", field="obis")
        return cls(
            Obis.parse(match["obis"]),
            None if class_id is None else int(class_id),
            _VALUE if attribute is None else int(attribute),
        )


class ObjectReader:
    """Reads objects of one meter; remembers its object list once it was needed."""

    def __init__(self, access: CosemAccess, model: MeterModel) -> None:
        self._access = access
        self._model = model
        self._objects: ObjectList | None = None
        self._list_refused: MeterRefused | None = None

    async def objects(self) -> ObjectList | None:
        """Return the meter's object list, None where it may not be read."""
        if self._objects is None and self._list_refused is None:
            try:
                self._objects = await read_object_list(self._access)
            except MeterRefused as fault:
                self._list_refused = fault
        return self._objects

    async def read(self, targets: Sequence[Target]) -> list[ObjectReading]:
        """Read each target; a refusal stands in its place."""
        return [await self._read_one(target) for target in targets]

    async def class_of(self, obis: Obis, attribute: int = _VALUE) -> int:
        """Return the class of an object by reading it; raises `MeterRefused`."""
        class_id, _ = await self._find(Target(obis, attribute=attribute))
        return class_id

    async def _read_one(self, target: Target) -> ObjectReading:
        try:
            class_id, value = await self._find(target)
            if class_id == cosem.PROFILE and target.attribute == _VALUE:
                raise MeterRefused(
                    f"{target.obis} is a load profile: read it with the command profile",
                    code="profile",
                )
            return await self._describe(target, class_id, value)
        except MeterBusy:
            raise
        except MeterRefused as fault:
            return ObjectReading(str(target.obis), None, "", problem=fault.code, detail=str(fault))

    async def _find(self, target: Target) -> tuple[int, Data]:
        """Return class and value; raises `MeterRefused` as the meter said it at first."""
        if target.class_id is not None:
            return target.class_id, await self._get(target.class_id, target)
        register = self._model.registers.get(target.obis)
        tried = [register.class_id] if register is not None else likely_classes(target.obis)[:1]
        try:
            return tried[0], await self._get(tried[0], target)
        except MeterBusy:
            raise
        except MeterRefused as fault:
            first = fault
        objects = await self.objects()
        if objects is not None and objects.find(target.obis) is not None:
            return await self._find_listed(target, tried[0], objects, first)
        if isinstance(first, AccessRefused) and first.result not in _NOT_HERE:
            raise first
        # Lists are not always whole.
        for class_id in likely_classes(target.obis):
            if class_id in tried:
                continue
            try:
                return class_id, await self._get(class_id, target)
            except MeterBusy:
                raise
            except MeterRefused:
                tried.append(class_id)
        raise first if objects is None else _not_listed(target, objects, first)

    async def _find_listed(
        self, target: Target, tried: int, objects: ObjectList, first: MeterRefused
    ) -> tuple[int, Data]:
        entry = objects.find(target.obis, tried) or objects.find(target.obis)
        if entry is None:
            raise _not_listed(target, objects, first)
        if entry.class_id != tried:
            return entry.class_id, await self._get(entry.class_id, target)
        if entry.may_read(target.attribute) is False:
            raise MeterRefused(
                f"this client may not read attribute {target.attribute} of {target.obis}"
                f" ({name_class(entry.class_id)}): {first}",
                code=first.code,
            )
        raise first

    async def _get(self, class_id: int, target: Target) -> Data:
        at = Attribute(class_id, target.obis, target.attribute)
        if class_id == cosem.PROFILE and target.attribute == _VALUE:
            # Its buffer may take minutes: that it is there is seen by another attribute.
            await self._access.get(Attribute(class_id, target.obis, 4))
            return None
        octets = await self._access.get(at)
        try:
            return xdr.decode(octets)
        except MalformedData as fault:
            raise MalformedData(f"{target.obis}: {fault}") from fault

    async def _describe(self, target: Target, class_id: int, value: Data) -> ObjectReading:
        obis = target.obis
        scale = await self._scale_of(obis, class_id, target.attribute)
        time = None
        if class_id == cosem.CLOCK and target.attribute == _VALUE:
            return ObjectReading(str(obis), show_instant(value) or show(value), "", class_id)
        if target.attribute == _VALUE and class_id in cosem.TIME_ATTRIBUTE:
            taken = await cosem.read_if_there(
                self._access, class_id, obis, cosem.TIME_ATTRIBUTE[class_id]
            )
            time = show_instant(taken)
        unit = "" if scale is None else scale.unit
        return ObjectReading(str(obis), show(value, scale), unit, class_id, time=time)

    async def _scale_of(self, obis: Obis, class_id: int, attribute: int) -> ScalerUnit | None:
        """Return scaler and unit, None where the object has none or does not tell them."""
        number = cosem.SCALER_ATTRIBUTE.get((class_id, attribute))
        if number is None:
            return None
        return read_scale(await cosem.read_if_there(self._access, class_id, obis, number))


def _not_listed(target: Target, objects: ObjectList, first: MeterRefused) -> MeterRefused:
    near = ", ".join(str(obis) for obis in objects.near(target.obis))
    hint = f"; it has {near}" if near else ""
    return MeterRefused(
        f"the meter has no object {target.obis} among the {len(objects)} that this client may"
        f" see{hint}",
        code=first.code,
    )
