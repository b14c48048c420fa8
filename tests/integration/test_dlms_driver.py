"""The adapter over a real loopback connection: sessions, what they ask, how they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import pytest

from headend.domain.errors import (
    LocalProtocolError,
    MeterBusy,
    Preempted,
)
from headend.domain.obis import (
    ACTIVE_ENERGY_IMPORT,
    DISCONNECT_CONTROL,
    LOAD_PROFILE_1,
)
from headend.domain.reading import MeterIdentity
from headend.domain.supply import ControlState, RelayReading, SupplyAction
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.acse import AARQ, RLRQ
from protocols.dlms.driver import PUBLIC_CLIENT
from protocols.dlms.selection import RangeSelection
from protocols.dlms.session import DlmsSession
from protocols.dlms.testing_site import (
    MIDNIGHT,
    NOW,
    PASSWORD,
    Site,
    make_access,
    serve_site,
)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve_site() as served:
        yield served


LLS: dict[str, object] = {
    "authentication": "lls", "client_address": 2, "password": PASSWORD,
    "encryption_key": None, "authentication_key": None,
}  # fmt: skip
PUBLIC: dict[str, object] = {
    **LLS, "authentication": "none", "client_address": PUBLIC_CLIENT, "password": None,
}  # fmt: skip


@pytest.mark.parametrize("changes", [{}, LLS, PUBLIC], ids=["gmac", "lls", "none"])
async def test_a_session_reads_everything(site: Site, changes: dict[str, object]) -> None:
    async with site.opened(**changes) as session:
        assert await session.read_identity() == MeterIdentity("SIM0000000000001", "00000001")
        assert await session.read_clock() == NOW
        (energy,) = await session.read_registers([ACTIVE_ENERGY_IMPORT])
        assert (energy.value, energy.unit, energy.measured_at) == (123450, "Wh", NOW)
        rows = await session.read_profile(LOAD_PROFILE_1, MIDNIGHT, MIDNIGHT + timedelta(hours=1))
        assert rows.energy_wh.tolist() == [0, 10, 20, 30]
        assert rows.quality.tolist() == [0, 3, 0, 0]
        relay = await session.read_relay()
        assert relay == RelayReading(True, ControlState.CONNECTED, 4, 230)
    assert site.turn.inside == 0
    assert site.turn.taken == len(site.server.requests)
    assert site.tags()[-1] == RLRQ


async def test_the_profile_is_asked_for_by_range(site: Site) -> None:
    async with site.opened() as session:
        await session.read_profile(LOAD_PROFILE_1, MIDNIGHT, MIDNIGHT + timedelta(hours=1))
    asked = [each for each in site.meters[1].selections if each is not None]
    (selection,) = asked
    assert isinstance(selection, RangeSelection)
    assert selection.first.hex() == "07ea030107000f0000fe2000"


async def test_what_does_not_change_is_read_once_per_meter(site: Site) -> None:
    link = await site.open_link()
    counts = []
    for address in (1, 1, 2):
        before = len(site.server.requests)
        async with link.session(make_access(address), site.turn) as session:
            await session.read_registers([ACTIVE_ENERGY_IMPORT])
            await session.read_relay()
            await session.read_profile(LOAD_PROFILE_1, MIDNIGHT, MIDNIGHT + timedelta(hours=1))
        counts.append(len(site.server.requests) - before)
    await link.close()
    assert counts[0] == counts[2] > counts[1]


async def test_the_relay_is_switched_once_and_exactly(site: Site) -> None:
    async with site.opened() as session:
        await session.switch_relay(SupplyAction.DISCONNECT)
        await session.switch_relay(SupplyAction.RECONNECT)
    zero = xdr.encode(d.Integer(0))
    assert site.meters[1].invoked == [
        (70, DISCONNECT_CONTROL, 1, zero),
        (70, DISCONNECT_CONTROL, 2, zero),
    ]


async def test_sessions_with_several_meters_share_one_link(site: Site) -> None:
    link = await site.open_link()

    async def identify(address: int) -> MeterIdentity:
        async with link.session(make_access(address), site.turn) as session:
            for _ in range(3):
                identity = await session.read_identity()
                await asyncio.sleep(0)
            return identity

    found = await asyncio.gather(*(identify(address) for address in (1, 2, 3)))
    assert [each.serial for each in found] == ["00000001", "00000002", "00000003"]
    await link.close()


async def test_one_meter_cannot_hold_two_conversations_on_a_link(site: Site) -> None:
    link = await site.open_link()
    async with link.session(make_access(), site.turn) as session:
        with pytest.raises(LocalProtocolError):
            async with link.session(make_access(), site.turn):
                raise AssertionError("a second conversation began")
        assert await session.read_identity()
    await link.close()


async def test_no_counter_is_used_twice_over_many_sessions(site: Site) -> None:
    link = await site.open_link()
    for _ in range(5):
        async with link.session(make_access(), site.turn) as session:
            await session.read_identity()
    await link.close()
    assert len(site.store.reservations) == 1
    assert site.store.checks == 1
    ciphered = [frame.apdu for frame in site.server.requests if frame.apdu[0] not in (AARQ, RLRQ)]
    counters = [int.from_bytes(apdu[3:7], "big") for apdu in ciphered]
    assert counters == sorted(set(counters))


async def leave_normally(_session: DlmsSession) -> None:
    return None


async def leave_by_error(_session: DlmsSession) -> None:
    raise MeterBusy("the caller has other plans")


@pytest.mark.parametrize("body", [leave_normally, leave_by_error])
async def test_the_association_is_released_whatever_happened(
    site: Site, body: Callable[[DlmsSession], Awaitable[None]]
) -> None:
    link = await site.open_link()
    try:
        async with link.session(make_access(), site.turn) as session:
            await body(session)
    except MeterBusy:
        assert body is leave_by_error
    assert site.tags()[-1] == RLRQ
    await link.close()


async def test_a_cancelled_session_releases_without_waiting(site: Site) -> None:
    link = await site.open_link()
    inside = asyncio.Event()

    async def stay() -> None:
        async with link.session(make_access(), site.turn):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stay())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with link.session(make_access(2), site.turn):
        assert RLRQ in site.tags()
    await link.close()


async def test_a_release_without_answer_ends_the_session_all_the_same(site: Site) -> None:
    site.server.tamper = lambda frame, answer: None if frame.apdu[0] == RLRQ else answer
    async with site.opened() as session:
        await session.read_clock()


async def test_preemption_passes_through_and_releases(site: Site) -> None:
    link = await site.open_link()
    site.turn.preempt_at = 4

    async def read_on() -> None:
        async with link.session(make_access(), site.turn) as session:
            for _ in range(5):
                await session.read_clock()

    with pytest.raises(Preempted):
        await read_on()
    assert site.tags()[-1] == RLRQ
    await link.close()
