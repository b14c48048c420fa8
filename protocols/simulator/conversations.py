"""Conversations of clients with meters on one connection, whichever transport carries them.

An answer is made and written at once, without a task; only a slow meter gets one, which serves its
conversation's queue in order, so that its neighbours on the same connection are not kept waiting.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from protocols.dlms.acse import RLRQ
from protocols.dlms.server import ServerSession
from protocols.simulator.device import Device, is_association_request
from protocols.simulator.faults import FaultKind

MAX_QUEUED = 16  # requests of one conversation that wait behind a slow answer


@dataclass(slots=True)
class ConcentratorStats:
    """What one concentrator has done since the process began."""

    connections: int = 0
    frames_received: int = 0
    answers_sent: int = 0
    unknown_address: int = 0
    malformed: int = 0
    dropped: int = 0


class Connection(Protocol):
    """One client's connection, or one peer's datagrams."""

    def abort(self) -> None:
        """Close at once, unsent answers lost."""
        ...

    def describe(self) -> dict[str, object]:
        """Return peer and conversations."""
        ...


class Host(Protocol):
    """The concentrator behind a connection."""

    @property
    def devices(self) -> Mapping[int, Device]: ...

    @property
    def stats(self) -> ConcentratorStats: ...

    @property
    def seed(self) -> int: ...

    @property
    def is_down(self) -> bool:
        """Whether the whole concentrator is down now."""
        ...

    def joined(self, connection: Connection) -> None:
        """Count a new connection."""
        ...

    def left(self, connection: Connection) -> None:
        """Forget a connection that closed."""
        ...


class Outlet(Protocol):
    """Where one conversation's answers go."""

    def send(self, apdu: bytes | None) -> None:
        """Send an answer; None: there is none."""
        ...

    def break_off(self, apdu: bytes) -> None:
        """Send half of an answer and close the connection."""
        ...

    def released(self) -> None:
        """Forget the conversation, which its client released."""
        ...


@dataclass(slots=True, eq=False)
class Conversation:
    """One client address with one meter, on one connection."""

    client: int
    device: Device
    session: ServerSession
    host: Host
    outlet: Outlet
    answers: int = 0
    drop_after: int | None = None
    queue: deque[bytes] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None

    def take(self, apdu: bytes) -> None:
        """Answer one APDU, now or after those that wait behind a slow one."""
        if self.worker is None and self.device.fault(FaultKind.SLOW) is None:
            self._answer(apdu)
        elif len(self.queue) < MAX_QUEUED:
            self.queue.append(apdu)
            if self.worker is None:
                self.worker = asyncio.get_running_loop().create_task(self._work_slowly())

    def end(self) -> None:
        """Stop what is under way."""
        if self.worker is not None:
            self.worker.cancel()
            self.worker = None
        self.queue.clear()

    async def _work_slowly(self) -> None:
        while self.queue:
            slow = self.device.fault(FaultKind.SLOW)
            if slow is not None:
                await asyncio.sleep(slow.parameters["delay_ms"] / 1000)
            self._answer(self.queue.popleft())
        self.worker = None

    def _answer(self, apdu: bytes) -> None:
        device = self.device
        if is_association_request(apdu):
            self.answers = 0
            self.drop_after = self._plan_drop()
        answers = device.answers(self.session, apdu)
        if apdu[:1] == bytes((RLRQ,)):
            self.outlet.released()
        for answer in answers:
            self._send(answer)
        if not answers:
            self.outlet.send(None)

    def _send(self, answer: bytes) -> None:
        self.answers += 1
        if self.drop_after is not None and self.answers > self.drop_after:
            self.host.stats.dropped += 1
            self.outlet.break_off(answer)
            return
        self.host.stats.answers_sent += 1
        self.outlet.send(answer)

    def _plan_drop(self) -> int | None:
        """Return after how many whole answers this session breaks off, if it does."""
        device = self.device
        fault = device.fault(FaultKind.DROP)
        if fault is None:
            return None
        text = f"drop {self.host.seed} {device.meter_no} {device.sessions_opened}"
        draw = int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48
        dropped = draw < fault.parameters["probability"]
        return int(fault.parameters["after_answers"]) if dropped else None


def open_conversation(host: Host, outlet: Outlet, device: Device, client: int) -> Conversation:
    """Begin a conversation of a client address with a meter."""
    return Conversation(client, device, device.open_session(client), host, outlet)
