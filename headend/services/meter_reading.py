"""One session with one meter: what is asked, in which order, and what came of it.

The device proves who it is before anything else is read. What was read before a session broke is
kept; a foreign device's values never are. Nothing here is stored: see `reading_store`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from headend.domain.errors import HeadEndError, IdentityMismatch, MeterRefused
from headend.domain.identity import check_identity
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, LOAD_PROFILE_1, Obis
from headend.domain.reading import ProfileDay, RegisterReading
from headend.domain.supply import RelayReading
from headend.ports import Clock, MeterSession
from headend.ports.registry import InstalledMeter
from headend.services.profile_days import assemble_day, group_days

PROFILE_CHANNEL = ACTIVE_ENERGY_IMPORT
REGISTERS: tuple[Obis, ...] = (ACTIVE_ENERGY_IMPORT,)


@dataclass(frozen=True, slots=True)
class WantedDays:
    """A meter and its local days to be read; ``settled_through`` is the last day settled."""

    meter: InstalledMeter
    days: tuple[date, ...]
    settled_through: date | None = None

    def is_late(self, day: date) -> bool:
        """Whether the day's settlement is done, so that its values come late."""
        return self.settled_through is not None and day <= self.settled_through


@dataclass(slots=True)
class MeterReadout:
    """What a meter gave. ``fault`` is what ended the session early, None when nothing did.

    ``heard_at`` is set once the device has proven to be the installed one; ``contact_known`` once
    it was asked for its relay, with ``relay`` None when it would not tell.
    """

    wanted: WantedDays
    heard_at: datetime | None = None
    fault: HeadEndError | None = None
    registers: list[RegisterReading] = field(default_factory=list)
    contact_known: bool = False
    relay: RelayReading | None = None
    clock_drift: timedelta | None = None
    days: dict[date, ProfileDay] = field(default_factory=dict)

    def forget(self) -> None:
        """Drop everything: it may have come from another device."""
        self.heard_at = self.clock_drift = self.relay = None
        self.contact_known = False
        self.registers, self.days = [], {}


async def read_meter(session: MeterSession, readout: MeterReadout, clock: Clock) -> None:
    """Fill ``readout`` from one session.

    Raises the errors of `MeterSession`, with ``readout`` keeping what came before. A register,
    relay or clock that the meter refuses to tell does not keep it from telling the rest.
    """
    meter = readout.wanted.meter
    try:
        check_identity(meter.access.identity, await session.read_identity())
    except IdentityMismatch:
        readout.forget()
        raise
    readout.heard_at = clock.now()
    await _read_relay(session, readout)
    await _read_registers(session, readout)
    await _read_clock(session, readout, clock)
    for run in group_days(readout.wanted.days, meter.time_zone):
        rows = await session.read_profile(LOAD_PROFILE_1, run.start, run.end)
        for day in run.days:
            readout.days[day] = assemble_day(
                rows,
                meter_id=meter.access.meter_id,
                channel=PROFILE_CHANNEL,
                day=day,
                zone=meter.time_zone,
                is_late=readout.wanted.is_late(day),
            )


async def _read_relay(session: MeterSession, readout: MeterReadout) -> None:
    try:
        readout.relay = await session.read_relay()
    except MeterRefused:
        readout.relay = None
    readout.contact_known = True


async def _read_registers(session: MeterSession, readout: MeterReadout) -> None:
    try:
        readout.registers = await session.read_registers(REGISTERS)
    except MeterRefused:
        readout.registers = []


async def _read_clock(session: MeterSession, readout: MeterReadout, clock: Clock) -> None:
    before = clock.now()
    try:
        shown = await session.read_clock()
    except MeterRefused:
        return
    # The answer was made somewhere between asking and hearing; the middle errs least.
    readout.clock_drift = shown - (before + (clock.now() - before) / 2)
