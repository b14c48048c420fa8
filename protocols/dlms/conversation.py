"""One association carried over a link: exchanges with time-outs, and how it begins and ends.

An exchange is one APDU out and the event of its answer; what does not answer it (late, doubled,
foreign) is dropped and waited past. Nothing here decides what to ask.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from headend.domain.errors import (
    AuthenticationFailed,
    HeadEndError,
    LocalProtocolError,
    MeterBusy,
    MeterMisbehaved,
    MeterUnreachable,
)
from headend.ports import Turn
from protocols.dlms.association import ClientAssociation, State
from protocols.dlms.deadline import Deadline
from protocols.dlms.events import (
    Answer,
    Associated,
    Challenged,
    Continue,
    Event,
    Rejected,
    StaleAnswer,
)
from protocols.dlms.link import NothingLeft, Wire
from protocols.dlms.requests import Request
from protocols.dlms.security import CounterReplayed, SecurityFault

MAX_REPEATS = 3  # of blocks in one exchange


class NoAnswer(MeterUnreachable):
    """The request left and no answer came; `MeterUnreachable` itself says that nothing left."""


class BusyInstead(NoAnswer, MeterBusy):
    """The request left at least in part, and the meter says only that it is not ready."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait for a connection, an answer, the answer to a release or a probe [s]."""

    connect_s: float = 5.0
    answer_s: float = 5.0
    release_s: float = 1.0
    probe_s: float = 2.0


class Conversation:
    """One client with one meter; register it with `start`, and `stop` it whatever happened."""

    def __init__(
        self,
        wire: Wire,
        association: ClientAssociation,
        *,
        server: int,
        client: int,
        timeouts: Timeouts,
    ) -> None:
        self.association = association
        self.late = 0
        self.went_silent = False
        self._wire = wire
        self._server = server
        self._client = client
        self._timeouts = timeouts
        self._waiter: asyncio.Future[Event] | None = None
        self._deadline = Deadline(self._expire)
        self._timeout_s = timeouts.answer_s  # of the exchange under way
        self._repeats = 0  # of blocks that were lost, in the exchange under way

    @property
    def is_open(self) -> bool:
        return self._wire.is_open

    def start(self) -> None:
        """Begin to listen; raises `LocalProtocolError` when another conversation does."""
        self._wire.listen(self._server, self._client, self._deliver, self._lose)
        if (self._server, self._client) in self._wire.owing:
            self.association.expect_late_answers()

    def stop(self) -> None:
        """Stop listening and close the association."""
        self._wire.unlisten(self._server, self._client)
        self._deadline.stop()
        self.association.close()

    async def associate(self, turn: Turn) -> None:
        """Open the association and prove both sides.

        Raises `AuthenticationFailed` or `CounterRejected` (rejected, wrong keys), `MeterBusy`,
        `MeterUnreachable` (no answer), `MeterMisbehaved`.
        """
        try:
            async with turn():
                event = await self._exchange(self.association.open(), self._timeouts.answer_s)
            if isinstance(event, Challenged):
                async with turn():
                    event = await self._exchange(self.association.prove(), self._timeouts.answer_s)
        except CounterReplayed as fault:
            # Its tag was good, so the keys are shared: only its counter fell.
            raise MeterMisbehaved(
                f"meter {self._server} sent invocation counter {fault.received} after"
                f" {fault.highest}: a replay, or its counters were reset without a new key"
            ) from fault
        except SecurityFault as fault:
            # Before the meter is proven, a failed check means that the keys are not shared.
            raise AuthenticationFailed(
                f"meter {self._server}: {fault}", code="security-check-failed"
            ) from fault
        if isinstance(event, Rejected):
            raise event.error()
        if not isinstance(event, Associated):
            raise MeterMisbehaved(f"meter {self._server} answered the association unexpectedly")

    async def ask(self, request: Request) -> Answer:
        """Send one request and return its answer; the caller holds the turn.

        Raises `NoAnswer` or `MeterMisbehaved` when it was sent; `MeterUnreachable` and
        `LocalProtocolError` when nothing left.
        """
        apdu = self.association.request(request)
        try:
            event = await self._exchange(apdu, self._timeouts.answer_s)
        finally:
            if self.association.state is State.WAITING:
                self.association.abandon()
                self._wire.owing.add((self._server, self._client))
        if not isinstance(event, Answer):
            raise MeterMisbehaved(f"meter {self._server} answered unexpectedly")
        return event

    async def release(self, turn: Turn) -> None:
        """Release; silence, refusal and a closed connection are as good as an answer."""
        if not self._can_release:
            return
        if self.went_silent:
            self.release_unheard()
            return
        try:
            async with turn():
                await self._exchange(self.association.release(), self._timeouts.release_s)
        except HeadEndError:
            # Silence, or no turn: the meter forgets by itself, nothing of ours depends on it.
            self.release_unheard()

    def release_unheard(self) -> None:
        """Send the release without waiting, where there is no time or no meter to wait for."""
        if self._can_release:
            # A wire that lost the meter has nothing to tell it.
            with suppress(MeterUnreachable):
                self._wire.send(self._server, self._client, self.association.release())
            self.association.close()

    @property
    def _can_release(self) -> bool:
        held = (State.CHALLENGED, State.PROVING, State.READY, State.WAITING)
        return self._wire.is_open and self.association.state in held

    async def _exchange(self, apdu: bytes, timeout_s: float) -> Event:
        if self._waiter is not None:
            raise LocalProtocolError("an exchange is already under way")
        self._repeats = 0
        self._wire.send(self._server, self._client, apdu)
        waiter: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiter = waiter
        self._limit(timeout_s)
        try:
            return await waiter
        finally:
            self._deadline.lift()
            self._waiter = None

    def _limit(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._deadline.set(timeout_s)

    def _deliver(self, apdu: bytes) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.late += 1
            return
        try:
            event = self.association.receive(apdu)
        except StaleAnswer:
            self.late += 1
        except HeadEndError as fault:
            waiter.set_exception(fault)
        else:
            self.went_silent = False
            if isinstance(event, Continue):
                self._send_more(event.apdus)
            else:
                waiter.set_result(event)

    def _send_more(self, apdus: tuple[bytes, ...]) -> None:
        """Go on with an answer in blocks: each may take as long as a whole answer."""
        for apdu in apdus:
            try:
                self._wire.send(self._server, self._client, apdu)
            except HeadEndError as fault:
                self._lose(fault)
                return
        self._limit(self._timeouts.answer_s)

    def _expire(self) -> None:
        timeout_s = self._timeout_s
        more_s = self._wire.patience(self._server, self._client, timeout_s)
        if more_s > 0:
            self._deadline.set(more_s)
            return
        lost = self.association.repeat() if self._repeats < MAX_REPEATS else ()
        if lost:
            self._repeats += 1
            self._send_more(lost)
            return
        self.went_silent = True
        self._lose(self._wire.abandon(self._server, self._client, timeout_s))

    def _lose(self, fault: HeadEndError) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(_as_sent(fault))


def _as_sent(fault: HeadEndError) -> HeadEndError:
    """Say of a wire's fault that a request was under way, unless none of it left."""
    if isinstance(fault, NothingLeft) or not isinstance(fault, MeterUnreachable):
        return fault
    kind = BusyInstead if isinstance(fault, MeterBusy) else NoAnswer
    return kind(str(fault))
