"""What was seen to happen: each step counted from the database and the simulator's own truth.

Nothing here comes from what the director meant to do. A switching counts as verified when the
database has its evidence *and* the meter's contact really moved between command and completion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np

from headend.bootstrap import Services
from headend.demo.director import Round
from headend.demo.town import Household, Part
from headend.domain.supply import (
    LIFTED_BY,
    EvidenceGrade,
    OrderState,
    Restraint,
    SupplyAction,
    SupplyState,
)
from headend.ports.reports import AccountProgress, CompletedSwitching, PaymentTime, ProtocolCount
from protocols.simulator.control_client import SimulatorControl
from protocols.simulator.truth import MeterTruth
from rules.reasons import RefusalReason

LEAST_CUT = 5
RESIDENTIAL_NOTICE = timedelta(days=7)
REMINDER = timedelta(minutes=30)
# Clocks of two processes on one machine, and the rounding of a movement's time.
CLOCK_SLACK = timedelta(milliseconds=50)
EXPECTED_REFUSAL: dict[Part, RefusalReason] = {
    Part.PROTECTED: RefusalReason.LIFE_SUPPORT,
    Part.ESTIMATED: RefusalReason.BALANCE_RESTS_ON_ESTIMATES,
    Part.SILENT: RefusalReason.METER_NOT_HEARD_LATELY,
    Part.WRONG_DEVICE: RefusalReason.IDENTITY_MISMATCH,
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that had to be seen, and what was seen."""

    name: str
    seen: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the proof looks at, gathered once."""

    households: Mapping[str, Household]
    progress: Sequence[AccountProgress]
    switchings: Sequence[CompletedSwitching]
    payments: Sequence[PaymentTime]
    protocols: Sequence[ProtocolCount]
    notices: int
    imbalance_nano: int
    unbalanced_accounts: int
    truths: Mapping[str, MeterTruth]
    believed: Mapping[str, SupplyState]

    def by_part(self, part: Part) -> list[AccountProgress]:
        """Return the standing of the households that play a part."""
        return [each for each in self.progress if self.households[each.account_no].part is part]

    def of_account(self, account_no: str, action: SupplyAction) -> list[CompletedSwitching]:
        """Return an account's verified switchings of one kind."""
        return [
            each
            for each in self.switchings
            if each.account_no == account_no and each.action is action and self.is_verified(each)
        ]

    def is_verified(self, switching: CompletedSwitching) -> bool:
        """Whether evidence is stored and the contact really moved while the order was sent."""
        closed = switching.action is SupplyAction.RECONNECT
        return switching.evidence_grade >= EvidenceGrade.CONTACT_REPORTED and any(
            movement.closed is closed
            and switching.sent_real - CLOCK_SLACK
            <= movement.real_at
            <= switching.finished_real + CLOCK_SLACK
            for movement in self.truths[switching.meter_no].history
        )


