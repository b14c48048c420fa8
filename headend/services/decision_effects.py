"""What a decision leads to: notice cycles, notices, orders; the same for one account or a shard.

Theory of operation. The caller holds the account's balance and its open notice cycles locked, and
gathered the facts after that. For each usage point the effects go in a fixed order: close a cycle
that no longer holds (it was paid, it expired, something restarted it), withdraw a disconnect that
the facts no longer ask for, give power back, then warn, give notice, or ask for the disconnect.
Everything that moves towards power is done on every occasion; a disconnect is asked for only at the
planned instant, or at a retry within its tolerance, and only by way of guard and governor. The
guard is asked before notice is given too: nobody is threatened with a cut that would be refused.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from headend.domain.errors import BadInput
from headend.domain.supply import OrderPurpose, OrderState, SupplyAction
from headend.ports.notices import CycleClose, NoticeCycle
from headend.ports.orders import OrderRecord
from headend.ports.policies import AccountFacts, DecisionRecord, NewDecision
from headend.ports.unit_of_work import UnitOfWork
from headend.services.decision_plan import (
    Judged,
    Occasion,
    closes_cycle,
    is_due,
    plan_attempt,
    protected_too_late,
    state_of,
    withdraws,
)
from headend.services.notices import Notices
from headend.services.policies import PolicyInForce
from headend.services.supply_control import SYSTEM_ACTOR, OrderRequest, SupplyControl
from rules.notices import NoticeStage
from rules.reasons import GROUP_OF_REASON, ReasonGroup, RefusalReason, standing_reasons
from rules.table import Outcome

CASE_KIND = "disconnect_refused"
CASE_OWNER = "accounts"
_WARNINGS: dict[Outcome, NoticeStage] = {
    Outcome.LOW_BALANCE_WARNING: NoticeStage.LOW_BALANCE,
    Outcome.ARREARS_WARNING: NoticeStage.ARREARS,
}
# A cut that expired untried goes on counting how long it has been refused.
_GOES_ON_REFUSED = frozenset({CycleClose.EXPIRED, CycleClose.NOTICE_FAILED})
# Reasons that make even a reminder to pay wrong: nothing is owed, or the amount is in doubt.
_NO_WARNING = frozenset({ReasonGroup.NOTHING_OWED, ReasonGroup.MONEY})


class DecisionEffects:
    """Carries out one decision in the caller's transaction."""

    def __init__(
        self, *, notices: Notices, supply_control: SupplyControl, case_after: timedelta
    ) -> None:
        self._notices = notices
        self._supply_control = supply_control
        self._case_after = case_after

    async def carry_out(
        self, uow: UnitOfWork, judged: Judged, policy: PolicyInForce, occasion: Occasion
    ) -> DecisionRecord:
        """Store the decision and do what follows from it; return it with its refusals."""
        closed = closes_cycle(judged, occasion)
        if closed is not None:
            judged = await self._close_cycle(uow, judged, closed, occasion)
        facts, outcome = judged.facts, judged.outcome
        if facts.open_disconnect == "unsent" and withdraws(judged, closed):
            await self._supply_control.cancel_unsent_disconnects(
                uow, facts.usage_point_id, actor=SYSTEM_ACTOR, reason=f"decision: {outcome}"
            )
        record = await self._record(uow, judged, policy, occasion, closed)
        if outcome is Outcome.RECONNECT or protected_too_late(facts, occasion):
            order = await self._supply_control.clear_arrears(
                uow,
                account_id=facts.account_id,
                usage_point_id=facts.usage_point_id,
                payment_id=occasion.payment_id,
                actor=SYSTEM_ACTOR,
            )
            return await _with_refusals(uow, record, _refusals_of(order))
        if facts.arrears_restraint or facts.open_disconnect == "in_flight":
            await self._put_off(uow, judged, occasion)
            return record
        if outcome is Outcome.DISCONNECT:
            return await self._pursue(uow, judged, policy, occasion, record)
        if outcome in _WARNINGS and occasion.may_begin:
            await self._warn(uow, judged, policy, occasion, _WARNINGS[outcome])
        await self._put_off(uow, judged, occasion)
        return record

    async def _close_cycle(
        self, uow: UnitOfWork, judged: Judged, reason: CycleClose, occasion: Occasion
    ) -> Judged:
        """Close the open cycle; what follows sees an account without one."""
        facts = judged.facts
        if facts.cycle_id is not None:
            await uow.notices.close_cycle(facts.cycle_id, at=occasion.at, reason=reason)
        goes_on = reason in _GOES_ON_REFUSED
        if facts.refused_since is not None and not goes_on:
            await uow.cases.close(
                CASE_KIND,
                _case_subject(facts),
                closed_by=SYSTEM_ACTOR,
                outcome=reason.value,
                at=occasion.at,
            )
        return replace(
            judged,
            facts=replace(
                facts,
                cycle_id=None,
                cycle_account_id=None,
                cycle_opened_at=None,
                planned_disconnect_at=None,
                expires_at=None,
                next_decision_at=None,
                refused_since=facts.refused_since if goes_on else None,
                stage_names=[],
                stage_states=[],
                stage_delivered_at=[],
            ),
        )

    async def _record(
        self,
        uow: UnitOfWork,
        judged: Judged,
        policy: PolicyInForce,
        occasion: Occasion,
        closed: CycleClose | None,
    ) -> DecisionRecord:
        shown = dict(judged.shown)
        if closed is not None:
            shown["cycle_closed"] = closed.value
        return await uow.policies.record_decision(
            NewDecision(
                account_id=judged.facts.account_id,
                usage_point_id=judged.facts.usage_point_id,
                business_date=occasion.business_date,
                decided_at=occasion.at,
                trigger=occasion.trigger,
                policy_code=policy.code,
                policy_version=policy.version,
                row_index=judged.row,
                outcome=judged.outcome.value,
                facts=shown,
            )
        )

    async def _warn(
        self,
        uow: UnitOfWork,
        judged: Judged,
        policy: PolicyInForce,
        occasion: Occasion,
        stage: NoticeStage,
    ) -> None:
        """Plan a warning once in a cycle."""
        if state_of(judged.facts, stage) is not None:
            return
        cycle_id = await self._cycle_id(uow, judged.facts, occasion)
        await self._plan_stage(uow, judged.facts, policy, cycle_id, stage)

    async def _plan_stage(
        self,
        uow: UnitOfWork,
        facts: AccountFacts,
        policy: PolicyInForce,
        cycle_id: int,
        stage: NoticeStage,
    ) -> None:
        await self._notices.plan_stage(
            uow,
            cycle_id=cycle_id,
            account_id=facts.account_id,
            usage_point_id=facts.usage_point_id,
            stage=stage,
            policy=policy,
        )

    async def _cycle_id(self, uow: UnitOfWork, facts: AccountFacts, occasion: Occasion) -> int:
        if facts.cycle_id is not None:
            return facts.cycle_id
        cycle: NoticeCycle = await uow.notices.open_cycle(
            account_id=facts.account_id,
            usage_point_id=facts.usage_point_id,
            at=occasion.at,
            refused_since=facts.refused_since,
        )
        return cycle.cycle_id

    async def _put_off(self, uow: UnitOfWork, judged: Judged, occasion: Occasion) -> None:
        """Move on a planned instant at which nothing was asked for, so that it comes again."""
        facts = judged.facts
        if facts.cycle_id is None or not is_due(facts, occasion.at):
            return
        await uow.notices.set_next_decision(
            facts.cycle_id,
            next_decision_at=plan_attempt(occasion.at, facts.expires_at),
            refused_since=facts.refused_since,
        )

    async def _pursue(
        self,
        uow: UnitOfWork,
        judged: Judged,
        policy: PolicyInForce,
        occasion: Occasion,
        record: DecisionRecord,
    ) -> DecisionRecord:
        """Go one step towards the disconnect: give notice, or ask for it when its time has come."""
        facts = judged.facts
        if state_of(facts, NoticeStage.DISCONNECT_NOTICE) is None:
            if not occasion.may_begin:
                return record
            return await self._give_notice(uow, judged, policy, occasion, record)
        if not is_due(facts, occasion.at):
            return record
        if facts.open_disconnect is not None:
            await self._put_off(uow, judged, occasion)
            return record
        codes = await self._request(uow, facts, occasion, record)
        refused_since = await self._note_refusal(uow, facts, occasion, codes)
        if facts.cycle_id is not None:
            await uow.notices.set_next_decision(
                facts.cycle_id,
                next_decision_at=plan_attempt(occasion.at, facts.expires_at),
                refused_since=refused_since,
            )
        return await _with_refusals(uow, record, codes)

    async def _give_notice(
        self,
        uow: UnitOfWork,
        judged: Judged,
        policy: PolicyInForce,
        occasion: Occasion,
        record: DecisionRecord,
    ) -> DecisionRecord:
        """Plan the disconnect notice, unless something that time will not cure stands against."""
        facts = judged.facts
        verdict = await self._supply_control.check_disconnect(
            uow, facts.usage_point_id, OrderPurpose.ARREARS, account_id=facts.account_id
        )
        standing = standing_reasons(verdict.reasons)
        cycle_id = await self._cycle_id(uow, facts, occasion)
        codes = [reason.value for reason in standing]
        if not standing:
            await self._plan_stage(uow, facts, policy, cycle_id, NoticeStage.DISCONNECT_NOTICE)
        elif _may_warn(standing) and state_of(facts, NoticeStage.ARREARS) is None:
            await self._plan_stage(uow, facts, policy, cycle_id, NoticeStage.ARREARS)
        refused_since = await self._note_refusal(uow, facts, occasion, codes)
        await uow.notices.set_next_decision(
            cycle_id, next_decision_at=None, refused_since=refused_since
        )
        return await _with_refusals(uow, record, codes)

    async def _request(
        self, uow: UnitOfWork, facts: AccountFacts, occasion: Occasion, record: DecisionRecord
    ) -> list[str]:
        """Ask for the disconnect; return the codes with which it was refused.

        The first attempt of a cycle leaves an order behind even when it is refused; the retries
        ask the guard first, so that a refusal that stands is not told once an hour.
        """
        if facts.next_decision_at != facts.planned_disconnect_at:
            verdict = await self._supply_control.check_disconnect(
                uow, facts.usage_point_id, OrderPurpose.ARREARS, account_id=facts.account_id
            )
            if not verdict.allowed:
                return [reason.value for reason in verdict.reasons]
        due_at = facts.next_decision_at or occasion.at
        try:
            order = await self._supply_control.request(
                uow,
                OrderRequest(
                    usage_point_id=facts.usage_point_id,
                    account_id=facts.account_id,
                    action=SupplyAction.DISCONNECT,
                    purpose=OrderPurpose.ARREARS,
                    reason=f"policy {record.policy_code} {record.policy_version},"
                    f" row {record.row_index + 1}",
                    requested_by=SYSTEM_ACTOR,
                    idempotency_key=f"cut:{facts.cycle_id}:{due_at.isoformat()}",
                    not_after=facts.expires_at,
                    decision_id=record.decision_id,
                    notice_cycle_id=facts.cycle_id,
                ),
            )
        except BadInput as error:
            # No meter, or another order waits: nothing was written, and it is tried again.
            return [error.code]
        return _refusals_of(order)

    async def _note_refusal(
        self, uow: UnitOfWork, facts: AccountFacts, occasion: Occasion, codes: list[str]
    ) -> datetime | None:
        """Return since when the account is refused; what is refused for long becomes a case."""
        if not codes:
            if facts.refused_since is not None:
                await uow.cases.close(
                    CASE_KIND,
                    _case_subject(facts),
                    closed_by=SYSTEM_ACTOR,
                    outcome="no longer refused",
                    at=occasion.at,
                )
            return None
        since = facts.refused_since or occasion.at
        if occasion.at - since > self._case_after:
            await uow.cases.open(
                CASE_KIND,
                _case_subject(facts),
                owner=CASE_OWNER,
                detail={"refusal_codes": codes, "refused_since": since.isoformat()},
                usage_point_id=facts.usage_point_id,
                account_id=facts.account_id,
                at=occasion.at,
            )
        return since


async def _with_refusals(
    uow: UnitOfWork, record: DecisionRecord, codes: list[str]
) -> DecisionRecord:
    if not codes:
        return record
    await uow.policies.record_refusals(
        record.decision_id, business_date=record.business_date, refusal_codes=codes
    )
    return replace(record, refusal_codes=tuple(codes))


def _refusals_of(order: OrderRecord | None) -> list[str]:
    refused = order is not None and order.state is OrderState.REFUSED
    return list(order.refusal_codes) if order is not None and refused else []


def _may_warn(standing: tuple[RefusalReason, ...]) -> bool:
    return not any(GROUP_OF_REASON[reason] in _NO_WARNING for reason in standing)


def _case_subject(facts: AccountFacts) -> str:
    # A cycle of a former occupant closes the former occupant's case.
    account_id = facts.cycle_account_id or facts.account_id
    return f"account:{account_id}:usage_point:{facts.usage_point_id}"
