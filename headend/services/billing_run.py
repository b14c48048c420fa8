"""Settlement of days: what was used becomes charges, in chunks that can be killed and resumed.

Theory of operation. The account list of every chunk is fixed in the database before work begins.
One chunk is one transaction: it locks the balances of its accounts in id order, rates the day from
what is stored, writes one balanced batch and the rated days, applies the differences to the
balances and marks itself settled. A chunk that is settled is never touched again, so a run may be
killed anywhere and begun again, by this process or another. Afterwards days whose readings came or
changed since they were rated are rated again (`billing_rerating`), in transactions of their own
that compare with what is stored, and so are idempotent too. Charges are never posted for a day
that is not over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Protocol

import numpy as np

from headend.domain.days import DEFAULT_ZONE, day_span, local_midnight
from headend.domain.errors import BadInput
from headend.ports.accounts import BalanceRecord
from headend.ports.clock import Clock
from headend.ports.settlement import (
    BalanceChange,
    ChangedBalance,
    ChangedPoint,
    OccupiedPoints,
    PointKey,
    RatedDays,
)
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.billing_energy import ENERGY_CHANNEL
from headend.services.billing_rating import Rating, TariffBook, rate_points
from headend.services.billing_rerating import RatingContext, Rerated, rerate_points
from headend.services.billing_result import Crossing, SettlementResult, Tally
from prepaid.credit import find_crossings
from prepaid.ledger import CorrectionReason, LedgerBatch, build_settlement_batch
from prepaid.tou import NO_SPECIAL_DAYS, SpecialDays

# As many accounts as rating keeps in cache; a payment never waits longer than one chunk.
CHUNK_ACCOUNTS = 1024
# Readings later than this no longer change money by themselves; somebody has to ask for it.
LOOK_BACK_DAYS = 40
# Re-rating looks at many days and decides accounts anew, so its transactions hold fewer.
CORRECTION_ACCOUNTS = 128
REGISTER_MISMATCH = "register_mismatch"
METER_DATA_DESK = "meter-data"


class OnRerated(Protocol):
    """Told of an account whose balance a re-rating changed, in that transaction."""

    async def __call__(
        self, uow: UnitOfWork, account_id: int, *, difference_nano: int
    ) -> object: ...


class BillingRun:
    """Settles days for shards of the accounts."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        on_rerated: OnRerated | None = None,
        special: SpecialDays = NO_SPECIAL_DAYS,
        thresholds_nano: Sequence[int] = (0,),
        chunk_accounts: int = CHUNK_ACCOUNTS,
        look_back_days: int = LOOK_BACK_DAYS,
        zone: str = DEFAULT_ZONE,
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_rerated = on_rerated
        self._special = special
        self._thresholds = np.array(thresholds_nano, dtype=np.int64)
        self._chunk_accounts = chunk_accounts
        self._look_back = timedelta(days=look_back_days)
        self._zone = zone

    async def settle_day(
        self, business_date: date, *, shard: int = 0, shards: int = 1
    ) -> SettlementResult:
        """Settle one local day for the accounts with ``account_id mod shards = shard``.

        Resumable and idempotent: what is settled already is left alone. Then corrects earlier days
        (`correct_days`). Raises `BadInput` for a day that is not over or a shard that is none.
        """
        self._check(business_date, shard, shards)
        tally, tariffs = Tally(), TariffBook()
        async with self._store.transaction() as uow:
            run = await uow.settlement.begin_run(
                business_date,
                shard=shard,
                shards=shards,
                chunk_accounts=self._chunk_accounts,
                at=self._clock.now(),
            )
            chunks = await uow.settlement.open_chunks(run.run_id)
        for chunk_no in chunks:
            async with self._store.transaction() as uow:
                await self._settle_chunk(uow, run.run_id, chunk_no, business_date, tariffs, tally)
        await self._correct(business_date, shard, shards, tariffs, tally)
        async with self._store.transaction() as uow:
            await uow.settlement.finish_run(run.run_id, at=self._clock.now())
        return tally.result(business_date, shard, shards)

    async def correct_days(
        self, business_date: date, *, shard: int = 0, shards: int = 1
    ) -> SettlementResult:
        """Rate again what changed on the look-back days up to ``business_date``, and no more.

        Idempotent. Differences are posted on ``business_date``.
        """
        self._check(business_date, shard, shards)
        tally = Tally()
        await self._correct(business_date, shard, shards, TariffBook(), tally)
        return tally.result(business_date, shard, shards)

    def _check(self, business_date: date, shard: int, shards: int) -> None:
        if shards < 1 or not 0 <= shard < shards:
            raise BadInput(f"there is no shard {shard} of {shards}", field="shard")
        over = local_midnight(business_date + timedelta(days=1), self._zone)
        if self._clock.now() < over:
            raise BadInput(
                f"{business_date} is not over before {over.isoformat()}; it cannot be settled yet",
                field="business_date",
                code="day_not_over",
            )

    async def _settle_chunk(
        self,
        uow: UnitOfWork,
        run_id: int,
        chunk_no: int,
        day: date,
        tariffs: TariffBook,
        tally: Tally,
    ) -> None:
        chunk = await uow.settlement.claim_chunk(run_id, chunk_no)
        if chunk is None:
            return
        at = self._clock.now()
        balances = await uow.accounts.lock_balances(chunk.account_ids, changed_at=at)
        points = await _unsettled(uow, chunk.account_ids, day)
        rating = await rate_points(uow, points, day, tariffs=tariffs, special=self._special)
        await uow.settlement.store_days(rating.days, replace=False)
        batch_id = None
        if len(points):
            batch = _batch(rating, batch_key=f"settlement:{run_id}:{chunk_no}")
            batch_id = await uow.ledger.post(batch, posted_at=at)
        # A day settled after later ones moves their tiers and estimates.
        context = RatingContext(tariffs, self._special, day, at)
        rerated = await _rate_later_days(uow, points, balances, context)
        changes = await self._changes(uow, balances, rating.days, rerated, day)
        changed = await uow.settlement.apply_changes(changes, at=at)
        await uow.settlement.finish_chunk(chunk, batch_id=batch_id, at=at)
        await _open_register_cases(uow, rating.days, at)
        await self._tell_rerated(uow, rerated, tally)
        self._note_crossings(changed, tally)
        tally.count_chunk(rating.days)

    async def _changes(
        self,
        uow: UnitOfWork,
        balances: Sequence[BalanceRecord],
        days: RatedDays,
        rerated: Rerated,
        day: date,
    ) -> list[BalanceChange]:
        """Return what a settled chunk changes in its accounts' balances."""
        charged: dict[int, int] = defaultdict(int)
        estimated: dict[int, int] = defaultdict(int)
        until: dict[int, int] = {}
        for account, charge, part, end in zip(
            days.account_id.tolist(),
            days.charge_nano.tolist(),
            days.estimated_nano.tolist(),
            days.actual_until.tolist(),
            strict=True,
        ):
            charged[account] += charge
            estimated[account] += part
            until[account] = min(end, until.get(account, end))
        start = day_span(day, self._zone)[0]
        broken = [b.account_id for b in balances if self._chain_is_broken(b, day, start)]
        known = await self._actual_through(uow, broken, balances, day)
        changes = []
        for balance in balances:
            account = balance.account_id
            if account not in until:
                continue
            reached = datetime.fromtimestamp(until[account], UTC)
            if account in known:
                actual: datetime | None = known[account]
            elif balance.actual_through is None or balance.actual_through >= start:
                actual = reached
            else:
                actual = None
            changes.append(
                BalanceChange(
                    account_id=account,
                    amount_nano=rerated.amount_nano.get(account, 0) - charged[account],
                    estimated_nano=rerated.estimated_nano.get(account, 0) + estimated[account],
                    settled_through=day,
                    actual_through=actual,
                )
            )
        return changes

    def _chain_is_broken(self, balance: BalanceRecord, day: date, start: datetime) -> bool:
        """Tell whether ``actual_through`` has to be found anew from the rated days.

        It has when days are settled out of order, and when a gap is too old to be closed: beyond
        the look-back an estimate is final, and no longer makes what came after it stale.
        """
        if balance.settled_through is None:
            return False
        if balance.settled_through != day - timedelta(days=1):
            return True
        return balance.actual_through is None or balance.actual_through < start - self._look_back

    async def _actual_through(
        self, uow: UnitOfWork, accounts: Sequence[int], balances: Sequence[BalanceRecord], day: date
    ) -> Mapping[int, datetime]:
        if not accounts:
            return {}
        settled = [b.settled_through for b in balances if b.settled_through is not None]
        return await uow.settlement.actual_through(
            accounts, day - self._look_back, max([*settled, day])
        )

    async def _correct(
        self, day: date, shard: int, shards: int, tariffs: TariffBook, tally: Tally
    ) -> None:
        async with self._store.transaction() as uow:
            changed = await uow.settlement.changed_points(
                ENERGY_CHANNEL, day - self._look_back, day, shard=shard, shards=shards
            )
        accounts = [list(group) for _, group in groupby(changed, key=lambda c: c.account_id)]
        size = min(self._chunk_accounts, CORRECTION_ACCOUNTS)
        for first in range(0, len(accounts), size):
            part = [c for group in accounts[first : first + size] for c in group]
            async with self._store.transaction() as uow:
                await self._correct_chunk(uow, part, day, tariffs, tally)

    async def _correct_chunk(
        self,
        uow: UnitOfWork,
        changed: Sequence[ChangedPoint],
        day: date,
        tariffs: TariffBook,
        tally: Tally,
    ) -> None:
        at = self._clock.now()
        account_ids = sorted({c.account_id for c in changed})
        balances = await uow.accounts.lock_balances(account_ids, changed_at=at)
        last = max(b.settled_through or day for b in balances)
        rerated = await rerate_points(
            uow,
            {(c.account_id, c.usage_point_id): c.first_day for c in changed},
            last,
            RatingContext(tariffs, self._special, day, at),
        )
        known = await self._actual_through(uow, account_ids, balances, day)
        changes = [
            BalanceChange(
                account_id=account,
                amount_nano=rerated.amount_nano.get(account, 0),
                estimated_nano=rerated.estimated_nano.get(account, 0),
                settled_through=None,
                actual_through=known.get(account),
            )
            for account in account_ids
        ]
        after = await uow.settlement.apply_changes(changes, at=at)
        await self._tell_rerated(uow, rerated, tally)
        self._note_crossings(after, tally)

    async def _tell_rerated(self, uow: UnitOfWork, rerated: Rerated, tally: Tally) -> None:
        tally.days_rerated += rerated.days
        for account, amount in sorted(rerated.amount_nano.items()):
            if not amount:
                continue
            tally.corrected_accounts.add(account)
            tally.corrected_nano += amount
            if self._on_rerated is not None:
                await self._on_rerated(uow, account, difference_nano=amount)

    def _note_crossings(self, changed: Sequence[ChangedBalance], tally: Tally) -> None:
        after = np.array([c.balance_nano for c in changed], dtype=np.int64)
        before = after - np.array([c.amount_nano for c in changed], dtype=np.int64)
        found = find_crossings(before, after, self._thresholds)
        for row, threshold, falling in zip(
            found.account.tolist(), found.threshold.tolist(), found.falling.tolist(), strict=True
        ):
            tally.crossings.append(
                Crossing(
                    account_id=changed[row].account_id,
                    threshold_nano=int(self._thresholds[threshold]),
                    falling=falling,
                    balance_nano=changed[row].balance_nano,
                )
            )


