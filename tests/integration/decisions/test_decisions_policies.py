"""Policies in force, publishing by two people, and decisions explained and replayed."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest

from headend.domain.errors import BadInput, ConfigurationError, NotFound
from headend.services.decision_facts import columns_of_record
from headend.services.guard import PolicyTerms
from headend.services.policies import Policies, read_pack
from rules.floors import Floors
from rules.table_compile import decide

YUAN = 10**9


def stricter() -> dict[str, Any]:
    """The shipped pack with the cut threshold moved from 0 to -20 yuan."""
    document = copy.deepcopy(read_pack("cn_prepaid"))
    for node in document["table"]["nodes"]:
        for rule in node.get("content", {}).get("rules", []):
            if rule["outcome"] == '"disconnect"':
                rule["balance"] = "< -20"
    return document


async def test_the_default_policy_is_stored_once(services: Any, district: Any) -> None:
    assert await services.policies.ensure_default_policy() is False
    (stored,) = district.run("select version, published_by, approved_by from policy_version")
    assert stored == {"version": 1, "published_by": "release", "approved_by": "installation"}


async def test_two_people_publish_and_the_new_rules_hold_from_their_date(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-5)
    starts = clock.now() + timedelta(days=1)
    version = await services.policies.publish(
        stricter(), published_by="wang", approved_by="chen", effective_from=starts
    )
    assert version.version == 2
    await services.decide_day()
    assert district.decisions(home)[-1]["policy_version"] == 1
    assert district.decisions(home)[-1]["outcome"] == "disconnect"

    clock.advance(days=1)
    district.heard(home)
    await services.decide_day()
    decision = district.decisions(home)[-1]
    assert (decision["policy_version"], decision["outcome"]) == (2, "arrears_warning")
    # Under the new rule the account may not be cut: the notice of the old one is void.
    assert [cycle["close_reason"] for cycle in district.cycles(home)] == ["paid", None]
    event = district.one("select actor, detail from audit_event where subject like '%%:2'")
    assert (event["actor"], event["detail"]["approved_by"]) == ("wang", "chen")


@pytest.mark.parametrize("approver", ["wang", " Wang ", ""])
async def test_one_person_alone_publishes_nothing(
    services: Any, district: Any, approver: str
) -> None:
    with pytest.raises(BadInput) as refused:
        await services.policies.publish(stricter(), published_by="wang", approved_by=approver)
    assert refused.value.field == "approved_by"
    assert len(district.run("select 1 from policy_version")) == 1


async def test_nothing_is_published_for_the_past_nor_looser_than_the_floors(
    services: Any, district: Any, clock: Any
) -> None:
    with pytest.raises(BadInput) as refused:
        await services.policies.publish(
            stricter(),
            published_by="wang",
            approved_by="chen",
            effective_from=clock.now() - timedelta(seconds=1),
        )
    assert refused.value.field == "effective_from"
    loose = stricter()
    loose["policy"]["limits"]["notice_days"]["residential"] = 2
    with pytest.raises(BadInput, match="looser"):
        await services.policies.publish(loose, published_by="wang", approved_by="chen")
    with pytest.raises(BadInput) as refused:
        services.policies.check({"policy": {}})
    assert refused.value.field == "table"
    assert len(district.run("select 1 from policy_version")) == 1


async def test_without_any_policy_the_way_out_is_named(services: Any, clock: Any) -> None:
    elsewhere = Policies(store=services.store, clock=clock, policy_code="nowhere")
    async with services.store.transaction() as uow:
        with pytest.raises(ConfigurationError, match="headend policy publish"):
            await elsewhere.current(uow, at=clock.now())
        with pytest.raises(NotFound, match="no version 9"):
            await services.policies.get(uow, "cn_prepaid", 9)


async def test_the_guard_hears_threshold_floors_and_calendar(services: Any, clock: Any) -> None:
    async def terms(**who: Any) -> PolicyTerms:
        async with services.store.transaction() as uow:
            return await services.policies.terms(uow, at=clock.now(), **who)

    plain = await terms(customer_class="residential", emergency_credit_nano=0)
    assert plain.threshold_nano == 0
    assert plain.floors.notice_time_of("residential") == timedelta(days=7)
    assert plain.calendar.window_on((clock.now() + timedelta(days=5)).date()) is None  # Saturday
    credit = await terms(customer_class="residential", emergency_credit_nano=20 * YUAN)
    assert credit.threshold_nano == -20 * YUAN
    unknown = await terms(customer_class="residential", emergency_credit_nano=None)
    assert unknown.threshold_nano is None


async def test_a_policy_is_compiled_once(services: Any, clock: Any) -> None:
    async with services.store.transaction() as uow:
        first = await services.policies.current(uow, at=clock.now())
        assert await services.policies.current(uow, at=clock.now()) is first


def test_the_shipped_packs_satisfy_the_default_floors() -> None:
    document = read_pack("cn_prepaid")
    assert set(document) == {"policy", "table"}
    for name in ("no_such", "../cn_prepaid", "cn_prepaid.jdm"):
        with pytest.raises(BadInput):
            read_pack(name)
    policies = Policies(store=None, clock=None, floors=Floors())  # type: ignore[arg-type]
    assert policies.check(document).pack == "cn_prepaid"


async def test_a_decision_is_explained_from_what_it_saw(
    services: Any, district: Any, clock: Any
) -> None:
    home = district.household(balance_yuan=-12.3)
    district.run("delete from meter_contact")
    await services.decide_day()
    (decision,) = district.decisions(home)
    district.set_balance(home, 500)  # what is true now does not matter
    told = await services.decisions.explain(decision["decision_id"])
    for part in ("2026-03-02 08:30", "每日例行", home.account_no, "-12.30元", "第1版第4条"):
        assert part in told.zh
    for part in ("in the daily run", "-12.30 yuan", "row 4", "disconnection, after notice"):
        assert part in told.en
    assert "Not carried out" in told.en
    assert told.refusal_codes == ("meter_not_heard_lately",)
    with pytest.raises(NotFound):
        await services.decisions.explain(decision["decision_id"] + 1)


async def test_the_end_of_a_cycle_and_emergency_credit_are_explained(
    services: Any, district: Any
) -> None:
    home = district.household(balance_yuan=-1)
    await services.decide_day()
    district.set_balance(home, 50)
    await services.decide(home, "payment")
    told = await services.decisions.explain(district.decisions(home)[-1]["decision_id"])
    assert "欠费已缴清" in told.zh
    assert "The debt is paid" in told.en
    district.run("update account set emergency_credit_nano = %s", (10 * YUAN,))
    district.set_balance(home, -3)
    (record,) = await services.decide(home, "re_rating")
    told = await services.decisions.explain(record.decision_id)
    assert "应急额度" in told.zh
    assert "emergency credit of 10.00 yuan" in told.en


async def test_every_stored_decision_can_be_replayed(services: Any, district: Any) -> None:
    homes = [district.household(balance_yuan=balance) for balance in (-5, 0, 5, 12.5, 29.99, 31)]
    await services.decide_day()
    stored = [row for home in homes for row in district.decisions(home)]
    assert len(stored) == 5
    async with services.store.transaction() as uow:
        for row in stored:
            policy = await services.policies.get(uow, row["policy_code"], row["policy_version"])
            names = [spec.name for spec in policy.table.inputs]
            again = decide(policy.table, columns_of_record(row["facts"], names))
            assert (again.outcome_of(0), int(again.row[0])) == (row["outcome"], row["row_index"])


async def test_history_is_newest_first(services: Any, district: Any, clock: Any) -> None:
    home = district.household(balance_yuan=20)
    await services.decide_day()
    clock.advance(days=1)
    district.set_balance(home, 5)
    await services.decide_day()
    history = await services.decisions.history(home.account_id)
    assert [record.outcome for record in history] == ["arrears_warning", "low_balance_warning"]
