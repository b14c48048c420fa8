"""Both roles of an HDLC connection, frame by frame."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headend.domain.errors import LocalProtocolError
from protocols.dlms.errors import MalformedData
from protocols.dlms.hdlc_client import HdlcClient, LinkState, Patience
from protocols.dlms.hdlc_events import (
    Connected,
    Disconnected,
    LinkEvent,
    Loss,
    Lost,
    Received,
    StaleFrame,
)
from protocols.dlms.hdlc_flow import COMMAND_HEADER, RESPONSE_HEADER
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame
from protocols.dlms.hdlc_parameters import LinkParameters
from protocols.dlms.hdlc_server import HdlcServer
from protocols.dlms.hdlc_splitter import HdlcSplitter

K = FrameKind
CLIENT, SERVER = HdlcAddress(16), HdlcAddress(1, 17)
REQUEST, ANSWER = b"\xc0\x01\xc1request", b"\xc4\x01\xc1answer"


def to_client(kind: FrameKind, **values: object) -> HdlcFrame:
    return HdlcFrame(kind, CLIENT, SERVER, **values)  # type: ignore[arg-type]


def to_server(kind: FrameKind, **values: object) -> HdlcFrame:
    return HdlcFrame(kind, SERVER, CLIENT, **values)  # type: ignore[arg-type]


def sent_by(link: HdlcClient | HdlcServer) -> list[HdlcFrame]:
    output = link.take_output()
    octets = output if isinstance(output, bytes) else b"".join(output)
    return HdlcSplitter().feed(octets)


def kinds(frames: list[HdlcFrame]) -> list[str]:
    return [str(frame.kind) for frame in frames]


def answer(number: int = 0, received: int = 1, **values: object) -> HdlcFrame:
    information = values.pop("information", RESPONSE_HEADER + ANSWER)
    return to_client(
        K.INFORMATION, send_number=number, receive_number=received, information=information,
        **values,
    )  # fmt: skip


def connected(*, window: int = 1, size: int = 128, patience: Patience | None = None) -> HdlcClient:
    limits = LinkParameters(size, size, window, window)
    client = HdlcClient(CLIENT, SERVER, limits=limits, patience=patience or Patience())
    client.connect()
    client.receive(to_client(K.ACKNOWLEDGE, information=limits.encode()))
    client.take_output()
    return client


def test_a_client_connects_with_what_both_can() -> None:
    client = HdlcClient(CLIENT, SERVER, limits=LinkParameters(512, 512, 7, 7))
    client.connect()
    (frame,) = sent_by(client)
    assert (frame.kind, frame.final, client.is_awaiting) == (K.SET_NORMAL_MODE, True, True)
    (event,) = client.receive(
        to_client(K.ACKNOWLEDGE, information=LinkParameters(64, 128, 2, 3).encode())
    )
    assert event == Connected(LinkParameters(128, 64, 3, 2))
    assert not client.is_awaiting


def test_an_empty_acknowledgement_means_the_defaults() -> None:
    client = HdlcClient(CLIENT, SERVER, limits=LinkParameters(512, 512, 7, 7))
    client.connect()
    assert client.receive(to_client(K.ACKNOWLEDGE)) == [Connected(LinkParameters())]


@pytest.mark.parametrize("kind", [K.DISCONNECTED, K.FRAME_REJECT])
def test_a_refused_connection_is_told(kind: FrameKind) -> None:
    client = HdlcClient(CLIENT, SERVER)
    client.connect()
    assert client.receive(to_client(kind)) == [Lost(Loss.REFUSED)]
    assert client.state is LinkState.DISCONNECTED
    client.connect()


def test_silence_is_asked_again_and_then_given_up() -> None:
    client = HdlcClient(CLIENT, SERVER, patience=Patience(tries=3))
    client.connect()
    assert [client.time_out(), client.time_out()] == [[], []]
    assert kinds(sent_by(client)) == ["SNRM", "SNRM", "SNRM"]
    assert client.time_out() == [Lost(Loss.SILENCE)]
    assert client.state is LinkState.DISCONNECTED


def test_a_request_and_its_answer() -> None:
    client = connected()
    client.send(REQUEST)
    (frame,) = sent_by(client)
    assert frame == to_server(K.INFORMATION, information=COMMAND_HEADER + REQUEST)
    assert client.receive(answer()) == [Received(ANSWER)]
    assert not client.is_awaiting
    client.send(REQUEST)
    (frame,) = sent_by(client)
    assert (frame.send_number, frame.receive_number) == (1, 1)


def test_a_long_request_goes_in_windows_of_segments() -> None:
    client = connected(window=3, size=10)
    client.send(bytes(range(40)))  # 43 octets with the LLC header: 5 segments
    first = sent_by(client)
    assert [(f.send_number, f.segmented, f.final) for f in first] == [
        (0, True, False), (1, True, False), (2, True, True),
    ]  # fmt: skip
    assert client.receive(to_client(K.RECEIVE_READY, receive_number=3)) == []
    rest = sent_by(client)
    assert [(f.send_number, f.segmented, f.final) for f in rest] == [
        (3, True, False), (4, False, True),
    ]  # fmt: skip
    whole = b"".join(frame.information for frame in first + rest)
    assert whole == COMMAND_HEADER + bytes(range(40))


def test_a_long_answer_is_asked_for_segment_by_segment() -> None:
    client = connected()
    client.send(REQUEST)
    client.take_output()
    first = answer(information=RESPONSE_HEADER + ANSWER[:4], segmented=True)
    assert client.receive(first) == []
    (ready,) = sent_by(client)
    assert (ready.kind, ready.receive_number) == (K.RECEIVE_READY, 1)
    assert client.receive(answer(1, information=ANSWER[4:])) == [Received(ANSWER)]


@pytest.mark.parametrize("kind", [K.RECEIVE_READY, K.REJECT])
def test_what_the_meter_missed_is_sent_again(kind: FrameKind) -> None:
    client = connected(window=3, size=10)
    client.send(bytes(24))  # 3 segments
    client.take_output()
    client.receive(to_client(kind, receive_number=1))
    assert [frame.send_number for frame in sent_by(client)] == [1, 2]


def test_a_lost_answer_is_polled_for_and_never_asked_anew() -> None:
    client = connected()
    client.send(REQUEST)
    client.take_output()
    assert client.time_out() == []
    (poll,) = sent_by(client)
    assert (poll.kind, poll.receive_number) == (K.RECEIVE_READY, 0)
    assert client.receive(answer()) == [Received(ANSWER)]


def test_a_meter_that_still_works_is_polled_at_the_next_time_out_only() -> None:
    client = connected()
    client.send(REQUEST)
    client.take_output()
    assert client.receive(to_client(K.RECEIVE_READY, receive_number=1)) == []
    assert sent_by(client) == []
    assert client.is_awaiting
    client.time_out()
    assert kinds(sent_by(client)) == ["RR"]


def test_an_application_that_never_answers_leaves_the_connection_usable() -> None:
    client = connected(patience=Patience(tries=3, polls=2))
    client.send(REQUEST)
    events: list[LinkEvent] = client.receive(to_client(K.RECEIVE_READY, receive_number=1))
    while not events:
        events = client.time_out()
        if not events:
            events = client.receive(to_client(K.RECEIVE_READY, receive_number=1))
    assert events == [Lost(Loss.NO_ANSWER)]
    assert client.state is LinkState.CONNECTED
    client.send(REQUEST)


def test_a_busy_meter_is_not_sent_anything_until_it_is_ready() -> None:
    client = connected(patience=Patience(tries=3, polls=5))
    client.send(REQUEST)
    client.take_output()
    client.receive(to_client(K.RECEIVE_NOT_READY, receive_number=0))
    assert sent_by(client) == []
    assert client.is_peer_busy
    client.time_out()
    assert kinds(sent_by(client)) == ["RR"]
    client.receive(to_client(K.RECEIVE_READY, receive_number=0))
    assert kinds(sent_by(client)) == ["I"]


def test_a_meter_that_stays_busy_is_told_apart_from_a_silent_one() -> None:
    client = connected(patience=Patience(tries=3, polls=2))
    client.send(REQUEST)
    events: list[LinkEvent] = []
    while not events:
        events = client.receive(to_client(K.RECEIVE_NOT_READY, receive_number=0))
        events = events or client.time_out()
    assert events == [Lost(Loss.BUSY)]
    assert client.state is LinkState.LOST


@pytest.mark.parametrize("kind", [K.DISCONNECTED, K.FRAME_REJECT])
def test_a_connection_that_the_meter_ends_is_lost(kind: FrameKind) -> None:
    client = connected()
    client.send(REQUEST)
    assert client.receive(to_client(kind)) == [Lost(Loss.REJECTED)]
    with pytest.raises(LocalProtocolError):
        client.send(REQUEST)


def test_a_request_that_was_given_up_is_never_sent_after_all() -> None:
    client = connected()
    client.send(REQUEST)
    client.take_output()
    client.abandon()
    assert client.state is LinkState.LOST
    with pytest.raises(LocalProtocolError):
        client.send(REQUEST)
    client.connect()
    client.receive(to_client(K.ACKNOWLEDGE))
    assert kinds(sent_by(client)) == ["SNRM"]


def test_a_request_that_the_meter_has_may_be_given_up_without_a_new_connection() -> None:
    client = connected()
    client.send(REQUEST)
    client.receive(to_client(K.RECEIVE_READY, receive_number=1))
    client.abandon()
    assert client.state is LinkState.CONNECTED
    assert not client.is_awaiting


def test_a_client_disconnects_with_or_without_confirmation() -> None:
    for reply in (K.ACKNOWLEDGE, K.DISCONNECTED):
        client = connected()
        client.disconnect()
        assert kinds(sent_by(client)) == ["DISC"]
        assert client.receive(to_client(reply)) == [Disconnected()]
    client = connected(patience=Patience(tries=2))
    client.disconnect()
    assert client.time_out() == []
    assert client.time_out() == [Disconnected()]


def test_an_unasked_notification_is_marked_as_such() -> None:
    client = connected()
    frame = to_client(K.UNNUMBERED, final=False, information=RESPONSE_HEADER + b"\x0fpush")
    assert client.receive(frame) == [Received(b"\x0fpush", unnumbered=True)]


@pytest.mark.parametrize(
    "move",
    [
        lambda client: client.send(REQUEST),
        lambda client: client.disconnect(),
        lambda client: client.abandon(),
        lambda client: client.time_out(),
    ],
)
def test_moves_of_a_client_that_is_not_connected_are_refused(
    move: Callable[[HdlcClient], object],
) -> None:
    client = HdlcClient(CLIENT, SERVER)
    with pytest.raises(LocalProtocolError):
        move(client)
    assert client.state is LinkState.DISCONNECTED
    assert client.take_output() == b""


@pytest.mark.parametrize(
    "frame",
    [
        answer(1),  # beyond the window
        answer(7),  # the one before
        answer(received=3),  # acknowledges what was not sent
        to_client(K.ACKNOWLEDGE),
        HdlcFrame(K.INFORMATION, CLIENT, HdlcAddress(1, 18), information=RESPONSE_HEADER + ANSWER),
        HdlcFrame(K.INFORMATION, HdlcAddress(1), SERVER, information=RESPONSE_HEADER + ANSWER),
        to_server(K.INFORMATION, information=COMMAND_HEADER + REQUEST),  # our own, as an echo
        answer(information=COMMAND_HEADER + ANSWER),
        answer(information=RESPONSE_HEADER),
        to_client(K.UNNUMBERED, information=b"no header"),
    ],
)
def test_a_frame_that_does_not_fit_changes_nothing(frame: HdlcFrame) -> None:
    client = connected()
    client.send(REQUEST)
    client.take_output()
    with pytest.raises((StaleFrame, MalformedData)):
        client.receive(frame)
    assert client.take_output() == b""
    assert client.receive(answer()) == [Received(ANSWER)]


def serving(*, size: int = 128, window: int = 1) -> HdlcServer:
    limits = LinkParameters(size, size, window, window)
    server = HdlcServer(SERVER, CLIENT, limits=limits)
    server.receive(to_server(K.SET_NORMAL_MODE, information=limits.encode()))
    server.take_output()
    return server


def request(number: int = 0, received: int = 0, **values: object) -> HdlcFrame:
    information = values.pop("information", COMMAND_HEADER + REQUEST)
    return to_server(
        K.INFORMATION, send_number=number, receive_number=received, information=information,
        **values,
    )  # fmt: skip


def test_a_server_answers_when_its_application_does() -> None:
    server = serving()
    assert server.receive(request()) == [Received(REQUEST)]
    assert sent_by(server) == []
    server.reply(ANSWER)
    assert sent_by(server) == [answer()]


def test_a_server_without_an_answer_gives_the_turn_back() -> None:
    server = serving()
    server.receive(request())
    server.decline()
    assert kinds(sent_by(server)) == ["RR"]


def test_a_slow_application_is_polled_for() -> None:
    server = serving()
    server.receive(request())
    server.receive(to_server(K.RECEIVE_READY))
    assert kinds(sent_by(server)) == ["RR"]
    server.reply(ANSWER)
    assert sent_by(server) == []
    server.receive(to_server(K.RECEIVE_READY))
    assert sent_by(server) == [answer()]


def test_a_repeated_request_gets_its_answer_again_and_is_not_executed_again() -> None:
    server = serving()
    server.receive(request())
    server.reply(ANSWER)
    server.take_output()
    assert server.receive(request()) == []
    assert sent_by(server) == [answer()]


def test_a_busy_server_takes_nothing() -> None:
    server = serving()
    server.is_busy = True
    assert server.receive(request()) == []
    assert kinds(sent_by(server)) == ["RNR"]
    server.is_busy = False
    assert server.receive(request()) == [Received(REQUEST)]


def test_whoever_is_not_connected_is_told_so() -> None:
    server = HdlcServer(SERVER, CLIENT)
    for kind in (K.INFORMATION, K.RECEIVE_READY, K.DISCONNECT):
        assert server.receive(to_server(kind)) == []
        assert kinds(sent_by(server)) == ["DM"]
    with pytest.raises(LocalProtocolError):
        server.reply(ANSWER)


def test_a_new_connection_forgets_the_old_one() -> None:
    server = serving()
    server.receive(request())
    assert server.receive(to_server(K.SET_NORMAL_MODE)) == [Connected(LinkParameters())]
    server.take_output()
    assert server.receive(request()) == [Received(REQUEST)]


def test_a_client_ends_the_connection_or_falls_silent() -> None:
    server = serving()
    assert server.receive(to_server(K.DISCONNECT)) == [Disconnected()]
    assert kinds(sent_by(server)) == ["UA"]
    assert server.time_out() == []
    server = serving()
    assert server.time_out() == [Disconnected()]
    assert not server.is_connected


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (request(information=COMMAND_HEADER + bytes(200)), 0x04),
        (request(received=2), 0x08),
        (to_server(K.RECEIVE_READY, receive_number=2), 0x08),
    ],
)
def test_broken_limits_are_rejected_and_change_nothing(frame: HdlcFrame, reason: int) -> None:
    server = serving()
    assert server.receive(frame) == []
    (rejection,) = sent_by(server)
    assert rejection.kind is K.FRAME_REJECT
    assert rejection.information[2] == reason
    assert server.receive(request()) == [Received(REQUEST)]


def test_a_foreign_or_malformed_frame_changes_nothing() -> None:
    server = serving()
    foreign = HdlcFrame(K.RECEIVE_READY, SERVER, HdlcAddress(1))
    for frame in (foreign, to_client(K.INFORMATION), request(information=b"no header")):
        with pytest.raises((StaleFrame, MalformedData)):
            server.receive(frame)
    assert sent_by(server) == []
    assert server.receive(request()) == [Received(REQUEST)]


def test_a_notification_goes_in_one_frame_of_its_own() -> None:
    server = serving(size=16)
    server.notify(b"\x0fpush")
    (frame,) = sent_by(server)
    assert (frame.kind, frame.final) == (K.UNNUMBERED, False)
    with pytest.raises(LocalProtocolError):
        server.notify(bytes(14))
