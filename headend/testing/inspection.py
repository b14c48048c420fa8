"""A `MeterInspector` in memory, whose contact moves as a script says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from headend.domain.diagnosis import Cause, Diagnosed, Diagnosis
from headend.domain.errors import HeadEndError, MeterBusy, MeterUnreachable
from headend.domain.reading import MeterIdentity
from headend.domain.supply import RelayReading, SupplyAction
from headend.ports.inspection import (
    ClockReading,
    EventReading,
    LimitReading,
    MeterInspection,
    MeterSummary,
    ObjectReading,
    ProfileReading,
    ProfileWindow,
    PushReading,
    RelayState,
)


@dataclass(slots=True)
class FakeInspection:
    """One meter. ``seen`` are the contact's readings in order, the last one for good."""

    seen: list[RelayReading]
    identity: MeterIdentity = field(default_factory=lambda: MeterIdentity("FAKE", "1"))
    opens_remotely: bool = True
    closes_remotely: bool | None = True
    answer: HeadEndError | None = None  # to a switching command
    lost_after: int | None = None  # readings, after which the connection is gone once
    busy_after: int | None = None  # readings, after which the meter says "not now" once
    commands: list[SupplyAction] = field(default_factory=list)
    limits: dict[str, LimitReading] = field(default_factory=dict)
    opened: int = 0

    async def identify(self) -> MeterSummary:
        return MeterSummary(self.identity, (), None, None, {}, (), ())

    async def read_identity(self) -> MeterIdentity:
        return self.identity

    async def read_objects(self, targets: Sequence[str]) -> list[ObjectReading]:
        return [ObjectReading(target, 1, "Wh", 3) for target in targets]

    async def read_profile(self, profile: str, window: ProfileWindow) -> ProfileReading:
        return ProfileReading((), ())

    async def read_events(
        self, window: ProfileWindow, log: str | None = None
    ) -> list[EventReading]:
        return []

    async def read_relay(self) -> RelayState:
        if self.lost_after is not None:
            self.lost_after -= 1
            if self.lost_after < 0:
                self.lost_after = None
                raise MeterUnreachable("the connection is gone")
        if self.busy_after is not None:
            self.busy_after -= 1
            if self.busy_after < 0:
                self.busy_after = None
                raise MeterBusy("the relay moves")
        reading = self.seen.pop(0) if len(self.seen) > 1 else self.seen[0]
        return RelayState(
            reading, "0.0.96.3.10.255", "as told", self.opens_remotely, self.closes_remotely
        )

    async def switch_relay(self, action: SupplyAction) -> None:
        self.commands.append(action)
        if self.answer is not None:
            raise self.answer

    async def read_clock(self) -> ClockReading:
        return ClockReading(datetime.now(UTC), 0.0)

    async def set_clock(self, to: datetime | None = None, *, limit_s: float | None = None) -> None:
        return None

    async def read_limits(self) -> list[LimitReading]:
        return list(self.limits.values())

    async def write_limit(
        self, name: str, value: Decimal | None, *, over_s: int | None = None
    ) -> None:
        self.limits[name] = LimitReading(name, "0.0.17.0.0.255", value, "W", over_s)

    async def read_push(self) -> PushReading:
        return PushReading("0.0.25.9.0.255", "tcp", "", "a-xdr", ())

    async def write_push_destination(self, destination: str, transport: str) -> None:
        return None

    async def push_now(self) -> None:
        return None


@dataclass(slots=True)
class FakeInspector:
    """Opens the one meter; faults leave diagnosed, as the port demands."""

    meter: FakeInspection
    schemes: tuple[str, ...] = ("fake+tcp",)
    local: bool = True

    def check_objects(self, targets: Sequence[str]) -> None:
        return None

    def is_local(self, endpoint: str) -> bool:
        return self.local

    @asynccontextmanager
    async def open(self, endpoint: str) -> AsyncIterator[MeterInspection]:
        self.meter.opened += 1
        try:
            yield self.meter
        except MeterUnreachable as fault:
            raise Diagnosed(Diagnosis(Cause.BROKEN_OFF, str(fault))) from fault
