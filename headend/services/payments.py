"""Payments: money that a channel reports becomes balance, once, and the account is decided anew.

One transaction holds the payment, its postings, the balance and the decision with everything that
it orders; a payment is never posted without its consequences, nor the other way round. What a
request means is planned by `prepaid.vending` under the lock of the account's balance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from headend.domain.days import DEFAULT_ZONE, local_day
from headend.domain.errors import BadInput, Conflict, InvariantViolated, NotFound
from headend.ports.accounts import AccountRecord
from headend.ports.clock import Clock
from headend.ports.payments import ChannelRecord, NewPayment, PaymentRecord, PaymentState
from headend.ports.unit_of_work import Store, UnitOfWork
from prepaid.ledger import LedgerBatch, build_payment_batch, build_reversal
from prepaid.vending import PaymentChannel, PostedPayment, plan_payment
from prepaid.vending import PaymentRequest as PlannedRequest


class DecideAccount(Protocol):
    """Decides one account on fresh facts, in the caller's transaction (`Decisions`)."""

    async def __call__(
        self, uow: UnitOfWork, account_id: int, *, trigger: str, payment_id: int | None = None
    ) -> object: ...


@dataclass(frozen=True, slots=True)
class PaymentRequest:
    """Money reported by a channel; ``paid_at`` is business time, now when left out."""

    channel_code: str
    channel_reference: str
    account_no: str
    amount_nano: int
    paid_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """What became of a request. A replay answers as the first time and changed nothing.

    ``balance_nano`` is the balance right after this payment; None while it is pending.
    """

    payment: PaymentRecord
    replayed: bool

    @property
    def balance_nano(self) -> int | None:
        """The balance right after the posting."""
        return self.payment.balance_after_nano


def _real_now() -> datetime:
    return datetime.now(UTC)


