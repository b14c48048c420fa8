"""OBIS: the six-group object code of IEC 62056-6-1; all six groups matter."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headend.domain.errors import BadInput

_PATTERN = re.compile(r"^(\d{1,3})[.-](\d{1,3})[.:](\d{1,3})\.(\d{1,3})\.(\d{1,3})[.*](\d{1,3})$")


@dataclass(frozen=True, slots=True, order=True)
class Obis:
    """One object code, kept as its six octets."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 6:
            raise BadInput(f"an OBIS code has 6 groups, not {len(self.octets)}", field="obis")

    @classmethod
    def parse(cls, text: str) -> Obis:
        """Read ``1.0.1.8.0.255`` or ``1-0:1.8.0*255``; raises `BadInput` naming the text."""
        match = _PATTERN.match(text.strip())
        groups = [int(group) for group in match.groups()] if match else []
        if not groups or max(groups) > 255:
            raise BadInput(f"{text!r} is not an OBIS code such as 1.0.1.8.0.255", field="obis")
        return cls(bytes(groups))

    def __str__(self) -> str:
        return ".".join(str(octet) for octet in self.octets)

    def __repr__(self) -> str:
        return f"Obis({self})"


ACTIVE_ENERGY_IMPORT = Obis(bytes((1, 0, 1, 8, 0, 255)))
INSTANTANEOUS_POWER_IMPORT = Obis(bytes((1, 0, 1, 7, 0, 255)))
LOAD_PROFILE_1 = Obis(bytes((1, 0, 99, 1, 0, 255)))
CLOCK = Obis(bytes((0, 0, 1, 0, 0, 255)))
DISCONNECT_CONTROL = Obis(bytes((0, 0, 96, 3, 10, 255)))
LOGICAL_DEVICE_NAME = Obis(bytes((0, 0, 42, 0, 0, 255)))
DEVICE_SERIAL = Obis(bytes((0, 0, 96, 1, 0, 255)))
CURRENT_ASSOCIATION = Obis(bytes((0, 0, 40, 0, 0, 255)))
