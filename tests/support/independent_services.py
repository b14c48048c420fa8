"""What the independent meter is like, and how it serves GET, SET and ACTION."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from independent_octets import length, read_length

Value: TypeAlias = "bytes | int | Callable[[bytes], bytes | int]"
Method: TypeAlias = Callable[[bytes], "tuple[int, bytes | None]"]

GET, SET, ACTION, BLOCKS, LISTS, SELECTION = 0x10, 0x08, 0x01, 0x1000, 0x200, 0x04
CONFORMANCE = GET | SET | ACTION | BLOCKS | LISTS | SELECTION | 0xC00
GENERAL_PROTECTION = 0x400000


@dataclass
class Client:
    """What one client address must present: ``mechanism`` 0 to 6, and its secrets."""

    mechanism: int = 0
    password: bytes = b""
    ek: bytes = b""
    ak: bytes = b""
    control: int = 0x30
    ciphered: bool | None = None  # None: with keys
    received: int = -1  # highest counter

    @property
    def is_ciphered(self) -> bool:
        return bool(self.ek) if self.ciphered is None else self.ciphered


@dataclass
class Ways:
    """How this meter differs from others."""

    max_pdu: int = 0xFFFF
    conformance: int = CONFORMANCE
    block_size: int | None = None  # octets of data in a GET block; None: as the PDU allows
    block_pattern: tuple[int, ...] = ()  # sizes in turn
    release: bytes | None = b"\x63\x03\x80\x01\x00"  # None: silence
    close_after_release: bool = False
    late_s: float = 0.0
    silent: bool = False
    title_always: bool = False
    aare_fields: Callable[[list[bytes]], list[bytes]] | None = None
    initiate: Callable[[bytes], bytes] | None = None  # changes the plain InitiateResponse
    answer_plain: bool = False  # a plain InitiateResponse to a ciphered AARQ
    first_counter: int = 0
    counter_error: str = "value"  # "value", "bare", "silence", "close", "aare"
    key_error: str = "aare"  # "aare", "exception", "silence", "close"
    unknown_client: str = "aare"  # "aare", "silence", "close"
    busy: str = ""  # "transient", "exception", "close"
    list_error: bytes | None = None  # what a GET with-list is answered with
    server: int = 1
    unknown_server: str = "silence"  # or "close"
    general: bool = False  # answers general-glo
    same_counter_tag: bool = False  # the HLS tag uses the counter of its carrier
    doubled: bool = False  # sends each answer twice
    split: bool = False  # sends octet by octet
    invoke: int | None = None  # what every answer has instead of the request's invoke-id
    pushes: bytes = b""  # an APDU that comes before each answer
    idle_s: float = 30.0


@dataclass
class Session:
    client: int
    known: Client
    title: bytes = b""
    challenge: bytes = b""
    own_challenge: bytes = b""
    dedicated: bytes = b""
    is_open: bool = False
    is_general: bool = False
    is_dedicated: bool = False
    limit: int = 0xFFFF
    pending: bytes = b""
    block: int = 0
    list_block: bool = False
    cuts: list[int] = field(default_factory=list)


class Services:
    """Serves ``objects`` {(class, obis, attribute): octets, result or function of selection}."""

    objects: dict[tuple[int, str, int], Value]
    methods: dict[tuple[int, str, int], Method]
    ways: Ways

    def _get(self, session: Session, apdu: bytes) -> bytes | None:
        kind, invoke = apdu[1], apdu[2:3]
        ways = self.ways
        if kind == 2:
            if int.from_bytes(apdu[3:7], "big") != session.block or not session.pending:
                return b"\xc4\x02" + invoke + b"\x01" + apdu[3:7] + b"\x01\x13"
            return self._next_block(session, invoke)
        if kind == 1:
            found = self._look_up(apdu[3:])
            if isinstance(found, int):
                return b"\xc4\x01" + invoke + b"\x01" + bytes((found,))
            answer = b"\xc4\x01" + invoke + b"\x00" + found
            body = found
        else:
            if ways.list_error is not None:
                return ways.list_error.replace(b"I", invoke)
            count, at = read_length(apdu, 3)
            body = length(count)
            for _ in range(count):
                if apdu[at + 9]:
                    return b"\xd8\x02\x02"
                each = self._look_up(apdu[at : at + 10])
                body += bytes((1, each)) if isinstance(each, int) else b"\x00" + each
                at += 10
            answer = b"\xc4\x03" + invoke + body
        limit = min(session.limit, 0xFFFF) - (30 if session.known.is_ciphered else 0)
        if ways.block_size is None and not ways.block_pattern and len(answer) <= limit:
            return answer
        size = ways.block_size or limit - 12
        session.cuts = list(ways.block_pattern) or [size]
        session.pending, session.block = body, 0
        return self._next_block(session, invoke)

    def _next_block(self, session: Session, invoke: bytes) -> bytes:
        size = session.cuts[session.block % len(session.cuts)]
        session.block += 1
        part, session.pending = session.pending[:size], session.pending[size:]
        head = b"\xc4\x02" + invoke + bytes((not session.pending,))
        return head + session.block.to_bytes(4, "big") + b"\x00" + length(len(part)) + part

    def _look_up(self, asked: bytes) -> bytes | int:
        class_id = int.from_bytes(asked[:2], "big")
        obis = ".".join(map(str, asked[2:8]))
        attribute, selection = asked[8], asked[10:] if asked[9:10] == b"\x01" else b""
        found = self.objects.get((class_id, obis, attribute))
        if found is None:
            present = any(key[1] == obis for key in self.objects)
            same = any(key[:2] == (class_id, obis) for key in self.objects)
            return 3 if same else 9 if present else 4
        return found(selection) if callable(found) else found

    def _set(self, apdu: bytes) -> bytes:
        class_id, obis = int.from_bytes(apdu[3:5], "big"), ".".join(map(str, apdu[5:11]))
        key, invoke = (class_id, obis, apdu[11]), apdu[2:3]
        if apdu[1] != 1:
            return b"\xd8\x02\x02"
        if key not in self.objects:
            return b"\xc5\x01" + invoke + b"\x04"
        self.objects[key] = apdu[13:]
        return b"\xc5\x01" + invoke + b"\x00"

    def _act(self, apdu: bytes) -> bytes | None:
        class_id, obis = int.from_bytes(apdu[3:5], "big"), ".".join(map(str, apdu[5:11]))
        method, invoke = self.methods.get((class_id, obis, apdu[11])), apdu[2:3]
        if method is None:
            return b"\xc7\x01" + invoke + b"\x04\x00"
        result, data = method(apdu[13:])
        if result < 0:
            return None
        tail = b"\x00" if data is None else b"\x01\x00" + data
        return b"\xc7\x01" + invoke + bytes((result,)) + tail