@dataclass(slots=True)
class Proof:
    """The result: steps in order, and the figures of the JSON file."""

    steps: list[Step] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every step was seen."""
        return all(step.seen for step in self.steps)


async def gather_evidence(
    services: Services,
    control: SimulatorControl,
    households: Sequence[Household],
    played: Round,
) -> Evidence:
    """Read the database and the truth."""
    truths = {truth.meter_no: truth for truth in await control.truths()}
    numbers = [household.account_no for household in households]
    async with services.store.transaction() as uow:
        progress = await uow.reports.progress(numbers, since=played.begun_at)
        switchings = await uow.reports.completed_switchings(since=played.begun_at)
        payments = await uow.reports.payments(since=played.begun_at)
        protocols = await uow.reports.protocols()
        notices = await uow.reports.notices_delivered(since=played.begun_at)
    books = await services.accounts.check_books()
    return Evidence(
        households={household.account_no: household for household in households},
        progress=progress,
        switchings=switchings,
        payments=payments,
        protocols=protocols,
        notices=notices,
        imbalance_nano=books.imbalance.nano,
        unbalanced_accounts=len(books.mismatches),
        truths=truths,
        believed={each.meter_no: each.supply_state for each in progress},
    )


def prove(evidence: Evidence) -> Proof:
    """Judge the evidence."""
    proof = Proof()
    proof.steps = [
        _collected(evidence),
        _cut(evidence),
        *(_refused(evidence, part, code) for part, code in EXPECTED_REFUSAL.items()),
        _paid_while_sending(evidence),
        _restrained(evidence),
        _reconnected(evidence),
        _nobody_else(evidence),
        _truth_agrees(evidence),
        _books(evidence),
    ]
    proof.figures = _figures(evidence, ok=proof.ok)
    return proof


def _collected(evidence: Evidence) -> Step:
    meters = sum(each.meters for each in evidence.protocols)
    readings = sum(each.readings for each in evidence.protocols)
    return Step(
        "meters polled, intervals stored",
        meters == len(evidence.truths) and readings > meters * 96,
        f"{meters} meters, {readings:,} intervals",
    )


def _cut(evidence: Evidence) -> Step:
    """At least five ran dry, were warned, waited their notice time, and are seen disconnected."""
    cut = []
    for standing in evidence.by_part(Part.RUNS_DRY):
        for switching in evidence.of_account(standing.account_no, SupplyAction.DISCONNECT):
            told, reminded = switching.noticed_at, switching.reminded_at
            if told is None or reminded is None:
                continue
            if (
                switching.sent_at - told >= RESIDENTIAL_NOTICE
                and switching.sent_at - reminded >= REMINDER
            ):
                cut.append(standing.account_no)
    return Step(
        "run dry, warned, waited 7 days, reminded, seen disconnected",
        len(set(cut)) >= LEAST_CUT,
        f"{len(set(cut))} accounts (at least {LEAST_CUT})",
    )


def _refused(evidence: Evidence, part: Part, code: RefusalReason) -> Step:
    standings = evidence.by_part(part)
    refused = [each for each in standings if primary_refusal(each) == code]
    on = [each for each in standings if evidence.truths[each.meter_no].closed]
    return Step(
        f"refused: {code.value}",
        bool(standings) and len(refused) == len(standings) == len(on),
        f"{len(refused)} of {len(standings)}, {len(on)} still on",
    )


def is_over(progress: Sequence[AccountProgress], households: Sequence[Household]) -> bool:
    """Whether everybody in the cast has come to the end of their part."""
    parts = {household.account_no: household.part for household in households}
    return all(_has_played(standing, parts[standing.account_no]) for standing in progress)


def _has_played(standing: AccountProgress, part: Part) -> bool:
    if part in EXPECTED_REFUSAL:
        return primary_refusal(standing) is not None
    if part is Part.UNSAFE:
        return standing.reconnect_state is OrderState.REFUSED
    if part is Part.PAYS_LATE and standing.disconnect_state is OrderState.REFUSED:
        return True
    return part is Part.PAYS or standing.reconnect_state is OrderState.COMPLETED


def primary_refusal(standing: AccountProgress) -> str | None:
    """Return the most decisive reason for which an account was last refused its disconnect."""
    if standing.disconnect_state is OrderState.REFUSED and standing.disconnect_codes:
        return standing.disconnect_codes[0]
    return standing.decision_codes[0] if standing.decision_codes else None


def _paid_while_sending(evidence: Evidence) -> Step:
    """A payment posted between the command's commit and its completion, and power is on."""
    told = "no payment fell into a disconnect's sending"
    for standing in evidence.by_part(Part.PAYS_LATE):
        for cut in evidence.switchings:
            if cut.account_no != standing.account_no or cut.action is not SupplyAction.DISCONNECT:
                continue
            within = [
                payment
                for payment in evidence.payments
                if payment.account_no == cut.account_no
                and cut.sent_real <= payment.posted_real <= cut.finished_real
            ]
            if within and evidence.truths[standing.meter_no].closed:
                lead = (cut.finished_real - within[0].posted_real).total_seconds() * 1000
                told = f"paid {lead:.0f} ms before the contact was seen open; power is on"
                return Step("payment lands while the disconnect is sent", True, told)
        refused_in_session = standing.disconnect_state is OrderState.REFUSED
        if refused_in_session and evidence.truths[standing.meter_no].closed:
            told = "the guard stopped the command in the session; power stayed on"
            return Step("payment lands while the disconnect is sent", True, told)
    return Step("payment lands while the disconnect is sent", False, told)


