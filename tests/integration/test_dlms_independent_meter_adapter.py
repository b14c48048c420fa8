"""The collector's adapter on the independent meter, over links that carry several sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from independent_house import AK, EK, PROFILE, House, MakeHouse, gmac_clients
from independent_octets import u32
from independent_services import BLOCKS, CONFORMANCE, LISTS, SELECTION, Ways

from headend.domain.errors import CounterRejected
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, LOAD_PROFILE_1
from headend.domain.supply import SupplyAction
from headend.ports import MeterAccess
from protocols.dlms.conversation import Timeouts
from protocols.dlms.driver import DlmsAdapter, DlmsLink
from protocols.dlms.services.probe import no_queue
from protocols.dlms.testing import MemoryCounterStore
from protocols.dlms.testing_site import MIDNIGHT, FixedClock

ACCESS = MeterAccess(
    meter_id=1,
    address=1,
    model="generic",
    client_address=1,
    authentication="gmac",
    encryption_key=EK,
    authentication_key=AK,
)


@pytest.fixture
def make_house() -> Iterator[MakeHouse]:
    houses: list[House] = []

    def make(**options: Any) -> House:
        houses.append(House(clients=gmac_clients(), **options))
        return houses[-1]

    yield make
    for house in houses:
        house.meter.close()


async def open_link(house: House) -> DlmsLink:
    timeouts = Timeouts(connect_s=2.0, answer_s=1.0, release_s=0.2, probe_s=0.5)
    adapter = DlmsAdapter(
        MemoryCounterStore(), FixedClock(), system_title=b"HEADEND1", timeouts=timeouts
    )
    return await adapter.open_link(house.meter.url())


async def ask_all(link: DlmsLink) -> None:
    """Ask in one session everything that the head-end asks."""
    async with link.session(ACCESS, no_queue) as session:
        identity = await session.read_identity()
        assert identity.logical_device_name == "XYZ1234567890123"
        (reading,) = await session.read_registers([ACTIVE_ENERGY_IMPORT])
        assert (reading.value, reading.unit) == (12345, "Wh")
        rows = await session.read_profile(LOAD_PROFILE_1, MIDNIGHT, MIDNIGHT + timedelta(hours=1))
        assert rows.energy_wh.tolist() == [5, 5, 5, 5]
        await session.switch_relay(SupplyAction.DISCONNECT)
        assert (await session.read_relay()).output_state is False


WAYS: dict[str, Callable[[], Ways]] = {
    "usual": Ways,
    "no lists": lambda: Ways(conformance=CONFORMANCE & ~LISTS),
    "lists refused": lambda: Ways(list_error=b"\xc4\x01I\x01\x03"),
    "no selection": lambda: Ways(conformance=CONFORMANCE & ~SELECTION),
    "no blocks": lambda: Ways(conformance=CONFORMANCE & ~BLOCKS),
    "small requests": lambda: Ways(max_pdu=64),
    "odd blocks": lambda: Ways(block_pattern=(30, 1, 57, 200)),
    "an invoke-id of its own": lambda: Ways(invoke=0x81),
    "doubled answers": lambda: Ways(doubled=True),
    "silent release": lambda: Ways(release=None),
}


@pytest.mark.parametrize("ways", WAYS.values(), ids=WAYS.keys())
async def test_two_sessions_on_a_link(make_house: MakeHouse, ways: Callable[[], Ways]) -> None:
    link = await open_link(make_house(ways=ways()))
    await ask_all(link)
    await ask_all(link)
    await link.close()


async def test_a_selection_that_is_refused_reads_everything(make_house: MakeHouse) -> None:
    house = make_house()
    everything = house.meter.objects[7, PROFILE, 2]
    assert callable(everything)
    house.meter.objects[7, PROFILE, 2] = lambda selection: 12 if selection else everything(b"")
    link = await open_link(house)
    await ask_all(link)
    await link.close()


@pytest.mark.parametrize("way", ["close", "aare", "silence", "bare", "value"])
async def test_a_counter_is_recovered_and_the_link_goes_on(make_house: MakeHouse, way: str) -> None:
    house = make_house(
        ways=Ways(counter_error=way, close_after_release=True),
        patch={(1, "0.0.43.1.0.255", 2): u32(9_000)},
    )
    house.meter.clients[1].received = 9_000
    link = await open_link(house)
    await ask_all(link)
    await link.close()


async def test_a_counter_that_cannot_be_learnt_stays_refused(make_house: MakeHouse) -> None:
    house = make_house(ways=Ways(counter_error="bare"))
    house.meter.clients[1].received = 9_000
    link = await open_link(house)
    with pytest.raises(CounterRejected):
        await ask_all(link)
    await link.close()
