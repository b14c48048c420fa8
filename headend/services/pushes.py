"""What meters push, taken in: readings, the contact, being heard; refusals counted and audited.

Only a push that proved its sender counts. Its readings and what it says of the contact count only
with a time that can be right: a meter whose clock runs ahead would speak for an instant that has
not come, and one without a time for none. Being heard counts in any case, so that orders that wait
for the meter are tried again at once.

Refusals may come in any number from anybody, so they are counted all and audited once per sender,
reason and hour of business time, and at most `AUDITED_PER_HOUR` in an hour.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import structlog

from headend.domain.errors import StorageUnavailable
from headend.domain.events import MeterPushed, PushedValue, PushEvent, PushRefusal, PushRefused
from headend.domain.obis import CLOCK, DISCONNECT_CONTROL
from headend.domain.reading import RegisterReading
from headend.domain.supply import ControlState, RelayReading
from headend.ports import Clock
from headend.ports.keys import KeyVault
from headend.ports.pushes import PushKeys
from headend.ports.readings import MeterContact, MeterEvent, MeterRegister
from headend.ports.registry import InstalledMeter
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.meter_keys import unlock

_LOG = structlog.get_logger(__name__)
SOURCE = "push"
AHEAD_LIMIT = timedelta(seconds=60)  # as collection takes a clock to be off
OLDEST = timedelta(days=35)  # what is older comes with a clock that lost its time
AUDITED_PER_HOUR = 200
_VALUE, _CONTROL_STATE, _CONTROL_MODE = 2, 3, 4
_REGISTER_CLASSES = frozenset({3, 4})  # register, extended register
_CLASS_DISCONNECT = 70
_LARGEST = 2**63 - 1  # what a stored reading can be
_CONTROL_STATES = {int(state): state for state in ControlState}
# The sender is proven to be a meter of ours, or claims to be one: its title names it. In all other
# refusals the title is whatever a stranger wrote, and the address must do.
_NAMED_BY_TITLE = frozenset(
    {PushRefusal.WRONG_KEY, PushRefusal.NOT_AUTHENTICATED, PushRefusal.REPLAYED}
)


class RegistryPushKeys:
    """Finds the keys of a push by the system title in the registry; see `PushKeyLookup`."""

    def __init__(self, store: Store, vault: KeyVault) -> None:
        self._store = store
        self._vault = vault

    async def keys_for(self, system_title: bytes) -> PushKeys | None:
        """Return the meter's working keys; None for a stranger, or a meter without both keys."""
        async with self._store.transaction() as uow:
            record = await uow.registry.access_by_title(system_title)
        if record is None:
            return None
        access = unlock(record, self._vault)
        if access.encryption_key is None or access.authentication_key is None:
            return None
        return PushKeys(
            access.meter_id,
            access.encryption_key,
            access.authentication_key,
            key_id=_key_id(access.encryption_key),
        )


@dataclass(slots=True)
class PushCounts:
    """What came of the pushes since the process began; for metrics."""

    taken: int = 0
    readings: int = 0
    without_time: int = 0  # of those taken: no time, or one that cannot be right
    hearsay: int = 0  # accepted without proof of the sender: nothing was done with it
    hastened_orders: int = 0
    audited: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by reason


