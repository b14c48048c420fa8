"""The demo's director: plays the customers, the crew and the mishaps; the head-end does the rest.

It knows only what anybody could see (the stored state and the meters' truth) and acts only as
anybody could: over HTTP for money and restraints, at the simulated meters for mishaps. Whatever it
decides to do follows from the database, so it can be killed and started again at any time.

A *round* takes the whole cast through its part once. The next round begins by taking the top-ups
of the last one back, which is a payment reversal like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import structlog

from headend.bootstrap import Services
from headend.demo.provision import DEMO_ACTOR
from headend.demo.town import TOP_UP_NANO, Household, Part
from headend.domain.days import DEFAULT_ZONE, local_day
from headend.domain.errors import HeadEndError
from headend.domain.money import format_yuan
from headend.domain.supply import OrderState, Restraint
from headend.ports.reports import AccountProgress
from protocols.simulator.control_client import SimulatorControl
from rules.notices import NoticeStage

_LOG = structlog.get_logger(__name__)
ROUND_SUBJECT = "demo"
ROUND_BEGUN = "demo.round_begun"
ROUND_ENDED = "demo.round_ended"
CHANNEL = "wechat"
_ON_ITS_WAY = frozenset({OrderState.SENDING, OrderState.VERIFYING})


class DemoFailed(HeadEndError):
    """The head-end answered the director in a way that it must not."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round: its number, and the business instants at which it began and ended."""

    number: int
    begun_at: datetime
    ended_at: datetime | None = None


