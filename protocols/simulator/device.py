"""One simulated device: a meter with its objects, keys, counters and faults, ready for sessions.

Counters outlive sessions and restarts: the meter's own invocation counter is journaled in blocks
before an answer that uses it leaves, because an AES-GCM nonce may never be used twice under a key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakSet

from headend.domain.errors import BadInput, InvariantViolated
from headend.domain.obis import CLOCK, DEVICE_SERIAL, LOGICAL_DEVICE_NAME
from protocols.dlms.acse import AARQ
from protocols.dlms.admission import SERVED_CONFORMANCE
from protocols.dlms.gbt import MAX_WINDOW
from protocols.dlms.initiate import Conformance
from protocols.dlms.push_ciphering import seal_general
from protocols.dlms.security import AUTHENTICATED_ENCRYPTED, GcmKey
from protocols.dlms.server import ClientAccess, ServerCounters, ServerSecurity, ServerSession
from protocols.simulator.business_time import US_PER_S, BusinessClock
from protocols.simulator.contact import Contact
from protocols.simulator.faults import Fault, FaultBook, FaultKind
from protocols.simulator.fleet import MIN_PDU, MeterSpec
from protocols.simulator.journal import Journal
from protocols.simulator.load import HouseholdLoad
from protocols.simulator.meter import Meter
from protocols.simulator.meter_clock import MeterClock
from protocols.simulator.meter_keys import MeterKeys
from protocols.simulator.objects import FRAME_COUNTER, DeviceIdentity, MeterObjects

PUBLIC_CLIENT = 16  # reads identity and counter without security (Green Book convention)
MANAGEMENT_CLIENT = 1  # HLS-GMAC; the only one that may switch
READING_CLIENT = 2  # LLS by the meter's password; reads everything
COUNTER_BLOCK = 4096  # own counters reserved with one journal line
RECEIVED_BLOCK = 256  # how far received counters may run ahead of the journal
_WITHOUT_SERVICE_BLOCKS = SERVED_CONFORMANCE & ~(
    Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.BLOCK_TRANSFER_WITH_SET
    | Conformance.BLOCK_TRANSFER_WITH_ACTION
)
_PUBLIC_ACCESS = ClientAccess(
    "none",
    readable=frozenset({LOGICAL_DEVICE_NAME, DEVICE_SERIAL, CLOCK, FRAME_COUNTER}),
    may_write=False,
)


class Device:
    """One meter as the network sees it."""

    def __init__(
        self, spec: MeterSpec, clock: BusinessClock, journal: Journal, *, utc_offset_s: int
    ) -> None:
        self.spec = spec
        self.faults = FaultBook()
        self.contact = Contact(
            clock,
            control_mode=spec.control_mode,
            relay_delay_ms=spec.relay_delay_ms,
            record=self._record,
        )
        load = HouseholdLoad(spec.load_seed, spec.load_scale, spec.interval_s, utc_offset_s)
        self.meter = Meter(
            clock,
            self.contact,
            load,
            initial_wh=spec.initial_wh,
            commissioned_s=spec.commissioned_s,
        )
        self.clock = MeterClock(clock, record=self._record)
        self.keys = MeterKeys(
            encryption_key=spec.encryption_key,
            authentication_key=spec.authentication_key,
            master_key=spec.master_key,
            record=self._record,
        )
        self.objects = MeterObjects(
            DeviceIdentity(spec.logical_device_name, spec.serial),
            self.meter,
            self.faults,
            clock=self.clock,
            keys=self.keys,
            system_title=spec.system_title,
            deviation_min=-utc_offset_s // 60,
            highest_counter=self._highest_received,
        )
        self.requests_answered = 0
        self.sessions_opened = 0
        self.link_frames_sent = 0  # over HDLC
        self._clock = clock
        self._journal = journal
        self._counters = ServerCounters()
        self._sessions: WeakSet[ServerSession] = WeakSet()
        self._reserved = 0
        self._journaled_received: dict[int, int] = {}

    @property
    def meter_no(self) -> str:
        """The number by which the fleet and the control socket know it."""
        return self.spec.meter_no

    # Sessions.

    def open_session(self, client_address: int) -> ServerSession:
        """Begin a conversation with a client address; it lasts over its associations."""
        security = ServerSecurity(self.spec.system_title, _Clients(self), self._counters)
        general = self.fault(FaultKind.GENERAL_BLOCKS)
        session = ServerSession(
            self.objects,
            security,
            client_address=client_address,
            server_address=self.spec.address,
            max_pdu=self._max_pdu(),
            conformance=SERVED_CONFORMANCE if general is None else _WITHOUT_SERVICE_BLOCKS,
            general_blocks=0 if general is None else _window(general),
        )
        self._sessions.add(session)
        return session

    def answer(self, session: ServerSession, apdu: bytes) -> bytes | None:
        """Let a session answer one APDU by one; see `answers`."""
        answers = self.answers(session, apdu)
        return answers[0] if answers else None

    def answers(self, session: ServerSession, apdu: bytes) -> tuple[bytes, ...]:
        """Let a session answer one APDU; empty when it answers nothing, or its answer is lost."""
        if is_association_request(apdu):
            self._apply_counter_faults()
            self.sessions_opened += 1
        encryption_key, authentication_key = self.keys.encryption_key, self.keys.authentication_key
        answers = session.handle_all(apdu)
        self._keep_counters()
        if (encryption_key, authentication_key) != (
            self.keys.encryption_key,
            self.keys.authentication_key,
        ):
            self._begin_with_new_keys(is_new_sequence=encryption_key != self.keys.encryption_key)
        if self.objects.answer_lost:
            self.objects.answer_lost = False
            return ()
        if answers:
            self.requests_answered += 1
        return answers

    def seal_push(self, apdu: bytes) -> bytes:
        """Cipher a push under the meter's own key, with a counter that nothing else uses."""
        access = self.access(MANAGEMENT_CLIENT)
        if access.encryption_key is None or access.authentication_key is None:
            raise InvariantViolated("the management client of a simulated meter has keys")
        key = GcmKey(access.encryption_key, access.authentication_key, suite=access.suite)
        counter = self._counters.take()
        self._keep_counters()
        return seal_general(
            apdu,
            key,
            title=self.spec.system_title,
            counter=counter,
            control=AUTHENTICATED_ENCRYPTED | access.suite,
        )

    def fault(self, kind: FaultKind) -> Fault | None:
        """Return a fault that holds now."""
        return self.faults.active(kind, self._clock.now_us()) if self.faults else None

    def access(self, client_address: int) -> ClientAccess:
        """Return what a client must present now; raises `KeyError` for one that has no access."""
        if client_address == PUBLIC_CLIENT:
            return _PUBLIC_ACCESS
        if client_address == READING_CLIENT and self.spec.password:
            return ClientAccess("lls", password=self.spec.password.encode(), may_write=False)
        if client_address != MANAGEMENT_CLIENT:
            raise KeyError(client_address)
        encryption_key = self.keys.encryption_key
        authentication_key = self.keys.authentication_key
        if self.fault(FaultKind.WRONG_KEY) is not None:
            encryption_key = _another(encryption_key)
            authentication_key = _another(authentication_key)
        return ClientAccess("gmac", encryption_key, authentication_key)

    def _max_pdu(self) -> int:
        small = self.fault(FaultKind.SMALL_PDU)
        wanted = self.spec.max_pdu if small is None else small.parameters["octets"]
        return max(MIN_PDU, min(wanted, self.spec.max_pdu))

    def press_button(self) -> bool:
        """Press the button at the meter; return whether it did anything."""
        return self.contact.press_button(fault=self.objects.relay_fault())

    # Faults and persistence.

    def set_fault(self, fault: Fault) -> None:
        """Switch a fault on, for later runs too."""
        self._record("fault", fault.to_json())
        self.faults.set(fault)
        self._disturb_clock(fault)

    def set_first_faults(self, faults: Iterable[Mapping[str, Any]]) -> None:
        """Begin with faults, before any state of earlier runs is taken up."""
        for values in faults:
            fault = Fault.from_json(values)
            self.faults.set(fault)
            self._disturb_clock(fault, is_first=True)

    def clear_fault(self, kind: FaultKind | None) -> None:
        """Clear one kind of fault, or all, for later runs too."""
        self._record("clear_fault", {"fault": kind.value if kind else None})
        self.faults.clear(kind)
        if kind in (None, FaultKind.CLOCK_DRIFT):
            self.clock.repair()

    def replay(self, kind: str, values: Mapping[str, Any]) -> None:
        """Apply one record of an earlier run."""
        if kind == "fault":
            self.faults.set(Fault.from_json(values))
        elif kind == "clear_fault":
            name = values["fault"]
            self.faults.clear(FaultKind(name) if name else None)
            if name in (None, FaultKind.CLOCK_DRIFT):
                self.clock.forget()  # what became of it follows in a record of its own
        elif kind == "keys":
            self.keys.replay(values)
        elif kind == "meter_clock":
            self.clock.replay(values)
        elif kind == "counters":
            self._counters.next_counter = self._reserved = values["next"]
            self._counters.received = {int(k): v for k, v in values["received"].items()}
            self._journaled_received = dict(self._counters.received)
        elif kind in ("moved", "command"):
            self.contact.replay(kind, values)
        else:
            raise BadInput(f"a meter knows no record of kind {kind!r}", field="kind")

    def snapshot(self) -> list[dict[str, Any]]:
        """Return the records from which `replay` rebuilds the present state."""
        records: list[dict[str, Any]] = [{"kind": "clear_fault", "fault": None}]
        records += [{"kind": "fault", **fault.to_json()} for fault in self.faults]
        if self._reserved:
            records.append(self._counter_record())
        kept = (*self.keys.snapshot(), *self.clock.snapshot(), *self.contact.snapshot())
        records += [{"kind": kind, **values} for kind, values in kept]
        return [{**record, "meter": self.meter_no} for record in records]

    # Private.

    def _record(self, kind: str, values: Mapping[str, Any]) -> None:
        self._journal.append({**values, "kind": kind, "meter": self.meter_no})

    def _disturb_clock(self, fault: Fault, *, is_first: bool = False) -> None:
        """Let the clock go wrong from the fault's begin: now, or ever since it was installed."""
        if fault.kind is not FaultKind.CLOCK_DRIFT:
            return
        begins_us = fault.from_us
        if begins_us is None:
            begins_us = self.spec.commissioned_s * US_PER_S if is_first else self._clock.now_us()
        self.clock.drift(begins_us, fault.until_us, is_first=is_first, **fault.parameters)

    def _apply_counter_faults(self) -> None:
        """Move the counters once; each fault is over when it has happened."""
        behind = self.fault(FaultKind.COUNTER_BEHIND)
        if behind is not None:
            counters, by = self._counters, behind.parameters["by"]
            seen = counters.received.pop(MANAGEMENT_CLIENT, -1) - by
            if seen >= 0:
                counters.received[MANAGEMENT_CLIENT] = seen
            counters.next_counter = self._reserved = max(counters.next_counter - by, 0)
            self.clear_fault(FaultKind.COUNTER_BEHIND)
        fault = self.fault(FaultKind.COUNTER_AHEAD)
        if fault is not None:
            ahead = self._highest_received() + fault.parameters["by"]
            self._counters.received[MANAGEMENT_CLIENT] = ahead
            self.clear_fault(FaultKind.COUNTER_AHEAD)

    def _begin_with_new_keys(self, *, is_new_sequence: bool) -> None:
        """End every association under the old keys, whose last answer is made.

        With a new encryption key the client's counters begin anew; our own simply go on.
        """
        for session in self._sessions:
            session.drop_association()
        if is_new_sequence:
            self._counters.received.pop(MANAGEMENT_CLIENT, None)
            self._record("counters", self._counter_record())
            self._journaled_received = dict(self._counters.received)

    def _highest_received(self) -> int:
        return self._counters.received.get(MANAGEMENT_CLIENT, 0)

    def _keep_counters(self) -> None:
        received = self._counters.received
        ahead = any(
            value - self._journaled_received.get(client, 0) >= RECEIVED_BLOCK
            for client, value in received.items()
        )
        if self._counters.next_counter > self._reserved or ahead:
            self._reserved = self._counters.next_counter + COUNTER_BLOCK
            self._record("counters", self._counter_record())
            self._journaled_received = dict(received)

    def _counter_record(self) -> dict[str, Any]:
        received = {str(client): value for client, value in self._counters.received.items()}
        return {"kind": "counters", "next": self._reserved, "received": received}


class _Clients(Mapping[int, ClientAccess]):
    """The client table, looked up anew with each association, so that faults show at once."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def __getitem__(self, client_address: int) -> ClientAccess:
        return self._device.access(client_address)

    def __iter__(self) -> Iterator[int]:
        return iter((MANAGEMENT_CLIENT, READING_CLIENT, PUBLIC_CLIENT))

    def __len__(self) -> int:
        return 3


def _window(general: Fault) -> int:
    return min(max(int(general.parameters["window"]), 1), MAX_WINDOW)


def is_association_request(apdu: bytes) -> bool:
    """Tell whether an APDU is an AARQ: the beginning of an association."""
    return apdu[:1] == bytes((AARQ,))


def _another(key: bytes) -> bytes:
    return hashlib.sha256(b"another key " + key).digest()[: len(key)]
