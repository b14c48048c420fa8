"""What the doctor makes of what it sees; every line that is not in order says what to do."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from headend.cli import doctor_checks as checks
from headend.cli.doctor_checks import Finding, Verdict
from headend.configuration import Settings
from headend.domain.errors import ConfigurationError
from headend.ports.ledger import BalanceMismatch, Imbalance
from headend.services.accounts import BooksCheck
from headend.store.inspection import KeySample, LinkLeases, OpenOrders, RunFacts, ServerFacts
from headend.store.keys import open_vault

NOW = datetime(2026, 3, 5, 8, tzinfo=UTC)
SERVER = ServerFacts("18.1", NOW, 5 << 30, 100, 7, 60, 60)
RIGHT_BOOKS = BooksCheck(Imbalance(0, 0), (), {})


def verdicts(findings: Sequence[Finding]) -> list[Verdict]:
    return [finding.verdict for finding in findings]


def assert_advised(finding: Finding, verdict: Verdict, told: str) -> None:
    assert finding.verdict is verdict
    assert told in finding.text
    assert finding.advice


def test_a_server_in_order() -> None:
    finding = checks.judge_server(SERVER)
    assert finding.verdict is Verdict.OK
    assert "PostgreSQL 18.1, 5.00 GiB, 60 accounts" in finding.text


def test_few_connections_left_are_worth_a_look() -> None:
    assert_advised(checks.judge_server(replace(SERVER, connections=95)), Verdict.LOOK, "95 of 100")


@pytest.mark.parametrize(("apart_s", "verdict"), [(0, "ok"), (1.9, "ok"), (2.1, "wrong")])
def test_clocks_may_be_two_seconds_apart(apart_s: float, verdict: str) -> None:
    for sign in (1, -1):
        ours = NOW + sign * timedelta(seconds=apart_s)
        assert checks.judge_clock(SERVER, ours, demo=False, offset_s=0).verdict == verdict


def test_a_demo_s_business_time_is_told() -> None:
    finding = checks.judge_clock(SERVER, NOW, demo=True, offset_s=864_000)
    assert "business time is 10.0 days ahead (demo)" in finding.text


def settings_with(tmp_path: Path, kek: str) -> Settings:
    return Settings.model_validate({"state_dir": tmp_path, "key_encryption_key": kek})


def test_keys_that_open(tmp_path: Path) -> None:
    vault = open_vault(key_text="0b" * 32)
    sample = [
        KeySample(vault.fingerprint, "encryption", vault.wrap(bytes(16)), 120),
        KeySample(vault.fingerprint, "password", vault.wrap_secret(b"12345678"), 120),
    ]
    found = checks.judge_keys(settings_with(tmp_path, "0b" * 32), sample, demo=False)
    assert verdicts(found) == [Verdict.OK]
    assert "120 are stored" in found[0].text


def test_keys_under_another_key_encryption_key(tmp_path: Path) -> None:
    other = open_vault(key_text="0c" * 32)
    sample = [KeySample(other.fingerprint, "encryption", other.wrap(bytes(16)), 1)]
    found = checks.judge_keys(settings_with(tmp_path, "0b" * 32), sample, demo=False)
    assert_advised(found[0], Verdict.WRONG, "wrapped under another key-encryption key")


def test_a_lost_key_encryption_key_is_not_made_anew(tmp_path: Path) -> None:
    sample = [KeySample("f" * 8, "encryption", bytes(24), 1)]
    settings = Settings.model_validate({"state_dir": tmp_path})
    assert_advised(
        checks.judge_keys(settings, sample, demo=True)[0], Verdict.WRONG, "cannot be read"
    )
    assert list(tmp_path.iterdir()) == []


def test_orders_under_way_are_counted() -> None:
    found = checks.judge_orders([OpenOrders("queued", 3, 0, None)])
    assert verdicts(found) == [Verdict.OK]
    assert found[0].text == "3 queued"


def test_stuck_orders_are_wrong_and_named() -> None:
    orders = [OpenOrders("queued", 3, 2, 17), OpenOrders("sending", 1, 0, None)]
    assert_advised(
        checks.judge_orders(orders)[0], Verdict.WRONG, "2 queued for too long (first: order 17)"
    )


def test_ended_leases_are_free() -> None:
    finding = checks.judge_leases(LinkLeases(5, 3, 2))
    assert (finding.verdict, finding.text) == (
        Verdict.OK,
        "3 links held by 2 processes, 2 ended and free",
    )


def test_failed_and_late_runs_are_both_told() -> None:
    runs = RunFacts(1, "settle/2026-03-04/shard/0/1", 2, NOW)
    failed, late = checks.judge_runs(runs, "settled through 2026-03-03")
    assert_advised(failed, Verdict.WRONG, "settle/2026-03-04/shard/0/1")
    assert_advised(late, Verdict.WRONG, "2 runs are late, the oldest was due 2026-03-05 08:00Z")


def test_daily_work_in_order_says_how_far_it_is() -> None:
    found = checks.judge_runs(RunFacts(0, None, 0, None), "settled through 2026-03-03")
    assert (verdicts(found), found[0].text) == ([Verdict.OK], "settled through 2026-03-03")


def test_a_run_settles_the_day_before_it() -> None:
    assert checks._settled_through(date(2026, 3, 5)) == "settled through 2026-03-04"


def test_orders_waiting_for_people_are_worth_a_look() -> None:
    assert checks.judge_people(0, 3).verdict is Verdict.OK
    assert_advised(checks.judge_people(2, 0), Verdict.LOOK, "2 orders wait for a release")


def test_books_in_order() -> None:
    assert verdicts(checks.judge_books(RIGHT_BOOKS)) == [Verdict.OK, Verdict.OK]


def test_a_ledger_that_does_not_balance() -> None:
    ledger, _ = checks.judge_books(replace(RIGHT_BOOKS, imbalance=Imbalance(5, 0)))
    assert_advised(ledger, Verdict.WRONG, "0.000000005 yuan")


def test_a_balance_that_is_not_its_entries() -> None:
    mismatch = BalanceMismatch(account_id=9, balance_nano=1, entries_nano=2)
    _, balances = checks.judge_books(replace(RIGHT_BOOKS, mismatches=(mismatch,)))
    assert_advised(balances, Verdict.WRONG, "account id 9: 0.000000001 stored")


def test_a_refusal_is_split_into_fault_and_way_out() -> None:
    finding = checks.refused(ConfigurationError("the schema is older (0002): run headend migrate"))
    assert (finding.text, finding.advice) == ("the schema is older (0002)", "run headend migrate")


@pytest.mark.parametrize(
    ("free", "verdict"), [(1 << 29, "wrong"), (2 << 30, "look"), (9 << 30, "ok")]
)
def test_disk_space(
    free: int, verdict: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": free})
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda folder: usage)
    settings = Settings.model_validate({"state_dir": tmp_path / "not" / "yet"})
    (finding,) = checks.check_disk(settings)
    assert finding.verdict == verdict
    assert bool(finding.advice) == (verdict != "ok")
