"""Layouts of pushed data: the same readings arranged in every way that meters do."""

from __future__ import annotations

import pytest

from headend.domain.obis import Obis
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.errors import MalformedData
from protocols.dlms.push_body import AttributeDescriptor, decode_body
from protocols.dlms.push_layout import PushItem, read_layout
from protocols.dlms.units import ScalerUnit

ENERGY, VOLTAGE, SERIAL = (
    Obis.parse(code) for code in ("1.0.1.8.0.255", "1.0.32.7.0.255", "0.0.96.1.0.255")
)
WH, TENTH_VOLT = d.Structure((d.Integer(0), d.Enum(30))), d.Structure((d.Integer(-1), d.Enum(35)))
READINGS = [(ENERGY, d.DoubleLongUnsigned(4_408_736), 0), (VOLTAGE, d.LongUnsigned(2364), -1)]
TIME = bytes.fromhex("07e60b0c0610360000ffc400")


def _scaled(items: tuple[PushItem, ...]) -> list[tuple[Obis, object, int]]:
    return [(i.obis, i.value, i.scaler_unit.scaler if i.scaler_unit else 0) for i in items]


def _named(items: tuple[PushItem, ...]) -> list[tuple[Obis, object, int | None, int | None]]:
    return [(item.obis, item.value, item.class_id, item.attribute) for item in items]


def test_structures_of_code_value_and_unit() -> None:
    rows = d.Array(
        d.Structure((code.octets, value, unit))
        for (code, value, _), unit in zip(READINGS, (WH, TENTH_VOLT), strict=True)
    )
    layout = read_layout(rows)
    assert _scaled(layout.items) == READINGS
    assert layout.items[1].scaler_unit == ScalerUnit(-1, "V")
    assert layout.loose == ()


def test_flat_codes_values_and_units_between_a_time_and_a_number() -> None:
    flat = [TIME]
    for (code, value, _), unit in zip(READINGS, (WH, TENTH_VOLT), strict=True):
        flat += [code.octets, value, unit]
    layout = read_layout(d.Structure([*flat, b"181220000009"]))
    assert _scaled(layout.items) == READINGS
    assert layout.loose == (TIME, b"181220000009")


def test_flat_codes_and_values_without_units() -> None:
    flat = [d.VisibleString("Kamstrup_V0001")]
    for code, value, _ in READINGS:
        flat += [code.octets, value]
    layout = read_layout(d.Structure(flat))
    assert [(item.obis, item.value) for item in layout.items] == [r[:2] for r in READINGS]
    assert layout.loose == ("Kamstrup_V0001",)


def test_six_octets_behind_a_code_are_its_value() -> None:
    layout = read_layout(d.Structure((SERIAL.octets, b"160456")))
    assert layout.items == (PushItem(SERIAL, b"160456"),)
    another = read_layout(d.Structure((SERIAL.octets, ENERGY.octets)))
    assert another.items == (PushItem(SERIAL, ENERGY.octets),)


def test_class_code_attribute_value() -> None:
    rows = d.Array(
        d.Structure((d.LongUnsigned(3), code.octets, d.Integer(2), value))
        for code, value, _ in READINGS
    )
    assert _named(read_layout(rows).items) == [(*r[:2], 3, 2) for r in READINGS]


def test_class_code_scaler_value() -> None:
    rows = d.Array(
        d.Structure((d.LongUnsigned(3), code.octets, d.Integer(scaler), value))
        for code, value, scaler in READINGS
    )
    assert _scaled(read_layout(rows).items) == READINGS


def test_value_class_unit_code() -> None:
    rows = d.Structure(
        d.Structure((value, d.LongUnsigned(3), unit, code.octets))
        for (code, value, _), unit in zip(READINGS, (WH, TENTH_VOLT), strict=True)
    )
    assert _scaled(read_layout(rows).items) == READINGS


@pytest.mark.parametrize("extra", [(), (d.Structure((d.Enum(0), None)), d.Array(()))])
def test_captured_objects_and_then_their_values(extra: tuple[object, ...]) -> None:
    objects = d.Array(
        d.Structure((d.LongUnsigned(3), code.octets, d.Integer(2), d.LongUnsigned(0), *extra))
        for code, _, _ in READINGS
    )
    values = [value for _, value, _ in READINGS]
    for body in (d.Structure((objects, *values)), d.Structure((objects, d.Structure(values)))):
        assert _named(read_layout(body).items) == [(*r[:2], 3, 2) for r in READINGS]


