"""The client's (primary) side of one HDLC connection: frames in, events and octets out, no clock.

Theory of operation (IEC 62056-46, normal response mode). ``disconnected`` -> SNRM -> ``connecting``
-> UA -> ``connected``. The client owns the turn; a frame with the poll bit hands it to the server,
whose frame with the final bit hands it back (``polled``). What was sent and is not acknowledged
when the turn comes back is sent again. When nothing comes, the driver calls `time_out` and the
client polls with RR, which never makes the meter execute anything twice; so it does too while the
meter still works at its answer. Silence on `Patience.tries` polls in a row loses the connection;
answers without progress (RR, or RNR from a busy meter) on `Patience.polls` of them end the wait.
Between two steps forward a frame of the server makes the client repeat itself once, so that doubled
frames never breed.
Moves that `_MOVES` does not list raise `LocalProtocolError`; frames that are stale, foreign or
malformed raise too; both change nothing. A lost connection must be set up anew, because a request
that it holds could otherwise still be sent after its sender had given it up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headend.domain.errors import LocalProtocolError
from protocols.dlms.hdlc_events import (
    Connected,
    Disconnected,
    LinkEvent,
    Loss,
    Lost,
    Received,
    StaleFrame,
)
from protocols.dlms.hdlc_flow import COMMAND_HEADER, RESPONSE_HEADER, Flow
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame
from protocols.dlms.hdlc_parameters import LinkParameters, decode_parameters

K = FrameKind


class LinkState(StrEnum):
    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTING = "disconnecting"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to ask in vain: in silence, and with answers that bring nothing new."""

    tries: int = 3
    polls: int = 16


class _Move(StrEnum):
    CONNECT = "connect"
    SEND = "send"
    DISCONNECT = "disconnect"
    ABANDON = "abandon an answer"


_MOVES: dict[_Move, frozenset[LinkState]] = {
    _Move.CONNECT: frozenset((LinkState.DISCONNECTED, LinkState.LOST)),
    _Move.SEND: frozenset((LinkState.CONNECTED,)),
    _Move.DISCONNECT: frozenset((LinkState.CONNECTING, LinkState.CONNECTED, LinkState.LOST)),
    _Move.ABANDON: frozenset((LinkState.CONNECTING, LinkState.CONNECTED)),
}


