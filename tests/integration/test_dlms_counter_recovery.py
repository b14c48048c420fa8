"""Invocation counters that a meter refuses: recovered through its public client, told, bounded."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from headend.domain.errors import (
    AuthenticationFailed,
    CounterRejected,
    HeadEndError,
    MeterMisbehaved,
    StorageUnavailable,
)
from headend.domain.obis import Obis
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.acse import Aare
from protocols.dlms.counter_recovery import CounterRaise
from protocols.dlms.counters import BLOCK_SIZE
from protocols.dlms.driver import PUBLIC_CLIENT, DlmsAdapter
from protocols.dlms.responses import ExceptionResponse
from protocols.dlms.testing_site import FAST, FixedClock, Site, make_access, serve_site
from protocols.dlms.wrapper import WrapperFrame

FRAME_COUNTER = (1, Obis.parse("0.0.43.1.0.255"), 2)
SECOND_FRAME_COUNTER = (1, Obis.parse("0.0.43.1.1.255"), 2)
AHEAD = 5000


class Witness:
    """Keeps what the audit is told."""

    def __init__(self) -> None:
        self.told: list[CounterRaise] = []
        self.broken = False

    async def __call__(self, event: CounterRaise) -> None:
        if self.broken:
            raise StorageUnavailable("the audit cannot be written")
        self.told.append(event)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve_site() as served:
        yield served


@pytest.fixture
def witness(site: Site) -> Witness:
    witness = Witness()
    site.adapter = DlmsAdapter(
        site.store, FixedClock(), system_title=b"HEADEND1", timeouts=FAST, on_raise=witness
    )
    return witness


def put_ahead(site: Site, counter: int = AHEAD, *, told: int | None = AHEAD) -> None:
    """Let meter 1 have seen a counter, and tell one to its public client."""
    site.security[1].counters.received[1] = counter
    if told is not None:
        site.meters[1].attributes[FRAME_COUNTER] = xdr.encode(d.DoubleLongUnsigned(told))


async def serial_of(site: Site) -> str:
    async with site.opened() as session:
        return (await session.read_identity()).serial


async def fault_of(site: Site) -> HeadEndError:
    with pytest.raises(HeadEndError) as caught:
        await serial_of(site)
    return caught.value


def refuse_in_silence(site: Site) -> None:
    """Make meter 1 ignore what it refuses, as many do."""

    def tamper(frame: WrapperFrame, answer: bytes | None) -> bytes | None:
        refused = answer is not None and answer[:1] == b"\xd8"
        return None if refused and frame.source != PUBLIC_CLIENT else answer

    site.server.tamper = tamper


def refuse_by_rejection(site: Site) -> None:
    def tamper(_frame: WrapperFrame, answer: bytes | None) -> bytes | None:
        return Aare(3, 1, 13).encode() if answer is not None and answer[:1] == b"\xd8" else answer

    site.server.tamper = tamper


def refuse_by_hanging_up(site: Site) -> None:
    def tamper(frame: WrapperFrame, answer: bytes | None) -> bytes | None:
        if answer is not None and answer[:1] == b"\xd8" and frame.source != PUBLIC_CLIENT:
            assert site.server.transport is not None
            site.server.transport.close()
            return None
        return answer

    site.server.tamper = tamper


async def test_an_exception_response_is_recovered_and_told(site: Site, witness: Witness) -> None:
    put_ahead(site)
    assert await serial_of(site) == "00000001"
    (event,) = witness.told
    assert (event.meter_id, event.client_address, event.key_id) == (1, 1, "unicast")
    assert (event.after, event.cause) == (AHEAD + 1, "invocation-counter-error")
    assert event.before < event.after
    assert site.store.raised == [(1, 1, "unicast", AHEAD + 1)]
    first = [frame.apdu[:1] for frame in site.server.requests if frame.source == PUBLIC_CLIENT]
    assert first[0] == b"\x60"
    assert first[-1] == b"\x62"  # the public association is released


async def test_the_meter_is_believed_where_its_public_client_tells_nothing(
    site: Site, witness: Witness
) -> None:
    put_ahead(site, told=None)
    assert await serial_of(site) == "00000001"
    assert site.store.raised == [(1, 1, "unicast", AHEAD + 1)]


async def test_a_rejected_association_is_recovered(site: Site, witness: Witness) -> None:
    put_ahead(site)
    refuse_by_rejection(site)
    assert await serial_of(site) == "00000001"
    assert [event.cause for event in witness.told] == ["authentication-failure"]


async def test_a_silent_refusal_is_recovered(site: Site, witness: Witness) -> None:
    put_ahead(site)
    refuse_in_silence(site)
    assert await serial_of(site) == "00000001"
    assert [event.cause for event in witness.told] == ["silence"]


async def test_behind_a_closed_connection_the_counter_is_raised_over_another_one(
    site: Site, witness: Witness
) -> None:
    put_ahead(site)
    refuse_by_hanging_up(site)
    assert await serial_of(site) == "00000001"
    assert site.store.raised == [(1, 1, "unicast", AHEAD + 1)]
    assert [event.cause for event in witness.told] == ["silence"]


async def test_the_second_place_for_the_counter_is_looked_at(site: Site, witness: Witness) -> None:
    put_ahead(site, told=None)
    site.meters[1].attributes[SECOND_FRAME_COUNTER] = xdr.encode(d.DoubleLongUnsigned(AHEAD))
    refuse_in_silence(site)
    assert await serial_of(site) == "00000001"


async def test_a_wrong_key_is_not_taken_for_a_counter(site: Site, witness: Witness) -> None:
    put_ahead(site, -1, told=0)
    refuse_by_rejection(site)
    link = await site.open_link()
    wrong = make_access(encryption_key=bytes(16))
    with pytest.raises(AuthenticationFailed):
        async with link.session(wrong, site.turn):
            raise AssertionError("associated with another key")
    await link.close()
    assert witness.told == site.store.raised == []


async def test_a_meter_gets_one_raise_at_a_time(site: Site, witness: Witness) -> None:
    put_ahead(site)
    assert await serial_of(site) == "00000001"
    put_ahead(site, 900_000, told=900_000)
    fault = await fault_of(site)
    assert isinstance(fault, CounterRejected)
    assert fault.code == "invocation-counter-error"
    assert len(witness.told) == 1


async def test_a_counter_that_would_use_up_the_key_is_refused(site: Site, witness: Witness) -> None:
    put_ahead(site, 0xFFFF_FFF0, told=0xFFFF_FFF0)
    fault = await fault_of(site)
    assert isinstance(fault, CounterRejected)
    assert "replace the key" in str(fault)
    assert witness.told == site.store.raised == []


async def test_nothing_is_raised_that_the_audit_does_not_know(site: Site, witness: Witness) -> None:
    put_ahead(site)
    witness.broken = True
    assert isinstance(await fault_of(site), StorageUnavailable)
    assert site.store.raised == []


async def test_a_meter_that_goes_on_refusing_is_refused_with_its_reason(
    site: Site, witness: Witness
) -> None:
    put_ahead(site)
    refusal = ExceptionResponse(1, 6).encode()

    def refuse(frame: WrapperFrame, answer: bytes | None) -> bytes | None:
        return answer if frame.source == PUBLIC_CLIENT else refusal

    site.server.tamper = refuse
    fault = await fault_of(site)
    assert isinstance(fault, CounterRejected)
    tries = [frame for frame in site.server.requests if frame.source == 1]
    assert len([frame for frame in tries if frame.apdu[0] == 0x60]) == 2


async def test_counters_never_fall(site: Site, witness: Witness) -> None:
    """A meter that forgot its counter (it was exchanged, say) changes nothing of ours."""
    assert await serial_of(site) == "00000001"
    used = site.security[1].counters.received[1]
    put_ahead(site, -1, told=0)
    assert await serial_of(site) == "00000001"
    assert site.security[1].counters.received[1] > used
    assert witness.told == []


async def test_a_meter_whose_own_counter_fell_is_told_apart_from_a_wrong_key(site: Site) -> None:
    site.security[1].counters.next_counter = 700
    assert await serial_of(site) == "00000001"
    site.security[1].counters.next_counter = 3
    fault = await fault_of(site)
    assert isinstance(fault, MeterMisbehaved)
    assert "counters were reset" in str(fault)


async def test_what_is_left_of_a_block_is_used_above_the_meters_counter(
    site: Site, witness: Witness
) -> None:
    put_ahead(site, 100, told=100)
    assert await serial_of(site) == "00000001"
    assert 100 < site.security[1].counters.received[1] < BLOCK_SIZE
    assert len(site.store.reservations) == 1
