"""What a client makes of an AARE: rejected and why, or accepted in which context, by which meter.

Pure judgements over decoded fields; the association's state is its own business. A rejection that
the meter explains by a confirmed-service-error in place of the InitiateResponse keeps both.
"""

from __future__ import annotations

from protocols.dlms import acse, initiate
from protocols.dlms import responses as rs
from protocols.dlms.acse import Aare, AssociationResult, Diagnostic, Mechanism
from protocols.dlms.errors import MalformedData
from protocols.dlms.events import Rejected
from protocols.dlms.initiate import Conformance, InitiateResponse
from protocols.dlms.security import TITLE_SIZE, SecureChannel, SecurityFault

_PROOF_FOLLOWS = (Diagnostic.NULL, Diagnostic.AUTHENTICATION_REQUIRED)
CHALLENGE_SIZES = range(8, 65)  # octets, Green Book 9.2.7.4 (clause unverified)
MIN_SERVER_PDU = 12  # octets; below this a meter cannot even take a GET of one attribute


class ProofSkipped(SecurityFault):
    """The meter accepts without proving itself, as where it does not use our mechanism."""


class OwnTitle(SecurityFault):
    """The meter gives our own system title: nonces of both sides would be the same."""


def read_rejection(aare: Aare) -> Rejected:
    """Return the event of an AARE that rejects; raises `MalformedData`."""
    reason = acse.name_diagnostic(aare.diagnostic, by_provider=aare.by_provider)
    information = aare.user_information
    response = None
    if information[:1] == bytes((rs.CONFIRMED_SERVICE_ERROR,)):
        response = rs.decode_response(information)
    transient = aare.result == AssociationResult.REJECTED_TRANSIENT
    if isinstance(response, rs.ConfirmedServiceError):
        return Rejected(f"{reason} ({response.text})", transient, response)
    return Rejected(reason, transient)


def check_challenge(aare: Aare, *, mechanism: Mechanism, own_challenge: bytes | None) -> bytes:
    """Return the meter's challenge; raises `SecurityFault` where it skips or fakes one.

    Some meters leave out the mechanism's name or the diagnostic "authentication required": with a
    challenge both sides prove themselves all the same.
    """
    challenge = aare.authentication or b""
    if aare.mechanism not in (Mechanism.NONE, mechanism):
        raise SecurityFault(f"the meter answers with mechanism {aare.mechanism}, not with ours")
    if not challenge or aare.diagnostic not in _PROOF_FOLLOWS:
        raise ProofSkipped("the meter skips the proof of authentication")
    if len(challenge) not in CHALLENGE_SIZES:
        raise SecurityFault(f"a challenge of {len(challenge)} octets")
    if challenge == own_challenge:
        raise SecurityFault("the meter reflects our own challenge")
    return challenge


def check_title(aare: Aare, channel: SecureChannel) -> bytes:
    """Return the meter's system title; raises `SecurityFault` for none, ours or another's."""
    title = aare.system_title
    if title is None or len(title) != TITLE_SIZE:
        raise SecurityFault("the meter gives no system title")
    if title == channel.local_title:
        raise OwnTitle("the meter claims our own system title")
    if channel.peer_title not in (None, title):
        raise SecurityFault("the meter's system title is not the one known")
    return title


def open_initiate(
    aare: Aare, prover: SecureChannel | None, *, ciphered: bool, proposed: Conformance
) -> InitiateResponse:
    """Return the InitiateResponse, deciphered; ``prover`` then knows the meter's title.

    Where anything is refused the prover is as it was.
    """
    if prover is None:
        return read_initiate(aare.user_information, proposed=proposed)
    title, before = check_title(aare, prover), prover.peer_title
    prover.peer_title = title
    try:
        information = aare.user_information
        plain = prover.unprotect(information) if ciphered else information
        return read_initiate(plain, proposed=proposed)
    except BaseException:
        prover.peer_title = before
        raise


def read_initiate(information: bytes, *, proposed: Conformance) -> InitiateResponse:
    """Decode a plain InitiateResponse, cut to what was proposed; raises `MalformedData`."""
    response = initiate.decode_initiate_response(information)
    if response.version != initiate.DLMS_VERSION:
        raise MalformedData(f"DLMS version {response.version}")
    if 0 < response.max_pdu < MIN_SERVER_PDU:
        raise MalformedData(f"the meter takes APDUs of {response.max_pdu} octets only")
    # Some meters list all that they could do, whatever was proposed: only what both can counts.
    return InitiateResponse(
        response.conformance & proposed,
        response.max_pdu,
        response.quality_of_service,
        response.version,
        response.vaa_name,
    )
