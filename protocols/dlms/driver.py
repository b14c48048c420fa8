"""`MeterAdapter` for DLMS/COSEM over TCP with WRAPPER framing.

Opens links, and on a link one session per meter: association with fresh challenge and reserved
counters, release at the end whatever happened. A meter that stays silent on a secured association
is asked through its public client before the silence is called by a name: one that answers there
but not to our keys, twice, is `AuthenticationFailed`, any other is `MeterUnreachable`.
"""

from __future__ import annotations

import secrets
from contextlib import AbstractAsyncContextManager
from types import TracebackType

from headend.domain.errors import (
    AuthenticationFailed,
    BadInput,
    HeadEndError,
    LocalProtocolError,
    MeterUnreachable,
)
from headend.ports import Clock, CounterStore, MeterAccess, Turn
from protocols.dlms.acse import Mechanism
from protocols.dlms.association import ClientAssociation, ClientSettings
from protocols.dlms.conversation import Conversation, NoAnswer, Timeouts
from protocols.dlms.counters import CounterCache
from protocols.dlms.endpoint import SCHEMES, parse_endpoint
from protocols.dlms.knowledge import KnowledgeBase
from protocols.dlms.link import Wire, connect
from protocols.dlms.meter_model import load_model
from protocols.dlms.security import TITLE_SIZE, GcmKey, SecureChannel
from protocols.dlms.session import DlmsSession

PUBLIC_CLIENT = 16  # reads identity and counters without security
CHALLENGE_SIZE = 16  # octets
PARALLEL_EXCHANGES = 8  # requests to different meters on one concentrator connection
_MECHANISMS = {"none": Mechanism.NONE, "lls": Mechanism.LLS, "gmac": Mechanism.HLS_GMAC}


class DlmsAdapter:
    """Opens DLMS links. ``system_title`` is the head-end's own, 8 octets, stable for its keys."""

    schemes: tuple[str, ...] = SCHEMES

    def __init__(
        self,
        counters: CounterStore,
        clock: Clock,
        *,
        system_title: bytes,
        timeouts: Timeouts = Timeouts(),  # noqa: B008  (frozen)
        parallel_exchanges: int = PARALLEL_EXCHANGES,
    ) -> None:
        if len(system_title) != TITLE_SIZE:
            raise BadInput(
                f"a system title has {TITLE_SIZE} octets, not {len(system_title)}",
                field="system_title",
            )
        self.system_title = system_title
        self.timeouts = timeouts
        self.parallel_exchanges = parallel_exchanges
        self.clock = clock
        self.counters = CounterCache(counters)
        self.knowledge = KnowledgeBase()

    async def open_link(self, endpoint: str) -> DlmsLink:
        """Connect; raises `MeterUnreachable` or `BadInput` (malformed endpoint)."""
        where = parse_endpoint(endpoint)
        wire = await connect(where.host, where.port, timeout_s=self.timeouts.connect_s)
        return DlmsLink(self, wire, host=where.host, port=where.port)


class DlmsLink:
    """One connection to a concentrator or meter; sessions with different meters may overlap."""

    def __init__(self, adapter: DlmsAdapter, wire: Wire, *, host: str, port: int) -> None:
        self.adapter = adapter
        self.wire = wire
        self._host = host
        self._port = port

    @property
    def is_open(self) -> bool:
        return self.wire.is_open

    @property
    def parallel_exchanges(self) -> int:
        return self.adapter.parallel_exchanges

    def session(self, access: MeterAccess, turn: Turn) -> AbstractAsyncContextManager[DlmsSession]:
        """Associate with one meter, and release it at the end whatever happened.

        Raises `BadInput` for an access that does not fit (unknown model, missing key),
        `AuthenticationFailed`, `CounterRejected`, `MeterBusy`, `MeterUnreachable`,
        `MeterMisbehaved`.
        """
        return _SessionContext(self, access, turn)

    async def second_wire(self) -> Wire:
        """Connect once more to the same place."""
        return await connect(self._host, self._port, timeout_s=self.adapter.timeouts.connect_s)

    async def close(self) -> None:
        await self.wire.close()


