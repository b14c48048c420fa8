"""Meters in memory behind the adapter port, with a load, a contact that stops it, and faults.

A fake meter measures by business time and a load function; an open contact really stops the load.
Every request is noted, so that a test can see what was asked in which order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import numpy as np

from headend.domain.errors import (
    AuthenticationFailed,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
    MeterUnreachable,
    OutcomeUnknown,
)
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, INSTANTANEOUS_POWER_IMPORT, Obis
from headend.domain.reading import MeterIdentity, ProfileRows, Quality, RegisterReading
from headend.domain.supply import ControlState, RelayReading, SupplyAction
from headend.ports import Clock, MeterAccess, MeterSession, Turn


class MeterFault(StrEnum):
    """What a fake meter does wrong for as long as the fault stands in ``FakeMeter.faults``."""

    SILENT = "silent"
    BUSY = "busy"
    MALFORMED = "malformed"
    DROPS_AT_PROFILE = "drops_at_profile"
    REFUSES_REGISTERS = "refuses_registers"
    REFUSES_PROFILE = "refuses_profile"
    REFUSES_SWITCHING = "refuses_switching"
    SWITCH_NOT_SENT = "switch_not_sent"
    SWITCH_UNANSWERED = "switch_unanswered"  # the contact moves, the answer is lost
    SWITCH_LOST = "switch_lost"  # no answer and the contact did not move
    CONTACT_STUCK = "contact_stuck"  # acknowledges, and nothing moves


@dataclass
class FakeMeter:
    """One meter. ``load_wh`` gives the energy of the interval that starts at an epoch second."""

    address: int
    identity: MeterIdentity
    since: datetime
    load_wh: Callable[[int], int] = lambda _: 100
    interval_s: int = 900
    encryption_key: bytes | None = field(default=None, repr=False)
    control_mode: int = 4
    output_state: bool = True
    control_state: ControlState = ControlState.CONNECTED
    clock_offset: timedelta = timedelta()
    faults: set[MeterFault] = field(default_factory=set)
    missing_starts: set[int] = field(default_factory=set)
    open_spans: list[tuple[int, int | None]] = field(default_factory=list)

    def energy_wh(self, start: int) -> int:
        """Return the energy of one interval [Wh]: none while the contact was open."""
        for opened, closed in self.open_spans:
            if opened < start + self.interval_s and (closed is None or start < closed):
                return 0
        return self.load_wh(start)

    def starts(self, first: datetime, last: datetime) -> list[int]:
        """Return the starts of the finished intervals in ``[first, last)``."""
        step = self.interval_s
        begin = -(-int(max(first, self.since).timestamp()) // step) * step
        return list(range(begin, int(last.timestamp()) // step * step, step))

    def register_wh(self, at: datetime) -> int:
        """Return the cumulative import register at ``at`` [Wh]."""
        return sum(self.energy_wh(start) for start in self.starts(self.since, at))

    def move_contact(self, *, closed: bool, at: datetime) -> None:
        """Open or close the contact and remember when, so that the load follows."""
        second = int(at.timestamp())
        if closed and not self.output_state:
            opened, _ = self.open_spans.pop()
            self.open_spans.append((opened, second))
        elif not closed and self.output_state:
            self.open_spans.append((second, None))
        self.output_state = closed
        self.control_state = ControlState.CONNECTED if closed else ControlState.DISCONNECTED


class FakeMeterAdapter:
    """Serves ``fake+tcp`` endpoints from memory.

    ``requests`` holds (endpoint, address, request) in order; endpoints in ``down`` refuse.
    """

    schemes: tuple[str, ...] = ("fake+tcp",)

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.meters: dict[tuple[str, int], FakeMeter] = {}
        self.down: set[str] = set()
        self.requests: list[tuple[str, int, str]] = []
        self.open_links = 0
        self.before_request: Callable[[int, str], None] = lambda _address, _request: None

    def place(self, endpoint: str, meter: FakeMeter) -> FakeMeter:
        """Put a meter behind an endpoint."""
        self.meters[endpoint, meter.address] = meter
        return meter

    async def open_link(self, endpoint: str) -> FakeMeterLink:
        if endpoint in self.down:
            raise MeterUnreachable(f"{endpoint} refuses connections")
        self.open_links += 1
        return FakeMeterLink(self, endpoint)

    def asked(self, address: int) -> list[str]:
        """Return what was asked of one meter, in order."""
        return [request for _, asked, request in self.requests if asked == address]


class FakeMeterLink:
    """One open connection."""

    parallel_exchanges = 8

    def __init__(self, adapter: FakeMeterAdapter, endpoint: str) -> None:
        self._adapter = adapter
        self.endpoint = endpoint
        self._open = True

    @property
    def is_open(self) -> bool:
        return self._open and self.endpoint not in self._adapter.down

    @asynccontextmanager
    async def session(self, access: MeterAccess, turn: Turn) -> AsyncIterator[MeterSession]:
        session = _FakeSession(self._adapter, self, access, turn)
        async with turn():
            session.associate()
        try:
            yield session
        finally:
            self._adapter.requests.append((self.endpoint, access.address, "release"))

    async def close(self) -> None:
        if self._open:
            self._open = False
            self._adapter.open_links -= 1


class _FakeSession:
    def __init__(
        self, adapter: FakeMeterAdapter, link: FakeMeterLink, access: MeterAccess, turn: Turn
    ) -> None:
        self._adapter = adapter
        self._link = link
        self._access = access
        self._turn = turn

    def associate(self) -> None:
        meter = self._ask("associate")
        if meter.encryption_key != self._access.encryption_key:
            raise AuthenticationFailed(
                f"meter {self._access.address} rejects the key", code="authentication-failure"
            )

    async def read_identity(self) -> MeterIdentity:
        async with self._turn():
            return self._ask("identity").identity

    async def read_clock(self) -> datetime:
        async with self._turn():
            return self._adapter.clock.now() + self._ask("clock").clock_offset

    async def read_registers(self, obis: Sequence[Obis]) -> list[RegisterReading]:
        async with self._turn():
            meter = self._ask("registers")
            if MeterFault.REFUSES_REGISTERS in meter.faults:
                raise MeterRefused(f"{obis[0]} is denied", code="read-write-denied")
            return [self._register(meter, one) for one in obis]

    async def read_profile(self, profile: Obis, start: datetime, end: datetime) -> ProfileRows:
        async with self._turn():
            meter = self._ask("profile")
            if MeterFault.REFUSES_PROFILE in meter.faults:
                raise MeterRefused(f"{profile} is denied", code="read-write-denied")
            if MeterFault.DROPS_AT_PROFILE in meter.faults:
                raise MeterUnreachable("the connection was closed in the middle of an answer")
            finished = meter.starts(start, min(end, self._adapter.clock.now()))
            starts = [one for one in finished if one not in meter.missing_starts]
            return ProfileRows(
                interval_s=meter.interval_s,
                start=np.array(starts, dtype=np.int64),
                energy_wh=np.array([meter.energy_wh(one) for one in starts], dtype=np.int64),
                quality=np.full(len(starts), Quality.ACTUAL, dtype=np.int16),
            )

    async def read_relay(self) -> RelayReading:
        async with self._turn():
            meter = self._ask("relay")
            return RelayReading(
                output_state=meter.output_state,
                control_state=meter.control_state,
                control_mode=meter.control_mode,
                power_w=self._power_w(meter),
            )

    async def switch_relay(self, action: SupplyAction) -> None:
        async with self._turn():
            meter = self._ask(f"switch {action}")
            if MeterFault.SWITCH_NOT_SENT in meter.faults:
                raise MeterUnreachable("the connection broke before the command was sent")
            if MeterFault.REFUSES_SWITCHING in meter.faults:
                raise MeterRefused("the method is denied", code="read-write-denied")
            if not meter.faults & {MeterFault.SWITCH_LOST, MeterFault.CONTACT_STUCK}:
                closed = action is SupplyAction.RECONNECT
                meter.move_contact(closed=closed, at=self._adapter.clock.now())
            if meter.faults & {MeterFault.SWITCH_LOST, MeterFault.SWITCH_UNANSWERED}:
                raise OutcomeUnknown("the command was sent and no answer came")

    def _ask(self, request: str) -> FakeMeter:
        address = self._access.address
        self._adapter.requests.append((self._link.endpoint, address, request))
        self._adapter.before_request(address, request)
        meter = self._adapter.meters.get((self._link.endpoint, address))
        if meter is None or MeterFault.SILENT in meter.faults or not self._link.is_open:
            raise MeterUnreachable(f"address {address} does not answer")
        if MeterFault.BUSY in meter.faults:
            raise MeterBusy(f"address {address} is busy")
        if MeterFault.MALFORMED in meter.faults:
            raise MeterMisbehaved(f"address {address} answered with a malformed frame")
        return meter

    def _power_w(self, meter: FakeMeter) -> int:
        start = int(self._adapter.clock.now().timestamp()) // meter.interval_s * meter.interval_s
        if not meter.output_state:
            return 0
        return meter.load_wh(start) * 3600 // meter.interval_s

    def _register(self, meter: FakeMeter, obis: Obis) -> RegisterReading:
        now = self._adapter.clock.now().astimezone(UTC)
        if obis == ACTIVE_ENERGY_IMPORT:
            return RegisterReading(obis, meter.register_wh(now), "Wh", now)
        if obis == INSTANTANEOUS_POWER_IMPORT:
            return RegisterReading(obis, self._power_w(meter), "W", now)
        raise MeterRefused(f"there is no {obis}", code="object-undefined")
