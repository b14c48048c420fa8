"""What the independent meter of the tests holds, and the shell's commands carried out on it."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from independent_meter import IndependentMeter
from independent_octets import (
    array,
    boolean,
    enum,
    i8,
    i16,
    i32,
    ln,
    moment,
    null,
    octets,
    scaler_unit,
    structure,
    u8,
    u16,
    u32,
    u64,
)
from independent_services import Client, Method, Value, Ways

from headend.cli import main

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
KEYS = f"client=1&server=1&auth=gmac&ek={EK.hex()}&ak={AK.hex()}"
CLOCK, ENERGY, RELAY = "0.0.1.0.0.255", "1.0.1.8.0.255", "0.0.96.3.10.255"
PROFILE, EVENTS, STATUS = "1.0.99.1.0.255", "0.0.99.98.0.255", "0.0.96.10.1.255"
FRAME_COUNTER = "0.0.43.1.0.255"
Objects = dict[tuple[int, str, int], Value]


def gmac_clients(**changes: Any) -> dict[int, Client]:
    """Return a management client with keys and a public one."""
    return {1: Client(**{"mechanism": 5, "ek": EK, "ak": AK, **changes}), 16: Client()}


def clock_octets(deviation: int = -480, shift_s: int = 0) -> bytes:
    """Return the time now as a meter in UTC+8 writes it, whatever deviation it tells."""
    zone_min = 480 if deviation == -0x8000 else -deviation
    now = datetime.now(UTC) + timedelta(minutes=zone_min, seconds=shift_s)
    return moment(
        now.year, now.month, now.day, now.hour, now.minute, now.second, deviation=deviation
    )


def captured(class_id: int, obis: str, attribute: int = 2) -> bytes:
    return structure(u16(class_id), octets(ln(obis)), i8(attribute), u16(0))


def listed(class_id: int, obis: str, attributes: list[int]) -> bytes:
    modes = array(*(structure(i8(each), enum(1), null()) for each in attributes))
    return structure(u16(class_id), u8(0), octets(ln(obis)), structure(modes, array()))


@dataclass
class Contact:
    """The supply contact: what it is, and what the remote commands do."""

    mode: int = 4
    closed: bool = True
    state: int = 1
    takes: bool = True

    def disconnect(self, _parameter: bytes) -> tuple[int, bytes | None]:
        if self.mode == 0:
            return 3, None
        if self.takes:
            self.closed, self.state = False, 0
        return 0, None

    def reconnect(self, _parameter: bytes) -> tuple[int, bytes | None]:
        if self.takes:
            direct = self.mode in (2, 4)
            self.closed, self.state = direct, 1 if direct else 2
        return 0, None


def make_objects(contact: Contact) -> Objects:
    """Return a household meter's objects, its own list among them."""
    rows = [
        structure(octets(moment(2026, 3, 1, row // 4, 15 * (row % 4))), u8(0), u32(1000 + 5 * row))
        for row in range(96)
    ]
    objects: Objects = {
        (1, "0.0.42.0.0.255", 2): octets(b"XYZ1234567890123"),
        (1, "0.0.96.1.0.255", 2): octets(b"00012345"),
        (8, CLOCK, 2): lambda _: octets(clock_octets()),
        (8, CLOCK, 3): i16(-480),
        (3, ENERGY, 2): u32(12345),
        (3, ENERGY, 3): scaler_unit(0, 30),
        (3, "1.0.2.8.0.255", 2): u64(77),
        (3, "1.0.2.8.0.255", 3): scaler_unit(3, 30),
        (3, "1.0.32.7.0.255", 2): u16(2305),
        (3, "1.0.32.7.0.255", 3): scaler_unit(-1, 35),
        (3, "1.0.31.7.0.255", 2): b"\x17" + struct.pack(">f", 1.234),
        (3, "1.0.31.7.0.255", 3): scaler_unit(0, 33),
        (3, "1.0.16.7.0.255", 2): i32(-1500),
        (3, "1.0.16.7.0.255", 3): scaler_unit(0, 27),
        (4, "1.0.1.6.0.255", 2): u32(4321),
        (4, "1.0.1.6.0.255", 3): scaler_unit(0, 27),
        (4, "1.0.1.6.0.255", 5): octets(moment(2026, 3, 1, 18, 15)),
        (70, RELAY, 2): lambda _: boolean(contact.closed),
        (70, RELAY, 3): lambda _: enum(contact.state),
        (70, RELAY, 4): lambda _: enum(contact.mode),
        (7, PROFILE, 2): lambda selection: array(*_choose(rows, selection)),
        (7, PROFILE, 3): array(captured(8, CLOCK), captured(1, STATUS), captured(3, ENERGY)),
        (7, PROFILE, 4): u32(900),
        (7, PROFILE, 5): enum(1),
        (7, PROFILE, 7): u32(96),
        (7, EVENTS, 2): array(structure(octets(moment(2026, 3, 1, 5, 0)), u8(1))),
        (7, EVENTS, 3): array(captured(8, CLOCK), captured(1, "0.0.96.11.0.255")),
    }
    attributes: dict[tuple[int, str], list[int]] = {}
    for class_id, obis, attribute in objects:
        attributes.setdefault((class_id, obis), [1]).append(attribute)
    objects[15, "0.0.40.0.0.255", 2] = array(
        *(listed(class_id, obis, each) for (class_id, obis), each in attributes.items())
    )
    return objects


def _choose(rows: list[bytes], selection: bytes) -> list[bytes]:
    """Select rows by range of time or by entry."""
    if not selection:
        return rows
    if selection[0] == 2:
        first, last = (int.from_bytes(selection[at : at + 4], "big") for at in (4, 9))
        return rows[first - 1 : last or None]
    start = selection.index(b"\x09\x0c")
    end = selection.index(b"\x09\x0c", start + 14)
    first_at, last_at = (_day_and_time(selection[at + 2 : at + 14]) for at in (start, end))
    return [row for row in rows if first_at <= _day_and_time(row[4:16]) <= last_at]


def _day_and_time(octets_: bytes) -> bytes:
    return octets_[:4] + octets_[5:8]


@dataclass
class House:
    """A meter to ask, and its contact; ``patch`` changes its objects."""

    clients: dict[int, Client] | None = None
    ways: Ways = field(default_factory=Ways)
    patch: Objects = field(default_factory=dict)
    without: tuple[tuple[int, str, int], ...] = ()
    methods: dict[tuple[int, str, int], Method] = field(default_factory=dict)
    contact: Contact = field(default_factory=Contact)

    def __post_init__(self) -> None:
        objects = make_objects(self.contact) | self.patch
        for gone in self.without:
            objects.pop(gone, None)
        methods: dict[tuple[int, str, int], Method] = {
            (70, RELAY, 1): self.contact.disconnect,
            (70, RELAY, 2): self.contact.reconnect,
        }
        self.meter = IndependentMeter(
            objects, methods=methods | self.methods, clients=self.clients, ways=self.ways
        )


@dataclass(frozen=True)
class Told:
    """What one command of the shell ended with."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def headend_meter(*arguments: str, timeout_s: float = 2) -> Told:
    """Carry out ``headend meter ... --json`` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["meter", *arguments, "--json", "--timeout", str(timeout_s)])
    return Told(code, out.getvalue(), err.getvalue())


MakeHouse = Callable[..., House]
