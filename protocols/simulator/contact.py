"""The physical contact of one meter: COSEM disconnect control, and the relay that lags behind it.

Theory of operation. `control_state` is the meter's internal state and changes when a command is
accepted; `output_state` is the contact itself and follows after the relay delay, in real time.
Between the two the meter reports them as different, as real ones do, and nobody may call that
evidence. A command therefore leaves a *pending* movement with its real due instant; there is no
timer: whoever looks at the contact first calls `settle`, which carries out what is due and dates it
at its due instant. Every change is handed to the recorder *before* it can be seen.

Modes and their transitions are IEC 62056-6-2 class 70 (letters a to h as there; read in the enum
documentation of public implementations, the clause itself unverified):
  a remote reconnect, directly    b, c remote disconnect    d remote reconnect, arms only
  e manual reconnect (button)     f manual disconnect       g local disconnect
  h local reconnect
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from headend.domain.errors import BadInput, HeadEndError
from headend.domain.reading import Int64Array
from headend.domain.supply import ControlState
from protocols.simulator.business_time import BusinessClock

DEFAULT_RELAY_DELAY_MS = 200  # DESIGN: relays take at least 200 ms unless told otherwise

# Which transitions each control mode allows.
TRANSITIONS_OF_MODE: dict[int, frozenset[str]] = {
    0: frozenset(),
    1: frozenset("bcfgde"),
    2: frozenset("bcfgae"),
    3: frozenset("bcgde"),
    4: frozenset("bcgae"),
    5: frozenset("bcfgdeh"),
    6: frozenset("bcgdeh"),
}
BUTTON_MODE = 3  # what a meter behaves as when its remote reconnection only arms

Recorder = Callable[[str, Mapping[str, Any]], None]


class CommandRefused(HeadEndError):
    """The relay refuses the command; nothing changed."""


class CommandForbidden(CommandRefused):
    """The control mode does not know the command; nothing changed."""


class Cause(StrEnum):
    """Who moved the contact."""

    REMOTE = "remote"
    MANUAL = "manual"
    LOCAL = "local"


class RelayFault(StrEnum):
    """What is wrong with the relay, if anything."""

    NONE = "none"
    STUCK = "stuck"  # acknowledged and believed by the meter, but the contact stays
    IGNORED = "ignored"  # acknowledged, and then nothing at all happens
    REFUSES = "refuses"  # answers with an error


@dataclass(frozen=True, slots=True)
class Movement:
    """One movement of the contact: when, in both times [us since the epoch], and whither."""

    business_us: int
    real_us: int
    closed: bool
    cause: Cause


@dataclass(frozen=True, slots=True)
class Pending:
    """A movement that was ordered and is not due yet."""

    due_real_us: int
    close: bool
    cause: Cause


class Contact:
    """One contact with its control state, history and pending movement."""

    def __init__(
        self,
        clock: BusinessClock,
        *,
        control_mode: int = 4,
        relay_delay_ms: int = DEFAULT_RELAY_DELAY_MS,
        record: Recorder | None = None,
    ) -> None:
        if control_mode not in TRANSITIONS_OF_MODE:
            raise BadInput(f"control mode {control_mode} is not 0 to 6", field="control_mode")
        if relay_delay_ms < 0:
            raise BadInput(f"a relay delay of {relay_delay_ms} ms", field="relay_delay_ms")
        self._clock = clock
        self._record = record or _forget
        self.control_mode = control_mode
        self.relay_delay_ms = relay_delay_ms
        self._control_state = ControlState.CONNECTED
        self._pending: Pending | None = None
        self._movements: list[Movement] = []
        self._moved_us: list[int] = []
        # Closed time up to each movement, so that any span is integrated without walking history.
        self._closed_before_us: list[int] = []

    # What a meter or its owner may ask.

    @property
    def closed(self) -> bool:
        """Whether the contact is physically closed now."""
        self.settle()
        return self._closed

    @property
    def control_state(self) -> ControlState:
        """The meter's internal state now."""
        self.settle()
        return self._control_state

    @property
    def movements(self) -> tuple[Movement, ...]:
        """Every movement so far, oldest first."""
        self.settle()
        return tuple(self._movements)

    @property
    def pending(self) -> Pending | None:
        """The movement that is ordered and not due yet."""
        self.settle()
        return self._pending

    def closed_us_until(self, instant_us: Int64Array) -> Int64Array:
        """Return how long the contact had been closed up to each business instant.

        instant_us: (instant,) int64 [us since the epoch]; returns (instant,) int64 [us]. Counted
        from the epoch, so only differences mean anything. Call `settle` first.
        """
        if not self._movements:
            return instant_us
        moved = np.asarray(self._moved_us, dtype=np.int64)
        before = np.asarray(self._closed_before_us, dtype=np.int64)
        closed_after = np.asarray([m.closed for m in self._movements], dtype=np.int64)
        last = np.searchsorted(moved, instant_us, side="right") - 1
        at = np.maximum(last, 0)
        since = before[at] + closed_after[at] * (instant_us - moved[at])
        # Before the first movement the contact stood the other way than after it.
        first = before[0] - (1 - closed_after[0]) * (moved[0] - instant_us)
        return np.where(last >= 0, since, first)

    # Commands.

    def remote_disconnect(
        self, *, fault: RelayFault = RelayFault.NONE, delay_ms: int | None = None
    ) -> None:
        """Carry out method 1; raises `CommandRefused` in mode 0 or when the relay refuses."""
        self._require("b", fault)
        if fault is not RelayFault.IGNORED:
            self._command(
                ControlState.DISCONNECTED, close=False, cause=Cause.REMOTE, fault=fault,
                delay_ms=delay_ms,
            )  # fmt: skip

    def remote_reconnect(
        self,
        *,
        fault: RelayFault = RelayFault.NONE,
        delay_ms: int | None = None,
        button_required: bool = False,
    ) -> None:
        """Carry out method 2: close, or only arm where the mode (or the fault) says so."""
        allowed = self._require("ad", fault)
        if fault is RelayFault.IGNORED:
            return
        # A meter that believes itself connected while its contact stands open (stuck before)
        # drives the relay again. Once armed, only the button or the meter itself closes.
        missed = self.control_state is ControlState.CONNECTED and not self._closed
        disconnected = self._control_state is ControlState.DISCONNECTED
        if missed or (disconnected and "a" in allowed and not button_required):
            self._command(
                ControlState.CONNECTED, close=True, cause=Cause.REMOTE, fault=fault,
                delay_ms=delay_ms,
            )  # fmt: skip
        elif disconnected:
            self._command(
                ControlState.READY_FOR_RECONNECTION, close=None, cause=Cause.REMOTE, fault=fault
            )

    def press_button(self, *, fault: RelayFault = RelayFault.NONE) -> bool:
        """Press the button at the meter: close when armed, open when the mode lets it.

        Returns whether it did anything.
        """
        allowed = TRANSITIONS_OF_MODE[self.control_mode]
        if self.control_state is ControlState.READY_FOR_RECONNECTION and "e" in allowed:
            self._command(ControlState.CONNECTED, close=True, cause=Cause.MANUAL, fault=fault)
            return True
        if self._control_state is ControlState.CONNECTED and "f" in allowed:
            self._command(
                ControlState.READY_FOR_RECONNECTION, close=False, cause=Cause.MANUAL, fault=fault
            )
            return True
        return False

    def local_disconnect(self) -> None:
        """Open by the meter's own decision (limiter); raises `CommandForbidden` in mode 0."""
        if "g" not in TRANSITIONS_OF_MODE[self.control_mode]:
            raise CommandForbidden("the contact of a mode 0 meter never opens")
        if self.control_state is ControlState.CONNECTED:
            self._command(
                ControlState.READY_FOR_RECONNECTION, close=False, cause=Cause.LOCAL,
                fault=RelayFault.NONE,
            )  # fmt: skip

    def settle(self) -> None:
        """Carry out the pending movement when its real instant has come."""
        pending = self._pending
        if pending is None or self._clock.real_us() < pending.due_real_us:
            return
        self._pending = None
        if pending.close == self._closed:
            return
        business_us = self._clock.business_at(pending.due_real_us)
        if self._moved_us:
            business_us = max(business_us, self._moved_us[-1])
        movement = Movement(business_us, pending.due_real_us, pending.close, pending.cause)
        self._record("moved", movement_values(movement))
        self._append(movement)

    # Persistence: the same records that the recorder was given.

    def replay(self, kind: str, values: Mapping[str, Any]) -> None:
        """Apply one record of an earlier run."""
        if kind == "moved":
            self._pending = None
            self._append(
                Movement(
                    values["business_us"],
                    values["real_us"],
                    values["closed"],
                    Cause(values["cause"]),
                )
            )
        elif kind == "command":
            self._control_state = ControlState(values["control_state"])
            if values["close"] is not None:
                self._pending = Pending(
                    values["due_real_us"], values["close"], Cause(values["cause"])
                )
        else:
            raise BadInput(f"a contact knows no record of kind {kind!r}", field="kind")

    def snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the records from which `replay` rebuilds the present state."""
        self.settle()
        moved = [("moved", movement_values(movement)) for movement in self._movements]
        pending = self._pending
        command = {
            "control_state": int(self._control_state),
            "close": pending.close if pending else None,
            "due_real_us": pending.due_real_us if pending else 0,
            "cause": (pending.cause if pending else Cause.REMOTE).value,
        }
        return [*moved, ("command", command)]

    # Private.

    @property
    def _closed(self) -> bool:
        return self._movements[-1].closed if self._movements else True

    def _require(self, letters: str, fault: RelayFault) -> frozenset[str]:
        allowed = TRANSITIONS_OF_MODE[self.control_mode]
        if not allowed.intersection(letters):
            raise CommandForbidden(f"control mode {self.control_mode} forbids remote switching")
        if fault is RelayFault.REFUSES:
            raise CommandRefused("the relay refuses")
        return allowed

    def _command(
        self,
        state: ControlState,
        *,
        close: bool | None,
        cause: Cause,
        fault: RelayFault,
        delay_ms: int | None = None,
    ) -> None:
        """Change the control state and order the movement; ``close`` None orders none."""
        self.settle()
        if fault is RelayFault.STUCK:
            close = None
        delay = self.relay_delay_ms if delay_ms is None else delay_ms
        due_real_us = self._clock.real_us() + delay * 1000
        self._record(
            "command",
            {
                "control_state": int(state),
                "close": close,
                "due_real_us": due_real_us,
                "cause": cause.value,
            },
        )
        self._control_state = state
        if close is not None:
            # A later command overtakes a movement that has not happened yet.
            self._pending = Pending(due_real_us, close, cause)
            self.settle()

    def _append(self, movement: Movement) -> None:
        if self._movements:
            span_us = movement.business_us - self._moved_us[-1]
            closed_us = self._closed_before_us[-1] + (span_us if self._closed else 0)
        else:
            closed_us = movement.business_us if self._closed else 0
        self._closed_before_us.append(closed_us)
        self._moved_us.append(movement.business_us)
        self._movements.append(movement)


def movement_values(movement: Movement) -> dict[str, Any]:
    """Return a movement as the journal and the control socket show it."""
    return {
        "business_us": movement.business_us,
        "real_us": movement.real_us,
        "closed": movement.closed,
        "cause": movement.cause.value,
    }


def _forget(_kind: str, _values: Mapping[str, Any]) -> None:
    """Record nothing: a contact without a journal."""
