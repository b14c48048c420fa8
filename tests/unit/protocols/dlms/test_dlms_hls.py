"""Proofs of authentication: the digests against plain `hashlib`, and who may use which."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from headend.domain.errors import AuthenticationFailed, LocalProtocolError
from headend.domain.obis import ACTIVE_ENERGY_IMPORT
from protocols.dlms import acse, client, xdr
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.acse import Mechanism
from protocols.dlms.association import ClientAssociation, ClientSettings, State
from protocols.dlms.errors import AccessResult
from protocols.dlms.events import Associated, Rejected
from protocols.dlms.hls import Proofs
from protocols.dlms.security import SecurityFault, TagMismatch
from protocols.dlms.testing import Loopback

MAKE = Callable[..., Loopback]
OWN, PEER = b"CLIENT01", b"METER001"
RECEIVED, SENT, SECRET = b"their challenge.", b"our own challenge", b"secret"
REGISTER = rq.Attribute(3, ACTIVE_ENERGY_IMPORT, 2)

DIGESTS = {
    Mechanism.HLS_MD5: hashlib.md5(RECEIVED + SECRET).digest(),
    Mechanism.HLS_SHA1: hashlib.sha1(RECEIVED + SECRET).digest(),
    Mechanism.HLS_SHA256: hashlib.sha256(SECRET + OWN + PEER + RECEIVED + SENT).digest(),
}


@pytest.mark.parametrize("mechanism", list(DIGESTS))
def test_a_proof_is_the_digest_that_the_standard_names(mechanism: Mechanism) -> None:
    ours = Proofs(mechanism, OWN, secret=SECRET)
    proof = ours.make(received=RECEIVED, sent=SENT, peer_title=PEER)
    assert proof == DIGESTS[mechanism]
    theirs = Proofs(mechanism, PEER, secret=SECRET)
    theirs.check(proof, received=SENT, sent=RECEIVED, peer_title=OWN)
    for wrong in (proof[:-1], proof + b"\x00", b"", bytes(len(proof)), proof[::-1]):
        with pytest.raises(TagMismatch):
            theirs.check(wrong, received=SENT, sent=RECEIVED, peer_title=OWN)
    with pytest.raises(TagMismatch):
        replace(theirs, secret=b"other").check(proof, received=SENT, sent=RECEIVED, peer_title=OWN)


def test_sha256_binds_both_titles_and_both_challenges() -> None:
    theirs = Proofs(Mechanism.HLS_SHA256, PEER, secret=SECRET)
    proof = Proofs(Mechanism.HLS_SHA256, OWN, secret=SECRET).make(
        received=RECEIVED, sent=SENT, peer_title=PEER
    )
    for changes in ({"received": b"x"}, {"sent": b"x"}, {"peer_title": b"STRANGER"}):
        with pytest.raises(TagMismatch):
            theirs.check(
                proof, **{"received": SENT, "sent": RECEIVED, "peer_title": OWN, **changes}
            )


@pytest.mark.parametrize("authentication", ["md5", "sha1", "sha256"])
@pytest.mark.parametrize("ciphered", [False, True])
def test_both_sides_prove_themselves(
    authentication: str, ciphered: bool, make_loopback: MAKE
) -> None:
    loopback = make_loopback(authentication, ciphered=ciphered)
    if ciphered:
        clients = loopback.server._security.clients
        assert isinstance(clients, dict)
        address = loopback.server._client_address
        clients[address] = replace(
            clients[address], encryption_key=bytes(range(16)),
            authentication_key=bytes(range(0xD0, 0xE0)),
        )  # fmt: skip
    assert isinstance(loopback.associate(), Associated)
    assert loopback.run(client.get(REGISTER, loopback.association.draw_invoke))
    assert loopback.association.is_ciphered == ciphered


@pytest.mark.parametrize("authentication", ["md5", "sha1", "sha256"])
def test_a_wrong_secret_is_an_authentication_failure(
    authentication: str, make_loopback: MAKE
) -> None:
    loopback = make_loopback(authentication, password=b"another")
    event = loopback.associate()
    assert isinstance(event, Rejected)
    assert isinstance(event.error(), AuthenticationFailed)
    assert not loopback.server.associated


@pytest.mark.parametrize("authentication", ["md5", "sha1", "sha256"])
def test_a_meter_that_does_not_know_the_secret_is_no_meter(
    authentication: str, make_loopback: MAKE
) -> None:
    loopback = make_loopback(authentication)
    loopback.exchange(loopback.association.open())
    loopback.association.prove()
    proof = xdr.octet_string(b"\x00" * 32)
    answer = rs.ActionResponse(0xC1, AccessResult.SUCCESS, proof).encode()
    with pytest.raises(SecurityFault):
        loopback.association.receive(answer)
    assert loopback.association.state is State.PROVING


@pytest.mark.parametrize("mechanism", [Mechanism.HLS_MD5, Mechanism.HLS_SHA1])
def test_broken_digests_must_be_allowed_by_name(mechanism: Mechanism) -> None:
    settings = ClientSettings(mechanism, SECRET, bytes(16))
    with pytest.raises(LocalProtocolError, match="legacy"):
        ClientAssociation(settings)
    assert ClientAssociation(replace(settings, allow_legacy=True)).open()


def test_a_proof_without_ciphering_leaves_the_requests_plain(make_loopback: MAKE) -> None:
    loopback = make_loopback("gmac", ciphered=False)
    clients = loopback.server._security.clients
    assert isinstance(clients, dict)
    clients[1] = replace(clients[1], control=0)
    assert isinstance(loopback.associate(), Associated)
    assert loopback.run(client.get(REGISTER, loopback.association.draw_invoke))
    aarq, _, proof, *_ = loopback.log
    assert acse.decode_aarq(aarq).context == acse.Context.LOGICAL_NAME
    assert proof[0] == rq.ACTION_REQUEST


@pytest.mark.parametrize(
    "settings",
    [
        ClientSettings(Mechanism.HLS, SECRET, bytes(16)),
        ClientSettings(Mechanism.HLS_ECDSA, SECRET, bytes(16)),
        ClientSettings(Mechanism.HLS_SHA256, SECRET, None, OWN),
        ClientSettings(Mechanism.HLS_SHA256, None, bytes(16), OWN),
        ClientSettings(Mechanism.HLS_SHA256, SECRET, bytes(16), None),
        ClientSettings(Mechanism.HLS_GMAC, None, bytes(16), OWN),
    ],
)
def test_settings_that_cannot_prove_are_refused_at_once(settings: ClientSettings) -> None:
    with pytest.raises(LocalProtocolError):
        ClientAssociation(settings)
