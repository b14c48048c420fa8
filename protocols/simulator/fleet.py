"""A fleet as data: concentrators, meters, keys, loads and first faults, to and from JSON.

`make_fleet` builds one from a seed, the same on every machine, so that a test, the demo and the
simulator agree on keys and serials without exchanging them. The keys are for simulated meters only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from headend.domain.errors import BadInput
from protocols.dlms.hdlc_parameters import MAX_INFORMATION, MAX_WINDOW, MIN_INFORMATION
from protocols.dlms.security import KEY_SIZE
from protocols.simulator.contact import DEFAULT_RELAY_DELAY_MS, TRANSITIONS_OF_MODE
from protocols.simulator.faults import Fault
from protocols.simulator.load import DAY_S, DEFAULT_INTERVAL_S

DEFAULT_MODEL = "sim-single-phase"
MANUFACTURER = "SIM"  # three letters of a FLAG id; not a registered manufacturer
MAX_METERS_PER_CONCENTRATOR = 65_000  # wPorts of the WRAPPER header are 16 bits
DEFAULT_MAX_PDU = 1024  # octets
MIN_PDU = 64  # octets; a ciphered block in less would carry nothing
DEFAULT_HDLC_INFORMATION = 512  # octets
Transport: TypeAlias = Literal["wrapper", "hdlc", "udp"]
DEFAULT_COMMISSIONED_AT = "2025-01-01T00:00:00+00:00"


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """One meter. Keys are hex and never show in ``repr``; without ``master_key`` none is replaced.

    address: wPort or HDLC address on its concentrator; initial_wh: register at
    ``commissioned_at``; max_pdu [octets], hdlc_window [frames] and hdlc_information [octets]: the
    most it agrees to.
    """

    meter_no: str
    address: int
    logical_device_name: str
    serial: str
    encryption_key: str = field(repr=False)
    authentication_key: str = field(repr=False)
    password: str = field(default="", repr=False)
    master_key: str = field(default="", repr=False)
    model: str = DEFAULT_MODEL
    load_seed: int = 0
    load_scale: float = 1.0
    initial_wh: int = 0
    interval_s: int = DEFAULT_INTERVAL_S
    control_mode: int = 4
    relay_delay_ms: int = DEFAULT_RELAY_DELAY_MS
    commissioned_at: str = DEFAULT_COMMISSIONED_AT
    max_pdu: int = DEFAULT_MAX_PDU
    hdlc_window: int = MAX_WINDOW
    hdlc_information: int = DEFAULT_HDLC_INFORMATION
    faults: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        where = f"meter {self.meter_no}"
        _check(
            MIN_PDU <= self.max_pdu <= 65_535,
            f"{where}: a PDU of {self.max_pdu} octets",
            "max_pdu",
        )
        _check(
            1 <= self.hdlc_window <= MAX_WINDOW,
            f"{where}: a window of {self.hdlc_window} frames",
            "hdlc_window",
        )
        _check(
            MIN_INFORMATION <= self.hdlc_information <= MAX_INFORMATION,
            f"{where}: an information field of {self.hdlc_information} octets",
            "hdlc_information",
        )
        _check(bool(self.meter_no), "a meter without meter_no", "meter_no")
        _check(1 <= self.address <= 65_535, f"{where}: address {self.address}", "address")
        _check(
            self.interval_s > 0 and DAY_S % self.interval_s == 0,
            f"{where}: an interval of {self.interval_s} s does not divide a day",
            "interval_s",
        )
        _check(
            self.control_mode in TRANSITIONS_OF_MODE,
            f"{where}: control mode {self.control_mode} is not 0 to 6",
            "control_mode",
        )
        _check(self.load_scale >= 0, f"{where}: load_scale {self.load_scale}", "load_scale")
        _check(self.relay_delay_ms >= 0, f"{where}: negative delay", "relay_delay_ms")
        for name in ("encryption_key", "authentication_key"):
            _check_key(where, name, getattr(self, name))
        if self.master_key:
            _check_key(where, "master_key", self.master_key)
        _check(
            len(self.logical_device_name.encode()) <= 16,
            f"{where}: a logical device name has at most 16 octets",
            "logical_device_name",
        )
        instant = datetime.fromisoformat(self.commissioned_at)
        _check(instant.tzinfo is not None, f"{where}: no UTC offset", "commissioned_at")
        for fault in self.faults:
            Fault.from_json(fault)

    @property
    def commissioned_s(self) -> int:
        """When the register stood at ``initial_wh`` [s since the epoch]."""
        return int(datetime.fromisoformat(self.commissioned_at).timestamp())

    @property
    def system_title(self) -> bytes:
        """Return the 8-octet system title: manufacturer, then 5 octets of the meter number."""
        digest = hashlib.sha256(self.logical_device_name.encode()).digest()
        return MANUFACTURER.encode() + digest[:5]


@dataclass(frozen=True, slots=True)
class ConcentratorSpec:
    """One endpoint with its meters; port 0 lets the system pick one."""

    name: str
    meters: tuple[MeterSpec, ...]
    host: str = "127.0.0.1"
    port: int = 0
    transport: Transport = "wrapper"
    faults: tuple[dict[str, Any], ...] = ()

    def __post_init__(self) -> None:
        read_transport(self.transport)
        _check(0 <= self.port <= 65_535, f"{self.name}: port {self.port}", "port")
        for fault in self.faults:
            Fault.from_json(fault)
        seen: set[int] = set()
        for meter in self.meters:
            _check(
                meter.address not in seen,
                f"{self.name}: two meters at address {meter.address}",
                "address",
            )
            seen.add(meter.address)


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """All that one simulator process serves."""

    seed: int
    concentrators: tuple[ConcentratorSpec, ...]

    def __post_init__(self) -> None:
        numbers = [meter.meter_no for meter in self.meters]
        names = [concentrator.name for concentrator in self.concentrators]
        for values, what in ((numbers, "meter_no"), (names, "name")):
            twice = (
                {value for value in values if values.count(value) > 1} if _has_twice(values) else ()
            )
            _check(not twice, f"{what} {min(twice, default='')} stands twice in the fleet", what)

    @property
    def meters(self) -> tuple[MeterSpec, ...]:
        """Every meter, in the order of concentrators and addresses given."""
        return tuple(meter for group in self.concentrators for meter in group.meters)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document that `from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> FleetSpec:
        """Read a document; raises `BadInput` naming the field. Absent keys come from the seed."""
        seed = document.get("seed", 0)
        groups = document.get("concentrators")
        _check(isinstance(seed, int), f"seed {seed!r} is no integer", "seed")
        _check(isinstance(groups, list | tuple), "no list of concentrators", "concentrators")
        return cls(seed, tuple(_read_concentrator(seed, group) for group in groups or ()))


def load_fleet(path: Path) -> FleetSpec:
    """Read a fleet file; raises `BadInput` naming the file and what is wrong with it."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"cannot read fleet file {path}: {error.strerror}", field=str(path)
        ) from error
    except ValueError as error:
        raise BadInput(f"fleet file {path} is not JSON: {error}", field=str(path)) from error
    if not isinstance(document, dict):
        raise BadInput(f"fleet file {path} is not a JSON object", field=str(path))
    try:
        return FleetSpec.from_json(document)
    except BadInput as error:
        raise BadInput(f"fleet file {path}: {error}", field=error.field) from error