class _SessionContext:
    """Opens and ends one session; see `DlmsLink.session`."""

    def __init__(self, link: DlmsLink, access: MeterAccess, turn: Turn) -> None:
        self._link = link
        self._adapter = link.adapter
        self._access = access
        self._turn = turn
        self._model = load_model(access.model)
        self._counters = link.adapter.counters.of(access)
        self._channel: SecureChannel | None = None
        self._conversation: Conversation | None = None

    async def __aenter__(self) -> DlmsSession:
        adapter, access = self._adapter, self._access
        try:
            conversation = await self._associate(self._link.wire)
        except NoAnswer as silence:
            if _is_plain(access):
                raise
            conversation = await self._explain(silence)
        if self._channel is not None:
            received = self._channel.highest_received
            try:
                await adapter.counters.check_first(access, self._counters, received)
            except BaseException:
                self._end(conversation)
                raise
        self._conversation = conversation
        return DlmsSession(
            conversation,
            self._model,
            adapter.knowledge.of(self._model, access.meter_id),
            turn=self._turn,
            clock=adapter.clock,
            refill=self._refill,
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        conversation = self._conversation
        if conversation is None:
            return
        try:
            if fault is None or isinstance(fault, Exception):
                await conversation.release(self._turn)
        finally:
            self._end(conversation)

    async def _associate(self, wire: Wire) -> Conversation:
        """Open one association; what was begun is ended when it fails."""
        await self._refill()
        access = self._access
        conversation = Conversation(
            wire,
            self._make_association(),
            server=access.address,
            client=access.client_address,
            timeouts=self._adapter.timeouts,
        )
        pair = (access.address, access.client_address)
        conversation.start()
        try:
            await conversation.associate(self._turn)
        except BaseException as fault:
            self._end(conversation)
            if isinstance(fault, NoAnswer):
                wire.unsettled.add(pair)
            elif isinstance(fault, AuthenticationFailed) and pair in wire.unsettled:
                # The answer to an earlier request came late and took the place of this one's, so
                # that challenges and proofs do not fit; that says nothing about the keys.
                wire.unsettled.discard(pair)
                raise MeterUnreachable(f"meter {access.address} answered too late") from fault
            raise
        wire.unsettled.discard(pair)
        return conversation

    def _make_association(self) -> ClientAssociation:
        access, adapter = self._access, self._adapter
        mechanism = _MECHANISMS.get(access.authentication)
        if mechanism is None:
            raise BadInput(
                f"DLMS has no authentication {access.authentication!r}", field="authentication"
            )
        if mechanism == Mechanism.LLS and access.password is None:
            raise BadInput(f"meter {access.meter_id} has no password", field="password")
        channel = self._channel = self._make_channel(mechanism)
        settings = ClientSettings(
            mechanism=mechanism,
            password=access.password if mechanism == Mechanism.LLS else None,
            challenge=secrets.token_bytes(CHALLENGE_SIZE) if mechanism > Mechanism.LLS else None,
            system_title=adapter.system_title if channel is not None else None,
        )
        return ClientAssociation(settings, channel)

    def _make_channel(self, mechanism: Mechanism) -> SecureChannel | None:
        access, counters = self._access, self._counters
        encryption_key, authentication_key = access.encryption_key, access.authentication_key
        if encryption_key is None or authentication_key is None:
            if mechanism > Mechanism.LLS:
                raise BadInput(f"meter {access.meter_id} has no keys", field="encryption_key")
            return None
        return SecureChannel(
            GcmKey(encryption_key, authentication_key),
            counters.block,
            local_title=self._adapter.system_title,
            highest_received=counters.highest_received,
        )

    async def _explain(self, silence: NoAnswer) -> Conversation:
        """Find out why a secured association stayed without answer; see the module."""
        wire = self._link.wire
        own = wire if wire.is_open else await self._link.second_wire()
        try:
            late = _Latecomer(own, self._access.address, self._access.client_address)
            with late:
                answers = await self._answers_public_client(own)
            if late.came or not answers:
                raise silence
            try:
                conversation = await self._associate(own)
            except NoAnswer as again:
                raise AuthenticationFailed(
                    f"meter {self._access.address} answers its public client but not our"
                    " association: wrong key, counter or client address",
                    code="no-answer-to-association",
                ) from again
            if own is wire:
                return conversation
            # The first connection broke by accident; a retry on a new link will do.
            conversation.release_unheard()
            self._end(conversation)
            raise silence
        finally:
            if own is not wire:
                await own.close()

    async def _answers_public_client(self, wire: Wire) -> bool:
        if self._access.client_address == PUBLIC_CLIENT:
            return False
        timeouts = self._adapter.timeouts
        probe = Conversation(
            wire,
            ClientAssociation(ClientSettings()),
            server=self._access.address,
            client=PUBLIC_CLIENT,
            timeouts=Timeouts(answer_s=timeouts.probe_s, release_s=timeouts.release_s),
        )
        try:
            probe.start()
        except LocalProtocolError:
            return False  # somebody else is probing this very meter
        try:
            await probe.associate(self._turn)
            await probe.release(self._turn)
        except MeterUnreachable:
            return False
        except HeadEndError:
            return True  # a rejection is an answer too
        finally:
            probe.release_unheard()
            probe.stop()
        return True

    async def _refill(self) -> None:
        if self._access.encryption_key is not None:
            await self._adapter.counters.refill(self._access, self._counters)

    def _end(self, conversation: Conversation) -> None:
        conversation.release_unheard()
        conversation.stop()
        if self._channel is not None:
            counters = self._counters
            received = self._channel.highest_received
            counters.highest_received = max(counters.highest_received, received)


class _Latecomer:
    """Listens whether an answer that was given up still comes: a slow meter, not a wrong key."""

    def __init__(self, wire: Wire, server: int, client: int) -> None:
        self.came = False
        self._wire, self._server, self._client = wire, server, client

    def __enter__(self) -> None:
        self._wire.listen(self._server, self._client, self._note, lambda _fault: None)

    def __exit__(self, *_trace: object) -> None:
        self._wire.unlisten(self._server, self._client)

    def _note(self, _apdu: bytes) -> None:
        self.came = True


def _is_plain(access: MeterAccess) -> bool:
    return access.authentication == "none" and access.encryption_key is None