class Payments:
    """Posts, announces, fails and reverses payments."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        decide: DecideAccount,
        *,
        zone: str = DEFAULT_ZONE,
        real_now: Callable[[], datetime] = _real_now,
    ) -> None:
        self._store = store
        self._clock = clock
        self._decide = decide
        self._zone = zone
        self._real_now = real_now

    async def post(self, request: PaymentRequest) -> PaymentResult:
        """Post a payment and decide its account, in one transaction.

        The same (channel, reference) again returns the first result; with another amount or
        account, or after the channel said that it failed, it raises `Conflict`. Raises `NotFound`
        for an unknown channel or account and `BadInput` for what the channel does not allow.
        Retrying after any failure is safe.
        """
        async with self._store.transaction() as uow:
            channel, account = await self._parties(uow, request)
            payment, is_new = await self._record(uow, request, channel, account)
            if payment.state is PaymentState.FAILED:
                raise Conflict(
                    f"{request.channel_code}/{request.channel_reference} was reported as failed; "
                    "money that came after all needs a reference of its own",
                    field="channel_reference",
                    code="payment_failed",
                )
            if payment.state is not PaymentState.PENDING:
                return PaymentResult(payment, replayed=not is_new)
            await self._post_pending(uow, payment, channel)
            await self._decide(
                uow, account.account_id, trigger="payment", payment_id=payment.payment_id
            )
            return PaymentResult(await _stored(uow, payment.payment_id), replayed=False)

    async def announce(self, request: PaymentRequest) -> PaymentResult:
        """Record that a payment is on its way; it is no money yet, but forbids disconnection.

        The later `post` with the same reference turns it into money. Errors as `post`.
        """
        async with self._store.transaction() as uow:
            channel, account = await self._parties(uow, request)
            payment, is_new = await self._record(uow, request, channel, account)
            return PaymentResult(payment, replayed=not is_new)

    async def fail(self, channel_code: str, channel_reference: str) -> PaymentRecord:
        """Record that an announced payment will not come; the same again changes nothing.

        Raises `Conflict` (``already_posted``) when its money is already in the ledger.
        """
        async with self._store.transaction() as uow:
            payment = await self._locked(uow, channel_code, channel_reference)
            if payment.state is PaymentState.FAILED:
                return payment
            if payment.state is not PaymentState.PENDING:
                raise Conflict(
                    f"payment {channel_code}/{channel_reference} is {payment.state}; "
                    "posted money is taken back by a reversal",
                    field="channel_reference",
                    code="already_posted",
                )
            await uow.payments.mark_failed(payment.payment_id)
            return await _stored(uow, payment.payment_id)

    async def reverse(
        self, channel_code: str, channel_reference: str, *, actor: str, reason: str
    ) -> PaymentRecord:
        """Take a posted payment back by a posting that names it, and decide the account anew.

        The same again returns the reversed payment. Raises `NotFound` for an unknown payment and
        `Conflict` (``not_posted``) for one that never became money.
        """
        if not reason.strip():
            raise BadInput("a reversal needs a reason", field="reason", code="missing")
        async with self._store.transaction() as uow:
            payment = await self._locked(uow, channel_code, channel_reference)
            if payment.state is PaymentState.REVERSED:
                return payment
            if payment.state is not PaymentState.POSTED:
                raise Conflict(
                    f"payment {channel_code}/{channel_reference} is {payment.state}: "
                    "there is nothing to take back",
                    field="channel_reference",
                    code="not_posted",
                )
            await self._post_reversal(uow, payment, actor=actor, reason=reason)
            await self._decide(
                uow, payment.account_id, trigger="reversal", payment_id=payment.payment_id
            )
            return await _stored(uow, payment.payment_id)

    async def get(self, payment_id: int) -> PaymentRecord:
        """Return a payment; raises `NotFound`."""
        async with self._store.transaction() as uow:
            found = await uow.payments.get(payment_id)
        if found is None:
            raise NotFound(f"there is no payment {payment_id}", field="payment_id")
        return found

    async def _parties(
        self, uow: UnitOfWork, request: PaymentRequest
    ) -> tuple[ChannelRecord, AccountRecord]:
        channel = await uow.payments.channel(request.channel_code)
        if channel is None:
            raise NotFound(
                f"there is no payment channel {request.channel_code!r}", field="channel_code"
            )
        account = await uow.accounts.find(request.account_no)
        if account is None:
            raise NotFound(f"there is no account {request.account_no!r}", field="account_no")
        return channel, account

    async def _record(
        self,
        uow: UnitOfWork,
        request: PaymentRequest,
        channel: ChannelRecord,
        account: AccountRecord,
    ) -> tuple[PaymentRecord, bool]:
        """Return the payment of a request and whether it was recorded now.

        Holds the lock of the account's balance from here on, so that two requests for one account
        come one after the other.
        """
        now = self._clock.now()
        await uow.accounts.lock_balances([account.account_id], changed_at=now)
        existing = await uow.payments.find(request.channel_code, request.channel_reference)
        self._plan(request, channel, account, existing)
        if existing is not None:
            return existing, False
        payment_id = await uow.payments.add_pending(
            NewPayment(
                channel_code=request.channel_code,
                channel_reference=request.channel_reference,
                account_id=account.account_id,
                amount_nano=request.amount_nano,
                paid_at=_paid_at(request, now),
            )
        )
        if payment_id is not None:
            return await _stored(uow, payment_id), True
        # Another transaction stored this reference for another account in between.
        existing = await uow.payments.find(request.channel_code, request.channel_reference)
        if existing is None:
            raise InvariantViolated(
                f"payment {request.channel_code}/{request.channel_reference} exists and does not"
            )
        self._plan(request, channel, account, existing)
        return existing, False

    def _plan(
        self,
        request: PaymentRequest,
        channel: ChannelRecord,
        account: AccountRecord,
        existing: PaymentRecord | None,
    ) -> None:
        if existing is not None and existing.account_id != account.account_id:
            raise Conflict(
                f"{request.channel_code}/{request.channel_reference} is recorded for account "
                f"{existing.account_no}, this request says account {account.account_no}",
                field="account_no",
                code="payment_differs",
            )
        plan_payment(
            None if existing is None else _posted(existing),
            PlannedRequest(
                channel=request.channel_code,
                reference=request.channel_reference,
                account_key=account.account_id,
                amount_nano=request.amount_nano,
            ),
            PaymentChannel(
                code=channel.channel_code,
                minimum_nano=channel.minimum_amount_nano,
                maximum_nano=channel.maximum_amount_nano,
                pending_limit_s=channel.pending_limit_s,
                clearing_number=channel.clearing_number,
            ),
        )

    async def _post_pending(
        self, uow: UnitOfWork, payment: PaymentRecord, channel: ChannelRecord
    ) -> None:
        now = self._clock.now()
        batch_id = await uow.ledger.post(
            self._batch(payment, channel, posted_at=now),
            posted_at=now,
            detail={"payment_id": payment.payment_id},
        )
        balance = await uow.accounts.add_to_balance(
            payment.account_id, payment.amount_nano, changed_at=now
        )
        await uow.payments.mark_posted(
            payment.payment_id,
            batch_id=batch_id,
            posted_at=now,
            posted_real_at=self._real_now(),
            balance_after_nano=balance,
        )

    async def _post_reversal(
        self, uow: UnitOfWork, payment: PaymentRecord, *, actor: str, reason: str
    ) -> None:
        now = self._clock.now()
        channel = await uow.payments.channel(payment.channel_code)
        if channel is None or payment.posted_at is None:
            raise InvariantViolated(f"payment {payment.payment_id} is posted without its evidence")
        original = self._batch(payment, channel, posted_at=payment.posted_at)
        batch_id = await uow.ledger.post(
            build_reversal(original, business_date=local_day(now, self._zone), reason=reason),
            posted_at=now,
            detail={"payment_id": payment.payment_id, "actor": actor},
        )
        await uow.accounts.add_to_balance(payment.account_id, -payment.amount_nano, changed_at=now)
        await uow.payments.mark_reversed(payment.payment_id, reversal_batch_id=batch_id)
        await uow.audit.record(
            actor,
            "payment.reverse",
            f"payment:{payment.payment_id}",
            at=now,
            detail={"reason": reason, "amount_nano": payment.amount_nano},
        )

    def _batch(
        self, payment: PaymentRecord, channel: ChannelRecord, *, posted_at: datetime
    ) -> LedgerBatch:
        return build_payment_batch(
            business_date=local_day(posted_at, self._zone),
            account_key=payment.account_id,
            channel=payment.channel_code,
            reference=payment.channel_reference,
            amount_nano=payment.amount_nano,
            clearing_number=channel.clearing_number,
        )

    async def _locked(
        self, uow: UnitOfWork, channel_code: str, channel_reference: str
    ) -> PaymentRecord:
        """Return a payment with its account's balance locked."""
        seen = await uow.payments.find(channel_code, channel_reference)
        if seen is None:
            raise NotFound(
                f"there is no payment {channel_code}/{channel_reference}", field="channel_reference"
            )
        await uow.accounts.lock_balances([seen.account_id], changed_at=self._clock.now())
        return await _stored(uow, seen.payment_id)


def _paid_at(request: PaymentRequest, now: datetime) -> datetime:
    if request.paid_at is None:
        return now
    if request.paid_at.tzinfo is None:
        raise BadInput("paid_at has no time zone", field="paid_at")
    if request.paid_at > now:
        raise BadInput(f"paid_at {request.paid_at.isoformat()} is in the future", field="paid_at")
    return request.paid_at


def _posted(payment: PaymentRecord) -> PostedPayment:
    return PostedPayment(
        payment_id=payment.payment_id,
        channel=payment.channel_code,
        reference=payment.channel_reference,
        account_key=payment.account_id,
        amount_nano=payment.amount_nano,
    )


async def _stored(uow: UnitOfWork, payment_id: int) -> PaymentRecord:
    stored = await uow.payments.get(payment_id)
    if stored is None:
        raise InvariantViolated(f"payment {payment_id} vanished")
    return stored
