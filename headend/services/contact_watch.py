"""Whether a contact obeyed: a switching command sent once to one meter, and watched to its end.

For tools that stand before a meter; supply orders have a state machine of their own. A command is
sent once and never again: where its answer is lost, the contact is read back on a new connection.
What counts is what the meter reports of its contact, never the acknowledgement.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from headend.domain.errors import (
    HeadEndError,
    MeterBusy,
    MeterRefused,
    MeterUnreachable,
    OutcomeUnknown,
)
from headend.domain.supply import RelayReading, SupplyAction, SupplyState
from headend.ports.inspection import MeterInspection, MeterInspector, RelayState

POLL_S = 0.25
REOPEN_ATTEMPTS = 3


class Outcome(StrEnum):
    """What became of a switching command, as far as the contact shows it."""

    DONE = "done"  # contact and control state are where they were sent
    ARMED = "armed"  # closed as far as can be from afar: it waits for its button
    MOVING = "moving"  # accepted, the contact has not followed yet
    UNMOVED = "unmoved"  # neither contact nor control state went there


# What the supply state that the meter shows says of a command.
_SAYS = {
    SupplyAction.RECONNECT: {
        SupplyState.CONNECTED: Outcome.DONE,
        SupplyState.READY_FOR_RECONNECTION: Outcome.ARMED,
        SupplyState.DISCONNECTED: Outcome.UNMOVED,
        SupplyState.UNKNOWN: Outcome.MOVING,
    },
    SupplyAction.DISCONNECT: {
        SupplyState.DISCONNECTED: Outcome.DONE,
        # Open is open, although somebody armed it meanwhile.
        SupplyState.READY_FOR_RECONNECTION: Outcome.DONE,
        SupplyState.CONNECTED: Outcome.UNMOVED,
        SupplyState.UNKNOWN: Outcome.MOVING,
    },
}


def judge(action: SupplyAction, seen: RelayReading) -> Outcome:
    """Tell how far a command has come by what the meter reports now."""
    return _SAYS[action][seen.supply_state]


def is_settled(action: SupplyAction, state: RelayState) -> bool:
    """Tell whether nothing more is to be waited for.

    Armed is settled unless the mode closes directly: such a meter may pass through it.
    """
    outcome = judge(action, state.reading)
    return outcome is Outcome.DONE or (outcome is Outcome.ARMED and not state.closes_remotely)


@dataclass(frozen=True, slots=True)
class Watched:
    """Where the contact ended, and what was learnt on the way."""

    state: RelayState
    outcome: Outcome
    notes: tuple[str, ...] = ()

    @property
    def arrived(self) -> bool:
        """Whether the contact is where it was sent; armed counts as far as can be."""
        return self.outcome in (Outcome.DONE, Outcome.ARMED)


async def switch_and_watch(
    inspector: MeterInspector,
    endpoint: str,
    action: SupplyAction,
    *,
    before_sending: Callable[[MeterInspection], Awaitable[None]],
    wait_s: float | None = None,
    now_s: Callable[[], float] = time.monotonic,
) -> Watched:
    """Send a command once and watch the contact for ``wait_s``, None for the meter model's time.

    ``before_sending`` is awaited in the same session right before the command, and refuses by
    raising. A contact that is already there is left alone. Raises `MeterRefused` when the meter
    says no, or its control mode has no such command, and the faults of `MeterInspector.open`.
    """
    notes: list[str] = []
    watch = _Watch(action, wait_s, now_s)
    try:
        async with inspector.open(endpoint) as inspection:
            state = await inspection.read_relay()
            if _needs_nothing(action, state):
                return Watched(state, judge(action, state.reading), ("it was there already",))
            _check_mode(action, state)
            await before_sending(inspection)
            try:
                watch.begin(state)
                await inspection.switch_relay(action)
            except MeterBusy:
                watch.forget()  # it said not now, and did nothing
                raise
            except OutcomeUnknown as fault:
                notes.append(f"no answer to the command, so the contact was read back: {fault}")
            state = await watch.follow(inspection)
    except HeadEndError as fault:
        if not watch.has_begun or not _is_lost(fault):
            raise
        notes.append("the connection was lost, so the contact was read back on a new one")
        state = await _follow_anew(inspector, endpoint, watch)
    return Watched(state, judge(action, state.reading), tuple(notes))


class _Watch:
    """Polls the contact until it settles or its time is over."""

    def __init__(
        self, action: SupplyAction, wait_s: float | None, now_s: Callable[[], float]
    ) -> None:
        self._action = action
        self._wait_s = wait_s
        self._now_s = now_s
        self._until_s: float | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the command may have left."""
        return self._until_s is not None

    def begin(self, state: RelayState) -> None:
        """Start the time from the moment of sending."""
        wait_s = state.settle_s if self._wait_s is None else self._wait_s
        self._until_s = self._now_s() + wait_s

    def forget(self) -> None:
        """Say that the command was not taken."""
        self._until_s = None

    async def follow(self, inspection: MeterInspection) -> RelayState:
        """Read the contact until it settles; return what was seen last."""
        while True:
            over = self._now_s() >= (self._until_s or 0.0)
            try:
                state = await inspection.read_relay()
            except MeterBusy:
                # Some meters answer nothing but this while their relay moves.
                if over:
                    raise
            else:
                if over or is_settled(self._action, state):
                    return state
            await asyncio.sleep(POLL_S)


async def _follow_anew(inspector: MeterInspector, endpoint: str, watch: _Watch) -> RelayState:
    for attempt in range(REOPEN_ATTEMPTS):
        try:
            async with inspector.open(endpoint) as inspection:
                return await watch.follow(inspection)
        except HeadEndError as fault:
            if attempt == REOPEN_ATTEMPTS - 1 or not _is_lost(fault):
                raise OutcomeUnknown(
                    f"the command was sent, and the contact could not be read back: {fault}"
                ) from fault
            await asyncio.sleep(POLL_S)
    raise OutcomeUnknown("the command was sent, and the contact could not be read back")


def _check_mode(action: SupplyAction, state: RelayState) -> None:
    """Refuse what the control mode does not have, before anything is sent."""
    possible = (
        state.opens_remotely
        if action is SupplyAction.DISCONNECT
        else state.closes_remotely is not None
    )
    if not possible:
        mode = state.reading.control_mode
        raise MeterRefused(
            f"control mode {mode} has no remote {action}: {state.meaning}", code="control-mode"
        )


def _needs_nothing(action: SupplyAction, state: RelayState) -> bool:
    """Tell whether a command would change nothing. An armed contact is opened for good, though."""
    if action is SupplyAction.DISCONNECT:
        return state.reading.supply_state is SupplyState.DISCONNECTED
    return is_settled(action, state)


def _is_lost(fault: HeadEndError) -> bool:
    cause = fault.__cause__
    return isinstance(fault, MeterUnreachable) or isinstance(cause, MeterUnreachable)
