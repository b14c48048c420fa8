"""How the meters behind one WRAPPER endpoint are told apart: by wPort, or behind a gateway.

A route turns a meter's address into a frame and a received frame into the meter it came from. A
frame that is not from where its meter would answer belongs to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from headend.domain.errors import BadInput
from protocols.dlms.errors import MalformedData
from protocols.dlms.gateway import GATEWAY_RESPONSE, GatewayHeader, split_gateway
from protocols.dlms.wrapper import WrapperFrame, encode_frame

_MAX_WPORT = 0xFFFF


class WrapperRoute(Protocol):
    """Frames to meters, and meters of frames."""

    def wrap(self, server: int, client: int, apdu: bytes) -> bytes:
        """Return the frame that carries an APDU to a meter; raises `BadInput` for its address."""
        ...

    def unwrap(self, frame: WrapperFrame) -> tuple[int, int, bytes] | None:
        """Return (meter, client, APDU) of a frame, None for a foreign one."""
        ...


class DirectRoute:
    """A meter's address is its wPort."""

    def wrap(self, server: int, client: int, apdu: bytes) -> bytes:
        return encode_frame(_wport(client), _wport(server), apdu)

    def unwrap(self, frame: WrapperFrame) -> tuple[int, int, bytes] | None:
        return frame.source, frame.destination, frame.apdu


@dataclass(frozen=True, slots=True)
class GatewayRoute:
    """Meters behind a gateway's network.

    With ``device`` there is one, whose address is its wPort; without, every meter answers at
    ``wport`` and its address is its physical one, in ``size`` octets.
    """

    network: int
    device: bytes | None = None
    size: int = 1
    wport: int = 1

    def wrap(self, server: int, client: int, apdu: bytes) -> bytes:
        if self.device is not None:
            octets = GatewayHeader(self.network, self.device).request(apdu)
            return encode_frame(_wport(client), _wport(server), octets)
        try:
            device = server.to_bytes(self.size, "big")
        except OverflowError:
            raise BadInput(
                f"address {server} does not fit {self.size} octets", field="address"
            ) from None
        octets = GatewayHeader(self.network, device).request(apdu)
        return encode_frame(_wport(client), self.wport, octets)

    def unwrap(self, frame: WrapperFrame) -> tuple[int, int, bytes] | None:
        try:
            header, apdu = split_gateway(frame.apdu, GATEWAY_RESPONSE)
        except MalformedData:
            return None
        if header.network != self.network:
            return None
        if self.device is not None:
            foreign = header.device != self.device
            return None if foreign else (frame.source, frame.destination, apdu)
        if len(header.device) != self.size or frame.source != self.wport:
            return None
        return int.from_bytes(header.device, "big"), frame.destination, apdu


def _wport(address: int) -> int:
    if not 0 <= address <= _MAX_WPORT:
        raise BadInput(f"address {address} is no wPort", field="address")
    return address
