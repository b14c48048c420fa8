"""`MeterInspection` over one DLMS session: the services of this package for one meter."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from headend.domain.errors import MeterRefused
from headend.domain.obis import Obis
from headend.domain.reading import MeterIdentity
from headend.domain.supply import SupplyAction
from headend.ports.inspection import (
    ClockReading,
    EventReading,
    InspectionOptions,
    LimitReading,
    MeterSummary,
    ObjectReading,
    ProfileReading,
    ProfileWindow,
    PushReading,
    RelayState,
)
from protocols.dlms.initiate import Conformance
from protocols.dlms.meter_model import DEFAULT_SETTLE_S, MeterModel
from protocols.dlms.services import clock as clocks
from protocols.dlms.services import identify as identities
from protocols.dlms.services import push_setup as pushes
from protocols.dlms.services.disconnect import (
    CONTROL_MODES,
    RemoteClose,
    explain_mode,
    find_relay,
    read_relay,
)
from protocols.dlms.services.events import find_event_logs, read_events
from protocols.dlms.services.meter_limits import MeterLimits
from protocols.dlms.services.profiles import read_profile
from protocols.dlms.services.reading import ObjectReader, Target
from protocols.dlms.session import DlmsSession


class DlmsInspection:
    """One conversation; what was learnt of the meter (object list, relay) is kept for its time."""

    def __init__(self, session: DlmsSession, model: MeterModel, options: InspectionOptions) -> None:
        self._session = session
        self._model = model
        self._note = options.note
        self._given_relay = None if options.relay is None else Obis.parse(options.relay)
        self._reader = ObjectReader(session, model)
        self._relay: Obis | None = None
        self._limits = MeterLimits(session, model)

    async def identify(self) -> MeterSummary:
        negotiated = self._session.negotiated
        conformance = [(each.name or "").lower() for each in negotiated.conformance]
        return await identities.identify(
            self._session,
            self._model,
            relay=self._given_relay,
            negotiated={"max_pdu": negotiated.max_pdu, "conformance": conformance},
        )

    async def read_identity(self) -> MeterIdentity:
        return await identities.read_identity(self._session, self._model)

    async def read_objects(self, targets: Sequence[str]) -> list[ObjectReading]:
        return await self._reader.read([Target.parse(target) for target in targets])

    async def read_profile(self, profile: str, window: ProfileWindow) -> ProfileReading:
        wall = await clocks.read_wall_clock(self._session, self._model)
        table = await read_profile(
            self._session, Obis.parse(profile), window, wall, may_select=self._may_select
        )
        for note in table.notes:
            self._note(note)
        return table

    async def read_events(
        self, window: ProfileWindow, log: str | None = None
    ) -> list[EventReading]:
        wall = await clocks.read_wall_clock(self._session, self._model)
        if log is not None:
            logs = [Obis.parse(log)]
        else:
            logs = await find_event_logs(self._session, await self._reader.objects())
        if not logs:
            self._note("this meter shows no event log")
        events, notes = await read_events(
            self._session,
            logs,
            window,
            wall,
            may_select=self._may_select,
            all_wanted=log is not None,
        )
        for note in notes:
            self._note(note)
        return events

    async def read_relay(self) -> RelayState:
        obis = await self._find_relay()
        reading = await read_relay(self._session, obis)
        mode = CONTROL_MODES.get(reading.control_mode)
        known = self._model.relay
        closes = {RemoteClose.CLOSES: True, RemoteClose.ARMS: False, RemoteClose.NOTHING: None}
        return RelayState(
            reading,
            str(obis),
            explain_mode(reading.control_mode),
            # A mode that the standard does not have may still obey.
            opens_remotely=mode is None or mode.opens_remotely,
            closes_remotely=True if mode is None else closes[mode.remote_close],
            settle_s=DEFAULT_SETTLE_S if known is None else known.settle_s,
        )

    async def switch_relay(self, action: SupplyAction) -> None:
        await self._session.switch_relay(action, await self._find_relay())

    async def read_clock(self) -> ClockReading:
        reading, _ = await clocks.read_clock(self._session, self._model)
        return reading

    async def set_clock(self, to: datetime | None = None, *, limit_s: float | None = None) -> None:
        reading, wall = await clocks.read_clock(self._session, self._model)
        ours = datetime.now(UTC)
        wanted = ours if to is None else wall.localise(to)
        correction_s = (wanted - ours).total_seconds() - reading.ahead_s
        limit = self._model.limits.clock_correction_s if limit_s is None else limit_s
        clocks.check_correction(correction_s, limit_s=limit)
        # Reading and judging took a moment, by which the instant is later than it was asked for.
        target = datetime.now(UTC) if to is None else wanted
        await clocks.set_clock(self._session, wall, target)

    async def read_limits(self) -> list[LimitReading]:
        return await self._limits.read()

    async def write_limit(
        self, name: str, value: Decimal | None, *, over_s: int | None = None
    ) -> None:
        await self._limits.write(name, value, over_s=over_s)

    async def read_push(self) -> PushReading:
        found = await pushes.read_push_setup(self._session)
        return PushReading(
            str(found.obis),
            found.transport,
            found.destination,
            found.message,
            tuple(f"{each.class_id}/{each.obis}/{each.attribute}" for each in found.objects),
            found.randomisation_s,
            found.retries,
            found.repetition_delay_s,
        )

    async def write_push_destination(self, destination: str, transport: str) -> None:
        await pushes.write_destination(self._session, destination, transport=transport)

    async def push_now(self) -> None:
        await pushes.push_now(self._session)

    @property
    def _may_select(self) -> bool:
        return bool(self._session.negotiated.conformance & Conformance.SELECTIVE_ACCESS)

    async def _find_relay(self) -> Obis:
        if self._relay is None:
            objects = None
            if self._given_relay is None and self._model.relay is None:
                objects = await self._reader.objects()
            candidates = identities.relay_candidates(self._model, objects, self._given_relay)
            self._relay = await self._find_among(candidates)
        return self._relay

    async def _find_among(self, candidates: list[Obis]) -> Obis:
        """Return the relay; where the usual one is not there, the object list may name another."""
        try:
            return await find_relay(self._session, candidates)
        except MeterRefused:
            listed = identities.relay_candidates(self._model, await self._reader.objects())
            others = [obis for obis in listed if obis not in candidates]
            if self._given_relay is not None or not others:
                raise
            return await find_relay(self._session, others)
