"""Importing a registry, and what can be asked of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headend.domain.errors import ConfigurationError, NotFound
from headend.ports.registry import NewAccount, NewInstallation, NewMeter, StoredRows
from headend.services.meter_keys import RegistryMeterKeys, unlock
from headend.services.registry_import import (
    ImportRefused,
    NewMeterKey,
    RegistryBundle,
    RegistryImport,
)
from headend.store.counters import PostgresCounterStore
from headend.store.keys import KeyVault

LATER = datetime(2026, 3, 1, tzinfo=UTC)


def a_meter(meter_no: str = "M900", **changes: Any) -> NewMeter:
    meter = NewMeter(meter_no, "fake+tcp://one", 77, "generic", "LDN900", "900", "C0")
    return replace(meter, **changes)


async def put(fleet: Any, *, partial: bool = False, **sections: Any) -> dict[str, StoredRows]:
    importer = RegistryImport(fleet.store, fleet.vault)
    return await importer.put(RegistryBundle(**sections), partial=partial)


async def test_the_registry_knows_how_each_meter_is_reached_and_whom_it_serves(fleet: Any) -> None:
    async with fleet.store.transaction() as uow:
        meters = await uow.registry.concentrator_meters(fleet.concentrator_ids[1], LATER)
        (points,) = [[meter.usage_point_id for meter in meters]]
    assert [meter.access.meter_no for meter in meters] == [f"M{n:03d}" for n in range(6, 12)]
    first = meters[0]
    assert (first.access.link_address, first.access.identity.serial) == (1, "00000006")
    assert (first.multiplier, first.time_zone, first.served_to) == (1, "Asia/Shanghai", None)
    assert first.account_id is not None
    assert len(set(points)) == 6
    assert unlock(first.access, fleet.vault).encryption_key == bytes([7]) * 16


async def test_keys_are_wrapped_at_rest_and_never_shown(fleet: Any) -> None:
    rows = await fleet.rows("select wrapped_key, kek_id from meter_key")
    assert {row["kek_id"] for row in rows} == {fleet.vault.fingerprint}
    assert all(bytes([n + 1]) * 16 not in bytes(rows[n]["wrapped_key"]) for n in range(12))
    access = await RegistryMeterKeys(fleet.store, fleet.vault).access_for(fleet.meter_id(0))
    assert access.encryption_key == bytes([1]) * 16
    assert "\\x01\\x01" not in repr(access)
    assert "hunter2" not in repr(NewMeterKey("M1", "password", b"hunter2"))


async def test_a_key_of_another_vault_says_so(fleet: Any) -> None:
    with pytest.raises(ConfigurationError, match="another key-encryption key"):
        await RegistryMeterKeys(fleet.store, KeyVault(bytes(32))).access_for(fleet.meter_id(0))
    with pytest.raises(NotFound):
        await RegistryMeterKeys(fleet.store, fleet.vault).access_for(404)


async def test_importing_the_same_again_changes_nothing(fleet: Any) -> None:
    meter = a_meter()
    assert await put(fleet, meters=[meter]) == {"meters": StoredRows(1, 0)}
    assert await put(fleet, meters=[meter]) == {"meters": StoredRows(0, 1)}


async def test_every_row_that_cannot_be_stored_is_named_and_nothing_is_stored(fleet: Any) -> None:
    rows = [
        a_meter("M900", link_address=70),
        a_meter("M901", concentrator_no="C99", link_address=71),
        a_meter("M902", endpoint="fake+tcp://two", link_address=72),
        a_meter("M903", authentication="magic"),
        a_meter("M904", link_address=1),
        a_meter(" ", link_address=73),
    ]
    with pytest.raises(ImportRefused) as refused:
        await put(fleet, meters=rows)
    assert [(one.row, one.field) for one in refused.value.problems["meters"]] == [
        (1, "concentrator_no"),
        (2, "endpoint"),
        (3, "authentication"),
        (4, "link_address"),
        (5, "meter_no"),
    ]
    assert "meters row 2: concentrator_no: 'C99' is not known (and 4 more)" in str(refused.value)
    assert await fleet.rows("select 1 from meter where meter_no like 'M9%%'") == []


async def test_with_partial_the_good_rows_are_stored(fleet: Any) -> None:
    rows = [a_meter("M901", concentrator_no="C99"), a_meter("M902")]
    outcome = await put(fleet, partial=True, meters=rows)
    assert (outcome["meters"].inserted, len(outcome["meters"].problems)) == (1, 1)
    assert await fleet.rows("select meter_no from meter where meter_no like 'M9%%'") == [
        {"meter_no": "M902"}
    ]


async def test_a_usage_point_with_a_standing_meter_takes_no_second_one(fleet: Any) -> None:
    installation = NewInstallation("M900", "U000", LATER)
    with pytest.raises(ImportRefused, match="is taken by another row"):
        await put(fleet, meters=[a_meter()], installations=[installation])


async def test_an_unknown_tariff_is_named(fleet: Any) -> None:
    with pytest.raises(ImportRefused, match="'NIGHT' is not known") as refused:
        await put(fleet, accounts=[NewAccount("A9", "name", "NIGHT", LATER)])
    assert refused.value.field == "tariff_code"


async def test_a_wrong_key_is_refused_without_being_shown(fleet: Any) -> None:
    with pytest.raises(ImportRefused) as refused:
        await put(fleet, meter_keys=[NewMeterKey("M000", "encryption", b"hunter2")])
    assert "7 octets" in str(refused.value)
    assert "hunter2" not in str(refused.value)


async def test_a_key_imported_again_replaces_the_one_before(fleet: Any) -> None:
    await put(fleet, meter_keys=[NewMeterKey("M000", "encryption", bytes(16))])
    access = await RegistryMeterKeys(fleet.store, fleet.vault).access_for(fleet.meter_id(0))
    assert access.encryption_key == bytes(16)


async def test_a_meter_that_was_moved_is_listed_for_each_place_it_served(fleet: Any) -> None:
    moved_at = LATER + timedelta(hours=5)
    await fleet.rows(
        "update meter_installation set valid_to = %s where meter_id = any(%s) returning 1",
        moved_at,
        [fleet.meter_id(0), fleet.meter_id(1)],
    )
    await put(
        fleet,
        installations=[
            NewInstallation("M000", "U001", moved_at),
            NewInstallation("M001", "U000", moved_at),
        ],
    )
    async with fleet.store.transaction() as uow:
        meters = await uow.registry.concentrator_meters(fleet.concentrator_ids[0], LATER)
        before = await uow.registry.installed_meter(fleet.meter_id(0), moved_at - timedelta(1))
        after = await uow.registry.installed_meter(fleet.meter_id(0), moved_at)
    listed = [meter for meter in meters if meter.access.meter_no == "M000"]
    assert [meter.served_to for meter in listed] == [moved_at, None]
    assert before is not None
    assert after is not None
    assert before.usage_point_id != after.usage_point_id


async def test_counters_are_reserved_once_whoever_asks(fleet: Any) -> None:
    counters = PostgresCounterStore(fleet.pool)
    assert await counters.reserve(1, 1, "unicast", 100) == 1
    assert await counters.reserve(1, 1, "unicast", 10) == 101
    assert await counters.reserve(1, 1, "unicast", 10) == 111
    assert await counters.reserve(1, 2, "unicast", 10) == 1
    with pytest.raises(ConfigurationError, match="replace the key"):
        await counters.reserve(1, 1, "unicast", 2**32)
    assert await counters.reserve(1, 1, "unicast", 1) == 121


async def test_counters_are_raised_and_never_lowered(fleet: Any) -> None:
    counters = PostgresCounterStore(fleet.pool)
    await counters.raise_to(1, 1, "unicast", 5000)
    assert await counters.reserve(1, 1, "unicast", 10) == 5000
    await counters.raise_to(1, 1, "unicast", 4000)
    assert await counters.reserve(1, 1, "unicast", 10) == 5010
    await counters.raise_to(1, 1, "unicast", 5021)
    assert await counters.reserve(1, 1, "unicast", 1) == 5021
    assert await counters.reserve(1, 2, "unicast", 1) == 1
    with pytest.raises(ConfigurationError, match="replace the key"):
        await counters.raise_to(1, 1, "unicast", 2**32 + 1)
    assert await counters.reserve(1, 1, "unicast", 1) == 5022


async def test_received_counters_must_grow(fleet: Any) -> None:
    counters = PostgresCounterStore(fleet.pool)
    received = [5, 5, 4, 6, 100, 99]
    grew = [await counters.check_received(1, 1, "unicast", counter) for counter in received]
    assert grew == [True, False, False, True, True, False]
    assert await counters.reserve(1, 1, "unicast", 1) == 1
