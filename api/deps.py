"""What routes are given: the services, who is asking, and a writer that does keyed work once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from api.authentication import ACTOR_HEADER, PRINCIPAL, Principal, actor_of
from api.metrics import CountCache, Metrics
from headend.bootstrap import Services
from headend.domain.errors import BadInput
from headend.ports.idempotency import KeyedRequest, StoredAnswer
from headend.services.idempotency import Idempotency
from headend.services.supply_desk import SupplyDesk
from headend.services.supply_views import SupplyViews

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
LONGEST_KEY = 128

# Shows the scheme in the specification; the gate in front has checked the key already.
bearer = HTTPBearer(
    auto_error=False,
    scheme_name="key",
    description="`Authorization: Bearer KEY`. The development key stands in the state folder.",
)


@dataclass(frozen=True, slots=True)
class Application:
    """What one application works with."""

    services: Services
    views: SupplyViews
    desk: SupplyDesk
    idempotency: Idempotency
    metrics: Metrics
    order_counts: CountCache


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking; ``actor`` is what audit events name."""

    client: str
    actor: str


@dataclass(frozen=True, slots=True)
class Writer:
    """Does a write once per key, in one transaction."""

    idempotency: Idempotency
    caller: Caller
    key: str | None
    request: str

    async def once(
        self, body: BaseModel | None, work: Callable[[], Awaitable[tuple[int, BaseModel]]]
    ) -> JSONResponse:
        """Return the answer of ``work`` (status, body), or the one its key got before."""

        async def answer() -> StoredAnswer:
            status, model = await work()
            return StoredAnswer(status, model.model_dump(mode="json"))

        outcome = await self.idempotency.once(self._keyed(body), answer)
        return JSONResponse(
            outcome.answer.body,
            status_code=outcome.answer.status,
            headers={REPLAYED_HEADER: "true"} if outcome.replayed else None,
        )

    def order_key(self, otherwise: str) -> str:
        """Return the key of an order that this write asks for."""
        return f"api:{self.caller.client}:{self.key or otherwise}"

    def _keyed(self, body: BaseModel | None) -> KeyedRequest | None:
        if self.key is None:
            return None
        sent = None if body is None else body.model_dump(mode="json", exclude_unset=True)
        digest = hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).digest()
        return KeyedRequest(self.caller.client, self.key, self.request, digest)


def application(request: Request) -> Application:
    """Return what this application works with."""
    return cast(Application, request.app.state.application)


def caller(
    request: Request,
    actor: Annotated[
        str | None,
        Header(alias=ACTOR_HEADER, description="Who uses the key, for audit events."),
    ] = None,
) -> Caller:
    """Return who is asking."""
    principal = cast(Principal, request.scope["state"][PRINCIPAL])
    return Caller(principal.name, actor_of(principal, actor))


def writer(
    request: Request,
    app: Annotated[Application, Depends(application)],
    asking: Annotated[Caller, Depends(caller)],
    key: Annotated[
        str | None,
        Header(
            alias=KEY_HEADER,
            description=(
                "Up to 128 printable ASCII characters of the client's choice. The same key with"
                " the same body gets the stored answer, with another body 422."
            ),
        ),
    ] = None,
) -> Writer:
    """Return the writer of this request."""
    if key is not None and not (
        0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()
    ):
        raise BadInput(f"a key is 1 to {LONGEST_KEY} printable ASCII characters", field=KEY_HEADER)
    return Writer(app.idempotency, asking, key, f"{request.method} {request.url.path}")


App = Annotated[Application, Depends(application)]
Asking = Annotated[Caller, Depends(caller)]
Writing = Annotated[Writer, Depends(writer)]
