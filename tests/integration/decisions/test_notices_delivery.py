"""Delivery of notices: proof, retries, claims of killed processes, late proof, switchings told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from headend.ports import DeliveryEvidence
from headend.services.notices import RETRY_LADDER, plan_retry
from rules.notices import NoticeStage


async def test_no_waiting_time_runs_without_proof(
    services: Any, district: Any, clock: Any, notifier: Any
) -> None:
    home = district.household(balance_yuan=-1)
    notifier.failing_stages.add("disconnect_notice")
    await services.decide_day()
    first_planned = district.notices(home)[0]["planned_disconnect_at"]
    assert await services.notices.deliver_due() == 0
    (notice,) = district.notices(home)
    assert (notice["state"], notice["attempts"]) == ("due", 1)
    assert notice["next_attempt_at"] == clock.now() + RETRY_LADDER[0]
    assert district.cycles(home)[0]["planned_disconnect_at"] is None

    # Two days later it gets through, and tells a later time than it was first written with.
    clock.advance(days=2)
    notifier.failing_stages.clear()
    assert await services.notices.deliver_due() == 1
    cycle = district.cycles(home)[0]
    assert cycle["planned_disconnect_at"] >= clock.now() + timedelta(days=7)
    assert cycle["planned_disconnect_at"] > first_planned
    told = f"{cycle['planned_disconnect_at'] + timedelta(hours=8):%Y-%m-%d %H:%M}"
    assert told in notifier.delivered[-1].text_zh
    assert told in district.notices(home)[0]["text_en"]
    assert district.notices(home)[0]["evidence"] == {"channel": "fake", "reference": "fake#1"}


async def test_attempts_are_bounded_and_then_a_person_is_told(
    services: Any, district: Any, clock: Any, notifier: Any
) -> None:
    home = district.household(balance_yuan=-1, phone=None)
    await services.decide_day()
    while (due := await services.next_due()) is not None:
        await clock.jump_to(due)
        await services.notices.deliver_due()
    (notice,) = district.notices(home)
    assert (notice["state"], notice["attempts"]) == ("failed", len(RETRY_LADDER) + 1)
    assert notifier.delivered == []
    assert notifier.refused == []  # without a number nothing is handed over at all
    case = district.one('select kind, account_id from "case"')
    assert case == {"kind": "notice_undeliverable", "account_id": home.account_id}

    # The next day's decision gives notice again rather than waiting on one that never arrived.
    district.run("update account set phone = '13900000000'")
    clock.advance(days=1)
    district.heard(home)
    await services.decide_day()
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == ["notice_failed", None]
    assert await services.notices.deliver_due() == 1


async def test_an_adapter_that_breaks_does_not_keep_the_others_from_delivery(
    services: Any, district: Any, notifier: Any
) -> None:
    homes = [district.household(balance_yuan=20) for _ in range(3)]
    await services.decide_day()
    notifier.explode = RuntimeError("adapter defect")
    assert await services.notices.deliver_due() == 2
    states = [district.notices(home)[0]["state"] for home in homes]
    assert sorted(states) == ["delivered", "delivered", "due"]
    failed = district.one("select failure from notice where state = 'due'")
    assert "adapter defect" in failed["failure"]


async def test_a_claim_of_a_killed_process_runs_out_and_is_delivered_by_another(
    services: Any, district: Any, clock: Any, notifier: Any
) -> None:
    home = district.household(balance_yuan=20)
    await services.decide_day()
    async with services.store.transaction() as uow:
        assert len(await uow.notices.claim_due(clock.now(), limit=10, lease_s=60)) == 1
    assert await services.notices.deliver_due() == 0  # the other process may still deliver it
    district.run("update notice set claimed_until = clock_timestamp() - interval '1 s'")
    assert await services.notices.deliver_due() == 1
    assert district.notices(home)[0]["attempts"] == 2
    assert len(notifier.delivered) == 1


async def test_delivering_again_changes_nothing(
    services: Any, district: Any, clock: Any, notifier: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    assert await services.notices.deliver_due() == 1
    before = (district.notices(home), district.cycles(home))
    clock.advance(hours=1)
    assert await services.notices.deliver_due() == 0
    assert (district.notices(home), district.cycles(home)) == before
    assert len(notifier.delivered) == 1


async def test_proof_later_than_the_told_time_allows_tells_a_new_time(
    services: Any, district: Any, clock: Any, notifier: Any, monkeypatch: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    told_at = district.notices(home)[0]["planned_disconnect_at"]
    deliver = notifier.deliver

    async def slowly(message: Any) -> DeliveryEvidence | None:
        evidence = await deliver(message)
        late = told_at - timedelta(days=7) + timedelta(seconds=1)
        return DeliveryEvidence(evidence.channel, evidence.reference, late)

    monkeypatch.setattr(notifier, "deliver", slowly)
    assert await services.notices.deliver_due() == 0
    notice = district.notices(home)[0]
    assert (notice["state"], notice["next_attempt_at"]) == ("due", clock.now())
    assert "too late for the time it tells" in notice["failure"]

    monkeypatch.undo()
    await clock.jump_to(told_at - timedelta(days=7) + timedelta(minutes=1))
    assert await services.notices.deliver_due() == 1
    assert district.cycles(home)[0]["planned_disconnect_at"] > told_at


async def test_a_notice_cancelled_while_it_is_delivered_starts_no_waiting_time(
    services: Any, district: Any, notifier: Any, monkeypatch: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    deliver = notifier.deliver

    async def while_paying(message: Any) -> DeliveryEvidence | None:
        district.set_balance(home, 60)
        await services.decide(home, "payment")
        return await deliver(message)

    monkeypatch.setattr(notifier, "deliver", while_paying)
    await services.notices.deliver_due()
    (notice,) = district.notices(home)
    assert (notice["state"], notice["evidence"]["channel"]) == ("cancelled", "fake")
    (cycle,) = district.cycles(home)
    assert (cycle["close_reason"], cycle["planned_disconnect_at"]) == ("paid", None)


async def test_the_reminder_tells_the_balance_of_its_own_day(
    services: Any, district: Any, clock: Any, notifier: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    await services.notices.deliver_due()
    district.set_balance(home, -7.5)
    await clock.jump_to(await services.next_due())
    assert await services.notices.deliver_due() == 1
    assert notifier.delivered[-1].stage == "reminder"
    assert "-7.50" in notifier.delivered[-1].text_zh


async def test_a_switching_is_told_once_per_order(
    services: Any, district: Any, clock: Any, notifier: Any
) -> None:
    home = district.household(balance_yuan=-1)

    async def tell(stage: NoticeStage, order: int) -> bool:
        async with services.store.transaction() as uow:
            notice = await services.notices.enqueue(
                uow,
                usage_point_id=home.usage_point_id,
                account_id=home.account_id,
                stage=stage,
                reference=f"supply_order:{order}",
                switched_at=clock.now(),
            )
        return notice is not None

    told = [
        await tell(NoticeStage.DISCONNECTED, 1),
        await tell(NoticeStage.DISCONNECTED, 1),
        await tell(NoticeStage.RECONNECTED, 2),
        await tell(NoticeStage.DISCONNECTED, 3),
    ]
    assert told == [True, False, True, True]
    assert await services.notices.deliver_due() == 3
    texts = [message.text_zh for message in notifier.delivered]
    assert "10.00" in texts[0]  # what to pay up to, from the policy's reconnect threshold
    assert "2026-03-02 08:30" in texts[1]
    history = await services.notices.history(home.account_id)
    assert [notice.reference for notice in history] == [
        "supply_order:3",
        "supply_order:2",
        "supply_order:1",
    ]
    assert home.account_no not in repr(history)  # texts and numbers stay out of logs


async def test_limits_leave_the_rest_for_the_next_call(services: Any, district: Any) -> None:
    for _ in range(5):
        district.household(balance_yuan=20)
    await services.decide_day()
    counts = [await services.notices.deliver_due(limit=2) for _ in range(4)]
    assert counts == [2, 2, 1, 0]


def test_the_retry_ladder_grows_and_ends() -> None:
    waits = [plan_retry(attempt) for attempt in range(1, len(RETRY_LADDER) + 2)]
    assert waits[-1] is None
    known = [wait for wait in waits if wait is not None]
    assert known == sorted(known)
    assert len(known) == len(RETRY_LADDER)
