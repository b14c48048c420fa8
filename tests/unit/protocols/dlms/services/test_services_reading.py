"""Any object becomes one exact value: its class found, its scale applied, its time beside it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from headend.domain.errors import BadInput, MeterBusy
from headend.domain.obis import Obis
from headend.ports.inspection import ObjectReading
from protocols.dlms import data as d
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.errors import AccessResult
from protocols.dlms.meter_model import load_model
from protocols.dlms.services.object_list import (
    guess_class,
    likely_classes,
    parse_object_list,
)
from protocols.dlms.services.reading import ObjectReader, Target
from protocols.dlms.services.testing import FailingAccess, TableAccess, list_object, scaler_unit
from protocols.dlms.services.values import scale_exactly

ENERGY = "1.0.1.8.0.255"
ASSOCIATION = (15, "0.0.40.0.0.255", 2)
NOON = CosemDateTime(bytes.fromhex("07ea0301070c000000fe2000"))  # 1 March 2026 12:00 +08:00


async def read(access: TableAccess, *targets: str) -> list[ObjectReading]:
    reader = ObjectReader(access, load_model("generic"))
    return await reader.read([Target.parse(target) for target in targets])


def register(obis: str, raw: d.Data, scaler: int = 0, unit: int = 30) -> TableAccess:
    return TableAccess({(3, obis, 2): raw, (3, obis, 3): scaler_unit(scaler, unit)})


@pytest.mark.parametrize(
    ("raw", "scaler", "value"),
    [
        (d.DoubleLongUnsigned(12345), 0, 12345),
        (d.DoubleLongUnsigned(12345), 3, 12345000),
        (d.LongUnsigned(2301), -1, Decimal("230.1")),
        (d.LongUnsigned(2300), -1, Decimal("230.0")),
        (d.Long(-5), -3, Decimal("-0.005")),
        (d.Long64Unsigned(12345678901234567), -3, Decimal("12345678901234.567")),
        (d.Float32(0.1), 0, Decimal("0.1")),
        (d.Float64(1.5), 3, 1500),
    ],
)
async def test_registers_are_scaled_without_rounding(
    raw: d.Data, scaler: int, value: int | Decimal
) -> None:
    (reading,) = await read(register(ENERGY, raw, scaler), ENERGY)
    assert reading == ObjectReading(ENERGY, value, "Wh", 3)
    assert type(reading.value) is type(value)


async def test_infinity_has_no_value() -> None:
    (reading,) = await read(register(ENERGY, d.Float64(float("inf"))), ENERGY)
    assert reading.value is None


async def test_extended_and_demand_registers_come_with_their_time() -> None:
    access = TableAccess(
        {
            (4, "1.0.1.6.0.255", 2): d.LongUnsigned(4200),
            (4, "1.0.1.6.0.255", 3): scaler_unit(0, 27),
            (4, "1.0.1.6.0.255", 5): NOON.octets,
            (5, "1.0.1.4.0.255", 2): d.LongUnsigned(7),
            (5, "1.0.1.4.0.255", 4): scaler_unit(2, 27),
            (5, "1.0.1.4.0.255", 6): NOON.octets,
        }
    )
    time = "2026-03-01T12:00:00+08:00"
    assert await read(access, "1.0.1.6.0.255", "1.0.1.4.0.255") == [
        ObjectReading("1.0.1.6.0.255", 4200, "W", 4, time=time),
        ObjectReading("1.0.1.4.0.255", 700, "W", 5, time=time),
    ]


async def test_clocks_and_texts_are_readable() -> None:
    access = TableAccess(
        {
            (8, "0.0.1.0.0.255", 2): NOON.octets,
            (1, "0.0.96.1.0.255", 2): b"12345678",
            (1, "0.0.96.10.1.255", 2): d.BitString.from_bits("0101"),
            (1, "0.0.96.5.0.255", 2): d.Structure((d.Unsigned(1), b"\x80\x81")),
        }
    )
    readings = await read(
        access, "0.0.1.0.0.255", "0.0.96.1.0.255", "0.0.96.10.1.255", "0.0.96.5.0.255"
    )
    assert [reading.value for reading in readings] == [
        "2026-03-01T12:00:00+08:00", "12345678", "0101", [1, "8081"],
    ]  # fmt: skip


async def test_the_object_list_corrects_a_wrong_guess() -> None:
    access = TableAccess(
        {
            (4, ENERGY, 2): d.DoubleLongUnsigned(5),
            (4, ENERGY, 3): scaler_unit(0, 30),
            ASSOCIATION: d.Array((list_object(4, ENERGY),)),
        }
    )
    (reading,) = await read(access, ENERGY)
    assert (reading.value, reading.class_id) == (5, 4)


async def test_without_a_list_classes_are_tried() -> None:
    access = TableAccess({(1, ENERGY, 2): d.DoubleLongUnsigned(5)})
    (reading,) = await read(access, ENERGY)
    assert (reading.value, reading.unit, reading.class_id) == (5, "", 1)


async def test_a_class_and_attribute_can_be_named() -> None:
    access = register(ENERGY, d.DoubleLongUnsigned(5), -1)
    (reading,) = await read(access, f"3/{ENERGY}/3")
    assert reading.value == [-1, 30]
    assert [str(attribute) for attribute, _ in access.asked] == [f"{ENERGY} class 3 attribute 3"]


async def test_an_absent_object_is_a_problem_with_what_is_like_it() -> None:
    access = register(ENERGY, d.DoubleLongUnsigned(5))
    access.values[ASSOCIATION] = d.Array((list_object(3, ENERGY),))
    absent, there = await read(access, "1.0.1.8.1.255", ENERGY)
    assert (absent.value, absent.problem) == (None, "object-undefined")
    assert f"it has {ENERGY}" in absent.detail
    assert there.value == 5


async def test_what_a_client_may_not_read_is_told_as_that() -> None:
    access = register(ENERGY, d.DoubleLongUnsigned(5))
    access.refusals[3, ENERGY, 2] = AccessResult.READ_WRITE_DENIED
    access.values[ASSOCIATION] = d.Array((list_object(3, ENERGY, a2=0),))
    (reading,) = await read(access, ENERGY)
    assert reading.problem == "read-write-denied"
    assert "this client may not read attribute 2" in reading.detail


async def test_a_profile_is_not_read_as_a_value() -> None:
    access = TableAccess({(7, "1.0.99.1.0.255", 4): d.DoubleLongUnsigned(900)})
    (reading,) = await read(access, "1.0.99.1.0.255")
    assert reading.problem == "profile"
    assert all(attribute.number != 2 for attribute, _ in access.asked)


async def test_a_busy_meter_ends_the_reading() -> None:
    with pytest.raises(MeterBusy):
        await read(FailingAccess(fault=MeterBusy("temporary-failure")), ENERGY)


@pytest.mark.parametrize(
    "text", ["", "1.0.1.8", "0/1.0.1.8.0.255", "3/1.0.1.8.0.255/200", "3/2", "1.0.1.8.0.256"]
)
def test_wrong_targets_are_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Target.parse(text)


@pytest.mark.parametrize(
    ("obis", "class_id"),
    [
        ("1.0.1.8.0.255", 3), ("1.0.32.7.0.255", 3), ("1.0.1.6.0.255", 4), ("1.0.1.4.0.255", 5),
        ("0.0.1.0.0.255", 8), ("0.0.96.1.0.255", 1), ("0.0.42.0.0.255", 1), ("1.0.99.1.0.255", 7),
        ("0.0.99.98.0.255", 7), ("0.0.98.1.0.255", 7), ("0.0.96.3.10.255", 70),
        ("0.0.17.0.0.255", 71), ("0.0.25.9.0.255", 40), ("0.0.40.0.0.255", 15),
        ("0.0.43.1.0.255", 1), ("1.0.0.2.0.255", 1),
    ],
)  # fmt: skip
def test_the_class_is_guessed_from_the_code(obis: str, class_id: int) -> None:
    assert guess_class(Obis.parse(obis)) == class_id
    assert likely_classes(Obis.parse(obis))[0] == class_id


def test_access_modes_are_flags_from_association_version_3() -> None:
    old = parse_object_list(d.Array((list_object(3, ENERGY, a2=3),)))
    entry = old.find(Obis.parse(ENERGY))
    assert entry is not None
    assert (entry.may_read(2), entry.may_write(2), entry.may_read(9)) == (True, True, None)
    association = list(list_object(15, "0.0.40.0.0.255"))
    association[1] = d.Unsigned(3)
    new = parse_object_list(d.Array((d.Structure(association), list_object(3, ENERGY, a2=2, a3=1))))
    entry = new.find(Obis.parse(ENERGY))
    assert entry is not None
    assert (entry.may_read(2), entry.may_write(2), entry.may_read(3)) == (False, True, True)


def test_scaling_keeps_every_digit() -> None:
    assert scale_exactly(2**63, -6) == Decimal(2**63).scaleb(-6)
    assert scale_exactly(float("nan"), 0) is None
