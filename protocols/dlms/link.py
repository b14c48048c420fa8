"""What a conversation needs from the wire below it, whichever transport carries its APDUs.

A wire serves many conversations, one per pair of meter and client address. An answer goes to the
conversation that it names; one that nobody waits for is dropped and counted. When the wire breaks,
every conversation is told, and it stays closed for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeAlias

from headend.domain.errors import HeadEndError, LocalProtocolError, MeterBusy, MeterUnreachable

Deliver: TypeAlias = Callable[[bytes], None]
Lost: TypeAlias = Callable[[HeadEndError], None]
Pair: TypeAlias = tuple[int, int]  # meter address, client address
# Told of octets as they are on the wire, and whether we sent them; it must not raise.
Tap: TypeAlias = Callable[[bool, bytes], None]


class NothingLeft(MeterUnreachable):
    """It is certain that no request left: the meter was not reached at all."""


class LinkRefused(NothingLeft, MeterBusy):
    """The meter's link layer refuses the connection: it serves another client, or not this one."""


class Wire(Protocol):
    """One connection to a concentrator, gateway or meter."""

    dropped: int
    unsettled: set[Pair]  # whose association request stayed unanswered: it may still come
    owing: set[Pair]  # who left a request unanswered since the connection was made
    tap: Tap | None

    @property
    def name(self) -> str: ...

    @property
    def is_open(self) -> bool: ...

    @property
    def is_shared(self) -> bool:
        """Whether it carries several exchanges with different meters at once."""
        ...

    def listen(self, server: int, client: int, deliver: Deliver, lost: Lost) -> None:
        """Send what comes from ``server`` to ``client`` there; one conversation per pair."""
        ...

    def unlisten(self, server: int, client: int) -> None:
        """End what the pair has on the wire; drop whatever still comes for it."""
        ...

    def send(self, server: int, client: int, apdu: bytes) -> None:
        """Send one APDU; raises `MeterUnreachable` when it is certain that nothing left."""
        ...

    def patience(self, server: int, client: int, timeout_s: float) -> float:
        """Say how much longer [s] an answer may take that must come ``timeout_s`` after the last
        sign of life; 0 when its time is over."""
        ...

    def abandon(self, server: int, client: int, timeout_s: float) -> HeadEndError:
        """Give up the answer; return why, `NothingLeft` when none of the request left."""
        ...

    async def close(self) -> None:
        """Close the connection; conversations that wait are told."""
        ...


class Listeners:
    """The conversations of a wire whose transport has no state for each of them."""

    def __init__(self) -> None:
        self._listeners: dict[Pair, tuple[Deliver, Lost]] = {}
        self._fault: HeadEndError | None = None

    @property
    def has_failed(self) -> bool:
        return self._fault is not None

    def add(self, pair: Pair, deliver: Deliver, lost: Lost) -> None:
        """Register a conversation; raises `LocalProtocolError` when the pair has one."""
        if pair in self._listeners:
            raise busy_pair(pair)
        self._listeners[pair] = (deliver, lost)

    def remove(self, pair: Pair) -> None:
        """Forget the pair's conversation."""
        self._listeners.pop(pair, None)

    def deliver(self, pair: Pair, apdu: bytes) -> bool:
        """Hand an APDU to its conversation; False when there is none."""
        listener = self._listeners.get(pair)
        if listener is None:
            return False
        listener[0](apdu)
        return True

    def fail(self, fault: HeadEndError) -> None:
        """Tell every conversation, once."""
        if self._fault is not None:
            return
        self._fault = fault
        for _, lost in tuple(self._listeners.values()):
            lost(fault)


def busy_pair(pair: Pair) -> LocalProtocolError:
    """Return the fault of a second conversation of one pair."""
    return LocalProtocolError(f"client {pair[1]} already talks to meter {pair[0]}")


async def connect_tcp(
    make_protocol: Callable[[], asyncio.Protocol], host: str, port: int, *, timeout_s: float
) -> asyncio.Protocol:
    """Open a TCP connection; raises `MeterUnreachable` naming the address."""
    name = f"{host}:{port}"
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            _, protocol = await loop.create_connection(make_protocol, host, port)
    except TimeoutError:
        raise MeterUnreachable(f"{name} did not accept a connection in {timeout_s:g} s") from None
    except OSError as fault:
        reason = fault.strerror or str(fault)
        raise MeterUnreachable(f"no connection to {name}: {reason}") from fault
    return protocol
