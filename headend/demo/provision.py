"""Puts the demo's town into the database, once; later starts find it there.

Everything goes through the services and repositories that a utility's own data would use; opening
balances are counter payments like any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from importlib import resources

from headend.bootstrap import Services
from headend.demo.town import Household, Part
from headend.domain.days import DEFAULT_ZONE, local_day
from headend.domain.errors import InvariantViolated
from headend.ports.registry import (
    NewAccount,
    NewArea,
    NewConcentrator,
    NewInstallation,
    NewMeter,
    NewOccupancy,
    NewTransformerArea,
    NewUsagePoint,
    StoredRows,
    WrappedKey,
)
from headend.ports.unit_of_work import UnitOfWork
from headend.services.holds import HoldRequest
from headend.services.payments import PaymentRequest
from headend.services.tariffs import Tariffs
from rules.reasons import HoldKind

AREA = "330106"
DEMO_ACTOR = "demo"
# The households have lived there, signed and agreed for this long when the demo begins.
HISTORY = timedelta(days=400)


async def provision(
    services: Services, households: Sequence[Household], endpoints: Mapping[str, str]
) -> None:
    """Store places, meters, keys, customers, opening balances and holds. Safe to repeat.

    ``endpoints`` gives the URL of each concentrator by name.
    """
    async with services.store.transaction() as uow:
        for name, endpoint in endpoints.items():
            await uow.links.move_concentrator(name, endpoint)
        is_there = await uow.accounts.find(households[-1].account_no) is not None
    if not is_there:
        await _store_town(services, households, endpoints)
    for household in households:
        await services.payments.post(
            PaymentRequest(
                channel_code="counter",
                channel_reference=f"opening-{household.account_no}",
                account_no=household.account_no,
                amount_nano=household.opening_nano,
            )
        )
    await _place_holds(services, households)


async def _store_town(
    services: Services, households: Sequence[Household], endpoints: Mapping[str, str]
) -> None:
    """Store everything but money in one transaction: a killed start leaves nothing of it."""
    document = json.loads(resources.files("headend.demo").joinpath("tariff.json").read_text())
    tariff = await Tariffs(services.store).put(document)
    now = services.clock.now()
    async with services.store.transaction() as uow:
        await uow.readings.ensure_partitions(
            local_day(now - timedelta(days=35), DEFAULT_ZONE),
            local_day(now + timedelta(days=35), DEFAULT_ZONE),
        )
        await _store_places(uow, households, endpoints)
        await _store_meters(uow, services, households, endpoints, now)
        await _store_customers(uow, households, tariff.code, now)


async def _place_holds(services: Services, households: Sequence[Household]) -> None:
    for household in households:
        if household.part is not Part.PROTECTED:
            continue
        if await services.holds.list_active(usage_point_no=household.usage_point_no):
            continue
        await services.holds.place(
            HoldRequest(
                usage_point_no=household.usage_point_no,
                kind=HoldKind.LIFE_SUPPORT,
                owner="customer service",
                evidence="hospital certificate for a home ventilator, seen at the counter",
            ),
            actor=DEMO_ACTOR,
        )


async def _store_places(
    uow: UnitOfWork, households: Sequence[Household], endpoints: Mapping[str, str]
) -> None:
    names = sorted({household.concentrator.name for household in households})
    _check(await uow.registry.add_areas([NewArea(AREA, "西湖供电所")]))
    _check(
        await uow.registry.add_transformer_areas(
            [NewTransformerArea(f"TA-{name}", f"{name} 台区", AREA) for name in names]
        )
    )
    _check(
        await uow.registry.add_usage_points(
            [
                NewUsagePoint(
                    household.usage_point_no,
                    f"TA-{household.concentrator.name}",
                    household.address,
                )
                for household in households
            ]
        )
    )
    _check(
        await uow.registry.add_concentrators(
            [NewConcentrator(name, endpoints[name]) for name in names]
        )
    )


async def _store_meters(
    uow: UnitOfWork,
    services: Services,
    households: Sequence[Household],
    endpoints: Mapping[str, str],
    now: datetime,
) -> None:
    _check(
        await uow.registry.add_meters(
            [_meter(household, endpoints[household.concentrator.name]) for household in households]
        )
    )
    _check(
        await uow.registry.add_installations(
            [
                NewInstallation(
                    household.meter.meter_no,
                    household.usage_point_no,
                    valid_from=now - HISTORY,
                    link_confirmed_at=now - HISTORY,
                )
                for household in households
            ]
        )
    )
    keys = [key for household in households for key in _keys(services, household)]
    _check(await uow.registry.add_meter_keys(keys))


async def _store_customers(
    uow: UnitOfWork, households: Sequence[Household], tariff_code: str, now: datetime
) -> None:
    _check(
        await uow.registry.add_accounts(
            [
                NewAccount(
                    account_no=household.account_no,
                    name=household.name,
                    phone=household.phone,
                    tariff_code=tariff_code,
                    created_at=now - HISTORY,
                    agreement_signed_at=now - HISTORY,
                    standing_close_consent_at=now - HISTORY,
                )
                for household in households
            ]
        )
    )
    _check(
        await uow.registry.add_occupancies(
            [
                NewOccupancy(
                    household.account_no,
                    household.usage_point_no,
                    local_day(now, DEFAULT_ZONE),
                )
                for household in households
            ]
        )
    )


def _meter(household: Household, endpoint: str) -> NewMeter:
    return NewMeter(
        meter_no=household.meter.meter_no,
        endpoint=endpoint,
        link_address=household.meter.address,
        model=household.meter.model,
        logical_device_name=household.meter.logical_device_name,
        serial=household.meter.serial,
        concentrator_no=household.concentrator.name,
        system_title=household.meter.system_title,
    )


def _keys(services: Services, household: Household) -> list[WrappedKey]:
    meter = household.meter
    secrets = {"encryption": meter.encryption_key, "authentication": meter.authentication_key}
    return [
        WrappedKey(
            meter_no=meter.meter_no,
            client_address=1,
            key_id="unicast",
            kind=kind,
            wrapped_key=services.vault.wrap(bytes.fromhex(key)),
            kek_id=services.vault.fingerprint,
        )
        for kind, key in secrets.items()
    ]


def _check(stored: StoredRows) -> None:
    if stored.problems:
        first = stored.problems[0]
        raise InvariantViolated(f"the demo's row {first.row} ({first.field}): {first.message}")
