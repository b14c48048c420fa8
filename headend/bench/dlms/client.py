"""Our side of a measured session: the product's own driver on real sockets.

A session is the GMAC association, the profile read ciphered and decoded to typed columns, the state
of the relay, and the release, as the collector would do it on an open link.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from headend.bench.dlms.samples import (
    AUTHENTICATION_KEY,
    CAPTURED,
    CLIENT,
    ENCRYPTION_KEY,
    INTERVAL_MIN,
    ROWS,
    START,
)
from headend.domain.errors import InvariantViolated
from headend.domain.obis import LOAD_PROFILE_1
from headend.ports import MeterAccess
from protocols.dlms import requests as rq
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.driver import DlmsAdapter, DlmsLink
from protocols.dlms.profile_buffer import decode_buffer
from protocols.dlms.selection import RangeSelection
from protocols.dlms.session import DlmsSession
from protocols.dlms.testing import MemoryCounterStore

SYSTEM_TITLE = b"HEADEND1"
_PROFILE = rq.Attribute(7, LOAD_PROFILE_1, 2)
_DAY = RangeSelection(
    first=CosemDateTime.from_instant(START).octets,
    last=CosemDateTime.from_instant(START + timedelta(minutes=INTERVAL_MIN * ROWS)).octets,
    column=CAPTURED[0],
)


class RealClock:
    """Business time that is the real one."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class take_turn:  # noqa: N801  (called as a function)
    """A turn that is given at once: nobody else wants the link."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, *_: object) -> None:
        return None


def make_adapter() -> DlmsAdapter:
    """Return the product's adapter, its counters in memory."""
    return DlmsAdapter(MemoryCounterStore(first=1), RealClock(), system_title=SYSTEM_TITLE)


def make_access(address: int) -> MeterAccess:
    """Return the access of a benchmark meter."""
    return MeterAccess(
        meter_id=address,
        address=address,
        client_address=CLIENT,
        encryption_key=ENCRYPTION_KEY,
        authentication_key=AUTHENTICATION_KEY,
    )


async def run_session(link: DlmsLink, address: int) -> None:
    """Carry out one session; raises what the driver does, `InvariantViolated` for missing rows."""
    async with link.session(make_access(address), take_turn) as session:
        await use_session(session)


async def use_session(session: DlmsSession) -> None:
    """Read and decode the profile, and read the relay."""
    table = decode_buffer(await session.get(_PROFILE, _DAY))
    relay = await session.read_relay()
    if table.rows != ROWS or not relay.output_state:
        raise InvariantViolated("the meter of the benchmark answered something else")
