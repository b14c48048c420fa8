"""The supply of an account: is it on, why, who ordered it, what happens next and by when."""

from __future__ import annotations

from pydantic import Field

from api.schemas.common import Answer, Bilingual, Instant
from api.schemas.protection import HoldOut, RestraintOut
from api.schemas.supply_orders import SupplyOrderOut
from headend.domain.supply import SupplyState
from headend.services.supply_next import NextStep, NextStepCode
from headend.services.supply_views import AccountSupply, HoldView, PointSupply


class NextStepOut(Answer):
    """What happens next, or what somebody has to do."""

    code: NextStepCode
    sentence: Bilingual
    by: Instant | None = Field(description="Latest or planned business time, where there is one.")

    @classmethod
    def of(cls, step: NextStep) -> NextStepOut:
        return cls(code=step.code, sentence=Bilingual(zh=step.zh, en=step.en), by=step.by)


class NoticeCycleOut(Answer):
    """The open notice cycle: the customer was, or is being, told of a disconnection."""

    opened_at: Instant
    planned_disconnect_at: Instant | None = Field(
        description="Fixed when the notice is proven delivered: what the customer was told."
    )
    expires_at: Instant | None
    refused_since: Instant | None


class ContactOut(Answer):
    """The contact as the meter last told it."""

    output_state: bool | None
    control_state: int | None = Field(description="COSEM class 70: 0 off, 1 on, 2 armed.")
    control_mode: int | None
    power_w: int | None


class PointSupplyOut(Answer):
    """The supply of one usage point."""

    usage_point_no: str
    address: str
    meter_no: str | None
    state: SupplyState
    source: str | None = Field(description="What the belief rests on, e.g. `supply_order:17`.")
    observed_at: Instant | None
    contact: ContactOut | None
    restraints: list[RestraintOut]
    holds: list[HoldOut]
    notice_cycle: NoticeCycleOut | None
    open_orders: list[SupplyOrderOut]
    last_switching: SupplyOrderOut | None = Field(
        description="The newest switching seen to happen: who ordered it, on what evidence."
    )
    next_steps: list[NextStepOut]

    @classmethod
    def of(cls, supply: PointSupply) -> PointSupplyOut:
        seen, cycle, point = supply.seen, supply.cycle, supply.point
        last = supply.last_switching
        return cls(
            usage_point_no=point.usage_point_no,
            address=point.address,
            meter_no=point.meter_no,
            state=supply.state,
            source=seen.source if seen else None,
            observed_at=seen.observed_at if seen else None,
            contact=None
            if seen is None
            else ContactOut(
                output_state=seen.output_state,
                control_state=seen.control_state,
                control_mode=seen.control_mode,
                power_w=seen.power_w,
            ),
            restraints=[RestraintOut.of(each) for each in supply.restraints],
            holds=[
                HoldOut.of(HoldView(hold, point.usage_point_no, is_active=True))
                for hold in supply.holds
            ],
            notice_cycle=None
            if cycle is None
            else NoticeCycleOut(
                opened_at=cycle.opened_at,
                planned_disconnect_at=cycle.planned_disconnect_at,
                expires_at=cycle.expires_at,
                refused_since=cycle.refused_since,
            ),
            open_orders=[SupplyOrderOut.of(view) for view in supply.open_orders],
            last_switching=SupplyOrderOut.of(last) if last else None,
            next_steps=[NextStepOut.of(step) for step in supply.next_steps],
        )


class AccountSupplyOut(Answer):
    """The supply of every usage point that the account occupies now."""

    account_no: str
    points: list[PointSupplyOut]

    @classmethod
    def of(cls, supply: AccountSupply) -> AccountSupplyOut:
        return cls(
            account_no=supply.account.account_no,
            points=[PointSupplyOut.of(point) for point in supply.points],
        )
