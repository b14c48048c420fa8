"""Port of the policy repository: policy versions, facts of accounts, and the decisions on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One published version; ``document`` holds the decision table and the parameters."""

    policy_code: str
    version: int
    document: Mapping[str, Any] = field(repr=False)
    published_by: str
    approved_by: str
    effective_from: datetime


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What is known of one account at one usage point when a decision is made.

    Money in nano-yuan, instants aware UTC, None is unknown. ``estimated_nano`` is the part of the
    charges that rests on estimates. ``hold_ended_at`` is the last end of any hold here, by a person
    or by its date. The ``stage_`` lists run in parallel: the stages that the open notice cycle has
    planned, and when each was delivered (None: not yet). ``open_disconnect`` says whether an
    arrears disconnect is ``unsent`` or ``in_flight``.
    """

    account_id: int
    account_no: str
    usage_point_id: int
    time_zone: str
    customer_class: str
    payment_mode: str
    agreement_signed: bool
    emergency_credit_nano: int
    balance_nano: int | None
    estimated_nano: int | None
    actual_through: datetime | None
    payment_pending: bool
    channel_at_fault: bool
    supply_state: str | None
    meter_last_heard_at: datetime | None
    arrears_restraint: bool
    open_disconnect: str | None
    hold_kinds: list[str]
    hold_ended_at: datetime | None
    cycle_id: int | None
    cycle_account_id: int | None
    cycle_opened_at: datetime | None
    planned_disconnect_at: datetime | None
    expires_at: datetime | None
    next_decision_at: datetime | None
    refused_since: datetime | None
    stage_names: list[str]
    stage_states: list[str]
    stage_delivered_at: list[datetime | None]


FACT_NAMES: tuple[str, ...] = tuple(each.name for each in fields(AccountFacts))


@dataclass(frozen=True, slots=True)
class FactBatch:
    """Facts of many usage points in columns, in the order of `FACT_NAMES`; row i is one of them."""

    columns: Mapping[str, Sequence[Any]]

    def __len__(self) -> int:
        return len(self.columns[FACT_NAMES[0]])

    def row(self, index: int) -> AccountFacts:
        """Return the facts of one usage point."""
        return AccountFacts(*(self.columns[name][index] for name in FACT_NAMES))


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision to be stored with the facts that it saw."""

    account_id: int
    usage_point_id: int
    business_date: date
    decided_at: datetime
    trigger: str
    policy_code: str
    policy_version: int
    row_index: int
    outcome: str
    facts: Mapping[str, Any]
    refusal_codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A stored decision: enough to replay and to explain it."""

    decision_id: int
    account_id: int
    usage_point_id: int
    business_date: date
    decided_at: datetime
    trigger: str
    policy_code: str
    policy_version: int
    row_index: int
    outcome: str
    facts: Mapping[str, Any]
    refusal_codes: tuple[str, ...]


class PolicyRepository(Protocol):
    """Stores policy versions and decisions, and gathers the facts that decisions rest on."""

    async def effective_version(self, policy_code: str, at: datetime) -> int | None:
        """Return the number of the version in force: the latest effective one, then the newest."""
        ...

    async def get_version(self, policy_code: str, version: int) -> PolicyVersion:
        """Return one version; raises `NotFound`."""
        ...

    async def list_versions(self, policy_code: str) -> Sequence[PolicyVersion]:
        """Return all versions of a policy, newest first."""
        ...

    async def publish(
        self,
        policy_code: str,
        document: Mapping[str, Any],
        *,
        published_by: str,
        approved_by: str,
        effective_from: datetime,
    ) -> PolicyVersion:
        """Store the next version of a policy; concurrent publishers get different numbers."""
        ...

    async def ensure_first(
        self,
        policy_code: str,
        document: Mapping[str, Any],
        *,
        published_by: str,
        approved_by: str,
        effective_from: datetime,
    ) -> bool:
        """Store a policy's version 1 unless it has one; say whether it was stored."""
        ...

    async def lock_accounts(self, account_ids: Sequence[int]) -> None:
        """Lock the accounts' balances, open notice cycles, usage points and unsent disconnects.

        In that order, by id. What is gathered afterwards cannot be overtaken: a disconnect that a
        dispatcher claims at the same moment is seen as unsent and stays so, or as sent.
        """
        ...

    async def facts_of_accounts(
        self, account_ids: Sequence[int], *, at: datetime, business_date: date
    ) -> FactBatch:
        """Gather the facts of these accounts' usage points, in account and usage-point order."""
        ...

    async def accounts_of_shard(
        self, *, shard: int, shards: int, after_account_id: int, limit: int
    ) -> Sequence[int]:
        """Return the shard's next ``limit`` accounts after ``after_account_id``, in id order."""
        ...

    async def record_decision(self, decision: NewDecision) -> DecisionRecord:
        """Store one decision."""
        ...

    async def record_refusals(
        self, decision_id: int, *, business_date: date, refusal_codes: Sequence[str]
    ) -> None:
        """Add the codes with which the decision's order was refused."""
        ...

    async def decided_on(
        self, account_ids: Sequence[int], *, business_date: date, trigger: str
    ) -> set[int]:
        """Return which of these accounts have a decision of that trigger for that day."""
        ...

    async def get_decision(self, decision_id: int) -> DecisionRecord:
        """Return one decision; raises `NotFound`."""
        ...

    async def decisions_of_account(
        self, account_id: int, *, limit: int = 100
    ) -> Sequence[DecisionRecord]:
        """Return the decisions on an account, newest first."""
        ...
