"""A wall clock that tests move by hand, a business clock upon it, and a client without sockets."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from headend.domain.obis import Obis
from protocols.dlms import client, xdr
from protocols.dlms.acse import Mechanism
from protocols.dlms.association import (
    Challenged,
    ClientAssociation,
    ClientSettings,
    Event,
)
from protocols.dlms.requests import Attribute
from protocols.dlms.security import CounterBlock, GcmKey, SecureChannel
from protocols.simulator.business_time import US_PER_S, BusinessClock, to_us

NOON = datetime(2025, 3, 10, 4, 0, tzinfo=UTC)  # 12:00 in Shanghai, a Monday
CLIENT_TITLE = b"HES00001"


class WallClock:
    """Real time in microseconds."""

    def __init__(self) -> None:
        self.us = to_us(NOON)

    def __call__(self) -> int:
        return self.us

    def advance(self, seconds: float) -> None:
        self.us += round(seconds * US_PER_S)


class MemoryClient:
    """A client whose network is a function; remembers every octet it was given."""

    def __init__(
        self,
        answer: Callable[[bytes], bytes | None],
        *,
        encryption_key: str = "",
        authentication_key: str = "",
        first_counter: int = 0,
    ) -> None:
        self.received: list[bytes] = []
        self.counters = CounterBlock(first_counter, 1 << 32)
        channel, settings = None, ClientSettings()
        if encryption_key:
            key = GcmKey(bytes.fromhex(encryption_key), bytes.fromhex(authentication_key))
            channel = SecureChannel(key, self.counters, local_title=CLIENT_TITLE)
            settings = ClientSettings(
                Mechanism.HLS_GMAC, challenge=b"0123456789abcdef", system_title=CLIENT_TITLE
            )
        self._answer = answer
        self.association = ClientAssociation(settings, channel)

    def associate(self) -> Event:
        """Return the event that ended the attempt: `Associated` or `Rejected`."""
        event = self._exchange(self.association.open())
        if isinstance(event, Challenged):
            event = self._exchange(self.association.prove())
        return event

    def read(self, class_id: int, obis: Obis, attribute: int = 2) -> Any:
        target = Attribute(class_id, obis, attribute)
        return xdr.decode(self._run(client.get(target, self.association.draw_invoke)))

    def act(self, class_id: int, obis: Obis, method: int) -> None:
        target = Attribute(class_id, obis, method)
        self._run(client.action(target, b"\x0f\x00", self.association.draw_invoke))

    def _run(self, flow: client.Flow) -> bytes:
        try:
            request = next(flow)
            while True:
                event = self._exchange(self.association.request(request))
                request = flow.send(event.response)
        except StopIteration as stop:
            return stop.value

    def _exchange(self, apdu: bytes) -> Any:
        answer = self._answer(apdu)
        if answer is None:
            raise NoAnswer
        self.received.append(answer)
        return self.association.receive(answer)


class NoAnswer(Exception):
    """The device said nothing."""


@pytest.fixture
def wall() -> WallClock:
    return WallClock()


@pytest.fixture
def clock(wall: WallClock) -> BusinessClock:
    return BusinessClock(real_us=wall)


@pytest.fixture
def connect() -> Callable[..., MemoryClient]:
    """Return a function that connects a client to a device, by address 1 with its keys or 16."""

    def make(device: Any, client_address: int = 1, *, first_counter: int = 0) -> MemoryClient:
        session = device.open_session(client_address)
        keys = (
            {
                "encryption_key": device.spec.encryption_key,
                "authentication_key": device.spec.authentication_key,
            }
            if client_address == 1
            else {}
        )
        return MemoryClient(
            lambda apdu: device.answer(session, apdu), first_counter=first_counter, **keys
        )

    return make


@pytest.fixture
def no_answer() -> type[Exception]:
    return NoAnswer
