"""Every way a meter can say no, and what the head-end makes of it: the whole table."""

from __future__ import annotations

import pytest

from headend.domain.errors import (
    AuthenticationFailed,
    CounterRejected,
    HeadEndError,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
)
from protocols.dlms import responses as rs
from protocols.dlms.acse import Aare
from protocols.dlms.association import ClientAssociation, ClientSettings
from protocols.dlms.errors import RETRYABLE, AccessRefused, AccessResult, refusal
from protocols.dlms.events import AssociationRejected, Rejected
from protocols.dlms.refusals import (
    EXCEPTION_FAULTS,
    SERVICE_ERROR_FAULTS,
    SERVICE_ERRORS,
    ConfirmedServiceError,
    CounterBehind,
    ExceptionResponse,
    ServiceError,
    StateError,
    fault_of,
)

FINAL, LATER = AccessRefused, MeterBusy
RESULTS: dict[str, type[HeadEndError]] = {
    "hardware-fault": FINAL,
    "temporary-failure": LATER,
    "read-write-denied": FINAL,
    "object-undefined": FINAL,
    "object-class-inconsistent": FINAL,
    "object-unavailable": FINAL,
    "type-unmatched": FINAL,
    "scope-of-access-violated": FINAL,
    "data-block-unavailable": FINAL,
    "long-get-aborted": LATER,
    "no-long-get-in-progress": LATER,
    "long-set-aborted": LATER,
    "no-long-set-in-progress": LATER,
    "data-block-number-invalid": LATER,
    "other-reason": FINAL,
}
NUMBERS = [1, 2, 3, 4, 9, 11, 12, 13, 14, 15, 16, 17, 18, 19, 250]


def test_the_table_of_results_is_whole() -> None:
    assert [int(result) for result in RETRYABLE] == NUMBERS
    assert [result.text for result in RETRYABLE] == list(RESULTS)


@pytest.mark.parametrize("result", [r for r in AccessResult if r is not AccessResult.SUCCESS])
def test_each_result_is_final_or_not(result: AccessResult) -> None:
    fault = refusal(result, "reading X")
    assert type(fault) is RESULTS[result.text]
    assert fault.retryable == RETRYABLE[result] == (RESULTS[result.text] is LATER)
    assert str(fault) == f"the meter answered {result.text} to reading X"
    if isinstance(fault, AccessRefused):
        assert (fault.result, fault.code) == (result, result.text)


@pytest.mark.parametrize(
    ("number", "name"), [(15, "long-action-aborted"), (16, "no-long-action-in-progress")]
)
def test_two_results_have_another_name_in_an_action(number: int, name: str) -> None:
    fault = refusal(AccessResult(number), "a method", action=True)
    assert name in str(fault)
    assert fault.retryable


def test_success_without_data_is_misbehaviour() -> None:
    assert type(refusal(AccessResult.SUCCESS, "reading")) is MeterMisbehaved


EXCEPTIONS: dict[tuple[int, int], type[HeadEndError]] = {
    (1, 1): MeterBusy, (1, 2): MeterBusy, (1, 3): MeterBusy, (1, 4): MeterRefused,
    (1, 5): AuthenticationFailed, (1, 6): CounterBehind,
    (2, 1): MeterRefused, (2, 2): MeterRefused, (2, 3): MeterRefused, (2, 4): MeterRefused,
    (2, 5): AuthenticationFailed, (2, 6): CounterBehind,
}  # fmt: skip


def test_the_table_of_exceptions_is_whole() -> None:
    pairs = {(int(state), int(error)) for state in StateError for error in ServiceError}
    assert set(EXCEPTION_FAULTS) == pairs == set(EXCEPTIONS)


@pytest.mark.parametrize(("pair", "fault"), list(EXCEPTIONS.items()))
def test_each_exception_is_a_fault_of_its_own(
    pair: tuple[int, int], fault: type[HeadEndError]
) -> None:
    found = fault_of(ExceptionResponse(*pair), "reading")
    assert type(found) is fault
    assert found.retryable == (fault is MeterBusy)
    state, error = StateError(pair[0]), ServiceError(pair[1])
    for name in (state.name, error.name):
        assert name.lower().replace("_", "-") in str(found)


