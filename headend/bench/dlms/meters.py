"""Simulated meters for benchmarks, in their own process: ``python -m headend.bench.dlms.meters``.

They answer from a table, so that making an answer costs as little as can be and the client is what
is measured. Any wPort is a meter; all have the same keys and objects, each its own counters. The
process says its port in one line of JSON and ends when its standard input closes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from headend.bench.dlms.samples import (
    AUTHENTICATION_KEY,
    CLIENT,
    ENCRYPTION_KEY,
    make_attributes,
)
from headend.bench.measure import on_core
from headend.domain.errors import ConfigurationError
from headend.domain.obis import Obis
from protocols.dlms.admission import ClientAccess, ServerCounters, ServerSecurity
from protocols.dlms.errors import AccessError, AccessResult, MalformedData
from protocols.dlms.selection import Selection
from protocols.dlms.server import ServerSession
from protocols.dlms.wrapper import WrapperSplitter, encode_frame

MAX_PDU = 1024  # octets, as the simulator's meters: a profile takes four blocks
FIRST_COUNTER = 1  # dlms-cosem refuses a meter whose first counter is 0
STOP_TIMEOUT_S = 5.0
_BACKLOG = 1024


class FixedObjects:
    """Encoded attributes that never change; selections return everything."""

    def __init__(self) -> None:
        self._attributes = make_attributes()

    def read(self, class_id: int, obis: Obis, attribute: int, selection: Selection | None) -> bytes:
        value = self._attributes.get((class_id, obis, attribute))
        if value is None:
            raise AccessError(AccessResult.OBJECT_UNDEFINED)
        return value

    def write(self, class_id: int, obis: Obis, attribute: int, value: bytes) -> None:
        raise AccessError(AccessResult.READ_WRITE_DENIED)

    def invoke(
        self, class_id: int, obis: Obis, method: int, parameter: bytes | None
    ) -> bytes | None:
        raise AccessError(AccessResult.READ_WRITE_DENIED)


class BenchMeters:
    """Meters by wPort, made when first asked for."""

    def __init__(self) -> None:
        self._objects = FixedObjects()
        self._security: dict[int, ServerSecurity] = {}

    def open_session(self, address: int, client: int) -> ServerSession:
        """Return the conversation of a client address with a meter."""
        security = self._security.get(address)
        if security is None:
            access = ClientAccess("gmac", ENCRYPTION_KEY, AUTHENTICATION_KEY)
            title = b"BNC" + address.to_bytes(5, "big")
            security = ServerSecurity(title, {CLIENT: access}, ServerCounters(FIRST_COUNTER))
            self._security[address] = security
        return ServerSession(self._objects, security, client_address=client, max_pdu=MAX_PDU)


class _Connection(asyncio.Protocol):
    def __init__(self, meters: BenchMeters) -> None:
        self._meters = meters
        self._splitter = WrapperSplitter()
        self._sessions: dict[tuple[int, int], ServerSession] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        try:
            frames = self._splitter.feed(data)
        except MalformedData:
            self._transport.abort()
            return
        for frame in frames:
            pair = (frame.destination, frame.source)
            session = self._sessions.get(pair)
            if session is None:
                session = self._sessions[pair] = self._meters.open_session(*pair)
            answer = session.handle(frame.apdu)
            if answer is not None:
                self._transport.write(encode_frame(frame.destination, frame.source, answer))


@contextmanager
def running_meters(core: int | None) -> Iterator[int]:
    """Run the meters on a core of their own for the block; yields their port."""
    with subprocess.Popen(  # noqa: S603  (our own module)
        [sys.executable, "-m", "headend.bench.dlms.meters", "any" if core is None else str(core)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout is not None else ""
            if not line:
                raise ConfigurationError("the meters of the benchmark did not start")
            yield int(json.loads(line)["port"])
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.communicate(timeout=STOP_TIMEOUT_S)


async def _serve() -> None:
    meters, loop = BenchMeters(), asyncio.get_running_loop()
    listener = await loop.create_server(
        lambda: _Connection(meters), "127.0.0.1", 0, backlog=_BACKLOG
    )
    print(json.dumps({"port": listener.sockets[0].getsockname()[1]}), flush=True)
    async with listener:
        await loop.run_in_executor(None, sys.stdin.read)


def main(arguments: list[str]) -> int:
    """Serve until standard input closes; the one argument is the core, or ``any``."""
    core = None if arguments[:1] == ["any"] else int(arguments[0])
    with on_core(core):
        asyncio.run(_serve())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