class PushIntake:
    """Takes what the listener hears; see `headend.ports.pushes.PushSink`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.counts = PushCounts()
        self._store = store
        self._clock = clock
        self._hour: datetime | None = None
        self._audited: set[tuple[str, str]] = set()
        self._untold: Counter[tuple[str, str]] = Counter()

    async def take(self, event: PushEvent) -> None:
        """Take one event. Raises `StorageUnavailable`: the sender keeps what it could not say."""
        if isinstance(event, PushRefused):
            await self._refused(event)
        elif event.meter_id is None or not event.authenticated:
            self.counts.hearsay += 1
        else:
            await self._pushed(event, event.meter_id)

    # Accepted.

    async def _pushed(self, event: MeterPushed, meter_id: int) -> None:
        now = self._clock.now()
        told_at = _told_at(event)
        measured_at = _credible(told_at, now)
        stored = 0
        async with self._store.transaction() as uow:
            await uow.readings.record_contacts([MeterContact(meter_id, now)])
            if measured_at is not None:
                stored = await _store_readings(uow, event, meter_id, measured_at)
            elif told_at is not None:
                await _store_clock_event(uow, meter_id, told_at, now)
            installed = await uow.registry.installed_meter(meter_id, now)
        # A transaction of their own, as in `reading_store`: contacts and orders have other locks.
        async with self._store.transaction() as uow:
            if installed is not None and measured_at is not None:
                await _store_contact(uow, event, installed, min(measured_at, now))
            hastened = await uow.orders.hasten(meter_id, at=now)
        self.counts.taken += 1
        self.counts.readings += stored
        self.counts.without_time += measured_at is None
        self.counts.hastened_orders += hastened

    # Refused.

    async def _refused(self, event: PushRefused) -> None:
        self.counts.refused[event.reason.value] += 1
        key = (_sender(event), event.reason.value)
        if not self._is_news(key):
            if key in self._untold or len(self._untold) < AUDITED_PER_HOUR:
                self._untold[key] += 1
            return
        detail: dict[str, object] = {
            "reason": event.reason.value,
            "peer": event.peer,
            "message": event.message,
            "more_since_the_last": self._untold.pop(key, 0),
        }
        try:
            async with self._store.transaction() as uow:
                await uow.audit.record(
                    "push-listener", "push.refused", key[0], at=self._clock.now(), detail=detail
                )
        except StorageUnavailable as error:
            # Nothing is lost with it but the record; the sender need not repeat what is refused.
            _LOG.warning("refused push not audited", sender=key[0], error=str(error))
            self._audited.discard(key)
            return
        self.counts.audited += 1

    def _is_news(self, key: tuple[str, str]) -> bool:
        """Tell whether a refusal is audited, and remember that it was."""
        hour = self._clock.now().replace(minute=0, second=0, microsecond=0)
        if hour != self._hour:
            self._hour = hour
            self._audited.clear()
        if key in self._audited or len(self._audited) >= AUDITED_PER_HOUR:
            return False
        self._audited.add(key)
        return True


def _key_id(encryption_key: bytes) -> str:
    """Name the counters of this very key: those of a new key begin anew. One way."""
    return "push-" + hashlib.sha256(b"ami-headend push" + encryption_key).hexdigest()[:8]


def _told_at(event: MeterPushed) -> datetime | None:
    """Return the instant that the push tells: its own, else that of the clock among its values."""
    if event.measured_at is not None:
        return event.measured_at
    for one in event.values:
        if one.obis == CLOCK and one.attribute == _VALUE and isinstance(one.value, str):
            try:
                told = datetime.fromisoformat(one.value)
            except ValueError:
                return None
            return None if told.tzinfo is None else told.astimezone(UTC)
    return None


def _credible(measured_at: datetime | None, now: datetime) -> datetime | None:
    """Return the instant a push speaks of, None when it cannot be right."""
    if measured_at is None or not now - OLDEST <= measured_at <= now + AHEAD_LIMIT:
        return None
    return measured_at


async def _store_readings(
    uow: UnitOfWork, event: MeterPushed, meter_id: int, measured_at: datetime
) -> int:
    registers = list(_registers(event.values, meter_id, measured_at))
    if not registers:
        return 0
    await uow.readings.ensure_partitions(measured_at.date(), measured_at.date())
    return await uow.readings.store_registers(registers, source=SOURCE)


def _registers(
    values: Iterable[PushedValue], meter_id: int, measured_at: datetime
) -> Iterable[MeterRegister]:
    for one in values:
        if one.class_id not in _REGISTER_CLASSES or one.attribute != _VALUE or not one.unit:
            continue
        value = one.value
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            continue
        if -_LARGEST <= value <= _LARGEST:
            reading = RegisterReading(one.obis, value, one.unit, measured_at)
            yield MeterRegister(meter_id, reading)


async def _store_contact(
    uow: UnitOfWork, event: MeterPushed, installed: InstalledMeter, at: datetime
) -> None:
    """Store what the push says of the contact, where it says enough."""
    told = {
        one.attribute: one.value
        for one in event.values
        if one.class_id == _CLASS_DISCONNECT and one.obis == DISCONNECT_CONTROL
    }
    mode = _whole(told.get(_CONTROL_MODE))
    if mode is None:
        known = await uow.supply.supply_state(installed.usage_point_id)
        mode = known.control_mode if known is not None else None
    output, control = told.get(_VALUE), _whole(told.get(_CONTROL_STATE))
    if mode is None or not isinstance(output, bool) or control not in _CONTROL_STATES:
        return
    await uow.supply.record_supply_state(
        installed.usage_point_id,
        installed.access.meter_id,
        RelayReading(output, _CONTROL_STATES[control], mode),
        source=SOURCE,
        at=at,
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


async def _store_clock_event(
    uow: UnitOfWork, meter_id: int, told_at: datetime, now: datetime
) -> None:
    drift_s = round((told_at - now).total_seconds(), 1)
    event = MeterEvent(meter_id, now, "clock_drift", {"drift_s": drift_s})
    await uow.readings.ensure_partitions(now.date(), now.date())
    await uow.readings.store_events([event], source=SOURCE)


def _sender(event: PushRefused) -> str:
    if event.system_title is not None and event.reason in _NAMED_BY_TITLE:
        return f"system_title:{event.system_title.hex()}"
    return f"peer:{event.peer.rpartition(':')[0] or event.peer}"
