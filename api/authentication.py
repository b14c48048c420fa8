"""Who is asking: bearer keys, checked before anything of a request is looked at.

For now there is one development key. What a principal may do is decided by the routes; here it is
only established who it is. Everything under ``/v1`` needs it, paths that do not exist included.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from headend.domain.errors import BadInput, ConfigurationError

PROTECTED = "/v1"
PRINCIPAL = "principal"
ACTOR_HEADER = "X-Actor"
SHORTEST_KEY = 8

_ACTOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True, slots=True)
class Principal:
    """A program or person whose credential was accepted."""

    name: str


class Authenticator(Protocol):
    """Turns a bearer token into who it belongs to."""

    async def authenticate(self, token: str) -> Principal | None: ...


class DevelopmentKey:
    """One key for everything; kept as its hash, compared in constant time."""

    def __init__(self, key: str, *, name: str = "development") -> None:
        if len(key) < SHORTEST_KEY:
            raise ConfigurationError(
                f"the API key needs at least {SHORTEST_KEY} characters: set HEADEND_API_KEY"
            )
        self._digest = _digest(key)
        self._principal = Principal(name)

    async def authenticate(self, token: str) -> Principal | None:
        """Return the principal when the token is the key."""
        if hmac.compare_digest(_digest(token), self._digest):
            return self._principal
        return None


class AuthenticationGate:
    """Lets a request under ``/v1`` pass with its principal in the scope, or answers 401."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_protected(scope["path"]):
            await self._app(scope, receive, send)
            return
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        principal = None
        if scheme.lower() == "bearer" and token.strip():
            principal = await self._authenticator.authenticate(token.strip())
        if principal is None:
            refusal = problem(
                401,
                "unauthenticated",
                "send 'Authorization: Bearer KEY' with a valid key",
                headers={"WWW-Authenticate": 'Bearer realm="headend"'},
            )
            await refusal(scope, receive, send)
            return
        scope.setdefault("state", {})[PRINCIPAL] = principal
        await self._app(scope, receive, send)


def actor_of(principal: Principal, stated: str | None) -> str:
    """Return the actor for audit events: the key's name, and who used it when that is stated.

    Always starts with the key's name, so that nobody can pass for the system. Raises `BadInput`.
    """
    if stated is None:
        return principal.name
    if _ACTOR.fullmatch(stated) is None:
        raise BadInput(
            "an actor is 1 to 64 letters, digits, '.', '_', '@' or '-'", field=ACTOR_HEADER
        )
    return f"{principal.name}/{stated}"


def _is_protected(path: str) -> bool:
    return path == PROTECTED or path.startswith(f"{PROTECTED}/")


def _digest(text: str) -> bytes:
    # Equal lengths for the comparison, whatever was sent; surrogates stand for octets not in UTF-8.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
