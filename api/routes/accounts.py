"""Accounts: money and supply of one customer. Reads only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from api.deps import App
from api.routes.errors import read_errors
from api.schemas.accounts import (
    AccountOut,
    LedgerPageOut,
    StatementOut,
    UsageCalendarOut,
    UsageDayOut,
)
from api.schemas.common import AccountNo, Day, RequestBody
from api.schemas.supply import AccountSupplyOut

router = APIRouter(prefix="/v1/accounts", tags=["accounts"], responses=read_errors(404))

Number = Annotated[AccountNo, Path()]


class PageQuery(RequestBody):
    """Which page to show."""

    cursor: Annotated[str | None, Query(max_length=512)] = None
    limit: Annotated[int, Query(ge=1, le=500)] = 50


class PeriodQuery(RequestBody):
    """Local days, both included; at most 400 days."""

    from_: Annotated[Day, Query(alias="from")]
    to: Annotated[Day, Query()]


@router.get("/{account_no}", summary="Show an account")
async def get_account(account_no: Number, app: App) -> AccountOut:
    """Show balance, latest payments and supply: why it is on or off and what happens next."""
    view = await app.services.accounts.view(account_no)
    return AccountOut.of(view, await app.views.of_account(account_no))


@router.get("/{account_no}/supply", summary="Show the supply of an account")
async def get_supply(account_no: Number, app: App) -> AccountSupplyOut:
    """Say whether it is on, why, who ordered it, what happens next and by when."""
    return AccountSupplyOut.of(await app.views.of_account(account_no))


@router.get("/{account_no}/ledger", summary="List the postings of an account")
async def get_ledger(
    account_no: Number, app: App, page: Annotated[PageQuery, Query()]
) -> LedgerPageOut:
    """List postings, newest first. They are never changed: what was wrong is corrected by more."""
    found = await app.services.accounts.ledger(account_no, cursor=page.cursor, limit=page.limit)
    return LedgerPageOut.of(account_no, found)


@router.get("/{account_no}/usage-calendar", summary="Show energy and charge by day")
async def get_usage_calendar(
    account_no: Number, app: App, period: Annotated[PeriodQuery, Query()]
) -> UsageCalendarOut:
    """Show each rated day: energy, the estimated part, the charge, or why it is still open."""
    days = await app.services.accounts.usage_calendar(account_no, period.from_, period.to)
    numbers = await app.views.numbers(usage_points={day.usage_point_id for day in days}, meters=())
    return UsageCalendarOut(
        account_no=account_no,
        first=period.from_,
        last=period.to,
        days=[UsageDayOut.of(day, numbers) for day in days],
    )


@router.get("/{account_no}/statement", summary="Show a statement")
async def get_statement(
    account_no: Number, app: App, period: Annotated[PeriodQuery, Query()]
) -> StatementOut:
    """Show what was used, charged, paid and corrected in a period."""
    statement = await app.services.accounts.statement(account_no, period.from_, period.to)
    numbers = await app.views.numbers(
        usage_points=(), meters={each.meter_id for each in statement.indications}
    )
    return StatementOut.of(statement, numbers)
