"""Holds: placing and ending what protects a usage point from being cut.

Every hold names its owner and what it rests on, and every change is an audit event in the same
transaction. A hold placed withdraws what was about to happen; a hold ended makes every earlier
notice worthless, so the account at the usage point is decided again at once in both cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from headend.domain.errors import BadInput
from headend.ports.clock import Clock
from headend.ports.holds import Hold, NewHold
from headend.ports.policies import DecisionRecord
from headend.ports.unit_of_work import Store, UnitOfWork
from rules.reasons import HoldKind


class AccountDecider(Protocol):
    """Decides one account at once; `headend.services.decisions.Decisions` does."""

    async def decide_account(
        self, uow: UnitOfWork, account_id: int, *, trigger: str, payment_id: int | None = None
    ) -> list[DecisionRecord]: ...


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A hold asked for. ``valid_from`` None is now; ``valid_to`` None is until ended."""

    usage_point_no: str
    kind: HoldKind
    owner: str
    evidence: str
    valid_from: datetime | None = None
    valid_to: datetime | None = None


class Holds:
    """Places and ends holds."""

    def __init__(self, store: Store, clock: Clock, decisions: AccountDecider) -> None:
        self._store = store
        self._clock = clock
        self._decisions = decisions

    async def place(self, request: HoldRequest, *, actor: str) -> Hold:
        """Place a hold. Raises `NotFound` (usage point) or `BadInput` (no owner, evidence, end)."""
        now = self._clock.now()
        valid_from = request.valid_from or now
        _check(request, valid_from, now)
        async with self._store.transaction() as uow:
            usage_point_id = await uow.holds.usage_point_of(request.usage_point_no)
            accounts = await self._lock(uow, usage_point_id)
            hold = await uow.holds.place(
                NewHold(
                    usage_point_id=usage_point_id,
                    kind=request.kind,
                    valid_from=valid_from,
                    valid_to=request.valid_to,
                    owner=request.owner.strip(),
                    evidence=request.evidence.strip(),
                )
            )
            await uow.audit.record(
                actor,
                "hold.placed",
                f"usage_point:{usage_point_id}",
                at=now,
                detail={
                    "hold_id": hold.hold_id,
                    "kind": hold.kind.value,
                    "owner": hold.owner,
                    "evidence": hold.evidence,
                    "valid_from": valid_from.isoformat(),
                    "valid_to": hold.valid_to.isoformat() if hold.valid_to else None,
                },
            )
            for account_id in accounts:
                await self._decisions.decide_account(uow, account_id, trigger="hold_placed")
            return hold

    async def end(self, hold_id: int, *, actor: str, reason: str) -> Hold:
        """End a hold; the notice cycle of the account begins again.

        Raises `NotFound`, `Conflict` (ended before), `BadInput` (no reason).
        """
        if not reason.strip():
            raise BadInput("say why the hold ends", field="reason")
        now = self._clock.now()
        async with self._store.transaction() as uow:
            usage_point_id = (await uow.holds.get(hold_id)).usage_point_id
            accounts = await self._lock(uow, usage_point_id)
            hold = await uow.holds.end(hold_id, ended_by=actor, at=now)
            await uow.audit.record(
                actor,
                "hold.ended",
                f"usage_point:{hold.usage_point_id}",
                at=now,
                detail={"hold_id": hold_id, "kind": hold.kind.value, "reason": reason.strip()},
            )
            for account_id in accounts:
                await self._decisions.decide_account(uow, account_id, trigger="hold_ended")
            return hold

    async def list_active(
        self, *, usage_point_no: str | None = None, limit: int = 500
    ) -> Sequence[Hold]:
        """List the holds that protect now, of one usage point or of all. Raises `NotFound`."""
        async with self._store.transaction() as uow:
            usage_point_id = (
                await uow.holds.usage_point_of(usage_point_no) if usage_point_no else None
            )
            return await uow.holds.list_active(
                self._clock.now(), usage_point_id=usage_point_id, limit=limit
            )

    async def _lock(self, uow: UnitOfWork, usage_point_id: int) -> Sequence[int]:
        """Lock the occupying accounts before anything else, as every transaction does."""
        accounts = await uow.holds.accounts_of(usage_point_id)
        await uow.policies.lock_accounts(accounts)
        return accounts


def _check(request: HoldRequest, valid_from: datetime, now: datetime) -> None:
    for name, text in (("owner", request.owner), ("evidence", request.evidence)):
        if not text.strip():
            raise BadInput(f"a hold needs its {name}", field=name)
    if request.valid_to is not None and request.valid_to <= max(valid_from, now):
        raise BadInput("the hold would end before it protects anybody", field="valid_to")
