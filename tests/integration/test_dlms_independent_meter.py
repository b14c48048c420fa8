"""The shell's commands on a meter that shares no code with us, in every manner meters have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from independent_house import (
    AK,
    EK,
    ENERGY,
    EVENTS,
    KEYS,
    PROFILE,
    RELAY,
    House,
    MakeHouse,
    gmac_clients,
    headend_meter,
)
from independent_octets import (
    AUTHENTICATED,
    ENCRYPTED,
    array,
    i16,
    moment,
    null,
    octets,
    scaler_unit,
    structure,
    u8,
    u32,
)
from independent_services import (
    BLOCKS,
    CONFORMANCE,
    GENERAL_PROTECTION,
    GET,
    LISTS,
    SELECTION,
    Client,
    Ways,
)

DAY = ("profile", PROFILE, "--from", "2026-03-01T00:00+08:00", "--to", "2026-03-01T23:45+08:00")
READING = [{"obis": ENERGY, "value": 12345, "unit": "Wh"}]
Parts = list[bytes]


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


def changed(tag: int, to: bytes) -> Callable[[Parts], Parts]:
    return lambda parts: [to if part[0] == tag else part for part in parts]


AARES: dict[str, Callable[[Parts], Parts]] = {
    "with a protocol version": lambda parts: [b"\x80\x02\x07\x80", *parts],
    "with qualifiers": lambda parts: [
        *parts[:3],
        b"\xa5\x03\x02\x01\x01\xa6\x03\x02\x01\x01",
        *parts[3:],
    ],
    "in another order": lambda parts: parts[::-1],
    "with its maker's words": lambda parts: [*parts[:-1], b"\xbd\x04\x04\x02hi", parts[-1]],
    "with a long length": lambda parts: [
        *parts[:-1],
        b"\xbe\x81" + bytes((len(parts[-1]) - 1,)) + b"\x04\x81" + parts[-1][3:],
    ],
    "with a result of two octets": changed(0xA2, b"\xa2\x04\x02\x02\x00\x00"),
    "without a mechanism": lambda parts: [part for part in parts if part[0] not in (0x88, 0x89)],
    "with diagnostic null": changed(0xA3, b"\xa3\x05\xa1\x03\x02\x01\x00"),
}


@pytest.mark.parametrize("aare", AARES.values(), ids=AARES.keys())
@pytest.mark.parametrize("keys", [True, False], ids=["gmac", "plain"])
def test_an_aare(make_house: MakeHouse, aare: Callable[[Parts], Parts], keys: bool) -> None:
    house = make_house(clients=gmac_clients() if keys else None, ways=Ways(aare_fields=aare))
    told = headend_meter("read", house.meter.url(KEYS if keys else "client=1"), ENERGY)
    assert (told.code, told.err) == (0, "")
    assert told.json == READING


INITIATES: dict[str, Callable[[bytes], bytes]] = {
    "quality of service": lambda plain: b"\x08\x01\x00" + plain[2:],
    "application tag in one octet": lambda plain: plain.replace(b"\x5f\x1f\x04", b"\x5f\x04"),
    "another name of the association": lambda plain: plain[:-2] + b"\xfa\x00",
}
WAYS: dict[str, Callable[[], Ways]] = {
    **{name: lambda each=each: Ways(initiate=each) for name, each in INITIATES.items()},
    "small requests": lambda: Ways(max_pdu=64),
    "any request": lambda: Ways(max_pdu=0),
    "release 63 00": lambda: Ways(release=b"\x63\x00"),
    "release with initiate": lambda: Ways(
        release=bytes.fromhex("631580010 0be10040e0800065f1f0400001e1d00c80007".replace(" ", ""))
    ),
    "closing behind the release": lambda: Ways(close_after_release=True),
    "late answers": lambda: Ways(late_s=0.05),
    "doubled answers": lambda: Ways(doubled=True),
    "octet by octet": lambda: Ways(split=True),
    "odd blocks": lambda: Ways(block_pattern=(30, 1, 57, 200)),
    "without selection": lambda: Ways(conformance=CONFORMANCE & ~SELECTION),
    "without lists": lambda: Ways(conformance=CONFORMANCE & ~LISTS),
    "without blocks": lambda: Ways(conformance=CONFORMANCE & ~BLOCKS),
    "with GET alone": lambda: Ways(conformance=GET),
    "lists refused": lambda: Ways(list_error=b"\xd8\x01\x02"),
    "general-glo answers": lambda: Ways(general=True),
    "one counter for tag and carrier": lambda: Ways(same_counter_tag=True),
    "an invoke-id of its own": lambda: Ways(invoke=0x81),
    "pushing meanwhile": lambda: Ways(
        pushes=bytes.fromhex("0f00000001000201110111 02".replace(" ", ""))
    ),
    "a counter that begins at 100": lambda: Ways(first_counter=100),
}


@pytest.mark.parametrize("ways", WAYS.values(), ids=WAYS.keys())
def test_a_profile_and_an_identity(make_house: MakeHouse, ways: Callable[[], Ways]) -> None:
    url = make_house(clients=gmac_clients(), ways=ways()).meter.url(KEYS)
    told = headend_meter(DAY[0], url, *DAY[1:])
    assert told.code == 0, told.err
    assert told.json["columns"][0] == "0.0.1.0.0.255"
    assert len(told.json["rows"]) == 96
    assert told.json["rows"][95] == ["2026-03-01T23:45:00+08:00", 0, 1475]
    identity = headend_meter("identify", url)
    assert identity.code == 0, identity.err
    assert identity.json["logical_device_name"] == "XYZ1234567890123"
    assert identity.json["relay"]["control_mode"] == 4


SECURITIES: dict[str, tuple[Client, str]] = {
    "lls": (Client(1, b"12345678"), "auth=lls&password=12345678"),
    "md5": (Client(3, b"12345678"), "auth=md5&password=12345678"),
    "sha1": (Client(4, b"12345678"), "auth=sha1&password=12345678"),
    "sha256": (Client(6, b"12345678"), "auth=sha256&password=12345678"),
    "gmac, plain": (Client(5, ek=EK, ak=AK, ciphered=False), f"{KEYS}&protection=none"),
    "authentication": (Client(5, ek=EK, ak=AK, control=AUTHENTICATED),
                       f"{KEYS}&protection=authentication"),
    "encryption": (Client(5, ek=EK, ak=AK, control=ENCRYPTED), f"{KEYS}&protection=encryption"),
    "lls, ciphered": (Client(1, b"12345678", ek=EK, ak=AK),
                      KEYS.replace("gmac", "lls") + "&password=12345678"),
    "dedicated key": (Client(5, ek=EK, ak=AK), f"{KEYS}&ciphering=ded"),
    "general-glo": (Client(5, ek=EK, ak=AK), f"{KEYS}&ciphering=general-glo"),
    "general-ded": (Client(5, ek=EK, ak=AK), f"{KEYS}&ciphering=general-ded"),
    "suite 2": (Client(5, ek=EK + AK, ak=AK + EK),
                f"auth=gmac&ek={(EK + AK).hex()}&ak={(AK + EK).hex()}&suite=2"),
}  # fmt: skip


@pytest.mark.parametrize(("client", "query"), SECURITIES.values(), ids=SECURITIES.keys())
def test_a_security(make_house: MakeHouse, client: Client, query: str) -> None:
    ways = Ways(conformance=CONFORMANCE | GENERAL_PROTECTION)
    house = make_house(clients={1: Client(**vars(client))}, ways=ways)
    told = headend_meter("read", house.meter.url(query), ENERGY)
    assert told.code == 0, told.err
    assert told.json == READING


@pytest.mark.parametrize("way", ["value", "bare", "silence", "close", "aare"])
def test_a_counter_ahead_is_recovered(make_house: MakeHouse, way: str) -> None:
    house = make_house(
        clients=gmac_clients(received=50_000),
        ways=Ways(counter_error=way, close_after_release=True),
        patch={(1, "0.0.43.1.0.255", 2): u32(50_000)},
    )
    told = headend_meter("read", house.meter.url(KEYS), ENERGY, timeout_s=0.6)
    assert told.json == READING
    assert "ours was raised from" in told.err


def test_registers_of_every_kind(make_house: MakeHouse) -> None:
    patch = {(3, "1.1.21.7.0.255", 2): i16(-25), (3, "1.1.21.7.0.255", 3): scaler_unit(2, 27)}
    url = make_house(patch=patch).meter.url("client=1")
    told = headend_meter(
        "read", url, "1.0.2.8.0.255", "1.0.32.7.0.255", "1.0.31.7.0.255", "1.0.16.7.0.255",
        "1.0.1.6.0.255", "1.1.21.7.0.255",
    )  # fmt: skip
    assert [(each["value"], each["unit"]) for each in told.json] == [
        (77000, "Wh"), (230.5, "V"), (1.234, "A"), (-1500, "W"), (4321, "W"), (-2500, "W"),
    ]  # fmt: skip
    assert told.json[4]["time"] == "2026-03-01T18:15:00+08:00"


@pytest.mark.parametrize("without", [(), ((15, "0.0.40.0.0.255", 2),)], ids=["list", "no list"])
def test_an_object_of_an_unusual_class_that_the_list_leaves_out(
    make_house: MakeHouse, without: tuple[tuple[int, str, int], ...]
) -> None:
    patch = {(3, "0.0.96.9.0.255", 2): i16(253), (3, "0.0.96.9.0.255", 3): scaler_unit(-1, 9)}
    url = make_house(patch=patch, without=without).meter.url("client=1")
    told = headend_meter("read", url, "0.0.96.9.0.255")
    assert told.json == [{"obis": "0.0.96.9.0.255", "value": 25.3, "unit": "°C"}]


def test_profiles_are_found_without_an_object_list(make_house: MakeHouse) -> None:
    url = make_house(without=((15, "0.0.40.0.0.255", 2),)).meter.url("client=1")
    told = headend_meter("identify", url)
    assert told.json["profiles"] == [PROFILE]
    assert told.json["event_logs"] == [EVENTS]


ROWS: dict[str, tuple[list[bytes], list[list[object]]]] = {
    "none": ([], []),
    "typed date-time": (
        [structure(b"\x19" + moment(2026, 3, 1, 1, 0), u8(0), u32(5))],
        [["2026-03-01T01:00:00+08:00", 0, 5]],
    ),
    "null as before": (
        [structure(octets(moment(2026, 3, 1, 1, 0)), u8(4), u32(5)),
         structure(null(), null(), u32(6))],
        [["2026-03-01T01:00:00+08:00", 4, 5], ["2026-03-01T01:15:00+08:00", 4, 6]],
    ),
    "no deviation, no seconds": (
        [structure(octets(moment(2026, 3, 1, 1, 0, 255, deviation=-0x8000, status=255)),
                   u8(0), u32(5))],
        [["2026-03-01T01:00:00+08:00", 0, 5]],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), ROWS.values(), ids=ROWS.keys())
def test_rows_of_a_profile(
    make_house: MakeHouse, rows: list[bytes], expected: list[list[object]]
) -> None:
    url = make_house(patch={(7, PROFILE, 2): array(*rows)}).meter.url("client=1")
    assert headend_meter("profile", url, PROFILE).json["rows"] == expected


@pytest.mark.parametrize("mode", range(7))
def test_the_relay_in_each_control_mode(make_house: MakeHouse, mode: int) -> None:
    house = make_house()
    house.contact.mode = mode
    url = house.meter.url("client=1")
    opened = headend_meter("relay", url, "open")
    if mode == 0:
        assert opened.code == 1
        assert house.contact.closed
        return
    disconnected = {"output_state": False, "control_state": "disconnected", "control_mode": mode}
    assert (opened.code, opened.json) == (0, disconnected)
    closed = headend_meter("relay", url, "close")
    connected = mode in (2, 4)
    state = "connected" if connected else "ready_for_reconnection"
    expected = {"output_state": connected, "control_state": state, "control_mode": mode}
    assert (closed.code, closed.json) == (0, expected)
    assert headend_meter("relay", url, "get").json == expected


def test_a_contact_that_stays_is_exit_code_1(make_house: MakeHouse) -> None:
    house = make_house()
    house.contact.takes = False
    told = headend_meter("relay", house.meter.url("client=1"), "open", "--wait", "0.2")
    assert told.code == 1
    assert told.json["output_state"] is True
    assert "did not open" in told.err


def test_a_meter_that_takes_no_command_now_is_busy(make_house: MakeHouse) -> None:
    house = make_house(methods={(70, RELAY, 1): lambda _: (2, None)})
    told = headend_meter("relay", house.meter.url("client=1"), "open")
    assert told.code == 1
    assert told.err.startswith("headend: busy: ")


def test_the_clock_is_set_as_the_meter_writes_it(make_house: MakeHouse) -> None:
    house = make_house()
    told = headend_meter("clock", house.meter.url(KEYS.split("&auth")[0]), "set")
    assert told.code == 0, told.err
    assert abs(told.json["ahead_s"]) <= 1.5
    (written,) = [each for each in house.meter.asked if each[0] == 0xC1]
    time = written[-12:]
    assert (time[4], time[8]) == (0xFF, 0xFF)  # day of week and hundredths stay untold
    assert time[9:11] == b"\xfe\x20"
