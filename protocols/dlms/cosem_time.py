"""COSEM date, time and date-time: 5, 4 and 12 octets with wildcards, deviation and clock status.

The octets are kept as they came, so that every value survives a round trip, wildcards included.
Layout (Blue Book, 4.1.6.1; clause unverified): year (2), month, day of month, day of week, hour,
minute, second, hundredths, deviation (2, signed minutes), clock status.

The deviation is *local time to UTC*: UTC = local + deviation, so Shanghai is -480. Some meters send
it with the opposite sign; the meter model says so, this module only takes the sign it is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from headend.domain.errors import LocalProtocolError
from protocols.dlms.errors import MalformedData

YEAR_UNSPECIFIED = 0xFFFF
UNSPECIFIED = 0xFF
DEVIATION_UNSPECIFIED = -0x8000
DAY_LAST = 0xFE
DAY_SECOND_LAST = 0xFD

STATUS_INVALID_VALUE = 0x01
STATUS_DOUBTFUL_VALUE = 0x02
STATUS_DIFFERENT_BASE = 0x04
STATUS_INVALID_STATUS = 0x08
STATUS_DAYLIGHT_SAVING = 0x80
STATUS_UNSPECIFIED = 0xFF


def _specified(octet: int) -> int | None:
    return None if octet == UNSPECIFIED else octet


@dataclass(frozen=True, slots=True)
class CosemDate:
    """Year, month, day of month, day of week: 5 octets."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 5:
            raise LocalProtocolError(f"a COSEM date has 5 octets, not {len(self.octets)}")


@dataclass(frozen=True, slots=True)
class CosemTime:
    """Hour, minute, second, hundredths: 4 octets."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 4:
            raise LocalProtocolError(f"a COSEM time has 4 octets, not {len(self.octets)}")


@dataclass(frozen=True, slots=True)
class CosemDateTime:
    """The 12 octets of a COSEM date-time, with its parts (None: wildcard) as properties."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 12:
            raise LocalProtocolError(f"a COSEM date-time has 12 octets, not {len(self.octets)}")

    @classmethod
    def from_instant(
        cls, instant: datetime, *, deviation_min: int = 0, status: int = 0
    ) -> CosemDateTime:
        """Encode an aware instant as the wall clock of a zone ``deviation_min`` from UTC."""
        local = instant.astimezone(UTC) - timedelta(minutes=deviation_min)
        head = local.year.to_bytes(2, "big") + bytes(
            (local.month, local.day, local.isoweekday(), local.hour, local.minute, local.second)
        )
        tail = bytes((local.microsecond // 10_000,))
        return cls(head + tail + deviation_min.to_bytes(2, "big", signed=True) + bytes((status,)))

    @classmethod
    def parse(cls, octets: bytes) -> CosemDateTime:
        """Take 12 received octets; raises `MalformedData` for another length."""
        if len(octets) != 12:
            raise MalformedData(f"a COSEM date-time has 12 octets, not {len(octets)}")
        return cls(bytes(octets))

    @property
    def year(self) -> int | None:
        value = int.from_bytes(self.octets[:2], "big")
        return None if value == YEAR_UNSPECIFIED else value

    @property
    def month(self) -> int | None:
        return _specified(self.octets[2])

    @property
    def day(self) -> int | None:
        return _specified(self.octets[3])

    @property
    def hour(self) -> int | None:
        return _specified(self.octets[5])

    @property
    def minute(self) -> int | None:
        return _specified(self.octets[6])

    @property
    def second(self) -> int | None:
        return _specified(self.octets[7])

    @property
    def hundredths(self) -> int | None:
        return _specified(self.octets[8])

    @property
    def deviation_min(self) -> int | None:
        """Minutes from local time to UTC, or None where the meter does not say."""
        value = int.from_bytes(self.octets[9:11], "big", signed=True)
        return None if value == DEVIATION_UNSPECIFIED else value

    @property
    def status(self) -> int | None:
        return _specified(self.octets[11])

    def to_instant(self, *, default_deviation_min: int, deviation_sign: int = 1) -> datetime:
        """Return the instant, aware UTC.

        ``default_deviation_min`` counts where the meter gives none; ``deviation_sign`` is -1 for
        meters that send the opposite sign. An unspecified second or hundredth is zero; any other
        wildcard, or a date that does not exist, raises `MalformedData`.
        """
        deviation = self.deviation_min
        shift = default_deviation_min if deviation is None else deviation * deviation_sign
        year, month, day, hour, minute = self.year, self.month, self.day, self.hour, self.minute
        if year is None or month is None or day is None or hour is None or minute is None:
            raise MalformedData(f"{self.octets.hex()} is a pattern, not one instant")
        try:
            local = datetime(
                year, month, day, hour, minute, self.second or 0,
                (self.hundredths or 0) * 10_000, tzinfo=UTC,
            )  # fmt: skip
            return local + timedelta(minutes=shift)
        except (ValueError, OverflowError):
            raise MalformedData(f"{self.octets.hex()} is no date-time") from None
