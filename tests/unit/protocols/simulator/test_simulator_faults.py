"""Faults: known by name, checked parameters, windows in business time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headend.domain.errors import BadInput
from protocols.simulator.faults import (
    PARAMETERS,
    Fault,
    FaultBook,
    FaultKind,
    load_faults_file,
)

HOUR_US = 3_600_000_000


@pytest.mark.parametrize("kind", list(FaultKind))
def test_every_fault_survives_the_way_through_json(kind: FaultKind) -> None:
    fault = Fault.from_json(
        {"fault": kind.value, "from": "2025-03-01T00:00:00+08:00", "until": "2025-03-02T00:00:00Z"}
    )
    assert set(fault.parameters) == set(PARAMETERS.get(kind, {}))
    assert Fault.from_json(json.loads(json.dumps(fault.to_json()))) == fault


def test_a_window_is_half_open() -> None:
    fault = Fault(FaultKind.SILENT, from_us=HOUR_US, until_us=2 * HOUR_US)
    assert [fault.holds_at(us) for us in (HOUR_US - 1, HOUR_US, 2 * HOUR_US - 1, 2 * HOUR_US)] == [
        False,
        True,
        True,
        False,
    ]


def test_without_a_window_a_fault_holds_until_it_is_cleared() -> None:
    book = FaultBook()
    book.set(Fault(FaultKind.BUSY))
    book.set(Fault(FaultKind.SILENT))
    assert book.active(FaultKind.BUSY, 0) is not None
    book.clear(FaultKind.BUSY)
    assert book.active(FaultKind.BUSY, 0) is None
    assert book.active(FaultKind.SILENT, 10**18) is not None
    book.clear()
    assert not book


def test_a_later_fault_of_a_kind_replaces_the_earlier() -> None:
    book = FaultBook()
    book.set(Fault.from_json({"fault": "slow", "delay_ms": 10}))
    book.set(Fault.from_json({"fault": "slow", "delay_ms": 20}))
    assert [fault.parameters["delay_ms"] for fault in book] == [20]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"fault": "melted"}, "fault"),
        ({}, "fault"),
        ({"fault": "slow", "delay_s": 2}, "delay_s"),
        ({"fault": "slow", "delay_ms": "2"}, "delay_ms"),
        ({"fault": "slow", "delay_ms": True}, "delay_ms"),
        ({"fault": "slow", "delay_ms": -1}, "delay_ms"),
        ({"fault": "silent", "from": "yesterday"}, "from"),
        ({"fault": "silent", "from": "2025-03-01T00:00:00"}, "from"),
        (
            {"fault": "silent", "from": "2025-03-02T00:00:00Z", "until": "2025-03-01T00:00:00Z"},
            "until",
        ),
    ],
)
def test_a_wrong_fault_is_refused_by_the_name_of_what_is_wrong(
    values: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadInput) as caught:
        Fault.from_json(values)
    assert caught.value.field == field


def test_a_faults_file_names_meters_and_concentrators(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(
        json.dumps(
            {
                "faults": [
                    {"meter": "M1", "fault": "silent"},
                    {"concentrator": "DC001", "fault": "down", "until": "2025-03-01T06:00:00Z"},
                ]
            }
        )
    )
    pairs = load_faults_file(path)
    assert [(target, fault.kind) for target, fault in pairs] == [
        ("M1", FaultKind.SILENT),
        ("DC001", FaultKind.DOWN),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"faults": 3}', '{"faults": [3]}', '{"faults": [{"fault": "silent"}]}'],
)
def test_a_broken_faults_file_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"faults\.json"):
        load_faults_file(path)
    with pytest.raises(BadInput, match=r"absent\.json"):
        load_faults_file(tmp_path / "absent.json")