def test_list_of_objects_that_names_itself_first() -> None:
    push = Obis.parse("0.0.25.9.0.255")
    objects = d.Array(
        d.Structure((d.LongUnsigned(class_id), code.octets, d.Integer(2), d.LongUnsigned(0)))
        for class_id, code in ((40, push), (3, ENERGY), (3, VOLTAGE))
    )
    body = d.Structure((objects, *(value for _, value, _ in READINGS)))
    assert _named(read_layout(body).items) == [(*r[:2], 3, 2) for r in READINGS]


def test_objects_without_as_many_values_stay_unnamed_values() -> None:
    objects = d.Array(
        d.Structure((d.LongUnsigned(3), code.octets, d.Integer(2), d.LongUnsigned(7)))
        for code, _, _ in READINGS
    )
    layout = read_layout(d.Structure((objects, d.Unsigned(1), d.Unsigned(2), d.Unsigned(3))))
    # Read as (class, code, attribute, value): nothing is lost, nothing is joined wrongly.
    assert _named(layout.items) == [(ENERGY, 7, 3, 2), (VOLTAGE, 7, 3, 2)]
    assert layout.loose == (1, 2, 3)


def test_unit_before_the_value_and_unit_beside_it() -> None:
    before = d.Structure((VOLTAGE.octets, TENTH_VOLT, d.LongUnsigned(2364)))
    inside = d.Structure((VOLTAGE.octets, d.Structure((d.LongUnsigned(2364), TENTH_VOLT))))
    apart = d.Structure((VOLTAGE.octets, d.LongUnsigned(2364), d.Integer(-1), d.Enum(35)))
    for body in (before, inside, apart):
        assert _scaled(read_layout(body).items) == [(VOLTAGE, 2364, -1)]


def test_compact_array_is_read_as_its_elements() -> None:
    contents = b"".join(
        xdr.encode(code.octets)[1:] + xdr.encode(value)[1:]
        for code, value in ((ENERGY, d.LongUnsigned(5)), (VOLTAGE, d.LongUnsigned(6)))
    )
    body = d.CompactArray(d.StructureType((9, 18)), contents)
    assert [(i.obis, i.value) for i in read_layout(body).items] == [(ENERGY, 5), (VOLTAGE, 6)]


def test_untagged_descriptor_and_swapped_tag_need_the_loose_reading() -> None:
    octets = bytes.fromhex("0202 0046 0000600 30aff 03 1601".replace(" ", ""))
    body = decode_body(octets)
    relay = AttributeDescriptor(70, Obis.parse("0.0.96.3.10.255"), 3)
    assert body.value == d.Structure((relay, d.Enum(1)))
    assert _named(read_layout(body.value).items) == [(relay.obis, 1, 70, 3)]
    swapped = decode_body(bytes.fromhex("0202060901001f0700ff1000f4"))
    assert read_layout(swapped.value).items == (
        PushItem(Obis.parse("1.0.31.7.0.255"), d.Long(244)),
    )
    assert swapped.quirks == ("OBIS codes with tag and length swapped",)


def test_what_follows_the_data_is_kept() -> None:
    body = decode_body(bytes.fromhex("0201 1105 aabb"))
    assert (body.value, body.trailing) == (d.Structure((d.Unsigned(5),)), b"\xaa\xbb")


@pytest.mark.parametrize("octets", ["", "02", "0203110502", "02ff", "0201 63", "0201 0906 0102"])
def test_broken_data_tell_their_place(octets: str) -> None:
    with pytest.raises(MalformedData, match=r"at octet \d+ of the pushed data"):
        decode_body(bytes.fromhex(octets))


def test_value_without_a_code_is_loose() -> None:
    assert read_layout(d.DoubleLongUnsigned(5)).loose == (5,)
    assert read_layout(d.Structure((ENERGY.octets,))).loose == (ENERGY.octets,)


def test_unit_pushed_as_an_attribute_of_its_own() -> None:
    names = ((3, ENERGY, 2), (3, ENERGY, 3), (3, VOLTAGE, 3), (3, VOLTAGE, 2))
    objects = d.Array(
        d.Structure((d.LongUnsigned(c), code.octets, d.Integer(a), d.LongUnsigned(0)))
        for c, code, a in names
    )
    values = (d.DoubleLongUnsigned(4_408_736), WH, TENTH_VOLT, d.LongUnsigned(2364))
    items = read_layout(d.Structure((objects, *values))).items
    assert _scaled(items) == READINGS
    assert [item.attribute for item in items] == [2, 2]
