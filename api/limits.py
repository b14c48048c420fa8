"""How much of a request is taken in: the size of its body."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.problems import problem

MAXIMUM_BODY = 64 * 1024  # octets; a single payment or order takes less than one thousand


class BodyLimit:
    """Refuses a body that says, or turns out, to be too large."""

    def __init__(self, app: ASGIApp, maximum: int = MAXIMUM_BODY) -> None:
        self._app = app
        self._maximum = maximum

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        stated = Headers(scope=scope).get("content-length", "")
        if stated.isdecimal() and int(stated) > self._maximum:
            await problem(413, "body_too_large", self._sentence())(scope, receive, send)
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._maximum:
                raise HTTPException(413, self._sentence())
            return message

        await self._app(scope, limited, send)

    def _sentence(self) -> str:
        return f"the body is larger than {self._maximum} octets"
