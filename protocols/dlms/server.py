"""The server role: one client's conversation with one simulated logical device, bytes in and out.

Objects answer with encoded data; association, ciphering and block transfer are the session's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from headend.domain.obis import Obis
from protocols.dlms.selection import Selection


class CosemObjects(Protocol):
    """The objects of one logical device. Values are A-XDR encoded (`xdr.encode`)."""

    def read(self, class_id: int, obis: Obis, attribute: int, selection: Selection | None) -> bytes:
        """Return the attribute; raises `AccessError` where it does not exist or is denied."""
        ...

    def write(self, class_id: int, obis: Obis, attribute: int, value: bytes) -> None:
        """Store the attribute; raises `AccessError`."""
        ...

    def invoke(
        self, class_id: int, obis: Obis, method: int, parameter: bytes | None
    ) -> bytes | None:
        """Run the method; return encoded data, or None for none; raises `AccessError`."""
        ...


@dataclass(frozen=True, slots=True)
class ClientAccess:
    """What one client address of the server must present. Secrets never show in ``repr``."""

    authentication: Literal["none", "lls", "gmac"] = "gmac"
    encryption_key: bytes | None = field(default=None, repr=False)
    authentication_key: bytes | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)


@dataclass(slots=True)
class ServerCounters:
    """Mutable: the next counter to send, and the highest received from each client address."""

    next_counter: int = 0
    received: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerSecurity:
    """Identity and client table of one logical device; counters outlive its sessions."""

    system_title: bytes
    clients: Mapping[int, ClientAccess]
    counters: ServerCounters = field(default_factory=ServerCounters)


class ServerSession:
    """One client address' conversation; feed it every APDU that comes from that address."""

    def __init__(
        self,
        objects: CosemObjects,
        security: ServerSecurity,
        *,
        client_address: int,
        max_pdu: int = 1024,
    ) -> None:
        self._objects = objects
        self._security = security
        self._client_address = client_address
        self._max_pdu = max_pdu

    def handle(self, apdu: bytes) -> bytes | None:
        """Answer one APDU; None where the standard answers nothing. Never raises for bad bytes."""
        return b"\xd8\x01\x02"
