"""All fuzz targets by name, genuine octets to begin with, and the corpus kept in the repository.

A corpus is a text file per target, one input in hex a line: small enough to read and to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import fuzz_codecs as codecs
import fuzz_links as links
import fuzz_sessions as sessions

from protocols.dlms import client, gbt, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms.hex_text import octets_of_text
from protocols.dlms.wrapper import encode_frame

CORPUS = Path(__file__).parent / "corpus"
TARGETS: dict[str, Callable[[bytes], None]] = {
    "wrapper": codecs.wrapper,
    "hdlc": codecs.hdlc,
    "hdlc_link": links.link,
    "apdu": codecs.apdu,
    "data": codecs.data,
    "profile": codecs.profile,
    "capture": codecs.capture,
    "push": codecs.push,
    "trace": codecs.trace,
    "meter": sessions.meter,
    "association": sessions.association,
    "flows": sessions.flows,
    "blocks": sessions.blocks,
}
CLOCK = bytes.fromhex("07EA030107000F00FFFE2000")


def read_corpus(name: str) -> list[bytes]:
    """Return the inputs kept for a target."""
    path = CORPUS / f"{name}.hex"
    if not path.exists():
        return []
    return [bytes.fromhex(line) for line in path.read_text(encoding="ascii").splitlines()]


def write_corpus(name: str, inputs: Iterable[bytes]) -> None:
    """Keep these inputs, the shortest first."""
    lines = sorted({each.hex() for each in inputs}, key=lambda text: (len(text), text))
    text = "".join(f"{line}\n" for line in lines)
    (CORPUS / f"{name}.hex").write_text(text, encoding="ascii")


def make_seeds(name: str) -> list[bytes]:
    """Return genuine octets for a target: recorded captures, and a conversation of our own."""
    log = _conversation(secured=False) + _conversation(secured=True)
    sized = [bytes((len(each) & 0xFF,)) + each for each in log if len(each) < 256]
    captures = [octets_of_text(path.read_text()) for path in sorted(codecs.VECTORS.glob("*.log"))]
    frames = [encode_frame(1, 1, each) for each in log]
    seeds: dict[str, list[bytes]] = {
        "wrapper": [b"\x07" + each for each in frames],
        "hdlc": [b"\x10" + each for each in captures],
        "hdlc_link": [bytes((0x86, 1, 0, 10, 0x80, 0x21, 0x93)), bytes((4, 1, 0, 0, 1, 0x88)) * 3],
        "apdu": [*log, *gbt.split_unconfirmed(log[0], block_size=32)],
        "data": [sessions.LONG_VALUE, _profile()[:200], *(xdr.encode(each) for each in _VALUES)],
        "profile": [_profile(), _profile(null=True), xdr.encode(d.Array())],
        "capture": [*captures, *frames, captures[0].hex().encode()],
        "push": [b"\x20" + each for each in (*captures, *frames)],
        "trace": [b"\x30" + each for each in (*captures, *frames)],
        "meter": [bytes((m,)) + b"".join(sized[::2][:3]) for m in range(8)],
        "association": [bytes((m,)) + each for m in range(16) for each in log[1::2]],
        "flows": [bytes((m,)) + b"".join(sized[1::2]) for m in range(6)],
        "blocks": [
            b"".join(bytes((len(b),)) + b for b in gbt.split_unconfirmed(log[0], block_size=24))
        ],
    }
    return seeds[name]


_VALUES: tuple[d.Data, ...] = (
    None, True, d.Integer(-1), d.Long64Unsigned(2**63), d.Enum(4), d.Float64(1.5),
    d.Structure((b"octets", d.BitString.from_bits("10110"), d.Array((d.Unsigned(1), None)))),
    d.Utf8String("utf-8"), d.VisibleString("text"),
)  # fmt: skip


def _profile(*, null: bool = False) -> bytes:
    rows = (
        d.Structure((None if null and n else CLOCK, d.Unsigned(0), d.DoubleLongUnsigned(n)))
        for n in range(3)
    )
    return xdr.encode(d.Array(rows))


def _conversation(*, secured: bool) -> list[bytes]:
    """Return requests and answers of one whole session, in turn.

    Its key is not that of the targets, in which octets without the key must prove nothing.
    """
    loopback = sessions.make_loopback(secured=secured, key=bytes(16))
    loopback.associate()
    draw = loopback.association.draw_invoke
    long_value = rq.Attribute(1, sessions.REGISTER.obis, 2)
    loopback.run(client.get(sessions.REGISTER, draw))
    loopback.run(client.get(long_value, draw))
    loopback.run(client.get_list([sessions.REGISTER, sessions.REGISTER], draw))
    loopback.run(client.set_attribute(long_value, sessions.VALUE, draw))
    loopback.run(client.action(sessions.SWITCH, sessions.VALUE, draw))
    loopback.exchange(loopback.association.release())
    return loopback.log
