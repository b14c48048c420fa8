"""Knocks at a meter without any secret, to see who answers at an address.

A probe asks for an association without security and releases it. Any answer, a rejection included,
proves that somebody is at that address who knows that client; what the public client is told of
counters comes with it. Nothing is changed in the meter.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from headend.domain.errors import AuthenticationFailed, HeadEndError, MeterBusy, MeterUnreachable
from headend.ports import Turn
from protocols.dlms.association import ClientAssociation, ClientSettings
from protocols.dlms.conversation import Conversation, Timeouts
from protocols.dlms.link import Wire

OpenWire: TypeAlias = Callable[[], Awaitable[Wire]]
LISTEN_S = 0.6  # a meter that closes a fresh connection by itself does so at once


class Knock(StrEnum):
    """What came back."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SILENT = "silent"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer of one address; ``reason`` is that of a rejection, ``busy`` one for now."""

    server: int
    client: int
    knock: Knock
    reason: str = ""
    busy: bool = False

    @property
    def is_there(self) -> bool:
        """Whether somebody answered at all."""
        return self.knock in (Knock.ACCEPTED, Knock.REJECTED)


@asynccontextmanager
async def no_queue() -> AsyncIterator[None]:
    """Give the turn at once: nobody else is on this link."""
    yield


async def knock(
    open_wire: OpenWire, addresses: Sequence[tuple[int, int]], *, timeout_s: float
) -> list[Answered]:
    """Knock at (server, client) addresses; those that could not be reached count as closed.

    On a wire that carries several conversations all are asked at once; where the meter closes it,
    each again on a connection of its own.
    """
    try:
        wire = await open_wire()
    except MeterUnreachable:
        return [Answered(server, client, Knock.CLOSED) for server, client in addresses]
    try:
        if wire.is_shared:
            answers = await asyncio.gather(
                *(_knock_at(wire, server, client, timeout_s) for server, client in addresses)
            )
        else:
            answers = []
    finally:
        await wire.close()
    if answers and not any(each.knock is Knock.CLOSED for each in answers):
        return list(answers)
    return [await _knock_alone(open_wire, *address, timeout_s) for address in addresses]


async def closes_by_itself(open_wire: OpenWire) -> bool:
    """Tell whether a fresh connection is closed before anything was asked."""
    try:
        wire = await open_wire()
    except MeterUnreachable:
        return True
    try:
        await asyncio.sleep(LISTEN_S)
        return not wire.is_open
    finally:
        await wire.close()


async def _knock_alone(open_wire: OpenWire, server: int, client: int, timeout_s: float) -> Answered:
    try:
        wire = await open_wire()
    except MeterUnreachable:
        return Answered(server, client, Knock.CLOSED)
    try:
        return await _knock_at(wire, server, client, timeout_s)
    finally:
        await wire.close()


async def _knock_at(wire: Wire, server: int, client: int, timeout_s: float) -> Answered:
    conversation = Conversation(
        wire,
        ClientAssociation(ClientSettings()),
        server=server,
        client=client,
        timeouts=Timeouts(answer_s=timeout_s, release_s=timeout_s / 2),
    )
    turn: Turn = no_queue
    try:
        conversation.start()
    except HeadEndError:
        return Answered(server, client, Knock.CLOSED)
    try:
        await conversation.associate(turn)
        await conversation.release(turn)
    except MeterBusy as fault:
        return Answered(server, client, Knock.REJECTED, str(fault), busy=True)
    except MeterUnreachable:
        silent = wire.is_open
        return Answered(server, client, Knock.SILENT if silent else Knock.CLOSED)
    except HeadEndError as fault:
        reason = fault.code if isinstance(fault, AuthenticationFailed) else str(fault)
        return Answered(server, client, Knock.REJECTED, reason)
    finally:
        conversation.release_unheard()
        conversation.stop()
    return Answered(server, client, Knock.ACCEPTED)