class HdlcClient:
    """One connection of a client with a server. Write `take_output` after every call."""

    def __init__(
        self,
        client: HdlcAddress,
        server: HdlcAddress,
        *,
        limits: LinkParameters = LinkParameters(),  # noqa: B008  (frozen)
        patience: Patience = Patience(),
        sends_reject: bool = False,
    ) -> None:
        self.client = client
        self.server = server
        self.steps = 0  # forward: connected, a segment of ours acknowledged, one of theirs taken
        self._limits = limits
        self._patience = patience
        # REJ is no part of the standard's own repertoire; RR asks for the same.
        self._gap_frame = K.REJECT if sends_reject else K.RECEIVE_READY
        self._output: list[HdlcFrame] = []
        self._state = LinkState.DISCONNECTED
        self._reset(LinkParameters())

    @property
    def state(self) -> LinkState:
        return self._state

    @property
    def parameters(self) -> LinkParameters:
        """The agreed limits; the defaults before they were agreed."""
        return self._flow.parameters

    @property
    def is_awaiting(self) -> bool:
        """Whether the server must say something: the driver runs its timer while this holds."""
        if self._state in (LinkState.CONNECTING, LinkState.DISCONNECTING):
            return True
        due = self._polled or self._answers_due > 0 or self._flow.unfinished
        return self._state is LinkState.CONNECTED and due

    @property
    def is_peer_busy(self) -> bool:
        """Whether the server said last that it is not ready to receive."""
        return self._peer_busy

    def take_output(self) -> bytes:
        """Return the octets to write since the last call."""
        frames, self._output = self._output, []
        return b"".join(frame.encode() for frame in frames)

    def connect(self) -> None:
        """Ask for a connection."""
        self._check(_Move.CONNECT)
        self._reset(LinkParameters())
        self._state = LinkState.CONNECTING
        self._write(K.SET_NORMAL_MODE, information=self._limits.encode())

    def send(self, apdu: bytes, *, answered: bool = True) -> None:
        """Send an APDU as soon as it is our turn; ``answered`` when the server will answer it."""
        self._check(_Move.SEND)
        self._flow.submit(apdu)
        self._answers_due += answered
        self._tries = self._polls = 0
        if not self._polled:
            self._go_on()

    def disconnect(self) -> None:
        """End the connection; what was not sent or answered is given up."""
        self._check(_Move.DISCONNECT)
        self._reset(LinkParameters())
        self._state = LinkState.DISCONNECTING
        self._write(K.DISCONNECT)

    def abandon(self) -> None:
        """Give up the answer; the connection is lost unless the server has all we sent."""
        self._check(_Move.ABANDON)
        if self._state is LinkState.CONNECTING:
            self._state = LinkState.DISCONNECTED
        elif self._flow.unfinished or self._flow.is_receiving:
            self._state = LinkState.LOST
        self._polled, self._answers_due = False, 0

    def time_out(self) -> list[LinkEvent]:
        """Say that nothing came for the time that an answer may take."""
        if not self.is_awaiting:
            raise LocalProtocolError(f"nothing to wait for while {self._state}")
        self._tries += 1
        given_up = self._tries >= self._patience.tries
        if self._state is LinkState.CONNECTING:
            if given_up:
                return self._end(LinkState.DISCONNECTED, Lost(Loss.SILENCE))
            self._write(K.SET_NORMAL_MODE, information=self._limits.encode())
        elif self._state is LinkState.DISCONNECTING:
            if given_up:
                return self._end(LinkState.DISCONNECTED, Disconnected())
            self._write(K.DISCONNECT)
        elif given_up:
            return self._end(LinkState.LOST, Lost(Loss.SILENCE))
        elif self._polls >= self._patience.polls:
            return self._give_up_answer()
        else:
            self._repeated = False
            self._poll()
        return []

    def receive(self, frame: HdlcFrame) -> list[LinkEvent]:
        """Take a frame of this connection.

        Raises `StaleFrame` or `MalformedData` for one that does not fit; nothing has changed then.
        """
        if frame.source != self.server or frame.destination != self.client:
            raise StaleFrame(f"a frame from {frame.source} to {frame.destination}")
        if frame.kind is K.UNNUMBERED:
            return self._receive_unnumbered(frame)
        if not self.is_awaiting:
            raise StaleFrame(f"{frame.kind} came while nothing was asked")
        if self._state is LinkState.CONNECTING:
            return self._receive_connecting(frame)
        if self._state is LinkState.DISCONNECTING:
            if frame.kind not in (K.ACKNOWLEDGE, K.DISCONNECTED):
                raise StaleFrame(f"{frame.kind} came while disconnecting")
            return self._end(LinkState.DISCONNECTED, Disconnected())
        if frame.kind in (K.DISCONNECTED, K.FRAME_REJECT):
            return self._end(LinkState.LOST, Lost(Loss.REJECTED))
        if frame.kind is K.INFORMATION:
            return self._receive_information(frame)
        if frame.kind in (K.RECEIVE_READY, K.RECEIVE_NOT_READY, K.REJECT):
            return self._receive_supervisory(frame)
        raise StaleFrame(f"{frame.kind} came while connected")

    def _receive_connecting(self, frame: HdlcFrame) -> list[LinkEvent]:
        if frame.kind is K.ACKNOWLEDGE:
            agreed = self._limits.meet(decode_parameters(frame.information))
            self._reset(agreed)
            self._state = LinkState.CONNECTED
            self.steps += 1
            return [Connected(agreed)]
        if frame.kind in (K.DISCONNECTED, K.FRAME_REJECT):
            return self._end(LinkState.DISCONNECTED, Lost(Loss.REFUSED))
        raise StaleFrame(f"{frame.kind} came while connecting")

    def _receive_unnumbered(self, frame: HdlcFrame) -> list[LinkEvent]:
        if not frame.information.startswith(RESPONSE_HEADER) or frame.segmented:
            raise StaleFrame("a UI frame without a whole APDU")
        return [Received(frame.information[len(RESPONSE_HEADER) :], unnumbered=True)]

    def _receive_information(self, frame: HdlcFrame) -> list[LinkEvent]:
        self._flow.check(frame)
        before = self._flow.expected
        apdu = self._flow.take(frame)
        self._peer_busy = False
        self._tries = 0
        if self._flow.expected != before:
            self._step()
        elif frame.final:
            self._polls += 1
        if apdu is not None:
            self._answers_due = max(0, self._answers_due - 1)
        if frame.final:
            self._take_turn()
        return [] if apdu is None else [Received(apdu)]

    def _receive_supervisory(self, frame: HdlcFrame) -> list[LinkEvent]:
        if not self._polled:
            raise StaleFrame(f"{frame.kind} came while it was not asked for")
        if self._flow.acknowledge(frame.receive_number):
            self._step()
        else:
            self._polls += 1
        self._tries = 0
        self._peer_busy = frame.kind is K.RECEIVE_NOT_READY
        if self._polls > self._patience.polls:
            return self._give_up_answer()
        if frame.final:
            self._take_turn()
        return []

    def _step(self) -> None:
        self.steps += 1
        self._polls = 0
        self._repeated = False

    def _take_turn(self) -> None:
        """Have the turn back, unless the frame that gives it may be an earlier one's double."""
        repeats = self._flow.unacknowledged or self._flow.gap
        if repeats and self._repeated and not self._peer_busy:
            return
        self._repeated = repeats
        self._polled = False
        self._go_on()

    def _go_on(self) -> None:
        """Use the turn: send what is due, ask for the rest of an answer, else keep it."""
        if self._peer_busy:
            return  # asked again at the next time-out
        if self._flow.unfinished:
            segments = self._flow.burst()
            for segment in segments:
                self._output.append(
                    self._frame(
                        K.INFORMATION,
                        final=segment is segments[-1],
                        send_number=segment.number,
                        information=segment.information,
                        segmented=segment.more,
                    )
                )
            self._polled = True
        elif self._flow.is_receiving:
            self._poll()

    def _poll(self) -> None:
        self._write(self._gap_frame if self._flow.gap else K.RECEIVE_READY)
        self._polled = True

    def _give_up_answer(self) -> list[LinkEvent]:
        if self._peer_busy:
            return self._end(LinkState.LOST, Lost(Loss.BUSY))
        if self._flow.unfinished or self._flow.is_receiving:
            return self._end(LinkState.LOST, Lost(Loss.SILENCE))
        self._answers_due, self._polled, self._tries, self._polls = 0, False, 0, 0
        return [Lost(Loss.NO_ANSWER)]

    def _end(self, state: LinkState, event: LinkEvent) -> list[LinkEvent]:
        self._reset(LinkParameters())
        self._state = state
        return [event]

    def _reset(self, parameters: LinkParameters) -> None:
        self._flow = Flow(parameters, header=COMMAND_HEADER, peer_header=RESPONSE_HEADER)
        self._polled = False  # the turn is the server's
        self._peer_busy = False
        self._repeated = False  # since the last step forward
        self._answers_due = 0
        self._tries = 0  # time-outs in a row
        self._polls = 0  # answers without progress in a row

    def _write(self, kind: FrameKind, *, information: bytes = b"") -> None:
        self._output.append(self._frame(kind, final=True, information=information))

    def _frame(
        self,
        kind: FrameKind,
        *,
        final: bool,
        send_number: int = 0,
        information: bytes = b"",
        segmented: bool = False,
    ) -> HdlcFrame:
        return HdlcFrame(
            kind, self.server, self.client, final=final, send_number=send_number,
            receive_number=self._flow.expected, information=information, segmented=segmented,
        )  # fmt: skip

    def _check(self, move: _Move) -> None:
        if self._state not in _MOVES[move]:
            raise LocalProtocolError(f"cannot {move} while {self._state}")
