"""Port of the tools for one meter: whoever stands before a meter and needs no database.

Found by URL scheme behind `MeterInspector`, as meter adapters are; commands never learn which
protocol it is. Values are exact; a value that could not be read is a problem in words, because the
others still count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from headend.domain.reading import MeterIdentity
from headend.domain.supply import RelayReading, SupplyAction

Value: TypeAlias = "bool | int | Decimal | str | list[Value] | None"


@dataclass(frozen=True, slots=True)
class ObjectReading:
    """One object's value, in ``unit`` where it has one.

    ``time`` is when the meter took it, where the object keeps that. ``problem`` is the protocol's
    own name of a refusal (then ``value`` is None), ``detail`` says it in words.
    """

    obis: str
    value: Value
    unit: str
    class_id: int | None = None
    time: str | None = None
    problem: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of a profile; ``name`` is its OBIS code, with its attribute where not the value's.

    ``is_time`` marks the column of the rows' times.
    """

    name: str
    unit: str = ""
    is_time: bool = False


@dataclass(frozen=True, slots=True)
class ProfileWindow:
    """Which rows: both ends included, each None for open; ``last`` so many of the newest."""

    start: datetime | None = None
    end: datetime | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class ProfileReading:
    """Rows of a profile, oldest first; a time is aware, or None where the row names none.

    ``period_s`` is the capture period, 0 for rows by event. ``notes`` say what was done otherwise
    than asked, e.g. that the meter refused to select and everything was read.
    """

    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[Value | datetime, ...], ...]
    period_s: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A meter's clock: its instant, how far it is ahead of ours [s], and how it said it."""

    time: datetime
    ahead_s: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventReading:
    """One entry of an event log; ``values`` by column."""

    log: str
    time: datetime | None
    code: int | None
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RelayState:
    """What the meter reports about its contact, and what its control mode means."""

    reading: RelayReading
    obis: str
    meaning: str


@dataclass(frozen=True, slots=True)
class MeterSummary:
    """What a meter says it is. ``facts`` are further facts by name, for people and JSON."""

    identity: MeterIdentity
    models: tuple[str, ...]  # that fit, the best first
    clock: ClockReading | None
    relay: RelayState | None
    classes: Mapping[str, int]  # objects by the name of their class
    profiles: tuple[str, ...]
    event_logs: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class MeterInspection(Protocol):
    """One conversation with one meter.

    Raises the declared faults of `MeterSession`; a refusal of one object among many is a value.
    """

    async def identify(self) -> MeterSummary: ...

    async def read_identity(self) -> MeterIdentity: ...

    async def read_objects(self, targets: Sequence[str]) -> list[ObjectReading]: ...

    async def read_profile(self, profile: str, window: ProfileWindow) -> ProfileReading: ...

    async def read_events(self, window: ProfileWindow) -> list[EventReading]: ...

    async def read_relay(self) -> RelayState: ...

    async def switch_relay(self, action: SupplyAction) -> None:
        """Send the switching command once; see `MeterSession.switch_relay`."""
        ...

    async def read_clock(self) -> ClockReading: ...

    async def set_clock(self, to: datetime) -> None: ...


@dataclass(frozen=True, slots=True)
class Secrets:
    """What unlocks a meter, from a file or the environment; never shows in ``repr``."""

    encryption_key: str | None = field(default=None, repr=False)  # hexadecimal
    authentication_key: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    system_title: str | None = None


@dataclass(frozen=True, slots=True)
class InspectionOptions:
    """How to inspect: where counters are kept, how long to wait, who sees each line of the trace.

    ``first_counter`` begins there instead of where the kept counters stand, if that is higher.
    """

    state_dir: Path
    secrets: Secrets = Secrets()
    timeout_s: float | None = None
    zone: str | None = None
    relay: str | None = None
    first_counter: int | None = None
    trace: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why it did not work: a cause that programs can tell apart, a sentence, and what to try."""

    cause: str
    sentence: str
    advice: tuple[str, ...] = ()


class MeterInspector(Protocol):
    """Inspects meters of one protocol; ``schemes`` are the URL schemes that it serves."""

    schemes: tuple[str, ...]

    def open(self, endpoint: str) -> AbstractAsyncContextManager[MeterInspection]:
        """Connect and associate; raises `BadInput` for a malformed endpoint, or `Diagnosed`."""
        ...

    def is_local(self, endpoint: str) -> bool:
        """Tell whether the endpoint is on this machine's loopback interface."""
        ...
