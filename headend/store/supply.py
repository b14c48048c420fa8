"""PostgreSQL repository of supply states, restraints and the guard's facts."""

from __future__ import annotations

from datetime import date, datetime

from headend.domain.errors import NotFound
from headend.domain.reading import MeterIdentity
from headend.domain.supply import OPEN, RelayReading, Restraint, SupplyState
from headend.ports.supply import GuardRow, InstalledMeterRef, StandingRestraint, SupplyView
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("supply")


class PostgresSupplyRepository:
    """Stores what is seen of contacts; see `headend.ports.supply.SupplyRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def guard_row(
        self, usage_point_id: int, *, at: datetime, corrections_since: date
    ) -> GuardRow:
        cursor = await self._connection.execute(
            _QUERIES["guard_row"],
            {"usage_point_id": usage_point_id, "at": at, "corrections_since": corrections_since},
        )
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"there is no usage point {usage_point_id}", field="usage_point_id")
        row["supply_state"] = SupplyState(row["supply_state"])
        row["restraints"], row["holds"] = tuple(row["restraints"]), tuple(row["holds"])
        return GuardRow(**row)

    async def record_supply_state(
        self,
        usage_point_id: int,
        meter_id: int,
        relay: RelayReading | None,
        *,
        source: str,
        at: datetime,
    ) -> Restraint | None:
        state = SupplyState.UNKNOWN if relay is None else relay.supply_state
        cursor = await self._connection.execute(
            _QUERIES["record_state"],
            {
                "usage_point_id": usage_point_id,
                "meter_id": meter_id,
                "state": state,
                "output_state": relay.output_state if relay else None,
                "control_state": relay.control_state if relay else None,
                "control_mode": relay.control_mode if relay else None,
                "power_w": relay.power_w if relay else None,
                "source": source,
                "at": at,
            },
        )
        if await cursor.fetchone() is None:
            return None
        if state is SupplyState.CONNECTED:
            await self.lift_restraint(usage_point_id, Restraint.LOCAL, lifted_by=source, at=at)
            await self._connection.execute(
                _QUERIES["lift_disproved"],
                {"usage_point_id": usage_point_id, "source": source, "at": at},
            )
        if state in (SupplyState.DISCONNECTED, SupplyState.READY_FOR_RECONNECTION):
            cursor = await self._connection.execute(
                _QUERIES["place_local"],
                {
                    "usage_point_id": usage_point_id,
                    "source": source,
                    "at": at,
                    "open_states": sorted(OPEN),
                },
            )
            if await cursor.fetchone() is not None:
                return Restraint.LOCAL
        return None

    async def lock_usage_point(self, usage_point_id: int) -> None:
        await self._connection.execute(
            _QUERIES["lock_usage_point"], {"usage_point_id": usage_point_id}
        )

    async def installed_meter(self, usage_point_id: int) -> InstalledMeterRef | None:
        cursor = await self._connection.execute(
            _QUERIES["installed_meter"], {"usage_point_id": usage_point_id}
        )
        row = await cursor.fetchone()
        return InstalledMeterRef(**row) if row else None

    async def off_without_reason(
        self, *, limit: int, usage_point_id: int | None = None
    ) -> list[int]:
        cursor = await self._connection.execute(
            _QUERIES["off_without_reason"],
            {"usage_point_id": usage_point_id, "open_states": sorted(OPEN), "limit": limit},
        )
        return [row["usage_point_id"] for row in await cursor.fetchall()]

    async def expected_identity(self, meter_id: int) -> MeterIdentity:
        cursor = await self._connection.execute(
            _QUERIES["expected_identity"], {"meter_id": meter_id}
        )
        row = await cursor.fetchone()
        if row is None:
            raise NotFound(f"there is no meter {meter_id}", field="meter_id")
        return MeterIdentity(**row)

    async def supply_state(self, usage_point_id: int) -> SupplyView | None:
        cursor = await self._connection.execute(
            _QUERIES["supply_state"], {"usage_point_id": usage_point_id}
        )
        row = await cursor.fetchone()
        return SupplyView(**{**row, "state": SupplyState(row["state"])}) if row else None

    async def restraints(self, usage_point_id: int) -> list[StandingRestraint]:
        cursor = await self._connection.execute(
            _QUERIES["restraints"], {"usage_point_id": usage_point_id}
        )
        return [
            StandingRestraint(**{**row, "kind": Restraint(row["kind"])})
            for row in await cursor.fetchall()
        ]

    async def place_restraint(
        self,
        usage_point_id: int,
        kind: Restraint,
        *,
        placed_by: str,
        evidence: str,
        at: datetime,
        order_id: int | None = None,
    ) -> bool:
        cursor = await self._connection.execute(
            _QUERIES["place_restraint"],
            {
                "usage_point_id": usage_point_id,
                "kind": kind,
                "placed_by": placed_by,
                "evidence": evidence,
                "at": at,
                "order_id": order_id,
            },
        )
        return await cursor.fetchone() is not None

    async def lift_restraint(
        self, usage_point_id: int, kind: Restraint, *, lifted_by: str, at: datetime
    ) -> bool:
        cursor = await self._connection.execute(
            _QUERIES["lift_restraint"],
            {"usage_point_id": usage_point_id, "kind": kind, "lifted_by": lifted_by, "at": at},
        )
        return await cursor.fetchone() is not None
