"""Policies: which rules are in force, and who put them there.

A stored document is ``{"policy": <pack>, "table": <JDM document>}``. Publishing takes two different
people and a document that `rules` accepts under this deployment's floors; nothing is published for
the past, and an old version comes back by being published again. What is in force is looked up at
every use and compiled once per version.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from headend.domain.errors import BadInput, ConfigurationError
from headend.domain.money import format_yuan
from headend.ports.clock import Clock
from headend.ports.policies import PolicyVersion
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.services.guard import PolicyTerms
from rules.facts import FACTS, encode_value
from rules.floors import Floors
from rules.notices import NoticePolicy, NoticeStage, NoticeTemplate
from rules.policy import Policy, parse_policy
from rules.table import DecisionTable, Outcome
from rules.table_compile import reconnect_threshold_nano
from rules.table_grammar import IntSet

DEFAULT_POLICY_CODE = "cn_prepaid"
# The default policy is in force on any business date, a simulated past included.
_ALWAYS = datetime(2000, 1, 1, tzinfo=UTC)
_CUSTOMER_CLASS = "customer_class"
_PAYMENT_MODE = "payment_mode"
_SUPPLY_OFF = "supply_off"


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """One version, compiled: ``floors`` and ``notices`` agree with the deployment's floors."""

    code: str
    version: int
    policy: Policy
    floors: Floors
    notices: NoticePolicy

    @property
    def table(self) -> DecisionTable:
        """The decision table."""
        return self.policy.table

    @property
    def templates(self) -> Mapping[NoticeStage, NoticeTemplate]:
        """The notices' words."""
        return self.policy.templates

    def cut_threshold_nano(
        self, customer_class: str | None, emergency_credit_nano: int | None
    ) -> int | None:
        """Return the balance below which an account of this class may be cut, or None: no rule.

        The lowest of the rows that may apply to the class, less the account's emergency credit: a
        row that asks for more than the class can only cut later than this, never earlier.
        """
        rows = [
            row
            for row, each in enumerate(self.table.rows)
            if each.outcome is Outcome.DISCONNECT
            and _admits(self.table.test_of(row, _SUPPLY_OFF), 0)
            and _admits(self.table.test_of(row, _CUSTOMER_CLASS), _class_code(customer_class))
        ]
        thresholds = [self.table.cut_threshold_nano(row) for row in rows]
        known = [each for each in thresholds if each is not None]
        if emergency_credit_nano is None or not known or len(known) < len(thresholds):
            return None
        return min(known) - emergency_credit_nano

    def reconnect_text(self, customer_class: str) -> str:
        """Return the balance in yuan to which a customer must pay to get power back."""
        facts: dict[str, object] = {_PAYMENT_MODE: "prepaid"}
        if _class_code(customer_class) is not None:
            facts[_CUSTOMER_CLASS] = customer_class
        return format_yuan(reconnect_threshold_nano(self.table, facts) or 0)