@pytest.mark.parametrize(
    ("pair", "fault"), [((1, 77), MeterBusy), ((2, 77), MeterRefused), ((9, 1), MeterRefused)]
)
def test_numbers_of_a_makers_own_are_judged_by_their_state(
    pair: tuple[int, int], fault: type[HeadEndError]
) -> None:
    assert type(fault_of(ExceptionResponse(*pair), "reading")) is fault


def test_a_counter_error_names_the_counter_expected() -> None:
    for counter in (None, 0x1234):
        fault = fault_of(ExceptionResponse(1, 6, counter), "reading")
        assert isinstance(fault, CounterRejected)
        assert isinstance(fault, CounterBehind)
        assert (fault.expected, fault.code) == (counter, "invocation-counter-error")


TRANSIENT = {
    "application-reference time-elapsed",
    "application-reference application-unreachable",
    "application-reference provider-communication-error",
    "hardware-resource other",
    "hardware-resource memory-unavailable",
    "hardware-resource processor-resource-unavailable",
    "hardware-resource mass-storage-unavailable",
    "hardware-resource other-resource-unavailable",
    "vde-state-error no-dlms-context",
    "vde-state-error loading-data-set",
    "vde-state-error status-nochange",
    "load-data-set data-set-not-ready",
    "task ti-running",
}


@pytest.mark.parametrize("pair", list(SERVICE_ERROR_FAULTS))
def test_each_service_error_is_a_fault_of_its_own(pair: tuple[int, int]) -> None:
    error = ConfirmedServiceError(5, *pair)
    fault = fault_of(error, "reading")
    if error.name == "application-reference deciphering-error":
        assert type(fault) is AuthenticationFailed
    elif error.name in TRANSIENT:
        assert type(fault) is MeterBusy
    else:
        assert type(fault) is MeterRefused
        assert fault.code == error.name
    assert fault.retryable == (error.name in TRANSIENT)
    assert error.text in str(fault)


def test_the_table_of_service_errors_is_whole() -> None:
    assert set(SERVICE_ERROR_FAULTS) == {
        (kind, value) for kind, (_, names) in SERVICE_ERRORS.items() for value in range(len(names))
    }
    assert {ConfirmedServiceError(5, *pair).name for pair in SERVICE_ERROR_FAULTS} >= TRANSIENT


def test_a_service_error_of_a_makers_own_is_final() -> None:
    fault = fault_of(ConfirmedServiceError(5, 44, 7), "reading")
    assert type(fault) is MeterRefused
    assert "kind 44 7" in str(fault)


def test_an_answer_to_something_else_is_misbehaviour() -> None:
    assert type(fault_of(rs.SetResponse(0xC1, AccessResult.SUCCESS), "reading")) is MeterMisbehaved


@pytest.mark.parametrize(
    ("aare", "fault", "words"),
    [
        (Aare(1, 1, 13), AssociationRejected, "authentication-failure"),
        (Aare(1, 1, 2), AssociationRejected, "application-context-name-not-supported"),
        (Aare(1, 1, 11), AssociationRejected, "authentication-mechanism-name-not-recognised"),
        (Aare(1, 1, 12), AssociationRejected, "authentication-mechanism-name-required"),
        (Aare(1, 1, 2, by_provider=True), AssociationRejected, "no-common-acse-version"),
        (Aare(1, 1, 99), AssociationRejected, "diagnostic 99"),
        (
            Aare(1, 1, 1, user_information=b"\x0e\x01\x06\x03"),
            AssociationRejected,
            "initiate pdu-size-too-short",
        ),
        (Aare(1, 2, 1), MeterBusy, "no-reason-given"),
    ],
)
def test_a_rejection_keeps_its_diagnostic(aare: Aare, fault: type, words: str) -> None:
    association = ClientAssociation(ClientSettings())
    association.open()
    event = association.receive(aare.encode())
    assert isinstance(event, Rejected)
    found = event.error()
    assert type(found) is fault
    assert words in str(found)
    if isinstance(found, AssociationRejected):
        assert isinstance(found, AuthenticationFailed)
        assert words in found.diagnostic
