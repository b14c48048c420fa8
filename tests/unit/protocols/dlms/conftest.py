"""Two ends of one association in memory, with the keys of the Green Book's examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from headend.domain.obis import ACTIVE_ENERGY_IMPORT, DISCONNECT_CONTROL, LOGICAL_DEVICE_NAME
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.acse import Mechanism
from protocols.dlms.admission import SERVED_CONFORMANCE
from protocols.dlms.association import PROPOSED_CONFORMANCE, ClientAssociation, ClientSettings
from protocols.dlms.hls import MECHANISMS
from protocols.dlms.initiate import Conformance
from protocols.dlms.security import (
    AUTHENTICATED_ENCRYPTED,
    CounterBlock,
    Form,
    GcmKey,
    SecureChannel,
)
from protocols.dlms.server import ClientAccess, ServerSecurity, ServerSession
from protocols.dlms.testing import Loopback, TableObjects

ENCRYPTION_KEY = bytes(range(16))
AUTHENTICATION_KEY = bytes(range(0xD0, 0xE0))
PASSWORD = b"12345678"
CLIENT_TITLE = bytes.fromhex("4D4D4D0000000001")
SERVER_TITLE = bytes.fromhex("4D4D4D0000BC614E")
CHALLENGE = b"K56iVagYK56iVagY"
SERVER_CHALLENGE = b"P6wRJ21FP6wRJ21F"


@dataclass(frozen=True)
class Bench:
    """Builds loopbacks against one server whose counters persist."""

    objects: TableObjects
    security: ServerSecurity

    def loopback(
        self,
        authentication: str = "gmac",
        *,
        client: int | None = None,
        encryption_key: bytes = ENCRYPTION_KEY,
        authentication_key: bytes = AUTHENTICATION_KEY,
        password: bytes = PASSWORD,
        first_counter: int = 0,
        highest_received: int = -1,
        max_pdu: int = 1024,
        client_max_pdu: int = 0xFFFF,
        challenge: bytes = CHALLENGE,
        control: int = AUTHENTICATED_ENCRYPTED,
        form: Form = Form.GLO,
        suite: int = 0,
        ciphered: bool | None = None,
        allow_legacy: bool = True,
        dedicated_key: bytes | None = None,
        conformance: Conformance = PROPOSED_CONFORMANCE,
        served: Conformance = SERVED_CONFORMANCE,
        general_blocks: int = 0,
    ) -> Loopback:
        addresses = {"none": 16, "lls": 2, "gmac": 1, "md5": 3, "sha1": 4, "sha256": 6}
        address = addresses[authentication] if client is None else client
        channel = None
        is_ciphered = authentication == "gmac" if ciphered is None else ciphered
        if is_ciphered or authentication == "gmac":
            channel = SecureChannel(
                GcmKey(encryption_key, authentication_key, suite=suite),
                CounterBlock(first_counter, first_counter + 1000),
                local_title=CLIENT_TITLE,
                highest_received=highest_received,
                control=control,
                form=form,
            )
        mechanism = MECHANISMS[authentication]
        hls = mechanism > Mechanism.LLS
        settings = ClientSettings(
            mechanism=mechanism,
            password=None if authentication in ("none", "gmac") else password,
            challenge=challenge if hls else None,
            system_title=CLIENT_TITLE if hls or channel is not None else None,
            max_pdu=client_max_pdu,
            allow_legacy=allow_legacy,
            ciphered=is_ciphered,
            dedicated_key=dedicated_key,
            conformance=conformance,
        )
        server = ServerSession(
            self.objects,
            self.security,
            client_address=address,
            max_pdu=max_pdu,
            draw_challenge=lambda size: SERVER_CHALLENGE[:size],
            conformance=served,
            general_blocks=general_blocks,
        )
        return Loopback(ClientAssociation(settings, channel), server)


@pytest.fixture
def objects() -> TableObjects:
    return TableObjects(
        attributes={
            (3, ACTIVE_ENERGY_IMPORT, 2): xdr.encode(d.DoubleLongUnsigned(12345)),
            (1, LOGICAL_DEVICE_NAME, 2): xdr.encode(b"SIM0000000000001"),
            (70, DISCONNECT_CONTROL, 2): xdr.encode(True),
        },
        methods={(70, DISCONNECT_CONTROL, 1): None},
    )


@pytest.fixture
def bench(objects: TableObjects) -> Bench:
    security = ServerSecurity(
        SERVER_TITLE,
        {
            1: ClientAccess("gmac", ENCRYPTION_KEY, AUTHENTICATION_KEY),
            2: ClientAccess("lls", password=PASSWORD),
            3: ClientAccess("md5", password=PASSWORD),
            4: ClientAccess("sha1", password=PASSWORD),
            6: ClientAccess("sha256", password=PASSWORD),
            16: ClientAccess("none", readable=frozenset((LOGICAL_DEVICE_NAME,)), may_write=False),
        },
    )
    return Bench(objects, security)


@pytest.fixture
def make_loopback(bench: Bench) -> Callable[..., Loopback]:
    return bench.loopback
