"""What is kept of an order's conversations: commands counted, contacts and errors as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headend.domain.errors import HeadEndError, IdentityMismatch
from headend.domain.supply import RelayReading
from headend.ports.orders import OrderRecord


def commands_sent(order: OrderRecord) -> int:
    """Return how many switching commands may have reached the meter for this order."""
    return int(order.evidence.get("commands", 0))


def one_more_command(order: OrderRecord) -> dict[str, Any]:
    """Return the evidence of one further command."""
    return {"commands": commands_sent(order) + 1}


def show_contact(relay: RelayReading) -> dict[str, Any]:
    """Return what the meter showed of its contact."""
    return {
        "output_state": relay.output_state,
        "control_state": relay.control_state.name.lower(),
        "control_mode": relay.control_mode,
        "power_w": relay.power_w,
    }


def tell_error(error: HeadEndError, detail: Mapping[str, Any]) -> dict[str, Any]:
    """Add to ``detail`` what the error knows: of another device, who it is."""
    if isinstance(error, IdentityMismatch):
        return {**detail, "expected": error.expected, "found": error.found}
    return dict(detail)
