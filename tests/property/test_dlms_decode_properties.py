"""Any bytes, cut and mutated anyhow, decode or give a declared error."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from headend.domain.errors import HeadEndError, LocalProtocolError
from protocols.dlms.decode import DecodeKeys, decode_capture
from protocols.dlms.decode_document import build_document
from protocols.dlms.hex_text import octets_of_text
from protocols.dlms.notification import NOTIFICATION_TAGS, decode_notification
from protocols.dlms.push_body import decode_body

FOLDER = Path(__file__).parents[1] / "vectors" / "dlms_push"
CAPTURES = [octets_of_text(path.read_text()) for path in sorted(FOLDER.glob("*.log"))]
KEYS = DecodeKeys(
    bytes.fromhex((FOLDER / "hdlc_kamstrup_omnipower.key").read_text()),
    bytes.fromhex((FOLDER / "hdlc_kamstrup_omnipower.gak").read_text()),
)


def _try(octets: bytes, keys: DecodeKeys | None) -> None:
    try:
        document = build_document(decode_capture(octets, keys))
    except LocalProtocolError:
        raise  # a defect of ours, whatever the octets
    except HeadEndError:
        return
    json.dumps(document, allow_nan=False)
    assert set(document) >= {"obis", "time", "frames", "warnings"}


@given(octets=st.binary(max_size=80), keyed=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_octets(octets: bytes, keyed: bool) -> None:
    _try(octets, KEYS if keyed else None)


@given(
    capture=st.sampled_from(CAPTURES),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=5),
    cut=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    keyed=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_mutated_and_cut_captures(
    capture: bytes,
    changes: list[tuple[float, int]],
    cut: tuple[float, float],
    keyed: bool,
) -> None:
    octets = bytearray(capture)
    for place, octet in changes:
        octets[int(place * (len(octets) - 1))] = octet
    start, end = sorted(int(part * len(octets)) for part in cut)
    for variant in (octets, octets[start:end], octets[:end]):
        _try(bytes(variant), KEYS if keyed else None)


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_body_and_any_notification(octets: bytes) -> None:
    for tag in NOTIFICATION_TAGS:
        try:
            decode_notification(bytes((tag,)) + octets)
        except LocalProtocolError:
            raise
        except HeadEndError:
            continue
    try:
        decode_body(octets)
    except LocalProtocolError:
        raise
    except HeadEndError:
        return


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    _try(text.encode("utf-8", errors="replace"), None)
