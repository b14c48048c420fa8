"""Who is never cut, or not even threatened: holds, doubt, restarts, cases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from headend.domain.errors import BadInput
from headend.services.holds import HoldRequest
from rules.reasons import HoldKind

DAY = timedelta(days=1)


def request(home: Any, **changes: Any) -> HoldRequest:
    values: dict[str, Any] = {
        "usage_point_no": home.usage_point_no,
        "kind": HoldKind.LIFE_SUPPORT,
        "owner": "李护士",
        "evidence": "certificate 7",
    }
    return HoldRequest(**(values | changes))


async def test_a_protected_account_is_asked_to_pay_but_never_threatened(
    services: Any, district: Any
) -> None:
    home = district.household(balance_yuan=-5)
    await services.holds.place(request(home), actor="wu")
    await services.decide_day()
    assert district.stages(home) == [("arrears", "due")]
    assert district.orders(home) == []
    decision = district.decisions(home)[-1]
    assert (decision["outcome"], decision["refusal_codes"]) == ("disconnect", ["life_support"])


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("update account_balance set estimated_nano = 9000000000", "balance_rests_on_estimates"),
        ("update meter_contact set last_heard_at = '2026-02-20Z'", "meter_not_heard_lately"),
        ("update account set agreement_signed_at = null", "no_signed_agreement"),
        ("update meter set remote_close = false", "remote_close_not_possible"),
        ("update meter_installation set link_confirmed_at = null", "meter_link_unconfirmed"),
        ("update account_balance set actual_through = null", "balance_stale"),
        ("delete from supply_state", "relay_state_unknown"),
        (
            'insert into "case" (kind, subject_key, meter_id, owner, opened_at)'
            " values ('identity_mismatch', 'meter:1', 1, 'x', '2026-03-01Z')",
            "identity_mismatch",
        ),
        (
            "insert into payment (channel_code, channel_reference, account_id, amount_nano, state,"
            " paid_at) values ('wechat', 'r', 1, 1, 'pending', '2026-03-02 00:25Z')",
            "payment_pending",
        ),
    ],
)
async def test_doubt_withholds_the_notice_and_is_kept_with_the_decision(
    services: Any, district: Any, statement: str, code: str
) -> None:
    home = district.household(balance_yuan=-5)
    district.run(statement)
    await services.decide_day()
    assert "disconnect_notice" not in [stage for stage, _ in district.stages(home)]
    assert code in district.decisions(home)[-1]["refusal_codes"]


async def test_an_unknown_balance_leads_to_nothing(services: Any, district: Any) -> None:
    home = district.household(balance_yuan=None)
    await services.decide_day()
    assert district.decisions(home) == []
    assert district.cycles(home) == []


async def test_what_stays_refused_for_long_becomes_a_case_until_it_is_paid(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-5)
    await services.holds.place(request(home), actor="wu")
    for _ in range(4):
        await services.decide_day()
        assert district.run('select * from "case"') == []
        clock.advance(days=1)
        district.heard(home)
    await services.decide_day()
    case = district.one('select * from "case"')
    assert (case["kind"], case["account_id"], case["owner"]) == (
        "disconnect_refused",
        home.account_id,
        "accounts",
    )
    assert case["detail"]["refusal_codes"] == ["life_support"]

    district.set_balance(home, 50)
    await services.decide(home, "payment")
    assert district.one('select closed_at, outcome from "case"') == {
        "closed_at": clock.now(),
        "outcome": "paid",
    }


async def test_a_hold_calls_back_an_unsent_disconnect_and_its_end_restarts_the_notice(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    await services.notices.deliver_due()
    planned_at = district.cycles(home)[0]["planned_disconnect_at"]
    await clock.jump_to(planned_at - timedelta(minutes=35))
    await services.notices.deliver_due()
    await clock.jump_to(planned_at)
    district.heard(home)
    await services.decisions.decide_planned()
    assert [order["state"] for order in district.orders(home)] == ["scheduled"]

    clock.advance(seconds=1)
    hold = await services.holds.place(request(home), actor="wu")
    assert [order["state"] for order in district.orders(home)] == ["cancelled"]

    clock.advance(hours=2)
    await services.holds.end(hold.hold_id, actor="zhao", reason="moved to hospital")
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == ["hold_ended"]
    clock.advance(days=1)
    district.heard(home)
    await services.decide_day()
    assert district.cycles(home)[-1]["closed_at"] is None
    assert district.stages(home)[-1] == ("disconnect_notice", "due")
    events = district.run("select actor, action from audit_event where action like 'hold.%'")
    assert [(event["actor"], event["action"]) for event in events] == [
        ("wu", "hold.placed"),
        ("zhao", "hold.ended"),
    ]


async def test_a_hold_that_runs_out_by_itself_restarts_the_notice_too(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    await services.notices.deliver_due()
    await services.holds.place(request(home, valid_to=clock.now() + 3 * DAY), actor="wu")
    clock.advance(days=4)
    district.heard(home)
    await services.decide_day()
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == ["hold_ended", None]
    assert district.stages(home)[-1] == ("disconnect_notice", "due")


@pytest.mark.parametrize("trigger", ["reversal", "re_rating", "reconnection"])
async def test_what_makes_notices_worthless_restarts_the_cycle(
    services: Any, district: Any, clock: Any, trigger: str
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    await services.notices.deliver_due()
    clock.advance(days=1)
    district.heard(home)
    await services.decide(home, trigger)
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == [trigger]
    # A correction at night wakes nobody; the daily run gives notice anew.
    assert district.stages(home)[-1] == ("reminder", "cancelled")
    await services.decide_day()
    assert district.cycles(home)[-1]["closed_at"] is None
    assert district.stages(home)[-1] == ("disconnect_notice", "due")


async def test_a_correction_does_not_repeat_mere_warnings(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=20)
    await services.decide_day()
    clock.advance(days=1)
    await services.decide(home, "re_rating")
    await services.decide_day()
    assert district.stages(home) == [("low_balance", "due")]


async def test_a_new_occupant_does_not_inherit_the_notice_cycle(
    services: Any, district: Any, clock: Any
) -> None:
    old = district.household(balance_yuan=-1)
    new = district.household(balance_yuan=-1)
    await services.decide_day()
    await services.notices.deliver_due()
    today = clock.now().date()
    district.run("update occupancy set valid_to = %s", (today,))
    district.run(
        "insert into occupancy (account_id, usage_point_id, valid_from) values (%s, %s, %s)",
        (new.account_id, old.usage_point_id, today),
    )
    clock.advance(days=1)
    district.heard(old)
    await services.decide_day()
    assert [cycle["close_reason"] for cycle in district.cycles(old)] == ["moved_out"]
    (_, fresh) = district.cycles(new)
    assert (fresh["usage_point_id"], fresh["closed_at"]) == (old.usage_point_id, None)


async def test_a_cycle_whose_customer_moved_out_does_not_wake_the_clock_for_ever(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    await services.notices.deliver_due()
    district.run("update occupancy set valid_to = %s", (clock.now().date(),))
    district.run("update notice set state = 'cancelled' where stage = 'reminder'")
    await clock.jump_to(await services.next_due())
    assert await services.decisions.decide_planned() == 1
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == ["moved_out"]
    assert await services.next_due() is None


async def test_a_hold_needs_an_owner_evidence_and_a_future(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household()
    for changes, field in (
        ({"owner": " "}, "owner"),
        ({"evidence": ""}, "evidence"),
        ({"valid_to": clock.now()}, "valid_to"),
    ):
        with pytest.raises(BadInput) as refused:
            await services.holds.place(request(home, **changes), actor="wu")
        assert refused.value.field == field
    with pytest.raises(BadInput):
        await services.holds.end(1, actor="wu", reason=" ")
    assert await services.holds.list_active() == []


async def test_active_holds_are_listed_by_usage_point(
    services: Any, district: Any, clock: Any
) -> None:
    one, other = district.household(), district.household()
    await services.holds.place(request(one), actor="wu")
    await services.holds.place(request(other, kind=HoldKind.DISPUTE), actor="wu")
    assert len(await services.holds.list_active()) == 2
    (hold,) = await services.holds.list_active(usage_point_no=other.usage_point_no)
    assert (hold.kind, hold.owner) == (HoldKind.DISPUTE, "李护士")
