"""`gurux-dlms`, an independent client, reads and switches our server over a real TCP socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.objects import (
    GXDLMSData,
    GXDLMSDisconnectControl,
    GXDLMSProfileGeneric,
    GXDLMSRegister,
)
from gurux_dlms.secure import GXDLMSSecureClient

from headend.domain.obis import (
    ACTIVE_ENERGY_IMPORT,
    CLOCK,
    DISCONNECT_CONTROL,
    LOAD_PROFILE_1,
    LOGICAL_DEVICE_NAME,
)
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.selection import CaptureObject
from protocols.dlms.server import ClientAccess, ServerSecurity, ServerSession
from protocols.dlms.testing import TableObjects
from protocols.dlms.testing_site import MeterServer, serve

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
START = datetime(2026, 2, 28, 16, 0, tzinfo=UTC)
ROWS = 96


def make_objects() -> TableObjects:
    rows = d.Array(
        d.Structure(
            (
                CosemDateTime.from_instant(
                    START + i * timedelta(minutes=15), deviation_min=-480
                ).octets,
                d.DoubleLongUnsigned(1000 + i),
            )
        )
        for i in range(ROWS)
    )
    captured = d.Array(
        (
            CaptureObject(8, CLOCK).to_data(),
            CaptureObject(3, ACTIVE_ENERGY_IMPORT).to_data(),
        )
    )
    table = {
        (1, LOGICAL_DEVICE_NAME, 2): b"SIM0000000000001",
        (3, ACTIVE_ENERGY_IMPORT, 2): d.DoubleLongUnsigned(12345),
        (3, ACTIVE_ENERGY_IMPORT, 3): d.Structure((d.Integer(0), d.Enum(30))),
        (7, LOAD_PROFILE_1, 2): rows,
        (7, LOAD_PROFILE_1, 3): captured,
        (70, DISCONNECT_CONTROL, 2): True,
        (70, DISCONNECT_CONTROL, 3): d.Enum(1),
        (70, DISCONNECT_CONTROL, 4): d.Enum(4),
    }
    return TableObjects(
        {key: xdr.encode(value) for key, value in table.items()},
        {(70, DISCONNECT_CONTROL, 1): None},
    )


class GuruxPeer:
    """The few lines of transport that gurux leaves to its user; blocking, for a thread."""

    def __init__(self, port: int, client: GXDLMSSecureClient) -> None:
        self.client = client
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)

    def exchange(self, messages: Any) -> GXReplyData:
        reply = GXReplyData()
        for message in messages if isinstance(messages, list) else [messages]:
            if isinstance(message, list):
                return self.exchange(message)
            self._exchange_one(message, reply)
        while reply.isMoreData():
            self._exchange_one(self.client.receiverReady(reply), reply)
        return reply

    def _exchange_one(self, message: bytes, reply: GXReplyData) -> None:
        reply.error = 0
        self.socket.sendall(bytes(message))
        received = GXByteBuffer()
        notify = GXReplyData()
        while not self.client.getData(received, reply, notify):
            received.set(self.socket.recv(4096))
        if reply.error:
            raise AssertionError(f"gurux reports error {reply.error}")

    def associate(self) -> None:
        client = self.client
        client.parseAareResponse(self.exchange(client.aarqRequest()).data)
        if client.isAuthenticationRequired:
            answer = self.exchange(client.getApplicationAssociationRequest())
            client.parseApplicationAssociationResponse(answer.data)

    def read(self, item: Any, attribute: int) -> Any:
        reply = self.exchange(self.client.read(item, attribute))
        return self.client.updateValue(item, attribute, reply.value)

    def release(self) -> None:
        self.exchange(self.client.releaseRequest())
        self.socket.close()


def make_client(authentication: str) -> GXDLMSSecureClient:
    if authentication == "lls":
        return GXDLMSSecureClient(True, 2, 1, Authentication.LOW, "12345678", InterfaceType.WRAPPER)
    client = GXDLMSSecureClient(True, 1, 1, Authentication.HIGH_GMAC, None, InterfaceType.WRAPPER)
    client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    client.ciphering.systemTitle = b"GURUX001"
    client.ciphering.blockCipherKey = EK
    client.ciphering.authenticationKey = AK
    client.ciphering.invocationCounter = 100
    return client


@pytest.fixture
async def meters() -> AsyncIterator[tuple[MeterServer, int, TableObjects]]:
    objects = make_objects()
    security = ServerSecurity(
        b"SIM00001",
        {1: ClientAccess("gmac", EK, AK), 2: ClientAccess("lls", password=b"12345678")},
    )

    def make_session(_server: int, client: int) -> ServerSession:
        return ServerSession(objects, security, client_address=client, max_pdu=512)

    async with serve(make_session) as (server, port):
        yield server, port, objects


Meters = tuple[MeterServer, int, TableObjects]


async def with_peer(port: int, authentication: str, use: Callable[[GuruxPeer], Any]) -> Any:
    def run() -> Any:
        peer = GuruxPeer(port, make_client(authentication))
        try:
            peer.associate()
            result = use(peer)
            peer.release()
            return result
        finally:
            peer.socket.close()

    return await asyncio.to_thread(run)


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
async def test_registers_are_read(authentication: str, meters: Meters) -> None:
    def use(peer: GuruxPeer) -> tuple[Any, ...]:
        register = GXDLMSRegister(str(ACTIVE_ENERGY_IMPORT))
        name = GXDLMSData(str(LOGICAL_DEVICE_NAME))
        peer.read(register, 3)
        return peer.read(register, 2), register.scaler, int(register.unit), peer.read(name, 2)

    value, scaler, unit, name = await with_peer(meters[1], authentication, use)
    assert (value, scaler, unit) == (12345, 1, 30)
    assert bytes(name) == b"SIM0000000000001"


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
async def test_a_list_is_read_in_one_request(authentication: str, meters: Meters) -> None:
    def use(peer: GuruxPeer) -> tuple[Any, ...]:
        register = GXDLMSRegister(str(ACTIVE_ENERGY_IMPORT))
        relay = GXDLMSDisconnectControl(str(DISCONNECT_CONTROL))
        items = [(register, 2), (relay, 2), (relay, 3), (relay, 4)]
        reply = peer.exchange(peer.client.readList(items))
        peer.client.updateValues(items, reply.value)
        return register.value, relay.outputState, int(relay.controlState), int(relay.controlMode)

    assert await with_peer(meters[1], authentication, use) == (12345, True, 1, 4)


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
async def test_a_profile_is_read_by_range_through_blocks(
    authentication: str, meters: Meters
) -> None:
    def use(peer: GuruxPeer) -> list[Any]:
        profile = GXDLMSProfileGeneric(str(LOAD_PROFILE_1))
        peer.read(profile, 3)
        end = START + timedelta(days=1)
        reply = peer.exchange(peer.client.readRowsByRange(profile, START, end))
        peer.client.updateValue(profile, 2, reply.value)
        return list(profile.buffer)

    rows = await with_peer(meters[1], authentication, use)
    assert [row[1] for row in rows] == [1000 + i for i in range(ROWS)]
    assert meters[2].selections[-1] is not None


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
async def test_the_relay_is_switched(authentication: str, meters: Meters) -> None:
    def use(peer: GuruxPeer) -> None:
        relay = GXDLMSDisconnectControl(str(DISCONNECT_CONTROL))
        peer.exchange(relay.remoteDisconnect(peer.client))

    await with_peer(meters[1], authentication, use)
    assert meters[2].invoked == [(70, DISCONNECT_CONTROL, 1, xdr.encode(d.Integer(0)))]
