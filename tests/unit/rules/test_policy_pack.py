"""The prepaid pack loads, fits the default floors, and its notice cycle passes the guard."""

from __future__ import annotations

import copy
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import zen
from hypothesis import given
from hypothesis import strategies as st

from headend.domain.errors import BadInput
from headend.domain.supply import OrderPurpose
from rules.eligibility import DisconnectFacts, check_disconnect
from rules.facts import FACTS
from rules.floors import Floors, parse_floors
from rules.moratorium import DailyWindow, day_facts
from rules.notices import plan_notice_cycle
from rules.policy import Policy, parse_policy
from rules.reasons import GROUP_OF_REASON, ReasonGroup
from rules.table import Outcome
from rules.table_compile import decide_one, reconnect_threshold_nano

PACKS = Path(__file__).parents[3] / "rules" / "packs"
DOCUMENT: dict[str, Any] = json.loads((PACKS / "cn_prepaid.json").read_text(encoding="utf-8"))
TABLE: dict[str, Any] = json.loads((PACKS / DOCUMENT["table"]).read_text(encoding="utf-8"))
POLICY = parse_policy(DOCUMENT, TABLE)
FLOORS = POLICY.floors_under(Floors())
ZONE = "Asia/Shanghai"


def changed(**entries: Any) -> Policy:
    return parse_policy({**copy.deepcopy(DOCUMENT), **entries}, TABLE)


@pytest.mark.parametrize(
    ("balance", "off", "outcome"),
    [
        ("30", False, Outcome.NONE),
        ("29.99", False, Outcome.LOW_BALANCE_WARNING),
        ("9.99", False, Outcome.ARREARS_WARNING),
        ("0", False, Outcome.ARREARS_WARNING),
        ("-0.000000001", False, Outcome.DISCONNECT),
        ("9.99", True, Outcome.NONE),
        ("10", True, Outcome.RECONNECT),
    ],
)
def test_the_thresholds_of_the_pack(balance: str, off: bool, outcome: Outcome) -> None:
    facts = {"balance_yuan": Decimal(balance), "supply_off": off, "payment_mode": "prepaid"}
    assert decide_one(POLICY.table, facts)[0] is outcome
    postpaid = {**facts, "payment_mode": "postpaid"}
    assert decide_one(POLICY.table, postpaid)[0] is (outcome if off else Outcome.NONE)


def test_zen_reads_the_pack_as_we_do() -> None:
    oracle = zen.ZenEngine().create_decision(json.dumps(TABLE))
    for off in (True, False):
        for balance in (-1, 0, 9, 10, 29, 30):
            facts = {"balance_yuan": balance, "supply_off": off, "payment_mode": "prepaid"}
            expected = oracle.evaluate(facts)["result"]["outcome"]
            assert decide_one(POLICY.table, facts)[0] == expected


def test_the_pack_says_where_it_comes_from_and_what_is_unverified() -> None:
    assert POLICY.sources
    assert POLICY.verify
    assert all(row.description for row in POLICY.table.rows)
    assert reconnect_threshold_nano(POLICY.table, {"payment_mode": "prepaid"}) == 10 * 10**9


def test_every_pack_in_the_folder_loads_under_the_default_floors() -> None:
    packs = [path for path in PACKS.glob("*.json") if not path.name.endswith(".jdm.json")]
    assert packs
    for path in packs:
        document = json.loads(path.read_text(encoding="utf-8"))
        table = json.loads((PACKS / document["table"]).read_text(encoding="utf-8"))
        policy = parse_policy(document, table)
        assert policy.pack == path.stem
        assert policy.notices_under(Floors())


def test_the_documentation_lists_every_fact() -> None:
    written = (PACKS.parents[1] / "docs" / "decision-tables.md").read_text(encoding="utf-8")
    for spec in FACTS.values():
        assert f"| `{spec.name}` | {spec.unit or ''}".rstrip() in written
        assert all(f'`"{value}"`' in written for value in spec.values)
        assert spec.meaning in written


def test_a_policy_looser_than_the_deployment_is_refused_by_field() -> None:
    strict = parse_floors({"notice_days": {"residential": 10}})
    with pytest.raises(BadInput) as refused:
        POLICY.floors_under(strict)
    assert refused.value.field == "notice_time.residential"


