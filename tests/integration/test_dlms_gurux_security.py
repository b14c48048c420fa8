"""`gurux-dlms`' client against our server: every proof, suite, protection and form it can do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, Conformance, DataType, InterfaceType, Security
from gurux_dlms.objects import GXDLMSData, GXDLMSDisconnectControl, GXDLMSRegister
from gurux_dlms.objects.enums import SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient

from headend.domain.obis import ACTIVE_ENERGY_IMPORT, DISCONNECT_CONTROL, Obis
from protocols.dlms import data as d
from protocols.dlms import initiate, xdr
from protocols.dlms.admission import SERVED_CONFORMANCE
from protocols.dlms.security import AUTHENTICATED, AUTHENTICATED_ENCRYPTED, ENCRYPTED
from protocols.dlms.server import ClientAccess, ServerSecurity, ServerSession
from protocols.dlms.testing import TableObjects
from protocols.dlms.testing_site import serve

EK, AK, DEDICATED = bytes(range(16)), bytes(range(0xD0, 0xE0)), bytes(range(0x40, 0x50))
SECRET = b"a secret"
NOTE = Obis.parse("0.0.96.13.0.255")
SPECIFIC = SERVED_CONFORMANCE & ~initiate.Conformance.GENERAL_PROTECTION
BOTH = Security.AUTHENTICATION_ENCRYPTION


class Peer:
    """The few lines of transport that gurux leaves to its user; blocking, for a thread."""

    def __init__(self, port: int, client: GXDLMSSecureClient) -> None:
        self.client = client
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)

    def exchange(self, messages: Any) -> GXReplyData:
        reply = GXReplyData()
        pending = list(messages) if isinstance(messages, list) else [messages]
        while pending:
            message = pending.pop(0)
            if isinstance(message, list):
                pending = message + pending
                continue
            reply.clear()
            self.send(message, reply)
        while reply.isMoreData():
            self.send(self.client.receiverReady(reply), reply)
        return reply

    def send(self, message: bytes, reply: GXReplyData) -> None:
        self.socket.sendall(bytes(message))
        received = GXByteBuffer()
        while not self.client.getData(received, reply, GXReplyData()):
            received.set(self.socket.recv(4096))
        assert not reply.error

    def converse(self, use: Callable[[Peer], Any]) -> Any:
        client = self.client
        client.parseAareResponse(self.exchange(client.aarqRequest()).data)
        if client.isAuthenticationRequired:
            answer = self.exchange(client.getApplicationAssociationRequest())
            client.parseApplicationAssociationResponse(answer.data)
        result = use(self)
        self.exchange(client.releaseRequest())
        return result


def make_client(
    authentication: Authentication, security: Security = Security.NONE, **ciphering: Any
) -> GXDLMSSecureClient:
    secret = None if authentication == Authentication.HIGH_GMAC else SECRET
    client = GXDLMSSecureClient(True, 1, 1, authentication, secret, InterfaceType.WRAPPER)
    settings = {
        "systemTitle": b"GURUX001", "blockCipherKey": EK, "authenticationKey": AK,
        "invocationCounter": 100, "security": security, **ciphering,
    }  # fmt: skip
    for name, value in settings.items():
        setattr(client.ciphering, name, value)
    return client


def make_objects() -> TableObjects:
    return TableObjects(
        {
            (3, ACTIVE_ENERGY_IMPORT, 2): xdr.encode(d.DoubleLongUnsigned(12345)),
            (1, NOTE, 2): xdr.encode(b""),
        },
        {(70, DISCONNECT_CONTROL, 1): None},
    )


async def run(
    access: ClientAccess,
    client: GXDLMSSecureClient,
    use: Callable[[Peer], Any],
    *,
    objects: TableObjects | None = None,
    conformance: initiate.Conformance = SPECIFIC,
    max_pdu: int = 1024,
) -> tuple[Any, set[int]]:
    """Return what the peer read, and the tags of its requests."""
    table = objects or make_objects()
    security = ServerSecurity(b"SIM00001", {1: access})

    def make_session(_server: int, address: int) -> ServerSession:
        return ServerSession(
            table, security, client_address=address, max_pdu=max_pdu, conformance=conformance
        )

    async with serve(make_session) as (server, port):
        peer = Peer(port, client)
        try:
            result = await asyncio.to_thread(peer.converse, use)
        finally:
            peer.socket.close()
        return result, {frame.apdu[0] for frame in server.requests}


def read_register(peer: Peer) -> Any:
    register = GXDLMSRegister(str(ACTIVE_ENERGY_IMPORT))
    reply = peer.exchange(peer.client.read(register, 2))
    return peer.client.updateValue(register, 2, reply.value)


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [
        ("md5", Authentication.HIGH_MD5),
        ("sha1", Authentication.HIGH_SHA1),
        ("sha256", Authentication.HIGH_SHA256),
    ],
)
@pytest.mark.parametrize("ciphered", [False, True])
async def test_its_digests_are_ours(name: Any, mechanism: Authentication, ciphered: bool) -> None:
    access = ClientAccess(name, password=SECRET)
    security = Security.NONE
    if ciphered:
        access, security = ClientAccess(name, EK, AK, password=SECRET), BOTH
    value, tags = await run(access, make_client(mechanism, security), read_register)
    assert value == 12345
    assert (0xC8 in tags) == ciphered


@pytest.mark.parametrize(
    ("security", "control"),
    [
        (Security.AUTHENTICATION, AUTHENTICATED),
        (Security.ENCRYPTION, ENCRYPTED),
        (BOTH, AUTHENTICATED_ENCRYPTED),
    ],
)
async def test_each_protection_is_understood(security: Security, control: int) -> None:
    client = make_client(Authentication.HIGH_GMAC, security)
    value, tags = await run(ClientAccess("gmac", EK, AK, control=control), client, read_register)
    assert (value, tags) == (12345, {0x60, 0xCB, 0xC8, 0x62})


async def test_a_proof_without_ciphering_is_understood() -> None:
    client = make_client(Authentication.HIGH_GMAC, Security.NONE)
    value, tags = await run(ClientAccess("gmac", EK, AK, control=0), client, read_register)
    assert (value, tags) == (12345, {0x60, 0xC3, 0xC0, 0x62})


@pytest.mark.parametrize(
    ("conformance", "dedicated", "tag"),
    [
        (SPECIFIC, None, 0xC8),
        (SPECIFIC, DEDICATED, 0xD0),
        (SERVED_CONFORMANCE, None, 0xDB),
        (SERVED_CONFORMANCE, DEDICATED, 0xDC),
    ],
    ids=["glo", "ded", "general-glo", "general-ded"],
)
async def test_each_form_is_understood(
    conformance: initiate.Conformance, dedicated: bytes | None, tag: int
) -> None:
    client = make_client(Authentication.HIGH_GMAC, BOTH, dedicatedKey=dedicated)
    client.proposedConformance |= Conformance.GENERAL_PROTECTION
    value, tags = await run(
        ClientAccess("gmac", EK, AK), client, read_register, conformance=conformance
    )
    assert value == 12345
    assert tag in tags


@pytest.mark.parametrize(
    ("suite", "keys"),
    [(SecuritySuite.SUITE_1, (EK, AK)), (SecuritySuite.SUITE_2, (EK + AK, AK + EK))],
)
async def test_each_suite_is_understood(suite: SecuritySuite, keys: tuple[bytes, bytes]) -> None:
    client = make_client(
        Authentication.HIGH_GMAC,
        BOTH,
        securitySuite=suite,
        blockCipherKey=keys[0],
        authenticationKey=keys[1],
    )
    value, _ = await run(ClientAccess("gmac", *keys, suite=int(suite)), client, read_register)
    assert value == 12345


@pytest.mark.parametrize("size", [10, 2000])
async def test_a_value_is_written_whole_or_in_blocks(size: int) -> None:
    objects = make_objects()
    value = bytes(i & 0xFF for i in range(size))

    def write(peer: Peer) -> None:
        note = GXDLMSData(str(NOTE))
        note.value = value
        note.setDataType(2, DataType.OCTET_STRING)
        peer.exchange(peer.client.write(note, 2))

    await run(
        ClientAccess("gmac", EK, AK),
        make_client(Authentication.HIGH_GMAC, BOTH),
        write,
        objects=objects,
        max_pdu=256,
    )
    assert xdr.decode(objects.attributes[1, NOTE, 2]) == value


@pytest.mark.parametrize("size", [10, 2000])
async def test_a_parameter_arrives_whole_or_in_blocks(size: int) -> None:
    objects = make_objects()
    value = bytes(i & 0xFF for i in range(size))

    def invoke(peer: Peer) -> None:
        relay = GXDLMSDisconnectControl(str(DISCONNECT_CONTROL))
        peer.exchange(peer.client.method(relay, 1, value, DataType.OCTET_STRING))

    await run(
        ClientAccess("gmac", EK, AK),
        make_client(Authentication.HIGH_GMAC, BOTH),
        invoke,
        objects=objects,
        max_pdu=256,
    )
    ((*_, parameter),) = objects.invoked
    assert xdr.decode(parameter or b"") == value