class Policies:
    """Finds, compiles and publishes policies. One instance per process keeps the compiled ones."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        floors: Floors | None = None,
        policy_code: str = DEFAULT_POLICY_CODE,
    ) -> None:
        self._store = store
        self._clock = clock
        self._floors = floors or Floors()
        self._policy_code = policy_code
        self._compiled: dict[tuple[str, int], PolicyInForce] = {}

    async def current(self, uow: UnitOfWork, *, at: datetime) -> PolicyInForce:
        """Return the policy in force at ``at``. Raises `ConfigurationError` when there is none."""
        version = await uow.policies.effective_version(self._policy_code, at)
        if version is None:
            raise ConfigurationError(
                f"no version of the policy {self._policy_code!r} is in force: publish one with"
                " 'headend policy publish'"
            )
        return await self.get(uow, self._policy_code, version)

    async def get(self, uow: UnitOfWork, policy_code: str, version: int) -> PolicyInForce:
        """Return one version, compiled. Raises `NotFound`."""
        key = (policy_code, version)
        if key not in self._compiled:
            stored = await uow.policies.get_version(policy_code, version)
            self._compiled[key] = self._compile(policy_code, version, stored.document)
        return self._compiled[key]

    async def terms(
        self,
        uow: UnitOfWork,
        *,
        at: datetime,
        customer_class: str | None,
        emergency_credit_nano: int | None,
    ) -> PolicyTerms:
        """Return what the policy in force says to the guard about one account."""
        policy = await self.current(uow, at=at)
        return PolicyTerms(
            floors=policy.floors,
            threshold_nano=policy.cut_threshold_nano(customer_class, emergency_credit_nano),
            calendar=policy.notices.calendar,
        )

    def check(self, document: Mapping[str, Any]) -> Policy:
        """Return a document's checked policy; raises `BadInput` naming what is wrong with it."""
        return self._compile(self._policy_code, 0, document).policy

    async def publish(
        self,
        document: Mapping[str, Any],
        *,
        published_by: str,
        approved_by: str,
        effective_from: datetime | None = None,
    ) -> PolicyVersion:
        """Publish the next version, in force from ``effective_from`` (now when left out).

        Raises `BadInput` for a document that is not acceptable, a date in the past, or when
        publisher and approver are not two people.
        """
        publisher, approver = published_by.strip(), approved_by.strip()
        if not publisher or not approver or publisher.casefold() == approver.casefold():
            raise BadInput(
                "a policy is published by one person and approved by another", field="approved_by"
            )
        now = self._clock.now()
        starts = effective_from or now
        if starts < now:
            raise BadInput("a policy cannot come into force in the past", field="effective_from")
        digest = self.check(document).digest
        async with self._store.transaction() as uow:
            version = await uow.policies.publish(
                self._policy_code,
                document,
                published_by=publisher,
                approved_by=approver,
                effective_from=starts,
            )
            await uow.audit.record(
                publisher,
                "policy.published",
                f"policy:{version.policy_code}:{version.version}",
                at=now,
                detail={
                    "approved_by": approver,
                    "effective_from": starts.isoformat(),
                    "digest": digest,
                },
            )
            return version

    async def ensure_default_policy(self) -> bool:
        """Store the shipped pack as version 1 unless the policy has a version; say whether."""
        document = read_pack(self._policy_code)
        digest = self.check(document).digest
        async with self._store.transaction() as uow:
            stored = await uow.policies.ensure_first(
                self._policy_code,
                document,
                published_by="release",
                approved_by="installation",
                effective_from=_ALWAYS,
            )
            if stored:
                await uow.audit.record(
                    "installation",
                    "policy.published",
                    f"policy:{self._policy_code}:1",
                    at=self._clock.now(),
                    detail={"approved_by": "release", "digest": digest, "default": True},
                )
            return stored

    def _compile(
        self, policy_code: str, version: int, document: Mapping[str, Any]
    ) -> PolicyInForce:
        for part in ("policy", "table"):
            if not isinstance(document.get(part), Mapping):
                raise BadInput(f"a policy document needs its {part!r}", field=part)
        policy = parse_policy(document["policy"], document["table"])
        return PolicyInForce(
            code=policy_code,
            version=version,
            policy=policy,
            floors=policy.floors_under(self._floors),
            notices=policy.notices_under(self._floors),
        )


def read_pack(name: str) -> dict[str, Any]:
    """Read a shipped pack with its table. Raises `BadInput` for an unknown name."""
    folder = resources.files("rules.packs")
    file = folder.joinpath(f"{name}.json")
    if not name.isidentifier() or not file.is_file():
        raise BadInput(f"there is no shipped policy {name!r}", field="policy")
    policy = json.loads(file.read_text(encoding="utf-8"))
    table = json.loads(folder.joinpath(str(policy["table"])).read_text(encoding="utf-8"))
    return {"policy": policy, "table": table}


def _class_code(customer_class: str | None) -> int | None:
    spec = FACTS[_CUSTOMER_CLASS]
    if customer_class not in spec.values:
        return None
    return int(encode_value(spec, customer_class))


def _admits(test: IntSet | None, code: int | None) -> bool:
    """Whether a row's test may hold for a value; an unknown value may be any."""
    return test is None or code is None or any(low <= code <= high for low, high in test)
