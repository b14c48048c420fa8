"""HDLC over a stream (TCP or a serial line): many stations on one line, one at a time.

Theory of operation. Each conversation has a station: its own HDLC connection, set up when its first
APDU is sent and ended when it stops listening. The line is half duplex, so one station has it (its
turn lasts until its answer is there or given up) and the others wait in order; what comes from
anyone else is dropped. Time-outs of the link layer live here, shorter than those of the
conversation above, so that a lost frame is asked for again before its request is given up. A
station whose connection was lost sends nothing more: its conversation must begin anew.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from headend.domain.errors import (
    BadInput,
    HeadEndError,
    LocalProtocolError,
    MeterBusy,
    MeterUnreachable,
)
from protocols.dlms.hdlc_client import HdlcClient, LinkState, Patience
from protocols.dlms.hdlc_events import LinkEvent, Loss, Lost, Received
from protocols.dlms.hdlc_frame import HdlcAddress, HdlcFrame
from protocols.dlms.hdlc_parameters import LinkParameters
from protocols.dlms.hdlc_splitter import HdlcSplitter
from protocols.dlms.link import Deliver, LinkRefused, NothingLeft, Pair, Tap, busy_pair
from protocols.dlms.link import Lost as TellLost

BITS_PER_OCTET = 10  # on a serial line: start, 8 data bits, stop


@dataclass(frozen=True, slots=True)
class HdlcTiming:
    """How long a frame's answer may take [s]; ``baud`` where sending takes time of its own."""

    response_s: float = 2.0
    baud: int | None = None
    patience: Patience = field(default_factory=Patience)

    def sending_s(self, octets: int) -> float:
        """Return how long octets are on the line."""
        return 0.0 if self.baud is None else octets * BITS_PER_OCTET / self.baud


@dataclass(slots=True, eq=False)
class _Station:
    """One conversation's connection."""

    pair: Pair
    link: HdlcClient
    deliver: Deliver
    lost: TellLost
    outbox: deque[bytes] = field(default_factory=deque)
    alive_s: float = 0.0  # loop time of its last step forward
    request_left: bool = False
    ending: bool = False
    fault: HeadEndError | None = None


