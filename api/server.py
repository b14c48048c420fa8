"""The listener: bound before anything else starts, served inside the running loop.

It takes over no signals: whoever runs the loop decides when it ends.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.types import ASGIApp

from headend.domain.errors import ConfigurationError

STOP_WITHIN_S = 2.0
BACKLOG = 512
KEEP_ALIVE_S = 30


class _Server(uvicorn.Server):
    """A server that says when it has started, and leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def bind_listener(host: str, port: int) -> socket.socket:
    """Return a socket that listens on the address; port 0 is any free one.

    Call it before anything else is started. Raises `ConfigurationError` in one sentence.
    """
    try:
        family, _kind, _protocol, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        raise ConfigurationError(
            f"{host} is not an address of this machine: correct HEADEND_API_HOST"
        ) from error
    # asyncio turns Nagle's algorithm off only where the protocol is stated; with it on, every
    # answer waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise ConfigurationError(_explain(host, port, error)) from error
    return listener


@asynccontextmanager
async def serve(app: ASGIApp, listener: socket.socket) -> AsyncIterator[None]:
    """Answer requests inside the block; requests under way get two seconds at its end."""
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        server_header=False,
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http-server")
    try:
        ready = asyncio.create_task(server.ready.wait())
        await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if serving.done():
            serving.result()
            raise ConfigurationError("the HTTP listener ended before it answered anything")
        yield
    finally:
        server.should_exit = True
        await _stop(server, serving)
        listener.close()


async def _stop(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    done, _ = await asyncio.wait({serving}, timeout=STOP_WITHIN_S)
    if not done:
        server.force_exit = True
        serving.cancel()
        await asyncio.wait({serving}, timeout=STOP_WITHIN_S)
    elif not serving.cancelled():
        serving.result()


def _explain(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use: stop what listens there, or choose another with"
            " --port"
        )
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs privileges: choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine: correct HEADEND_API_HOST"
    return f"cannot listen on port {port} of {host}: {error.strerror}"
