"""PostgreSQL repository of idempotency keys. ``created_at`` is real time: keys age with it."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from headend.domain.errors import InvariantViolated
from headend.ports.idempotency import EarlierRequest, KeyedRequest, StoredAnswer
from headend.store.connection import Connection
from headend.store.database import load_queries

_QUERIES = load_queries("idempotency")


class PostgresIdempotencyRepository:
    """Stores keys of clients; see `headend.ports.idempotency.IdempotencyRepository`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def claim(self, request: KeyedRequest) -> EarlierRequest | None:
        names = {"client": request.client, "key": request.key}
        cursor = await self._connection.execute(
            _QUERIES["claim"],
            {**names, "request": request.request, "body_sha256": request.body_sha256},
        )
        if await cursor.fetchone() is not None:
            return None
        row = await (await self._connection.execute(_QUERIES["find"], names)).fetchone()
        if row is None:
            raise InvariantViolated(f"an idempotency key of {request.client} exists and does not")
        earlier = KeyedRequest(
            request.client, request.key, row["request"], bytes(row["body_sha256"])
        )
        if row["status"] is None:
            return EarlierRequest(earlier, None)
        return EarlierRequest(earlier, StoredAnswer(row["status"], row["response"]))

    async def keep(self, request: KeyedRequest, answer: StoredAnswer) -> None:
        cursor = await self._connection.execute(
            _QUERIES["keep"],
            {
                "client": request.client,
                "key": request.key,
                "status": answer.status,
                "response": Jsonb(dict(answer.body)),
            },
        )
        if cursor.rowcount != 1:
            raise InvariantViolated(f"an idempotency key of {request.client} was never claimed")
