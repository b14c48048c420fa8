"""The gateway header before an APDU: which device behind a gateway it goes to or comes from.

``E6`` (request) or ``E7`` (response), network id, length of the physical device address, that
address, then the APDU (DLMS UA Green Book, "Gateway protocol"; clause unverified, layout checked
against two public implementations). The address is opaque here: often the meter number in ASCII.
"""

from __future__ import annotations

from dataclasses import dataclass

from headend.domain.errors import LocalProtocolError
from protocols.dlms.errors import MalformedData

GATEWAY_REQUEST = 0xE6
GATEWAY_RESPONSE = 0xE7
_OCTET = 0xFF


@dataclass(frozen=True, slots=True)
class GatewayHeader:
    """A network id and a physical device address in it."""

    network: int
    device: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.network <= _OCTET or not 0 < len(self.device) <= _OCTET:
            raise LocalProtocolError("a gateway header has a network of 1 octet and a device")

    def request(self, apdu: bytes) -> bytes:
        """Put the header of a request before an APDU."""
        return self._encode(GATEWAY_REQUEST) + apdu

    def response(self, apdu: bytes) -> bytes:
        """Put the header of a response before an APDU."""
        return self._encode(GATEWAY_RESPONSE) + apdu

    def _encode(self, tag: int) -> bytes:
        return bytes((tag, self.network, len(self.device))) + self.device


def split_gateway(octets: bytes, tag: int) -> tuple[GatewayHeader, bytes]:
    """Take the header off; raises `MalformedData` when there is no whole one with this tag."""
    if len(octets) < 3 or octets[0] != tag:
        raise MalformedData("no gateway header")
    end = 3 + octets[2]
    if end == 3 or len(octets) <= end:
        raise MalformedData("a gateway header without device or APDU")
    return GatewayHeader(octets[1], octets[3:end]), octets[end:]
