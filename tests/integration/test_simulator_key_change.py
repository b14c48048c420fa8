"""New keys for simulated meters: transferred under the master key, held from then on, kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headend.domain.errors import AuthenticationFailed, HeadEndError, MeterRefused
from headend.ports import MeterAccess, MeterLink
from headend.ports.meters import CounterStore
from protocols.dlms.conversation import Timeouts
from protocols.dlms.driver import DlmsAdapter
from protocols.dlms.key_transfer import KeyId, transfer_keys
from protocols.dlms.push_ciphering import open_checked, parse_ciphered
from protocols.dlms.security import GcmKey
from protocols.dlms.session import DlmsSession
from protocols.simulator.fleet import FleetSpec, MeterSpec, make_fleet
from protocols.simulator.simulator import Simulator

FLEET = make_fleet(9, 1, 2)
QUICK = Timeouts(connect_s=5.0, answer_s=2.0, release_s=0.5, probe_s=0.5)
NEW_EK, NEW_AK, NEW_MASTER = (bytes([n]) * 16 for n in (0xA1, 0xA2, 0xA3))
OLD, NEW = "unicast", "unicast-2"


class MemoryCounters:
    """`CounterStore` in memory: the counters of every key begin at 0."""

    def __init__(self) -> None:
        self._next: dict[tuple[int, int, str], int] = {}
        self._received: dict[tuple[int, int, str], int] = {}

    async def reserve(self, meter_id: int, client_address: int, key_id: str, count: int) -> int:
        first = self._next.get((meter_id, client_address, key_id), 0)
        self._next[meter_id, client_address, key_id] = first + count
        return first

    async def raise_to(self, meter_id: int, client_address: int, key_id: str, counter: int) -> None:
        key = (meter_id, client_address, key_id)
        self._next[key] = max(self._next.get(key, 0), counter)

    async def check_received(
        self, meter_id: int, client_address: int, key_id: str, counter: int
    ) -> bool:
        key = (meter_id, client_address, key_id)
        grew = counter > self._received.get(key, -1)
        self._received[key] = max(counter, self._received.get(key, -1))
        return grew


class Rig:
    """Simulated meters with a state file, and the adapter."""

    def __init__(self, state: Path, fleet: FleetSpec = FLEET) -> None:
        self._state = state
        self._fleet = fleet
        self._counters: CounterStore = MemoryCounters()
        self.simulator: Simulator
        self.link: MeterLink

    async def start(self) -> None:
        self.simulator = Simulator(self._fleet, state=self._state)
        await self.simulator.start()
        group = self.simulator.concentrators["DC001"]
        adapter = DlmsAdapter(
            self._counters, self.simulator.clock, system_title=b"HES00001", timeouts=QUICK
        )
        self.link = await adapter.open_link(f"dlms+tcp://{group.host}:{group.port}")

    async def stop(self) -> None:
        await self.link.close()
        await self.simulator.stop()

    def session(self, **changes: Any) -> AbstractAsyncContextManager[Any]:
        return self.link.session(replace(access(FLEET.meters[0]), **changes), turn)


def access(meter: MeterSpec) -> MeterAccess:
    return MeterAccess(
        meter_id=1,
        address=meter.address,
        model=meter.model,
        key_id=OLD,
        encryption_key=bytes.fromhex(meter.encryption_key),
        authentication_key=bytes.fromhex(meter.authentication_key),
    )


@asynccontextmanager
async def turn() -> AsyncIterator[None]:
    yield


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path / "meters.journal")
    await rig.start()
    yield rig
    await rig.stop()


async def transfer(session: DlmsSession, keys: dict[KeyId, bytes], master_key: bytes) -> bytes:
    flow = transfer_keys(keys, master_key, session._association.draw_invoke)
    return await session._run(flow)


KEYS = {
    KeyId.GLOBAL_UNICAST_ENCRYPTION: NEW_EK,
    KeyId.AUTHENTICATION: NEW_AK,
    KeyId.MASTER: NEW_MASTER,
}
WITH_NEW = {"key_id": NEW, "encryption_key": NEW_EK, "authentication_key": NEW_AK}
MASTER = bytes.fromhex(FLEET.meters[0].master_key)


async def test_new_keys_hold_after_the_answer_and_over_a_restart(rig: Rig) -> None:
    async with rig.session() as session:
        assert await transfer(session, KEYS, MASTER) == b""
        # The association lived under the old keys: it is over.
        with pytest.raises(HeadEndError):
            await session.read_identity()
    async with rig.session(**WITH_NEW) as session:
        before = await session.read_identity()
    with pytest.raises(AuthenticationFailed):
        async with rig.session():
            pass
    await rig.stop()
    await rig.start()
    async with rig.session(**WITH_NEW) as session:
        assert await session.read_identity() == before
        third = {KeyId.GLOBAL_UNICAST_ENCRYPTION: MASTER}
        with pytest.raises(MeterRefused):
            await transfer(session, third, MASTER)  # the master key was replaced, too
        assert await transfer(session, third, NEW_MASTER) == b""
    async with rig.session(**{**WITH_NEW, "key_id": "third", "encryption_key": MASTER}) as session:
        assert await session.read_identity() == before


async def test_a_wrong_master_key_is_refused_and_changes_nothing(rig: Rig) -> None:
    async with rig.session() as session:
        before = await session.read_identity()
        with pytest.raises(MeterRefused):
            await transfer(session, KEYS, bytes(16))
        with pytest.raises(MeterRefused):
            await transfer(session, {**KEYS, KeyId.AUTHENTICATION: bytes(32)}, MASTER)
        assert await session.read_identity() == before
    await rig.stop()
    await rig.start()
    async with rig.session() as session:
        assert await session.read_identity() == before
    with pytest.raises(AuthenticationFailed):
        async with rig.session(**WITH_NEW):
            pass


async def test_a_meter_without_a_master_key_takes_none(tmp_path: Path) -> None:
    (group,) = FLEET.concentrators
    meters = tuple(replace(meter, master_key="") for meter in group.meters)
    rig = Rig(tmp_path / "state", FleetSpec(9, (replace(group, meters=meters),)))
    await rig.start()
    async with rig.session() as session:
        with pytest.raises(MeterRefused):
            await transfer(session, KEYS, MASTER)
        await session.read_identity()
    await rig.stop()


async def test_pushes_go_under_the_new_key(rig: Rig) -> None:
    (device, _) = rig.simulator.devices.values()
    async with rig.session() as session:
        await transfer(session, KEYS, MASTER)
    sealed = device.seal_push(b"\x0f\x00\x00\x00\x01\x00\x00")
    opened = open_checked(parse_ciphered(sealed), GcmKey(NEW_EK, NEW_AK))
    assert opened == b"\x0f\x00\x00\x00\x01\x00\x00"
