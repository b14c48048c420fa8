"""HDLC under hypothesis: streams cut, mutated and polluted; a channel that loses and doubles."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.domain.errors import HeadEndError
from protocols.dlms.errors import MalformedData
from protocols.dlms.hdlc_client import HdlcClient, LinkState, Patience
from protocols.dlms.hdlc_events import Connected, Lost, Received
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame, decode_frame
from protocols.dlms.hdlc_parameters import LinkParameters, decode_parameters
from protocols.dlms.hdlc_server import HdlcServer
from protocols.dlms.hdlc_splitter import HdlcSplitter

CLIENT, SERVER = HdlcAddress(16), HdlcAddress(1, 17)
NUMBERED = (FrameKind.RECEIVE_READY, FrameKind.RECEIVE_NOT_READY, FrameKind.REJECT)
numbers = st.integers(0, 7)
short = st.integers(0, 127)
long = st.integers(0, 0x3FFF)
addresses = st.one_of(
    st.builds(HdlcAddress, short),
    st.builds(HdlcAddress, short, short),
    st.builds(HdlcAddress, long, long, st.just(4)),
)


@st.composite
def frames(draw: st.DrawFn) -> HdlcFrame:
    kind = draw(st.sampled_from(list(FrameKind)))
    information = draw(st.binary(max_size=300)) if kind not in NUMBERED else b""
    return HdlcFrame(
        kind,
        draw(addresses),
        draw(addresses),
        final=draw(st.booleans()),
        send_number=draw(numbers) if kind is FrameKind.INFORMATION else 0,
        receive_number=draw(numbers) if kind in (FrameKind.INFORMATION, *NUMBERED) else 0,
        information=information,
        segmented=draw(st.booleans()) and kind is FrameKind.INFORMATION,
    )


@given(frames())
def test_decoding_inverts_encoding(frame: HdlcFrame) -> None:
    assert decode_frame(frame.encode()[1:-1]) == frame


@given(st.binary(max_size=40))
def test_any_octets_are_a_frame_or_malformed(octets: bytes) -> None:
    try:
        frame = decode_frame(octets)
    except MalformedData:
        return
    assert frame.encode()[1:-1] == octets or frame.information == b""


@given(st.binary(max_size=40))
def test_any_parameters_are_read_or_malformed(octets: bytes) -> None:
    try:
        parameters = decode_parameters(octets)
    except MalformedData:
        return
    assert decode_parameters(parameters.encode()) == parameters


@given(st.lists(frames(), max_size=4), st.data())
def test_a_stream_is_the_same_however_it_is_cut(sent: list[HdlcFrame], data: st.DataObject) -> None:
    stream = b"".join(frame.encode() for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    splitter, got = HdlcSplitter(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += splitter.feed(stream[start:end])
    assert got == sent
    assert splitter.damaged == 0
    assert splitter.pending == 0


@given(frames(), frames(), st.data())
def test_a_mutated_frame_never_passes_and_never_takes_the_next_one_with_it(
    first: HdlcFrame, second: HdlcFrame, data: st.DataObject
) -> None:
    octets = bytearray(first.encode())
    position = data.draw(st.integers(1, len(octets) - 2))
    octets[position] ^= data.draw(st.integers(1, 255))
    # The peer repeats what was lost; a damaged length may have swallowed only a part of that.
    stream = bytes(octets) + second.encode() * 12
    got = HdlcSplitter().feed(stream)
    assert second in got
    assert all(frame == second for frame in got)


@given(st.binary(max_size=60), frames(), st.binary(max_size=20))
def test_garbage_around_a_frame_does_not_hide_it(
    before: bytes, frame: HdlcFrame, between: bytes
) -> None:
    octets = frame.encode()
    # 12 repetitions outlast any length that garbage before can claim by accident.
    got = HdlcSplitter().feed(before + octets + between + octets * 12)
    assert frame in got


@given(frames(), frames())
def test_flags_may_be_shared_doubled_or_missing(first: HdlcFrame, second: HdlcFrame) -> None:
    one, two = first.encode(), second.encode()
    for stream in (one[:-1] + two, one + b"\x7e\x7e" + two, one[:-1] + two[:-1]):
        assert HdlcSplitter().feed(stream) == [first, second]


class Channel:
    """Both ends joined by a channel whose every frame passes ``fate``: times it arrives."""

    def __init__(
        self, fate: Callable[[bytes], int], *, window: int, size: int, sends_reject: bool = False
    ) -> None:
        limits = LinkParameters(size, size, window, window)
        self.client = HdlcClient(
            CLIENT, SERVER, limits=limits, patience=Patience(60, 200), sends_reject=sends_reject
        )
        self.server = HdlcServer(SERVER, CLIENT, limits=limits, sends_reject=sends_reject)
        self.heard: list[bytes] = []  # by the server
        self.answered: list[bytes] = []  # heard by the client
        self.frames = 0
        self.lost: Lost | None = None
        self._fate = fate
        self._to_server: deque[bytes] = deque()
        self._to_client: deque[bytes] = deque()
        self._splitters = HdlcSplitter(), HdlcSplitter()

    def run(self, until: Callable[[], bool], steps: int = 20_000) -> None:
        """Carry frames, with a time-out whenever both queues are empty."""
        for _ in range(steps):
            self._collect()
            if until() or self.lost:
                return
            if self._to_server:
                self._serve(self._splitters[0].feed(self._to_server.popleft()))
            elif self._to_client:
                self._hear(self._splitters[1].feed(self._to_client.popleft()))
            else:
                self._note(self.client.time_out())
        raise AssertionError("it never ended")

    def connect(self) -> None:
        self.client.connect()
        self.run(lambda: self.client.state is LinkState.CONNECTED)

    def exchange(self, apdu: bytes) -> None:
        self.client.send(apdu)
        self.run(lambda: not self.client.is_awaiting)

    def _collect(self) -> None:
        splitter = HdlcSplitter()
        out = [frame.encode() for frame in splitter.feed(self.client.take_output())]
        for queue, frames in ((self._to_server, out), (self._to_client, self.server.take_output())):
            for octets in frames:
                self.frames += 1
                queue.extend([octets] * self._fate(octets))

    def _serve(self, frames: Iterable[HdlcFrame]) -> None:
        for frame in frames:
            for event in self.server.receive(frame):
                if isinstance(event, Received):
                    self.heard.append(event.apdu)
                    self.server.reply(event.apdu[::-1])

    def _hear(self, frames: Iterable[HdlcFrame]) -> None:
        for frame in frames:
            before = self.client.state
            try:
                self._note(self.client.receive(frame))
            except HeadEndError:
                assert self.client.state is before

    def _note(self, events: Iterable[object]) -> None:
        for event in events:
            if isinstance(event, Received):
                self.answered.append(event.apdu)
            elif isinstance(event, Lost):
                self.lost = event
            else:
                assert isinstance(event, Connected)


APDUS = [bytes([number]) * size for number, size in enumerate((1, 40, 200, 3, 90, 500), 1)]


def check_delivery(channel: Channel) -> None:
    channel.connect()
    for apdu in APDUS:
        channel.exchange(apdu)
    assert channel.heard == APDUS
    assert channel.answered == [apdu[::-1] for apdu in APDUS]
    assert channel.lost is None


@pytest.mark.parametrize("sends_reject", [False, True])
@pytest.mark.parametrize("window", [1, 2, 7])
def test_each_frame_lost_or_doubled_once_costs_nothing(window: int, sends_reject: bool) -> None:
    perfect = Channel(lambda _octets: 1, window=window, size=32)
    check_delivery(perfect)
    for victim in range(perfect.frames):
        for copies in (0, 2):
            count = iter(range(10_000_000))
            channel = Channel(
                lambda _octets, count=count, victim=victim, copies=copies: (
                    copies if next(count) == victim else 1
                ),
                window=window,
                size=32,
                sends_reject=sends_reject,
            )
            check_delivery(channel)


@pytest.mark.parametrize("window", [1, 3, 7])
def test_every_frame_doubled_costs_no_more_than_a_few_times_the_frames(window: int) -> None:
    perfect = Channel(lambda _octets: 1, window=window, size=32)
    check_delivery(perfect)
    doubled = Channel(lambda _octets: 2, window=window, size=32)
    check_delivery(doubled)
    assert doubled.frames <= 6 * perfect.frames


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    window=st.integers(1, 7),
    loss=st.floats(0, 0.3),
    doubling=st.floats(0, 0.3),
    sends_reject=st.booleans(),
)
def test_random_loss_delivers_each_apdu_once_and_in_order(
    seed: int, window: int, loss: float, doubling: float, sends_reject: bool
) -> None:
    chance = random.Random(seed)

    def fate(_octets: bytes) -> int:
        draw = chance.random()
        return 0 if draw < loss else 2 if draw < loss + doubling else 1

    check_delivery(Channel(fate, window=window, size=32, sends_reject=sends_reject))


@settings(max_examples=150, deadline=None)
@given(st.lists(frames(), max_size=30), st.integers(1, 7))
def test_wild_frames_raise_declared_errors_and_then_change_nothing(
    wild: list[HdlcFrame], window: int
) -> None:
    limits = LinkParameters(64, 64, window, window)
    client = HdlcClient(CLIENT, SERVER, limits=limits)
    server = HdlcServer(SERVER, CLIENT, limits=limits)
    client.connect()
    for frame in wild:
        for end, receive in ((CLIENT, client.receive), (SERVER, server.receive)):
            source = SERVER if end is CLIENT else CLIENT
            aimed = HdlcFrame(
                frame.kind, end, source, frame.final, frame.send_number, frame.receive_number,
                frame.information, frame.segmented,
            )  # fmt: skip
            for each in (frame, aimed):
                before = state_of(client), state_of(server)
                try:
                    receive(each)
                except HeadEndError:
                    assert (state_of(client), state_of(server)) == before
    client.take_output()
    server.take_output()


def state_of(link: HdlcClient | HdlcServer) -> str:
    """Return all that a connection remembers, its flow's too."""
    flow = vars(link)["_flow"]
    return repr({**vars(link), "_flow": None if flow is None else vars(flow)})
