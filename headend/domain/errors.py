"""Operating faults, wrong input and broken invariants, each a type of its own.

Retryability belongs to the type (``retryable``), so that retry policy is a pure decision.
Expected decisions ("not disconnected: protected customer") are values, never exceptions.
"""

from __future__ import annotations


class HeadEndError(Exception):
    """Base of every fault the head-end declares."""

    retryable = False


class MeterUnreachable(HeadEndError):
    """No route, no answer or a closed socket; nothing was switched, retrying is safe."""

    retryable = True


class MeterBusy(MeterUnreachable):
    """The meter or concentrator answered that it is busy; retrying later is safe."""


class MeterRefused(HeadEndError):
    """The meter understood and said no. Final.

    ``code`` is the protocol's own result name, e.g. ``read-write-denied``.
    """

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class AuthenticationFailed(MeterRefused):
    """Wrong key, password or client address: the association was rejected. Final."""


class CounterRejected(MeterRefused):
    """The meter holds a higher invocation counter than we sent; recover before retrying."""


class MeterMisbehaved(HeadEndError):
    """The meter broke its protocol: malformed, unauthenticated or foreign answer."""


class IdentityMismatch(MeterMisbehaved):
    """The device that answered is not the installed one. Final; opens a case."""

    def __init__(self, message: str, *, expected: str, found: str) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


class LocalProtocolError(HeadEndError):
    """Our side asked for something the protocol or its state forbids: a defect of ours."""


class OutcomeUnknown(HeadEndError):
    """A switching command was sent and no answer came: read back before anything else."""


class Preempted(HeadEndError):
    """Bulk work gave way to a supply order on the same meter; nothing is lost, try again."""

    retryable = True


class BadInput(HeadEndError):
    """Input that names what is wrong with it; nothing was changed.

    ``field`` is the field, line or frame at fault; ``code`` is stable for programs.
    """

    def __init__(self, message: str, *, field: str, code: str = "invalid") -> None:
        super().__init__(message)
        self.field = field
        self.code = code


class NotFound(BadInput):
    """The thing named does not exist."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message, field=field, code="not_found")


class Conflict(BadInput):
    """The request contradicts what is already recorded; both sides are in the message."""

    def __init__(self, message: str, *, field: str, code: str = "conflict") -> None:
        super().__init__(message, field=field, code=code)


class StorageUnavailable(HeadEndError):
    """The database is not there or too busy; the transaction was rolled back, retrying is safe."""

    retryable = True


class ConfigurationError(HeadEndError):
    """The deployment is not usable as configured; the message names the way out (exit code 2)."""


class InvariantViolated(HeadEndError):
    """A defect: unbalanced entry, impossible transition. Never caught to go on."""
