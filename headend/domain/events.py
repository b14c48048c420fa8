"""What meters tell unasked, as facts: a push that was accepted, or one that was refused and why.

An accepted push says who sent it only where that was proven by its authentication tag
(``authenticated``); anything else is hearsay and never evidence of supply or money.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TypeAlias

from headend.domain.obis import Obis

PushedScalar: TypeAlias = bool | int | float | Decimal | str | None
PushedData: TypeAlias = "PushedScalar | tuple[PushedData, ...]"


class PushRefusal(StrEnum):
    """Why a push was not accepted; the closed list of codes."""

    MALFORMED = "malformed"  # no valid encoding, or blocks of it are missing
    NOT_A_PUSH = "not_a_push"  # another service than a notification
    PLAIN = "plain"  # unciphered where only ciphered pushes are taken
    UNKNOWN_SENDER = "unknown_sender"  # no keys for its system title
    WRONG_KEY = "wrong_key"  # the tag is wrong: another key, or altered octets
    NOT_AUTHENTICATED = "not_authenticated"  # ciphered without a tag
    REPLAYED = "replayed"  # its invocation counter did not grow


@dataclass(frozen=True, slots=True)
class PushedValue:
    """One pushed attribute: ``value`` in ``unit`` where the push tells scaler and unit, else raw.

    Octet strings are text where they are printable, a time in ISO form where they are one, else
    hex. Class and attribute are None where the push does not tell them.
    """

    obis: Obis
    value: PushedData
    unit: str = ""
    class_id: int | None = None
    attribute: int | None = None


@dataclass(frozen=True, slots=True)
class MeterPushed:
    """A push that was accepted.

    ``measured_at`` is aware UTC, None where the meter tells no time or no offset; ``local_time`` is
    its wall clock as sent. ``meter_id`` is that of the keys that opened it. ``loose`` are values
    without a code. ``peer`` is the address it came from.
    """

    peer: str
    service: str
    values: tuple[PushedValue, ...]
    loose: tuple[PushedData, ...] = ()
    meter_id: int | None = None
    system_title: bytes | None = None
    invocation_counter: int | None = None
    authenticated: bool = False
    measured_at: datetime | None = None
    local_time: str | None = None


@dataclass(frozen=True, slots=True)
class PushRefused:
    """A push that was not accepted; ``message`` says why in a sentence and holds no secret."""

    peer: str
    reason: PushRefusal
    message: str
    system_title: bytes | None = None


PushEvent: TypeAlias = MeterPushed | PushRefused
