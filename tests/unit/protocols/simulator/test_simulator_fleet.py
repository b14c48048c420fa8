"""Fleets: deterministic, complete, and refused when they cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headend.domain.errors import BadInput
from protocols.simulator.fleet import FleetSpec, load_fleet, make_fleet, make_keys


def test_the_same_seed_makes_the_same_fleet() -> None:
    assert make_fleet(5, 2, 60) == make_fleet(5, 2, 60)
    assert make_fleet(5, 2, 60) != make_fleet(6, 2, 60)


def test_meters_are_spread_over_concentrators_with_addresses_from_one() -> None:
    fleet = make_fleet(1, 3, 10)
    assert [len(group.meters) for group in fleet.concentrators] == [4, 4, 2]
    for group in fleet.concentrators:
        assert [meter.address for meter in group.meters] == list(range(1, len(group.meters) + 1))


def test_every_meter_is_itself() -> None:
    meters = make_fleet(1, 2, 200).meters
    for name in ("meter_no", "serial", "logical_device_name", "encryption_key", "load_seed"):
        assert len({getattr(meter, name) for meter in meters}) == 200
    assert len({meter.system_title for meter in meters}) == 200
    assert all(len(meter.system_title) == 8 for meter in meters)
    assert all(len(meter.logical_device_name) == 16 for meter in meters)


def test_a_larger_fleet_keeps_the_meters_of_a_smaller_one() -> None:
    small = {meter.meter_no: meter.encryption_key for meter in make_fleet(1, 1, 10).meters}
    large = {meter.meter_no: meter.encryption_key for meter in make_fleet(1, 1, 50).meters}
    assert small.items() <= large.items()


def test_a_fleet_survives_the_way_through_json() -> None:
    fleet = make_fleet(3, 2, 7, control_mode=3, relay_delay_ms=5)
    assert FleetSpec.from_json(json.loads(json.dumps(fleet.to_json()))) == fleet


def test_absent_keys_come_from_the_seed() -> None:
    document = make_fleet(3, 1, 1).to_json()
    for name in ("encryption_key", "authentication_key"):
        del document["concentrators"][0]["meters"][0][name]
    fleet = FleetSpec.from_json(document)
    meter = fleet.meters[0]
    assert (meter.encryption_key, meter.authentication_key) == make_keys(3, meter.meter_no)


def test_keys_do_not_show() -> None:
    meter = make_fleet(1, 1, 1).meters[0]
    assert meter.encryption_key not in repr(meter)
    assert "password" not in repr(meter)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"meter_no": ""}, "meter_no"),
        ({"address": 0}, "address"),
        ({"interval_s": 7}, "interval_s"),
        ({"control_mode": 9}, "control_mode"),
        ({"encryption_key": "zz"}, "encryption_key"),
        ({"authentication_key": "00" * 15}, "authentication_key"),
        ({"logical_device_name": "N" * 17}, "logical_device_name"),
        ({"load_scale": -1.0}, "load_scale"),
        ({"commissioned_at": "2025-01-01T00:00:00"}, "commissioned_at"),
        ({"faults": ({"fault": "melted"},)}, "fault"),
        ({"colour": "red"}, "colour"),
        ({"address": "one"}, "MeterSpec"),
    ],
)
def test_an_impossible_meter_is_refused_by_field(
    tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    document = make_fleet(1, 1, 2).to_json()
    document["concentrators"][0]["meters"][1].update(change)
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BadInput, match=r"fleet\.json") as caught:
        load_fleet(path)
    assert caught.value.field == field


def test_the_same_address_or_number_twice_is_refused() -> None:
    fleet = make_fleet(1, 2, 4)
    first, second = fleet.concentrators
    with pytest.raises(BadInput, match="two meters at address 1"):
        replace(first, meters=(first.meters[0], replace(first.meters[1], address=1)))
    with pytest.raises(BadInput, match="stands twice"):
        FleetSpec(1, (first, replace(second, meters=first.meters)))


def test_a_file_that_is_no_fleet_is_named(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    for text in ("", "[]", "{}", '{"concentrators": [{"name": "x"}]}'):
        path.write_text(text)
        with pytest.raises(BadInput, match=r"fleet\.json"):
            load_fleet(path)
