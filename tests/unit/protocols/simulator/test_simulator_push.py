"""The push feature of simulated meters: what is refused when it is switched on, what is pushed."""

from __future__ import annotations

import pytest

from headend.domain.errors import BadInput
from protocols.dlms.decode import DecodeKeys, decode_capture
from protocols.dlms.decode_document import build_document
from protocols.simulator.faults import Fault
from protocols.simulator.fleet import make_fleet
from protocols.simulator.push import push_body
from protocols.simulator.simulator import Simulator


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"target": "http://127.0.0.1:1"}, "target"),
        ({"target": "tcp://127.0.0.1"}, "target"),
        ({"target": "tcp://127.0.0.1:99999"}, "target"),
        ({"form": "signed"}, "form"),
        ({"every_s": 0}, "every_s"),
        ({"block_octets": 8}, "block_octets"),
    ],
)
def test_wrong_parameters_are_refused(values: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        Fault.from_json({"fault": "push", **values})
    assert refused.value.field == field


def test_a_push_can_be_decoded_from_a_capture() -> None:
    device = next(iter(Simulator(make_fleet(3, 1, 1)).devices.values()))
    now_us = device.meter.clock.now_us()
    sealed = device.seal_push(b"\x0f\x00\x00\x00\x01\x00" + push_body(device, now_us))
    spec = device.spec
    keys = DecodeKeys(bytes.fromhex(spec.encryption_key), bytes.fromhex(spec.authentication_key))
    document = build_document(decode_capture(sealed.hex().encode(), keys))
    assert document["meter_id"] == spec.logical_device_name
    assert document["system_title"] == spec.system_title.hex().upper()
    assert document["obis"]["1.0.1.8.0.255"] == device.meter.register_wh_at(now_us)
    assert document["relay"] == {
        "output_state": True,
        "control_state": "connected",
        "control_mode": spec.control_mode,
    }


def test_no_counter_is_used_twice_between_pushes() -> None:
    device = next(iter(Simulator(make_fleet(3, 1, 1)).devices.values()))
    sealed = [device.seal_push(b"\x0f") for _ in range(3)]
    counters = [int.from_bytes(apdu[12:16], "big") for apdu in sealed]
    assert len(set(counters)) == 3
    assert counters == sorted(counters)
