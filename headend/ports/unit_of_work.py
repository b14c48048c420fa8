"""One transaction and the repositories that take part in it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from headend.ports.accounts import AccountRepository
from headend.ports.audit import AuditRepository
from headend.ports.cases import CaseRepository
from headend.ports.holds import HoldRepository
from headend.ports.idempotency import IdempotencyRepository
from headend.ports.ledger import LedgerRepository
from headend.ports.links import LinkRepository
from headend.ports.notices import NoticeRepository
from headend.ports.orders import OrderRepository
from headend.ports.payments import PaymentRepository
from headend.ports.policies import PolicyRepository
from headend.ports.readings import ReadingRepository
from headend.ports.registry import RegistryRepository
from headend.ports.reports import ReportRepository
from headend.ports.runs import RunRepository
from headend.ports.settlement import SettlementRepository
from headend.ports.supply import SupplyRepository
from headend.ports.supply_views import SupplyViewRepository
from headend.ports.tariffs import TariffRepository


class UnitOfWork(Protocol):
    """The repositories of one open transaction: all of it commits, or none."""

    @property
    def accounts(self) -> AccountRepository: ...
    @property
    def audit(self) -> AuditRepository: ...
    @property
    def cases(self) -> CaseRepository: ...
    @property
    def holds(self) -> HoldRepository: ...
    @property
    def idempotency(self) -> IdempotencyRepository: ...
    @property
    def ledger(self) -> LedgerRepository: ...
    @property
    def links(self) -> LinkRepository: ...
    @property
    def notices(self) -> NoticeRepository: ...
    @property
    def orders(self) -> OrderRepository: ...
    @property
    def payments(self) -> PaymentRepository: ...
    @property
    def policies(self) -> PolicyRepository: ...
    @property
    def readings(self) -> ReadingRepository: ...
    @property
    def registry(self) -> RegistryRepository: ...
    @property
    def reports(self) -> ReportRepository: ...
    @property
    def runs(self) -> RunRepository: ...
    @property
    def settlement(self) -> SettlementRepository: ...
    @property
    def supply(self) -> SupplyRepository: ...
    @property
    def supply_views(self) -> SupplyViewRepository: ...
    @property
    def tariffs(self) -> TariffRepository: ...

    def savepoint(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Do a part of the transaction that is undone alone when its block raises."""
        ...


class Store(Protocol):
    """Opens transactions."""

    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Begin; commit at the end of the block, roll back when it raises.

        Raises `StorageUnavailable` when the database is not there or too busy.
        """
        ...

    def enclosing_transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Begin a transaction that others of this task join: what they did commits with it.

        A joined block that raises undoes its own part. Tasks started inside do not join.
        """
        ...
