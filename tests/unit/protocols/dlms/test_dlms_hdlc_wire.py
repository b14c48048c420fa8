"""One HDLC line with several stations: whose turn it is, what is dropped, how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headend.domain.errors import (
    BadInput,
    HeadEndError,
    LocalProtocolError,
    MeterBusy,
    MeterUnreachable,
)
from protocols.dlms.hdlc_client import Patience
from protocols.dlms.hdlc_flow import RESPONSE_HEADER
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame
from protocols.dlms.hdlc_parameters import LinkParameters
from protocols.dlms.hdlc_splitter import HdlcSplitter
from protocols.dlms.hdlc_wire import HdlcTiming, HdlcWire
from protocols.dlms.link import LinkRefused, NothingLeft

K = FrameKind
CLIENT = 16
REQUEST, ANSWER = b"\xc0request", b"\xc4answer"
NEVER_S = 3600.0
SOON_S = 0.01
DEADLINE_S = 10.0


class MemoryTransport(asyncio.Transport):
    """Keeps the frames that are written."""

    def __init__(self, wire: HdlcWire) -> None:
        super().__init__()
        self.frames: list[HdlcFrame] = []
        self._wire = wire
        self._splitter = HdlcSplitter()
        self._closing = False

    def write(self, data: Any) -> None:
        self.frames += self._splitter.feed(bytes(data))

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self._wire.connection_lost, None)


class Line:
    """A wire on a memory transport, with what its conversations were told."""

    def __init__(self, response_s: float = NEVER_S) -> None:
        self.wire = HdlcWire(
            "line", HdlcAddress, limits=LinkParameters(),
            timing=HdlcTiming(response_s, None, Patience(tries=2)),
        )  # fmt: skip
        self.transport = MemoryTransport(self.wire)
        self.wire.connection_made(self.transport)
        self.answers: list[tuple[int, bytes]] = []
        self.faults: list[tuple[int, HeadEndError]] = []
        self.told = asyncio.Event()

    def listen(self, meter: int) -> None:
        def lose(fault: HeadEndError) -> None:
            self.faults.append((meter, fault))
            self.told.set()

        self.wire.listen(meter, CLIENT, lambda apdu: self.answers.append((meter, apdu)), lose)

    def sent(self) -> list[tuple[str, int]]:
        """Return kind and destination of the frames since the last call."""
        frames, self.transport.frames = self.transport.frames, []
        return [(str(frame.kind), frame.destination.upper) for frame in frames]

    def receive(self, kind: FrameKind, meter: int, **values: Any) -> None:
        frame = HdlcFrame(kind, HdlcAddress(CLIENT), HdlcAddress(meter), **values)
        self.wire.data_received(frame.encode())

    def answer(self, meter: int, number: int = 0, received: int = 1) -> None:
        self.receive(
            K.INFORMATION, meter, send_number=number, receive_number=received,
            information=RESPONSE_HEADER + ANSWER,
        )  # fmt: skip

    def begin(self, meter: int) -> None:
        """Have a request of a new conversation under way."""
        self.listen(meter)
        self.wire.send(meter, CLIENT, REQUEST)
        self.receive(K.ACKNOWLEDGE, meter)
        self.sent()


async def test_the_first_request_sets_up_its_connection() -> None:
    line = Line()
    line.listen(1)
    assert line.sent() == []
    line.wire.send(1, CLIENT, REQUEST)
    assert line.sent() == [("SNRM", 1)]
    line.receive(K.ACKNOWLEDGE, 1)
    assert line.sent() == [("I", 1)]
    line.answer(1)
    assert line.answers == [(1, ANSWER)]


async def test_one_station_has_the_line_and_the_others_wait() -> None:
    line = Line()
    line.begin(1)
    line.listen(2)
    line.wire.send(2, CLIENT, REQUEST)
    assert line.sent() == []
    assert line.wire.patience(2, CLIENT, 5.0) == 5.0
    line.answer(1)
    assert line.sent() == [("SNRM", 2)]


async def test_what_another_meter_says_is_never_taken_for_the_answer() -> None:
    line = Line()
    line.begin(1)
    line.answer(2)
    line.answer(1, number=3)
    line.receive(K.ACKNOWLEDGE, 1)
    assert (line.answers, line.wire.dropped) == ([], 3)
    line.answer(1)
    assert line.answers == [(1, ANSWER)]
    line.answer(1)
    assert (line.answers, line.wire.dropped) == ([(1, ANSWER)], 4)


async def test_a_late_answer_of_an_ended_connection_is_dropped() -> None:
    line = Line()
    line.begin(1)
    line.wire.unlisten(1, CLIENT)
    assert line.sent() == [("DISC", 1)]
    line.listen(1)
    line.wire.send(1, CLIENT, REQUEST)
    line.answer(1)  # to the request of before
    line.receive(K.ACKNOWLEDGE, 1)
    assert line.sent() == [("SNRM", 1)]
    line.answer(1)
    assert (line.answers, line.wire.dropped) == ([], 2)


async def test_a_conversation_that_ends_frees_the_line() -> None:
    line = Line()
    line.begin(1)
    line.answer(1)
    line.wire.unlisten(1, CLIENT)
    line.listen(2)
    line.wire.send(2, CLIENT, REQUEST)
    assert line.sent() == [("DISC", 1)]
    line.receive(K.ACKNOWLEDGE, 1)
    assert line.sent() == [("SNRM", 2)]


async def test_a_meter_that_does_not_confirm_its_end_frees_the_line_too() -> None:
    line = Line(response_s=SOON_S)
    line.begin(1)
    line.answer(1)
    line.wire.unlisten(1, CLIENT)
    line.listen(2)
    line.wire.send(2, CLIENT, REQUEST)
    async with asyncio.timeout(DEADLINE_S):
        await line.told.wait()
    ((meter, fault),) = line.faults
    assert meter == 2
    assert isinstance(fault, NothingLeft)
    assert line.sent() == [("DISC", 1), ("SNRM", 2), ("SNRM", 2)]


async def test_a_refused_connection_is_busy_and_nothing_left() -> None:
    line = Line()
    line.listen(1)
    line.wire.send(1, CLIENT, REQUEST)
    line.receive(K.DISCONNECTED, 1)
    ((_, fault),) = line.faults
    assert isinstance(fault, LinkRefused)
    assert isinstance(fault, MeterBusy)
    assert isinstance(fault, NothingLeft)


async def test_an_ended_connection_sends_nothing_more() -> None:
    line = Line()
    line.begin(1)
    line.receive(K.DISCONNECTED, 1)
    ((_, fault),) = line.faults
    assert isinstance(fault, MeterUnreachable)
    assert not isinstance(fault, NothingLeft)
    with pytest.raises(MeterUnreachable, match="nothing was sent"):
        line.wire.send(1, CLIENT, REQUEST)


@pytest.mark.parametrize("connects", [False, True])
async def test_a_given_up_answer_says_whether_the_request_left(connects: bool) -> None:
    line = Line()
    line.listen(1)
    line.wire.send(1, CLIENT, REQUEST)
    if connects:
        line.receive(K.ACKNOWLEDGE, 1)
    fault = line.wire.abandon(1, CLIENT, 5.0)
    assert isinstance(fault, MeterUnreachable)
    assert isinstance(fault, NothingLeft) is not connects
    assert "5 s" in str(fault)
    with pytest.raises(MeterUnreachable):
        line.wire.send(1, CLIENT, REQUEST)


async def test_a_given_up_answer_of_a_busy_meter_says_so() -> None:
    line = Line()
    line.begin(1)
    line.receive(K.RECEIVE_NOT_READY, 1)
    assert isinstance(line.wire.abandon(1, CLIENT, 5.0), MeterBusy)


async def test_time_runs_from_the_last_step_forward() -> None:
    line = Line()
    line.begin(1)
    assert 0 < line.wire.patience(1, CLIENT, 5.0) <= 5.0
    line.answer(1)
    assert line.wire.patience(1, CLIENT, 5.0) == 0.0


async def test_a_push_on_the_line_is_not_an_answer() -> None:
    line = Line()
    line.begin(1)
    line.receive(K.UNNUMBERED, 1, final=False, information=RESPONSE_HEADER + b"\x0fpush")
    assert (line.answers, line.wire.dropped) == ([], 1)


async def test_everyone_is_told_when_the_line_breaks() -> None:
    line = Line()
    line.begin(1)
    line.listen(2)
    line.wire.connection_lost(OSError("cut"))
    assert [meter for meter, _ in line.faults] == [1, 2]
    assert not line.wire.is_open
    with pytest.raises(MeterUnreachable):
        line.wire.send(2, CLIENT, REQUEST)


async def test_closing_waits_for_connections_that_end() -> None:
    line = Line()
    line.begin(1)
    line.answer(1)
    line.wire.unlisten(1, CLIENT)
    closing = asyncio.create_task(line.wire.close())
    await asyncio.sleep(0)
    assert line.wire.is_open
    line.receive(K.ACKNOWLEDGE, 1)
    await closing
    assert not line.wire.is_open


async def test_closing_under_a_conversation_tells_it_at_once() -> None:
    line = Line()
    line.begin(1)
    async with asyncio.timeout(DEADLINE_S):
        await line.wire.close()
    assert [meter for meter, _ in line.faults] == [1]


async def test_closing_waits_for_nobody_forever() -> None:
    line = Line(response_s=SOON_S)
    line.begin(1)
    line.answer(1)
    line.wire.unlisten(1, CLIENT)
    async with asyncio.timeout(DEADLINE_S):
        await line.wire.close()


async def test_wrong_use_is_told() -> None:
    line = Line()
    line.listen(1)
    with pytest.raises(LocalProtocolError, match="already"):
        line.listen(1)
    with pytest.raises(LocalProtocolError, match="listen"):
        line.wire.send(2, CLIENT, REQUEST)
    with pytest.raises(BadInput, match="client 200"):
        line.wire.listen(1, 200, lambda _apdu: None, lambda _fault: None)
    line.wire.unlisten(7, CLIENT)
    assert isinstance(line.wire.abandon(7, CLIENT, 1.0), NothingLeft)


def test_octets_take_their_time_on_a_slow_line() -> None:
    assert HdlcTiming(2.0, 2400).sending_s(240) == pytest.approx(1.0)
    assert HdlcTiming(2.0).sending_s(240) == 0.0
