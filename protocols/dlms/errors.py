"""Faults that the DLMS stack adds to the head-end's own, and the result names of the standard.

Result codes are those of IEC 62056-5-3 (Green Book), `Data-Access-Result` and `Action-Result`; the
numbers were checked against two public implementations, the clause itself is unverified.
"""

from __future__ import annotations

from enum import IntEnum

from headend.domain.errors import (
    HeadEndError,
    LocalProtocolError,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
)


class MalformedData(MeterMisbehaved):
    """Bytes that are no valid encoding: cut, mutated or foreign. Nothing was changed."""


class RequestTooLong(LocalProtocolError):
    """The meter takes no APDU of that size, and no blocks. Nothing was sent."""


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


# A block transfer that fell out of step: nothing was read or written, and a new one may well work.
_TRANSFER_LOST = (
    AccessResult.LONG_GET_ABORTED,
    AccessResult.NO_LONG_GET_IN_PROGRESS,
    AccessResult.LONG_SET_ABORTED,
    AccessResult.NO_LONG_SET_IN_PROGRESS,
    AccessResult.DATA_BLOCK_NUMBER_INVALID,
)
# Every result but success: whether asking again later can help.
RETRYABLE: dict[AccessResult, bool] = {
    result: result is AccessResult.TEMPORARY_FAILURE or result in _TRANSFER_LOST
    for result in AccessResult
    if result is not AccessResult.SUCCESS
}
# `Action-Result` gives two of the numbers another meaning.
_ACTION_NAMES = {
    AccessResult.LONG_GET_ABORTED: "long-action-aborted",
    AccessResult.NO_LONG_GET_IN_PROGRESS: "no-long-action-in-progress",
}


def refusal(result: AccessResult, what: str, *, action: bool = False) -> HeadEndError:
    """Return the fault for a meter that refused ``what``; `MeterBusy` may be retried.

    ``action``: the result is an `Action-Result`. Success where data was due is `MeterMisbehaved`.
    """
    name = _ACTION_NAMES.get(result, result.text) if action else result.text
    if result is AccessResult.SUCCESS:
        return MeterMisbehaved(f"success without data in answer to {what}")
    message = f"the meter answered {name} to {what}"
    return MeterBusy(message) if RETRYABLE[result] else AccessRefused(message, result)
