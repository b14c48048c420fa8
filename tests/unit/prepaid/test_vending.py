"""A payment is accepted once, repeated without effect, and refused when it contradicts itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headend.domain.errors import BadInput, Conflict
from headend.domain.money import NANO_PER_FEN, NANO_PER_YUAN
from prepaid.vending import (
    Accept,
    PaymentChannel,
    PaymentRequest,
    PostedPayment,
    Replay,
    plan_payment,
)

_CHANNEL = PaymentChannel("wechat", minimum_nano=NANO_PER_YUAN, maximum_nano=5_000 * NANO_PER_YUAN)
_REQUEST = PaymentRequest("wechat", "4200001", 11, 100 * NANO_PER_YUAN)
_POSTED = PostedPayment(77, "wechat", "4200001", 11, 100 * NANO_PER_YUAN)


def test_a_new_payment_is_accepted() -> None:
    assert plan_payment(None, _REQUEST, _CHANNEL) == Accept(_REQUEST)


def test_the_same_again_returns_the_first_result() -> None:
    assert plan_payment(_POSTED, _REQUEST, _CHANNEL) == Replay(_POSTED)


def test_a_replay_is_answered_even_where_the_limits_have_changed() -> None:
    narrower = replace(_CHANNEL, maximum_nano=50 * NANO_PER_YUAN)
    assert plan_payment(_POSTED, _REQUEST, narrower) == Replay(_POSTED)


def test_another_amount_under_the_same_reference_shows_both() -> None:
    request = replace(_REQUEST, amount_nano=90 * NANO_PER_YUAN)
    with pytest.raises(Conflict, match=r"recorded as 100\.00 yuan, this request says 90\.00 yuan"):
        plan_payment(_POSTED, request, _CHANNEL)


def test_another_account_under_the_same_reference_shows_both() -> None:
    with pytest.raises(Conflict, match="recorded for account 11, this request says account 12"):
        plan_payment(_POSTED, replace(_REQUEST, account_key=12), _CHANNEL)


@pytest.mark.parametrize(
    ("amount_nano", "code"),
    [
        (0, "not_positive"),
        (-NANO_PER_YUAN, "not_positive"),
        (NANO_PER_YUAN + 1, "fraction_of_fen"),
        (NANO_PER_YUAN + NANO_PER_FEN // 10, "fraction_of_fen"),
        (NANO_PER_YUAN - NANO_PER_FEN, "outside_limits"),
        (5_000 * NANO_PER_YUAN + NANO_PER_FEN, "outside_limits"),
    ],
)
def test_amounts_that_no_channel_takes_are_refused(amount_nano: int, code: str) -> None:
    with pytest.raises(BadInput) as refused:
        plan_payment(None, replace(_REQUEST, amount_nano=amount_nano), _CHANNEL)
    assert (refused.value.field, refused.value.code) == ("amount", code)


@pytest.mark.parametrize("amount_nano", [NANO_PER_YUAN, 5_000 * NANO_PER_YUAN])
def test_the_limits_themselves_are_allowed(amount_nano: int) -> None:
    request = replace(_REQUEST, amount_nano=amount_nano)
    assert plan_payment(None, request, _CHANNEL) == Accept(request)


@pytest.mark.parametrize("reference", ["", " ", "a b", "x" * 65, "汇款", "a\n"])
def test_references_that_cannot_be_keys_are_refused(reference: str) -> None:
    with pytest.raises(BadInput) as refused:
        plan_payment(None, replace(_REQUEST, reference=reference), _CHANNEL)
    assert refused.value.field == "reference"


@pytest.mark.parametrize("code", ["", "We", "a:b", "1st", "x" * 33])
def test_channel_codes_that_cannot_be_keys_are_refused(code: str) -> None:
    with pytest.raises(BadInput):
        PaymentChannel(code)


def test_a_request_is_not_planned_against_another_channel_or_payment() -> None:
    with pytest.raises(BadInput):
        plan_payment(None, _REQUEST, PaymentChannel("alipay"))
    with pytest.raises(BadInput):
        plan_payment(replace(_POSTED, reference="other"), _REQUEST, _CHANNEL)
