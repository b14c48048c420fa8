"""Disconnect control (class 70): what the control modes mean, and whether the contact obeyed.

Theory of operation. The meter has a *contact* (``output_state``) and an internal *control state*:
disconnected, connected, ready for reconnection. Remote and manual commands and the meter's own
limiter move it along transitions; the *control mode* says which of them exist:

    a remote reconnect, closes      b, c remote disconnect   d remote reconnect, arms only
    e manual reconnect (button)     f manual disconnect      g local disconnect (limiter)
    h local reconnect (the meter by itself)

A remote reconnect by *d* leaves the contact open and the control state ready for reconnection
until somebody presses the meter's button (e), or the meter closes by itself where it has h. Modes
and transitions are those of IEC 62056-6-2, class 70 (read in the enum documentation of public
implementations, the clause itself unverified).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headend.domain.errors import MeterRefused
from headend.domain.obis import DISCONNECT_CONTROL, Obis
from headend.domain.supply import ControlState, RelayReading
from protocols.dlms.errors import MalformedData
from protocols.dlms.services import cosem
from protocols.dlms.services.cosem import CosemAccess

_OUTPUT, _STATE, _MODE = 2, 3, 4


class RemoteClose(StrEnum):
    """What a remote reconnect does in a control mode."""

    CLOSES = "closes"
    ARMS = "arms"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class ControlMode:
    """One control mode: the transitions that it has."""

    number: int
    transitions: frozenset[str]

    @property
    def opens_remotely(self) -> bool:
        return "b" in self.transitions

    @property
    def remote_close(self) -> RemoteClose:
        if "a" in self.transitions:
            return RemoteClose.CLOSES
        return RemoteClose.ARMS if "d" in self.transitions else RemoteClose.NOTHING

    @property
    def opens_by_button(self) -> bool:
        return "f" in self.transitions

    @property
    def closes_by_itself(self) -> bool:
        return "h" in self.transitions

    @property
    def meaning(self) -> str:
        """Say in one sentence what can move the contact."""
        if not self.transitions:
            return "the contact is always closed: nothing opens it, from afar or at the meter"
        close = {
            RemoteClose.CLOSES: "a remote close closes at once",
            RemoteClose.ARMS: "a remote close only arms, then the meter's button closes",
        }[self.remote_close]
        parts = ["opens remotely and by its limiter", close]
        if self.closes_by_itself:
            parts.append("or the meter closes by itself")
        if self.opens_by_button:
            parts.append("the button opens too")
        return "; ".join(parts)


CONTROL_MODES = {
    number: ControlMode(number, frozenset(letters))
    for number, letters in enumerate(
        ("", "bcfgde", "bcfgae", "bcgde", "bcgae", "bcfgdeh", "bcgdeh")
    )
}


def explain_mode(number: int) -> str:
    """Return the meaning of a control mode, also of one that the standard does not have."""
    mode = CONTROL_MODES.get(number)
    return f"control mode {number} is not one of 0 to 6" if mode is None else mode.meaning


async def read_relay(access: CosemAccess, obis: Obis = DISCONNECT_CONTROL) -> RelayReading:
    """Read contact, control state and mode; raises `MeterRefused`, `MalformedData`."""
    output = await cosem.read(access, cosem.DISCONNECT_CONTROL, obis, _OUTPUT)
    state = await cosem.read(access, cosem.DISCONNECT_CONTROL, obis, _STATE)
    mode = await cosem.read(access, cosem.DISCONNECT_CONTROL, obis, _MODE)
    if not isinstance(output, bool | int):
        raise MalformedData(f"the output state of {obis} is no boolean")
    if not isinstance(mode, int):
        raise MalformedData(f"the control mode of {obis} is no number")
    try:
        control_state = ControlState(int(state))
    except (TypeError, ValueError):
        raise MalformedData(f"{state!r} is no control state") from None
    return RelayReading(bool(output), control_state, int(mode))


async def find_relay(access: CosemAccess, candidates: list[Obis]) -> Obis:
    """Return the first candidate that is there; raises `MeterRefused` as the first one was."""
    first: MeterRefused | None = None
    for obis in candidates:
        try:
            await cosem.read(access, cosem.DISCONNECT_CONTROL, obis, _STATE)
        except MeterRefused as fault:
            first = first or fault
        else:
            return obis
    raise first or MeterRefused("no disconnect control is known", code="object-undefined")
