"""The two ways of refusing outright, and what each refusal means for the head-end.

An exception-response says that a request was not even tried; the older confirmed-service-error says
which service failed how. Both come plain even where the association is ciphered, so they are never
evidence. Names and numbers are those of IEC 62056-5-3 (Green Book, ASN.1 of the xDLMS APDUs;
checked against two public implementations, the clause itself is unverified).

Every pair has a fault of the head-end's in `EXCEPTION_FAULTS` and `SERVICE_ERROR_FAULTS`: its type
says whether retrying helps. A number the standard does not have is refused for good.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from headend.domain.errors import (
    AuthenticationFailed,
    CounterRejected,
    HeadEndError,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
)
from protocols.dlms.errors import MalformedData

CONFIRMED_SERVICE_ERROR = 0x0E
EXCEPTION_RESPONSE = 0xD8


class StateError(IntEnum):
    SERVICE_NOT_ALLOWED = 1
    SERVICE_UNKNOWN = 2


class ServiceError(IntEnum):
    OPERATION_NOT_POSSIBLE = 1
    SERVICE_NOT_SUPPORTED = 2
    OTHER_REASON = 3
    PDU_TOO_LONG = 4
    DECIPHERING_ERROR = 5
    INVOCATION_COUNTER_ERROR = 6


@dataclass(frozen=True, slots=True)
class ExceptionResponse:
    """The request was not even tried. ``counter`` is the one the meter expects, if it says so."""

    state_error: int
    service_error: int
    counter: int | None = None

    def encode(self) -> bytes:
        head = bytes((EXCEPTION_RESPONSE, self.state_error, self.service_error))
        return head if self.counter is None else head + self.counter.to_bytes(4, "big")

    @property
    def text(self) -> str:
        """Name both errors in the standard's words."""
        return f"{_name(StateError, self.state_error)}, {_name(ServiceError, self.service_error)}"


@dataclass(frozen=True, slots=True)
class ConfirmedServiceError:
    """The older way to refuse: which service, which kind of error, which error."""

    service: int
    kind: int
    value: int

    def encode(self) -> bytes:
        return bytes((CONFIRMED_SERVICE_ERROR, self.service, self.kind, self.value))

    @property
    def name(self) -> str:
        """Name kind and error in the standard's words, e.g. ``initiate pdu-size-too-short``."""
        kind, values = SERVICE_ERRORS.get(self.kind, (f"kind {self.kind}", ()))
        value = values[self.value] if self.value < len(values) else str(self.value)
        return f"{kind} {value}"

    @property
    def text(self) -> str:
        """Name the error with the APDU that carried it."""
        return f"confirmed-service-error {self.name}"


# Kind -> its name and the names of its errors, from 0.
SERVICE_ERRORS: dict[int, tuple[str, tuple[str, ...]]] = {
    0: (
        "application-reference",
        (
            "other", "time-elapsed", "application-unreachable", "application-reference-invalid",
            "application-context-unsupported", "provider-communication-error", "deciphering-error",
        ),
    ),
    1: (
        "hardware-resource",
        (
            "other", "memory-unavailable", "processor-resource-unavailable",
            "mass-storage-unavailable", "other-resource-unavailable",
        ),
    ),
    2: (
        "vde-state-error",
        ("other", "no-dlms-context", "loading-data-set", "status-nochange", "status-inoperable"),
    ),
    3: ("service", ("other", "pdu-size", "service-unsupported")),
    4: (
        "definition",
        (
            "other", "object-undefined", "object-class-inconsistent",
            "object-attribute-inconsistent",
        ),
    ),
    5: (
        "access",
        (
            "other", "scope-of-access-violated", "object-access-invalid", "hardware-fault",
            "object-unavailable",
        ),
    ),
    6: (
        "initiate",
        (
            "other", "dlms-version-too-low", "incompatible-conformance", "pdu-size-too-short",
            "refused-by-the-VDE-handler",
        ),
    ),
    7: (
        "load-data-set",
        (
            "other", "primitive-out-of-sequence", "not-loadable", "dataset-size-too-large",
            "not-awaited-segment", "interpretation-failure", "storage-failure",
            "data-set-not-ready",
        ),
    ),
    8: ("change-scope", ("other",)),
    9: ("task", ("other", "no-remote-control", "ti-stopped", "ti-running", "ti-unusable")),
    10: ("other", ("other",)),
}  # fmt: skip

# What is busy, restarting or short of something now may well work later.
_TRANSIENT_SERVICE_ERRORS = {
    (0, 1), (0, 2), (0, 5), (1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3),
    (7, 7), (9, 3),
}  # fmt: skip


