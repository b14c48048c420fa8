"""What is wrong with a strange meter or its URL is told apart in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from independent_house import (
    AK,
    EK,
    ENERGY,
    EVENTS,
    KEYS,
    House,
    MakeHouse,
    gmac_clients,
    headend_meter,
)
from independent_services import Client, Ways

FAST_S = 0.4  # how long an answer may take here
TITLE = b"XYZ\x00\x01\x02\x03\x04"  # of the independent meter


@pytest.fixture
def make_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeHouse]:
    monkeypatch.setenv("HEADEND_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    houses: list[House] = []

    def make(**options: Any) -> House:
        houses.append(House(**options))
        return houses[-1]

    yield make
    for house in houses:
        house.meter.close()


def cause(house: House, query: str = KEYS) -> tuple[str, str]:
    """Return the name of the cause, and the whole text."""
    told = headend_meter("read", house.meter.url(query), ENERGY, timeout_s=FAST_S)
    assert (told.code, told.out) == (1, "")
    return told.err.split(": ")[1], told.err


@pytest.mark.parametrize("way", ["aare", "exception", "silence", "close"])
def test_a_wrong_key(make_house: MakeHouse, way: str) -> None:
    house = make_house(clients=gmac_clients(), ways=Ways(key_error=way))
    assert cause(house, KEYS.replace(EK.hex(), "ab" * 16))[0] == "wrong key"


def test_a_wrong_key_where_nothing_is_authenticated(make_house: MakeHouse) -> None:
    house = make_house(clients=gmac_clients(control=0x20))
    query = KEYS.replace(EK.hex(), "ab" * 16) + "&protection=encryption"
    assert cause(house, query)[0] == "wrong key"


@pytest.mark.parametrize("way", ["aare", "silence", "close"])
@pytest.mark.parametrize("keys", [True, False], ids=["gmac", "plain"])
def test_a_wrong_client(make_house: MakeHouse, way: str, keys: bool) -> None:
    house = make_house(clients=gmac_clients(), ways=Ways(unknown_client=way))
    query = KEYS.replace("client=1&", "client=7&") if keys else "client=7"
    assert cause(house, query)[0] == "wrong client"


def test_a_client_that_is_none_of_the_usual(make_house: MakeHouse) -> None:
    house = make_house(clients={2: Client()}, ways=Ways(unknown_client="silence"))
    name, text = cause(house, "client=1")
    assert name == "wrong client"
    assert "client=2" in text


@pytest.mark.parametrize("way", ["silence", "close"])
@pytest.mark.parametrize(("there", "asked"), [(1, 5), (17, 1)])
def test_a_wrong_address(make_house: MakeHouse, way: str, there: int, asked: int) -> None:
    house = make_house(clients=gmac_clients(), ways=Ways(server=there, unknown_server=way))
    name, text = cause(house, KEYS.replace("server=1", f"server={asked}"))
    assert name == "wrong address"
    assert f"somebody does at server={there}" in text


@pytest.mark.parametrize("way", ["transient", "exception", "close"])
def test_busy(make_house: MakeHouse, way: str) -> None:
    assert cause(make_house(clients=gmac_clients(), ways=Ways(busy=way)))[0] == "busy"


def test_silent(make_house: MakeHouse) -> None:
    assert cause(make_house(ways=Ways(silent=True)), "client=1")[0] == "silent"


def test_a_counter_that_nobody_tells(make_house: MakeHouse) -> None:
    house = make_house(clients=gmac_clients(received=50_000), ways=Ways(counter_error="bare"))
    assert cause(house)[0] == "wrong counter"


@pytest.mark.parametrize("answer_plain", [True, False])
def test_an_answer_without_ciphering_is_no_wrong_key(
    make_house: MakeHouse, answer_plain: bool
) -> None:
    def without_context(parts: list[bytes]) -> list[bytes]:
        return [part[:-1] + b"\x01" if part[0] == 0xA1 else part for part in parts]

    ways = Ways(answer_plain=True, aare_fields=None if answer_plain else without_context)
    assert cause(make_house(clients=gmac_clients(), ways=ways))[0] == "unsupported security"


def test_a_proof_that_is_skipped_is_no_association(make_house: MakeHouse) -> None:
    def without_challenge(parts: list[bytes]) -> list[bytes]:
        return [part for part in parts if part[0] != 0xAA]

    house = make_house(clients=gmac_clients(), ways=Ways(aare_fields=without_challenge))
    name, text = cause(house)
    assert name == "unsupported security"
    assert "skips the proof" in text


def test_the_meters_title_in_place_of_ours(make_house: MakeHouse) -> None:
    house = make_house(clients=gmac_clients())
    _, text = cause(house, f"{KEYS}&system_title={TITLE.hex()}")
    assert "system_title= is the head-end's own title" in text


def test_no_keys_where_the_meter_wants_some(make_house: MakeHouse) -> None:
    assert cause(make_house(clients=gmac_clients()), "client=1")[0] == "unsupported security"


@pytest.mark.parametrize("mechanism", [(1, "lls"), (3, "md5"), (6, "sha256")], ids=str)
def test_a_wrong_password(make_house: MakeHouse, mechanism: tuple[int, str]) -> None:
    house = make_house(clients={1: Client(mechanism[0], b"12345678")})
    url = house.meter.url(f"auth={mechanism[1]}&password=87654321")
    told = headend_meter("read", url, ENERGY)
    assert told.code == 1
    assert "headend: wrong password: " in told.err
    assert "87654321" not in told.err


def test_a_log_that_may_not_be_read(make_house: MakeHouse) -> None:
    url = make_house(patch={(7, EVENTS, 2): 3}).meter.url("client=1")
    assert headend_meter("events", url).json == []
    named = headend_meter("events", url, "--log", EVENTS)
    assert named.code == 1
    assert "read-write-denied" in named.err


def test_refused_and_missing_objects_beside_others(make_house: MakeHouse) -> None:
    url = make_house(patch={(3, "1.0.3.8.0.255", 2): 3}).meter.url("client=1")
    told = headend_meter("read", url, ENERGY, "1.0.3.8.0.255", "1.0.9.9.9.255")
    assert told.code == 1
    assert [each["value"] for each in told.json] == [12345, None, None]
    assert [each.get("problem") for each in told.json] == [
        None,
        "read-write-denied",
        "object-undefined",
    ]


def test_other_keys_of_the_same_length(make_house: MakeHouse) -> None:
    house = make_house(clients=gmac_clients())
    exchanged = KEYS.replace(EK.hex(), "x").replace(AK.hex(), EK.hex()).replace("x", AK.hex())
    assert cause(house, exchanged)[0] == "wrong key"