def make_fleet(
    seed: int,
    concentrators: int,
    meters: int,
    *,
    commissioned_at: str = DEFAULT_COMMISSIONED_AT,
    load_scale: float = 1.0,
    control_mode: int = 4,
    relay_delay_ms: int = DEFAULT_RELAY_DELAY_MS,
    first_port: int = 0,
    transport: Transport = "wrapper",
) -> FleetSpec:
    """Build a fleet of ``meters`` in all, spread evenly over ``concentrators``.

    ``first_port`` 0 lets the system pick every port; else concentrator k listens on first + k.
    """
    _check(concentrators >= 1, "a fleet needs a concentrator", "concentrators")
    _check(meters >= 1, "a fleet needs a meter", "meters")
    share = -(-meters // concentrators)
    _check(share <= MAX_METERS_PER_CONCENTRATOR, f"{share} meters on one concentrator", "meters")
    groups = []
    for index in range(concentrators):
        first, last = index * share, min((index + 1) * share, meters)
        rows = [
            make_meter(
                seed,
                number,
                address=number - first + 1,
                commissioned_at=commissioned_at,
                load_scale=load_scale,
                control_mode=control_mode,
                relay_delay_ms=relay_delay_ms,
            )
            for number in range(first, last)
        ]
        port = first_port + index if first_port else 0
        name = f"DC{index + 1:03}"
        groups.append(ConcentratorSpec(name, tuple(rows), port=port, transport=transport))
    return FleetSpec(seed, tuple(groups))


def make_meter(seed: int, number: int, *, address: int, **values: Any) -> MeterSpec:
    """Build meter ``number`` (from 0) of a fleet; ``values`` are further fields of `MeterSpec`."""
    meter_no = f"{seed % 10_000:04}{number + 1:08}"
    encryption_key, authentication_key = make_keys(seed, meter_no)
    digest = hashlib.sha256(f"load {seed} {meter_no}".encode()).digest()
    given: dict[str, Any] = {
        "meter_no": meter_no,
        "address": address,
        "logical_device_name": f"{MANUFACTURER}{int(meter_no):013}",
        "serial": meter_no,
        "encryption_key": encryption_key,
        "authentication_key": authentication_key,
        "master_key": make_master_key(seed, meter_no),
        "password": f"{int(meter_no) % 100_000_000:08}",
        "load_seed": int.from_bytes(digest[:6], "big"),
        "initial_wh": int.from_bytes(digest[6:9], "big") % 9_000_000,
    }
    return MeterSpec(**{**given, **values})


def make_keys(seed: int, meter_no: str) -> tuple[str, str]:
    """Return the 16-octet encryption and authentication keys of a simulated meter, as hex."""
    material = hashlib.sha256(f"keys {seed} {meter_no}".encode()).hexdigest()
    return material[:32], material[32:]


def make_master_key(seed: int, meter_no: str) -> str:
    """Return the 16-octet master key, under which new keys come, as hex."""
    return hashlib.sha256(f"master {seed} {meter_no}".encode()).hexdigest()[:32]


def read_transport(text: str) -> Transport:
    """Read a concentrator's transport; raises `BadInput` naming those there are."""
    known: tuple[Transport, ...] = get_args(Transport)
    for transport in known:
        if text == transport:
            return transport
    raise BadInput(f"transport {text!r} is none of {', '.join(known)}", field="transport")


def utc_text(instant: datetime) -> str:
    """Return an instant as fleet files write it."""
    return instant.astimezone(UTC).isoformat()


_Spec = TypeVar("_Spec", MeterSpec, ConcentratorSpec)


def _read_concentrator(seed: int, document: object) -> ConcentratorSpec:
    if not isinstance(document, Mapping):
        raise BadInput("a concentrator is not an object", field="concentrators")
    meters = document.get("meters")
    _check(isinstance(meters, list | tuple), "no list of meters", "meters")
    read = tuple(_read_meter(seed, meter) for meter in meters or ())
    return _build(ConcentratorSpec, {**document, "meters": read})


def _read_meter(seed: int, document: object) -> MeterSpec:
    if not isinstance(document, Mapping):
        raise BadInput("a meter is not an object", field="meters")
    meter_no = str(document.get("meter_no", ""))
    encryption_key, authentication_key = make_keys(seed, meter_no)
    defaults = {
        "encryption_key": encryption_key,
        "authentication_key": authentication_key,
        "master_key": make_master_key(seed, meter_no),
    }
    return _build(MeterSpec, {**defaults, **document})


def _build(kind: type[_Spec], values: Mapping[str, Any]) -> _Spec:
    known = {item.name for item in fields(kind)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise BadInput(f"{kind.__name__} has no field {unknown[0]!r}", field=unknown[0])
    kept: dict[str, Any] = {
        key: tuple(value) if key == "faults" else value for key, value in values.items()
    }
    try:
        return kind(**kept)
    except (TypeError, ValueError, AttributeError) as error:
        name = values.get("meter_no") or values.get("name") or "?"
        raise BadInput(f"{kind.__name__} {name}: {error}", field=kind.__name__) from error


def _check(condition: bool, message: str, name: str) -> None:
    if not condition:
        raise BadInput(message, field=name)


def _check_key(where: str, name: str, text: str) -> None:
    try:
        size = len(bytes.fromhex(text))
    except ValueError:
        raise BadInput(f"{where}: {name} is not hex", field=name) from None
    _check(size == KEY_SIZE, f"{where}: {name} has {size} octets, not {KEY_SIZE}", name)


def _has_twice(values: list[str]) -> bool:
    return len(set(values)) != len(values)
