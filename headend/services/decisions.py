"""Decisions: the policy table on fresh facts, for one account at once or for a shard of the fleet.

Theory of operation. Every decision is made and carried out in one transaction that first locks the
account's balance and open notice cycles, then gathers the facts, so that a payment and a decision
never pass each other. The shard's run screens in columns without a lock and decides the few
accounts that came up again under it, by the same code as a payment does; it may be killed and
repeated at any point, because an account decided for the day is not decided for it again. The
planned disconnects of notice cycles are decided at their own instants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import structlog

from headend.domain.days import DEFAULT_ZONE
from headend.domain.errors import HeadEndError
from headend.ports.clock import Clock
from headend.ports.notices import CycleClose, NoticeCycle
from headend.ports.policies import AccountFacts, DecisionRecord, FactBatch
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.decision_effects import DecisionEffects
from headend.services.decision_facts import build_columns, show_facts
from headend.services.decision_plan import (
    DAILY,
    JUST_CUT,
    PLANNED,
    Judged,
    Occasion,
    needs_effects,
    occasion_at,
)
from headend.services.decision_texts import Explanation, explain_decision
from headend.services.notices import Notices
from headend.services.policies import Policies, PolicyInForce
from headend.services.supply_control import SupplyControl
from rules.table import Outcome
from rules.table_compile import decide

_LOG = structlog.get_logger(__name__)

# Accounts screened at a time, and decided under lock in one transaction: a payment waits for the
# second number at most.
SCREEN_CHUNK = 5_000
DECIDE_CHUNK = 50
CASE_AFTER = timedelta(days=3)


@dataclass(slots=True)
class DecisionRunResult:
    """What a shard's run did; ``accounts`` were screened, ``outcomes`` counts stored decisions."""

    business_date: date
    shard: int
    shards: int
    accounts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def as_detail(self) -> dict[str, object]:
        """Return what the record of the run keeps, as plain JSON values."""
        return {
            "business_date": self.business_date.isoformat(),
            "shard": self.shard,
            "shards": self.shards,
            "accounts": self.accounts,
            "outcomes": dict(self.outcomes),
            "refused": dict(self.refused),
        }

    def add(self, records: Sequence[DecisionRecord]) -> None:
        """Count stored decisions."""
        for record in records:
            self.outcomes[record.outcome] += 1
            self.refused.update(record.refusal_codes)


