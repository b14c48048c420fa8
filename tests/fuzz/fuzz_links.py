"""Fuzz target for HDLC connections: both roles take any frames, well formed as they are.

Octets choose frame after frame (kind, final, segmented, both numbers, information) and what the
side itself does in between, because a check sequence keeps octets from ever getting that far.
"""

from __future__ import annotations

from fuzz_codecs import Broken, check

from headend.domain.errors import LocalProtocolError, MeterMisbehaved
from protocols.dlms.hdlc_client import HdlcClient
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame
from protocols.dlms.hdlc_server import HdlcServer

CLIENT, SERVER = HdlcAddress(16), HdlcAddress(1, 17)
MAX_STEPS = 64
_KINDS = tuple(FrameKind)
_NUMBERED = (FrameKind.RECEIVE_READY, FrameKind.RECEIVE_NOT_READY, FrameKind.REJECT)
_OWN = len(_KINDS)  # from here on an octet is a step of ours, not a frame
_APDU = bytes(range(200))


def link(octets: bytes) -> None:
    """A refused frame changes nothing; what is taken never breaks the other side's rules."""
    client, server = HdlcClient(CLIENT, SERVER), HdlcServer(SERVER, CLIENT)
    client.connect()
    position = 0
    for _ in range(MAX_STEPS):
        if position >= len(octets):
            return
        choice = octets[position] % (_OWN + 5)
        if choice >= _OWN:
            position += 1
            _act(client, server, choice - _OWN)
        else:
            frame, position = _frame(octets, position, to_client=bool(octets[position] & 0x80))
            _feed(client if frame.destination == CLIENT else server, frame)
        check(len(client.take_output()) >= 0, "a client's output can be taken")
        for out in server.take_output():
            check(bool(out), "a server's output is octets")


def _feed(side: HdlcClient | HdlcServer, frame: HdlcFrame) -> None:
    try:
        side.receive(frame)
    except LocalProtocolError as fault:
        raise Broken(f"{frame.kind} made it break its own rules: {fault}") from fault
    except MeterMisbehaved:
        return


def _act(client: HdlcClient, server: HdlcServer, choice: int) -> None:
    """Do what a driver would do now; a move that is not allowed is declared."""
    acts = (
        lambda: client.send(_APDU),
        client.time_out,
        client.abandon,
        lambda: server.reply(_APDU),
        server.time_out,
    )
    try:
        acts[choice]()
    except LocalProtocolError:
        return


def _frame(octets: bytes, position: int, *, to_client: bool) -> tuple[HdlcFrame, int]:
    head = octets[position : position + 3].ljust(3, b"\0")
    kind = _KINDS[head[0] % (_OWN + 5)]
    size = head[2] % 48 if kind not in _NUMBERED else 0
    information = octets[position + 3 : position + 3 + size]
    if kind is FrameKind.INFORMATION and head[2] & 0x80:
        information = (b"\xe6\xe7\x00" if to_client else b"\xe6\xe6\x00") + information
    numbered = kind in (FrameKind.INFORMATION, *_NUMBERED)
    frame = HdlcFrame(
        kind,
        CLIENT if to_client else SERVER,
        SERVER if to_client else CLIENT,
        final=bool(head[1] & 1),
        send_number=head[1] >> 2 & 7 if kind is FrameKind.INFORMATION else 0,
        receive_number=head[1] >> 5 if numbered else 0,
        information=information,
        segmented=bool(head[1] & 2) and kind is FrameKind.INFORMATION,
    )
    return frame, position + 3 + len(information)
