"""Notices owed and delivered, and cases that somebody must settle."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.schemas.common import Answer, Bilingual, Instant, PublicId
from headend.domain.masking import mask_phone
from headend.ports.notices import NoticeState
from headend.services.supply_views import CaseView, NoticeView


class NoticeOut(Answer):
    """One notice; only evidence of its delivery starts a waiting time."""

    notice_id: PublicId
    usage_point_no: str
    stage: str = Field(
        description="low_balance, arrears, disconnect_notice, reminder, disconnected, reconnected."
    )
    state: NoticeState
    due_at: Instant
    planned_disconnect_at: Instant | None
    recipient: str = Field(description="Masked.", examples=["138****5678"])
    text: Bilingual
    attempts: int
    delivered_at: Instant | None
    failure: str | None
    evidence: dict[str, Any] | None

    @classmethod
    def of(cls, view: NoticeView) -> NoticeOut:
        notice = view.notice
        return cls(
            notice_id=notice.notice_id,
            usage_point_no=view.usage_point_no,
            stage=notice.stage,
            state=notice.state,
            due_at=notice.due_at,
            planned_disconnect_at=notice.planned_disconnect_at,
            recipient=mask_phone(notice.recipient),
            text=Bilingual(zh=notice.text_zh, en=notice.text_en),
            attempts=notice.attempts,
            delivered_at=notice.delivered_at,
            failure=notice.failure,
            evidence=None if notice.evidence is None else dict(notice.evidence),
        )


class NoticeList(Answer):
    """Notices of one account, newest first."""

    account_no: str
    items: list[NoticeOut]


class CaseOut(Answer):
    """Something that a named person must settle."""

    case_id: PublicId
    kind: str = Field(examples=["identity_mismatch"])
    usage_point_no: str | None
    account_no: str | None
    meter_no: str | None
    owner: str
    detail: dict[str, Any]
    opened_at: Instant
    due_at: Instant | None

    @classmethod
    def of(cls, view: CaseView) -> CaseOut:
        case = view.case
        return cls(
            case_id=case.case_id,
            kind=case.kind,
            usage_point_no=view.usage_point_no,
            account_no=view.account_no,
            meter_no=view.meter_no,
            owner=case.owner,
            detail=dict(case.detail),
            opened_at=case.opened_at,
            due_at=case.due_at,
        )


class CaseList(Answer):
    """Open cases, the oldest first; at most the first thousand."""

    items: list[CaseOut]