def test_the_digest_changes_with_the_pack_and_with_the_table() -> None:
    other_table = copy.deepcopy(TABLE)
    other_table["nodes"][1]["content"]["rules"][0]["_description"] = "other"
    digests = {
        POLICY.digest,
        parse_policy(DOCUMENT, other_table).digest,
        changed(title_en="other").digest,
    }
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        ({"pack": ""}, "pack"),
        ({"colour": "red"}, "policy.colour"),
        ({"limits": {}}, "limits.window"),
        ({"sources": "hearsay"}, "sources"),
        ({"calendar": {"weekdays": {}}}, "calendar.weekdays"),
        ({"calendar": {"weekday_windows": {"friday": None}}}, "calendar.weekday_windows.friday"),
        (
            {"calendar": {"weekday_windows": {"fri": ["08:00", "12:00"]}}},
            "calendar.weekday_windows.fri",
        ),
        ({"calendar": {"weekday_windows": {"fri": ["x"]}}}, "calendar.weekday_windows.fri"),
        ({"calendar": {"no_disconnect_dates": ["1 May"]}}, "calendar.no_disconnect_dates"),
        ({"notices": {"tolerance_hours": -1}}, "notices.tolerance_hours"),
        ({"notices": {"tolerance_hours": "one"}}, "notices.tolerance_hours"),
        ({"templates": {"arrears": {"zh": "x"}}}, "templates.arrears"),
    ],
)
def test_unusable_packs_name_the_entry(entries: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refused:
        changed(**entries)
    assert refused.value.field == field


def test_calendar_entries_are_read() -> None:
    calendar = changed(
        calendar={
            "weekday_windows": {"fri": ["09:00", "11:00"], "sun": None},
            "no_disconnect_dates": ["2026-10-01"],
            "working_dates": ["2026-10-10"],
        }
    ).calendar
    assert calendar.weekday_windows == {4: DailyWindow(time(9), time(11)), 6: None}
    assert calendar.no_disconnect_dates == frozenset({date(2026, 10, 1)})
    assert calendar.working_dates == frozenset({date(2026, 10, 10)})
    assert not calendar.eves_closed


def test_notices_are_planned_inside_the_deployments_narrower_limits() -> None:
    wider = changed(limits={**DOCUMENT["limits"], "window": ["08:00", "17:00"]}, calendar={})
    floors = parse_floors({"window": ["08:00", "17:00"], "tolerance_hours": 7})
    notices = wider.notices_under(floors)
    assert notices.calendar.window == DailyWindow(time(8), time(17))
    assert notices.tolerance == timedelta(hours=7)


@given(
    st.timedeltas(timedelta(0), timedelta(days=365)).map(
        lambda offset: datetime(2026, 1, 1, tzinfo=UTC) + offset
    ),
    st.sampled_from(["residential", "commercial", None]),
    st.integers(0, 420),
)
def test_a_planned_cycle_passes_the_guard_until_it_lapses(
    delivered_at: datetime, customer_class: str | None, minutes: int
) -> None:
    """What is planned and told is what the guard accepts: no notice was given in vain."""
    notices = POLICY.notices_under(Floors())
    cycle = plan_notice_cycle(delivered_at, notices, customer_class=customer_class, zone=ZONE)
    now = cycle.planned_at + timedelta(minutes=minutes)
    no_disconnect_day, day_window = day_facts(now, POLICY.calendar, ZONE)
    facts = DisconnectFacts(
        purpose=OrderPurpose.ARREARS,
        customer_class=customer_class,
        notice_delivered_at=delivered_at,
        waits_until=cycle.waits_until,
        planned_at=cycle.planned_at,
        tolerance=notices.tolerance,
        reminder_delivered_at=cycle.reminder_at + notices.reminder_margin,
        zone=ZONE,
        no_disconnect_day=no_disconnect_day,
        day_window=day_window,
    )
    groups = {GROUP_OF_REASON[reason] for reason in check_disconnect(facts, FLOORS, now).reasons}
    assert ReasonGroup.NOTICE not in groups
    inside = day_window is not None and day_window.contains(
        (now + timedelta(hours=8)).time()  # Shanghai has no clock changes
    )
    assert (ReasonGroup.LOCAL_TIME not in groups) == inside
    if minutes == 0:
        assert inside
