"""From a fault to its cause: what the meter said is read, and where it said little, it is asked.

Theory of operation. Some faults name their cause (a refused connection, a rejection for a wrong
password, a counter error). Others do not: many meters answer a wrong key, an unknown client and a
replayed counter alike, with silence, a closed connection or "no reason given". Then the address is
knocked at without secrets (`probe`): by the same client, by the public client, and at the usual
address. Whoever answers there tells what is wrong:

- the same client is known: the address and the client are right, so it is the key or password;
- only another client is known here: the client is wrong;
- nobody here, but somebody at the usual address: the address is wrong;
- nobody anywhere: silent; or the connection is closed before anything was asked: busy.
"""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from headend.domain.diagnosis import Cause, Diagnosed, Diagnosis
from headend.domain.errors import (
    AuthenticationFailed,
    BadInput,
    ConfigurationError,
    CounterRejected,
    HeadEndError,
    LocalProtocolError,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
    MeterUnreachable,
    OutcomeUnknown,
)
from protocols.dlms.acceptance import OwnTitle
from protocols.dlms.endpoint import DlmsEndpoint
from protocols.dlms.errors import MalformedData
from protocols.dlms.events import AssociationRejected
from protocols.dlms.opening import PUBLIC_CLIENT
from protocols.dlms.refusals import CounterBehind
from protocols.dlms.security import PlainAnswer, TagMismatch
from protocols.dlms.services.probe import Answered, Knock, OpenWire, closes_by_itself, knock

USUAL_SERVER = 1  # the management logical device
USUAL_CLIENT = 1
# Where else meters and clients are often found; asked all at once where a wire can carry that.
OTHER_SERVERS: tuple[int, ...] = (USUAL_SERVER, 16, 17, 2, 0)
OTHER_CLIENTS: tuple[int, ...] = (2, 3, 17, 32, 48, 64, 100)
_REFUSED_ERRNO = frozenset((errno.ECONNREFUSED,))
_BY_DIAGNOSTIC: dict[str, Cause] = {
    "application-context-name-not-supported": Cause.UNSUPPORTED_SECURITY,
    "authentication-mechanism-name-not-recognised": Cause.UNSUPPORTED_SECURITY,
    "authentication-mechanism-name-required": Cause.UNSUPPORTED_SECURITY,
    "authentication-required": Cause.UNSUPPORTED_SECURITY,
    "calling-ap-title-not-recognized": Cause.WRONG_CLIENT,
    "calling-ap-invocation-identifier-not-recognized": Cause.WRONG_CLIENT,
    "calling-ae-qualifier-not-recognized": Cause.WRONG_CLIENT,
    "calling-ae-invocation-identifier-not-recognized": Cause.WRONG_CLIENT,
    "called-ap-title-not-recognized": Cause.WRONG_ADDRESS,
    "called-ap-invocation-identifier-not-recognized": Cause.WRONG_ADDRESS,
    "called-ae-qualifier-not-recognized": Cause.WRONG_ADDRESS,
    "called-ae-invocation-identifier-not-recognized": Cause.WRONG_ADDRESS,
}
# Reasons by which meters reject a client that they do not know, and many other things.
_VAGUE = frozenset(("no-reason-given", "null"))
_NOT_THE_METERS = (BadInput, ConfigurationError, LocalProtocolError, Diagnosed)


@dataclass(frozen=True, slots=True)
class Knocker:
    """How to reach the meter again, and how long to wait there."""

    endpoint: DlmsEndpoint
    open_wire: OpenWire
    open_other_protocol: OpenWire | None
    timeout_s: float

    @property
    def where(self) -> str:
        endpoint = self.endpoint
        return f"{endpoint.host}:{endpoint.port}" if endpoint.port else endpoint.host

    @property
    def asked(self) -> str:
        """Say whom we asked as whom."""
        return f"server={self.endpoint.server_address} as client={self.endpoint.client_address}"


def is_for_diagnosis(fault: BaseException) -> bool:
    """Tell whether a fault is the meter's or the way to it, not ours or the caller's."""
    return isinstance(fault, HeadEndError) and not isinstance(fault, _NOT_THE_METERS)


