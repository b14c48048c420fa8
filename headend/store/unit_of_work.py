"""Unit of work on PostgreSQL: one pooled connection, one transaction, its repositories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cached_property

from psycopg import OperationalError
from psycopg_pool import AsyncConnectionPool

from headend.domain.errors import InvariantViolated, StorageUnavailable
from headend.store.accounts import PostgresAccountRepository
from headend.store.audit import PostgresAuditRepository
from headend.store.cases import PostgresCaseRepository
from headend.store.connection import Connection
from headend.store.holds import PostgresHoldRepository
from headend.store.idempotency import PostgresIdempotencyRepository
from headend.store.ledger import PostgresLedgerRepository
from headend.store.links import PostgresLinkRepository
from headend.store.notices import PostgresNoticeRepository
from headend.store.orders import PostgresOrderRepository
from headend.store.payments import PostgresPaymentRepository
from headend.store.policies import PostgresPolicyRepository
from headend.store.readings import PostgresReadingRepository
from headend.store.registry import PostgresRegistryRepository
from headend.store.reports import PostgresReportRepository
from headend.store.runs import PostgresRunRepository
from headend.store.settlement import PostgresSettlementRepository
from headend.store.supply import PostgresSupplyRepository
from headend.store.supply_views import PostgresSupplyViewRepository
from headend.store.tariffs import PostgresTariffRepository


class PostgresUnitOfWork:
    """The repositories of one open transaction, made when first used."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @cached_property
    def accounts(self) -> PostgresAccountRepository:
        return PostgresAccountRepository(self._connection)

    @cached_property
    def audit(self) -> PostgresAuditRepository:
        return PostgresAuditRepository(self._connection)

    @cached_property
    def cases(self) -> PostgresCaseRepository:
        return PostgresCaseRepository(self._connection)

    @cached_property
    def holds(self) -> PostgresHoldRepository:
        return PostgresHoldRepository(self._connection)

    @cached_property
    def idempotency(self) -> PostgresIdempotencyRepository:
        return PostgresIdempotencyRepository(self._connection)

    @cached_property
    def ledger(self) -> PostgresLedgerRepository:
        return PostgresLedgerRepository(self._connection)

    @cached_property
    def links(self) -> PostgresLinkRepository:
        return PostgresLinkRepository(self._connection)

    @cached_property
    def notices(self) -> PostgresNoticeRepository:
        return PostgresNoticeRepository(self._connection)

    @cached_property
    def orders(self) -> PostgresOrderRepository:
        return PostgresOrderRepository(self._connection)

    @cached_property
    def payments(self) -> PostgresPaymentRepository:
        return PostgresPaymentRepository(self._connection)

    @cached_property
    def policies(self) -> PostgresPolicyRepository:
        return PostgresPolicyRepository(self._connection)

    @cached_property
    def readings(self) -> PostgresReadingRepository:
        return PostgresReadingRepository(self._connection)

    @cached_property
    def registry(self) -> PostgresRegistryRepository:
        return PostgresRegistryRepository(self._connection)

    @cached_property
    def reports(self) -> PostgresReportRepository:
        return PostgresReportRepository(self._connection)

    @cached_property
    def runs(self) -> PostgresRunRepository:
        return PostgresRunRepository(self._connection)

    @cached_property
    def settlement(self) -> PostgresSettlementRepository:
        return PostgresSettlementRepository(self._connection)

    @cached_property
    def supply(self) -> PostgresSupplyRepository:
        return PostgresSupplyRepository(self._connection)

    @cached_property
    def tariffs(self) -> PostgresTariffRepository:
        return PostgresTariffRepository(self._connection)

    @cached_property
    def supply_views(self) -> PostgresSupplyViewRepository:
        return PostgresSupplyViewRepository(self._connection)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[PostgresUnitOfWork]:
        """Do a part of the transaction that can be undone alone."""
        async with self._connection.transaction():
            yield self


class PostgresStore:
    """Opens transactions on a pool."""

    def __init__(self, pool: AsyncConnectionPool[Connection]) -> None:
        self._pool = pool
        # By task, not by context variable: a task started inside would inherit the latter and use
        # the connection at the same time, or after it went back to the pool.
        self._enclosing: dict[asyncio.Task[object] | None, PostgresUnitOfWork] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresUnitOfWork]:
        enclosing = self._enclosing.get(asyncio.current_task())
        if enclosing is not None:
            async with enclosing.savepoint():
                yield enclosing
            return
        try:
            async with self._pool.connection() as connection, connection.transaction():
                yield PostgresUnitOfWork(connection)
        except OperationalError as error:
            # Lost or refused connections, no free connection, locks and statements timed out,
            # deadlocks: all of them rolled back, so that the same may be asked again.
            raise StorageUnavailable(
                f"the database cannot do this now ({type(error).__name__}): try again"
            ) from error

    @asynccontextmanager
    async def enclosing_transaction(self) -> AsyncIterator[PostgresUnitOfWork]:
        task = asyncio.current_task()
        if task in self._enclosing:
            raise InvariantViolated("an enclosing transaction inside another one")
        async with self.transaction() as uow:
            self._enclosing[task] = uow
            try:
                yield uow
            finally:
                del self._enclosing[task]
