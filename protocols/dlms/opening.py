"""How a session with one meter begins and ends on a link: association, proof, recovery, release.

A meter that refuses our invocation counter, rejects the association or stays silent is asked
through its public client before the fault is called by a name. One whose frame counter is ahead of
ours is helped by raising ours, once (`counter_recovery`). Of the others, a silent one that answers
its public client but not our keys, twice, is `AuthenticationFailed`; any other is
`MeterUnreachable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from headend.domain.errors import (
    AuthenticationFailed,
    CounterRejected,
    HeadEndError,
    LocalProtocolError,
    MeterBusy,
    MeterMisbehaved,
    MeterRefused,
    MeterUnreachable,
)
from headend.ports import Clock, MeterAccess, Turn
from protocols.dlms import client, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.association import ClientAssociation, ClientSettings
from protocols.dlms.conversation import Conversation, NoAnswer, Timeouts
from protocols.dlms.counter_recovery import CounterRecovery
from protocols.dlms.counters import CounterCache
from protocols.dlms.credentials import check_access, make_association
from protocols.dlms.initiate import Conformance
from protocols.dlms.knowledge import KnowledgeBase
from protocols.dlms.link import Wire
from protocols.dlms.meter_model import load_model
from protocols.dlms.refusals import CounterBehind
from protocols.dlms.security import SecureChannel
from protocols.dlms.session import DlmsSession

PUBLIC_CLIENT = 16  # reads identity and counters without security
_CLASS_DATA = 1


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sessions of one adapter share."""

    system_title: bytes
    timeouts: Timeouts
    clock: Clock
    counters: CounterCache
    recovery: CounterRecovery
    knowledge: KnowledgeBase
    allow_legacy: bool = False


class SessionLink(Protocol):
    """The link under a session."""

    @property
    def wire(self) -> Wire: ...

    @property
    def shared(self) -> Surroundings: ...

    async def reopen(self) -> Wire:
        """Return the link's wire, a new one where it broke; raises `MeterUnreachable`."""
        ...


@dataclass(frozen=True, slots=True)
class _Probed:
    """What the public client found: whether the meter answers, and its frame counter."""

    answers: bool
    counter: int | None = None


