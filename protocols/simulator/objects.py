"""The COSEM objects of one simulated meter: what its truth looks like over DLMS.

Answers the server session's reads, writes and methods from `Meter` and its contact, and lets the
faults of `FaultBook` bend the *answers*. Classes and attributes follow IEC 62056-6-2 (Blue Book;
clauses unverified): 1 data, 3 register, 7 profile generic, 8 clock, 15 association, 64 security
setup, 70 disconnect control. Association, ciphering and block transfer are the session's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headend.domain.obis import (
    ACTIVE_ENERGY_IMPORT,
    CLOCK,
    CURRENT_ASSOCIATION,
    DEVICE_SERIAL,
    DISCONNECT_CONTROL,
    INSTANTANEOUS_POWER_IMPORT,
    LOAD_PROFILE_1,
    LOGICAL_DEVICE_NAME,
    Obis,
)
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import AccessError, AccessResult
from protocols.dlms.key_transfer import (
    CLASS_SECURITY_SETUP,
    METHOD_KEY_TRANSFER,
    SECURITY_SETUP,
)
from protocols.dlms.selection import CLOCK_COLUMN, Selection
from protocols.simulator.business_time import to_instant
from protocols.simulator.contact import (
    BUTTON_MODE,
    CommandForbidden,
    CommandRefused,
    RelayFault,
)
from protocols.simulator.faults import Fault, FaultBook, FaultKind
from protocols.simulator.meter import Meter
from protocols.simulator.meter_clock import MeterClock
from protocols.simulator.meter_keys import MeterKeys
from protocols.simulator.profile_buffer import (
    CAPTURE_OBJECTS,
    INTERVAL_ENERGY,
    PROFILE_DAYS,
    PROFILE_STATUS,
    STATUS_OK,
    entries_in_use,
    read_buffer,
)

FRAME_COUNTER = Obis.parse("0.0.43.1.0.255")  # highest invocation counter received
VOLTAGE_L1 = Obis.parse("1.0.32.7.0.255")
CURRENT_L1 = Obis.parse("1.0.31.7.0.255")

CLASS_DATA, CLASS_REGISTER, CLASS_PROFILE, CLASS_CLOCK = 1, 3, 7, 8
CLASS_ASSOCIATION, CLASS_DISCONNECT = 15, 70
NOMINAL_DV = 2300  # 230 V in decivolts
UNIT_W, UNIT_WH, UNIT_A, UNIT_V = 27, 30, 33, 35  # COSEM unit enumeration
SORT_FIFO = 1
CLOCK_BASE_CRYSTAL = 1
POLICY_AUTHENTICATED_ENCRYPTED = 3  # of every message, in version 0 of the class
_NEEDS_MEASUREMENT = frozenset(
    {ACTIVE_ENERGY_IMPORT, INSTANTANEOUS_POWER_IMPORT, INTERVAL_ENERGY, CURRENT_L1}
)
_RELAY_FAULTS = (
    (FaultKind.RELAY_REFUSED, RelayFault.REFUSES),
    (FaultKind.RELAY_IGNORED, RelayFault.IGNORED),
    (FaultKind.RELAY_STUCK, RelayFault.STUCK),
)


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a device says it is."""

    logical_device_name: str
    serial: str


FOREIGN_IDENTITY = DeviceIdentity("SIM9999999999999", "9999999999999")


