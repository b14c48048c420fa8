"""What an HDLC connection tells its driver about received frames and time-outs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from headend.domain.errors import MeterMisbehaved
from protocols.dlms.hdlc_parameters import LinkParameters


class StaleFrame(MeterMisbehaved):
    """A frame that fits nothing under way: doubled, late or foreign. Drop it."""


class Loss(StrEnum):
    """Why a connection, or the wait for an answer, ended."""

    SILENCE = "silence"  # no frame came back
    REFUSED = "refused"  # DM or FRMR to SNRM
    REJECTED = "rejected"  # FRMR, or a disconnection that we had not asked for
    BUSY = "busy"  # RNR all the time
    NO_ANSWER = "no answer"  # the meter's link layer is there, its application says nothing


@dataclass(frozen=True, slots=True)
class Connected:
    """The connection is there with these limits."""

    parameters: LinkParameters


@dataclass(frozen=True, slots=True)
class Received:
    """A whole APDU; ``unnumbered`` when it came in a UI frame, without being asked for."""

    apdu: bytes
    unnumbered: bool = False


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The end that we asked for."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The wait is over; only after `Loss.NO_ANSWER` is the connection still usable."""

    loss: Loss


LinkEvent: TypeAlias = Connected | Received | Disconnected | Lost
