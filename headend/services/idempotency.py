"""Idempotency: a client that repeats a request under its key gets the first answer, and no more.

The key is claimed, the work done and the answer kept in *one* transaction: services called by the
work join it. A process killed at any point has either done all of it or nothing, and the client
asks again. A refusal or fault rolls everything back, the key included: nothing was changed, so the
same key may carry a corrected request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from headend.domain.errors import BadInput, Conflict
from headend.ports.idempotency import EarlierRequest, KeyedRequest, StoredAnswer
from headend.ports.unit_of_work import Store

KEY_REUSED = "idempotency_key_reused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer to give, and whether it is the repetition of an earlier one."""

    answer: StoredAnswer
    replayed: bool


class Idempotency:
    """Does keyed work once."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def once(
        self, request: KeyedRequest | None, work: Callable[[], Awaitable[StoredAnswer]]
    ) -> Outcome:
        """Return the answer of ``work``, done now or under the same key before.

        Without a key the work is done in one transaction all the same. A concurrent request with
        the key waits for the first to finish. Raises `BadInput` (``idempotency_key_reused``) when
        the key was used for something else, and whatever the work raises.
        """
        async with self._store.enclosing_transaction() as uow:
            if request is None:
                return Outcome(await work(), replayed=False)
            earlier = await uow.idempotency.claim(request)
            if earlier is not None:
                return Outcome(_same(earlier, request), replayed=True)
            answer = await work()
            await uow.idempotency.keep(request, answer)
            return Outcome(answer, replayed=False)


def _same(earlier: EarlierRequest, request: KeyedRequest) -> StoredAnswer:
    if earlier.request.request != request.request:
        raise BadInput(
            f"this key was used for {earlier.request.request}; a key belongs to one request",
            field="Idempotency-Key",
            code=KEY_REUSED,
        )
    if earlier.request.body_sha256 != request.body_sha256:
        raise BadInput(
            "this key was used with another body; a corrected request needs a key of its own",
            field="Idempotency-Key",
            code=KEY_REUSED,
        )
    if earlier.answer is None:
        raise Conflict(
            "the first request with this key has no answer yet; ask again",
            field="Idempotency-Key",
            code="idempotency_key_in_use",
        )
    return earlier.answer
