"""Notices: writes what customers are owed, delivers it, and keeps the proof.

Theory of operation. A notice is planned in the transaction that decides it, and delivered later:
claimed in a short transaction that counts the attempt, handed to the notifier with no transaction
open, and recorded with its evidence in another. A process killed in between leaves a claim that
runs out; the notice is then delivered again, which is better than never. Waiting times count from
evidence only: delivery of the disconnect notice fixes the planned disconnect and plans the
reminder. The notice tells that time, so a notice delivered too late for the time it tells is
written anew and delivered again. A notice that cannot be delivered is retried with growing spaces,
then fails, and a person is told by a case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import structlog

from headend.domain.errors import HeadEndError
from headend.domain.masking import mask_phone
from headend.domain.money import format_yuan
from headend.ports.clock import Clock
from headend.ports.notices import CyclePlan, NewNotice, Notice, NoticeContext, NoticeState
from headend.ports.notifier import DeliveryEvidence, NoticeMessage, Notifier
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.policies import Policies, PolicyInForce
from rules.notices import (
    NoticeCycle,
    NoticeStage,
    confirm_cycle,
    plan_notice_cycle,
    render_notice,
)

_LOG = structlog.get_logger(__name__)

# Business time between attempts; when the ladder ends, the notice has failed.
RETRY_LADDER = (
    timedelta(minutes=1),
    timedelta(minutes=10),
    timedelta(hours=1),
    timedelta(hours=4),
)
CLAIM_LEASE_S = 120.0  # real time; longer than any delivery may take
# Their text tells a time or an amount that must be right when it is read.
_WRITTEN_AT_DELIVERY = frozenset({NoticeStage.DISCONNECT_NOTICE, NoticeStage.REMINDER})
CASE_OWNER = "accounts"
UNKNOWN_TEXT = "—"


@dataclass(frozen=True, slots=True)
class StageFacts:
    """What a text needs besides the account: when it is about."""

    planned_at: datetime | None = None
    switched_at: datetime | None = None


class Notices:
    """Plans and delivers notices."""

    def __init__(
        self, *, store: Store, notifier: Notifier, clock: Clock, policies: Policies
    ) -> None:
        self._store = store
        self._notifier = notifier
        self._clock = clock
        self._policies = policies

    async def plan_stage(
        self,
        uow: UnitOfWork,
        *,
        cycle_id: int,
        account_id: int,
        usage_point_id: int,
        stage: NoticeStage,
        policy: PolicyInForce,
    ) -> Notice | None:
        """Plan a stage of a notice cycle, due now; None when the cycle has it already."""
        now = self._clock.now()
        context = await uow.notices.context(account_id=account_id, usage_point_id=usage_point_id)
        planned_at = None
        if stage is NoticeStage.DISCONNECT_NOTICE:
            planned_at = _plan(context, policy, now).planned_at
        text_zh, text_en = _write(stage, context, policy, StageFacts(planned_at=planned_at))
        return await uow.notices.plan(
            NewNotice(
                cycle_id=cycle_id,
                account_id=account_id,
                usage_point_id=usage_point_id,
                stage=stage.value,
                due_at=now,
                planned_disconnect_at=planned_at,
                recipient=context.recipient,
                text_zh=text_zh,
                text_en=text_en,
            )
        )

    async def enqueue(
        self,
        uow: UnitOfWork,
        *,
        usage_point_id: int,
        account_id: int,
        stage: NoticeStage,
        reference: str,
        switched_at: datetime | None = None,
    ) -> Notice | None:
        """Plan a notice about something that happened (`disconnected`, `reconnected`), due now.

        ``reference`` names it, such as ``order:17``; the same again changes nothing and returns
        None. It is filed under the account's latest notice cycle where there is one.
        """
        now = self._clock.now()
        policy = await self._policies.current(uow, at=now)
        context = await uow.notices.context(account_id=account_id, usage_point_id=usage_point_id)
        cycle = await uow.notices.latest_cycle(usage_point_id, account_id=account_id)
        facts = StageFacts(switched_at=switched_at or now)
        text_zh, text_en = _write(stage, context, policy, facts)
        return await uow.notices.plan(
            NewNotice(
                cycle_id=cycle.cycle_id if cycle else None,
                account_id=account_id,
                usage_point_id=usage_point_id,
                stage=stage.value,
                due_at=now,
                planned_disconnect_at=None,
                recipient=context.recipient,
                text_zh=text_zh,
                text_en=text_en,
                reference=reference,
            )
        )

    async def history(self, account_id: int, *, limit: int = 100) -> Sequence[Notice]:
        """Return the notices of an account, newest first."""
        async with self._store.transaction() as uow:
            return await uow.notices.notices_of_account(account_id, limit=limit)

    async def next_due(self, uow: UnitOfWork) -> datetime | None:
        """Return the earliest instant at which a notice wants delivery."""
        return await uow.notices.next_attempt_at()

    async def deliver_due(self, limit: int = 500) -> int:
        """Deliver up to ``limit`` notices that are due; return how many were proven delivered."""
        async with self._store.transaction() as uow:
            now = self._clock.now()
            policy = await self._policies.current(uow, at=now)
            claimed = await uow.notices.claim_due(now, limit=limit, lease_s=CLAIM_LEASE_S)
            messages = [await self._prepare(uow, notice, policy, now) for notice in claimed]
        delivered = 0
        for notice, message in zip(claimed, messages, strict=True):
            if await self._deliver(notice, message, policy):
                delivered += 1
        return delivered

    async def _prepare(
        self, uow: UnitOfWork, notice: Notice, policy: PolicyInForce, now: datetime
    ) -> NoticeMessage:
        """Return the message as it will be handed over, rewritten where it went out of date."""
        stage = NoticeStage(notice.stage)
        text_zh, text_en = notice.text_zh, notice.text_en
        if stage in _WRITTEN_AT_DELIVERY:
            context = await uow.notices.context(
                account_id=notice.account_id, usage_point_id=notice.usage_point_id
            )
            planned_at = notice.planned_disconnect_at
            if stage is NoticeStage.DISCONNECT_NOTICE:
                planned_at = _still_true(planned_at, context, policy, now)
            text_zh, text_en = _write(stage, context, policy, StageFacts(planned_at=planned_at))
            await uow.notices.rewrite(
                notice.notice_id,
                text_zh=text_zh,
                text_en=text_en,
                planned_disconnect_at=planned_at,
            )
        return NoticeMessage(notice.notice_id, notice.stage, notice.recipient, text_zh, text_en)

    async def _deliver(self, notice: Notice, message: NoticeMessage, policy: PolicyInForce) -> bool:
        try:
            evidence = await self._hand_over(message)
            failure = "no evidence of delivery"
        except Exception as error:  # noqa: BLE001 - recorded, retried and bounded; one adapter
            # defect must not keep the other notices of the batch from being delivered.
            log = _LOG.warning if isinstance(error, HeadEndError) else _LOG.exception
            log("notice_delivery_raised", notice_id=notice.notice_id, error=str(error))
            evidence, failure = None, f"{type(error).__name__}: {error}"
        async with self._store.transaction() as uow:
            if evidence is None:
                await self._record_failure(uow, notice, failure)
                return False
            return await self._record_delivery(uow, notice, evidence, policy)

    async def _hand_over(self, message: NoticeMessage) -> DeliveryEvidence | None:
        if not message.recipient:
            return None  # nobody to tell: it fails like a number that does not answer
        return await self._notifier.deliver(message)

    async def _record_delivery(
        self, uow: UnitOfWork, notice: Notice, evidence: DeliveryEvidence, policy: PolicyInForce
    ) -> bool:
        """Store the proof; for a disconnect notice fix the plan that it told."""
        proof = {"channel": evidence.channel, "reference": evidence.reference}
        stage = NoticeStage(notice.stage)
        if stage is not NoticeStage.DISCONNECT_NOTICE or notice.cycle_id is None:
            await uow.notices.record_delivery(
                notice.notice_id, delivered_at=evidence.delivered_at, evidence=proof
            )
            return True
        cycle = await uow.notices.lock_cycle(notice.cycle_id)
        current = await uow.notices.get(notice.notice_id)
        context = await uow.notices.context(
            account_id=notice.account_id, usage_point_id=notice.usage_point_id
        )
        plan = _confirm(current, context, policy, evidence.delivered_at)
        if plan is None and cycle.closed_at is None:
            # Proven too late for the time that it tells: tell a new time at once.
            await uow.notices.record_failure(
                notice.notice_id,
                failure=f"delivered too late for the time it tells ({evidence.reference})",
                next_attempt_at=self._clock.now(),
            )
            return False
        stored = await uow.notices.record_delivery(
            notice.notice_id, delivered_at=evidence.delivered_at, evidence=proof
        )
        if plan is not None and stored.state is NoticeState.DELIVERED:
            await uow.notices.fix_plan(
                cycle.cycle_id,
                CyclePlan(
                    planned_disconnect_at=plan.planned_at,
                    expires_at=plan.expires_at,
                    next_decision_at=plan.planned_at,
                ),
            )
            await self._plan_reminder(uow, stored, plan, context, policy)
        return True

    async def _plan_reminder(
        self,
        uow: UnitOfWork,
        notice: Notice,
        plan: NoticeCycle,
        context: NoticeContext,
        policy: PolicyInForce,
    ) -> None:
        stage = NoticeStage.REMINDER
        text_zh, text_en = _write(stage, context, policy, StageFacts(planned_at=plan.planned_at))
        await uow.notices.plan(
            NewNotice(
                cycle_id=notice.cycle_id,
                account_id=notice.account_id,
                usage_point_id=notice.usage_point_id,
                stage=stage.value,
                due_at=plan.reminder_at,
                planned_disconnect_at=plan.planned_at,
                recipient=context.recipient,
                text_zh=text_zh,
                text_en=text_en,
            )
        )

    async def _record_failure(self, uow: UnitOfWork, notice: Notice, failure: str) -> None:
        now = self._clock.now()
        wait = plan_retry(notice.attempts)
        stored = await uow.notices.record_failure(
            notice.notice_id,
            failure=failure,
            next_attempt_at=None if wait is None else now + wait,
        )
        _LOG.warning(
            "notice_attempt_failed",
            notice_id=notice.notice_id,
            stage=notice.stage,
            attempts=notice.attempts,
            recipient=mask_phone(notice.recipient),
            given_up=stored.state is NoticeState.FAILED,
        )
        if stored.state is NoticeState.FAILED:
            await uow.cases.open(
                "notice_undeliverable",
                f"account:{notice.account_id}",
                owner=CASE_OWNER,
                detail={"notice_id": notice.notice_id, "stage": notice.stage, "failure": failure},
                usage_point_id=notice.usage_point_id,
                account_id=notice.account_id,
                at=now,
            )


def plan_retry(attempts: int) -> timedelta | None:
    """Return how long to wait after the ``attempts``-th failed attempt; None: give up."""
    return RETRY_LADDER[attempts - 1] if attempts <= len(RETRY_LADDER) else None


def _plan(context: NoticeContext, policy: PolicyInForce, delivered_at: datetime) -> NoticeCycle:
    return plan_notice_cycle(
        delivered_at, policy.notices, customer_class=context.customer_class, zone=context.time_zone
    )


def _told(planned_at: datetime, policy: PolicyInForce, delivered_at: datetime) -> NoticeCycle:
    """Return the cycle that a text tells: its planned time is given, the rest follows."""
    return NoticeCycle(
        delivered_at=delivered_at,
        waits_until=planned_at,
        reminder_at=planned_at - policy.notices.reminder_lead - policy.notices.reminder_margin,
        planned_at=planned_at,
        expires_at=planned_at + policy.notices.tolerance,
    )


def _still_true(
    planned_at: datetime | None, context: NoticeContext, policy: PolicyInForce, now: datetime
) -> datetime:
    """Keep the told time if the waiting time still fits before it; or tell a new one."""
    if planned_at is not None:
        told = _told(planned_at, policy, now)
        fits = confirm_cycle(told, now, policy.notices, customer_class=context.customer_class)
        if fits is not None:
            return planned_at
    return _plan(context, policy, now).planned_at


def _confirm(
    notice: Notice, context: NoticeContext, policy: PolicyInForce, delivered_at: datetime
) -> NoticeCycle | None:
    if notice.planned_disconnect_at is None:
        return None
    told = _told(notice.planned_disconnect_at, policy, delivered_at)
    return confirm_cycle(told, delivered_at, policy.notices, customer_class=context.customer_class)


def _write(
    stage: NoticeStage, context: NoticeContext, policy: PolicyInForce, facts: StageFacts
) -> tuple[str, str]:
    """Render both texts of a notice with amounts and local times as a customer reads them."""
    balance = None if context.balance_nano is None else format_yuan(context.balance_nano)
    variables: Mapping[str, str] = {
        "account_no": context.account_no,
        "address": context.address.strip() or UNKNOWN_TEXT,
        "balance": balance or UNKNOWN_TEXT,
        "planned_at": _local_text(facts.planned_at, context.time_zone),
        "switched_at": _local_text(facts.switched_at, context.time_zone),
        "reconnect_balance": policy.reconnect_text(context.customer_class),
    }
    return render_notice(stage, variables, policy.templates)


def _local_text(instant: datetime | None, zone: str) -> str:
    if instant is None:
        return UNKNOWN_TEXT
    return f"{instant.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"