def _restrained(evidence: Evidence) -> Step:
    """Paid, and still off because of another restraint, with who lifts it."""
    standings = evidence.by_part(Part.UNSAFE)
    kept_off = [
        each
        for each in standings
        if not evidence.truths[each.meter_no].closed
        and each.balance_nano > 0
        and each.reconnect_state is OrderState.REFUSED
        and RefusalReason.RESTRAINT_REMAINS in each.reconnect_codes
        and set(each.restraints) == {Restraint.UNSAFE}
    ]
    return Step(
        "paid, kept off by another restraint",
        bool(standings) and len(kept_off) == len(standings),
        f"{len(kept_off)} of {len(standings)}; {Restraint.UNSAFE} is lifted by "
        f"{LIFTED_BY[Restraint.UNSAFE][1]}",
    )


def _reconnected(evidence: Evidence) -> Step:
    """Every other disconnected account was paid over HTTP and is seen reconnected."""
    others = [
        standing
        for standing in evidence.progress
        if evidence.households[standing.account_no].part is not Part.UNSAFE
        and evidence.of_account(standing.account_no, SupplyAction.DISCONNECT)
    ]
    back = [
        standing
        for standing in others
        if any(
            switching.paid_real is not None
            for switching in evidence.of_account(standing.account_no, SupplyAction.RECONNECT)
        )
        and evidence.truths[standing.meter_no].closed
    ]
    return Step(
        "paid over HTTP, seen reconnected",
        len(others) >= LEAST_CUT and len(back) == len(others),
        f"{len(back)} of {len(others)}",
    )


def _nobody_else(evidence: Evidence) -> Step:
    """Every opening in the truth belongs to a verified order of this account."""
    may_open = {Part.RUNS_DRY, Part.PAYS_LATE, Part.UNSAFE}
    wrong = [
        standing.account_no
        for standing in evidence.progress
        if evidence.households[standing.account_no].part not in may_open
        and evidence.truths[standing.meter_no].openings > 0
    ]
    return Step(
        "nobody else lost power",
        not wrong,
        ", ".join(wrong) or f"{len(evidence.progress)} accounts looked at",
    )


def _truth_agrees(evidence: Evidence) -> Step:
    wrong = [
        meter_no
        for meter_no, state in evidence.believed.items()
        if (state is SupplyState.CONNECTED) is not evidence.truths[meter_no].closed
    ]
    loaded = [
        truth.meter_no
        for truth in evidence.truths.values()
        if not truth.closed and truth.power_w != 0
    ]
    return Step(
        "stored supply states agree with the contacts",
        not wrong and not loaded,
        ", ".join(wrong + loaded) or f"{len(evidence.believed)} meters",
    )


def _books(evidence: Evidence) -> Step:
    return Step(
        "ledger balanced, balances equal their entries",
        evidence.imbalance_nano == 0 and evidence.unbalanced_accounts == 0,
        f"imbalance {evidence.imbalance_nano} nano, {evidence.unbalanced_accounts} accounts off",
    )


def _figures(evidence: Evidence, *, ok: bool) -> dict[str, Any]:
    verified = [each for each in evidence.switchings if evidence.is_verified(each)]
    protocols = {}
    for count in evidence.protocols:
        mine = [each for each in verified if each.protocol == count.protocol]
        actions = Counter(each.action for each in mine)
        protocols[count.protocol] = {
            "meters": count.meters,
            "readings": count.readings,
            "disconnects_verified": actions[SupplyAction.DISCONNECT],
            "reconnects_verified": actions[SupplyAction.RECONNECT],
            "payment_to_closed_ms": payment_to_closed_ms(mine),
        }
    return {
        "ok": ok,
        "protocols": protocols,
        "notices": evidence.notices,
        "refused": refusals(evidence.progress),
        "ledger_imbalance_nano": evidence.imbalance_nano,
    }


def refusals(progress: Sequence[AccountProgress]) -> dict[str, int]:
    """Count accounts by the most decisive reason of each kind of order refused to them."""
    counted: Counter[str] = Counter()
    for standing in progress:
        code = primary_refusal(standing)
        if code is not None:
            counted[code] += 1
        if standing.reconnect_state is OrderState.REFUSED and standing.reconnect_codes:
            counted[standing.reconnect_codes[0]] += 1
    return dict(sorted(counted.items()))


def payment_to_closed_ms(switchings: Sequence[CompletedSwitching]) -> dict[str, float | None]:
    """Return p50 and p99 from payment posted to contact seen closed [ms, real time]."""
    delays = [
        (each.finished_real - each.paid_real).total_seconds() * 1000
        for each in switchings
        if each.action is SupplyAction.RECONNECT and each.paid_real is not None
    ]
    if not delays:
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(np.asarray(delays), [50, 99])
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1)}
