"""Notices of an account, and the cases that somebody must settle. Reads only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import App
from api.routes.errors import read_errors
from api.schemas.common import AccountNo, RequestBody, UsagePointNo
from api.schemas.notices import CaseList, CaseOut, NoticeList, NoticeOut

notices_router = APIRouter(prefix="/v1/notices", tags=["notices"])
cases_router = APIRouter(prefix="/v1/cases", tags=["cases"])


class NoticeQuery(RequestBody):
    """Whose notices."""

    account_no: Annotated[AccountNo, Query()]
    limit: Annotated[int, Query(ge=1, le=500)] = 50


class CaseQuery(RequestBody):
    """Which open cases; all when nothing is named."""

    usage_point_no: Annotated[UsagePointNo | None, Query()] = None


@notices_router.get("", responses=read_errors(404), summary="List notices of an account")
async def list_notices(app: App, query: Annotated[NoticeQuery, Query()]) -> NoticeList:
    """List what the customer was, or is to be, told, newest first, with proof of delivery."""
    found = await app.views.notices(query.account_no, limit=query.limit)
    return NoticeList(account_no=query.account_no, items=[NoticeOut.of(view) for view in found])


@cases_router.get("", responses=read_errors(404), summary="List open cases")
async def list_cases(app: App, query: Annotated[CaseQuery, Query()]) -> CaseList:
    """List what a named person must settle, the oldest first."""
    found = await app.views.open_cases(usage_point_no=query.usage_point_no)
    return CaseList(items=[CaseOut.of(view) for view in found])
