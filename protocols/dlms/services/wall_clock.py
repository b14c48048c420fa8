"""How one meter writes time: its own wall clock, deviation and status, learnt from its clock.

A bound of a selection must be written as the meter writes its rows: many meters compare octets and
never look at the deviation. Where the clock could not be read, or does not tell its deviation, the
model's zone counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from headend.domain.errors import MeterMisbehaved
from protocols.dlms.cosem_time import (
    DEVIATION_UNSPECIFIED,
    STATUS_DAYLIGHT_SAVING,
    STATUS_UNSPECIFIED,
    CosemDateTime,
)
from protocols.dlms.data import Data
from protocols.dlms.meter_model import MeterModel
from protocols.dlms.profile_rows import read_instant
from protocols.dlms.push_values import as_date_time

_MAX_DEVIATION_MIN = 14 * 60
_WEEKDAY, _HUNDREDTHS = 4, 8  # octets of a date-time
_NOT_TOLD = 0xFF


@dataclass(frozen=True, slots=True)
class WallClock:
    """Writes and reads times as the meter does; ``sample`` is a time that it sent."""

    model: MeterModel
    sample: CosemDateTime | None = None

    def zone_at(self, instant: datetime) -> tzinfo:
        """Return the offset that the meter's wall clock has at an instant."""
        zone = ZoneInfo(self.model.zone)
        own = self._own_offset()
        if own is None or self.sample is None:
            return zone
        try:
            sampled = read_instant(self.sample, self.model)
        except MeterMisbehaved:
            return zone
        # A meter that agrees with its zone now follows it through summer time as well.
        return zone if sampled.astimezone(zone).utcoffset() == own else timezone(own)

    def localise(self, moment: datetime) -> datetime:
        """Return an aware instant; a naive one is meant as the meter's wall clock says it."""
        if moment.tzinfo is not None:
            return moment
        return moment.replace(tzinfo=self.zone_at(moment.replace(tzinfo=UTC)))

    def instant_of(self, value: Data) -> datetime | None:
        """Return the instant of a date-time, in the meter's offset; None for anything else."""
        moment = as_date_time(value)
        if moment is None:
            return None
        try:
            instant = read_instant(moment, self.model)
        except MeterMisbehaved:
            return None
        wall = moment.to_instant(default_deviation_min=0, deviation_sign=0)
        return instant.astimezone(timezone(wall - instant))

    def write(self, instant: datetime) -> CosemDateTime:
        """Return an instant as the meter would write it itself."""
        if self._leaves_out(_HUNDREDTHS):
            instant += timedelta(seconds=0.5)  # to the nearest second
        local = instant.astimezone(self.zone_at(instant))
        offset = local.utcoffset() or timedelta(0)
        saving = bool(local.dst())
        status = STATUS_DAYLIGHT_SAVING if saving else 0
        if self.sample is not None and self.sample.status is None:
            status = STATUS_UNSPECIFIED
        deviation_min = -int(offset.total_seconds()) // 60
        octets = CosemDateTime.from_instant(
            instant, deviation_min=deviation_min, status=status
        ).octets
        deviation = self._deviation_octets(deviation_min)
        return CosemDateTime(self._leave_out(octets[:9]) + deviation + octets[11:])

    def _leave_out(self, octets: bytes) -> bytes:
        """Leave out day of week and hundredths where the meter does; the first nine octets."""
        parts = bytearray(octets)
        for at in (_WEEKDAY, _HUNDREDTHS):
            if self._leaves_out(at):
                parts[at] = _NOT_TOLD
        return bytes(parts)

    def _leaves_out(self, at: int) -> bool:
        return self.sample is not None and self.sample.octets[at] == _NOT_TOLD

    def _deviation_octets(self, deviation_min: int) -> bytes:
        told = None if self.sample is None else self.sample.deviation_min
        if self.sample is not None and told is None:
            deviation_min = DEVIATION_UNSPECIFIED
        elif self.model.deviation == "inverted":
            deviation_min = -deviation_min
        return deviation_min.to_bytes(2, "big", signed=True)

    def _own_offset(self) -> timedelta | None:
        """Return the offset from UTC that the sample tells, None where it tells none."""
        if self.sample is None or self.model.deviation == "ignored":
            return None
        deviation = self.sample.deviation_min
        if deviation is None or abs(deviation) > _MAX_DEVIATION_MIN:
            return None
        return timedelta(minutes=deviation if self.model.deviation == "inverted" else -deviation)
