"""The adapter with meters that offer less, or other things, than most."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from headend.domain.errors import BadInput, MeterUnreachable
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, LOAD_PROFILE_1
from headend.domain.supply import SupplyAction
from protocols.dlms import gbt
from protocols.dlms.admission import SERVED_CONFORMANCE, ClientAccess
from protocols.dlms.driver import DlmsAdapter
from protocols.dlms.initiate import Conformance
from protocols.dlms.security import AUTHENTICATED, AUTHENTICATED_ENCRYPTED, ENCRYPTED
from protocols.dlms.server import ServerSession
from protocols.dlms.session import DlmsSession
from protocols.dlms.testing_site import (
    AK,
    EK,
    FAST,
    MIDNIGHT,
    PASSWORD,
    FixedClock,
    Site,
    make_access,
    serve_site,
)
from protocols.dlms.wrapper import WrapperFrame

ALL_BLOCKS = (
    Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.BLOCK_TRANSFER_WITH_SET
    | Conformance.BLOCK_TRANSFER_WITH_ACTION
)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve_site() as served:
        yield served


def offer(
    site: Site,
    conformance: Conformance = SERVED_CONFORMANCE,
    *,
    general_blocks: int = 0,
    max_pdu: int = 256,
    access: ClientAccess | None = None,
) -> None:
    """Let meter 1 offer this from now on."""
    if access is not None:
        clients = site.security[1].clients
        assert isinstance(clients, dict)
        clients[1] = access

    def make_session(address: int, client: int) -> ServerSession:
        return ServerSession(
            site.meters[address],
            site.security[address],
            client_address=client,
            max_pdu=max_pdu,
            conformance=conformance,
            general_blocks=general_blocks,
        )

    site.server.make_session = make_session


async def read_all(session: DlmsSession) -> None:
    """Ask everything the head-end asks."""
    assert (await session.read_identity()).serial == "00000001"
    (reading,) = await session.read_registers([ACTIVE_ENERGY_IMPORT])
    assert reading.value == 123_450
    rows = await session.read_profile(LOAD_PROFILE_1, MIDNIGHT, MIDNIGHT + timedelta(hours=1))
    assert rows.energy_wh.tolist() == [0, 10, 20, 30]
    assert (await session.read_relay()).control_mode == 4
    await session.switch_relay(SupplyAction.DISCONNECT)


@pytest.mark.parametrize(
    "lacking",
    [
        Conformance.MULTIPLE_REFERENCES,
        Conformance.SELECTIVE_ACCESS,
        Conformance.PRIORITY_MANAGEMENT,
        Conformance.BLOCK_TRANSFER_WITH_GET,
        Conformance.MULTIPLE_REFERENCES | Conformance.SELECTIVE_ACCESS | ALL_BLOCKS,
    ],
)
async def test_a_meter_that_lacks_something_is_read_without(
    lacking: Conformance, site: Site
) -> None:
    offer(site, SERVED_CONFORMANCE & ~lacking)
    async with site.opened() as session:
        assert not session.negotiated.conformance & lacking
        await read_all(session)


@pytest.mark.parametrize("max_pdu", [100, 128])
async def test_a_meter_that_takes_short_requests_gets_short_ones(max_pdu: int, site: Site) -> None:
    offer(site, max_pdu=max_pdu)
    async with site.opened() as session:
        await read_all(session)
    lengths = [len(frame.apdu) for frame in site.server.requests if frame.apdu[0] != 0x60]
    assert max(lengths) <= max_pdu


@pytest.mark.parametrize("window", [1, 3, 20])
async def test_general_blocks_are_proposed_to_a_meter_without_others(
    window: int, site: Site
) -> None:
    offer(site, SERVED_CONFORMANCE & ~ALL_BLOCKS, general_blocks=window, max_pdu=90)
    for _ in range(2):
        async with site.opened() as session:
            assert session.negotiated.conformance & Conformance.GENERAL_BLOCK_TRANSFER
            await read_all(session)
    tags = site.tags()
    assert gbt.TAG in tags
    assert tags.count(0x60) == 3  # learnt in the first session, known in the second


async def test_a_lost_block_is_asked_for_again(site: Site) -> None:
    offer(site, SERVED_CONFORMANCE & ~ALL_BLOCKS, general_blocks=3, max_pdu=90)
    blocks: list[bytes] = []

    def lose_some(_frame: WrapperFrame, answer: bytes | None) -> bytes | None:
        if answer is None or answer[0] != gbt.TAG:
            return answer
        blocks.append(answer)
        return None if len(blocks) == 2 else answer

    site.server.tamper = lose_some
    async with site.opened() as session:
        await read_all(session)
    assert len(blocks) > 2
    assert len(site.meters[1].invoked) == 1


async def test_a_meter_that_falls_silent_among_blocks_is_unreachable(site: Site) -> None:
    offer(site, SERVED_CONFORMANCE & ~ALL_BLOCKS, general_blocks=3, max_pdu=90)
    async with site.opened() as session:
        await session.read_identity()
        blocks: list[bytes] = []

        def fall_silent(_frame: WrapperFrame, answer: bytes | None) -> bytes | None:
            blocks.append(answer or b"")
            return None if len(blocks) > 1 else answer

        site.server.tamper = fall_silent
        with pytest.raises(MeterUnreachable):
            await session.read_profile(LOAD_PROFILE_1, MIDNIGHT, MIDNIGHT + timedelta(hours=1))


@pytest.mark.parametrize("protection", ["authentication", "encryption", "both"])
@pytest.mark.parametrize("ciphering", ["glo", "ded", "general-glo", "general-ded"])
async def test_every_protection_and_form_is_spoken(
    protection: str, ciphering: str, site: Site
) -> None:
    control = {
        "authentication": AUTHENTICATED,
        "encryption": ENCRYPTED,
        "both": AUTHENTICATED_ENCRYPTED,
    }[protection]
    offer(site, access=ClientAccess("gmac", EK, AK, control=control))
    async with site.opened(protection=protection, ciphering=ciphering) as session:
        await read_all(session)


@pytest.mark.parametrize("suite", [1, 2])
async def test_every_suite_is_spoken(suite: int, site: Site) -> None:
    keys = (EK, AK) if suite == 1 else (EK + AK, AK + EK)
    offer(site, access=ClientAccess("gmac", *keys, suite=suite))
    async with site.opened(
        encryption_key=keys[0], authentication_key=keys[1], security_suite=suite
    ) as session:
        await read_all(session)


@pytest.mark.parametrize("name", ["sha256", "md5", "sha1"])
@pytest.mark.parametrize("keyed", [False, True])
async def test_digests_prove_where_they_are_allowed(name: str, keyed: bool, site: Site) -> None:
    keys = (EK, AK) if keyed else (None, None)
    offer(site, access=ClientAccess(name, *keys, password=PASSWORD))  # type: ignore[arg-type]
    secrets = {
        "authentication": name,
        "password": PASSWORD,
        "encryption_key": keys[0],
        "authentication_key": keys[1],
    }
    if name != "sha256":
        with pytest.raises(BadInput, match="legacy"):
            async with site.opened(**secrets):
                raise AssertionError("associated with a broken digest")
        assert site.server.requests == []
    site.adapter = DlmsAdapter(
        site.store, FixedClock(), system_title=b"HEADEND1", timeouts=FAST, allow_legacy=True
    )
    async with site.opened(**secrets) as session:
        await read_all(session)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"protection": "much"}, "protection"),
        ({"ciphering": "general"}, "ciphering"),
        ({"security_suite": 2}, "encryption_key"),
        ({"security_suite": 7}, "encryption_key"),
        ({"authentication_key": bytes(32)}, "authentication_key"),
        ({"authentication": "sha256"}, "password"),
    ],
)
async def test_an_access_that_cannot_work_is_refused_before_anything_is_sent(
    changes: dict[str, object], field: str, site: Site
) -> None:
    link = await site.open_link()
    with pytest.raises(BadInput) as caught:
        async with link.session(make_access(**changes), site.turn):
            raise AssertionError("associated")
    assert caught.value.field == field
    await link.close()
    assert site.server.requests == []
