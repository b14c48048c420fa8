"""Simulated meters push to a listener over loopback: TCP and UDP, WRAPPER and HDLC, in blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from headend.domain.errors import ConfigurationError, StorageUnavailable
from headend.domain.events import MeterPushed, PushEvent, PushRefusal, PushRefused
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, DISCONNECT_CONTROL
from headend.ports.pushes import PushKeys
from protocols.dlms.push_listener import PushLimits, PushListener
from protocols.dlms.push_receiver import PushReceiver
from protocols.dlms.wrapper import encode_frame
from protocols.simulator.business_time import US_PER_S
from protocols.simulator.faults import Fault, FaultKind
from protocols.simulator.fleet import make_fleet
from protocols.simulator.profile_buffer import INTERVAL_ENERGY
from protocols.simulator.push import push_body
from protocols.simulator.simulator import Simulator

EVERY_S = 900
WAIT_S = 10.0  # how long a test waits for what must come at once


@dataclass
class _Sink:
    """Keeps events, and gives them out in their order."""

    events: asyncio.Queue[PushEvent] = field(default_factory=asyncio.Queue)
    failing: bool = False

    async def take(self, event: PushEvent) -> None:
        if self.failing:
            raise StorageUnavailable("no database")
        self.events.put_nowait(event)

    async def next(self) -> PushEvent:
        async with asyncio.timeout(WAIT_S):
            return await self.events.get()


class _Site:
    """A listener and simulated meters that may push to it."""

    def __init__(self, limits: PushLimits | None = None) -> None:
        self.simulator = Simulator(make_fleet(3, 1, 3))
        self.sink = _Sink()
        self.titles = {
            device.spec.system_title: PushKeys(
                number,
                bytes.fromhex(device.spec.encryption_key),
                bytes.fromhex(device.spec.authentication_key),
            )
            for number, device in enumerate(self.simulator.devices.values(), start=1)
        }
        receiver = PushReceiver(self, accept_plain=True)
        self.listener = PushListener(receiver, self.sink, limits=limits)

    async def keys_for(self, system_title: bytes) -> PushKeys | None:
        return self.titles.get(system_title)

    def switch_on(self, meter_no: str, target: str, **parameters: object) -> None:
        values = {"fault": "push", "target": target, "every_s": EVERY_S, **parameters}
        self.simulator.set_fault(meter_no, Fault.from_json(values))

    async def reach_next_instant(self) -> int:
        """Let the pushes that are switched on be seen, and time jump to the next due instant."""
        await self.simulator.pusher.push_due()
        clock = self.simulator.clock
        now_us = clock.now_us()
        due_us = (now_us // (EVERY_S * US_PER_S) + 1) * EVERY_S * US_PER_S
        clock.set_offset((clock.offset_us + due_us - now_us) / US_PER_S + 1)
        return due_us


@pytest.fixture
async def site() -> AsyncIterator[_Site]:
    site = _Site()
    yield site
    await site.listener.close()


@pytest.mark.parametrize(
    ("scheme", "parameters"),
    [
        ("tcp", {}),
        ("udp", {}),
        ("hdlc+tcp", {}),
        ("hdlc+udp", {"block_octets": 100}),
        ("tcp", {"block_octets": 100}),
        ("tcp", {"block_octets": 100, "window": 3}),
        ("udp", {"block_octets": 64}),
    ],
)
async def test_push_arrives_whatever_carries_it(
    site: _Site, scheme: str, parameters: dict[str, object]
) -> None:
    listen = site.listener.listen_udp if scheme.endswith("udp") else site.listener.listen_tcp
    port = await listen("127.0.0.1", 0)
    meter_no, device = next(iter(site.simulator.devices.items()))
    site.switch_on(meter_no, f"{scheme}://127.0.0.1:{port}", **parameters)
    due_us = await site.reach_next_instant()
    assert await site.simulator.pusher.push_due() == 1
    event = await site.sink.next()
    assert isinstance(event, MeterPushed)
    assert event.authenticated
    assert event.meter_id == 1
    assert event.system_title == device.spec.system_title
    assert event.measured_at is not None
    assert int(event.measured_at.timestamp()) * US_PER_S == due_us
    values = {(value.obis, value.attribute): value for value in event.values}
    register = values[ACTIVE_ENERGY_IMPORT, 2]
    assert (register.value, register.unit) == (device.meter.register_wh_at(due_us), "Wh")
    end_s = due_us // US_PER_S
    interval = device.meter.rows(end_s - EVERY_S, end_s).energy_wh
    assert values[INTERVAL_ENERGY, 2].value == int(interval.sum())
    assert values[DISCONNECT_CONTROL, 2].value is True
    assert values[DISCONNECT_CONTROL, 3].value == 1
    assert site.sink.events.empty()


async def test_every_meter_pushes_once_per_instant_and_nobody_else(site: _Site) -> None:
    port = await site.listener.listen_tcp("127.0.0.1", 0)
    first, second, _third = site.simulator.devices
    for meter_no in (first, second):
        site.switch_on(meter_no, f"tcp://127.0.0.1:{port}")
    assert await site.simulator.pusher.push_due() == 0
    await site.reach_next_instant()
    assert await site.simulator.pusher.push_due() == 2
    assert await site.simulator.pusher.push_due() == 0
    events = [await site.sink.next() for _ in range(2)]
    assert {event.meter_id for event in events if isinstance(event, MeterPushed)} == {1, 2}
    site.simulator.clear_fault(first, FaultKind.PUSH)
    await site.reach_next_instant()
    assert await site.simulator.pusher.push_due() == 1


async def test_running_simulator_pushes_by_itself(site: _Site) -> None:
    port = await site.listener.listen_udp("127.0.0.1", 0)
    meter_no = next(iter(site.simulator.devices))
    site.switch_on(meter_no, f"udp://127.0.0.1:{port}", form="plain")
    await site.reach_next_instant()
    await site.simulator.start()
    try:
        event = await site.sink.next()
    finally:
        await site.simulator.stop()
    assert isinstance(event, MeterPushed)
    assert not event.authenticated


async def test_silent_meter_and_dead_target(site: _Site) -> None:
    port = await site.listener.listen_tcp("127.0.0.1", 0)
    first, second, _third = site.simulator.devices
    site.switch_on(first, f"tcp://127.0.0.1:{port}")
    site.simulator.set_fault(first, Fault.from_json({"fault": "silent"}))
    await site.reach_next_instant()
    assert await site.simulator.pusher.push_due() == 0
    await site.listener.close()
    site.switch_on(second, f"tcp://127.0.0.1:{port}")
    await site.reach_next_instant()
    assert await site.simulator.pusher.push_due() == 0
    assert site.simulator.pusher.stats.failed == 1


async def test_replay_and_stranger_are_refused(site: _Site) -> None:
    port = await site.listener.listen_tcp("127.0.0.1", 0)
    first, second, _third = site.simulator.devices.values()
    sealed = first.seal_push(b"\x0f\x00\x00\x00\x01\x00" + push_body(first, 0))
    del site.titles[second.spec.system_title]
    stranger = second.seal_push(b"\x0f\x00\x00\x00\x01\x00" + push_body(second, 0))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for apdu in (sealed, sealed, stranger):
        writer.write(encode_frame(1, 1, apdu))
    await writer.drain()
    accepted, *refused = [await site.sink.next() for _ in range(3)]
    assert isinstance(accepted, MeterPushed)
    reasons = [event.reason for event in refused if isinstance(event, PushRefused)]
    assert reasons == [PushRefusal.REPLAYED, PushRefusal.UNKNOWN_SENDER]
    writer.close()
    assert site.listener.stats.accepted == 1
    assert site.listener.stats.refused == 2
    del reader


async def test_lost_stream_closes_the_connection(site: _Site) -> None:
    port = await site.listener.listen_tcp("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    event = await site.sink.next()
    assert isinstance(event, PushRefused)
    assert event.reason is PushRefusal.MALFORMED
    async with asyncio.timeout(WAIT_S):
        assert await reader.read() == b""
    writer.close()


async def test_sink_that_fails_closes_the_connection_without_acknowledging(site: _Site) -> None:
    site.sink.failing = True
    port = await site.listener.listen_tcp("127.0.0.1", 0)
    meter_no = next(iter(site.simulator.devices))
    site.switch_on(meter_no, f"tcp://127.0.0.1:{port}", block_octets=4000, window=1)
    await site.reach_next_instant()
    assert await site.simulator.pusher.push_due() == 0
    assert site.listener.stats.sink_failures == 1
    site.sink.failing = False
    await site.reach_next_instant()
    assert await site.simulator.pusher.push_due() == 1
    assert isinstance(await site.sink.next(), MeterPushed)


async def _is_closed(reader: asyncio.StreamReader) -> bool:
    """Wait until the other side lets go, by an end or a reset."""
    async with asyncio.timeout(WAIT_S):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


async def test_silent_connection_is_closed() -> None:
    site = _Site(PushLimits(idle_timeout_s=0.05))
    port = await site.listener.listen_tcp("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await _is_closed(reader)
    writer.close()
    await site.listener.close()


async def test_one_connection_too_many_is_closed() -> None:
    site = _Site(PushLimits(max_connections=1))
    port = await site.listener.listen_tcp("127.0.0.1", 0)
    device = next(iter(site.simulator.devices.values()))
    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
    other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
    assert await _is_closed(other_reader)
    assert site.listener.stats.refused_connections == 1
    apdu = device.seal_push(b"\x0f\x00\x00\x00\x01\x00" + push_body(device, 0))
    writer.write(encode_frame(1, 1, apdu))
    assert isinstance(await site.sink.next(), MeterPushed)
    for each in (writer, other_writer):
        each.close()
    await site.listener.close()


async def test_port_in_use_is_named(site: _Site) -> None:
    port = await site.listener.listen_tcp("127.0.0.1", 0)
    other = PushListener(PushReceiver(site), site.sink)
    with pytest.raises(ConfigurationError, match=f"TCP 127.0.0.1:{port}"):
        await other.listen_tcp("127.0.0.1", port)
