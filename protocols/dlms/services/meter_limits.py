"""The limits of one meter by name, wherever its model says that they are.

``power`` is its limiter; the others are threshold registers, by the names of the model.
"""

from __future__ import annotations

from decimal import Decimal

from headend.domain.errors import BadInput, MeterBusy, MeterRefused
from headend.domain.obis import Obis
from headend.ports.inspection import LimitReading
from protocols.dlms.meter_model import MeterModel
from protocols.dlms.services import limits
from protocols.dlms.services.cosem import CosemAccess

POWER = "power"


class MeterLimits:
    """Reads and writes them; one that the meter does not have is passed over when reading."""

    def __init__(self, access: CosemAccess, model: MeterModel) -> None:
        self._access = access
        self._power = model.limits.load
        self._thresholds = model.limits.voltage

    async def read(self) -> list[LimitReading]:
        """Return the limits that the meter shows, power first."""
        found = []
        if self._power is not None:
            found.append(await self._read_power(self._power))
        for name, obis in self._thresholds.items():
            found.append(await self._read_threshold(name, obis))
        return [each for each in found if each is not None]

    async def write(self, name: str, value: Decimal | None, *, over_s: int | None = None) -> None:
        """Write one; raises `BadInput`, `MeterRefused`."""
        if name == POWER and self._power is not None:
            await limits.write_limiter(self._access, self._power, normal=value, over_s=over_s)
            return
        obis = self._thresholds.get(name)
        if obis is None:
            known = [*([POWER] if self._power is not None else []), *self._thresholds]
            raise BadInput(
                f"this meter's model has no limit {name!r}, only {', '.join(known) or 'none'}",
                field=name,
            )
        if over_s is not None:
            raise BadInput(f"the limit {name} has no duration", field="after")
        if value is not None:
            await limits.write_threshold(self._access, obis, value)

    async def _read_power(self, obis: Obis) -> LimitReading | None:
        try:
            limiter = await limits.read_limiter(self._access, obis)
        except MeterBusy:
            raise
        except MeterRefused:
            return None
        return LimitReading(
            POWER, str(obis), limiter.normal, limiter.unit, limiter.over_s, limiter.acts
        )

    async def _read_threshold(self, name: str, obis: Obis) -> LimitReading | None:
        try:
            threshold = await limits.read_threshold(self._access, obis)
        except MeterBusy:
            raise
        except MeterRefused:
            return None
        return LimitReading(name, str(obis), threshold.value, threshold.unit)
