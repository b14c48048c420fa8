"""What an association tells its driver about received APDUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from headend.domain.errors import AuthenticationFailed, HeadEndError, MeterBusy, MeterMisbehaved
from protocols.dlms import responses as rs
from protocols.dlms.initiate import InitiateResponse
from protocols.dlms.refusals import fault_of


class StaleAnswer(MeterMisbehaved):
    """An answer to something else than what is waited for: late, doubled or foreign. Drop it."""


@dataclass(frozen=True, slots=True)
class Challenged:
    """The meter wants a proof of our keys: call `ClientAssociation.prove`."""


@dataclass(frozen=True, slots=True)
class Associated:
    """The association is ready; ``negotiated`` is what the meter agreed to."""

    negotiated: InitiateResponse


class AssociationRejected(AuthenticationFailed):
    """An AARE rejected the association for good; ``diagnostic`` is the standard's own word."""

    def __init__(self, message: str, *, diagnostic: str) -> None:
        super().__init__(message, code=diagnostic)
        self.diagnostic = diagnostic


@dataclass(frozen=True, slots=True)
class Rejected:
    """The meter rejected the association; `error` says it as the head-end's fault."""

    reason: str
    transient: bool = False
    response: rs.ExceptionResponse | rs.ConfirmedServiceError | None = None

    def error(self) -> HeadEndError:
        """Return `MeterBusy` for a transient rejection, otherwise `AssociationRejected`.

        An exception-response in place of the AARE says more, e.g. `CounterBehind`.
        """
        if isinstance(self.response, rs.ExceptionResponse):
            return fault_of(self.response, "the association request")
        message = f"the meter rejected the association: {self.reason}"
        if self.transient:
            return MeterBusy(message)
        return AssociationRejected(message, diagnostic=self.reason)


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to the request; a refusal that came unciphered is not authenticated."""

    response: rs.Response
    authenticated: bool


@dataclass(frozen=True, slots=True)
class Released:
    """The meter confirmed the release."""


@dataclass(frozen=True, slots=True)
class Continue:
    """A block came, and the answer is not whole yet: send these, if any, and go on waiting."""

    apdus: tuple[bytes, ...] = ()


Event: TypeAlias = Challenged | Associated | Rejected | Answer | Released | Continue
