"""Supply control: contacts, restraints, and the life of a supply order.

Theory of operation. An order is a row that moves through the table below and nowhere else; the row
*is* the queue. Everything before ``sending`` may be cancelled or superseded without touching the
meter. ``sending`` is committed, with a lease and a fence, before the first byte of the command;
from there on the contact may have moved, so the only ways out are evidence (``completed``,
``refused`` before the command itself, ``failed``), a wait (``verifying``, ``awaiting_customer``)
or ``outcome_unknown``, which must be read back before anything is sent again. ``refused`` is final
and carries reason codes. An illegal move raises and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum

from headend.domain.errors import InvariantViolated


class SupplyState(StrEnum):
    """Our belief about the contact, always with a source and a time."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    READY_FOR_RECONNECTION = "ready_for_reconnection"
    UNKNOWN = "unknown"


class ControlState(IntEnum):
    """COSEM class 70 attribute 3 (IEC 62056-6-2)."""

    DISCONNECTED = 0
    CONNECTED = 1
    READY_FOR_RECONNECTION = 2


@dataclass(frozen=True, slots=True)
class RelayReading:
    """What the meter reports about its contact: class 70 attributes 2, 3 and 4.

    ``output_state`` is the physical contact, ``control_state`` the internal state. ``power_w`` is
    the load seen with it, where the meter can tell.
    """

    output_state: bool
    control_state: ControlState
    control_mode: int
    power_w: int | None = None

    @property
    def supply_state(self) -> SupplyState:
        """Judge the supply; output and control states that contradict each other are unknown."""
        if self.control_state is ControlState.READY_FOR_RECONNECTION and not self.output_state:
            return SupplyState.READY_FOR_RECONNECTION
        if self.output_state and self.control_state is ControlState.CONNECTED:
            return SupplyState.CONNECTED
        if not self.output_state and self.control_state is ControlState.DISCONNECTED:
            return SupplyState.DISCONNECTED
        return SupplyState.UNKNOWN


class SupplyAction(StrEnum):
    """What an order asks the contact to do."""

    DISCONNECT = "disconnect"
    RECONNECT = "reconnect"


class OrderPurpose(StrEnum):
    """Why an order exists; the guard's tests depend on it."""

    ARREARS = "arrears"
    CUSTOMER_REQUEST = "customer_request"
    MOVE_OUT = "move_out"
    SAFETY_ISOLATION = "safety_isolation"
    TEST = "test"


class Restraint(StrEnum):
    """Why a contact is open; a close is sent only when none remains."""

    ARREARS = "arrears"
    CUSTOMER_REQUEST = "customer_request"
    MOVE_OUT = "move_out"
    VACANT = "vacant"
    SUSPENDED = "suspended"
    THEFT = "theft"
    UNSAFE = "unsafe"
    WORKS = "works"
    FIELD_LOCK = "field_lock"
    LOCAL = "local"


# Who may lift each restraint, in the words an agent can read out (zh, en).
LIFTED_BY: dict[Restraint, tuple[str, str]] = {
    Restraint.ARREARS: ("缴清欠费后系统自动解除", "the system, when the payment posts"),
    Restraint.CUSTOMER_REQUEST: ("客户本人申请解除", "the customer who asked for it"),
    Restraint.MOVE_OUT: ("新用户办理入户后由营业厅解除", "the counter, when a new occupant signs"),
    Restraint.VACANT: ("营业厅确认有人入住后解除", "the counter, when the premises are occupied"),
    Restraint.SUSPENDED: ("客户办理复装后由营业厅解除", "the counter, when service is resumed"),
    Restraint.THEFT: ("用电检查人员处理完毕后解除", "the inspection team, when its case is closed"),
    Restraint.UNSAFE: ("现场人员确认安全后解除", "a field inspector, after seeing it is safe"),
    Restraint.WORKS: ("施工负责人收回许可后解除", "the works permit holder"),
    Restraint.FIELD_LOCK: ("现场班组报告完成后解除", "the field crew, by its completion report"),
    Restraint.LOCAL: (
        "客户在表计上操作后解除",
        "the customer, at the meter",
    ),
}

# Which purpose leaves which restraint when its disconnect is seen to have happened.
RESTRAINT_OF_PURPOSE: dict[OrderPurpose, Restraint] = {
    OrderPurpose.ARREARS: Restraint.ARREARS,
    OrderPurpose.CUSTOMER_REQUEST: Restraint.CUSTOMER_REQUEST,
    OrderPurpose.MOVE_OUT: Restraint.MOVE_OUT,
    OrderPurpose.SAFETY_ISOLATION: Restraint.UNSAFE,
    OrderPurpose.TEST: Restraint.WORKS,
}