def explain_connection(fault: HeadEndError, where: str) -> Diagnosis:
    """Say why no connection came about."""
    cause = fault.__cause__
    text = str(cause or fault)
    if isinstance(cause, socket.gaierror):
        return Diagnosis(Cause.NO_ROUTE, f"nobody knows the host of {where}")
    refused = isinstance(cause, OSError) and cause.errno in _REFUSED_ERRNO
    if refused or "refused" in text or f"Errno {errno.ECONNREFUSED}" in text:
        return Diagnosis(
            Cause.CONNECTION_REFUSED,
            f"no route to a meter at {where}: the host answers, but nothing listens on that port",
        )
    if cause is None:
        return Diagnosis(Cause.NO_ROUTE, f"{fault}: the host is off, or a firewall drops us")
    return Diagnosis(Cause.NO_ROUTE, f"{where} cannot be reached: {_lower(text)}")


def explain_use(fault: HeadEndError, knocker: Knocker) -> Diagnosis:
    """Say what went wrong after the meter had let us in."""
    told = _explain_plainly(fault, knocker)
    if told is not None:
        return told
    if isinstance(fault, MeterUnreachable):
        return Diagnosis(Cause.BROKEN_OFF, f"the meter let us in, then: {fault}")
    return Diagnosis(Cause.MISBEHAVED, str(fault))


async def explain_association(fault: HeadEndError, knocker: Knocker) -> Diagnosis:
    """Say why the meter did not let us in, knocking where the fault alone does not tell."""
    if isinstance(fault, MeterUnreachable) and "nobody listens" in str(fault):
        # Without a connection (UDP) a closed port shows only by its answer to the first datagram.
        return Diagnosis(
            Cause.CONNECTION_REFUSED,
            f"no route to a meter at {knocker.where}: the host answers, but nothing listens on"
            " that port",
        )
    told = _explain_plainly(fault, knocker)
    if told is not None and not _is_doubtful(fault, knocker.endpoint):
        return told
    endpoint = knocker.endpoint
    here, client = endpoint.server_address, endpoint.client_address
    clients = list(dict.fromkeys((client, PUBLIC_CLIENT, USUAL_CLIENT)))
    answers = await knock(
        knocker.open_wire, [(here, each) for each in clients], timeout_s=knocker.timeout_s
    )
    own, others = answers[0], answers[1:]
    if told is not None:
        # A meter that answers us without keys is not busy: it is our keys that it refuses.
        return _wrong_secret(endpoint, str(fault)) if own.is_there and not own.busy else told
    if any(each.is_there for each in answers):
        return _explain_refusal(fault, knocker, own, others)
    return await _explain_silence(fault, knocker, answers, clients)


def _explain_plainly(fault: HeadEndError, knocker: Knocker) -> Diagnosis | None:
    """Return the diagnosis of a fault that names its cause, None for one that does not."""
    if isinstance(fault, OutcomeUnknown):
        return Diagnosis(Cause.UNCERTAIN, str(fault))
    if isinstance(fault, CounterRejected):
        return _explain_counter(fault)
    if isinstance(fault, AuthenticationFailed):
        return _explain_rejection(fault, knocker)
    if isinstance(fault, MeterRefused):
        return Diagnosis(Cause.REFUSED, str(fault))
    if isinstance(fault, MeterBusy):
        return Diagnosis(Cause.BUSY, f"the meter is there and says not now: {fault}")
    if isinstance(fault, PlainAnswer):
        return Diagnosis(
            Cause.UNSUPPORTED_SECURITY, f"the meter answers without ciphering: {fault}"
        )
    if isinstance(fault, MalformedData) and "wrapper version" in str(fault):
        return Diagnosis(
            Cause.WRONG_PROTOCOL, f"{knocker.where} does not send WRAPPER frames: {fault}"
        )
    if isinstance(fault, MeterMisbehaved):
        return Diagnosis(Cause.MISBEHAVED, str(fault))
    return None


def _explain_counter(fault: CounterRejected) -> Diagnosis:
    expected = fault.expected if isinstance(fault, CounterBehind) else None
    hint = () if expected is None else (f"--counter {expected}, which the meter names",)
    return Diagnosis(
        Cause.WRONG_COUNTER, f"the meter has seen a higher invocation counter ({fault})", hint
    )


