"""The numbered traffic of one HDLC connection, either role: segments out, segments in.

Theory of operation (IEC 62056-46 with ISO/IEC 13239, normal response mode; go-back-N, modulo 8). An
APDU behind its LLC header is cut into segments of the agreed size. A burst is up to a window of
segments from the first unacknowledged one; whoever has the turn again sends the next burst from
there, so that what was lost is sent again and nothing else. Only the segment with the expected
number is accepted, hence each APDU is delivered once and in order whatever was lost or doubled.
Every method either does all it says or raises and changes nothing.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from headend.domain.errors import LocalProtocolError
from protocols.dlms.errors import MalformedData
from protocols.dlms.hdlc_events import StaleFrame
from protocols.dlms.hdlc_frame import HdlcFrame
from protocols.dlms.hdlc_parameters import LinkParameters

MODULUS = 8
COMMAND_HEADER = b"\xe6\xe6\x00"  # LLC: client to server
RESPONSE_HEADER = b"\xe6\xe7\x00"  # LLC: server to client
_HEADER_SIZE = len(RESPONSE_HEADER)
MAX_APDU = 0x10000  # octets, LLC header left out


@dataclass(frozen=True, slots=True)
class Segment:
    """One I frame's content; ``more`` says that the APDU goes on."""

    number: int
    information: bytes
    more: bool


class Flow:
    """Sequence numbers, segments to send and the APDU that is being received."""

    def __init__(self, parameters: LinkParameters, *, header: bytes, peer_header: bytes) -> None:
        self.parameters = parameters
        self.gap = False  # a segment beyond the expected one has come
        self._header = header
        self._peer_header = peer_header
        self._segments: deque[tuple[bytes, bool]] = deque()  # from the first unacknowledged on
        self._first = 0  # number of the first unacknowledged
        self._outstanding = 0  # how many of them were sent
        self._expected = 0  # number of the next to receive
        self._received = bytearray()

    @property
    def expected(self) -> int:
        """The number of the segment that must come next; it acknowledges those before."""
        return self._expected

    @property
    def unfinished(self) -> bool:
        """Whether segments wait to be sent or acknowledged."""
        return bool(self._segments)

    @property
    def unacknowledged(self) -> bool:
        """Whether segments were sent and not acknowledged."""
        return self._outstanding > 0

    @property
    def is_receiving(self) -> bool:
        """Whether an APDU has begun to come, or a segment of it was missed."""
        return bool(self._received) or self.gap

    def submit(self, apdu: bytes) -> None:
        """Cut an APDU and queue it."""
        if not apdu or len(apdu) > MAX_APDU:
            raise LocalProtocolError(f"HDLC carries no APDU of {len(apdu)} octets")
        octets = self._header + apdu
        size = self.parameters.transmit_information
        last = (len(octets) - 1) // size * size
        self._segments.extend(
            (octets[start : start + size], start != last) for start in range(0, len(octets), size)
        )

    def burst(self) -> list[Segment]:
        """Return what to send in one turn: a window from the first unacknowledged segment on."""
        count = min(self.parameters.transmit_window, len(self._segments))
        self._outstanding = max(self._outstanding, count)
        return [
            Segment((self._first + index) % MODULUS, *self._segments[index])
            for index in range(count)
        ]

    def can_acknowledge(self, number: int) -> bool:
        """Tell whether a received N(R) lies among what was sent."""
        return (number - self._first) % MODULUS <= self._outstanding

    def acknowledge(self, number: int) -> bool:
        """Drop the segments before ``number``; tell whether there were any.

        Raises `StaleFrame` for a number that was not sent.
        """
        count = (number - self._first) % MODULUS
        if count > self._outstanding:
            raise StaleFrame(f"N(R) {number} acknowledges what was not sent")
        for _ in range(count):
            self._segments.popleft()
        self._outstanding -= count
        self._first = number
        return count > 0

    def check(self, frame: HdlcFrame) -> None:
        """Raise `StaleFrame` or `MalformedData` for an I frame that may not be taken."""
        if not self.can_acknowledge(frame.receive_number):
            raise StaleFrame(f"N(R) {frame.receive_number} acknowledges what was not sent")
        ahead = (frame.send_number - self._expected) % MODULUS
        if ahead >= self.parameters.receive_window:
            raise StaleFrame(f"segment {frame.send_number} came again")
        if ahead:
            return
        if not self._received and not frame.information.startswith(self._peer_header):
            raise MalformedData("an APDU over HDLC without its LLC header")
        if not frame.segmented and not self._received and len(frame.information) == _HEADER_SIZE:
            raise MalformedData("an empty APDU over HDLC")
        if len(self._received) + len(frame.information) > MAX_APDU + len(self._peer_header):
            raise MalformedData(f"an APDU of more than {MAX_APDU} octets")

    def take(self, frame: HdlcFrame) -> bytes | None:
        """Take a checked I frame's segment; return the APDU that it completes, if it does."""
        self.acknowledge(frame.receive_number)
        if frame.send_number != self._expected:
            self.gap = True
            return None
        self.gap = False
        self._expected = (self._expected + 1) % MODULUS
        self._received += frame.information
        if frame.segmented:
            return None
        apdu = bytes(self._received[len(self._peer_header) :])
        self._received.clear()
        return apdu
