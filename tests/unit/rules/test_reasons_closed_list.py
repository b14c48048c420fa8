"""The closed list: every code has its sentences, and the documentation shows exactly these."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rules.eligibility import GUARD
from rules.reason_texts import REASON_TEXTS, explain_reasons, reasons_as_markdown
from rules.reasons import (
    DISCONNECT_REASONS,
    GROUP_OF_REASON,
    HoldKind,
    ReasonGroup,
    RefusalReason,
)
from rules.screening import reasons_of_mask

ROOT = Path(__file__).parents[3]


def test_every_code_has_its_sentences_and_nothing_else_has() -> None:
    assert set(REASON_TEXTS) == set(RefusalReason)


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_sentences_can_be_read_out_in_both_languages(reason: RefusalReason) -> None:
    text = REASON_TEXTS[reason]
    assert re.search(r"[一-鿿]", text.zh)
    assert text.zh.endswith("。")
    assert text.en.endswith(".")
    assert "_" not in text.en  # a sentence, not a code
    assert text.cleared_by.zh
    assert text.cleared_by.en


def test_every_hold_kind_is_a_code_in_the_group_of_holds() -> None:
    for kind in HoldKind:
        assert GROUP_OF_REASON[RefusalReason(kind.value)] is ReasonGroup.HOLD


def test_the_guard_gives_no_code_twice_and_all_of_them_have_a_bit() -> None:
    codes = [test.reason for test in GUARD]
    assert len(codes) == len(set(codes))
    assert set(codes) <= set(DISCONNECT_REASONS)
    assert len(DISCONNECT_REASONS) <= 64
    assert reasons_of_mask(2 ** len(DISCONNECT_REASONS) - 1) == DISCONNECT_REASONS


def test_reasons_are_explained_in_their_order() -> None:
    zh, en = explain_reasons((RefusalReason.LIFE_SUPPORT, RefusalReason.PAYMENT_PENDING))
    assert zh.index("生命维持") < zh.index("缴费")
    assert en.index("life-support") < en.index("payment")


def test_the_documentation_is_the_list() -> None:
    written = (ROOT / "docs" / "refusal-reasons.md").read_text(encoding="utf-8")
    assert reasons_as_markdown() in written
