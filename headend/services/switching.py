"""One conversation with one meter to carry out one supply order.

Before any switching, in the same session, the device proves who it is and shows its contact. The
command is sent at most once per conversation; afterwards the contact is read until it is seen where
it was sent, or the settle time is over. What happened is a value, told to the caller, who commits
it; the caller also knows from ``Progress`` whether the command had left when something broke.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto

from headend.domain.identity import check_identity
from headend.domain.reading import MeterIdentity
from headend.domain.supply import ControlState, EvidenceGrade, RelayReading, SupplyAction
from headend.ports import MeterSession

SETTLE_S = 5.0
FIRST_LOOK_S = 0.1
LONGEST_PAUSE_S = 0.5
# Below this the power register of an open contact is noise of the meter itself [W].
LOAD_SEEN_W = 20


class Contact(Enum):
    """Where the contact stands, as an order sees it."""

    AS_ORDERED = auto()
    ARMED = auto()
    ELSEWHERE = auto()


@dataclass(slots=True)
class Progress:
    """How far a conversation came; read by the caller when it broke."""

    commanded: bool = False
    acknowledged: bool = False


@dataclass(frozen=True, slots=True)
class Switched:
    """How a conversation ended: the contact last seen, and whether a command was sent in it."""

    contact: Contact
    relay: RelayReading
    commanded: bool


def judge_contact(relay: RelayReading, action: SupplyAction) -> Contact:
    """Compare a reading with what the order wants; both states must agree."""
    if action is SupplyAction.DISCONNECT:
        # Ready for reconnection is an open contact too: the customer could close it by a button,
        # so for a disconnect it is not where it was sent.
        is_off = not relay.output_state and relay.control_state is ControlState.DISCONNECTED
        return Contact.AS_ORDERED if is_off else Contact.ELSEWHERE
    if relay.output_state and relay.control_state is ControlState.CONNECTED:
        return Contact.AS_ORDERED
    if not relay.output_state and relay.control_state is ControlState.READY_FOR_RECONNECTION:
        return Contact.ARMED
    return Contact.ELSEWHERE


def grade_evidence(relay: RelayReading, action: SupplyAction) -> EvidenceGrade:
    """Grade a contact that was seen as ordered; absent load never lowers it."""
    if action is SupplyAction.RECONNECT and (relay.power_w or 0) >= LOAD_SEEN_W:
        return EvidenceGrade.LOAD_SEEN
    return EvidenceGrade.CONTACT_REPORTED


def is_contradicted(relay: RelayReading, action: SupplyAction) -> bool:
    """Whether current flows through a contact that reports to be open."""
    return action is SupplyAction.DISCONNECT and (relay.power_w or 0) >= LOAD_SEEN_W


async def carry_out(
    session: MeterSession,
    action: SupplyAction,
    *,
    expected: MeterIdentity,
    progress: Progress,
    last_look: Callable[[], Awaitable[None]],
    acknowledged: Callable[[], Awaitable[None]],
    settle_s: float,
) -> Switched:
    """Switch once and watch the contact.

    ``last_look`` runs right before the command and stops it by raising; ``acknowledged`` records
    that the meter said yes. Raises `IdentityMismatch` before anything was sent, else the errors of
    `MeterSession`.
    """
    check_identity(expected, await session.read_identity())
    before = await session.read_relay()
    if judge_contact(before, action) is Contact.AS_ORDERED:
        return Switched(Contact.AS_ORDERED, before, commanded=False)
    await last_look()
    progress.commanded = True
    await session.switch_relay(action)
    progress.acknowledged = True
    await acknowledged()
    relay = await _watch(session, action, settle_s)
    return Switched(judge_contact(relay, action), relay, commanded=True)


async def read_back(
    session: MeterSession, action: SupplyAction, *, expected: MeterIdentity, settle_s: float
) -> Switched:
    """Look where the contact stands, sending nothing.

    A contact that has not moved is given its time: the command may have arrived only just now.
    """
    check_identity(expected, await session.read_identity())
    relay = await session.read_relay()
    if judge_contact(relay, action) is Contact.ELSEWHERE:
        relay = await _watch(session, action, settle_s)
    return Switched(judge_contact(relay, action), relay, commanded=False)


async def _watch(session: MeterSession, action: SupplyAction, settle_s: float) -> RelayReading:
    ends, pause = time.monotonic() + settle_s, FIRST_LOOK_S
    while True:
        await asyncio.sleep(pause)
        relay = await session.read_relay()
        if judge_contact(relay, action) is not Contact.ELSEWHERE or time.monotonic() >= ends:
            return relay
        pause = min(pause * 1.5, LONGEST_PAUSE_S)
