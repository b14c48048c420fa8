"""`dlms-cosem`, the independent peer: its client uses our server, its parsers read our bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dlms_cosem import cosem, enumerations, utils
from dlms_cosem.client import DlmsClient
from dlms_cosem.cosem.selective_access import CaptureObject, RangeDescriptor
from dlms_cosem.io import BlockingTcpIO, TcpTransport
from dlms_cosem.parsers import ProfileGenericBufferParser
from dlms_cosem.protocol import acse as peer_acse
from dlms_cosem.protocol import xdlms
from dlms_cosem.security import HighLevelSecurityGmacAuthentication, LowLevelSecurityAuthentication

from headend.domain.obis import (
    ACTIVE_ENERGY_IMPORT,
    CLOCK,
    DISCONNECT_CONTROL,
    LOAD_PROFILE_1,
    Obis,
)
from protocols.dlms import acse, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import AccessResult
from protocols.dlms.initiate import Conformance, InitiateRequest, InitiateResponse
from protocols.dlms.profile_buffer import decode_buffer
from protocols.dlms.selection import RangeSelection
from protocols.dlms.server import ClientAccess, ServerCounters, ServerSecurity, ServerSession
from protocols.dlms.testing import TableObjects
from protocols.dlms.testing_site import serve

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
START = datetime(2026, 2, 28, 16, 0, tzinfo=UTC)
PARAMETER = xdr.encode(d.Integer(0))


def profile_rows() -> bytes:
    return xdr.encode(
        d.Array(
            d.Structure(
                (
                    CosemDateTime.from_instant(START + i * timedelta(minutes=15)).octets,
                    d.Unsigned(i % 4),
                    d.DoubleLongUnsigned(1000 + i),
                )
            )
            for i in range(96)
        )
    )


@pytest.fixture
async def meter() -> AsyncIterator[tuple[int, TableObjects]]:
    objects = TableObjects(
        {
            (3, ACTIVE_ENERGY_IMPORT, 2): xdr.encode(d.DoubleLongUnsigned(12345)),
            (7, LOAD_PROFILE_1, 2): profile_rows(),
            (70, DISCONNECT_CONTROL, 2): xdr.encode(True),
        },
        {(70, DISCONNECT_CONTROL, 1): None},
    )
    # The peer refuses a meter whose first counter is 0.
    security = ServerSecurity(
        b"SIM00001",
        {1: ClientAccess("gmac", EK, AK), 2: ClientAccess("lls", password=b"12345678")},
        ServerCounters(next_counter=1),
    )

    def make_session(_server: int, client: int) -> ServerSession:
        return ServerSession(objects, security, client_address=client, max_pdu=512)

    async with serve(make_session) as (_, port):
        yield port, objects


async def with_peer(port: int, authentication: str, use: Callable[[DlmsClient], Any]) -> Any:
    def run() -> Any:
        address = 1 if authentication == "gmac" else 2
        transport = TcpTransport(address, 1, BlockingTcpIO("127.0.0.1", port, timeout=5))
        if authentication == "gmac":
            client = DlmsClient(
                transport=transport,
                authentication=HighLevelSecurityGmacAuthentication(challenge_length=32),
                encryption_key=EK,
                authentication_key=AK,
                client_system_title=b"PEER0001",
                client_initial_invocation_counter=50,
                block_transfer=True,
            )
        else:
            lls = LowLevelSecurityAuthentication(secret=b"12345678")
            client = DlmsClient(transport=transport, authentication=lls, block_transfer=True)
        with client.session() as session:
            return use(session)

    return await asyncio.to_thread(run)


def peer_attribute(class_id: int, obis: Obis, attribute: int) -> cosem.CosemAttribute:
    interface = enumerations.CosemInterface(class_id)
    return cosem.CosemAttribute(interface, cosem.Obis.from_bytes(obis.octets), attribute)


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
async def test_its_client_reads_a_register(
    authentication: str, meter: tuple[int, TableObjects]
) -> None:
    attribute = peer_attribute(3, ACTIVE_ENERGY_IMPORT, 2)
    data = await with_peer(meter[0], authentication, lambda client: client.get(attribute))
    assert utils.parse_as_dlms_data(data) == 12345


@pytest.mark.parametrize("authentication", ["lls", "gmac"])
async def test_its_client_reads_a_profile_by_range(
    authentication: str, meter: tuple[int, TableObjects]
) -> None:
    selection = RangeDescriptor(
        restricting_object=CaptureObject(peer_attribute(8, CLOCK, 2)),
        from_value=START,
        to_value=START + timedelta(days=1),
    )
    attribute = peer_attribute(7, LOAD_PROFILE_1, 2)
    data = await with_peer(
        meter[0], authentication, lambda client: client.get(attribute, access_descriptor=selection)
    )
    assert data == profile_rows()
    asked = meter[1].selections[-1]
    assert isinstance(asked, RangeSelection)
    assert asked.column.obis == CLOCK


async def test_its_client_switches_the_relay(meter: tuple[int, TableObjects]) -> None:
    method = cosem.CosemMethod(
        enumerations.CosemInterface.DISCONNECT_CONTROL,
        cosem.Obis.from_bytes(DISCONNECT_CONTROL.octets),
        1,
    )
    await with_peer(meter[0], "gmac", lambda client: client.action(method, PARAMETER))
    assert meter[1].invoked == [(70, DISCONNECT_CONTROL, 1, PARAMETER)]


def test_both_decode_a_profile_to_the_same_rows() -> None:
    parser = ProfileGenericBufferParser(
        capture_objects=[
            peer_attribute(8, CLOCK, 2),
            peer_attribute(1, Obis.parse("0.0.96.10.1.255"), 2),
            peer_attribute(3, ACTIVE_ENERGY_IMPORT, 2),
        ],
        capture_period=15,
    )
    theirs = parser.parse_bytes(profile_rows())
    ours = decode_buffer(profile_rows())
    assert [row[0].value.timestamp() for row in theirs] == ours.columns[0].values.tolist()
    assert [row[1].value for row in theirs] == ours.columns[1].values.tolist()
    assert [row[2].value for row in theirs] == ours.columns[2].values.tolist()


REGISTER = rq.Attribute(3, ACTIVE_ENERGY_IMPORT, 2)
SWITCH = rq.Attribute(70, DISCONNECT_CONTROL, 1)
VALUE = xdr.encode(d.DoubleLongUnsigned(5))
CONFORMANCE = Conformance.GET | Conformance.SET | Conformance.ACTION


@pytest.mark.parametrize(
    ("octets", "parse"),
    [
        (rq.GetRequest(0xC1, REGISTER).encode(), xdlms.GetRequestFactory.from_bytes),
        (rq.GetRequestNext(0xC1, 7).encode(), xdlms.GetRequestFactory.from_bytes),
        (rq.SetRequest(0xC1, REGISTER, VALUE).encode(), xdlms.SetRequestFactory.from_bytes),
        (rq.ActionRequest(0xC1, SWITCH, PARAMETER).encode(), xdlms.ActionRequestFactory.from_bytes),
        (
            rs.GetResponse(0xC1, AccessResult.READ_WRITE_DENIED).encode(),
            xdlms.GetResponseFactory.from_bytes,
        ),
        (rs.GetResponseBlock(0xC1, False, 1, b"ab").encode(), xdlms.GetResponseFactory.from_bytes),
        (rs.GetResponseBlock(0xC1, True, 2, b"cd").encode(), xdlms.GetResponseFactory.from_bytes),
        (
            rs.SetResponse(0xC1, AccessResult.SUCCESS).encode(),
            xdlms.SetResponseFactory.from_bytes,
        ),
        (
            rs.ActionResponse(0xC1, AccessResult.SUCCESS).encode(),
            xdlms.ActionResponseFactory.from_bytes,
        ),
        (rs.ExceptionResponse(1, 1).encode(), xdlms.ExceptionResponse.from_bytes),
        (
            InitiateRequest(CONFORMANCE, 1024).encode(),
            xdlms.InitiateRequest.from_bytes,
        ),
        (InitiateResponse(CONFORMANCE, 1024).encode(), xdlms.InitiateResponse.from_bytes),
        (acse.Rlrq().encode(), peer_acse.ReleaseRequest.from_bytes),
        (acse.Rlre().encode(), peer_acse.ReleaseResponse.from_bytes),
        (
            acse.Aarq(
                1, acse.Mechanism.LLS, None, b"12345678", InitiateRequest(CONFORMANCE, 0).encode()
            ).encode(),
            peer_acse.ApplicationAssociationRequest.from_bytes,
        ),
        (
            acse.Aare(
                1, 0, 0, user_information=InitiateResponse(CONFORMANCE, 1024).encode()
            ).encode(),
            peer_acse.ApplicationAssociationResponse.from_bytes,
        ),
    ],
    ids=lambda value: value.hex()[:8] if isinstance(value, bytes) else "",
)
def test_its_parser_reads_our_bytes_and_writes_them_the_same(
    octets: bytes, parse: Callable[[bytes], Any]
) -> None:
    assert parse(octets).to_bytes() == octets


def test_its_parser_reads_our_plain_answer() -> None:
    """Its own encoder of this very APDU fails, so only its parser is asked."""
    parsed = xdlms.GetResponseFactory.from_bytes(rs.GetResponse(0xC1, VALUE).encode())
    assert parsed.data == VALUE
