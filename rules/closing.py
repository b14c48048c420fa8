"""The guard of a close: never onto a restraint, onto works, against voltage, or unannounced.

Refused when a restraint remains; when works are permitted on the area; when the load side shows
voltage where the meter can tell (a generator, a bridge: closing would be dangerous); when the meter
tripped after the last close, and this close is automatic; and when the meter would close
directly with neither standing consent nor the agent's recorded "appliances are off". A meter that
can be armed is armed instead: the customer then presses its button.

==========================  ====================================================================
fact                        when it is None
==========================  ====================================================================
restraints                  refused, `restraints_unknown`
works_permitted_on_area     refused, `works_permitted_on_area`
load_side_voltage           passes: few meters can tell
closes_directly             treated as closing directly
standing_consent,           treated as not given
appliances_off_recorded
tripped_after_last_close    passes: the meter reported no trip
==========================  ====================================================================

Source: "The guard" of the design document. Safety isolation and tests reconnect by lifting their
own restraint; no purpose skips any of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from headend.domain.supply import Restraint
from rules.reasons import RefusalReason


class CloseMode(StrEnum):
    """How the meter gets power back."""

    DIRECT = "direct"
    ARM_ONLY = "arm_only"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloseFacts:
    """All that the guard of one close knows.

    ``restraints`` are those that would *remain*: a posted payment has lifted ``arrears`` before.
    ``closes_directly`` is what the meter's control mode does on a remote close; ``can_arm`` says
    that it can be armed instead. ``automatic``: no person asked for this very close.
    """

    restraints: frozenset[Restraint] | None = None
    works_permitted_on_area: bool | None = None
    load_side_voltage: bool | None = None
    closes_directly: bool | None = None
    can_arm: bool = False
    standing_consent: bool | None = None
    appliances_off_recorded: bool | None = None
    tripped_after_last_close: bool | None = None
    automatic: bool = True
    not_before: datetime | None = None
    not_after: datetime | None = None


@dataclass(frozen=True, slots=True)
class CloseVerdict:
    """The answer: reasons against, the restraints that remain, and how to close when allowed."""

    reasons: tuple[RefusalReason, ...]
    remaining: tuple[Restraint, ...]
    mode: CloseMode

    @property
    def allowed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.reasons


def check_close(facts: CloseFacts, now: datetime) -> CloseVerdict:
    """Say whether this close may happen at ``now``, how, and every reason why not."""
    reasons = tuple(reason for reason, fails in _TESTS if fails(facts, now))
    remaining = tuple(each for each in Restraint if each in (facts.restraints or ()))
    return CloseVerdict(reasons, remaining, _mode(facts))


def _consented(facts: CloseFacts) -> bool:
    return facts.standing_consent is True or facts.appliances_off_recorded is True


def _mode(facts: CloseFacts) -> CloseMode:
    if facts.closes_directly is False:
        return CloseMode.ARM_ONLY
    return CloseMode.ARM_ONLY if facts.can_arm and not _consented(facts) else CloseMode.DIRECT


def _needs_consent(facts: CloseFacts, now: datetime) -> bool:
    return _mode(facts) is CloseMode.DIRECT and not _consented(facts)


def _locked(facts: CloseFacts, now: datetime) -> bool:
    return Restraint.FIELD_LOCK in (facts.restraints or ())


def _expired(facts: CloseFacts, now: datetime) -> bool:
    return facts.not_after is not None and now > facts.not_after


def _not_yet_due(facts: CloseFacts, now: datetime) -> bool:
    return facts.not_before is not None and now < facts.not_before


def _tripped(facts: CloseFacts, now: datetime) -> bool:
    # A trip says that something on the load side is wrong; only a person may try again.
    return facts.automatic and facts.tripped_after_last_close is True


_TESTS: tuple[tuple[RefusalReason, Callable[[CloseFacts, datetime], bool]], ...] = (
    (RefusalReason.ORDER_EXPIRED, _expired),
    (RefusalReason.ORDER_NOT_YET_DUE, _not_yet_due),
    (RefusalReason.FIELD_LOCK, _locked),
    (RefusalReason.RESTRAINTS_UNKNOWN, lambda facts, _now: facts.restraints is None),
    (RefusalReason.RESTRAINT_REMAINS, lambda facts, _now: bool(facts.restraints)),
    (
        RefusalReason.WORKS_PERMITTED_ON_AREA,
        lambda facts, _now: facts.works_permitted_on_area is not False,
    ),
    (RefusalReason.LOAD_SIDE_VOLTAGE, lambda facts, _now: facts.load_side_voltage is True),
    (RefusalReason.NO_CONSENT_TO_CLOSE, _needs_consent),
    (RefusalReason.TRIPPED_AFTER_CLOSING, _tripped),
)


@dataclass(frozen=True, slots=True)
class UnpaidReconnectLimits:
    """How far an agent may reconnect without a posted payment; policy data.

    The reasons an agent may give are a receipt shown, a wrongful cut, a medical need, a promise.
    """

    maximum_debt_nano: int
    maximum_duration: timedelta
    per_account_in_30_days: int


def check_unpaid_reconnect(
    limits: UnpaidReconnectLimits,
    *,
    debt_nano: int | None,
    duration: timedelta,
    granted_in_30_days: int,
) -> RefusalReason | None:
    """Say whether an agent may set the arrears restraint aside for ``duration``.

    A refusal here needs a supervisor; an unknown debt is beyond any limit.
    """
    within = (
        debt_nano is not None
        and debt_nano <= limits.maximum_debt_nano
        and duration <= limits.maximum_duration
        and granted_in_30_days < limits.per_account_in_30_days
    )
    return None if within else RefusalReason.UNPAID_RECONNECT_LIMIT
