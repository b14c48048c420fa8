"""The transactions that keyed work runs in: joined by its task, undone in part, lost safely."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from headend.domain.errors import BadInput, InvariantViolated, StorageUnavailable
from headend.ports.idempotency import KeyedRequest, StoredAnswer
from headend.services.idempotency import Idempotency
from headend.store.database import open_pool
from headend.store.unit_of_work import PostgresStore

AT = datetime(2026, 3, 2, tzinfo=UTC)
REQUEST = KeyedRequest("billing", "k-1", "POST /v1/things", b"hash")


@pytest.fixture
async def store(module_database_url: str) -> AsyncIterator[PostgresStore]:
    async with open_pool(module_database_url, max_size=4) as pool:
        yield PostgresStore(pool)


async def stop(store: PostgresStore, reason: str) -> None:
    """Write something in a transaction of its own, as a service does."""
    async with store.transaction() as uow:
        await uow.orders.set_stop_switch(stopped=False, changed_by="test", reason=reason, at=AT)


async def reason(store: PostgresStore) -> str:
    """Read what `stop` wrote."""
    async with store.transaction() as uow:
        return (await uow.orders.stop_switch()).reason


async def test_what_joins_is_undone_with_the_whole(store: PostgresStore) -> None:
    async def fails_later() -> None:
        async with store.enclosing_transaction():
            await stop(store, "inside")
            assert await reason(store) == "inside"
            raise ValueError("later")

    await stop(store, "before")
    with pytest.raises(ValueError, match="later"):
        await fails_later()
    assert await reason(store) == "before"


async def test_a_part_that_fails_undoes_itself_alone(store: PostgresStore) -> None:
    async def second_part() -> None:
        async with store.transaction() as uow:
            await uow.orders.set_stop_switch(
                stopped=True, changed_by="test", reason="second part", at=AT
            )
            raise ValueError("part")

    async with store.enclosing_transaction():
        await stop(store, "first part")
        with pytest.raises(ValueError, match="part"):
            await second_part()
    assert await reason(store) == "first part"


async def test_one_does_not_enclose_another(store: PostgresStore) -> None:
    async with store.enclosing_transaction():
        with pytest.raises(InvariantViolated):
            await store.enclosing_transaction().__aenter__()
    await stop(store, "free again")
    assert await reason(store) == "free again"


async def test_a_lost_connection_says_that_retrying_is_safe(store: PostgresStore) -> None:
    async def loses_its_server() -> None:
        async with store.transaction() as uow:
            await uow.orders.set_stop_switch(stopped=True, changed_by="test", reason="lost", at=AT)
            await uow._connection.execute("select pg_terminate_backend(pg_backend_pid())")

    await stop(store, "before")
    with pytest.raises(StorageUnavailable) as lost:
        await loses_its_server()
    assert lost.value.retryable
    assert await reason(store) == "before"


async def test_keyed_work_is_done_once(store: PostgresStore) -> None:
    done: list[str] = []

    async def work() -> StoredAnswer:
        done.append("once")
        return StoredAnswer(201, {"number": len(done)})

    idempotency = Idempotency(store)
    first = await idempotency.once(REQUEST, work)
    again = await idempotency.once(REQUEST, work)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.answer == again.answer == StoredAnswer(201, {"number": 1})
    other_client = KeyedRequest("auditor", "k-1", "POST /v1/things", b"hash")
    assert (await idempotency.once(other_client, work)).answer.body == {"number": 2}
    assert (await idempotency.once(None, work)).answer.body == {"number": 3}
    for reused in (
        KeyedRequest("billing", "k-1", "POST /v1/others", b"hash"),
        KeyedRequest("billing", "k-1", "POST /v1/things", b"other"),
    ):
        with pytest.raises(BadInput, match="this key was used") as refused:
            await idempotency.once(reused, work)
        assert (refused.value.code, refused.value.field) == (
            "idempotency_key_reused",
            "Idempotency-Key",
        )
    assert len(done) == 3


async def test_work_that_fails_leaves_its_key_free(store: PostgresStore) -> None:
    request = KeyedRequest("billing", "k-2", "POST /v1/things", b"hash")

    async def fails() -> StoredAnswer:
        await stop(store, "half done")
        raise BadInput("no", field="amount")

    async def works() -> StoredAnswer:
        return StoredAnswer(200, {})

    await stop(store, "before")
    with pytest.raises(BadInput, match="no"):
        await Idempotency(store).once(request, fails)
    assert await reason(store) == "before"
    assert (await Idempotency(store).once(request, works)).replayed is False
