"""Invocation counters of a long-lived adapter, kept per meter, client address and key.

A block is reserved durably before its first counter is used, and a counter leaves the block before
it is sent, so neither a crash nor a second process can repeat one; what a crash leaves unused is
lost, which costs nothing: 2^32 counters last a meter of 100 sessions a day for 1,000 years of
nightly restarts. With a block of 512, one session in twenty asks the store.

Received counters are compared in memory with the highest accepted. The store is asked at the first
session with a meter and then each `RECORD_EVERY` counters: in between, the fresh challenge of HLS
keeps replays of whole sessions out, and after a restart the stored value is the floor.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from headend.domain.errors import MeterMisbehaved
from headend.ports import CounterStore, MeterAccess
from protocols.dlms.security import CounterBlock

BLOCK_SIZE = 512
LOW_WATER = 4  # counters that an exchange may need: a proof and its carrier, with a spare
RECORD_EVERY = 256
MAX_ENTRIES = 50_000  # meters remembered; a forgotten one reserves a new block


@dataclass(slots=True)
class MeterCounters:
    """Both directions of one meter, client address and key."""

    block: CounterBlock = field(default_factory=lambda: CounterBlock(0, 0))
    highest_received: int = -1
    recorded: int = -1


class CounterCache:
    """The counters of all meters that one adapter talks to."""

    def __init__(self, store: CounterStore, *, block_size: int = BLOCK_SIZE) -> None:
        self._store = store
        self._block_size = max(block_size, LOW_WATER)
        self._entries: OrderedDict[tuple[int, int, str], MeterCounters] = OrderedDict()

    def of(self, access: MeterAccess) -> MeterCounters:
        """Return the counters of a meter, empty when they are not known yet."""
        key = (access.meter_id, access.client_address, access.key_id)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = MeterCounters()
            if len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(key)
        return entry

    async def refill(self, access: MeterAccess, entry: MeterCounters) -> None:
        """Make sure that the block has counters for an exchange."""
        if entry.block.left >= LOW_WATER:
            return
        first = await self._store.reserve(
            access.meter_id, access.client_address, access.key_id, self._block_size
        )
        # Replaced in place: a session that is under way draws from the same block.
        entry.block.next_counter, entry.block.limit = first, first + self._block_size

    async def check_first(self, access: MeterAccess, entry: MeterCounters, received: int) -> None:
        """Take over the counter of a session's first answers, and keep it in the store at times.

        ``received`` was already found higher than ``entry.highest_received``. Raises
        `MeterMisbehaved` when the store holds a higher one from before this process began.
        """
        entry.highest_received = max(entry.highest_received, received)
        first_time = entry.recorded < 0
        if not first_time and received - entry.recorded < RECORD_EVERY:
            return
        grew = await self._store.check_received(
            access.meter_id, access.client_address, access.key_id, received
        )
        if not grew and first_time:
            raise MeterMisbehaved(
                f"meter {access.meter_id} sent invocation counter {received} again: a replay, or"
                " its counters were reset without a new key"
            )
        entry.recorded = received
