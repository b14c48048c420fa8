"""The client's association: which moves are legal, and what a meter can and cannot do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from headend.domain.errors import (
    AuthenticationFailed,
    CounterRejected,
    LocalProtocolError,
    MeterBusy,
    MeterMisbehaved,
)
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, LOGICAL_DEVICE_NAME
from protocols.dlms import acse, client, xdr
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.acse import Aare, Mechanism
from protocols.dlms.association import ClientAssociation, ClientSettings, State
from protocols.dlms.errors import AccessResult, MalformedData
from protocols.dlms.events import (
    Answer,
    Associated,
    Challenged,
    Rejected,
    Released,
    StaleAnswer,
)
from protocols.dlms.initiate import Conformance, InitiateResponse
from protocols.dlms.security import PlainAnswer, SecurityFault, TagMismatch
from protocols.dlms.testing import Loopback

MakeLoopback = Callable[..., Loopback]
REGISTER = rq.Attribute(3, ACTIVE_ENERGY_IMPORT, 2)
NAME = rq.Attribute(1, LOGICAL_DEVICE_NAME, 2)
AUTHENTICATIONS = ["none", "lls", "gmac"]
INITIATE = InitiateResponse(Conformance.GET | Conformance.ACTION, 1024).encode()


def move_all(association: ClientAssociation) -> dict[str, Callable[[], object]]:
    request = rq.GetRequest(0xC1, NAME)
    return {
        "open": association.open,
        "prove": association.prove,
        "request": lambda: association.request(request),
        "abandon": association.abandon,
        "release": association.release,
        "receive": lambda: association.receive(b"\xc4\x01\xc1\x00\x00"),
    }


def bring_to(loopback: Loopback, state: State) -> None:
    """Lead a GMAC association into ``state``."""
    association, server = loopback.association, loopback.server
    steps: list[tuple[State, Callable[[], object]]] = [
        (State.ASSOCIATING, association.open),
        (State.CHALLENGED, lambda: association.receive(server.handle(opened[-1]) or b"")),
        (State.PROVING, association.prove),
        (State.READY, lambda: association.receive(server.handle(opened[-1]) or b"")),
        (State.WAITING, lambda: association.request(rq.GetRequest(0xC1, REGISTER))),
    ]
    opened: list[bytes] = []
    for reached, step in steps:
        if association.state is state:
            return
        result = step()
        if isinstance(result, bytes):
            opened.append(result)
        assert association.state is reached
    if state is State.RELEASING:
        association.release()
    elif state is State.CLOSED:
        association.close()


ALLOWED = {
    State.IDLE: {"open"},
    State.ASSOCIATING: {"receive"},
    State.CHALLENGED: {"prove", "release"},
    State.PROVING: {"receive", "release"},
    State.READY: {"request", "release"},
    State.WAITING: {"receive", "abandon", "release"},
    State.RELEASING: {"receive"},
    State.CLOSED: set(),
}


@pytest.mark.parametrize("state", list(State))
def test_illegal_moves_raise_and_change_nothing(state: State, make_loopback: MakeLoopback) -> None:
    loopback = make_loopback("gmac")
    bring_to(loopback, state)
    assert loopback.association.state is state
    for name, move in move_all(loopback.association).items():
        if name not in ALLOWED[state]:
            with pytest.raises(LocalProtocolError, match=str(state)):
                move()
            assert loopback.association.state is state


@pytest.mark.parametrize("authentication", AUTHENTICATIONS)
def test_a_whole_conversation(authentication: str, make_loopback: MakeLoopback) -> None:
    loopback = make_loopback(authentication)
    assert isinstance(loopback.associate(), Associated)
    assert loopback.association.state is State.READY
    data = loopback.run(client.get(NAME, loopback.association.draw_invoke))
    assert isinstance(data, bytes)
    assert xdr.decode(data) == b"SIM0000000000001"
    assert loopback.exchange(loopback.association.release()) == Released()
    assert loopback.association.state is State.CLOSED


def test_the_meters_limits_are_kept(make_loopback: MakeLoopback) -> None:
    loopback = make_loopback("lls", max_pdu=64)
    loopback.associate()
    assert loopback.association.negotiated.max_pdu == 64
    long = rq.SetRequest(0xC1, NAME, xdr.encode(bytes(100)))
    with pytest.raises(LocalProtocolError, match="takes 64"):
        loopback.association.request(long)
    assert loopback.association.state is State.READY


@pytest.mark.parametrize("key", ["encryption_key", "authentication_key"])
def test_a_wrong_key_is_an_authentication_failure(key: str, make_loopback: MakeLoopback) -> None:
    loopback = make_loopback("gmac", **{key: bytes(16)})
    event = loopback.associate()
    assert isinstance(event, Rejected)
    assert isinstance(event.error(), AuthenticationFailed)
    assert loopback.association.state is State.CLOSED


def test_a_wrong_password_or_client_is_an_authentication_failure(
    make_loopback: MakeLoopback,
) -> None:
    for loopback in (make_loopback("lls", password=b"87654321"), make_loopback("lls", client=77)):
        event = loopback.associate()
        assert isinstance(event, Rejected)
        assert isinstance(event.error(), AuthenticationFailed)


def test_a_counter_behind_the_meters_is_told_apart(make_loopback: MakeLoopback) -> None:
    make_loopback("gmac", first_counter=500).associate()
    event = make_loopback("gmac", first_counter=3).associate()
    assert isinstance(event, Rejected)
    assert isinstance(event.error(), CounterRejected)
    assert event.response == rs.ExceptionResponse(1, 6, 503)


def test_a_transient_rejection_is_busy() -> None:
    association = ClientAssociation(ClientSettings())
    association.open()
    event = association.receive(Aare(1, 2, 1).encode())
    assert isinstance(event, Rejected)
    assert isinstance(event.error(), MeterBusy)


def test_an_initiate_error_inside_the_rejection_is_told() -> None:
    association = ClientAssociation(ClientSettings())
    association.open()
    event = association.receive(Aare(1, 1, 1, user_information=b"\x0e\x01\x06\x02").encode())
    assert isinstance(event, Rejected)
    assert "initiate incompatible-conformance" in event.reason


class TestADowngrade:
    """A meter in the middle must not get us to talk with less than we asked for."""

    @pytest.fixture
    def opened(self, make_loopback: MakeLoopback) -> Loopback:
        loopback = make_loopback("gmac")
        aarq = loopback.association.open()
        aare = loopback.server.handle(aarq)
        assert aare is not None
        loopback.log.append(aare)
        return loopback

    @pytest.mark.parametrize("changes", [{"mechanism": Mechanism.NONE}, {"diagnostic": 0}], ids=str)
    def test_a_challenge_is_met_whatever_is_said_beside_it(
        self, opened: Loopback, changes: dict[str, object]
    ) -> None:
        aare = acse.decode_aare(opened.log[-1])
        answer = replace(aare, **changes).encode()  # type: ignore[arg-type]
        assert opened.association.receive(answer) == Challenged()

    @pytest.mark.parametrize(
        "changes",
        [
            {"context": 1},
            {"mechanism": Mechanism.LLS},
            {"mechanism": Mechanism.HLS},
            {"diagnostic": 13},
            {"authentication": None},
            {"authentication": b"short"},
            {"authentication": b"K56iVagYK56iVagY"},  # our own challenge
            {"system_title": None},
            {"system_title": b"short"},
            {"system_title": bytes.fromhex("4D4D4D0000000001")},  # our own title
            {"system_title": b"STRANGER"},
            {"user_information": INITIATE},  # plain
            {"user_information": b""},
        ],
        ids=str,
    )
    def test_is_refused_and_leaves_the_state(
        self, opened: Loopback, changes: dict[str, object]
    ) -> None:
        aare = acse.decode_aare(opened.log[-1])
        with pytest.raises(MeterMisbehaved):
            opened.association.receive(replace(aare, **changes).encode())  # type: ignore[arg-type]
        assert opened.association.state is State.ASSOCIATING
        assert opened.association.receive(opened.log[-1]) == Challenged()

    def test_an_association_without_hls_that_demands_it_is_rejected(self) -> None:
        association = ClientAssociation(ClientSettings())
        association.open()
        event = association.receive(Aare(1, 0, 14, user_information=INITIATE).encode())
        assert isinstance(event, Rejected)


class TestTheMetersProof:
    @pytest.fixture
    def proving(self, make_loopback: MakeLoopback) -> Loopback:
        loopback = make_loopback("gmac")
        bring_to(loopback, State.PROVING)
        return loopback

    @staticmethod
    def answer(loopback: Loopback, response: rs.Response) -> bytes:
        admission = loopback.server._admission
        assert admission is not None
        assert admission.channel is not None
        return admission.channel.protect(response.encode())

    @pytest.mark.parametrize(
        "data", [None, xdr.encode(None), xdr.encode(bytes(17)), xdr.encode(b"\x10" + bytes(16))]
    )
    def test_must_be_there_and_right(self, proving: Loopback, data: bytes | None) -> None:
        response = rs.ActionResponse(0xC1, AccessResult.SUCCESS, data)
        with pytest.raises(SecurityFault):
            proving.association.receive(self.answer(proving, response))
        assert proving.association.state is State.PROVING

    def test_for_another_challenge_is_a_tag_mismatch(self, proving: Loopback) -> None:
        admission = proving.server._admission
        assert admission is not None
        assert admission.channel is not None
        proof = xdr.octet_string(admission.channel.make_hls_tag(b"another challenge"))
        response = rs.ActionResponse(0xC1, AccessResult.SUCCESS, proof)
        with pytest.raises(TagMismatch):
            proving.association.receive(self.answer(proving, response))

    def test_a_refusal_of_ours_is_a_rejection(self, proving: Loopback) -> None:
        response = rs.ActionResponse(0xC1, AccessResult.OTHER_REASON)
        event = proving.association.receive(self.answer(proving, response))
        assert isinstance(event, Rejected)
        assert isinstance(event.error(), AuthenticationFailed)

    def test_a_plain_success_is_no_proof(self, proving: Loopback) -> None:
        with pytest.raises(PlainAnswer):
            proving.association.receive(rs.ActionResponse(0xC1, AccessResult.SUCCESS).encode())
        assert proving.association.state is State.PROVING


class TestAnswers:
    @pytest.fixture
    def waiting(self, make_loopback: MakeLoopback) -> Loopback:
        loopback = make_loopback("gmac")
        loopback.associate()
        loopback.log.append(loopback.association.request(rq.GetRequest(0xC5, REGISTER)))
        return loopback

    def test_a_plain_answer_to_a_ciphered_request_is_no_evidence(self, waiting: Loopback) -> None:
        with pytest.raises(PlainAnswer):
            waiting.association.receive(rs.GetResponse(0xC5, b"\x11\x01").encode())
        assert waiting.association.state is State.WAITING

    def test_a_plain_refusal_is_told_as_not_authenticated(self, waiting: Loopback) -> None:
        event = waiting.association.receive(rs.ExceptionResponse(1, 1).encode())
        assert event == Answer(rs.ExceptionResponse(1, 1), authenticated=False)
        assert waiting.association.state is State.READY

    def test_the_answer_to_another_request_is_stale(self, waiting: Loopback) -> None:
        late = waiting.server.handle(waiting.log[-1])
        waiting.association.abandon()
        waiting.association.request(rq.GetRequest(0xC6, REGISTER))
        with pytest.raises(StaleAnswer):
            waiting.association.receive(late or b"")
        assert waiting.association.state is State.WAITING

    def test_an_answer_of_another_service_is_stale(self, make_loopback: MakeLoopback) -> None:
        loopback = make_loopback("lls")
        loopback.associate()
        loopback.association.request(rq.GetRequest(0xC5, REGISTER))
        for foreign in (rs.SetResponse(0xC5, AccessResult.SUCCESS).encode(), b"\x63\x00"):
            with pytest.raises(StaleAnswer):
                loopback.association.receive(foreign)
        assert loopback.association.state is State.WAITING

    def test_a_repeated_answer_is_refused(self, waiting: Loopback) -> None:
        answer = waiting.server.handle(waiting.log[-1]) or b""
        assert isinstance(waiting.association.receive(answer), Answer)
        waiting.association.request(rq.GetRequest(0xC5, REGISTER))
        with pytest.raises(SecurityFault):
            waiting.association.receive(answer)

    def test_an_empty_apdu_is_malformed(self, waiting: Loopback) -> None:
        with pytest.raises(MalformedData):
            waiting.association.receive(b"")


def test_a_release_takes_any_form_of_yes(make_loopback: MakeLoopback) -> None:
    for yes in (b"\x63\x00", b"\x63\x03\x80\x01\x00"):
        loopback = make_loopback("lls")
        loopback.associate()
        loopback.association.release()
        with pytest.raises(StaleAnswer):
            loopback.association.receive(b"\xc4\x01\xc1\x00\x00")
        assert loopback.association.receive(yes) == Released()


def test_invoke_ids_repeat_after_sixteen() -> None:
    association = ClientAssociation(ClientSettings())
    drawn = [association.draw_invoke() for _ in range(17)]
    assert len(set(drawn)) == 16
    assert drawn[0] == drawn[16] == 0xC1


def test_settings_that_cannot_work_are_refused_at_once() -> None:
    with pytest.raises(LocalProtocolError):
        ClientAssociation(ClientSettings(Mechanism.LLS))
    with pytest.raises(LocalProtocolError):
        ClientAssociation(ClientSettings(Mechanism.HLS_GMAC, challenge=bytes(16)))
