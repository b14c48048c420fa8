"""Counters: reserved in blocks, never repeated, and the store is asked seldom."""

from __future__ import annotations

import pytest

from headend.domain.errors import MeterMisbehaved
from headend.ports import MeterAccess
from protocols.dlms import counters
from protocols.dlms.counters import RECORD_EVERY, CounterCache
from protocols.dlms.testing import MemoryCounterStore

ACCESS = MeterAccess(meter_id=7, address=1)


async def take(cache: CounterCache, access: MeterAccess, count: int) -> list[int]:
    drawn = []
    for _ in range(count):
        entry = cache.of(access)
        await cache.refill(access, entry)
        drawn.append(entry.block.take())
    return drawn


async def test_counters_grow_and_a_block_serves_many_exchanges() -> None:
    store = MemoryCounterStore(first=40)
    drawn = await take(CounterCache(store, block_size=100), ACCESS, 250)
    assert drawn == sorted(set(drawn))
    assert drawn[0] == 40
    assert len(store.reservations) == 3


async def test_two_processes_never_draw_the_same() -> None:
    store = MemoryCounterStore()
    first, second = CounterCache(store), CounterCache(store)
    drawn = [await take(cache, ACCESS, 5) for cache in (first, second, first, second)]
    flat = [counter for part in drawn for counter in part]
    assert len(set(flat)) == len(flat)


async def test_meters_clients_and_keys_are_kept_apart() -> None:
    store = MemoryCounterStore()
    cache = CounterCache(store)
    accesses = [
        ACCESS,
        MeterAccess(meter_id=8, address=1),
        MeterAccess(meter_id=7, address=1, client_address=2),
        MeterAccess(meter_id=7, address=1, key_id="broadcast"),
    ]
    assert [await take(cache, access, 1) for access in accesses] == [[0]] * 4


async def test_the_store_is_asked_at_first_and_then_at_times() -> None:
    store = MemoryCounterStore()
    cache = CounterCache(store)
    for received in range(2 * RECORD_EVERY + 1):
        await cache.check_first(ACCESS, cache.of(ACCESS), received)
    assert store.checks == 3
    assert store.received == {(7, 1, "unicast"): 2 * RECORD_EVERY}


async def test_a_counter_from_before_the_restart_is_a_replay() -> None:
    store = MemoryCounterStore(received={(7, 1, "unicast"): 900})
    cache = CounterCache(store)
    for received in (899, 900):
        with pytest.raises(MeterMisbehaved, match="replay"):
            await cache.check_first(ACCESS, cache.of(ACCESS), received)
    await cache.check_first(ACCESS, cache.of(ACCESS), 901)


async def test_a_forgotten_meter_draws_from_a_new_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MAX_ENTRIES", 2)
    cache = CounterCache(MemoryCounterStore(), block_size=10)
    drawn = await take(cache, ACCESS, 1)
    for meter_id in (1, 2):
        await take(cache, MeterAccess(meter_id=meter_id, address=1), 1)
    drawn += await take(cache, ACCESS, 1)
    assert drawn == [0, 10]