class MeterObjects:
    """`CosemObjects` of one meter."""

    def __init__(
        self,
        identity: DeviceIdentity,
        meter: Meter,
        faults: FaultBook,
        *,
        clock: MeterClock,
        keys: MeterKeys,
        system_title: bytes,
        deviation_min: int,
        highest_counter: Callable[[], int],
    ) -> None:
        self.identity = identity
        self.meter = meter
        self.faults = faults
        self.clock = clock
        self.keys = keys
        self.system_title = system_title
        self.deviation_min = deviation_min
        self.highest_counter = highest_counter
        # Set by an action whose answer a fault lets get lost; the concentrator takes it.
        self.answer_lost = False
        self.rows_served = 0

    def read(self, class_id: int, obis: Obis, attribute: int, selection: Selection | None) -> bytes:
        """Return the encoded attribute; raises `AccessError`."""
        reader = _find(class_id, obis).attributes.get(attribute)
        self._check_answers(obis)
        if attribute == 1:
            return xdr.octet_string(obis.octets)
        if reader is None:
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        if (class_id, attribute) == (CLASS_PROFILE, 2):
            return self._buffer(selection)
        if selection is not None:
            raise AccessError(AccessResult.SCOPE_OF_ACCESS_VIOLATED)
        return xdr.encode(reader(self))

    def write(self, class_id: int, obis: Obis, attribute: int, value: bytes) -> None:
        """Set the clock; nothing else in this meter is set remotely. Raises `AccessError`."""
        writable = _find(class_id, obis).writable
        self._check_answers(obis)
        if attribute not in writable:
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        self.clock.write(value, deviation_min=self.deviation_min)

    def invoke(
        self, class_id: int, obis: Obis, method: int, parameter: bytes | None
    ) -> bytes | None:
        """Run a method of disconnect control, clock or security setup; raises `AccessError`."""
        _find(class_id, obis)
        self._check_answers(obis)
        if class_id == CLASS_CLOCK:
            self.clock.invoke(method, parameter, period_s=self.meter.interval_s)
            return None
        if (class_id, method) == (CLASS_SECURITY_SETUP, METHOD_KEY_TRANSFER):
            self.keys.transfer(parameter)
            return None
        if class_id != CLASS_DISCONNECT or method not in (1, 2):
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        try:
            self._switch(close=method == 2)
        except CommandForbidden:
            raise AccessError(AccessResult.READ_WRITE_DENIED) from None
        except CommandRefused:
            raise AccessError(AccessResult.HARDWARE_FAULT) from None
        self.answer_lost = self._fault(FaultKind.ACTION_UNANSWERED) is not None
        return None

    def shown_identity(self) -> DeviceIdentity:
        """Return the identity shown now, a foreign one while that fault holds."""
        fault = self._fault(FaultKind.WRONG_IDENTITY)
        if fault is None:
            return self.identity
        return DeviceIdentity(
            fault.parameters["logical_device_name"] or FOREIGN_IDENTITY.logical_device_name,
            fault.parameters["serial"] or FOREIGN_IDENTITY.serial,
        )

    def control_mode(self) -> int:
        """Return the control mode shown now."""
        needs_button = self._fault(FaultKind.BUTTON_REQUIRED) is not None
        return BUTTON_MODE if needs_button else self.meter.contact.control_mode

    def relay_fault(self) -> RelayFault:
        """Return what is wrong with the relay now."""
        for kind, effect in _RELAY_FAULTS:
            if self._fault(kind) is not None:
                return effect
        return RelayFault.NONE

    def cosem_time(self) -> bytes:
        """Return the meter's own clock as 12 octets, local time with its deviation."""
        shown = to_instant(self.clock.shown_us())
        return CosemDateTime.from_instant(shown, deviation_min=self.deviation_min).octets

    def _fault(self, kind: FaultKind) -> Fault | None:
        return self.faults.active(kind, self.meter.clock.now_us()) if self.faults else None

    def _check_answers(self, obis: Obis) -> None:
        if not self.faults:
            return
        if self._fault(FaultKind.BUSY):
            raise AccessError(AccessResult.TEMPORARY_FAILURE)
        denied = self._fault(FaultKind.DENIED)
        if denied is not None and denied.parameters["obis"] in ("", str(obis)):
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        if obis in _NEEDS_MEASUREMENT and self._fault(FaultKind.MISSING_ROWS):
            raise AccessError(AccessResult.READ_WRITE_DENIED)

    def _switch(self, *, close: bool) -> None:
        late = self._fault(FaultKind.RELAY_DELAY_MS)
        delay_ms = late.parameters["delay_ms"] if late else None
        contact = self.meter.contact
        if close:
            contact.remote_reconnect(
                fault=self.relay_fault(),
                delay_ms=delay_ms,
                button_required=self._fault(FaultKind.BUTTON_REQUIRED) is not None,
            )
        else:
            contact.remote_disconnect(fault=self.relay_fault(), delay_ms=delay_ms)

    def _buffer(self, selection: Selection | None) -> bytes:
        encoded, count = read_buffer(
            self.meter,
            selection,
            clock=self.clock,
            deviation_min=self.deviation_min,
            missing=self.faults.get(FaultKind.MISSING_ROWS),
        )
        self.rows_served += count
        return encoded


# The object model, shared by every meter.

_Reader = Callable[[MeterObjects], d.Data]


@dataclass(frozen=True, slots=True)
class _Object:
    class_id: int
    version: int
    attributes: Mapping[int, _Reader]
    methods: int = 0
    writable: frozenset[int] = frozenset()


def _find(class_id: int, obis: Obis) -> _Object:
    found = _OBJECTS.get(obis)
    if found is None:
        raise AccessError(AccessResult.OBJECT_UNDEFINED)
    if found.class_id != class_id:
        raise AccessError(AccessResult.OBJECT_CLASS_INCONSISTENT)
    return found


