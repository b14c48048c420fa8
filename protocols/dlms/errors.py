"""Faults that the DLMS stack adds to the head-end's own, and the result names of the standard.

Result codes are those of IEC 62056-5-3 (Green Book), `Data-Access-Result` and `Action-Result`; the
numbers were checked against two public implementations, the clause itself is unverified.
"""

from __future__ import annotations

from enum import IntEnum

from headend.domain.errors import HeadEndError, MeterBusy, MeterMisbehaved, MeterRefused


class MalformedData(MeterMisbehaved):
    """Bytes that are no valid encoding: cut, mutated or foreign. Nothing was changed."""


class AccessResult(IntEnum):
    """`Data-Access-Result`, which `Action-Result` shares (0 is success)."""

    SUCCESS = 0
    HARDWARE_FAULT = 1
    TEMPORARY_FAILURE = 2
    READ_WRITE_DENIED = 3
    OBJECT_UNDEFINED = 4
    OBJECT_CLASS_INCONSISTENT = 9
    OBJECT_UNAVAILABLE = 11
    TYPE_UNMATCHED = 12
    SCOPE_OF_ACCESS_VIOLATED = 13
    DATA_BLOCK_UNAVAILABLE = 14
    LONG_GET_ABORTED = 15
    NO_LONG_GET_IN_PROGRESS = 16
    LONG_SET_ABORTED = 17
    NO_LONG_SET_IN_PROGRESS = 18
    DATA_BLOCK_NUMBER_INVALID = 19
    OTHER_REASON = 250

    @property
    def text(self) -> str:
        """Return the standard's own name, e.g. ``read-write-denied``."""
        return self.name.lower().replace("_", "-")


_BUSY = frozenset({AccessResult.TEMPORARY_FAILURE})


class AccessRefused(MeterRefused):
    """The meter answered one request with this result instead of data. Final."""

    def __init__(self, message: str, result: AccessResult) -> None:
        super().__init__(message, code=result.text)
        self.result = result


class AccessError(HeadEndError):
    """Server role: an object answers a request with this result instead of data."""

    def __init__(self, result: AccessResult) -> None:
        super().__init__(result.text)
        self.result = result


def parse_access_result(code: int) -> AccessResult:
    """Name a result octet; raises `MalformedData` for a number the standard does not have."""
    try:
        return AccessResult(code)
    except ValueError:
        raise MalformedData(f"{code} is no data-access-result") from None


def refusal(result: AccessResult, what: str) -> HeadEndError:
    """Return the fault for a meter that refused ``what``; a temporary one may be retried."""
    message = f"the meter answered {result.text} to {what}"
    if result in _BUSY:
        return MeterBusy(message)
    return AccessRefused(message, result)
