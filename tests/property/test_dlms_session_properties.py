"""Associations under attack: whatever is done to the bytes, an error is declared, nothing moves."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from headend.domain.errors import HeadEndError, MeterMisbehaved
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, DISCONNECT_CONTROL
from protocols.dlms import client, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms.acse import Mechanism
from protocols.dlms.association import ClientAssociation, ClientSettings, State
from protocols.dlms.events import Answer, Associated, Challenged, Rejected, Released
from protocols.dlms.security import CounterBlock, GcmKey, SecureChannel
from protocols.dlms.server import ClientAccess, ServerSecurity, ServerSession
from protocols.dlms.testing import Loopback, TableObjects

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
REGISTER = rq.Attribute(3, ACTIVE_ENERGY_IMPORT, 2)
SWITCH = rq.Attribute(70, DISCONNECT_CONTROL, 1)
VALUE = xdr.encode(d.DoubleLongUnsigned(12345))


def make_loopback() -> Loopback:
    objects = TableObjects(
        {(3, ACTIVE_ENERGY_IMPORT, 2): VALUE}, {(70, DISCONNECT_CONTROL, 1): None}
    )
    channel = SecureChannel(GcmKey(EK, AK), CounterBlock(0, 1000), local_title=b"HEADEND1")
    association = ClientAssociation(
        ClientSettings(Mechanism.HLS_GMAC, None, b"c" * 16, b"HEADEND1"), channel
    )
    security = ServerSecurity(b"METER001", {1: ClientAccess("gmac", EK, AK)})
    return Loopback(association, ServerSession(objects, security, client_address=1))


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, int, int]:
    kind = draw(st.sampled_from(["flip", "cut", "insert", "append", "random"]))
    return kind, draw(st.integers(0, 10_000)), draw(st.integers(1, 255))


def mutate(octets: bytes, mutation: tuple[str, int, int]) -> bytes:
    kind, where, what = mutation
    position = where % max(len(octets), 1)
    if kind == "flip":
        return octets[:position] + bytes((octets[position] ^ what,)) + octets[position + 1 :]
    if kind == "cut":
        return octets[:position]
    if kind == "insert":
        return octets[:position] + bytes((what,)) + octets[position:]
    if kind == "append":
        return octets + bytes((what,))
    return bytes((where * 7 + i * what) & 0xFF for i in range(where % 60))


@given(mutations())
@settings(max_examples=300)
def test_a_mutated_answer_is_never_taken_for_the_answer(mutation: tuple[str, int, int]) -> None:
    loopback = make_loopback()
    loopback.associate()
    association = loopback.association
    answer = loopback.server.handle(association.request(rq.GetRequest(0xC1, REGISTER))) or b""
    altered = mutate(answer, mutation)
    if altered == answer:
        return
    try:
        event = association.receive(altered)
    except MeterMisbehaved:
        assert association.state is State.WAITING
        taken = association.receive(answer)
        assert isinstance(taken, Answer)
        assert taken.authenticated
        return
    # Only an outright refusal is understood without the keys, and it says that it is not proven.
    assert isinstance(event, Answer)
    assert not event.authenticated


@given(mutations())
@settings(max_examples=300)
def test_a_mutated_aare_or_proof_never_makes_a_ready_association(
    mutation: tuple[str, int, int],
) -> None:
    for stage in (0, 1):
        loopback = make_loopback()
        association = loopback.association
        answer = loopback.server.handle(association.open()) or b""
        if stage:
            association.receive(answer)
            answer = loopback.server.handle(association.prove()) or b""
        before = association.state
        altered = mutate(answer, mutation)
        try:
            event = association.receive(altered)
        except HeadEndError:
            assert association.state is before
            event = association.receive(answer)
            assert isinstance(event, Associated if stage else Challenged)
            continue
        if isinstance(event, Rejected):
            assert association.state is State.CLOSED
        elif stage:
            assert altered == answer
        else:
            # Octets outside of what is authenticated (the challenge, say) may differ unnoticed
            # until the proof, which then fails.
            proof = loopback.server.handle(association.prove()) or b""
            if altered != answer:
                try:
                    outcome = association.receive(proof)
                except HeadEndError:
                    continue
                assert isinstance(outcome, Rejected | Associated)


@given(st.lists(st.tuples(st.integers(0, 4), mutations()), max_size=8))
@settings(max_examples=200)
def test_a_server_answers_anything_and_switches_only_when_asked(
    attack: list[tuple[int, tuple[str, int, int]]],
) -> None:
    loopback = make_loopback()
    loopback.associate()
    objects, association = loopback.server._objects, loopback.association
    assert isinstance(objects, TableObjects)
    request = association.request(rq.ActionRequest(0xC1, SWITCH, xdr.encode(d.Integer(0))))
    seeds = [request, b"\x60\x1d" + bytes(29), b"\x62\x03\x80\x01\x00", b"\xdb\x08METER001", b""]
    for index, mutation in attack:
        altered = mutate(seeds[index] or b"\x00", mutation)
        if altered[:1] == b"\x62" or altered == request:
            continue  # a release, mutated or not, is a release
        loopback.server.handle(altered)
        assert objects.invoked == []
    event = loopback.exchange(request)
    assert isinstance(event, Answer)
    assert len(objects.invoked) == 1
    assert loopback.exchange(association.release()) == Released()


@given(st.integers(64, 2000), st.integers(0, 5000))
@settings(max_examples=60)
def test_any_length_arrives_through_blocks_of_any_size(limit: int, size: int) -> None:
    loopback = make_loopback()
    objects = loopback.server._objects
    assert isinstance(objects, TableObjects)
    content = xdr.encode(bytes(i & 0xFF for i in range(size)))
    objects.attributes[3, ACTIVE_ENERGY_IMPORT, 2] = content
    loopback.server._max_pdu = limit
    loopback.associate()
    loopback.log.clear()
    assert loopback.run(client.get(REGISTER, loopback.association.draw_invoke)) == content
    assert max(map(len, loopback.log)) <= limit