def _explain_rejection(fault: AuthenticationFailed, knocker: Knocker) -> Diagnosis | None:
    endpoint = knocker.endpoint
    code = fault.code.split(" ", 1)[0]
    if code == "no-answer-to-association" or code in _VAGUE:
        return None
    if code == "security-check-failed" and not isinstance(fault.__cause__, TagMismatch):
        return _explain_check(fault, endpoint)
    if code in ("security-check-failed", "deciphering-error"):
        return Diagnosis(Cause.WRONG_KEY, f"the keys are not those of {knocker.where}: {fault}")
    if code == "authentication-failure":
        return _wrong_secret(endpoint, str(fault))
    if code == "proof":
        return _wrong_secret(endpoint, str(fault))
    if "deciphering-error" in fault.code:
        return Diagnosis(Cause.WRONG_KEY, str(fault))
    if "context-unsupported" in fault.code:
        return Diagnosis(Cause.UNSUPPORTED_SECURITY, _security_words(endpoint, str(fault)))
    cause = _BY_DIAGNOSTIC.get(code)
    if cause is None:
        return None
    if cause is Cause.UNSUPPORTED_SECURITY:
        return Diagnosis(cause, _security_words(endpoint, str(fault)))
    if cause is Cause.WRONG_CLIENT:
        sentence = f"the meter does not know client={endpoint.client_address}: {fault}"
        return Diagnosis(cause, sentence)
    return Diagnosis(cause, f"server={endpoint.server_address} is not this meter's: {fault}")


def _explain_check(fault: AuthenticationFailed, endpoint: DlmsEndpoint) -> Diagnosis:
    """Judge a security check that failed though no tag was wrong: the sides differ in manner."""
    cause = fault.__cause__
    if isinstance(cause, PlainAnswer):
        sentence = f"the meter answers without ciphering: {fault}"
        return Diagnosis(Cause.UNSUPPORTED_SECURITY, sentence)
    if isinstance(cause, OwnTitle):
        hint = "system_title= is the head-end's own title, never the meter's: leave it out"
        return Diagnosis(Cause.UNSUPPORTED_SECURITY, str(fault), (hint,))
    return Diagnosis(Cause.UNSUPPORTED_SECURITY, _security_words(endpoint, str(fault)))


def _is_doubtful(fault: HeadEndError, endpoint: DlmsEndpoint) -> bool:
    """Tell whether "not allowed now" may mean "never": some meters answer so to wrong keys."""
    keyed = endpoint.encryption_key is not None
    return keyed and isinstance(fault, MeterBusy) and "association request" in str(fault)


def _explain_refusal(
    fault: HeadEndError, knocker: Knocker, own: Answered, others: list[Answered]
) -> Diagnosis:
    """Judge a vague rejection or silence where somebody answers at our server address."""
    endpoint = knocker.endpoint
    said = f"it answers {_said(fault)}"
    if own.busy:
        return Diagnosis(Cause.BUSY, f"the meter is there and says not now: {own.reason}")
    if own.is_there and not _looks_unknown(own):
        return _explain_known_client(fault, endpoint, own, said)
    known = [each for each in others if each.is_there and not _looks_unknown(each)]
    if known:
        names = ", ".join(str(each.client) for each in known)
        return Diagnosis(
            Cause.WRONG_CLIENT,
            f"the meter knows client={names}, but to client={endpoint.client_address} {said}",
        )
    if isinstance(fault, AuthenticationFailed):
        return Diagnosis(Cause.REJECTED, f"{fault}; asked {knocker.asked}")
    return Diagnosis(
        Cause.WRONG_CLIENT,
        f"somebody answers at server={endpoint.server_address}, but to"
        f" client={endpoint.client_address} {said}",
    )


def _explain_known_client(
    fault: HeadEndError, endpoint: DlmsEndpoint, own: Answered, said: str
) -> Diagnosis:
    """Judge where the meter knows our client, and yet did not let us in."""
    if endpoint.authentication == "none" and endpoint.encryption_key is None:
        if own.knock is Knock.ACCEPTED:
            return Diagnosis(Cause.BROKEN_OFF, f"the meter answers again now; before, {said}")
        return Diagnosis(Cause.UNSUPPORTED_SECURITY, _security_words(endpoint, own.reason))
    found = _wrong_secret(
        endpoint, f"the meter knows client={endpoint.client_address}, but with our secret {said}"
    )
    if endpoint.encryption_key is None or isinstance(fault, AssociationRejected):
        return found
    # Silence is also how some meters meet a counter that they have seen.
    hint = "if the keys are right, a higher --counter: this meter answers neither"
    return Diagnosis(found.cause, found.sentence, (hint,))