class SessionContext:
    """Opens and ends one session; see the module."""

    def __init__(self, link: SessionLink, access: MeterAccess, turn: Turn) -> None:
        self._link = link
        self._shared = link.shared
        self._access = access
        self._turn = turn
        self._model = load_model(access.model)
        self._credentials = check_access(
            access, self._model, allow_legacy=self._shared.allow_legacy
        )
        self._counters = link.shared.counters.of(access)
        self._knowledge = link.shared.knowledge.of(self._model, access.meter_id)
        self._channel: SecureChannel | None = None
        self._conversation: Conversation | None = None

    async def __aenter__(self) -> DlmsSession:
        shared, access = self._shared, self._access
        try:
            conversation = await self._associate(self._link.wire)
        except NoAnswer as silence:
            if self._credentials.is_plain or isinstance(silence, MeterBusy):
                raise
            conversation = await self._explain(silence)
        except (CounterRejected, AuthenticationFailed) as refused:
            if not self._credentials.needs_counters:
                raise
            conversation = await self._recover(refused)
        if self._channel is not None:
            received = self._channel.highest_received
            try:
                await shared.counters.check_first(access, self._counters, received)
            except BaseException:
                self._end(conversation)
                raise
        self._conversation = conversation
        return DlmsSession(
            conversation,
            self._model,
            self._knowledge,
            turn=self._turn,
            clock=shared.clock,
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
        association, self._channel = make_association(
            self._credentials,
            self._counters.block,
            system_title=self._shared.system_title,
            highest_received=self._counters.highest_received,
            general_blocks=self._knowledge.wants_general_blocks,
        )
        conversation = Conversation(
            wire,
            association,
            server=access.address,
            client=access.client_address,
            timeouts=self._shared.timeouts,
        )
        pair = (access.address, access.client_address)
        conversation.start()
        try:
            await conversation.associate(self._turn)
        except BaseException as fault:
            self._end(conversation)
            if isinstance(fault, NoAnswer):
                wire.unsettled.add(pair)
            elif (
                isinstance(fault, AuthenticationFailed | MeterMisbehaved) and pair in wire.unsettled
            ):
                # The answer to an earlier request came late and took the place of this one's, so
                # that counters, challenges and proofs do not fit; that says nothing about the keys.
                wire.unsettled.discard(pair)
                raise MeterUnreachable(f"meter {access.address} answered too late") from fault
            raise
        wire.unsettled.discard(pair)
        if self._lacks_blocks(association):
            # Not proposed at first, because some meters that know both get the general ones wrong.
            self._knowledge.wants_general_blocks = True
            await conversation.release(self._turn)
            self._end(conversation)
            return await self._associate(wire)
        return conversation

    def _lacks_blocks(self, association: ClientAssociation) -> bool:
        blocks = association.negotiated.conformance & Conformance.BLOCK_TRANSFER_WITH_GET
        return not blocks and not self._knowledge.wants_general_blocks

    async def _explain(self, silence: NoAnswer) -> Conversation:
        """Find out why a secured association stayed without answer; see the module."""
        wire = await self._reopen(silence)
        with _Latecomer(wire, self._access.address, self._access.client_address) as late:
            probed = await self._probe(wire)
        if late.came or not probed.answers:
            raise silence
        await self._raise_above(probed.counter, "silence")
        try:
            return await self._associate_again(silence)
        except NoAnswer as again:
            raise AuthenticationFailed(
                f"meter {self._access.address} answers its public client but not our"
                " association: wrong key, counter or client address",
                code="no-answer-to-association",
            ) from again

    async def _recover(self, refused: CounterRejected | AuthenticationFailed) -> Conversation:
        """Associate once more if the meter's counter was ahead, else raise ``refused``."""
        if not self._shared.recovery.may_raise(self._access):
            raise refused
        # Many meters close the connection behind a rejection, and others behind a release.
        probed = await self._probe(await self._reopen(refused))
        highest = probed.counter
        if isinstance(refused, CounterBehind) and refused.expected is not None:
            highest = max(refused.expected - 1, -1 if highest is None else highest)
        if not await self._raise_above(highest, refused.code):
            raise refused
        return await self._associate_again(refused)

    async def _associate_again(self, fault: HeadEndError) -> Conversation:
        """Associate after a probe; ``fault`` stands where the meter cannot be reached any more."""
        wire = await self._reopen(fault)
        try:
            return await self._associate(wire)
        except NoAnswer:
            if wire.is_open:
                raise
        # It closed behind the probe's release, which we saw too late.
        return await self._associate(await self._reopen(fault))

    async def _reopen(self, fault: HeadEndError) -> Wire:
        """Return an open wire; where there is none any more, ``fault`` stands."""
        try:
            return await self._link.reopen()
        except MeterUnreachable:
            raise fault from None

    async def _raise_above(self, highest: int | None, cause: str) -> bool:
        if highest is None or not self._credentials.needs_counters:
            return False
        return await self._shared.recovery.raise_above(
            self._access, self._counters, highest, cause=cause
        )

    async def _probe(self, wire: Wire) -> _Probed:
        """Ask the public client whether the meter is there, and for its frame counter."""
        if self._access.client_address == PUBLIC_CLIENT:
            return _Probed(False)
        timeouts = self._shared.timeouts
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
            return _Probed(False)  # somebody else is probing this very meter
        answers, counter = False, None
        try:
            await probe.associate(self._turn)
            answers = True
            if self._credentials.needs_counters:
                counter = await self._read_frame_counter(probe)
            await probe.release(self._turn)
        except MeterUnreachable:
            return _Probed(answers, counter)
        except HeadEndError:
            return _Probed(True, counter)  # a rejection is an answer too
        finally:
            probe.release_unheard()
            probe.stop()
        return _Probed(True, counter)

    async def _read_frame_counter(self, probe: Conversation) -> int | None:
        """Return the first frame counter that the meter has, None where it tells none."""
        for obis in self._model.security.frame_counters:
            flow = client.get(rq.Attribute(_CLASS_DATA, obis, 2), probe.association.draw_invoke)
            try:
                async with self._turn():
                    answer = await probe.ask(next(flow))
                value = _result_of(flow, answer.response)
            except (MeterRefused, MeterMisbehaved):
                continue  # this meter has it elsewhere, or tells none
            if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                return int(value)
        return None

    async def _refill(self) -> None:
        if self._credentials.needs_counters:
            await self._shared.counters.refill(self._access, self._counters)

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

    def __enter__(self) -> _Latecomer:
        self._wire.listen(self._server, self._client, self._note, lambda _fault: None)
        return self

    def __exit__(self, *_trace: object) -> None:
        self._wire.unlisten(self._server, self._client)

    def _note(self, _apdu: bytes) -> None:
        self.came = True


def _result_of(flow: client.Flow, response: rs.Response) -> d.Data:
    """Return the value of a flow that ends with its first answer; raises `MeterMisbehaved`."""
    try:
        flow.send(response)
    except StopIteration as end:
        return xdr.decode(end.value)
    raise MeterMisbehaved("a frame counter in blocks")
