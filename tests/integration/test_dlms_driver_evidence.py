"""What the adapter takes for an answer, and what leaves a switching command unknown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from headend.domain.errors import (
    MeterMisbehaved,
    MeterUnreachable,
    OutcomeUnknown,
)
from headend.domain.supply import SupplyAction
from protocols.dlms import responses as rs
from protocols.dlms.errors import AccessResult
from protocols.dlms.testing_site import (
    NOW,
    Site,
    serve_site,
)
from protocols.dlms.wrapper import WrapperFrame

ACTION_TAG = 0xCB


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve_site() as served:
        yield served


def tamper_with_action(
    change: Callable[[bytes], bytes | None],
) -> Callable[[WrapperFrame, bytes | None], bytes | None]:
    proven: list[WrapperFrame] = []

    def tamper(frame: WrapperFrame, answer: bytes | None) -> bytes | None:
        if frame.apdu[0] != ACTION_TAG:
            return answer
        proven.append(frame)
        return answer if len(proven) == 1 or answer is None else change(answer)

    return tamper


@pytest.mark.parametrize(
    "change",
    [
        lambda _answer: None,
        lambda _answer: rs.ActionResponse(0xC2, AccessResult.SUCCESS).encode(),
        lambda _answer: rs.ActionResponse(0xC2, AccessResult.READ_WRITE_DENIED).encode(),
        lambda _answer: rs.ExceptionResponse(1, 1).encode(),
        lambda answer: answer[:-1] + bytes((answer[-1] ^ 1,)),
        lambda answer: answer[:10],
        lambda _answer: b"\x00",
    ],
    ids=["silence", "plain yes", "plain no", "plain exception", "altered", "cut", "noise"],
)
async def test_without_a_proven_answer_the_outcome_is_unknown(
    site: Site, change: Callable[[bytes], bytes | None]
) -> None:
    site.server.tamper = tamper_with_action(change)
    async with site.opened() as session:
        with pytest.raises(OutcomeUnknown):
            await session.switch_relay(SupplyAction.DISCONNECT)
        # The session goes on, to read back what happened.
        assert (await session.read_relay()).output_state is True
    assert len(site.meters[1].invoked) == 1


async def test_a_connection_that_breaks_behind_the_command_leaves_it_unknown(site: Site) -> None:
    def hang_up(_call: object) -> None:
        assert site.server.transport is not None
        site.server.transport.abort()

    site.meters[1].on_invoke = hang_up
    async with site.opened() as session:
        with pytest.raises(OutcomeUnknown):
            await session.switch_relay(SupplyAction.DISCONNECT)


async def test_a_connection_that_was_gone_before_the_command_is_unreachable(site: Site) -> None:
    async with site.opened() as session:
        assert site.server.transport is not None
        site.server.transport.abort()
        with pytest.raises(MeterUnreachable):
            await session.read_identity()
        with pytest.raises(MeterUnreachable):
            await session.switch_relay(SupplyAction.DISCONNECT)
    assert site.meters[1].invoked == []


async def test_a_late_answer_is_not_taken_for_the_next_one(site: Site) -> None:
    kept: list[bytes] = []

    def hold_first_get(frame: WrapperFrame, answer: bytes | None) -> bytes | None:
        if frame.apdu[0] == 0xC8 and not kept and answer is not None:
            kept.append(answer)
            return None
        if frame.apdu[0] == 0xC8 and len(kept) == 1:
            site.server.send(1, 1, kept[0])
            kept.append(b"")
        return answer

    async with site.opened() as session:
        site.server.tamper = hold_first_get
        with pytest.raises(MeterUnreachable):
            await session.read_clock()
        assert (await session.read_relay()).control_mode == 4


async def test_a_plain_answer_to_a_ciphered_read_is_misbehaviour(site: Site) -> None:
    async with site.opened() as session:
        site.server.tamper = lambda _frame, _answer: rs.GetResponse(0xC2, b"\x11\x01").encode()
        with pytest.raises(MeterMisbehaved):
            await session.read_clock()
        site.server.tamper = None
        assert await session.read_clock() == NOW