class EvidenceGrade(IntEnum):
    """How well a switching is proven; completion needs `CONTACT_REPORTED`."""

    NONE = 0
    ACKNOWLEDGED = 1
    CONTACT_REPORTED = 2
    LOAD_SEEN = 3


class OrderState(StrEnum):
    """Where an order stands."""

    REQUESTED = "requested"
    QUARANTINED = "quarantined"
    AWAITING_APPROVAL = "awaiting_approval"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    VERIFYING = "verifying"
    COMPLETED = "completed"
    REFUSED = "refused"
    AWAITING_CUSTOMER = "awaiting_customer"
    OUTCOME_UNKNOWN = "outcome_unknown"
    WITH_FIELD = "with_field"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"


_S = OrderState
_UNSENT_EXITS = frozenset({_S.REFUSED, _S.EXPIRED, _S.CANCELLED, _S.SUPERSEDED})

TRANSITIONS: dict[OrderState, frozenset[OrderState]] = {
    _S.REQUESTED: frozenset({_S.QUARANTINED, _S.AWAITING_APPROVAL, _S.SCHEDULED}) | _UNSENT_EXITS,
    _S.QUARANTINED: frozenset({_S.SCHEDULED}) | _UNSENT_EXITS,
    _S.AWAITING_APPROVAL: frozenset({_S.QUARANTINED, _S.SCHEDULED}) | _UNSENT_EXITS,
    _S.SCHEDULED: frozenset({_S.QUEUED, _S.QUARANTINED}) | _UNSENT_EXITS,
    # queued -> with_field: the meter stayed silent until the service level ran out.
    _S.QUEUED: frozenset({_S.SENDING, _S.QUARANTINED, _S.WITH_FIELD, _S.FAILED}) | _UNSENT_EXITS,
    # sending -> queued only when it is certain that no command left (unreachable, busy);
    # sending -> refused only before the command (identity mismatch, guard in session);
    # -> superseded instead of queued when the opposite order waits behind: nothing is sent again.
    _S.SENDING: frozenset(
        {_S.VERIFYING, _S.OUTCOME_UNKNOWN, _S.QUEUED, _S.REFUSED, _S.FAILED, _S.SUPERSEDED}
    ),
    _S.VERIFYING: frozenset(
        {
            _S.COMPLETED,
            _S.AWAITING_CUSTOMER,
            _S.OUTCOME_UNKNOWN,
            _S.QUEUED,
            _S.WITH_FIELD,
            _S.FAILED,
            _S.SUPERSEDED,
        }
    ),
    # outcome_unknown -> queued only after a read-back that shows the contact did not move.
    _S.OUTCOME_UNKNOWN: frozenset(
        {_S.VERIFYING, _S.QUEUED, _S.WITH_FIELD, _S.FAILED, _S.SUPERSEDED}
    ),
    _S.AWAITING_CUSTOMER: frozenset(
        {_S.VERIFYING, _S.COMPLETED, _S.WITH_FIELD, _S.EXPIRED, _S.FAILED}
    ),
    _S.WITH_FIELD: frozenset({_S.VERIFYING, _S.COMPLETED, _S.CANCELLED, _S.FAILED, _S.QUEUED}),
    _S.COMPLETED: frozenset(),
    _S.REFUSED: frozenset(),
    _S.FAILED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.SUPERSEDED: frozenset(),
}

IN_FLIGHT = frozenset({_S.SENDING, _S.VERIFYING, _S.AWAITING_CUSTOMER, _S.OUTCOME_UNKNOWN})
UNSENT = frozenset({_S.REQUESTED, _S.QUARANTINED, _S.AWAITING_APPROVAL, _S.SCHEDULED, _S.QUEUED})
FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)
OPEN = frozenset(TRANSITIONS) - FINAL


def check_transition(old: OrderState, new: OrderState) -> None:
    """Raise `InvariantViolated` unless the table allows ``old -> new``."""
    if new not in TRANSITIONS[old]:
        raise InvariantViolated(f"a supply order cannot move from {old} to {new}")


@dataclass(frozen=True, slots=True)
class SupplyBelief:
    """The supply state with its source and the instant it was seen."""

    state: SupplyState
    source: str
    observed_at: datetime | None
