"""Client and meter joined in memory, so that nothing but protocol work is timed.

The meter's own CPU time is measured on the way and given back by `take_spent_ns`, for its caller to
subtract. Over sockets the waking of a sleeping process is what costs most on a virtual machine, and
it would be the same for any client.
"""

from __future__ import annotations

import asyncio
import selectors
import time

from headend.bench.dlms.meters import BenchMeters
from protocols.dlms.driver import DlmsAdapter, DlmsLink
from protocols.dlms.server import ServerSession
from protocols.dlms.transport import WrapperTransport
from protocols.dlms.wrapper import WrapperSplitter, encode_frame
from protocols.dlms.wrapper_route import DirectRoute
from protocols.dlms.wrapper_wire import TcpWire


class _Unwatched(selectors.SelectSelector):
    """Says at once that nothing came: in memory there is nothing to watch."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return []


def make_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that makes no system calls, as the peer's blocking client makes none here."""
    return asyncio.SelectorEventLoop(_Unwatched())


class LoopbackMeters:
    """The benchmark's meters as a function from request frames to answer frames."""

    def __init__(self) -> None:
        self._meters = BenchMeters()
        self._sessions: dict[tuple[int, int], ServerSession] = {}
        self._spent_ns = 0

    def answer(self, octets: bytes) -> bytes:
        """Return the answers to whole frames."""
        start = time.thread_time_ns()
        answers = b""
        for frame in WrapperSplitter().feed(octets):
            pair = (frame.destination, frame.source)
            session = self._sessions.get(pair)
            if session is None:
                session = self._sessions[pair] = self._meters.open_session(*pair)
            answer = session.handle(frame.apdu)
            if answer is not None:
                answers += encode_frame(frame.destination, frame.source, answer)
        self._spent_ns += time.thread_time_ns() - start
        return answers

    def take_spent_ns(self) -> int:
        """Return the CPU time that answers took since the last call [ns]."""
        spent, self._spent_ns = self._spent_ns, 0
        return spent


class _LoopbackTransport(asyncio.Transport):
    """What asyncio would put under a protocol; each answer comes in the loop's next round."""

    def __init__(self, protocol: TcpWire, meters: LoopbackMeters) -> None:
        super().__init__()
        self._protocol = protocol
        self._meters = meters
        self._loop = asyncio.get_running_loop()
        self._closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        answer = self._meters.answer(bytes(data))
        self._loop.call_soon(self._protocol.data_received, answer)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)


async def open_loopback(adapter: DlmsAdapter, meters: LoopbackMeters) -> DlmsLink:
    """Return a link to meters in memory; it cannot connect a second time."""
    wire = TcpWire("memory", DirectRoute())
    wire.connection_made(_LoopbackTransport(wire, meters))
    return DlmsLink(adapter, wire, WrapperTransport("memory", 0, False, DirectRoute()))