class HdlcWire(asyncio.Protocol):
    """The line; `addresses` turns a meter's address into that of its HDLC station."""

    is_shared = False

    def __init__(
        self,
        name: str,
        addresses: Callable[[int], HdlcAddress],
        *,
        limits: LinkParameters,
        timing: HdlcTiming,
    ) -> None:
        self.name = name
        self.dropped = 0
        self.unsettled: set[Pair] = set()
        self.owing: set[Pair] = set()
        self.tap: Tap | None = None
        self._addresses = addresses
        self._limits = limits
        self._timing = timing
        self._splitter = HdlcSplitter()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._stations: dict[Pair, _Station] = {}
        self._waiting: deque[_Station] = deque()
        self._current: _Station | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fault: HeadEndError | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = self._loop.create_future()

    @property
    def is_open(self) -> bool:
        transport = self._transport
        return transport is not None and not transport.is_closing() and self._fault is None

    @property
    def damaged(self) -> int:
        """How many frames came damaged."""
        return self._splitter.damaged

    # For conversations; see `Wire`.

    def listen(self, server: int, client: int, deliver: Deliver, lost: TellLost) -> None:
        pair = (server, client)
        if pair in self._stations:
            raise busy_pair(pair)
        link = HdlcClient(
            _client_address(client),
            self._addresses(server),
            limits=self._limits,
            patience=self._timing.patience,
        )
        self._stations[pair] = _Station(pair, link, deliver, lost)

    def unlisten(self, server: int, client: int) -> None:
        station = self._stations.pop((server, client), None)
        if station is None or not self.is_open:
            return
        station.ending = True
        station.outbox.clear()
        if station is self._current:
            self._begin(station)
            return
        if station in self._waiting:
            self._waiting.remove(station)
        if station.link.state is not LinkState.DISCONNECTED:
            self._queue(station)

    def send(self, server: int, client: int, apdu: bytes) -> None:
        station = self._stations.get((server, client))
        if station is None:
            raise LocalProtocolError(f"client {client} does not listen to meter {server}")
        if not self.is_open:
            raise MeterUnreachable(f"the connection to {self.name} is closed")
        if station.fault is not None:
            raise MeterUnreachable(f"nothing was sent: {station.fault}")
        station.outbox.append(apdu)
        station.request_left = False
        station.alive_s = self._loop.time()
        if station is self._current:
            self._begin(station)
        elif station not in self._waiting:
            self._queue(station)

    def patience(self, server: int, client: int, timeout_s: float) -> float:
        station = self._stations.get((server, client))
        if station is None or not self.is_open or station.fault is not None:
            return 0.0
        if station in self._waiting:
            return timeout_s  # its time begins when it has the line
        if station is not self._current:
            return 0.0
        return max(0.0, station.alive_s + timeout_s - self._loop.time())

    def abandon(self, server: int, client: int, timeout_s: float) -> HeadEndError:
        station = self._stations.get((server, client))
        if station is None:
            return NothingLeft(f"client {client} does not listen to meter {server}")
        station.outbox.clear()
        if station in self._waiting:
            self._waiting.remove(station)
        loss = Loss.SILENCE
        link = station.link
        if station is self._current and link.is_awaiting:
            loss = Loss.BUSY if link.is_peer_busy else Loss.SILENCE
            link.abandon()
        fault = _explain(station, loss, f" in {timeout_s:g} s")
        if link.state is not LinkState.CONNECTED:
            station.fault = fault
        self._finish(station)
        return fault

    async def close(self) -> None:
        """Let the connections that are ending end, then close the line."""
        if self._transport is None:
            return
        busy = [*self._waiting, *([self._current] if self._current is not None else ())]
        if self.is_open and busy and all(station.ending for station in busy):
            try:
                await asyncio.wait_for(self._idle.wait(), 2 * self._timing.response_s)
            except TimeoutError:
                self._fail(MeterUnreachable(f"{self.name} was closed"))
        self._transport.close()
        await self._closed

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self.tap is not None:
            self.tap(False, data)
        for frame in self._splitter.feed(data):
            self._receive(frame)
        station = self._current
        if station is not None and self._splitter.pending:
            # A long frame on a slow line is a sign of life before it is whole.
            station.alive_s = self._loop.time()
            self._arm(0.0)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = f" ({exc})" if exc is not None else ""
        self._fail(MeterUnreachable(f"{self.name} closed the connection{reason}"))
        if not self._closed.done():
            self._closed.set_result(None)

    # Ours.

    def _receive(self, frame: HdlcFrame) -> None:
        station = self._current
        if station is None:
            self.dropped += 1
            return
        steps = station.link.steps
        try:
            events = station.link.receive(frame)
        except HeadEndError:
            self.dropped += 1
            return
        if station.link.steps != steps:
            station.alive_s = self._loop.time()
        self._go_on(station, events)

    def _expire(self) -> None:
        self._timer = None
        station = self._current
        if station is None:
            return
        if station.link.state is LinkState.DISCONNECTING:
            self._finish(station)  # a meter that does not confirm its end has ended too
            return
        self._go_on(station, station.link.time_out())

    def _go_on(self, station: _Station, events: list[LinkEvent]) -> None:
        for event in events:
            self._take(station, event)
        if station is not self._current:
            return
        self._send_outbox(station)
        self._flush(station)

    def _take(self, station: _Station, event: LinkEvent) -> None:
        if isinstance(event, Received):
            if event.unnumbered or station.ending:
                self.dropped += 1
            else:
                station.deliver(event.apdu)
        elif isinstance(event, Lost) and not station.ending:
            fault = _explain(station, event.loss)
            if event.loss is not Loss.NO_ANSWER:
                station.fault = fault
            station.outbox.clear()
            station.lost(fault)

    def _queue(self, station: _Station) -> None:
        self._idle.clear()
        self._waiting.append(station)
        self._pump()

    def _pump(self) -> None:
        while self._current is None and self._waiting:
            self._begin(self._waiting.popleft())
        if self._current is None:
            self._idle.set()

    def _begin(self, station: _Station) -> None:
        """Give a station the line, or let the one that has it go on with something new."""
        self._current = station
        self._idle.clear()
        link = station.link
        station.alive_s = self._loop.time()
        if station.ending:
            self._disconnect(link)
        elif link.state is LinkState.DISCONNECTED:
            link.connect()
        self._send_outbox(station)
        self._flush(station)

    def _disconnect(self, link: HdlcClient) -> None:
        """End a connection, where there is one to end."""
        if link.state is LinkState.CONNECTING:
            link.abandon()
        elif link.state in (LinkState.CONNECTED, LinkState.LOST):
            link.disconnect()

    def _send_outbox(self, station: _Station) -> None:
        while station.outbox and station.link.state is LinkState.CONNECTED:
            station.request_left = True
            station.link.send(station.outbox.popleft())

    def _flush(self, station: _Station) -> None:
        """Write what the link has to say; keep the line while it waits for an answer."""
        octets = station.link.take_output()
        if octets and self._transport is not None and self.is_open:
            if self.tap is not None:
                self.tap(True, octets)
            self._transport.write(octets)
        if station.link.is_awaiting:
            if octets or self._timer is None:
                self._arm(self._timing.sending_s(len(octets)))
        else:
            self._finish(station)

    def _finish(self, station: _Station) -> None:
        if self._current is station:
            self._current = None
            self._disarm()
            self._pump()

    def _arm(self, sending_s: float) -> None:
        self._disarm()
        station = self._current
        if station is not None:
            station.alive_s += sending_s
        self._timer = self._loop.call_later(self._timing.response_s + sending_s, self._expire)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, fault: HeadEndError) -> None:
        if self._fault is not None:
            return
        self._fault = fault
        self._disarm()
        self._current = None
        self._waiting.clear()
        self._idle.set()
        for station in tuple(self._stations.values()):
            station.lost(fault)


def _client_address(client: int) -> HdlcAddress:
    try:
        return HdlcAddress(client)
    except LocalProtocolError:
        raise BadInput(f"client {client} is no HDLC address", field="client") from None


def _explain(station: _Station, loss: Loss, time: str = "") -> HeadEndError:
    server, client = station.pair
    where = f"meter {server} (HDLC address {station.link.server})"
    if loss is Loss.REFUSED:
        return LinkRefused(
            f"{where} refuses client {client} a connection: it serves another one or not this one"
        )
    if loss is Loss.BUSY:
        return MeterBusy(f"{where} says that it is not ready to receive")
    if loss is Loss.REJECTED:
        return MeterUnreachable(f"{where} ended the connection")
    if loss is Loss.NO_ANSWER:
        return MeterUnreachable(f"{where} took the request and did not answer it")
    silent = f"{where} did not answer{time}"
    return MeterUnreachable(silent) if station.request_left else NothingLeft(silent)
