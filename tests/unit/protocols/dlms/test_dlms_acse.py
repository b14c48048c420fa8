"""AARQ, AARE, RLRQ, RLRE: the Green Book's examples and what meters send instead."""

from __future__ import annotations

import pytest

from protocols.dlms import acse
from protocols.dlms.acse import Aare, Aarq, Mechanism, Rlre, Rlrq
from protocols.dlms.errors import MalformedData

# Green Book, examples of AARQ and AARE with LLS, password 12345678 (11.5 in the 8th edition;
# clause unverified).
AARQ_LLS = bytes.fromhex(
    "6036A1090607608574050801018A0207808B0760857405080201AC0A80083132333435363738"
    "BE10040E01000000065F1F0400007E1F04B0"
)
AARE_ACCEPTED = bytes.fromhex(
    "6129A109060760857405080101A203020100A305A103020100BE10040E0800065F1F0400007C1F04000007"
)


def test_the_published_aarq() -> None:
    aarq = acse.decode_aarq(AARQ_LLS)
    assert (aarq.context, aarq.mechanism) == (1, Mechanism.LLS)
    assert aarq.authentication == b"12345678"
    assert aarq.user_information == bytes.fromhex("01000000065F1F0400007E1F04B0")
    assert aarq.encode() == AARQ_LLS


def test_the_published_aare() -> None:
    aare = acse.decode_aare(AARE_ACCEPTED)
    assert (aare.context, aare.result, aare.diagnostic, aare.by_provider) == (1, 0, 0, False)
    assert aare.encode() == AARE_ACCEPTED


def test_titles_challenges_and_mechanisms_survive() -> None:
    aarq = Aarq(3, Mechanism.HLS_GMAC, b"HEADEND1", b"c" * 16, b"\x21\x00")
    aare = Aare(3, 0, 14, False, Mechanism.HLS_GMAC, b"METER001", b"s" * 64, b"\x28\x00")
    assert acse.decode_aarq(aarq.encode()) == aarq
    assert acse.decode_aare(aare.encode()) == aare


def test_a_rejection_by_the_provider_is_told_apart() -> None:
    aare = acse.decode_aare(Aare(1, 1, 2, by_provider=True).encode())
    assert aare.by_provider
    assert acse.name_diagnostic(2, by_provider=True) == "no-common-acse-version"
    assert acse.name_diagnostic(13, by_provider=False) == "authentication-failure"
    assert acse.name_diagnostic(99, by_provider=False) == "diagnostic 99"


def test_a_release_without_reason_is_understood() -> None:
    assert acse.decode_rlre(b"\x63\x00") == Rlre(None)
    assert acse.decode_rlre(bytes.fromhex("6303800100")) == Rlre(0)
    assert Rlrq().encode() == bytes.fromhex("6203800100")
    assert acse.decode_rlrq(Rlrq(1, b"\x21\x00").encode()) == Rlrq(1, b"\x21\x00")


def test_secrets_do_not_show() -> None:
    assert "12345678" not in repr(acse.decode_aarq(AARQ_LLS))


@pytest.mark.parametrize(
    "octets",
    [
        "",
        "60",
        "6000",  # no application context
        "600CA109060760857405080101",  # announces more than there is
        "6109A1070605608574050801",  # an AARE, and a short identifier
        "600BA109060760857405090101",  # not a DLMS object identifier
        AARQ_LLS.hex() + "00",
        "6016A109060760857405080101A109060760857405080101",  # a field twice
    ],
)
def test_what_is_no_aarq_is_malformed(octets: str) -> None:
    with pytest.raises(MalformedData):
        acse.decode_aarq(bytes.fromhex(octets))


@pytest.mark.parametrize(
    "octets",
    [
        "6100",
        "6110A109060760857405080101A203020100",  # no diagnostic
        "6117A109060760857405080101A203020100A305A403020100",  # unknown source
    ],
)
def test_what_is_no_aare_is_malformed(octets: str) -> None:
    with pytest.raises(MalformedData):
        acse.decode_aare(bytes.fromhex(octets))
