"""What is measured: seeded profiles of 96 rows, and a meter that holds one.

A row is clock, status and four channels of a quarter-hourly day; every contestant gets the same
octets.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from headend.domain.obis import (
    CLOCK,
    DISCONNECT_CONTROL,
    INSTANTANEOUS_POWER_IMPORT,
    LOAD_PROFILE_1,
    Obis,
)
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.selection import CaptureObject

SEED = 20260301
ROWS = 96
INTERVAL_MIN = 15
START = datetime(2026, 2, 28, 16, 0, tzinfo=UTC)  # 1 March in Shanghai
DEVIATION_MIN = -480
ENCRYPTION_KEY = bytes(range(16))
AUTHENTICATION_KEY = bytes(range(0xD0, 0xE0))
CLIENT = 1
METER = 1  # wPort
STATUS = Obis.parse("0.0.96.10.1.255")
CHANNELS = tuple(Obis.parse(f"1.0.{number}.8.0.255") for number in (1, 2, 3, 4))
CAPTURED = (
    CaptureObject(8, CLOCK),
    CaptureObject(1, STATUS),
    *(CaptureObject(3, channel) for channel in CHANNELS),
)
RELAY_ATTRIBUTES = (
    (70, DISCONNECT_CONTROL, 2),
    (70, DISCONNECT_CONTROL, 3),
    (70, DISCONNECT_CONTROL, 4),
    (3, INSTANTANEOUS_POWER_IMPORT, 2),
)


def make_profile(seed: int) -> bytes:
    """Return one encoded buffer of `ROWS` rows: growing registers, a status that is seldom set."""
    draw = random.Random(seed)  # noqa: S311  (a sample, no secret)
    values = [draw.randrange(1_000_000) for _ in CHANNELS]
    rows = []
    for index in range(ROWS):
        at = START + (index + 1) * timedelta(minutes=INTERVAL_MIN)
        values = [value + draw.randrange(500) for value in values]
        clock = CosemDateTime.from_instant(at, deviation_min=DEVIATION_MIN).octets
        status = d.Unsigned(draw.choice((0, 0, 0, 4)))
        rows.append(d.Structure((clock, status, *map(d.DoubleLongUnsigned, values))))
    return xdr.encode(d.Array(rows))


def make_profiles(count: int) -> list[bytes]:
    """Return ``count`` buffers of different meters."""
    return [make_profile(SEED + number) for number in range(count)]


def make_attributes() -> dict[tuple[int, Obis, int], bytes]:
    """Return the encoded attributes of a meter with that profile and a closed contact."""
    values: dict[tuple[int, Obis, int], d.Data] = {
        (7, LOAD_PROFILE_1, 3): d.Array(each.to_data() for each in CAPTURED),
        (70, DISCONNECT_CONTROL, 2): True,
        (70, DISCONNECT_CONTROL, 3): d.Enum(1),
        (70, DISCONNECT_CONTROL, 4): d.Enum(4),
        (3, INSTANTANEOUS_POWER_IMPORT, 2): d.LongUnsigned(230),
        (3, INSTANTANEOUS_POWER_IMPORT, 3): d.Structure((d.Integer(0), d.Enum(27))),
    }
    encoded = {key: xdr.encode(value) for key, value in values.items()}
    encoded[7, LOAD_PROFILE_1, 2] = make_profile(SEED)
    return encoded
