"""Meter models: what a type of meter has and how it labels it, read from ``profiles/NAME.json``.

A model is data: OBIS codes, the meaning of a profile's columns, times and status bits. It never
holds keys or addresses. A file that is not understood is refused as a whole, naming the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, get_args

from headend.domain.errors import BadInput
from headend.domain.obis import Obis
from headend.domain.reading import Quality
from protocols.dlms.selection import CaptureObject

Timestamp = Literal["start", "end"]
EnergyKind = Literal["interval", "cumulative"]
DeviationRule = Literal["standard", "inverted", "ignored"]
Protection = Literal["none", "authentication", "encryption", "both"]
Ciphering = Literal["glo", "ded", "general-glo", "general-ded"]

# Where meters keep the highest counter received with the unicast key, by their client.
FRAME_COUNTERS = (Obis.parse("0.0.43.1.0.255"), Obis.parse("0.0.43.1.1.255"))
DEFAULT_SETTLE_S = 10.0  # until a contact that was sent somewhere counts as not having moved
MAX_SETTLE_S = 300.0
DEFAULT_CLOCK_CORRECTION_S = 300  # as DL/T 645 meters take it (edition unverified)


@dataclass(frozen=True, slots=True)
class StatusRule:
    """Where any bit of ``mask`` is set, the row is at best of this quality."""

    mask: int
    quality: Quality


@dataclass(frozen=True, slots=True)
class EnergyColumn:
    """A column of import energy: per interval, or a cumulative register at the row's time."""

    column: CaptureObject
    kind: EnergyKind


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """One load profile and the meaning of its columns.

    ``timestamp`` says whether a row's time is the start or the end of its interval; of ``energy``
    the first column that the meter captures counts.
    """

    obis: Obis
    interval_s: int
    timestamp: Timestamp
    clock: CaptureObject
    energy: tuple[EnergyColumn, ...]
    status: CaptureObject | None = None
    status_rules: tuple[StatusRule, ...] = ()


@dataclass(frozen=True, slots=True)
class RegisterObject:
    """A register, and where the model knows them its scaler and unit (else they are read)."""

    obis: Obis
    class_id: int
    scaler: int | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class RelayObject:
    """Disconnect control, and the power register that shows load beside it.

    ``consent``: a remote close may close the contact with nobody at the meter, so that it needs
    somebody's consent. ``button``: the meter has one that closes when armed; ``armed_timeout_s``
    is how long it stays armed (None: until told otherwise). ``settle_s`` is how long the contact
    may take to follow a command.
    """

    obis: Obis
    power: Obis | None = None
    consent: bool = True
    button: bool = False
    armed_timeout_s: int | None = None
    settle_s: float = DEFAULT_SETTLE_S


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """Bounds of the model: how far its clock may be corrected at once, and where its limits are.

    ``load`` is a limiter (class 71); ``voltage`` names registers that hold voltage thresholds.
    """

    clock_correction_s: int = DEFAULT_CLOCK_CORRECTION_S
    load: Obis | None = None
    voltage: Mapping[str, Obis] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelSecurity:
    """How meters of the model want to be spoken to with keys, and where they tell their counter.

    ``frame_counters`` hold the highest invocation counter received; the first that exists counts.
    """

    suite: int = 0
    protection: str = "both"
    ciphering: str = "glo"
    frame_counters: tuple[Obis, ...] = FRAME_COUNTERS


@dataclass(frozen=True, slots=True)
class MeterModel:
    """One type of meter. ``zone`` is that of its clock where the deviation says nothing.

    All meters of a ``uniform`` model capture the same columns with the same scalers, so that one
    meter's answer is remembered for all.
    """

    name: str
    uniform: bool
    zone: str
    deviation: DeviationRule
    clock: Obis
    logical_device_name: Obis
    serial: Obis
    registers: Mapping[Obis, RegisterObject]
    profiles: Mapping[Obis, LoadProfile]
    relay: RelayObject | None
    security: ModelSecurity = ModelSecurity()
    limits: ModelLimits = ModelLimits()
    description: str = ""
    matches: str = ""  # pattern of the logical device names of its meters; empty: any
    event_logs: tuple[Obis, ...] = ()


def model_names() -> tuple[str, ...]:
    """List the models that the package brings."""
    folder = resources.files("protocols.dlms.profiles")
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))


@lru_cache(maxsize=64)
def load_model(name: str) -> MeterModel:
    """Read a model by name; raises `BadInput` for an unknown name or a wrong file."""
    if name not in model_names():
        raise BadInput(
            f"no meter model {name!r}; there are {', '.join(model_names())}", field="model"
        )
    folder = resources.files("protocols.dlms.profiles")
    return parse_model(name, folder.joinpath(f"{name}.json").read_text(encoding="utf-8"))


def parse_model(name: str, text: str) -> MeterModel:
    """Build a model from JSON text; raises `BadInput` naming the model and the field."""
    try:
        raw = json.loads(text)
    except ValueError as fault:
        raise BadInput(f"model {name}: not JSON ({fault})", field="model") from None
    try:
        return _parse_model(name, raw)
    except BadInput as fault:
        raise BadInput(f"model {name}: {fault}", field=fault.field) from None
    except KeyError as fault:
        raise BadInput(f"model {name}: {fault.args[0]} is missing", field=fault.args[0]) from None
    except (TypeError, AttributeError, ValueError, re.error) as fault:
        raise BadInput(f"model {name}: {fault}", field="model") from None


