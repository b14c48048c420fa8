"""What really is, as the control socket tells it: never bent by any fault.

These values are read by tests and by the demo's final table, beside what the head-end believes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from protocols.simulator.business_time import to_instant
from protocols.simulator.contact import Movement
from protocols.simulator.device import Device


@dataclass(frozen=True, slots=True)
class ContactMovement:
    """One movement of a contact: business time ``at``, wall clock ``real_at``."""

    closed: bool
    at: datetime
    real_at: datetime
    cause: str

    @classmethod
    def of(cls, movement: Movement) -> ContactMovement:
        """Describe one movement of a contact."""
        return cls(
            movement.closed,
            to_instant(movement.business_us),
            to_instant(movement.real_us),
            movement.cause.value,
        )

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "closed": self.closed,
            "at": self.at.isoformat(),
            "real_at": self.real_at.isoformat(),
            "cause": self.cause,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ContactMovement:
        """Read one movement."""
        return cls(
            values["closed"],
            datetime.fromisoformat(values["at"]),
            datetime.fromisoformat(values["real_at"]),
            values["cause"],
        )


@dataclass(frozen=True, slots=True)
class MeterTruth:
    """One meter as it really is at ``business_time``.

    ``since`` is the business instant of the last movement, None when it never moved.
    """

    meter_no: str
    closed: bool
    since: datetime | None
    control_state: str
    control_mode: int
    openings: int
    closings: int
    register_wh: int
    power_w: int
    business_time: datetime
    faults: tuple[str, ...]
    history: tuple[ContactMovement, ...]

    @property
    def switch_count(self) -> int:
        """How often the contact has moved."""
        return self.openings + self.closings

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "meter_no": self.meter_no,
            "closed": self.closed,
            "since": self.since.isoformat() if self.since else None,
            "control_state": self.control_state,
            "control_mode": self.control_mode,
            "openings": self.openings,
            "closings": self.closings,
            "register_wh": self.register_wh,
            "power_w": self.power_w,
            "business_time": self.business_time.isoformat(),
            "faults": list(self.faults),
            "history": [movement.to_json() for movement in self.history],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MeterTruth:
        """Read one meter's truth."""
        since = values["since"]
        return cls(
            meter_no=values["meter_no"],
            closed=values["closed"],
            since=datetime.fromisoformat(since) if since else None,
            control_state=values["control_state"],
            control_mode=values["control_mode"],
            openings=values["openings"],
            closings=values["closings"],
            register_wh=values["register_wh"],
            power_w=values["power_w"],
            business_time=datetime.fromisoformat(values["business_time"]),
            faults=tuple(values["faults"]),
            history=tuple(ContactMovement.from_json(each) for each in values["history"]),
        )


def tell_truth(device: Device) -> MeterTruth:
    """Return one device's truth now."""
    meter, contact = device.meter, device.contact
    history = tuple(ContactMovement.of(movement) for movement in contact.movements)
    closings = sum(movement.closed for movement in history)
    return MeterTruth(
        meter_no=device.meter_no,
        closed=contact.closed,
        since=history[-1].at if history else None,
        control_state=contact.control_state.name.lower(),
        control_mode=contact.control_mode,
        openings=len(history) - closings,
        closings=closings,
        register_wh=meter.register_wh(),
        power_w=meter.power_w(),
        business_time=meter.clock.now(),
        faults=tuple(fault.kind.value for fault in device.faults),
        history=history,
    )
