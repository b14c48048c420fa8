"""The adapter's faults by name: each cause of failure is told apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from headend.domain.errors import (
    AuthenticationFailed,
    BadInput,
    HeadEndError,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
    MeterUnreachable,
)
from headend.domain.obis import (
    ACTIVE_ENERGY_IMPORT,
    DISCONNECT_CONTROL,
)
from headend.domain.supply import SupplyAction
from protocols.dlms.acse import Aare
from protocols.dlms.driver import PUBLIC_CLIENT, DlmsAdapter
from protocols.dlms.errors import AccessResult
from protocols.dlms.testing import MemoryCounterStore
from protocols.dlms.testing_site import (
    FAST,
    PASSWORD,
    FixedClock,
    Site,
    TurnLog,
    make_access,
    serve_site,
)
from protocols.dlms.wrapper import WrapperFrame

LLS: dict[str, object] = {
    "authentication": "lls", "client_address": 2, "password": PASSWORD,
    "encryption_key": None, "authentication_key": None,
}  # fmt: skip


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve_site() as served:
        yield served


async def fault_of(site: Site, **changes: object) -> HeadEndError:
    link = await site.open_link()
    with pytest.raises(HeadEndError) as caught:
        async with link.session(make_access(**changes), site.turn) as session:
            await session.read_identity()
    await link.close()
    return caught.value


@pytest.mark.parametrize(
    "changes",
    [
        {"encryption_key": bytes(16)},
        {"authentication_key": bytes(16)},
        {"client_address": 77},
        {**LLS, "password": b"wrong"},
    ],
    ids=["encryption key", "authentication key", "client", "password"],
)
async def test_wrong_secrets_are_an_authentication_failure(
    site: Site, changes: dict[str, object]
) -> None:
    assert isinstance(await fault_of(site, **changes), AuthenticationFailed)


async def test_a_silent_meter_is_unreachable_and_its_neighbours_are_not(site: Site) -> None:
    site.server.tamper = lambda frame, answer: None if frame.destination == 1 else answer
    fault = await fault_of(site)
    assert isinstance(fault, MeterUnreachable)
    assert not isinstance(fault, MeterBusy)
    link = await site.open_link()
    async with link.session(make_access(2), site.turn) as session:
        assert (await session.read_identity()).serial == "00000002"
    await link.close()


async def test_an_address_without_a_meter_is_unreachable(site: Site) -> None:
    assert isinstance(await fault_of(site, address=9), MeterUnreachable)


async def test_a_meter_that_drops_our_association_in_silence_has_other_keys(site: Site) -> None:
    """It answers its public client, so that silence is an answer to our keys."""
    site.server.tamper = lambda frame, answer: answer if frame.source == PUBLIC_CLIENT else None
    fault = await fault_of(site)
    assert isinstance(fault, AuthenticationFailed)
    assert fault.code == "no-answer-to-association"


async def test_a_meter_that_hangs_up_on_our_association_has_other_keys(site: Site) -> None:
    def hang_up(frame: WrapperFrame, answer: bytes | None) -> bytes | None:
        if frame.source != PUBLIC_CLIENT:
            assert site.server.transport is not None
            site.server.transport.close()
            return None
        return answer

    site.server.tamper = hang_up
    assert isinstance(await fault_of(site), AuthenticationFailed)


async def test_a_slow_meter_is_not_taken_for_one_with_other_keys(site: Site) -> None:
    delayed: list[WrapperFrame] = []

    def delay(frame: WrapperFrame, answer: bytes | None) -> bytes | None:
        if frame.source == PUBLIC_CLIENT:
            for each in delayed:
                site.server.send(each.source, each.destination, each.apdu)
            return answer
        assert answer is not None
        delayed.append(WrapperFrame(frame.destination, frame.source, answer))
        return None

    site.server.tamper = delay
    fault = await fault_of(site)
    assert isinstance(fault, MeterUnreachable)


async def test_a_lost_request_is_sent_again_when_the_meter_proves_to_be_there(site: Site) -> None:
    lost: list[WrapperFrame] = []

    def lose_first(frame: WrapperFrame, answer: bytes | None) -> bytes | None:
        if not lost:
            lost.append(frame)
            return None
        return answer

    site.server.tamper = lose_first
    async with site.opened() as session:
        assert (await session.read_identity()).serial == "00000001"


async def test_a_transient_rejection_is_busy(site: Site) -> None:
    site.server.tamper = lambda _frame, _answer: Aare(3, 2, 1).encode()
    assert isinstance(await fault_of(site), MeterBusy)


async def test_a_temporary_failure_is_busy_and_a_denial_is_final(site: Site) -> None:
    async with site.opened() as session:
        site.meters[1].methods[70, DISCONNECT_CONTROL, 1] = AccessResult.TEMPORARY_FAILURE
        with pytest.raises(MeterBusy):
            await session.switch_relay(SupplyAction.DISCONNECT)
        site.meters[1].methods[70, DISCONNECT_CONTROL, 1] = AccessResult.READ_WRITE_DENIED
        with pytest.raises(MeterRefused) as caught:
            await session.switch_relay(SupplyAction.DISCONNECT)
        assert caught.value.code == "read-write-denied"
        del site.meters[1].attributes[3, ACTIVE_ENERGY_IMPORT, 2]
        with pytest.raises(MeterRefused, match=r"1\.0\.1\.8\.0\.255"):
            await session.read_registers([ACTIVE_ENERGY_IMPORT])


async def test_nobody_there_is_unreachable(site: Site) -> None:
    site.port = 1
    with pytest.raises(MeterUnreachable):
        await site.open_link()


async def test_a_server_that_is_no_meter_misbehaves() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with listener:
        adapter = DlmsAdapter(
            MemoryCounterStore(), FixedClock(), system_title=b"HEADEND1", timeouts=FAST
        )
        port = listener.sockets[0].getsockname()[1]
        link = await adapter.open_link(f"dlms+tcp://127.0.0.1:{port}")
        with pytest.raises((MeterMisbehaved, MeterUnreachable)):
            async with link.session(make_access(), TurnLog()):
                raise AssertionError("associated with no meter")
        assert not link.is_open
        await link.close()


async def test_wrong_use_is_bad_input(site: Site) -> None:
    link = await site.open_link()
    for changes in (
        {"model": "unheard-of"},
        {"encryption_key": None},
        {"authentication": "ecdsa"},
        {"authentication": "lls", "client_address": 2, "password": None},
    ):
        with pytest.raises(BadInput):
            async with link.session(make_access(**changes), site.turn):
                raise AssertionError("associated without means")
    await link.close()
    assert site.server.requests == []
    with pytest.raises(BadInput):
        DlmsAdapter(site.store, FixedClock(), system_title=b"short")


async def test_a_replayed_session_is_refused_after_a_restart(site: Site) -> None:
    site.store.received[1, 1, "unicast"] = 1_000_000
    fault = await fault_of(site)
    assert isinstance(fault, MeterMisbehaved)
    assert "replay" in str(fault)
