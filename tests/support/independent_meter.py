"""A DLMS meter made of nothing of ours: its own octets, ciphers and state, on a thread of its own.

It serves logical names over WRAPPER on 127.0.0.1 (HDLC beside it, see `independent_hdlc`).
What real meters do differently is an option (`Ways`), so that a test can be a meter of that kind.
Nothing of `protocols` or `headend` is imported here: a misreading of the standard that both sides
share would not be noticed otherwise.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Value: TypeAlias = "bytes | int | Callable[[bytes], bytes | int]"
Method: TypeAlias = Callable[[bytes], "tuple[int, bytes | None]"]

AUTHENTICATED, ENCRYPTED = 0x10, 0x20
GET, SET, ACTION, BLOCKS, LISTS, SELECTION = 0x10, 0x08, 0x01, 0x1000, 0x200, 0x04
CONFORMANCE = GET | SET | ACTION | BLOCKS | LISTS | SELECTION | 0xC00
GENERAL_PROTECTION = 0x400000
_GLO = {0xC0: 0xC8, 0xC1: 0xC9, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF, 1: 0x21, 8: 0x28}
_DED = {0xC0: 0xD0, 0xC1: 0xD1, 0xC3: 0xD3, 0xC4: 0xD4, 0xC5: 0xD5, 0xC7: 0xD7}
_PLAIN_OF_GLO = {glo: plain for plain, glo in _GLO.items()}
_PLAIN_OF_DED = {ded: plain for plain, ded in _DED.items()}


# --- values ---------------------------------------------------------------------------------


def length(count: int) -> bytes:
    if count < 0x80:
        return bytes((count,))
    octets = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def read_length(octets: bytes, at: int) -> tuple[int, int]:
    if octets[at] < 0x80:
        return octets[at], at + 1
    size = octets[at] & 0x7F
    return int.from_bytes(octets[at + 1 : at + 1 + size], "big"), at + 1 + size


def ln(obis: str) -> bytes:
    return bytes(map(int, obis.split(".")))


def null() -> bytes:
    return b"\x00"


def array(*items: bytes) -> bytes:
    return b"\x01" + length(len(items)) + b"".join(items)


def structure(*items: bytes) -> bytes:
    return b"\x02" + length(len(items)) + b"".join(items)


def boolean(value: bool) -> bytes:
    return bytes((3, value))


def octets(value: bytes) -> bytes:
    return b"\x09" + length(len(value)) + value


def visible(value: str) -> bytes:
    return b"\x0a" + length(len(value)) + value.encode()


def utf8(value: str) -> bytes:
    coded = value.encode()
    return b"\x0c" + length(len(coded)) + coded


def i8(value: int) -> bytes:
    return b"\x0f" + value.to_bytes(1, "big", signed=True)


def i16(value: int) -> bytes:
    return b"\x10" + value.to_bytes(2, "big", signed=True)


def i32(value: int) -> bytes:
    return b"\x05" + value.to_bytes(4, "big", signed=True)


def u32(value: int) -> bytes:
    return b"\x06" + value.to_bytes(4, "big")


def u8(value: int) -> bytes:
    return bytes((0x11, value))


def u16(value: int) -> bytes:
    return b"\x12" + value.to_bytes(2, "big")


def i64(value: int) -> bytes:
    return b"\x14" + value.to_bytes(8, "big", signed=True)


def u64(value: int) -> bytes:
    return b"\x15" + value.to_bytes(8, "big")


def enum(value: int) -> bytes:
    return bytes((0x16, value))


def scaler_unit(scaler: int, unit: int) -> bytes:
    return structure(i8(scaler), enum(unit))


def moment(
    year: int, month: int, day: int, hour: int, minute: int, second: int = 0, *,
    deviation: int = -480, status: int = 0, weekday: int = 0xFF, hundredths: int = 0xFF,
) -> bytes:  # fmt: skip
    """Return the 12 octets of a date-time; a deviation of -0x8000 is not told."""
    return (
        year.to_bytes(2, "big") + bytes((month, day, weekday, hour, minute, second, hundredths))
        + deviation.to_bytes(2, "big", signed=True) + bytes((status,))
    )  # fmt: skip


# --- ciphering ------------------------------------------------------------------------------


def gcm(key: bytes, iv: bytes, plain: bytes, additional: bytes) -> tuple[bytes, bytes]:
    encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    encryptor.authenticate_additional_data(additional)
    sealed = encryptor.update(plain) + encryptor.finalize()
    return sealed, encryptor.tag[:12]


def ungcm(key: bytes, iv: bytes, sealed: bytes, tag: bytes, additional: bytes) -> bytes:
    """Return the plain text; raises ``InvalidTag``."""
    decryptor = Cipher(algorithms.AES(key), modes.GCM(iv, tag, min_tag_length=12)).decryptor()
    decryptor.authenticate_additional_data(additional)
    return decryptor.update(sealed) + decryptor.finalize()


def seal(key: bytes, ak: bytes, control: int, title: bytes, counter: int, plain: bytes) -> bytes:
    iv = title + counter.to_bytes(4, "big")
    head = bytes((control,))
    if control & 0x30 == 0x30:
        body, tag = gcm(key, iv, plain, head + ak)
        body += tag
    elif control & AUTHENTICATED:
        body = plain + gcm(key, iv, b"", head + ak + plain)[1]
    else:
        body = gcm(key, iv, plain, b"")[0]
    return head + counter.to_bytes(4, "big") + body


def unseal(key: bytes, ak: bytes, title: bytes, sealed: bytes) -> bytes:
    """Return the plain text; raises ``InvalidTag``."""
    control, body = sealed[0], sealed[5:]
    iv, head = title + sealed[1:5], sealed[:1] + ak
    if control & 0x30 == 0x30:
        return ungcm(key, iv, body[:-12], body[-12:], head)
    if control & AUTHENTICATED:
        ungcm(key, iv, b"", body[-12:], head + body[:-12])
        return body[:-12]
    return gcm(key, iv, body, b"")[0]


# --- the meter ------------------------------------------------------------------------------


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


class IndependentMeter:
    """Serves ``objects`` {(class, obis, attribute): octets, result or function of selection}."""

    def __init__(
        self,
        objects: dict[tuple[int, str, int], Value],
        *,
        clients: dict[int, Client] | None = None,
        methods: dict[tuple[int, str, int], Method] | None = None,
        title: bytes = b"XYZ\x00\x01\x02\x03\x04",
        ways: Ways | None = None,
    ) -> None:
        self.objects = objects
        self.methods = methods or {}
        self.clients = clients if clients is not None else {16: Client(), 1: Client()}
        self.title = title
        self.ways = ways or Ways()
        self.counter = self.ways.first_counter
        self.asked: list[bytes] = []
        self.releases = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open = True
        self._connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def url(self, query: str = "") -> str:
        return f"dlms+tcp://127.0.0.1:{self.port}" + (f"?{query}" if query else "")

    def close(self) -> None:
        self._open = False
        self._listener.close()
        for connection in self._connections:
            connection.close()

    # --- the wire ---

    def _accept(self) -> None:
        while self._open:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        sessions: dict[tuple[int, int], Session | None] = {}
        connection.settimeout(self.ways.idle_s)
        with connection:
            if self.ways.busy == "close":
                return
            try:
                self._converse(connection, sessions)
            except OSError:
                return

    def _converse(
        self, connection: socket.socket, sessions: dict[tuple[int, int], Session | None]
    ) -> None:
        buffer = b""
        while True:
            received = connection.recv(65536)
            if not received:
                return
            buffer += received
            while len(buffer) >= 8:
                size = int.from_bytes(buffer[6:8], "big")
                if len(buffer) < 8 + size:
                    break
                client, server = (int.from_bytes(buffer[at : at + 2], "big") for at in (2, 4))
                apdu, buffer = buffer[8 : 8 + size], buffer[8 + size :]
                if not self._answer(connection, sessions, client, server, apdu):
                    return

    def _answer(
        self,
        connection: socket.socket,
        sessions: dict[tuple[int, int], Session | None],
        client: int,
        server: int,
        apdu: bytes,
    ) -> bool:
        """Answer one APDU; return whether the connection stays."""
        ways = self.ways
        if ways.silent:
            return True
        if server != ways.server:
            return ways.unknown_server != "close"
        answer = self.respond(sessions, client, server, apdu)
        if answer == b"close":
            return False
        if ways.late_s:
            time.sleep(ways.late_s)
        pushes = [ways.pushes] if ways.pushes and apdu[0] not in (0x60, 0x62) else []
        for part in [*pushes, answer] if answer else []:
            frame = b"\x00\x01" + server.to_bytes(2, "big") + client.to_bytes(2, "big")
            frame += len(part).to_bytes(2, "big") + part
            frame *= 2 if ways.doubled else 1
            if ways.split:
                for at in range(len(frame)):
                    connection.sendall(frame[at : at + 1])
            else:
                connection.sendall(frame)
        return not (apdu[:1] == b"\x62" and ways.close_after_release)

    def respond(
        self,
        sessions: dict[tuple[int, int], Session | None],
        client: int,
        server: int,
        apdu: bytes,
    ) -> bytes | None:
        """Return the answer to one APDU, None for silence, ``close`` to end the connection."""
        session = sessions.get((client, server))
        if apdu[0] == 0x60:
            opened, answer = self._associate(client, apdu)
            if opened is not None:
                sessions[client, server] = opened
            return answer
        if apdu[0] == 0x62:
            sessions[client, server] = None
            self.releases += 1
            return self.ways.release
        if session is None:
            return b"\xd8\x01\x01"
        plain = self._unprotect(session, apdu)
        if plain is None:
            return b"\xd8\x01\x05"
        self.asked.append(plain)
        served = self._serve_request(session, plain)
        if served and self.ways.invoke is not None and served[0] in (0xC4, 0xC5, 0xC7):
            served = served[:2] + bytes((self.ways.invoke,)) + served[3:]
        return self._protect(session, served)

    # --- ACSE ---

    def _associate(self, client: int, apdu: bytes) -> tuple[Session | None, bytes | None]:
        ways = self.ways
        fields = dict(_ber(apdu[2:] if apdu[1] < 0x80 else apdu[2 + (apdu[1] & 0x7F) :]))
        context = fields[0xA1][-1]
        if ways.busy == "transient":
            return None, _aare(context, 2, 1)
        if ways.busy == "exception":
            return None, b"\xd8\x01\x03"
        known = self.clients.get(client)
        if known is None:
            return None, _refuse(ways.unknown_client, _aare(context, 1, 1))
        mechanism = fields[0x8B][-1] if 0x8B in fields else 0
        if context != (3 if known.is_ciphered else 1):
            return None, _aare(context, 1, 2)
        if mechanism != known.mechanism:
            return None, _aare(context, 1, 11 if mechanism else 12)
        session = Session(client, known)
        session.title = fields[0xA6][2:] if 0xA6 in fields else b""
        given = fields[0xAC][2:] if 0xAC in fields else b""
        if mechanism == 1 and given != known.password:
            return None, _aare(context, 1, 13)
        session.challenge = given
        information = fields[0xBE][2:] if fields[0xBE][1] < 0x80 else fields[0xBE][3:]
        if known.is_ciphered:
            counter = _counter_of(information)
            if counter <= known.received:
                return None, self._counter_error(context, known)
            opened = self._unprotect(session, information)
            if opened is None:
                return None, _refuse(ways.key_error, _aare(context, 1, 13), b"\xd8\x01\x05")
            information = opened
        at = 2
        if information[1]:
            size, at = read_length(information, 2)
            session.dedicated, at = information[at : at + size], at + size
        session.limit = int.from_bytes(information[-2:], "big") or 0xFFFF
        proposed = int.from_bytes(information[-5:-2], "big")
        response = b"\x08\x00\x06\x5f\x1f\x04\x00"
        response += (ways.conformance & proposed).to_bytes(3, "big")
        response += ways.max_pdu.to_bytes(2, "big") + b"\x00\x07"
        if ways.initiate is not None:
            response = ways.initiate(response)
        if known.is_ciphered and not ways.answer_plain:
            response = self._seal(session, response, 0x28)
        session.is_open = mechanism < 2
        session.own_challenge = os.urandom(16) if mechanism > 1 else b""
        titled = known.is_ciphered or mechanism >= 5 or ways.title_always
        parts = [
            b"\xa1\x09\x06\x07\x60\x85\x74\x05\x08\x01" + bytes((context,)),
            b"\xa2\x03\x02\x01\x00",
            b"\xa3\x05\xa1\x03\x02\x01" + bytes((14 if mechanism > 1 else 0,)),
        ]
        if titled:
            parts.append(b"\xa4\x0a\x04\x08" + self.title)
        if mechanism > 1:
            parts += [
                b"\x88\x02\x07\x80",
                b"\x89\x07\x60\x85\x74\x05\x08\x02" + bytes((mechanism,)),
                b"\xaa\x12\x80\x10" + session.own_challenge,
            ]
        parts.append(_tlv(0xBE, _tlv(0x04, response)))
        if ways.aare_fields is not None:
            parts = ways.aare_fields(parts)
        return session, _tlv(0x61, b"".join(parts))

    def _counter_error(self, context: int, known: Client) -> bytes | None:
        way = self.ways.counter_error
        if way == "value":
            return b"\xd8\x01\x06" + (known.received + 1).to_bytes(4, "big")
        return _refuse(way, _aare(context, 1, 1), b"\xd8\x01\x06")

    # --- ciphering ---

    def _draw(self) -> int:
        self.counter += 1
        return self.counter - 1

    def _seal(self, session: Session, plain: bytes, tag: int, key: bytes = b"") -> bytes:
        known = session.known
        control = known.control | (2 if len(known.ek) == 32 else 0)
        sealed = seal(key or known.ek, known.ak, control, self.title, self._draw(), plain)
        return bytes((tag,)) + length(len(sealed)) + sealed

    def _protect(self, session: Session, plain: bytes | None) -> bytes | None:
        if not plain or not session.known.is_ciphered or plain == b"close":
            return plain
        if plain[0] in (0xD8, 0x0E):
            return plain
        key = session.dedicated if session.is_dedicated else b""
        if session.is_general or self.ways.general:
            sealed = self._seal(session, plain, 0, key)[1:]
            return bytes((0xDC if key else 0xDB, 8)) + self.title + sealed
        return self._seal(session, plain, (_DED if key else _GLO)[plain[0]], key)

    def _unprotect(self, session: Session, apdu: bytes) -> bytes | None:
        known = session.known
        if not known.is_ciphered:
            return apdu
        tag, at = apdu[0], 1
        session.is_general = tag in (0xDB, 0xDC)
        session.is_dedicated = tag == 0xDC or tag in _PLAIN_OF_DED
        if session.is_general:
            if apdu[2 : 2 + apdu[1]] != session.title:
                return None
            at = 2 + apdu[1]
        elif tag not in _PLAIN_OF_DED and tag not in _PLAIN_OF_GLO:
            return None
        size, at = read_length(apdu, at)
        sealed = apdu[at:]
        if size != len(sealed) or sealed[0] & 0x30 != known.control & 0x30:
            return None
        counter = int.from_bytes(sealed[1:5], "big")
        try:
            plain = unseal(
                session.dedicated if session.is_dedicated else known.ek,
                known.ak, session.title, sealed,
            )  # fmt: skip
        except (InvalidTag, ValueError):
            return None
        if not session.is_dedicated:
            if counter <= known.received:
                return None
            known.received = counter
        return plain

    # --- services ---

    def _serve_request(self, session: Session, apdu: bytes) -> bytes | None:
        if apdu[0] == 0xC3 and apdu[3:12] == b"\x00\x0f" + ln("0.0.40.0.0.255") + b"\x01":
            return self._prove(session, apdu)
        if not session.is_open:
            return b"\xd8\x01\x01"
        if apdu[0] == 0xC0:
            return self._get(session, apdu)
        if apdu[0] == 0xC1:
            return self._set(apdu)
        if apdu[0] == 0xC3:
            return self._act(apdu)
        return b"\xd8\x02\x02"

    def _prove(self, session: Session, apdu: bytes) -> bytes:
        known = session.known
        proof = apdu[15 : 15 + apdu[14]]
        ok, invoke = self._check_proof(session, proof), apdu[2:3]
        if not ok:
            return b"\xc7\x01" + invoke + b"\x03\x00"
        session.is_open = True
        if known.mechanism == 5:
            counter = self.counter if self.ways.same_counter_tag else self._draw()
            own = self._gmac(known, self.title, counter, session.challenge)
        else:
            own = self._digest(session, self.title, session.title, session.challenge,
                               session.own_challenge)  # fmt: skip
        return b"\xc7\x01" + invoke + b"\x00\x01\x00" + octets(own)

    def _gmac(self, known: Client, title: bytes, counter: int, challenge: bytes) -> bytes:
        control = bytes((AUTHENTICATED | (2 if len(known.ek) == 32 else 0),))
        iv = title + counter.to_bytes(4, "big")
        return control + iv[8:] + gcm(known.ek, iv, b"", control + known.ak + challenge)[1]

    def _check_proof(self, session: Session, proof: bytes) -> bool:
        known = session.known
        if known.mechanism == 5:
            counter = int.from_bytes(proof[1:5], "big")
            return proof == self._gmac(known, session.title, counter, session.own_challenge)
        return proof == self._digest(
            session, session.title, self.title, session.own_challenge, session.challenge
        )

    def _digest(
        self, session: Session, one: bytes, other: bytes, first: bytes, second: bytes
    ) -> bytes:
        secret = session.known.password
        if session.known.mechanism == 3:
            return hashlib.md5(first + secret, usedforsecurity=False).digest()
        if session.known.mechanism == 4:
            return hashlib.sha1(first + secret, usedforsecurity=False).digest()
        if session.known.mechanism == 6:
            return hashlib.sha256(secret + one + other + first + second).digest()
        encryptor = Cipher(algorithms.AES(secret), modes.ECB()).encryptor()  # mechanism 2
        return encryptor.update(first)

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


def _refuse(way: str, aare: bytes, exception: bytes = b"") -> bytes | None:
    return {"aare": aare, "exception": exception, "bare": exception, "silence": None,
            "close": b"close"}[way]  # fmt: skip


def _counter_of(sealed: bytes) -> int:
    at = 1
    if sealed[0] in (0xDB, 0xDC):
        at = 2 + sealed[1]
    _, at = read_length(sealed, at)
    return int.from_bytes(sealed[at + 1 : at + 5], "big")


def _tlv(tag: int, value: bytes) -> bytes:
    return bytes((tag,)) + length(len(value)) + value


def _ber(content: bytes) -> list[tuple[int, bytes]]:
    fields, at = [], 0
    while at < len(content):
        size, start = read_length(content, at + 1)
        fields.append((content[at], content[start : start + size]))
        at = start + size
    return fields


def _aare(context: int, result: int, diagnostic: int) -> bytes:
    return _tlv(
        0x61,
        b"\xa1\x09\x06\x07\x60\x85\x74\x05\x08\x01" + bytes((context,))
        + b"\xa2\x03\x02\x01" + bytes((result,))
        + b"\xa3\x05\xa1\x03\x02\x01" + bytes((diagnostic,)),
    )  # fmt: skip
