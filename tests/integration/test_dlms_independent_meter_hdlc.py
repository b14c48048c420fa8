"""The independent meter behind its own HDLC: addresses, limits, losses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from independent_hdlc import HdlcMeter, HdlcWays
from independent_house import ENERGY, KEYS, PROFILE, House, gmac_clients, headend_meter
from independent_services import Ways

READING = [{"obis": ENERGY, "value": 12345, "unit": "Wh"}]
MakeMeter = Callable[..., HdlcMeter]


@pytest.fixture
def make_meter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeMeter]:
    monkeypatch.setenv("HEADEND_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    meters: list[HdlcMeter] = []

    def make(hdlc: HdlcWays | None = None, ways: Ways | None = None) -> HdlcMeter:
        house = House(clients=gmac_clients(), ways=ways or Ways())
        meters.append(HdlcMeter(house.meter, hdlc))
        return meters[-1]

    yield make
    for meter in meters:
        meter.close()


UAS = {
    "none": b"",
    "lengths of two octets": bytes.fromhex("8180140502008006020080070400000001080400000001"),
    "a wrong length": bytes.fromhex("818012050180060180070400000001080400000001"),
    "sizes alone": bytes.fromhex("818006050180060180"),
}


@pytest.mark.parametrize("ua", UAS.values(), ids=UAS.keys())
def test_limits_in_any_form(make_meter: MakeMeter, ua: bytes) -> None:
    told = headend_meter("profile", make_meter(HdlcWays(ua=ua)).url(KEYS), PROFILE)
    assert told.code == 0, told.err
    assert len(told.json["rows"]) == 96


@pytest.mark.parametrize("info", [32, 128, 255])
def test_segments_of_any_size(make_meter: MakeMeter, info: int) -> None:
    ways = Ways(block_pattern=(90, 13))
    told = headend_meter("profile", make_meter(HdlcWays(info=info), ways).url(KEYS), PROFILE)
    assert told.code == 0, told.err
    assert len(told.json["rows"]) == 96


@pytest.mark.parametrize(
    ("hdlc", "query"),
    [
        (HdlcWays(lower=17, address_size=2), "server_lower=17"),
        (HdlcWays(lower=17, address_size=4), "server_lower=17&address_size=4"),
        (HdlcWays(lower=9123, address_size=4), "server_lower=9123"),
    ],
    ids=["2 octets", "4 octets", "large"],
)
def test_addresses_of_two_parts(make_meter: MakeMeter, hdlc: HdlcWays, query: str) -> None:
    told = headend_meter("read", make_meter(hdlc).url(f"{KEYS}&{query}"), ENERGY)
    assert told.code == 0, told.err
    assert told.json == READING


@pytest.mark.parametrize("hdlc", [HdlcWays(lose_first=1), HdlcWays(damage_first=2)], ids=str)
def test_what_is_lost_or_damaged_is_asked_for_again(make_meter: MakeMeter, hdlc: HdlcWays) -> None:
    meter = make_meter(HdlcWays(**vars(hdlc)))
    told = headend_meter("read", meter.url("client=16&frame_timeout=0.2"), ENERGY)
    assert told.code == 0, told.err
    assert told.json == READING


def test_the_other_framing_is_told(make_meter: MakeMeter) -> None:
    meter = make_meter()
    url = meter.url("client=16").replace("+hdlc", "")
    told = headend_meter("read", url, ENERGY, timeout_s=0.5)
    assert told.code == 1
    assert told.err.startswith("headend: wrong protocol: ")


def test_a_wrong_address(make_meter: MakeMeter) -> None:
    url = make_meter().url("client=16&server=5")
    told = headend_meter("read", url, ENERGY, timeout_s=0.5)
    assert told.err.startswith("headend: wrong address: ")
