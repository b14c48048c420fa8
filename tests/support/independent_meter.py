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

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from independent_octets import (
    AUTHENTICATED,
    aare_of,
    ber,
    counter_of,
    gcm,
    length,
    ln,
    octets,
    read_length,
    seal,
    tlv,
    unseal,
)
from independent_services import Client, Method, Services, Session, Value, Ways

_GLO = {0xC0: 0xC8, 0xC1: 0xC9, 0xC3: 0xCB, 0xC4: 0xCC, 0xC5: 0xCD, 0xC7: 0xCF, 1: 0x21, 8: 0x28}
_DED = {0xC0: 0xD0, 0xC1: 0xD1, 0xC3: 0xD3, 0xC4: 0xD4, 0xC5: 0xD5, 0xC7: 0xD7}
_PLAIN_OF_GLO = {glo: plain for plain, glo in _GLO.items()}
_PLAIN_OF_DED = {ded: plain for plain, ded in _DED.items()}


class IndependentMeter(Services):
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
        fields = dict(ber(apdu[2:] if apdu[1] < 0x80 else apdu[2 + (apdu[1] & 0x7F) :]))
        context = fields[0xA1][-1]
        if ways.busy == "transient":
            return None, aare_of(context, 2, 1)
        if ways.busy == "exception":
            return None, b"\xd8\x01\x03"
        known = self.clients.get(client)
        if known is None:
            return None, _refuse(ways.unknown_client, aare_of(context, 1, 1))
        mechanism = fields[0x8B][-1] if 0x8B in fields else 0
        if context != (3 if known.is_ciphered else 1):
            return None, aare_of(context, 1, 2)
        if mechanism != known.mechanism:
            return None, aare_of(context, 1, 11 if mechanism else 12)
        session = Session(client, known)
        session.title = fields[0xA6][2:] if 0xA6 in fields else b""
        given = fields[0xAC][2:] if 0xAC in fields else b""
        if mechanism == 1 and given != known.password:
            return None, aare_of(context, 1, 13)
        session.challenge = given
        information = fields[0xBE][2:] if fields[0xBE][1] < 0x80 else fields[0xBE][3:]
        if known.is_ciphered:
            counter = counter_of(information)
            if counter <= known.received:
                return None, self._counter_error(context, known)
            opened = self._unprotect(session, information)
            if opened is None:
                return None, _refuse(ways.key_error, aare_of(context, 1, 13), b"\xd8\x01\x05")
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
        parts.append(tlv(0xBE, tlv(0x04, response)))
        if ways.aare_fields is not None:
            parts = ways.aare_fields(parts)
        return session, tlv(0x61, b"".join(parts))

    def _counter_error(self, context: int, known: Client) -> bytes | None:
        way = self.ways.counter_error
        if way == "value":
            return b"\xd8\x01\x06" + (known.received + 1).to_bytes(4, "big")
        return _refuse(way, aare_of(context, 1, 1), b"\xd8\x01\x06")

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


def _refuse(way: str, aare: bytes, exception: bytes = b"") -> bytes | None:
    return {"aare": aare, "exception": exception, "bare": exception, "silence": None,
            "close": b"close"}[way]  # fmt: skip