def _parse_model(name: str, raw: Any) -> MeterModel:
    _check_keys(raw, _REQUIRED, _OPTIONAL)
    registers = [_parse_register(each) for each in raw.get("registers", ())]
    profiles = [_parse_profile(each) for each in raw.get("load_profiles", ())]
    return MeterModel(
        name=name,
        uniform=bool(raw["uniform"]),
        zone=raw["zone"],
        deviation=_one_of(raw["deviation"], DeviationRule, "deviation"),
        clock=Obis.parse(raw["clock"]),
        logical_device_name=Obis.parse(raw["identity"]["logical_device_name"]),
        serial=Obis.parse(raw["identity"]["serial"]),
        registers={register.obis: register for register in registers},
        profiles={profile.obis: profile for profile in profiles},
        relay=_parse_relay(raw["relay"]) if "relay" in raw else None,
        security=_parse_security(raw.get("security", {})),
        limits=_parse_limits(raw.get("limits", {})),
        description=str(raw["description"]),
        matches=re.compile(raw["identity"].get("matches", "")).pattern,
        event_logs=tuple(Obis.parse(each) for each in raw.get("event_logs", ())),
    )


_REQUIRED = {"description", "uniform", "zone", "deviation", "identity", "clock"}
_OPTIONAL = {"registers", "load_profiles", "relay", "security", "limits", "event_logs"}


def _parse_register(raw: Any) -> RegisterObject:
    _check_keys(raw, {"obis"}, {"class", "scaler", "unit"})
    scaler = raw.get("scaler")
    return RegisterObject(
        obis=Obis.parse(raw["obis"]),
        class_id=int(raw.get("class", 3)),
        scaler=None if scaler is None else int(scaler),
        unit=raw.get("unit"),
    )


def _parse_profile(raw: Any) -> LoadProfile:
    _check_keys(raw, {"obis", "interval_s", "timestamp", "clock", "energy"}, {"status"})
    status = raw.get("status")
    rules: tuple[StatusRule, ...] = ()
    if status is not None:
        rules = tuple(_parse_rule(rule) for rule in status.get("rules", ()))
    interval_s = int(raw["interval_s"])
    if interval_s <= 0 or 86_400 % interval_s:
        raise BadInput(f"{interval_s} s does not divide a day", field="interval_s")
    return LoadProfile(
        obis=Obis.parse(raw["obis"]),
        interval_s=interval_s,
        timestamp=_one_of(raw["timestamp"], Timestamp, "timestamp"),
        clock=_parse_column(raw["clock"], 8),
        energy=tuple(
            EnergyColumn(_parse_column(each, 3), _one_of(each["kind"], EnergyKind, "kind"))
            for each in raw["energy"]
        ),
        status=None if status is None else _parse_column(status, 1),
        status_rules=rules,
    )


def _parse_rule(raw: Any) -> StatusRule:
    _check_keys(raw, {"mask", "quality"}, {"meaning"})
    return StatusRule(int(raw["mask"], 16), Quality[raw["quality"].upper()])


def _parse_column(raw: Any, class_id: int) -> CaptureObject:
    return CaptureObject(
        class_id=int(raw.get("class", class_id)),
        obis=Obis.parse(raw["obis"]),
        attribute=int(raw.get("attribute", 2)),
        index=int(raw.get("index", 0)),
    )


def _parse_relay(raw: Any) -> RelayObject:
    _check_keys(raw, {"obis"}, {"power", "consent", "button", "armed_timeout_s", "settle_s"})
    power, armed = raw.get("power"), raw.get("armed_timeout_s")
    settle_s = float(raw.get("settle_s", DEFAULT_SETTLE_S))
    if not 0 < settle_s <= MAX_SETTLE_S or (armed is not None and int(armed) <= 0):
        raise BadInput("a time of the relay is out of bounds", field="relay")
    return RelayObject(
        obis=Obis.parse(raw["obis"]),
        power=None if power is None else Obis.parse(power),
        consent=bool(raw.get("consent", True)),
        button=bool(raw.get("button", False)),
        armed_timeout_s=None if armed is None else int(armed),
        settle_s=settle_s,
    )


def _parse_limits(raw: Any) -> ModelLimits:
    _check_keys(raw, set(), {"clock_correction_s", "load", "voltage"})
    load = raw.get("load")
    return ModelLimits(
        clock_correction_s=int(raw.get("clock_correction_s", DEFAULT_CLOCK_CORRECTION_S)),
        load=None if load is None else Obis.parse(load),
        voltage={name: Obis.parse(code) for name, code in raw.get("voltage", {}).items()},
    )


def _parse_security(raw: Any) -> ModelSecurity:
    _check_keys(raw, set(), {"suite", "protection", "ciphering", "frame_counters"})
    counters = tuple(Obis.parse(each) for each in raw.get("frame_counters", ()))
    return ModelSecurity(
        suite=int(raw.get("suite", 0)),
        protection=_one_of(raw.get("protection", "both"), Protection, "protection"),
        ciphering=_one_of(raw.get("ciphering", "glo"), Ciphering, "ciphering"),
        frame_counters=counters or FRAME_COUNTERS,
    )


def _check_keys(raw: Any, required: set[str], *optional: set[str]) -> None:
    unknown = sorted(set(raw) - required.union(*optional))
    if unknown:
        raise BadInput(f"{unknown[0]!r} is not known", field=unknown[0])
    missing = sorted(required - set(raw))
    if missing:
        raise BadInput(f"{missing[0]} is missing", field=missing[0])


def _one_of(value: Any, allowed: Any, field: str) -> Any:
    if value not in get_args(allowed):
        raise BadInput(f"{field} {value!r} is none of {', '.join(get_args(allowed))}", field=field)
    return value
