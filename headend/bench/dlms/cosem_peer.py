"""dlms-cosem as its user would use it: its client over a transport that is open already.

It logs every octet through structlog; run it under `silent_logs`, so that the comparison is of
protocol work.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from dlms_cosem import cosem, enumerations
from dlms_cosem.client import DlmsClient
from dlms_cosem.cosem.selective_access import CaptureObject, RangeDescriptor
from dlms_cosem.parsers import ProfileGenericBufferParser
from dlms_cosem.protocol.wrappers import WrapperHeader, WrapperProtocolDataUnit
from dlms_cosem.security import HighLevelSecurityGmacAuthentication

from headend.bench.dlms.peers import Carry, Decode
from headend.bench.dlms.samples import (
    AUTHENTICATION_KEY,
    CAPTURED,
    CLIENT,
    ENCRYPTION_KEY,
    INTERVAL_MIN,
    METER,
    RELAY_ATTRIBUTES,
    ROWS,
    START,
)
from headend.domain.errors import InvariantViolated
from headend.domain.obis import CLOCK, LOAD_PROFILE_1, Obis

CHALLENGE_SIZE = 16  # octets, as ours
FIRST_COUNTER = 1
_SYSTEM_TITLE = b"PEER0001"
_HEADER_SIZE = 8


def make_decoder() -> Decode:
    """Return the decoding of a profile: rows of typed values, clocks as datetimes."""
    captured = [_attribute(each.class_id, each.obis, each.attribute) for each in CAPTURED]
    parser = ProfileGenericBufferParser(captured, INTERVAL_MIN)
    decode: Decode = parser.parse_bytes
    return decode


class CosemSessions:
    """Sessions one after the other, each with its own client and the counter of the last one."""

    def __init__(self, carry: Carry) -> None:
        self._decode = make_decoder()
        self._transport = _Transport(carry)
        self._counter = FIRST_COUNTER
        self._profile = _attribute(7, LOAD_PROFILE_1, 2)
        self._day = RangeDescriptor(
            restricting_object=CaptureObject(_attribute(8, CLOCK, 2)),
            from_value=START,
            to_value=START + timedelta(minutes=INTERVAL_MIN * ROWS),
        )
        self._relay = [
            cosem.CosemAttributeWithSelection(_attribute(*each), None) for each in RELAY_ATTRIBUTES
        ]

    def run(self) -> None:
        """Associate, read and decode the profile, read the relay, release."""
        client = DlmsClient(
            transport=self._transport,
            authentication=HighLevelSecurityGmacAuthentication(challenge_length=CHALLENGE_SIZE),
            encryption_key=ENCRYPTION_KEY,
            authentication_key=AUTHENTICATION_KEY,
            client_system_title=_SYSTEM_TITLE,
            client_initial_invocation_counter=self._counter,
            block_transfer=True,
        )
        client.associate()
        rows: Any = self._decode(client.get(self._profile, access_descriptor=self._day))
        relay: Any = client.get_many(self._relay)
        client.release_association()
        self._counter = client.dlms_connection.client_invocation_counter + 1
        if len(rows) != ROWS or relay.response_data[0].value is not True:
            raise InvariantViolated("the meter of the benchmark answered something else")


class _Transport:
    """Its transport interface over any carrier of WRAPPER frames."""

    client_logical_address = CLIENT
    server_logical_address = METER
    timeout = 5
    io: Any = None

    def __init__(self, carry: Carry) -> None:
        self._carry = carry

    def connect(self) -> None:
        """Nothing to do: the carrier is open."""

    def disconnect(self) -> None:
        """Nothing to do: the carrier stays open."""

    def send_request(self, bytes_to_send: bytes) -> bytes:
        """Wrap, carry and unwrap with its own header, as its TCP transport does."""
        header = WrapperHeader(CLIENT, METER, len(bytes_to_send))
        answer = self._carry(WrapperProtocolDataUnit(bytes_to_send, header).to_bytes())
        length = WrapperHeader.from_bytes(answer[:_HEADER_SIZE]).length
        return answer[_HEADER_SIZE : _HEADER_SIZE + length]


def _attribute(class_id: int, obis: Obis, attribute: int) -> cosem.CosemAttribute:
    interface = enumerations.CosemInterface(class_id)
    return cosem.CosemAttribute(interface, cosem.Obis.from_bytes(obis.octets), attribute)