def _fixed(value: d.Data) -> _Reader:
    return lambda _objects: value


def _data(reader: _Reader) -> _Object:
    return _Object(CLASS_DATA, 0, {2: reader})


def _register(reader: _Reader, *, scaler: int, unit: int) -> _Object:
    scaler_unit = d.Structure((d.Integer(scaler), d.Enum(unit)))
    return _Object(CLASS_REGISTER, 0, {2: reader, 3: _fixed(scaler_unit)}, methods=1)


def _object_list(_objects: MeterObjects) -> d.Data:
    """Return attribute 2 of the association: every object with its access rights."""
    return d.Array(_list_element(obis, entry) for obis, entry in _OBJECTS.items())


def _list_element(obis: Obis, entry: _Object) -> d.Structure:
    may_run = d.Enum(1)
    attributes = d.Array(
        d.Structure((d.Integer(number), d.Enum(3 if number in entry.writable else 1), None))
        for number in (1, *entry.attributes)
    )
    methods = d.Array(
        d.Structure((d.Integer(number + 1), may_run)) for number in range(entry.methods)
    )
    return d.Structure(
        (
            d.LongUnsigned(entry.class_id),
            d.Unsigned(entry.version),
            obis.octets,
            d.Structure((attributes, methods)),
        )
    )


_OBJECTS: dict[Obis, _Object] = {
    LOGICAL_DEVICE_NAME: _data(lambda o: o.shown_identity().logical_device_name.encode()),
    DEVICE_SERIAL: _data(lambda o: o.shown_identity().serial.encode()),
    FRAME_COUNTER: _data(lambda o: d.DoubleLongUnsigned(o.highest_counter())),
    PROFILE_STATUS: _data(_fixed(d.Unsigned(STATUS_OK))),
    ACTIVE_ENERGY_IMPORT: _register(
        lambda o: d.DoubleLongUnsigned(o.meter.register_wh()), scaler=0, unit=UNIT_WH
    ),
    INTERVAL_ENERGY: _register(
        lambda o: d.DoubleLongUnsigned(o.meter.latest_interval_wh()), scaler=0, unit=UNIT_WH
    ),
    INSTANTANEOUS_POWER_IMPORT: _register(
        lambda o: d.DoubleLongUnsigned(o.meter.power_w()), scaler=0, unit=UNIT_W
    ),
    VOLTAGE_L1: _register(_fixed(d.LongUnsigned(NOMINAL_DV)), scaler=-1, unit=UNIT_V),
    CURRENT_L1: _register(
        lambda o: d.LongUnsigned(o.meter.power_w() * 1000 // NOMINAL_DV), scaler=-2, unit=UNIT_A
    ),
    LOAD_PROFILE_1: _Object(
        CLASS_PROFILE,
        1,
        {
            2: _fixed(None),  # answered by `read_buffer`
            3: _fixed(d.Array(column.to_data() for column in CAPTURE_OBJECTS)),
            4: lambda o: d.DoubleLongUnsigned(o.meter.interval_s),
            5: _fixed(d.Enum(SORT_FIFO)),
            6: _fixed(CLOCK_COLUMN.to_data()),
            7: lambda o: d.DoubleLongUnsigned(entries_in_use(o.meter, o.clock)),
            8: lambda o: d.DoubleLongUnsigned(PROFILE_DAYS * 86_400 // o.meter.interval_s),
        },
    ),
    CLOCK: _Object(
        CLASS_CLOCK,
        0,
        {
            2: lambda o: o.cosem_time(),
            3: lambda o: d.Long(o.deviation_min),
            4: _fixed(d.Unsigned(0)),
            8: _fixed(False),
            9: _fixed(d.Enum(CLOCK_BASE_CRYSTAL)),
        },
        methods=6,
        writable=frozenset({2}),
    ),
    CURRENT_ASSOCIATION: _Object(CLASS_ASSOCIATION, 1, {2: _object_list}, methods=1),
    SECURITY_SETUP: _Object(
        CLASS_SECURITY_SETUP,
        0,
        {
            2: _fixed(d.Enum(POLICY_AUTHENTICATED_ENCRYPTED)),
            3: _fixed(d.Enum(0)),  # suite 0
            5: lambda o: o.system_title,
        },
        methods=2,
    ),
    DISCONNECT_CONTROL: _Object(
        CLASS_DISCONNECT,
        0,
        {
            2: lambda o: o.meter.contact.closed,
            3: lambda o: d.Enum(int(o.meter.contact.control_state)),
            4: lambda o: d.Enum(o.control_mode()),
        },
        methods=2,
    ),
}
