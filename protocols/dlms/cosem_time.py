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
MONTH_DAYLIGHT_SAVING_ENDS = 0xFD
MONTH_DAYLIGHT_SAVING_BEGINS = 0xFE

STATUS_INVALID_VALUE = 0x01
STATUS_DOUBTFUL_VALUE = 0x02
STATUS_DIFFERENT_BASE = 0x04
STATUS_INVALID_STATUS = 0x08
STATUS_DAYLIGHT_SAVING = 0x80
STATUS_UNSPECIFIED = 0xFF


def _specified(octet: int) -> int | None:
    return None if octet == UNSPECIFIED else octet


def _octet(value: int | None, name: str) -> int:
    if value is None:
        return UNSPECIFIED
    if not 0 <= value < UNSPECIFIED:
        raise LocalProtocolError(f"{name} {value} does not fit its octet")
    return value


@dataclass(frozen=True, slots=True)
class CosemDate:
    """Year, month, day of month, day of week: 5 octets, with its parts (None: wildcard).

    Days and months may be the special ones above: the last day, the begin of daylight saving.
    """

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 5:
            raise LocalProtocolError(f"a COSEM date has 5 octets, not {len(self.octets)}")

    @classmethod
    def of(
        cls,
        year: int | None = None,
        month: int | None = None,
        day: int | None = None,
        weekday: int | None = None,
    ) -> CosemDate:
        """Build one; raises `LocalProtocolError` for a part that does not fit."""
        if year is not None and not 0 <= year < YEAR_UNSPECIFIED:
            raise LocalProtocolError(f"year {year} does not fit two octets")
        head = (YEAR_UNSPECIFIED if year is None else year).to_bytes(2, "big")
        parts = ((month, "month"), (day, "day"), (weekday, "weekday"))
        return cls(head + bytes(_octet(value, name) for value, name in parts))

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
    def weekday(self) -> int | None:
        """Monday is 1."""
        return _specified(self.octets[4])


@dataclass(frozen=True, slots=True)
class CosemTime:
    """Hour, minute, second, hundredths: 4 octets, with its parts (None: wildcard)."""

    octets: bytes

    def __post_init__(self) -> None:
        if len(self.octets) != 4:
            raise LocalProtocolError(f"a COSEM time has 4 octets, not {len(self.octets)}")

    @classmethod
    def of(
        cls,
        hour: int | None = None,
        minute: int | None = None,
        second: int | None = None,
        hundredths: int | None = None,
    ) -> CosemTime:
        """Build one; raises `LocalProtocolError` for a part that does not fit."""
        parts = (
            (hour, "hour"),
            (minute, "minute"),
            (second, "second"),
            (hundredths, "hundredths"),
        )
        return cls(bytes(_octet(value, name) for value, name in parts))

    @property
    def hour(self) -> int | None:
        return _specified(self.octets[0])

    @property
    def minute(self) -> int | None:
        return _specified(self.octets[1])

    @property
    def second(self) -> int | None:
        return _specified(self.octets[2])

    @property
    def hundredths(self) -> int | None:
        return _specified(self.octets[3])


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
    def of(
        cls,
        date: CosemDate,
        time: CosemTime,
        *,
        deviation_min: int | None = None,
        status: int | None = None,
    ) -> CosemDateTime:
        """Join a date and a time, wildcards and all; None: deviation or status unspecified."""
        deviation = DEVIATION_UNSPECIFIED if deviation_min is None else deviation_min
        if not DEVIATION_UNSPECIFIED <= deviation <= 0x7FFF:
            raise LocalProtocolError(f"a deviation of {deviation} min does not fit two octets")
        tail = deviation.to_bytes(2, "big", signed=True) + bytes((_octet(status, "status"),))
        return cls(date.octets + time.octets + tail)

    @classmethod
    def parse(cls, octets: bytes) -> CosemDateTime:
        """Take 12 received octets; raises `MalformedData` for another length."""
        if len(octets) != 12:
            raise MalformedData(f"a COSEM date-time has 12 octets, not {len(octets)}")
        return cls(bytes(octets))

    @property
    def date(self) -> CosemDate:
        return CosemDate(self.octets[:5])

    @property
    def time(self) -> CosemTime:
        return CosemTime(self.octets[5:9])

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
    def weekday(self) -> int | None:
        """Monday is 1."""
        return _specified(self.octets[4])

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
