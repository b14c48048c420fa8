"""PostgreSQL repository of link leases."""

from __future__ import annotations

from collections.abc import Sequence

from headend.domain.errors import NotFound
from headend.ports.links import LinkLease
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("links")


class PostgresLinkRepository:
    """Leases links by ``link_lease``; the database's real clock decides."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def try_lease(self, link_id: int, *, holder: str, lease_s: float) -> LinkLease | None:
        cursor = await self._connection.execute(_QUERIES["endpoint"], {"link_id": link_id})
        link = await cursor.fetchone()
        if link is None:
            raise NotFound(f"there is no link {link_id}", field="link_id")
        cursor = await self._connection.execute(
            _QUERIES["lease"], {"link_id": link_id, "holder": holder, "lease_s": lease_s}
        )
        row = await cursor.fetchone()
        return LinkLease(link_id, link["endpoint"], row["fence"]) if row else None

    async def renew(self, link_ids: Sequence[int], *, holder: str, lease_s: float) -> set[int]:
        cursor = await self._connection.execute(
            _QUERIES["renew"], {"link_ids": list(link_ids), "holder": holder, "lease_s": lease_s}
        )
        return {row["link_id"] for row in await cursor.fetchall()}

    async def release(self, link_ids: Sequence[int], *, holder: str) -> None:
        await self._connection.execute(
            _QUERIES["release"], {"link_ids": list(link_ids), "holder": holder}
        )

    async def holders(self) -> set[str]:
        cursor = await self._connection.execute(_QUERIES["holders"])
        return {row["holder"] for row in await cursor.fetchall()}

    async def release_held(self, holders: Sequence[str]) -> int:
        cursor = await self._connection.execute(
            _QUERIES["release_held"], {"holders": list(holders)}
        )
        return cursor.rowcount

    async def move_concentrator(self, concentrator_no: str, endpoint: str) -> bool:
        cursor = await self._connection.execute(
            _QUERIES["move_concentrator"],
            {"concentrator_no": concentrator_no, "endpoint": endpoint},
        )
        return await cursor.fetchone() is not None