async def _unsettled(uow: UnitOfWork, account_ids: Sequence[int], day: date) -> OccupiedPoints:
    """Return the points of the accounts that no other run (of other shards) has settled."""
    points = await uow.settlement.points(account_ids, day)
    settled = set((await uow.settlement.rated_days(points.keys, day)).keys)
    open_rows = [row for row, key in enumerate(points.keys) if key not in settled]
    return points.take(np.array(open_rows, dtype=np.int64))


async def _rate_later_days(
    uow: UnitOfWork,
    points: OccupiedPoints,
    balances: Sequence[BalanceRecord],
    context: RatingContext,
) -> Rerated:
    """Rate the days after the settled one again where they were settled before it."""
    day = context.business_date
    ahead = {
        b.account_id: b.settled_through
        for b in balances
        if b.settled_through is not None and b.settled_through > day
    }
    first_days: dict[PointKey, date] = {
        key: day + timedelta(days=1) for key in points.keys if key[0] in ahead
    }
    if not first_days:
        return Rerated()
    return await rerate_points(
        uow, first_days, max(ahead.values()), context, reason=CorrectionReason.LATE_READING
    )


def _batch(rating: Rating, *, batch_key: str) -> LedgerBatch:
    days = rating.days
    return build_settlement_batch(
        business_date=days.business_date,
        batch_key=batch_key,
        account_key=days.account_id,
        charge_nano=days.charge_nano,
        revenue_nano=rating.revenue_nano,
        entry_key=tuple(days.entry_key),
    )


async def _open_register_cases(uow: UnitOfWork, days: RatedDays, at: datetime) -> None:
    """Let somebody find out why a register and its intervals disagree; one case per point."""
    for row, gap in enumerate(days.register_gap_wh):
        if not gap:
            continue
        point = int(days.usage_point_id[row])
        await uow.cases.open(
            REGISTER_MISMATCH,
            f"usage_point:{point}",
            owner=METER_DATA_DESK,
            detail={"business_date": days.business_date.isoformat(), "gap_wh": gap},
            at=at,
            usage_point_id=point,
            account_id=int(days.account_id[row]),
            meter_id=int(days.meter_id[row]) or None,
        )