async def _explain_silence(
    fault: HeadEndError, knocker: Knocker, answers: list[Answered], clients: list[int]
) -> Diagnosis:
    """Judge where nobody answers at our server address."""
    endpoint = knocker.endpoint
    elsewhere = await _look_elsewhere(knocker, answers, clients)
    if elsewhere is not None:
        return elsewhere
    if isinstance(fault, AuthenticationFailed):
        return Diagnosis(Cause.REJECTED, f"{fault}; asked {knocker.asked}")
    if await closes_by_itself(knocker.open_wire):
        return Diagnosis(
            Cause.BUSY,
            f"{knocker.where} accepts a connection and closes it before anything was asked, as"
            " meters do that serve somebody else",
        )
    if await _speaks_other_protocol(knocker):
        return Diagnosis(
            Cause.WRONG_PROTOCOL,
            f"{knocker.where} does not answer {endpoint.scheme}, but it answers the other framing",
        )
    if all(each.knock is Knock.CLOSED for each in answers):
        return Diagnosis(
            Cause.BUSY,
            f"{knocker.where} closes the connection whoever asks for an association: it serves"
            f" somebody else, or nobody at {knocker.asked}",
        )
    return Diagnosis(
        Cause.SILENT,
        f"{knocker.where} accepts the connection, but nobody answers at {knocker.asked}",
    )


async def _look_elsewhere(
    knocker: Knocker, answers: list[Answered], clients: list[int]
) -> Diagnosis | None:
    """Ask for other meters here, and as other clients of ours; None where nobody answers."""
    endpoint = knocker.endpoint
    here = endpoint.server_address
    # One after the other, waiting for each, would take too long.
    at_once = "hdlc" not in endpoint.scheme and all(each.knock is Knock.SILENT for each in answers)
    if at_once or all(each.knock is Knock.CLOSED for each in answers):
        servers, guests = OTHER_SERVERS, OTHER_CLIENTS
    else:
        servers, guests = OTHER_SERVERS[:1], ()
    others = [(server, each) for server in servers if server != here for each in clients]
    others += [(here, each) for each in guests if each not in clients]
    answers = await knock(knocker.open_wire, others, timeout_s=knocker.timeout_s)
    there = [each for each in answers if each.is_there]
    clients_here = [str(each.client) for each in there if each.server == here]
    if clients_here:
        return Diagnosis(
            Cause.WRONG_CLIENT,
            f"nobody answers {knocker.asked}, but somebody does as client"
            f"={', '.join(clients_here)}",
        )
    if there:
        found = ", ".join(dict.fromkeys(str(each.server) for each in there))
        return Diagnosis(
            Cause.WRONG_ADDRESS,
            f"nobody answers at server={here} of {knocker.where}, but somebody does at"
            f" server={found}",
        )
    return None


async def _speaks_other_protocol(knocker: Knocker) -> bool:
    if knocker.open_other_protocol is None:
        return False
    address = (USUAL_SERVER, PUBLIC_CLIENT)
    own = (knocker.endpoint.server_address & 0x7F or USUAL_SERVER, PUBLIC_CLIENT)
    answers = await knock(
        knocker.open_other_protocol,
        list(dict.fromkeys((own, address))),
        timeout_s=knocker.timeout_s,
    )
    return any(each.is_there for each in answers)


def _looks_unknown(answered: Answered) -> bool:
    """Tell whether a rejection reads as that of an unknown client."""
    if answered.knock is Knock.ACCEPTED:
        return False
    reason = answered.reason.split(" ", 1)[0]
    return reason in _VAGUE or _BY_DIAGNOSTIC.get(reason) is Cause.WRONG_CLIENT


def _wrong_secret(endpoint: DlmsEndpoint, said: str) -> Diagnosis:
    if endpoint.authentication in ("none", "gmac"):
        return Diagnosis(Cause.WRONG_KEY, said)
    return Diagnosis(Cause.WRONG_PASSWORD, said)


def _security_words(endpoint: DlmsEndpoint, said: str) -> str:
    ciphered = "with keys" if endpoint.encryption_key is not None else "without keys"
    return (
        f"client={endpoint.client_address} of the meter does not take"
        f" auth={endpoint.authentication} {ciphered}: {said}"
    )


def _said(fault: HeadEndError) -> str:
    if isinstance(fault, AssociationRejected):
        return fault.diagnostic
    if isinstance(fault, AuthenticationFailed):
        return "nothing"
    return "nothing" if "did not answer" in str(fault) else f"nothing ({_lower(str(fault))})"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