def _service_error_fault(kind: int, value: int) -> type[HeadEndError]:
    if (kind, value) == (0, 6):
        return AuthenticationFailed
    return MeterBusy if (kind, value) in _TRANSIENT_SERVICE_ERRORS else MeterRefused


SERVICE_ERROR_FAULTS: dict[tuple[int, int], type[HeadEndError]] = {
    (kind, value): _service_error_fault(kind, value)
    for kind, (_, values) in SERVICE_ERRORS.items()
    for value in range(len(values))
}
# Not allowed *now*: the meter restarted or is busy, and a new association may well succeed.
# An unknown service stays unknown.
EXCEPTION_FAULTS: dict[tuple[int, int], type[HeadEndError]] = {
    (state, ServiceError.DECIPHERING_ERROR): AuthenticationFailed for state in StateError
} | {
    (state, ServiceError.INVOCATION_COUNTER_ERROR): CounterRejected for state in StateError
} | {
    (StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE): MeterBusy,
    (StateError.SERVICE_NOT_ALLOWED, ServiceError.SERVICE_NOT_SUPPORTED): MeterBusy,
    (StateError.SERVICE_NOT_ALLOWED, ServiceError.OTHER_REASON): MeterBusy,
    (StateError.SERVICE_NOT_ALLOWED, ServiceError.PDU_TOO_LONG): MeterRefused,
    (StateError.SERVICE_UNKNOWN, ServiceError.OPERATION_NOT_POSSIBLE): MeterRefused,
    (StateError.SERVICE_UNKNOWN, ServiceError.SERVICE_NOT_SUPPORTED): MeterRefused,
    (StateError.SERVICE_UNKNOWN, ServiceError.OTHER_REASON): MeterRefused,
    (StateError.SERVICE_UNKNOWN, ServiceError.PDU_TOO_LONG): MeterRefused,
}  # fmt: skip


class CounterBehind(CounterRejected):
    """The meter refuses our invocation counter; ``expected`` is the one it names, if it does."""

    def __init__(self, message: str, *, expected: int | None) -> None:
        super().__init__(message, code="invocation-counter-error")
        self.expected = expected


def decode_refusal(octets: bytes) -> tuple[ExceptionResponse | ConfirmedServiceError, int]:
    """Decode a refusal; return it and its length. Raises `IndexError` where it is cut."""
    if octets[0] == CONFIRMED_SERVICE_ERROR:
        return ConfirmedServiceError(octets[1], octets[2], octets[3]), 4
    if octets[0] != EXCEPTION_RESPONSE:
        raise MalformedData(f"{octets[0]:#04x} is no refusal")
    state_error, service_error = octets[1], octets[2]
    if service_error == ServiceError.INVOCATION_COUNTER_ERROR and len(octets) == 7:
        counter = int.from_bytes(octets[3:7], "big")
        return ExceptionResponse(state_error, service_error, counter), 7
    return ExceptionResponse(state_error, service_error), 3


def fault_of(response: object, what: str) -> HeadEndError:
    """Return the fault that an answer of another kind than expected stands for."""
    if isinstance(response, ExceptionResponse):
        return _exception_fault(response, f"the meter answered {response.text} to {what}")
    if isinstance(response, ConfirmedServiceError):
        fault = SERVICE_ERROR_FAULTS.get((response.kind, response.value), MeterRefused)
        message = f"the meter answered {response.text} to {what}"
        return _make(fault, message, response.name)
    return MeterMisbehaved(f"a {type(response).__name__} in answer to {what}")


def _exception_fault(response: ExceptionResponse, message: str) -> HeadEndError:
    # Enum members are equal to their numbers, and so are their hashes.
    fault = EXCEPTION_FAULTS.get((response.state_error, response.service_error))
    if fault is None:
        # Some meters have numbers of their own; where they only say "not now", it is "not now".
        not_now = response.state_error == StateError.SERVICE_NOT_ALLOWED
        fault = MeterBusy if not_now else MeterRefused
    if fault is CounterRejected:
        return CounterBehind(message, expected=response.counter)
    if fault is AuthenticationFailed:
        return AuthenticationFailed(message, code="deciphering-error")
    return _make(fault, message, response.text)


def _make(fault: type[HeadEndError], message: str, code: str) -> HeadEndError:
    return fault(message, code=code) if issubclass(fault, MeterRefused) else fault(message)


def _name(names: type[IntEnum], code: int) -> str:
    try:
        return names(code).name.lower().replace("_", "-")
    except ValueError:
        return str(code)
