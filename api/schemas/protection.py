"""What keeps a contact open or a supply from being cut: restraints and holds."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from api.schemas.common import Answer, Bilingual, Instant, PublicId, RequestBody, Text, UsagePointNo
from api.schemas.supply_orders import SupplyOrderOut
from headend.domain.supply import LIFTED_BY, Restraint
from headend.ports.supply import StandingRestraint
from headend.services.supply_views import HoldView
from rules.reason_texts import REASON_TEXTS
from rules.reasons import HoldKind, RefusalReason


class HoldIn(RequestBody):
    """A hold that protects a usage point from being cut."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "usage_point_no": "UP000001",
                    "hold": "life_support",
                    "owner": "95598 supervisor Li Na",
                    "evidence": "hospital certificate 2026-118",
                }
            ]
        }
    )

    usage_point_no: UsagePointNo
    hold: HoldKind
    owner: Text = Field(description="Who answers for the hold and may end it.")
    evidence: Text = Field(description="What it rests on.")
    valid_from: Instant | None = Field(default=None, description="Now when left out.")
    valid_to: Instant | None = Field(default=None, description="Until ended when left out.")


class HoldEndIn(RequestBody):
    """Why a hold ends."""

    reason: Text = Field(examples=["equipment returned to the hospital"])


class HoldOut(Answer):
    """A hold as it stands."""

    hold_id: PublicId
    usage_point_no: str
    hold: HoldKind
    sentence: Bilingual = Field(description="What the agent reads out.")
    is_active: bool
    owner: str
    evidence: str
    valid_from: Instant
    valid_to: Instant | None
    ended_at: Instant | None
    ended_by: str | None

    @classmethod
    def of(cls, view: HoldView) -> HoldOut:
        hold = view.hold
        text = REASON_TEXTS[RefusalReason(hold.kind.value)]
        return cls(
            hold_id=hold.hold_id,
            usage_point_no=view.usage_point_no,
            hold=hold.kind,
            sentence=Bilingual(zh=text.zh, en=text.en),
            is_active=view.is_active,
            owner=hold.owner,
            evidence=hold.evidence,
            valid_from=hold.valid_from,
            valid_to=hold.valid_to,
            ended_at=hold.ended_at,
            ended_by=hold.ended_by,
        )


class HoldList(Answer):
    """Holds, newest first."""

    items: list[HoldOut]


class RestraintIn(RequestBody):
    """A restraint to be placed or lifted, and what shows that it should be."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "usage_point_no": "UP000001",
                    "restraint": "unsafe",
                    "evidence": "inspector's report 88: scorched terminal behind the meter",
                }
            ]
        }
    )

    usage_point_no: UsagePointNo
    restraint: Restraint = Field(
        description="`arrears` is placed by a disconnect and lifted by money, never here."
    )
    evidence: Text


class RestraintOut(Answer):
    """A reason for which a contact is, or has to stay, open."""

    restraint: Restraint
    lifted_by: Bilingual = Field(description="Who lifts it, as the agent reads it out.")
    placed_at: Instant
    placed_by: str
    evidence: str
    order_id: int | None = Field(description="The supply order that placed it.")

    @classmethod
    def of(cls, standing: StandingRestraint) -> RestraintOut:
        zh, en = LIFTED_BY[standing.kind]
        return cls(
            restraint=standing.kind,
            lifted_by=Bilingual(zh=zh, en=en),
            placed_at=standing.placed_at,
            placed_by=standing.placed_by,
            evidence=standing.evidence,
            order_id=standing.order_id,
        )


class RestraintList(Answer):
    """Restraints that stand at one usage point."""

    usage_point_no: str
    items: list[RestraintOut]


class LiftedOut(Answer):
    """What remains after a restraint was lifted; the last one lifted leads to a reconnect."""

    usage_point_no: str
    remaining: list[RestraintOut]
    supply_order: SupplyOrderOut | None