class Decisions:
    """Decides who is warned and cut, and who gets power back."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        policies: Policies,
        notices: Notices,
        supply_control: SupplyControl,
        case_after: timedelta = CASE_AFTER,
        zone: str = DEFAULT_ZONE,
    ) -> None:
        self._store = store
        self._clock = clock
        self._policies = policies
        self._zone = zone
        self._effects = DecisionEffects(
            notices=notices, supply_control=supply_control, case_after=case_after
        )

    async def decide_account(
        self, uow: UnitOfWork, account_id: int, *, trigger: str, payment_id: int | None = None
    ) -> list[DecisionRecord]:
        """Decide one account at once, in the caller's transaction; return what was stored.

        ``trigger`` says what happened: ``payment``, ``reversal``, ``re_rating``, ``hold_placed``,
        ``hold_ended``, ``disconnected``, ``reconnection``. Those that make delivered notices
        worthless restart the notice cycle. An account for which nothing changes stores nothing.
        """
        occasion = occasion_at(trigger, self._clock.now(), zone=self._zone, payment_id=payment_id)
        return await self._decide(uow, [account_id], occasion)

    async def decide_shard(
        self, business_date: date, *, shard: int, shards: int
    ) -> DecisionRunResult:
        """Decide the accounts of one shard for the day; repeating it completes it.

        An account that cannot be decided does not keep the others from it: the first such error
        is raised at the end.
        """
        result = DecisionRunResult(business_date, shard, shards)
        failures: list[HeadEndError] = []
        after = 0
        while True:
            occasion = Occasion(DAILY, self._clock.now(), business_date)
            async with self._store.transaction() as uow:
                account_ids = await uow.policies.accounts_of_shard(
                    shard=shard, shards=shards, after_account_id=after, limit=SCREEN_CHUNK
                )
                if not account_ids:
                    break
                candidates = await self._screen(uow, account_ids, occasion)
            after = account_ids[-1]
            result.accounts += len(account_ids)
            for start in range(0, len(candidates), DECIDE_CHUNK):
                chunk = candidates[start : start + DECIDE_CHUNK]
                result.add(await self._decide_apart(chunk, occasion, failures))
        if failures:
            raise failures[0]
        return result

    async def decide_planned(self, limit: int = 500) -> int:
        """Decide the notice cycles whose planned instant (or retry) has come; return how many."""
        now = self._clock.now()
        async with self._store.transaction() as uow:
            due = await uow.notices.due_decisions(now, limit=limit)
        failures: list[HeadEndError] = []
        for account_id in sorted({cycle.account_id for cycle in due}):
            try:
                async with self._store.transaction() as uow:
                    occasion = occasion_at(PLANNED, now, zone=self._zone)
                    await self._decide(uow, [account_id], occasion)
                    await self._end_abandoned(
                        uow, [each for each in due if each.account_id == account_id], now
                    )
            except HeadEndError as error:
                _LOG.exception("planned_decision_failed", account_id=account_id)
                failures.append(error)
        if failures:
            raise failures[0]
        return len(due)

    async def next_due(self, uow: UnitOfWork) -> datetime | None:
        """Return the earliest planned disconnect (or retry) that is not decided yet."""
        return await uow.notices.next_decision_at()

    async def explain(self, decision_id: int) -> Explanation:
        """Put a stored decision into a sentence per language. Raises `NotFound`."""
        async with self._store.transaction() as uow:
            record = await uow.policies.get_decision(decision_id)
            policy = await self._policies.get(uow, record.policy_code, record.policy_version)
            context = await uow.notices.context(
                account_id=record.account_id, usage_point_id=record.usage_point_id
            )
        return explain_decision(record, policy, context)

    async def history(self, account_id: int, *, limit: int = 100) -> Sequence[DecisionRecord]:
        """Return the stored decisions on an account, newest first."""
        async with self._store.transaction() as uow:
            return await uow.policies.decisions_of_account(account_id, limit=limit)

    async def _screen(
        self, uow: UnitOfWork, account_ids: Sequence[int], occasion: Occasion
    ) -> list[int]:
        """Return the accounts that a decision would change, without locking anything."""
        policy = await self._policies.current(uow, at=occasion.at)
        batch = await uow.policies.facts_of_accounts(
            account_ids, at=occasion.at, business_date=occasion.business_date
        )
        judged = _judge(batch, policy, occasion)
        return sorted({each.facts.account_id for each in judged})

    async def _decide_apart(
        self, account_ids: Sequence[int], occasion: Occasion, failures: list[HeadEndError]
    ) -> list[DecisionRecord]:
        """Decide a chunk in one transaction; when that fails, each account in its own."""
        try:
            return await self._decide_for_the_day(account_ids, occasion)
        except HeadEndError as error:
            if len(account_ids) == 1:
                _LOG.exception("decision_failed", account_id=account_ids[0])
                failures.append(error)
                return []
        records: list[DecisionRecord] = []
        for account_id in account_ids:
            records += await self._decide_apart([account_id], occasion, failures)
        return records

    async def _decide_for_the_day(
        self, account_ids: Sequence[int], occasion: Occasion
    ) -> list[DecisionRecord]:
        async with self._store.transaction() as uow:
            await uow.policies.lock_accounts(account_ids)
            done = await uow.policies.decided_on(
                account_ids, business_date=occasion.business_date, trigger=occasion.trigger
            )
            left = [account_id for account_id in account_ids if account_id not in done]
            return await self._decide(uow, left, occasion) if left else []

    async def _decide(
        self, uow: UnitOfWork, account_ids: Sequence[int], occasion: Occasion
    ) -> list[DecisionRecord]:
        policy = await self._policies.current(uow, at=occasion.at)
        await uow.policies.lock_accounts(account_ids)
        batch = await uow.policies.facts_of_accounts(
            account_ids, at=occasion.at, business_date=occasion.business_date
        )
        return [
            await self._effects.carry_out(uow, judged, policy, occasion)
            for judged in _judge(batch, policy, occasion)
        ]

    async def _end_abandoned(
        self, uow: UnitOfWork, cycles: Sequence[NoticeCycle], now: datetime
    ) -> None:
        """Close due cycles of an account that no longer lives there: nobody decides them."""
        for cycle in cycles:
            locked = await uow.notices.lock_cycle(cycle.cycle_id)
            if locked.closed_at is None and locked.next_decision_at == cycle.next_decision_at:
                await uow.notices.close_cycle(cycle.cycle_id, at=now, reason=CycleClose.MOVED_OUT)


def _judge(batch: FactBatch, policy: PolicyInForce, occasion: Occasion) -> list[Judged]:
    """Run the table over a batch; return the rows from which anything follows."""
    if not len(batch):
        return []
    names = [spec.name for spec in policy.table.inputs]
    columns = build_columns(batch, names, at=occasion.at)
    decisions = decide(policy.table, columns)
    idle = Outcome.NONE
    result: list[Judged] = []
    for index in range(len(batch)):
        outcome = decisions.outcome_of(index)
        if outcome is idle and not _has_open_matter(batch.columns, index, occasion):
            continue
        facts, row = batch.row(index), int(decisions.row[index])
        shown = show_facts(columns, names, index)
        if decisions.uncertain[index]:
            shown["uncertain"] = True
        judged = _with_credit(Judged(facts, outcome, row, shown, _threshold(facts, policy)))
        if needs_effects(judged, occasion):
            result.append(judged)
    return result


def _has_open_matter(
    columns: Mapping[str, Sequence[object]], index: int, occasion: Occasion
) -> bool:
    return (
        columns["cycle_id"][index] is not None
        or columns["open_disconnect"][index] is not None
        or occasion.trigger == JUST_CUT
    )


def _threshold(facts: AccountFacts, policy: PolicyInForce) -> int | None:
    return policy.cut_threshold_nano(facts.customer_class, facts.emergency_credit_nano)


def _with_credit(judged: Judged) -> Judged:
    """Warn, and do not cut, while the emergency credit still covers what is owed."""
    if judged.outcome is not Outcome.DISCONNECT or not judged.covered:
        return judged
    shown = {**judged.shown, "emergency_credit_nano": judged.facts.emergency_credit_nano}
    return Judged(judged.facts, Outcome.ARREARS_WARNING, judged.row, shown, judged.threshold_nano)