class Director:
    """Watches the cast and acts; `tick` says whether it did anything."""

    def __init__(
        self,
        services: Services,
        control: SimulatorControl,
        api: httpx.AsyncClient,
        households: Sequence[Household],
    ) -> None:
        self._services = services
        self._control = control
        self._api = api
        self._cast: Mapping[str, Household] = {
            each.account_no: each for each in households if each.part is not Part.PAYS
        }
        self._done: set[tuple[str, str]] = set()

    async def current_round(self) -> Round | None:
        """Return the round that is under way or was played last, from the audit trail."""
        async with self._services.store.transaction() as uow:
            events = await uow.audit.about(ROUND_SUBJECT)
        begun = next((event for event in events if event.action == ROUND_BEGUN), None)
        if begun is None:
            return None
        number = int(begun.detail["round"])
        ended = (
            event.at
            for event in events
            if event.action == ROUND_ENDED and event.detail["round"] == number
        )
        return Round(number, begun.at, next(ended, None))

    async def begin_round(self) -> Round:
        """Go on with the round under way, or begin the next one."""
        current = await self.current_round()
        if current is not None and current.ended_at is None:
            return current
        number = 1 if current is None else current.number + 1
        begun_at = self._services.clock.now()
        if current is not None:
            await self._undo(current)
        async with self._services.store.transaction() as uow:
            await uow.audit.record(
                DEMO_ACTOR, ROUND_BEGUN, ROUND_SUBJECT, at=begun_at, detail={"round": number}
            )
        return Round(number, begun_at)

    async def end_round(self, played: Round) -> None:
        """Record that everybody in the cast has played."""
        async with self._services.store.transaction() as uow:
            await uow.audit.record(
                DEMO_ACTOR,
                ROUND_ENDED,
                ROUND_SUBJECT,
                at=self._services.clock.now(),
                detail={"round": played.number},
            )

    async def progress(self, played: Round) -> list[AccountProgress]:
        """Return where the cast stands in this round."""
        async with self._services.store.transaction() as uow:
            return await uow.reports.progress(sorted(self._cast), since=played.begun_at)

    async def tick(self, played: Round) -> bool:
        """Let everybody act who has to; return whether anybody did."""
        acted = False
        for standing in await self.progress(played):
            acted |= await self._act(self._cast[standing.account_no], standing, played)
        return acted

    def household(self, account_no: str) -> Household:
        """Return a household of the cast."""
        return self._cast[account_no]

    async def _act(self, household: Household, standing: AccountProgress, played: Round) -> bool:
        match household.part:
            case Part.RUNS_DRY:
                return await self._pay_when_off(household, standing, played)
            case Part.PAYS_LATE:
                if standing.disconnect_state in _ON_ITS_WAY:
                    return await self._pay(household, standing, played)
                return await self._pay_when_off(household, standing, played)
            case Part.UNSAFE:
                if standing.disconnect_state is not OrderState.COMPLETED:
                    return False
                if Restraint.UNSAFE not in standing.restraints and not standing.reconnect_state:
                    await self._find_unsafe(household, played)
                    return True
                return await self._pay_when_off(household, standing, played)
            case Part.ESTIMATED:
                stops_at = played.begun_at + timedelta(days=1)
                return await self._break(household, "missing_rows", from_=stops_at)
            case Part.SILENT:
                if NoticeStage.DISCONNECT_NOTICE in standing.notices:
                    return await self._break(household, "silent")
            case Part.WRONG_DEVICE:
                if NoticeStage.REMINDER in standing.notices:
                    return await self._break(
                        household,
                        "wrong_identity",
                        logical_device_name="SIM9999999999999",
                        serial="99999999",
                    )
        return False

    async def _pay_when_off(
        self, household: Household, standing: AccountProgress, played: Round
    ) -> bool:
        if standing.disconnect_state is not OrderState.COMPLETED or standing.reconnect_state:
            return False
        return await self._pay(household, standing, played)

    async def _pay(self, household: Household, standing: AccountProgress, played: Round) -> bool:
        """Pay what is owed and something more, once."""
        owed_nano = max(0, -standing.balance_nano)
        reference = _reference(household, played)
        if ("paid", reference) in self._done:
            return False
        answer = await self._api.post(
            "/v1/payments",
            json={
                "account_no": household.account_no,
                "channel": CHANNEL,
                "channel_reference": reference,
                "amount": format_yuan(owed_nano + TOP_UP_NANO),
            },
            headers={"Idempotency-Key": reference},
        )
        _expect(answer, 200, 201)
        self._done.add(("paid", reference))
        return answer.status_code == httpx.codes.CREATED

    async def _find_unsafe(self, household: Household, played: Round) -> None:
        answer = await self._api.post(
            "/v1/restraints",
            json={
                "usage_point_no": household.usage_point_no,
                "restraint": Restraint.UNSAFE,
                "evidence": "inspector's report: scorched terminal behind the meter",
            },
            headers={"Idempotency-Key": f"unsafe-{_reference(household, played)}"},
        )
        _expect(answer, 200, 201)

    async def _break(self, household: Household, fault: str, **parameters: object) -> bool:
        """Let a mishap happen at the meter, once."""
        meter_no = household.meter.meter_no
        if (fault, meter_no) in self._done:
            return False
        self._done.add((fault, meter_no))
        if fault in (await self._control.truth(meter_no)).faults:
            return False
        await self._control.set_fault(meter_no, fault, **parameters)
        return True

    async def _undo(self, last: Round) -> None:
        """Mend what the last round broke, and take its top-ups back."""
        for household in self._cast.values():
            if household.part in (Part.SILENT, Part.WRONG_DEVICE):
                await self._control.clear_fault(household.meter.meter_no)
                await self._backfill(household, last)
            if household.part is Part.WRONG_DEVICE:
                await self._settle_identity_case(household)
            if household.part is Part.UNSAFE:
                await self._lift_unsafe(household)
            await self._take_back(household, last)
        self._done.clear()

    async def _backfill(self, household: Household, last: Round) -> None:
        """Read what could not be read in the last round, as a meter data engineer would."""
        first = local_day(last.begun_at, DEFAULT_ZONE)
        today = local_day(self._services.clock.now(), DEFAULT_ZONE)
        days = [first + timedelta(days=number) for number in range((today - first).days)]
        async with self._services.store.transaction() as uow:
            meter_ids = await uow.registry.meter_ids([household.meter.meter_no])
        await self._services.collection.read_on_demand(
            meter_ids[household.meter.meter_no], days=days
        )

    async def _settle_identity_case(self, household: Household) -> None:
        async with self._services.store.transaction() as uow:
            meter_ids = await uow.registry.meter_ids([household.meter.meter_no])
            for case in await uow.cases.list_open():
                if case.kind == "identity_mismatch" and case.meter_id in meter_ids.values():
                    await uow.cases.close(
                        case.kind,
                        case.subject_key,
                        closed_by=DEMO_ACTOR,
                        outcome="crew found the installed meter in place",
                        at=self._services.clock.now(),
                    )

    async def _lift_unsafe(self, household: Household) -> None:
        answer = await self._api.post(
            "/v1/restraints/lift",
            json={
                "usage_point_no": household.usage_point_no,
                "restraint": Restraint.UNSAFE,
                "evidence": "inspector's report: terminal replaced, safe",
            },
        )
        _expect(answer, 200, 201, 404)

    async def _take_back(self, household: Household, last: Round) -> None:
        answer = await self._api.post(
            f"/v1/payments/{CHANNEL}/{_reference(household, last)}/reversal",
            json={"reason": "demo: the next round begins"},
        )
        _expect(answer, 200, 201, 404)


def _reference(household: Household, played: Round) -> str:
    return f"round{played.number}-{household.account_no}"


def _expect(answer: httpx.Response, *codes: int) -> None:
    if answer.status_code not in codes:
        raise DemoFailed(
            f"{answer.request.method} {answer.request.url.path} answered {answer.status_code}:"
            f" {answer.text[:300]}"
        )
