"""Fuzz targets for octets to values: whatever comes, a value or a declared error, nothing else.

Each target takes any octets and raises for what must not be: an error that is not declared, a
decoder that disagrees with itself, state that moved.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

from headend.domain.errors import HeadEndError, LocalProtocolError, MeterMisbehaved
from protocols.dlms import acse, gateway, gbt, initiate, notification, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.decode import DecodeKeys, decode_capture
from protocols.dlms.decode_document import build_document
from protocols.dlms.errors import MalformedData
from protocols.dlms.hdlc_frame import decode_frame
from protocols.dlms.hdlc_splitter import HdlcSplitter
from protocols.dlms.profile_buffer import decode_buffer, decode_buffers
from protocols.dlms.profile_layout import MAX_COLUMNS
from protocols.dlms.push_body import decode_body
from protocols.dlms.push_stream import PushStream
from protocols.dlms.services.trace import TraceKeys, Tracer
from protocols.dlms.wrapper import WrapperSplitter

VECTORS = Path(__file__).parents[1] / "vectors" / "dlms_push"
KEYS = DecodeKeys(
    bytes.fromhex((VECTORS / "hdlc_kamstrup_omnipower.key").read_text()),
    bytes.fromhex((VECTORS / "hdlc_kamstrup_omnipower.gak").read_text()),
)


class Broken(Exception):
    """What a target promised does not hold."""


def check(holds: bool, promise: str) -> None:
    """Raise `Broken` unless the promise holds."""
    if not holds:
        raise Broken(promise)


def declared(decode: Callable[[], object]) -> object:
    """Return what decodes, None for the declared fault of octets that do not."""
    try:
        return decode()
    except LocalProtocolError:
        raise  # a defect of ours, whatever the octets are
    except MeterMisbehaved:
        return None


def parts(octets: bytes) -> tuple[bytes, bytes]:
    """Cut a stream in two, at a place that its first octet chooses."""
    if not octets:
        return b"", b""
    cut = octets[0] % (len(octets) or 1)
    return octets[1 : 1 + cut], octets[1 + cut :]


def wrapper(octets: bytes) -> None:
    """WRAPPER frames are the same however the stream was cut; lost is lost for good."""
    first, second = parts(octets)
    whole, cut = WrapperSplitter(), WrapperSplitter()
    lost = False
    frames: list[object] = []
    try:
        frames += whole.feed(first + second)
    except MalformedData:
        lost = True
    pieces: list[object] = []
    try:
        pieces += cut.feed(first)
        pieces += cut.feed(second)
    except MalformedData:
        check(lost, "a stream is lost or not, however it was cut")
    else:
        check(not lost, "a stream is lost or not, however it was cut")
        check(frames == pieces, "the frames are those of the stream, however it was cut")
        check(whole.pending == cut.pending, "as much is pending, however it was cut")
        return
    for splitter in (whole, cut):
        check(declared(lambda each=splitter: each.feed(b"")) is None, "lost is lost for good")


def hdlc(octets: bytes) -> None:
    """HDLC never raises for a stream, and finds the same frames however it was cut."""
    first, second = parts(octets)
    whole, cut = HdlcSplitter(), HdlcSplitter()
    frames = whole.feed(first + second)
    check(frames == cut.feed(first) + cut.feed(second), "the same frames, however it was cut")
    declared(lambda: decode_frame(octets))
    for frame in frames:
        check(decode_frame(frame.encode()[1:-1]) == frame, "encoding inverts decoding")


_APDUS: tuple[Callable[[bytes], object], ...] = (
    rq.decode_request,
    rs.decode_response,
    acse.decode_aarq,
    acse.decode_aare,
    acse.decode_rlrq,
    acse.decode_rlre,
    initiate.decode_initiate_request,
    initiate.decode_initiate_response,
    notification.decode_notification,
    gbt.decode_block,
    decode_body,
    rs.decode_outcome,
    lambda octets: gateway.split_gateway(octets, gateway.GATEWAY_REQUEST),
    lambda octets: gateway.split_gateway(octets, gateway.GATEWAY_RESPONSE),
)


def apdu(octets: bytes) -> None:
    """Every APDU decoder; what a request or response says is said again when encoded."""
    for decode in _APDUS:
        declared(lambda each=decode: each(octets))
    for decode in (rq.decode_request, rs.decode_response):
        found = declared(lambda each=decode: each(octets))
        if found is not None:
            again = found.encode()
            check(decode(again).encode() == again, "decoding inverts encoding")


def data(octets: bytes) -> None:
    """A-XDR data; what was decoded encodes to something that decodes to it."""
    value = declared(lambda: xdr.decode(octets))
    if octets and (value is not None or octets == b"\x00"):
        again = xdr.encode(value)
        check(xdr.encode(xdr.decode(again)) == again, "decoding inverts encoding")


def profile(octets: bytes) -> None:
    """Profile buffers: the columns say what the general decoder says, in two buffers as in one."""
    rows = declared(lambda: xdr.decode(octets))
    table = declared(lambda: decode_buffer(octets))
    if not isinstance(rows, d.Array):
        return  # a compact array has no rows of its own
    if table is None:
        check(not _are_rows(rows), "rows of one width are decoded")
        return
    check(table.rows == len(rows), "a row for every structure")
    for number, column in enumerate(table.columns):
        for row, value in enumerate(rows):
            cell = value[number]
            check(bool(column.null[row]) == (cell is None), "null where the row has null-data")
            if column.deviation_min is None:
                _check_cell(column.values[row], cell)
    check(decode_buffers((octets, octets)).rows == 2 * table.rows, "two buffers, twice the rows")


def _are_rows(rows: d.Array) -> bool:
    """Whether these are structures of one width that columns can hold."""
    if not all(isinstance(row, d.Structure) for row in rows):
        return False
    too_large = any(isinstance(cell, int) and cell >= 2**63 for row in rows for cell in row)
    widths = {len(row) for row in rows}
    return not too_large and len(widths) == 1 and max(widths) in range(1, MAX_COLUMNS + 1)


def _check_cell(found: object, cell: object) -> None:
    if isinstance(cell, int | float):
        same = float(found) == float(cell) or math.isnan(float(cell))
        check(same, "the number of the row")
    elif isinstance(cell, str | d.BitString):
        check(found == cell, "the text or bits of the row")


def capture(octets: bytes) -> None:
    """Captured frames in octets or text; with and without keys; the document is JSON."""
    for keys in (None, KEYS):
        try:
            document = build_document(decode_capture(octets, keys))
        except LocalProtocolError:
            raise
        except HeadEndError:
            continue
        json.dumps(document, allow_nan=False)


def push(octets: bytes) -> None:
    """What is pushed to the listener: declared faults, bounded memory."""
    first, second = parts(octets)
    stream = PushStream(max_apdu=256)
    for piece in (first, second):
        if declared(lambda each=piece: stream.feed(each)) is None:
            return
    check(stream.pending <= 1 << 20, "no more is held than a connection may hold")
    PushStream().feed_datagram(octets)


def trace(octets: bytes) -> None:
    """The trace of a conversation never raises, and never shows a key."""
    first, second = parts(octets)
    lines: list[str] = []
    keys = TraceKeys(KEYS.encryption_key, KEYS.authentication_key, b"a password")
    tracer = Tracer(keys, lines.append)
    tracer.tap(True, first)
    tracer.tap(False, second)
    tracer.tap(True, second)
    secret = KEYS.encryption_key.hex()
    check(not any(secret in line.lower() for line in lines), "no key is shown")
