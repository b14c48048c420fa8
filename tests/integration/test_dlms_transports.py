"""The head-end's adapter against simulated meters over HDLC, UDP and a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headend.domain import obis as codes
from headend.domain.errors import (
    AuthenticationFailed,
    BadInput,
    HeadEndError,
    MeterBusy,
    MeterUnreachable,
    OutcomeUnknown,
)
from headend.domain.supply import SupplyAction
from headend.ports import MeterAccess
from protocols.dlms.conversation import Timeouts
from protocols.dlms.driver import DlmsAdapter, DlmsLink
from protocols.dlms.hdlc_frame import FrameKind, HdlcFrame
from protocols.dlms.hdlc_splitter import HdlcSplitter
from protocols.dlms.testing import MemoryCounterStore
from protocols.simulator.business_time import US_PER_S, BusinessClock, to_us
from protocols.simulator.faults import Fault
from protocols.simulator.fleet import MeterSpec, make_fleet
from protocols.simulator.simulator import Simulator

NOON = datetime(2025, 3, 10, 4, 0, tzinfo=UTC)
MIDNIGHT = datetime(2025, 3, 8, 16, 0, tzinfo=UTC)
QUICK = Timeouts(connect_s=5.0, answer_s=0.5, release_s=0.3, probe_s=0.4)
HASTY = Timeouts(connect_s=5.0, answer_s=0.15, release_s=0.1, probe_s=0.1)


class Rig:
    """Three meters behind one endpoint of a transport, and the adapter."""

    def __init__(self, transport: Any, timeouts: Timeouts = QUICK) -> None:
        self.us = to_us(NOON)
        fleet = make_fleet(
            2, 1, 3, commissioned_at="2025-03-01T00:00:00+08:00", relay_delay_ms=200,
            transport=transport,
        )  # fmt: skip
        self.meters = fleet.meters
        self.simulator = Simulator(fleet, clock=BusinessClock(real_us=lambda: self.us))
        self.adapter = DlmsAdapter(
            MemoryCounterStore(), self.simulator.clock, system_title=b"HES00001", timeouts=timeouts
        )

    @property
    def group(self) -> Any:
        return self.simulator.concentrators["DC001"]

    def fault(self, number: int, kind: str, **parameters: Any) -> None:
        fault = Fault.from_json({"fault": kind, **parameters})
        self.simulator.set_fault(self.meters[number].meter_no, fault)

    @asynccontextmanager
    async def link(self, query: str = "") -> AsyncIterator[DlmsLink]:
        link = await self.adapter.open_link(self.group.endpoint + query)
        try:
            yield link
        finally:
            await link.close()

    def access(self, number: int = 0, **changes: Any) -> MeterAccess:
        return access_of(self.meters[number], number, **changes)


def access_of(meter: MeterSpec, number: int, **changes: Any) -> MeterAccess:
    values: dict[str, Any] = {
        "meter_id": number + 1,
        "address": meter.address,
        "model": meter.model,
        "encryption_key": bytes.fromhex(meter.encryption_key),
        "authentication_key": bytes.fromhex(meter.authentication_key),
    }
    return MeterAccess(**{**values, **changes})


@asynccontextmanager
async def turn() -> AsyncIterator[None]:
    yield


@asynccontextmanager
async def running(transport: str, timeouts: Timeouts = QUICK) -> AsyncIterator[Rig]:
    rig = Rig(transport, timeouts)
    await rig.simulator.start()
    try:
        yield rig
    finally:
        await rig.simulator.stop()


@pytest.fixture
async def hdlc() -> AsyncIterator[Rig]:
    async with running("hdlc") as rig:
        yield rig


async def read_all(rig: Rig, link: DlmsLink, **changes: Any) -> None:
    """Read identity, register, profile and relay of the first meter, and switch it."""
    meter = rig.simulator.device(rig.meters[0].meter_no).meter
    async with link.session(rig.access(0, **changes), turn) as session:
        identity = await session.read_identity()
        assert identity.serial == rig.meters[0].serial
        (reading,) = await session.read_registers([codes.ACTIVE_ENERGY_IMPORT])
        assert reading.value == meter.register_wh()
        rows = await session.read_profile(
            codes.LOAD_PROFILE_1, MIDNIGHT, MIDNIGHT + timedelta(days=1)
        )
        assert (
            rows.energy_wh.tolist()
            == meter.rows(
                int(MIDNIGHT.timestamp()), int(MIDNIGHT.timestamp()) + 86_400
            ).energy_wh.tolist()
        )
        assert len(rows.energy_wh) == 96
        assert (await session.read_relay()).output_state
        await session.switch_relay(SupplyAction.DISCONNECT)
        rig.us += US_PER_S
        assert not (await session.read_relay()).output_state


@pytest.mark.parametrize(
    ("transport", "query"),
    [
        ("hdlc", ""),
        ("hdlc", "?info=2030&window=7"),
        ("hdlc", "?info=32&window=3"),
        ("udp", ""),
        ("udp", "?gateway=0/2"),
        ("wrapper", "?gateway=7/4&server=1"),
        ("wrapper", ""),
    ],
)
async def test_everything_is_read_and_switched(transport: str, query: str) -> None:
    async with running(transport) as rig, rig.link(query) as link:
        await read_all(rig, link)
        assert link.parallel_exchanges == (1 if transport == "hdlc" else 8)


async def test_a_gateway_is_addressed_by_the_number_of_its_meter() -> None:
    async with running("wrapper") as rig:
        device = rig.meters[0].meter_no.encode().hex()
        async with rig.link(f"?gateway=0:{device}") as link:
            await read_all(rig, link, address=1)


@pytest.mark.parametrize(
    "query", ["", "?meter_address=lower", "?meter_address=lower&address_size=4"]
)
async def test_many_meters_share_a_line_and_are_told_apart(hdlc: Rig, query: str) -> None:
    async with (
        hdlc.link(query) as link,
        link.session(hdlc.access(0), turn) as first,
        link.session(hdlc.access(1), turn) as second,
        link.session(hdlc.access(2), turn) as third,
    ):
        for _ in range(2):
            for number, session in enumerate((first, second, third)):
                assert (await session.read_identity()).serial == hdlc.meters[number].serial
        assert len(hdlc.group.open_sessions()[0]["conversations"]) == 3


async def test_a_session_ends_its_link_layer_connection(hdlc: Rig) -> None:
    async with hdlc.link() as link:
        async with link.session(hdlc.access(), turn) as session:
            await session.read_identity()
        async with link.session(hdlc.access(1), turn) as session:
            await session.read_identity()
            (described,) = hdlc.group.open_sessions()
            assert described["conversations"] == [{"client": 1, "address": 2}]


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("wrong_fcs", {"probability": 0.2}),
        ("lost_frame", {"probability": 0.2}),
        ("lost_frame", {"probability": 0.35}),
        ("link_busy", {"polls": 2}),
        ("small_window", {"frames": 1}),
        ("small_information", {"octets": 16}),
        ("small_pdu", {"octets": 128}),
    ],
)
async def test_a_bad_line_costs_time_only(kind: str, parameters: dict[str, float]) -> None:
    async with running("hdlc") as rig:
        rig.fault(0, kind, **parameters)
        async with rig.link("?window=3&info=128&frame_timeout=0.05") as link:
            await read_all(rig, link)


async def fault_of(rig: Rig, **changes: Any) -> HeadEndError:
    async with rig.link() as link:
        with pytest.raises(HeadEndError) as caught:
            async with link.session(rig.access(0, **changes), turn) as session:
                await session.read_identity()
        # The line is free for the next meter, whatever became of the first.
        async with link.session(rig.access(1), turn) as session:
            assert (await session.read_identity()).serial == rig.meters[1].serial
    return caught.value


async def test_each_cause_of_failure_has_its_own_words() -> None:
    async with running("hdlc", HASTY) as rig:
        rig.fault(0, "silent")
        fault = await fault_of(rig)
        assert isinstance(fault, MeterUnreachable)
        assert "did not answer" in str(fault)
        rig.simulator.clear_fault(rig.meters[0].meter_no, None)
        rig.fault(0, "link_busy")
        fault = await fault_of(rig)
        assert isinstance(fault, MeterBusy)
        assert "not ready" in str(fault)
        rig.simulator.clear_fault(rig.meters[0].meter_no, None)
        assert isinstance(await fault_of(rig, address=99), MeterUnreachable)
        assert isinstance(await fault_of(rig, encryption_key=bytes(16)), AuthenticationFailed)
        assert isinstance(await fault_of(rig, address=200), BadInput)
        assert isinstance(await fault_of(rig, client_address=200), BadInput)


async def test_an_unanswered_command_is_of_unknown_outcome_and_never_sent_again() -> None:
    async with running("hdlc", HASTY) as rig, rig.link() as link:
        contact = rig.simulator.device(rig.meters[0].meter_no).contact
        rig.fault(0, "action_unanswered")
        async with link.session(rig.access(), turn) as session:
            with pytest.raises(OutcomeUnknown):
                await session.switch_relay(SupplyAction.DISCONNECT)
        rig.simulator.clear_fault(rig.meters[0].meter_no, None)
        rig.us += US_PER_S
        async with link.session(rig.access(), turn) as session:
            assert not (await session.read_relay()).output_state
        assert len(contact.movements) == 1


async def test_a_command_that_the_line_swallowed_is_of_unknown_outcome() -> None:
    async with running("hdlc", HASTY) as rig, rig.link() as link:
        async with link.session(rig.access(), turn) as session:
            await session.read_relay()
            rig.fault(0, "silent")
            with pytest.raises(OutcomeUnknown):
                await session.switch_relay(SupplyAction.DISCONNECT)
            with pytest.raises(MeterUnreachable, match="nothing was sent"):
                await session.read_relay()
        assert link.is_open


async def test_a_slow_meter_is_polled_until_it_answers() -> None:
    async with running("hdlc") as rig, rig.link("?frame_timeout=0.05") as link:
        rig.fault(0, "slow", delay_ms=120)
        async with link.session(rig.access(), turn) as session:
            assert (await session.read_identity()).serial == rig.meters[0].serial


async def test_a_meter_that_refuses_the_link_layer_is_busy(hdlc: Rig) -> None:
    """It may serve another client; its public client is not asked, for nothing of ours left."""
    refused: list[HdlcFrame] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = HdlcSplitter()
        while octets := await reader.read(4096):
            for frame in splitter.feed(octets):
                refused.append(frame)
                answer = HdlcFrame(FrameKind.DISCONNECTED, frame.source, frame.destination)
                writer.write(answer.encode())
        writer.close()

    listener = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    link = await hdlc.adapter.open_link(f"dlms+hdlc+tcp://127.0.0.1:{port}")
    with pytest.raises(MeterBusy, match="refuses client 1"):
        async with link.session(hdlc.access(), turn):
            raise AssertionError("associated with a meter that refuses")
    assert link.is_open
    await link.close()
    listener.close()
    assert [frame.kind for frame in refused] == [FrameKind.SET_NORMAL_MODE]


async def test_a_drop_in_the_middle_of_an_answer_ends_the_link(hdlc: Rig) -> None:
    hdlc.fault(0, "drop", after_answers=2)
    async with hdlc.link() as link:
        with pytest.raises(MeterUnreachable):
            async with link.session(hdlc.access(), turn) as session:
                await session.read_identity()
        assert not link.is_open


async def test_nobody_at_a_udp_port_is_unreachable() -> None:
    async with running("udp") as rig:
        endpoint = rig.group.endpoint
        access = rig.access()
    link = await rig.adapter.open_link(endpoint)
    with pytest.raises(MeterUnreachable):
        async with link.session(access, turn):
            raise AssertionError("associated with nobody")
    await link.close()
