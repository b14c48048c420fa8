"""PostgreSQL repository of tariff documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("tariffs")


class PostgresTariffRepository:
    """Stores tariff documents; see `headend.ports.tariffs.TariffRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put(self, tariff_code: str, document: Mapping[str, Any]) -> bool:
        cursor = await self._connection.execute(
            _QUERIES["put"], {"tariff_code": tariff_code, "document": Jsonb(dict(document))}
        )
        return await cursor.fetchone() is not None

    async def find(self, tariff_code: str) -> Mapping[str, Any] | None:
        cursor = await self._connection.execute(_QUERIES["find"], {"tariff_code": tariff_code})
        row = await cursor.fetchone()
        return row["document"] if row else None
