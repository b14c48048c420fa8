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
from typing import Any, Protocol, TypeAlias

from headend.domain.reading import MeterIdentity
from headend.domain.supply import RelayReading, SupplyAction
from headend.ports.meters import CounterStore

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
    """What the meter reports about its contact, and what its control mode means.

    ``closes_remotely`` says whether a remote close closes at once (True), only arms (False), or
    does neither (None). ``settle_s`` is how long the contact may take.
    """

    reading: RelayReading
    obis: str
    meaning: str
    opens_remotely: bool = True
    closes_remotely: bool | None = True
    settle_s: float = 10.0


@dataclass(frozen=True, slots=True)
class LimitReading:
    """A limit that the meter enforces itself, by name: ``power``, ``sag``, ``swell``.

    ``over_s`` is how long it may be passed before the meter acts, where it keeps that.
    """

    name: str
    obis: str
    value: int | Decimal | None
    unit: str
    over_s: int | None = None
    acts: bool | None = None


@dataclass(frozen=True, slots=True)
class PushReading:
    """What the meter pushes by itself, and where to."""

    obis: str
    transport: str
    destination: str
    message: str
    objects: tuple[str, ...]
    randomisation_s: int | None = None
    retries: int | None = None
    repetition_delay_s: int | None = None


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

    async def read_events(
        self, window: ProfileWindow, log: str | None = None
    ) -> list[EventReading]: ...

    async def read_relay(self) -> RelayState: ...

    async def switch_relay(self, action: SupplyAction) -> None:
        """Send the switching command once; see `MeterSession.switch_relay`."""
        ...

    async def read_clock(self) -> ClockReading: ...

    async def set_clock(self, to: datetime | None = None, *, limit_s: float | None = None) -> None:
        """Set the clock to an instant, None for now.

        Raises `BadInput` when it would move by more than ``limit_s``, None for the model's own
        limit; nothing was changed.
        """
        ...

    async def read_limits(self) -> list[LimitReading]:
        """Return the limits that the meter has and shows this client."""
        ...

    async def write_limit(
        self, name: str, value: Decimal | None, *, over_s: int | None = None
    ) -> None:
        """Write a limit in its unit; raises `BadInput` for one it has not, or cannot hold."""
        ...

    async def read_push(self) -> PushReading: ...

    async def write_push_destination(self, destination: str, transport: str) -> None: ...

    async def push_now(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Secrets:
    """What unlocks a meter, from a file or the environment; never shows in ``repr``.

    ``explicit``: somebody named them for this very meter, so that they may decide how to associate
    where the endpoint does not say.
    """

    encryption_key: str | None = field(default=None, repr=False)  # hexadecimal
    authentication_key: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    explicit: bool = False


class ToolCounters(CounterStore, Protocol):
    """The counters of one key, in the hands of one conversation after the other."""

    async def give_back(self, first_unused: int, limit: int) -> None:
        """Hand out ``[first_unused, limit)`` again, which were reserved and certainly not used.

        Does nothing when others were reserved meanwhile.
        """
        ...


class CounterKeeper(Protocol):
    """Keeps invocation counters between conversations, without a database."""

    def system_title(self) -> bytes:
        """Return the system title of this installation's tools, the same each time."""
        ...

    def counters(self, key: bytes, *, first: int | None = None) -> ToolCounters:
        """Return the counters of one key; none below ``first`` is given out."""
        ...


@dataclass(frozen=True, slots=True)
class InspectionOptions:
    """How to inspect: who keeps counters, how long to wait, who hears notes and the trace.

    ``relay`` is the object of the disconnect control where it is not the usual one.
    """

    keeper: CounterKeeper
    note: Callable[[str], None]
    secrets: Secrets = Secrets()
    timeout_s: float = 5.0
    zone: str | None = None
    relay: str | None = None
    first_counter: int | None = None
    trace: Callable[[str], None] | None = None


class MeterInspector(Protocol):
    """Inspects meters of one protocol; ``schemes`` are the URL schemes that it serves."""

    schemes: tuple[str, ...]

    def open(self, endpoint: str) -> AbstractAsyncContextManager[MeterInspection]:
        """Connect and associate.

        Raises `BadInput` for a malformed endpoint. Every fault of the meter or the way to it,
        within the block too, is raised as `Diagnosed`, with the fault as its cause.
        """
        ...

    def check_objects(self, targets: Sequence[str]) -> None:
        """Raise `BadInput` for a name of an object that cannot be one, before anybody is asked."""
        ...

    def is_local(self, endpoint: str) -> bool:
        """Tell whether the endpoint is on this machine's loopback interface; raises `BadInput`."""
        ...
