"""What a meter service needs from a session, and the COSEM classes and attributes it speaks of.

Class numbers are those of IEC 62056-6-2 (Blue Book; clauses unverified, checked against two public
implementations).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headend.domain.errors import MeterBusy, MeterRefused
from headend.domain.obis import Obis
from protocols.dlms import xdr
from protocols.dlms.data import Data
from protocols.dlms.errors import AccessResult
from protocols.dlms.selection import Selection
from protocols.dlms.targets import Attribute

DATA = 1
REGISTER = 3
EXTENDED_REGISTER = 4
DEMAND_REGISTER = 5
PROFILE = 7
CLOCK = 8
ASSOCIATION = 15
PUSH_SETUP = 40
DISCONNECT_CONTROL = 70
LIMITER = 71

CLASS_NAMES = {
    1: "data", 3: "register", 4: "extended register", 5: "demand register",
    6: "register activation", 7: "profile generic", 8: "clock", 9: "script table",
    10: "schedule", 11: "special days table", 12: "association SN", 15: "association LN",
    17: "SAP assignment", 18: "image transfer", 19: "IEC local port setup",
    20: "activity calendar", 21: "register monitor", 22: "single action schedule",
    23: "IEC HDLC setup", 24: "IEC twisted pair setup", 25: "M-Bus slave port setup",
    26: "utility tables", 27: "modem configuration", 28: "auto answer", 29: "auto connect",
    30: "data protection", 40: "push setup", 41: "TCP-UDP setup", 42: "IPv4 setup",
    43: "MAC address setup", 44: "PPP setup", 45: "GPRS modem setup", 46: "SMTP setup",
    47: "GSM diagnostic", 48: "IPv6 setup", 61: "register table", 62: "compact data",
    63: "status mapping", 64: "security setup", 65: "parameter monitor", 67: "sensor manager",
    68: "arbitrator", 70: "disconnect control", 71: "limiter", 72: "M-Bus client",
    100: "NTP setup", 111: "account", 112: "credit", 113: "charge", 115: "token gateway",
}  # fmt: skip

# Where scaler and unit of a class stand, by its attribute of values.
SCALER_ATTRIBUTE = {
    (REGISTER, 2): 3,
    (EXTENDED_REGISTER, 2): 3,
    (DEMAND_REGISTER, 2): 4,
    (DEMAND_REGISTER, 3): 4,
}
# Where the time of a value stands.
TIME_ATTRIBUTE = {EXTENDED_REGISTER: 5, DEMAND_REGISTER: 6}


class CosemAccess(Protocol):
    """Reads, writes and invokes on one meter; `DlmsSession` is one.

    Values are encoded data. Raises `AccessRefused` or `MeterRefused` where the meter says no,
    `MeterBusy` where it says not now, `MeterUnreachable` and `MeterMisbehaved` as sessions do.
    """

    async def get(self, attribute: Attribute, selection: Selection | None = None) -> bytes: ...

    async def get_all(self, attributes: Sequence[Attribute]) -> list[bytes | AccessResult]: ...

    async def set(self, attribute: Attribute, value: bytes) -> None: ...

    async def act(self, method: Attribute, parameter: bytes | None) -> bytes: ...


async def read(access: CosemAccess, class_id: int, obis: Obis, number: int) -> Data:
    """Read one attribute and decode it."""
    return xdr.decode(await access.get(Attribute(class_id, obis, number)))


async def read_if_there(access: CosemAccess, class_id: int, obis: Obis, number: int) -> Data:
    """Read one attribute; None where the meter refuses to show it."""
    try:
        return await read(access, class_id, obis, number)
    except MeterRefused:
        return None


def is_final(fault: Exception) -> bool:
    """Tell whether the meter said no rather than not now."""
    return isinstance(fault, MeterRefused) and not isinstance(fault, MeterBusy)


def name_class(class_id: int) -> str:
    """Return the class' name, e.g. ``register``."""
    return CLASS_NAMES.get(class_id, f"class {class_id}")
