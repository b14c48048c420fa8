"""The server's (secondary) side of one HDLC connection: frames in, events and octets out, no clock.

Theory of operation. The server speaks only when it is polled, and gives the turn back with the
final bit. A polled server whose application has just received a whole APDU keeps the turn until
`reply` or `decline`; asked again by RR meanwhile it says RR and the reply waits for the next poll.
What was sent and is not acknowledged by the frame that polls is sent again. SNRM begins anew from
any state. A frame that breaks the agreed limits is answered with FRMR and changes nothing; a
malformed or foreign one raises and changes nothing; a doubled one only has its poll answered.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

from headend.domain.errors import LocalProtocolError
from protocols.dlms.hdlc_events import Connected, Disconnected, Received, StaleFrame
from protocols.dlms.hdlc_flow import COMMAND_HEADER, RESPONSE_HEADER, Flow
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame
from protocols.dlms.hdlc_parameters import LinkParameters, decode_parameters

K = FrameKind
ServerEvent: TypeAlias = Connected | Received | Disconnected
_UNACCEPTABLE_LENGTH = 0x04  # reason bits of FRMR: information too long
_UNACCEPTABLE_NUMBER = 0x08  # N(R) that was not sent


class Turn(StrEnum):
    """Whose turn it is."""

    CLIENT = "client"
    SERVER = "server"  # polled, must say something now
    HELD = "held"  # polled by an APDU, the application is asked


class HdlcServer:
    """One connection of a server with a client. Write `take_output` after every call."""

    def __init__(
        self,
        server: HdlcAddress,
        client: HdlcAddress,
        *,
        limits: LinkParameters = LinkParameters(),  # noqa: B008  (frozen)
        sends_reject: bool = False,
    ) -> None:
        self.server = server
        self.client = client
        self.is_busy = False  # while it is, nothing is received and polls are answered with RNR
        self._limits = limits
        self._gap_frame = K.REJECT if sends_reject else K.RECEIVE_READY
        self._output: list[HdlcFrame] = []
        self._flow: Flow | None = None
        self._turn = Turn.CLIENT

    @property
    def is_connected(self) -> bool:
        return self._flow is not None

    @property
    def parameters(self) -> LinkParameters:
        """The agreed limits; the defaults before they were agreed."""
        return LinkParameters() if self._flow is None else self._flow.parameters

    def take_output(self) -> list[bytes]:
        """Return the frames to write since the last call."""
        frames, self._output = self._output, []
        return [frame.encode() for frame in frames]

    def reply(self, apdu: bytes) -> None:
        """Answer with an APDU: at once when the turn is ours, else when polled again."""
        self._connected().submit(apdu)
        if self._turn is Turn.HELD:
            self._respond()

    def decline(self) -> None:
        """Say nothing to the APDU received last; only the turn is given back."""
        self._connected()
        if self._turn is Turn.HELD:
            self._respond()

    def notify(self, apdu: bytes) -> None:
        """Send an APDU in a UI frame, unasked; it must fit one frame."""
        limit = self._connected().parameters.transmit_information
        if len(apdu) + len(RESPONSE_HEADER) > limit:
            raise LocalProtocolError(f"a UI frame carries no APDU of {len(apdu)} octets")
        self._write(K.UNNUMBERED, information=RESPONSE_HEADER + apdu, final=False)

    def time_out(self) -> list[ServerEvent]:
        """Say that the client was silent for the inactivity time-out: the connection ends."""
        if self._flow is None:
            return []
        self._flow = None
        return [Disconnected()]

    def receive(self, frame: HdlcFrame) -> list[ServerEvent]:
        """Take a frame of this connection; raises `StaleFrame` or `MalformedData`."""
        if frame.source != self.client or frame.destination != self.server:
            raise StaleFrame(f"a frame from {frame.source} to {frame.destination}")
        if frame.kind is K.SET_NORMAL_MODE:
            return self._connect(frame)
        flow = self._flow
        if flow is None:
            if frame.final:
                self._write(K.DISCONNECTED)
            return []
        if frame.kind is K.DISCONNECT:
            self._flow = None
            self._write(K.ACKNOWLEDGE)
            return [Disconnected()]
        if frame.kind is K.INFORMATION:
            return self._receive_information(flow, frame)
        if frame.kind in (K.RECEIVE_READY, K.RECEIVE_NOT_READY, K.REJECT):
            if not flow.can_acknowledge(frame.receive_number):
                self._reject(frame, _UNACCEPTABLE_NUMBER)
                return []
            flow.acknowledge(frame.receive_number)
            if frame.final:
                self._turn = Turn.SERVER
                self._respond()
            return []
        raise StaleFrame(f"{frame.kind} came from a client")

    def _connect(self, frame: HdlcFrame) -> list[ServerEvent]:
        agreed = self._limits.meet(decode_parameters(frame.information))
        self._flow = Flow(agreed, header=RESPONSE_HEADER, peer_header=COMMAND_HEADER)
        self._turn = Turn.CLIENT
        self._write(K.ACKNOWLEDGE, information=agreed.encode())
        return [Connected(agreed)]

    def _receive_information(self, flow: Flow, frame: HdlcFrame) -> list[ServerEvent]:
        if len(frame.information) > flow.parameters.receive_information:
            self._reject(frame, _UNACCEPTABLE_LENGTH)
            return []
        if not flow.can_acknowledge(frame.receive_number):
            self._reject(frame, _UNACCEPTABLE_NUMBER)
            return []
        if self.is_busy:
            flow.acknowledge(frame.receive_number)
            if frame.final:
                self._turn = Turn.SERVER
                self._respond()
            return []
        try:
            flow.check(frame)
        except StaleFrame:
            self._answer_double(flow, frame)
            return []
        apdu = flow.take(frame)
        if frame.final:
            self._turn = Turn.SERVER if apdu is None else Turn.HELD
            if apdu is None:
                self._respond()
        return [] if apdu is None else [Received(apdu)]

    def _answer_double(self, flow: Flow, frame: HdlcFrame) -> None:
        """Answer the poll of a doubled frame, unless the answer to its original is in the making.

        A client that repeats a request whose answer it missed gets that answer again.
        """
        if not frame.final or self._turn is Turn.HELD:
            return
        flow.acknowledge(frame.receive_number)
        self._turn = Turn.SERVER
        self._respond()

    def _respond(self) -> None:
        """Use the turn and give it back."""
        flow = self._connected()
        self._turn = Turn.CLIENT
        segments = flow.burst()
        for segment in segments:
            self._write(
                K.INFORMATION,
                final=segment is segments[-1],
                send_number=segment.number,
                information=segment.information,
                segmented=segment.more,
            )
        if not segments:
            gap = self._gap_frame if flow.gap else K.RECEIVE_READY
            self._write(K.RECEIVE_NOT_READY if self.is_busy else gap)

    def _reject(self, frame: HdlcFrame, reason: int) -> None:
        flow = self._connected()
        numbers = flow.expected << 5 | frame.receive_number << 1
        self._write(K.FRAME_REJECT, information=bytes((frame.control, numbers, reason)))

    def _write(
        self,
        kind: FrameKind,
        *,
        final: bool = True,
        send_number: int = 0,
        information: bytes = b"",
        segmented: bool = False,
    ) -> None:
        expected = 0 if self._flow is None else self._flow.expected
        frame = HdlcFrame(
            kind, self.client, self.server, final=final, send_number=send_number,
            receive_number=expected, information=information, segmented=segmented,
        )  # fmt: skip
        self._output.append(frame)

    def _connected(self) -> Flow:
        if self._flow is None:
            raise LocalProtocolError("no client is connected")
        return self._flow
