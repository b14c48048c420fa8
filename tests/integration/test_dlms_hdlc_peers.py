"""Two independent clients read and switch simulated meters over HDLC on TCP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dlms_cosem import cosem, enumerations, utils
from dlms_cosem.client import DlmsClient
from dlms_cosem.cosem.selective_access import CaptureObject, RangeDescriptor
from dlms_cosem.io import BlockingTcpIO, HdlcTransport
from dlms_cosem.security import HighLevelSecurityGmacAuthentication, LowLevelSecurityAuthentication
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
    Obis,
)
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.profile_buffer import decode_buffer
from protocols.simulator.business_time import US_PER_S, BusinessClock, to_us
from protocols.simulator.faults import Fault
from protocols.simulator.fleet import MeterSpec, make_fleet
from protocols.simulator.simulator import Simulator

NOON = datetime(2025, 3, 10, 4, 0, tzinfo=UTC)
MIDNIGHT = datetime(2025, 3, 8, 16, 0, tzinfo=UTC)
TIMEOUT_S = 10
SECOND = 1  # index of the meter that is read: address 2


@dataclass
class Site:
    """A concentrator that speaks HDLC, and the second of its meters."""

    simulator: Simulator
    us: list[int]

    @property
    def port(self) -> int:
        return self.simulator.concentrators["DC001"].port

    @property
    def spec(self) -> MeterSpec:
        return self.simulator.fleet.meters[SECOND]

    @property
    def device(self) -> Any:
        return self.simulator.device(self.spec.meter_no)

    def expected_rows(self) -> list[int]:
        start_s = int(MIDNIGHT.timestamp())
        return list(self.device.meter.rows(start_s, start_s + 86_400).energy_wh)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    us = [to_us(NOON)]
    fleet = make_fleet(
        4, 1, 2, commissioned_at="2025-03-01T00:00:00+08:00", relay_delay_ms=0, transport="hdlc"
    )
    simulator = Simulator(fleet, clock=BusinessClock(real_us=lambda: us[0]))
    for meter in simulator.devices.values():
        # One of the peers takes a meter's first counter 0 for a replay.
        meter.replay("counters", {"next": 1, "received": {}})
    await simulator.start()
    yield Site(simulator, us)
    await simulator.stop()


class GuruxPeer:
    """The few lines of transport that gurux leaves to its user; blocking, for a thread."""

    def __init__(self, site: Site, client: GXDLMSSecureClient) -> None:
        self.client = client
        self.socket = socket.create_connection(("127.0.0.1", site.port), timeout=TIMEOUT_S)

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
        client.parseUAResponse(self.exchange(client.snrmRequest()).data)
        client.parseAareResponse(self.exchange(client.aarqRequest()).data)
        if client.isAuthenticationRequired:
            answer = self.exchange(client.getApplicationAssociationRequest())
            client.parseApplicationAssociationResponse(answer.data)

    def read(self, item: Any, attribute: int) -> Any:
        reply = self.exchange(self.client.read(item, attribute))
        return self.client.updateValue(item, attribute, reply.value)

    def release(self) -> None:
        self.exchange(self.client.releaseRequest())
        self.exchange(self.client.disconnectRequest())
        self.socket.close()


def gurux_client(site: Site, authentication: str, *, server: int = 2) -> GXDLMSSecureClient:
    hdlc = InterfaceType.HDLC
    if authentication == "lls":
        return GXDLMSSecureClient(True, 2, server, Authentication.LOW, site.spec.password, hdlc)
    client = GXDLMSSecureClient(True, 1, server, Authentication.HIGH_GMAC, None, hdlc)
    client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    client.ciphering.systemTitle = b"GURUX001"
    client.ciphering.blockCipherKey = bytes.fromhex(site.spec.encryption_key)
    client.ciphering.authenticationKey = bytes.fromhex(site.spec.authentication_key)
    client.ciphering.invocationCounter = 100
    return client


async def with_gurux(
    site: Site,
    authentication: str,
    use: Callable[[GuruxPeer], Any],
    *,
    prepare: Callable[[GXDLMSSecureClient], None] = lambda _client: None,
    server: int = 2,
) -> Any:
    def run() -> Any:
        client = gurux_client(site, authentication, server=server)
        prepare(client)
        peer = GuruxPeer(site, client)
        try:
            peer.associate()
            result = use(peer)
            peer.release()
            return result
        finally:
            peer.socket.close()

    return await asyncio.to_thread(run)


def longer_fields(client: GXDLMSSecureClient) -> None:
    client.hdlcSettings.maxInfoTX = client.hdlcSettings.maxInfoRX = 256


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
async def test_gurux_reads_registers(authentication: str, site: Site) -> None:
    def use(peer: GuruxPeer) -> tuple[Any, ...]:
        register = GXDLMSRegister(str(ACTIVE_ENERGY_IMPORT))
        name = GXDLMSData(str(LOGICAL_DEVICE_NAME))
        peer.read(register, 3)
        return peer.read(register, 2), int(register.unit), bytes(peer.read(name, 2))

    value, unit, name = await with_gurux(site, authentication, use)
    assert (value, unit) == (site.device.meter.register_wh(), 30)
    assert name.decode() == site.spec.logical_device_name


def read_profile(peer: GuruxPeer) -> list[Any]:
    profile = GXDLMSProfileGeneric(str(LOAD_PROFILE_1))
    peer.read(profile, 3)
    # A row bears the end of its interval.
    start = MIDNIGHT + timedelta(minutes=15)
    reply = peer.exchange(peer.client.readRowsByRange(profile, start, MIDNIGHT + timedelta(days=1)))
    peer.client.updateValue(profile, 2, reply.value)
    return [row[-1] for row in profile.buffer]


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
@pytest.mark.parametrize("prepare", [lambda _client: None, longer_fields])
async def test_gurux_reads_a_profile_by_range(
    authentication: str, prepare: Callable[[GXDLMSSecureClient], None], site: Site
) -> None:
    rows = await with_gurux(site, authentication, read_profile, prepare=prepare)
    assert rows == site.expected_rows()
    assert len(rows) == 96


@pytest.mark.parametrize("size", [1, 2, 4])
async def test_gurux_addresses_a_meter_by_its_physical_address(size: int, site: Site) -> None:
    def use(peer: GuruxPeer) -> bytes:
        return bytes(peer.read(GXDLMSData(str(LOGICAL_DEVICE_NAME)), 2))

    server = {1: 2, 2: 1 << 7 | 2, 4: 1 << 14 | 2}[size]

    def prepare(client: GXDLMSSecureClient) -> None:
        client.serverAddressSize = size

    name = await with_gurux(site, "lls", use, prepare=prepare, server=server)
    assert name.decode() == site.spec.logical_device_name


async def test_gurux_switches_the_relay(site: Site) -> None:
    def use(peer: GuruxPeer) -> None:
        relay = GXDLMSDisconnectControl(str(DISCONNECT_CONTROL))
        peer.exchange(relay.remoteDisconnect(peer.client))

    await with_gurux(site, "gmac", use)
    site.us[0] += US_PER_S
    site.device.contact.settle()
    assert not site.device.contact.closed

    def look(peer: GuruxPeer) -> tuple[Any, int]:
        relay = GXDLMSDisconnectControl(str(DISCONNECT_CONTROL))
        return peer.read(relay, 2), int(peer.read(relay, 3))

    assert await with_gurux(site, "lls", look) == (False, 0)


class PatientIO(BlockingTcpIO):
    """Gives what has come: reading up to a flag, the original hangs where a check sequence ends
    with that very octet."""

    def recv_until(self, end: bytes) -> bytes:
        assert self.tcp_socket is not None
        self.tcp_socket.settimeout(0.05)
        self.waited = getattr(self, "waited", 0) + 1
        assert self.waited < 1000, "the meter stays silent"
        try:
            return self.tcp_socket.recv(4096)
        except TimeoutError:
            return b""


async def with_cosem(site: Site, authentication: str, use: Callable[[DlmsClient], Any]) -> Any:
    """Use the other client; it splits what it sends into fields of 128 octets, window 1."""

    def run() -> Any:
        address = 1 if authentication == "gmac" else 2
        io = PatientIO("127.0.0.1", site.port, timeout=TIMEOUT_S)
        transport = HdlcTransport(
            client_logical_address=address,
            server_logical_address=1,
            server_physical_address=2,
            io=io,
        )
        if authentication == "gmac":
            client = DlmsClient(
                transport=transport,
                authentication=HighLevelSecurityGmacAuthentication(challenge_length=32),
                encryption_key=bytes.fromhex(site.spec.encryption_key),
                authentication_key=bytes.fromhex(site.spec.authentication_key),
                client_system_title=b"PEER0001",
                client_initial_invocation_counter=50,
                block_transfer=True,
            )
        else:
            lls = LowLevelSecurityAuthentication(secret=site.spec.password.encode())
            client = DlmsClient(transport=transport, authentication=lls, block_transfer=True)
        with client.session() as session:
            return use(session)

    return await asyncio.to_thread(run)


def attribute(class_id: int, obis: Obis, number: int) -> cosem.CosemAttribute:
    interface = enumerations.CosemInterface(class_id)
    return cosem.CosemAttribute(interface, cosem.Obis.from_bytes(obis.octets), number)


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
async def test_dlms_cosem_reads_a_register(authentication: str, site: Site) -> None:
    register = attribute(3, ACTIVE_ENERGY_IMPORT, 2)
    data = await with_cosem(site, authentication, lambda client: client.get(register))
    assert utils.parse_as_dlms_data(data) == site.device.meter.register_wh()


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
async def test_dlms_cosem_reads_a_profile_by_range(authentication: str, site: Site) -> None:
    selection = RangeDescriptor(
        restricting_object=CaptureObject(attribute(8, CLOCK, 2)),
        from_value=MIDNIGHT + timedelta(minutes=15),
        to_value=MIDNIGHT + timedelta(days=1),
    )
    profile = attribute(7, LOAD_PROFILE_1, 2)
    data = await with_cosem(
        site, authentication, lambda client: client.get(profile, access_descriptor=selection)
    )
    assert decode_buffer(data).columns[-1].values.tolist() == site.expected_rows()


async def test_dlms_cosem_switches_the_relay(site: Site) -> None:
    method = cosem.CosemMethod(
        enumerations.CosemInterface.DISCONNECT_CONTROL,
        cosem.Obis.from_bytes(DISCONNECT_CONTROL.octets),
        1,
    )
    parameter = xdr.encode(d.Integer(0))
    await with_cosem(site, "gmac", lambda client: client.action(method, parameter))
    site.us[0] += US_PER_S
    site.device.contact.settle()
    assert not site.device.contact.closed


async def test_gurux_reads_through_short_fields_and_pdus(site: Site) -> None:
    for kind, values in (("small_information", {"octets": 64}), ("small_pdu", {"octets": 160})):
        site.device.set_fault(Fault.from_json({"fault": kind, **values}))
    assert await with_gurux(site, "gmac", read_profile) == site.expected_rows()
