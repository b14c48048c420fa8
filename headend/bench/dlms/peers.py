"""The peers' side of the comparison, each through its own public interface.

Both are imported when asked for and never before: they are no part of the product. `PeerMissing`
says what to install. dlms-cosem logs every octet through structlog; its logger is set to drop that,
so that the comparison is of protocol work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Protocol

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
from headend.domain.errors import ConfigurationError, InvariantViolated
from headend.domain.obis import LOAD_PROFILE_1, Obis

CHALLENGE_SIZE = 16  # octets, as ours
FIRST_COUNTER = 1
_SYSTEM_TITLE = b"PEER0001"
Decode = Callable[[bytes], object]


class PeerMissing(ConfigurationError):
    """A peer of the comparison is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not installed, so nothing is compared with it: install the extra with"
            " pip install 'ami-headend[bench]'"
        )


class Carry(Protocol):
    """Takes a WRAPPER frame to the meter and returns the frame of its answer."""

    def __call__(self, octets: bytes) -> bytes: ...


def cosem_decoder() -> Decode:
    """Return dlms-cosem's decoding of a profile: rows of typed values, clocks as datetimes."""
    attributes, parsers = _import_cosem(), _import("dlms_cosem.parsers")
    captured = [attributes(each.class_id, each.obis, each.attribute) for each in CAPTURED]
    parser = parsers.ProfileGenericBufferParser(captured, INTERVAL_MIN)
    decode: Decode = parser.parse_bytes
    return decode


def gurux_decoders() -> tuple[Decode, Decode]:
    """Return gurux' decoding of a profile to rows with clocks as datetimes, and its parse alone."""
    try:
        from gurux_dlms import GXByteBuffer, GXDLMSClient
        from gurux_dlms.objects import (
            GXDLMSCaptureObject,
            GXDLMSClock,
            GXDLMSData,
            GXDLMSProfileGeneric,
            GXDLMSRegister,
        )
    except ImportError:
        raise PeerMissing("gurux-dlms") from None
    kinds = {8: GXDLMSClock, 1: GXDLMSData, 3: GXDLMSRegister}
    client, profile = GXDLMSClient(), GXDLMSProfileGeneric(str(LOAD_PROFILE_1))
    for each in CAPTURED:
        captured = GXDLMSCaptureObject(each.attribute, 0)
        profile.captureObjects.append((kinds[each.class_id](str(each.obis)), captured))

    def parse(octets: bytes) -> object:
        return GXDLMSClient.getValue(GXByteBuffer(octets), False)

    def decode(octets: bytes) -> object:
        profile.buffer = []
        client.updateValue(profile, 2, parse(octets))
        return profile.buffer

    return decode, parse


class CosemSessions:
    """Sessions through dlms-cosem's client, over a connection that is open already."""

    def __init__(self, carry: Carry) -> None:
        attribute = _import_cosem()
        cosem = _import("dlms_cosem.cosem")
        access = _import("dlms_cosem.cosem.selective_access")
        _silence()
        self._client = _import("dlms_cosem.client").DlmsClient
        self._authentication = _import("dlms_cosem.security").HighLevelSecurityGmacAuthentication
        self._decode = cosem_decoder()
        self._transport = _Transport(carry)
        self._counter = FIRST_COUNTER
        self._profile = attribute(7, LOAD_PROFILE_1, 2)
        self._day = access.RangeDescriptor(
            restricting_object=access.CaptureObject(attribute(8, CAPTURED[0].obis, 2)),
            from_value=START,
            to_value=START + timedelta(minutes=INTERVAL_MIN * ROWS),
        )
        self._relay = [
            cosem.CosemAttributeWithSelection(attribute(*each), None) for each in RELAY_ATTRIBUTES
        ]

    def run(self) -> None:
        """Associate, read and decode the profile, read the relay, release."""
        client = self._client(
            transport=self._transport,
            authentication=self._authentication(challenge_length=CHALLENGE_SIZE),
            encryption_key=ENCRYPTION_KEY,
            authentication_key=AUTHENTICATION_KEY,
            client_system_title=_SYSTEM_TITLE,
            client_initial_invocation_counter=self._counter,
            block_transfer=True,
        )
        client.associate()
        rows: Any = self._decode(client.get(self._profile, access_descriptor=self._day))
        relay = client.get_many(self._relay).response_data
        client.release_association()
        self._counter = client.dlms_connection.client_invocation_counter + 1
        if len(rows) != ROWS or relay[0].value is not True:
            raise InvariantViolated("the meter of the benchmark answered something else")


class _Transport:
    """dlms-cosem's transport over any carrier of WRAPPER frames."""

    client_logical_address = CLIENT
    server_logical_address = METER
    timeout = 5
    io = None

    def __init__(self, carry: Carry) -> None:
        wrappers = _import("dlms_cosem.protocol.wrappers")
        self._header, self._unit = wrappers.WrapperHeader, wrappers.WrapperProtocolDataUnit
        self._carry = carry

    def connect(self) -> None:
        """Nothing to do: the carrier is open."""

    def disconnect(self) -> None:
        """Nothing to do: the carrier stays open."""

    def send_request(self, bytes_to_send: bytes) -> bytes:
        header = self._header(
            source_wport=CLIENT, destination_wport=METER, length=len(bytes_to_send)
        )
        answer = self._carry(self._unit(bytes_to_send, header).to_bytes())
        # Its own TCP transport reads the header for the length, then so many octets.
        self._header.from_bytes(answer[:8])
        return answer[8:]


def _import_cosem() -> Callable[[int, Obis, int], Any]:
    """Return a maker of dlms-cosem's attributes."""
    cosem, enumerations = _import("dlms_cosem.cosem"), _import("dlms_cosem.enumerations")

    def make(class_id: int, obis: Obis, attribute: int) -> Any:
        interface = enumerations.CosemInterface(class_id)
        return cosem.CosemAttribute(interface, cosem.Obis.from_bytes(obis.octets), attribute)

    return make


def _import(name: str) -> Any:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError:
        raise PeerMissing("dlms-cosem") from None


def _silence() -> None:
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
