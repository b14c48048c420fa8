"""The listener: bound first, refused in a sentence, stopped soon, and no signal taken over."""

from __future__ import annotations

import asyncio
import signal
import socket
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from api.server import bind_listener, serve
from headend.domain.errors import ConfigurationError


async def answers(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every request with 204."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


async def test_it_answers_inside_the_block_and_not_after() -> None:
    listener = bind_listener("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port_of(listener)}/"
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    async with httpx.AsyncClient() as client, serve(answers, listener):
        assert (await client.get(url)).status_code == 204
        assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == handlers
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


def test_answers_do_not_wait_for_acknowledgements() -> None:
    # asyncio sets TCP_NODELAY on accepted connections where the listener states its protocol.
    with bind_listener("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


async def test_it_stops_although_a_request_hangs() -> None:
    began = asyncio.Event()

    async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
        began.set()
        await asyncio.Event().wait()

    listener = bind_listener("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port_of(listener)}/"
    async with httpx.AsyncClient(timeout=None) as client, asyncio.timeout(60):
        async with serve(hangs, listener):
            request = asyncio.create_task(client.get(url))
            await began.wait()
        result: Any = (await asyncio.gather(request, return_exceptions=True))[0]
        assert isinstance(result, httpx.HTTPError) or result.status_code >= 500


async def test_an_error_in_the_block_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="mine"):
        async with serve(answers, bind_listener("127.0.0.1", 0)):
            raise RuntimeError("mine")


def test_a_port_in_use_is_named_with_the_way_out() -> None:
    with bind_listener("127.0.0.1", 0) as taken:
        port = port_of(taken)
        with pytest.raises(ConfigurationError) as refused:
            bind_listener("127.0.0.1", port)
    assert str(refused.value) == (
        f"port {port} on 127.0.0.1 is in use: stop what listens there, or choose another with"
        " --port"
    )


@pytest.mark.parametrize("host", ["203.0.113.7", "not a host"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is not an address of this machine"):
        bind_listener(host, 0)
