"""Every way of associating under attack, and every nonce of a conversation."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.domain.errors import HeadEndError
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, DISCONNECT_CONTROL
from protocols.dlms import client, xdr
from protocols.dlms import requests as rq
from protocols.dlms.admission import SERVED_CONFORMANCE
from protocols.dlms.association import PROPOSED_CONFORMANCE, ClientAssociation, ClientSettings
from protocols.dlms.events import Answer, Associated, Continue, Rejected
from protocols.dlms.hls import MECHANISMS
from protocols.dlms.initiate import Conformance
from protocols.dlms.security import (
    AUTHENTICATED,
    AUTHENTICATED_ENCRYPTED,
    CounterBlock,
    Form,
    GcmKey,
    SecureChannel,
)
from protocols.dlms.server import ClientAccess, ServerSecurity, ServerSession
from protocols.dlms.testing import Loopback, TableObjects

EK, AK, DEDICATED = bytes(range(16)), bytes(range(0xD0, 0xE0)), bytes(range(0x40, 0x50))
REGISTER = rq.Attribute(3, ACTIVE_ENERGY_IMPORT, 2)
SWITCH = rq.Attribute(70, DISCONNECT_CONTROL, 1)
LONG = xdr.encode(bytes(i & 0xFF for i in range(700)))
BLOCKS = (
    Conformance.BLOCK_TRANSFER_WITH_GET
    | Conformance.BLOCK_TRANSFER_WITH_SET
    | Conformance.BLOCK_TRANSFER_WITH_ACTION
)


@dataclass(frozen=True)
class Manner:
    """One way of associating."""

    authentication: str = "gmac"
    form: Form | None = Form.GLO
    control: int = AUTHENTICATED_ENCRYPTED
    general_blocks: bool = False


MANNERS = [
    Manner("none", None),
    Manner("lls", None),
    Manner("lls"),
    Manner("md5", None),
    Manner("sha256", None),
    Manner("sha256"),
    Manner(control=AUTHENTICATED),
    *(Manner(form=form) for form in Form),
    Manner(form=Form.GENERAL_DED, general_blocks=True),
    Manner("lls", None, general_blocks=True),
]


def make_loopback(manner: Manner) -> Loopback:
    objects = TableObjects(
        {(3, ACTIVE_ENERGY_IMPORT, 2): LONG}, {(70, DISCONNECT_CONTROL, 1): LONG}
    )
    ciphered, mechanism = manner.form is not None, MECHANISMS[manner.authentication]
    secret = None if manner.authentication in ("none", "gmac") else b"secret"
    channel = None
    if manner.form is not None:
        channel = SecureChannel(
            GcmKey(EK, AK), CounterBlock(0, 1000), local_title=b"HEADEND1",
            control=manner.control, form=manner.form,
        )  # fmt: skip
    general = Conformance.GENERAL_BLOCK_TRANSFER if manner.general_blocks else Conformance(0)
    association = ClientAssociation(
        ClientSettings(
            mechanism, secret, b"c" * 16 if mechanism > 1 else None, b"HEADEND1",
            conformance=PROPOSED_CONFORMANCE | general, max_pdu=200,
            dedicated_key=DEDICATED, allow_legacy=True,
        ),
        channel,
    )  # fmt: skip
    keys = (EK, AK) if ciphered else (None, None)
    access = ClientAccess(
        manner.authentication,
        *keys,
        password=secret,
        control=manner.control,  # type: ignore[arg-type]
    )
    served = SERVED_CONFORMANCE & ~BLOCKS if manner.general_blocks else SERVED_CONFORMANCE
    session = ServerSession(
        objects, ServerSecurity(b"METER001", {1: access}), client_address=1, max_pdu=200,
        conformance=served, general_blocks=3 if manner.general_blocks else 0,
    )  # fmt: skip
    return Loopback(association, session)


def read_write_act(loopback: Loopback) -> None:
    association = loopback.association
    draw = association.draw_invoke
    set_limit = association.limit_of(Conformance.BLOCK_TRANSFER_WITH_SET)
    action_limit = association.limit_of(Conformance.BLOCK_TRANSFER_WITH_ACTION)
    assert loopback.run(client.get(REGISTER, draw)) == LONG
    assert loopback.run(client.set_attribute(REGISTER, LONG, draw, limit=set_limit)) == b""
    assert loopback.run(client.action(SWITCH, LONG, draw, limit=action_limit)) == LONG


@pytest.mark.parametrize("manner", MANNERS, ids=str)
def test_every_manner_reads_writes_and_acts(manner: Manner) -> None:
    loopback = make_loopback(manner)
    assert isinstance(loopback.associate(), Associated)
    read_write_act(loopback)
    assert max(map(len, loopback.log[2:])) <= 200


@dataclass
class NonceBook:
    """Every nonce that a key sealed or tagged with."""

    seen: list[tuple[int, bytes]] = field(default_factory=list)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seal, gmac = GcmKey.seal, GcmKey.gmac

        def noting_seal(
            key: GcmKey, control: int, title: bytes, counter: int, plain: bytes
        ) -> bytes:
            self.seen.append((id(key), title + counter.to_bytes(4, "big")))
            return seal(key, control, title, counter, plain)

        def noting_gmac(key: GcmKey, title: bytes, counter: int, message: bytes) -> bytes:
            self.seen.append((id(key), title + counter.to_bytes(4, "big")))
            return gmac(key, title, counter, message)

        monkeypatch.setattr(GcmKey, "seal", noting_seal)
        monkeypatch.setattr(GcmKey, "gmac", noting_gmac)


@pytest.mark.parametrize("form", list(Form))
def test_no_nonce_is_used_twice_by_either_side(form: Form, monkeypatch: pytest.MonkeyPatch) -> None:
    loopback = make_loopback(Manner(form=form))
    book = NonceBook()
    book.watch(monkeypatch)
    # Checking a proof tags with the nonce of its sender: only what is made counts.
    monkeypatch.setattr(SecureChannel, "check_hls_tag", lambda *_arguments: None)
    loopback.associate()
    read_write_act(loopback)
    nonces = [nonce for _, nonce in book.seen]
    assert len(nonces) > 20
    assert len(set(nonces)) == len(nonces)  # not even under different keys


def mutate(octets: bytes, kind: str, where: int, what: int) -> bytes:
    position = where % max(len(octets), 1)
    if kind == "flip":
        return octets[:position] + bytes((octets[position] ^ what,)) + octets[position + 1 :]
    if kind == "cut":
        return octets[:position]
    if kind == "insert":
        return octets[:position] + bytes((what,)) + octets[position:]
    return octets + bytes((what,))


NOISE = st.lists(st.binary(max_size=60), max_size=6)
MUTATION = st.tuples(
    st.sampled_from(["flip", "cut", "insert", "append"]), st.integers(0, 4000), st.integers(1, 255)
)


@given(st.sampled_from(MANNERS), MUTATION, st.integers(0, 30))
@settings(max_examples=400, deadline=None)
def test_a_mutated_message_gives_a_declared_error_or_a_refusal(
    manner: Manner, mutation: tuple[str, int, int], which: int
) -> None:
    """Whichever message of a conversation is altered, either way, nothing undeclared happens."""
    loopback = make_loopback(manner)
    server_handle = loopback.server.handle_all

    def tampered_handle(apdu: bytes) -> tuple[bytes, ...]:
        place = len(loopback.log)
        altered = mutate(apdu, *mutation) if place - 1 == which else apdu
        answers = server_handle(altered)
        return tuple(
            mutate(answer, *mutation) if place + n == which else answer
            for n, answer in enumerate(answers)
        )

    loopback.server.handle_all = tampered_handle  # type: ignore[method-assign]
    objects = loopback.server._objects
    assert isinstance(objects, TableObjects)
    try:
        event = loopback.associate()
        if isinstance(event, Rejected):
            assert isinstance(event.error(), HeadEndError)
            return
        read_write_act(loopback)
    except HeadEndError:
        return
    except AssertionError:
        # Without ciphering nobody can tell what was altered, but ciphered answers are exact.
        assert manner.form is None
    assert len(objects.invoked) <= 1


@given(st.sampled_from(MANNERS), NOISE, st.binary(max_size=3))
@settings(max_examples=200, deadline=None)
def test_a_server_answers_any_bytes_in_any_state(
    manner: Manner, noise: list[bytes], head: bytes
) -> None:
    loopback = make_loopback(manner)
    loopback.associate()
    heads = [
        b"",
        b"\xe0\x81\x00\x01\x00\x00",
        b"\xdb\x08HEADEND1",
        b"\xdc\x08HEADEND1",
        b"\xd0",
        head,
    ]
    for start, tail in zip(heads, noise, strict=False):
        for answer in loopback.server.handle_all(start + tail):
            assert answer
    if not any(octets[:1] in (b"\x60", b"\x62") for octets in noise) and head[:1] not in (
        b"\x60",
        b"\x62",
    ):
        assert loopback.server.associated


@given(st.sampled_from(MANNERS), NOISE)
@settings(max_examples=200, deadline=None)
def test_a_client_takes_no_noise_for_an_answer(manner: Manner, noise: list[bytes]) -> None:
    loopback = make_loopback(manner)
    loopback.associate()
    association = loopback.association
    request = association.request(rq.GetRequest(0xC1, SWITCH))
    for octets in noise:
        try:
            event = association.receive(octets)
        except HeadEndError:
            continue
        if isinstance(event, Continue):
            return  # a block of noise: the whole will not be an answer
        assert isinstance(event, Answer)
        assert manner.form is None or not event.authenticated
        return
    event = loopback.exchange(request)
    assert isinstance(event, Answer)
