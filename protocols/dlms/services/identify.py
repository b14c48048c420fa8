"""Who a meter is, what it has, and which model data file fits it.

Everything is asked and nothing must be answered: what the meter refuses becomes a note.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from headend.domain.errors import MeterBusy, MeterMisbehaved, MeterRefused
from headend.domain.obis import Obis
from headend.domain.reading import MeterIdentity
from headend.ports.inspection import ClockReading, MeterSummary, RelayState
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData
from protocols.dlms.meter_model import MeterModel, load_model, model_names
from protocols.dlms.push_values import as_text
from protocols.dlms.services import cosem
from protocols.dlms.services.clock import read_clock
from protocols.dlms.services.cosem import CosemAccess, name_class
from protocols.dlms.services.disconnect import explain_mode, find_relay, read_relay
from protocols.dlms.services.events import find_event_logs, is_event_log
from protocols.dlms.services.object_list import ObjectList, read_object_list
from protocols.dlms.services.values import show

_FIRMWARE = (Obis.parse("1.0.0.2.0.255"), Obis.parse("0.0.0.2.0.255"))
_USUAL_PROFILES = tuple(map(Obis.parse, ("1.0.99.1.0.255", "1.0.99.2.0.255", "0.0.98.1.0.255")))
_GENERIC = "generic"


async def read_identity(access: CosemAccess, model: MeterModel) -> MeterIdentity:
    """Read logical device name and serial; one that the meter does not show is empty."""
    return MeterIdentity(
        _name(await cosem.read_if_there(access, cosem.DATA, model.logical_device_name, 2)),
        _name(await cosem.read_if_there(access, cosem.DATA, model.serial, 2)),
    )


async def identify(
    access: CosemAccess,
    model: MeterModel,
    *,
    relay: Obis | None = None,
    negotiated: Mapping[str, Any] | None = None,
) -> MeterSummary:
    """Ask a meter all that tells what it is; ``relay`` is tried before the usual one."""
    notes: list[str] = []
    identity = await read_identity(access, model)
    if not identity.logical_device_name:
        notes.append("it shows this client no logical device name")
    clock = await _clock(access, model, notes)
    objects = await _objects(access, notes)
    state = await _relay(access, model, objects, relay, notes)
    facts: dict[str, Any] = dict(negotiated or {})
    firmware = await _firmware(access)
    if firmware:
        facts["firmware"] = firmware
    counter = await _frame_counter(access, model)
    if counter is not None:
        facts["frame_counter"] = counter
    logs = await find_event_logs(access, objects)
    profiles = await _profiles(access, model, objects)
    return MeterSummary(
        identity=identity,
        models=fitting_models(identity.logical_device_name, objects),
        clock=clock,
        relay=state,
        classes=_count(objects),
        profiles=tuple(str(obis) for obis in profiles if not is_event_log(obis)),
        event_logs=tuple(map(str, logs)),
        facts=facts,
        notes=tuple(notes),
    )


def fitting_models(name: str, objects: ObjectList | None) -> tuple[str, ...]:
    """Return the models that a meter fits, the most specific first.

    A model fits when the logical device name matches its pattern and no object that it counts on
    is missing from the list; where there is no list, the name alone decides.
    """
    fitting: list[tuple[int, str]] = []
    for candidate in model_names():
        model = load_model(candidate)
        named = bool(model.matches) and re.fullmatch(model.matches, name) is not None
        if candidate == _GENERIC:
            fitting.append((2, candidate))
        elif (named or not model.matches) and _has_all(model, objects):
            fitting.append((0 if named else 1, candidate))
    return tuple(candidate for _, candidate in sorted(fitting))


def _has_all(model: MeterModel, objects: ObjectList | None) -> bool:
    if objects is None:
        return bool(model.matches)
    wanted = [*model.registers, *model.profiles, model.clock]
    if model.relay is not None:
        wanted.append(model.relay.obis)
    return all(objects.find(obis) is not None for obis in wanted)


async def _clock(access: CosemAccess, model: MeterModel, notes: list[str]) -> ClockReading | None:
    try:
        reading, _ = await read_clock(access, model)
    except MeterBusy:
        raise
    except (MeterRefused, MalformedData) as fault:
        notes.append(f"its clock could not be read: {fault}")
        return None
    return reading


async def _objects(access: CosemAccess, notes: list[str]) -> ObjectList | None:
    try:
        return await read_object_list(access)
    except MeterBusy:
        raise
    except (MeterRefused, MalformedData) as fault:
        notes.append(f"its object list could not be read: {fault}")
        return None


async def _relay(
    access: CosemAccess,
    model: MeterModel,
    objects: ObjectList | None,
    given: Obis | None,
    notes: list[str],
) -> RelayState | None:
    candidates = relay_candidates(model, objects, given)
    try:
        obis = await find_relay(access, candidates)
        reading = await read_relay(access, obis)
    except MeterBusy:
        raise
    except (MeterRefused, MeterMisbehaved) as fault:
        notes.append(f"its disconnect control could not be read: {fault}")
        return None
    return RelayState(reading, str(obis), explain_mode(reading.control_mode))


def relay_candidates(
    model: MeterModel, objects: ObjectList | None, given: Obis | None = None
) -> list[Obis]:
    """Return where the disconnect control may be: as told, by the model, by the object list."""
    if given is not None:
        return [given]
    found = [] if model.relay is None else [model.relay.obis]
    if objects is not None:
        listed = [each.obis for each in objects.of_class(cosem.DISCONNECT_CONTROL)]
        found = [obis for obis in found if obis in listed] + listed or found
    return list(dict.fromkeys(found))


async def _profiles(
    access: CosemAccess, model: MeterModel, objects: ObjectList | None
) -> list[Obis]:
    """Return the profiles, from the object list or by trying the usual ones."""
    if objects is not None:
        return [each.obis for each in objects.of_class(cosem.PROFILE)]
    return [
        obis
        for obis in dict.fromkeys((*model.profiles, *_USUAL_PROFILES))
        if await cosem.read_if_there(access, cosem.PROFILE, obis, 3) is not None
    ]


async def _firmware(access: CosemAccess) -> str:
    for obis in _FIRMWARE:
        found = _name(await cosem.read_if_there(access, cosem.DATA, obis, 2))
        if found:
            return found
    return ""


async def _frame_counter(access: CosemAccess, model: MeterModel) -> int | None:
    for obis in model.security.frame_counters:
        value = await cosem.read_if_there(access, cosem.DATA, obis, 2)
        if isinstance(value, int) and not isinstance(value, bool):
            return int(value)
    return None


def _count(objects: ObjectList | None) -> dict[str, int]:
    if objects is None:
        return {}
    return {name_class(class_id): count for class_id, count in objects.count_classes().items()}


def _name(value: Data) -> str:
    """Return a name as text; octets that are no text as hex."""
    if isinstance(value, bytes):
        return as_text(value) or value.hex().upper()
    shown = show(value)
    return "" if shown is None else str(shown)
