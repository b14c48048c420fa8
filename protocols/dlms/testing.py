"""Stand-ins for tests of this stack: objects in a table, counters in memory, both ends joined."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from headend.domain.obis import Obis
from protocols.dlms.association import ClientAssociation
from protocols.dlms.client import Flow, ListFlow
from protocols.dlms.errors import AccessError, AccessResult
from protocols.dlms.events import Answer, Challenged, Continue, Event
from protocols.dlms.selection import Selection
from protocols.dlms.server import ServerSession

MAX_SILENCES = 5
Invoked = tuple[int, Obis, int, bytes | None]


@dataclass(slots=True)
class TableObjects:
    """`CosemObjects` from a table of encoded attributes; remembers what was asked of it.

    ``methods`` maps (class, OBIS, method) to the encoded answer, None for none, or a result.
    """

    attributes: dict[tuple[int, Obis, int], bytes] = field(default_factory=dict)
    methods: dict[tuple[int, Obis, int], bytes | AccessResult | None] = field(default_factory=dict)
    selections: list[Selection | None] = field(default_factory=list)
    invoked: list[Invoked] = field(default_factory=list)
    on_invoke: Callable[[Invoked], None] | None = None

    def read(self, class_id: int, obis: Obis, attribute: int, selection: Selection | None) -> bytes:
        value = self.attributes.get((class_id, obis, attribute))
        if value is None:
            raise AccessError(AccessResult.OBJECT_UNDEFINED)
        self.selections.append(selection)
        return value

    def write(self, class_id: int, obis: Obis, attribute: int, value: bytes) -> None:
        if (class_id, obis, attribute) not in self.attributes:
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        self.attributes[class_id, obis, attribute] = value

    def invoke(
        self, class_id: int, obis: Obis, method: int, parameter: bytes | None
    ) -> bytes | None:
        if (class_id, obis, method) not in self.methods:
            raise AccessError(AccessResult.OBJECT_UNDEFINED)
        call = (class_id, obis, method, parameter)
        self.invoked.append(call)
        if self.on_invoke is not None:
            self.on_invoke(call)
        answer = self.methods[class_id, obis, method]
        if isinstance(answer, AccessResult):
            raise AccessError(answer)
        return answer


@dataclass(slots=True)
class MemoryCounterStore:
    """`CounterStore` in a dictionary; counts how often it was asked."""

    first: int = 0
    reservations: list[tuple[int, int, str, int, int]] = field(default_factory=list)
    received: dict[tuple[int, int, str], int] = field(default_factory=dict)
    raised: list[tuple[int, int, str, int]] = field(default_factory=list)
    checks: int = 0
    _next: dict[tuple[int, int, str], int] = field(default_factory=dict)

    async def reserve(self, meter_id: int, client_address: int, key_id: str, count: int) -> int:
        key = (meter_id, client_address, key_id)
        first = self._next.get(key, self.first)
        self._next[key] = first + count
        self.reservations.append((*key, first, count))
        return first

    async def raise_to(self, meter_id: int, client_address: int, key_id: str, counter: int) -> None:
        key = (meter_id, client_address, key_id)
        self.raised.append((*key, counter))
        self._next[key] = max(self._next.get(key, self.first), counter)

    async def check_received(
        self, meter_id: int, client_address: int, key_id: str, counter: int
    ) -> bool:
        key = (meter_id, client_address, key_id)
        self.checks += 1
        if counter <= self.received.get(key, -1):
            return False
        self.received[key] = counter
        return True


@dataclass(slots=True)
class Loopback:
    """An association and a server session joined in memory; ``log`` holds both directions.

    ``lose`` is asked of each APDU by its place in the log whether it gets lost on the way; only
    blocks are sent again.
    """

    association: ClientAssociation
    server: ServerSession
    log: list[bytes] = field(default_factory=list)
    lose: Callable[[int], bool] | None = None

    def exchange(self, apdu: bytes) -> Event:
        """Carry one APDU over and its answer back, in as many blocks as both like."""
        event: Event = Continue((apdu,))
        silences = 0
        while isinstance(event, Continue):
            answers: list[bytes] = []
            for sent in event.apdus or (self.association.repeat() if silences else ()):
                if self._carry(sent):
                    answers += self.server.handle_all(sent)
            event = Continue()
            came = [answer for answer in answers if self._carry(answer)]
            silences = 0 if came else silences + 1
            if silences > MAX_SILENCES:
                return self.association.receive(b"")
            for answer in came:
                event = self.association.receive(answer)
                if not isinstance(event, Continue):
                    break  # what was sent again comes late
        return event

    def _carry(self, apdu: bytes) -> bool:
        """Log an APDU; tell whether it arrives."""
        place = len(self.log)
        self.log.append(apdu)
        return self.lose is None or not self.lose(place)

    def associate(self) -> Event:
        """Open the association; returns the last event, `Associated` if all is well."""
        event = self.exchange(self.association.open())
        return self.exchange(self.association.prove()) if event == Challenged() else event

    def run(self, flow: Flow | ListFlow) -> object:
        """Carry out a flow and return its result."""
        request = next(flow)
        while True:
            event = self.exchange(self.association.request(request))
            if not isinstance(event, Answer):
                return event
            try:
                request = flow.send(event.response)
            except StopIteration as end:
                return end.value
