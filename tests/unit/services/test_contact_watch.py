"""A command is sent once; what counts is what the contact is seen to do."""

from __future__ import annotations

import itertools

import pytest

from headend.domain.diagnosis import Diagnosed
from headend.domain.errors import Conflict, MeterRefused, OutcomeUnknown
from headend.domain.supply import ControlState, RelayReading, SupplyAction
from headend.ports.inspection import MeterInspection
from headend.services import contact_watch
from headend.services.contact_watch import Outcome, Watched, judge, switch_and_watch
from headend.testing.inspection import FakeInspection, FakeInspector

OPEN, CLOSE = SupplyAction.DISCONNECT, SupplyAction.RECONNECT
CLOSED = RelayReading(True, ControlState.CONNECTED, 4)
OPENED = RelayReading(False, ControlState.DISCONNECTED, 4)
ARMED = RelayReading(False, ControlState.READY_FOR_RECONNECTION, 3)
OPENING = RelayReading(True, ControlState.DISCONNECTED, 4)
CLOSING = RelayReading(False, ControlState.CONNECTED, 4)


@pytest.fixture(autouse=True)
def _without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_watch, "POLL_S", 0)


async def allow(_meter: MeterInspection) -> None:
    return None


async def switch(meter: FakeInspection, action: SupplyAction, *, polls: int = 5) -> Watched:
    """Switch with a clock that ticks once a poll, and time for ``polls`` of them."""
    ticks = itertools.count()
    return await switch_and_watch(
        FakeInspector(meter), "fake+tcp://x", action,
        before_sending=allow, wait_s=polls, now_s=lambda: next(ticks),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("action", "seen", "outcome"),
    [
        (OPEN, OPENED, Outcome.DONE), (OPEN, ARMED, Outcome.DONE), (OPEN, CLOSED, Outcome.UNMOVED),
        (OPEN, OPENING, Outcome.MOVING), (OPEN, CLOSING, Outcome.MOVING),
        (CLOSE, CLOSED, Outcome.DONE), (CLOSE, ARMED, Outcome.ARMED),
        (CLOSE, OPENED, Outcome.UNMOVED), (CLOSE, CLOSING, Outcome.MOVING),
    ],
)  # fmt: skip
def test_what_is_seen_is_judged(action: SupplyAction, seen: RelayReading, outcome: Outcome) -> None:
    assert judge(action, seen) is outcome


async def test_a_contact_is_followed_to_its_end() -> None:
    meter = FakeInspection([CLOSED, OPENING, OPENING, OPENED])
    watched = await switch(meter, OPEN)
    assert (watched.outcome, watched.state.reading, watched.arrived) == (
        Outcome.DONE, OPENED, True,
    )  # fmt: skip
    assert meter.commands == [OPEN]


async def test_a_contact_that_never_follows_has_not_arrived() -> None:
    meter = FakeInspection([CLOSED, OPENING])
    watched = await switch(meter, OPEN)
    assert (watched.outcome, watched.arrived) == (Outcome.MOVING, False)
    assert meter.commands == [OPEN]


async def test_armed_is_an_answer_to_close() -> None:
    meter = FakeInspection([OPENED, ARMED], closes_remotely=False)
    watched = await switch(meter, CLOSE, polls=1000)
    assert (watched.outcome, watched.arrived) == (Outcome.ARMED, True)


async def test_a_mode_that_closes_directly_may_pass_through_armed() -> None:
    meter = FakeInspection([OPENED, ARMED, CLOSING, CLOSED])
    assert (await switch(meter, CLOSE)).outcome is Outcome.DONE


async def test_what_is_there_already_is_left_alone() -> None:
    for action, seen in ((OPEN, OPENED), (CLOSE, CLOSED)):
        meter = FakeInspection([seen])
        watched = await switch(meter, action)
        assert (watched.arrived, watched.notes) == (True, ("it was there already",))
        assert meter.commands == []


async def test_an_armed_contact_is_opened_for_good() -> None:
    meter = FakeInspection([ARMED, OPENED])
    assert (await switch(meter, OPEN)).state.reading == OPENED
    assert meter.commands == [OPEN]


async def test_a_lost_answer_is_read_back_and_never_sent_again() -> None:
    meter = FakeInspection([CLOSED, OPENED], answer=OutcomeUnknown("no answer"))
    watched = await switch(meter, OPEN)
    assert watched.outcome is Outcome.DONE
    assert watched.notes[0].startswith("no answer to the command")
    assert meter.commands == [OPEN]


async def test_a_lost_connection_is_read_back_on_a_new_one() -> None:
    meter = FakeInspection([CLOSED, OPENED], lost_after=1)
    watched = await switch(meter, OPEN)
    assert (watched.outcome, meter.opened, meter.commands) == (Outcome.DONE, 2, [OPEN])


async def test_a_meter_that_is_busy_while_its_relay_moves_is_waited_for() -> None:
    meter = FakeInspection([CLOSED, OPENED], busy_after=1)
    watched = await switch(meter, OPEN)
    assert (watched.outcome, meter.opened) == (Outcome.DONE, 1)


async def test_a_connection_lost_before_the_command_is_a_failure() -> None:
    meter = FakeInspection([CLOSED], lost_after=0)
    with pytest.raises(Diagnosed):
        await switch(meter, OPEN)
    assert (meter.commands, meter.opened) == ([], 1)


@pytest.mark.parametrize(
    ("action", "options"),
    [(OPEN, {"opens_remotely": False}), (CLOSE, {"closes_remotely": None})],
)
async def test_a_mode_without_the_command_is_not_asked(
    action: SupplyAction, options: dict[str, bool | None]
) -> None:
    meter = FakeInspection([CLOSED if action is OPEN else OPENED], **options)  # type: ignore[arg-type]
    with pytest.raises(MeterRefused, match="control mode 4 has no remote"):
        await switch(meter, action)
    assert meter.commands == []


async def test_who_may_not_sends_nothing() -> None:
    async def forbid(_meter: MeterInspection) -> None:
        raise Conflict("it is installed", field="endpoint")

    meter = FakeInspection([CLOSED])
    with pytest.raises(Conflict):
        await switch_and_watch(FakeInspector(meter), "fake+tcp://x", OPEN, before_sending=forbid)
    assert meter.commands == []
