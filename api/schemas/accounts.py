"""Accounts: balance, ledger, rated days, statements."""

from __future__ import annotations

from pydantic import Field

from api.schemas.common import Answer, Bilingual, Day, Instant, Yuan, YuanExact
from api.schemas.payments import PaymentOut
from api.schemas.supply import PointSupplyOut
from headend.domain.masking import mask_phone
from headend.domain.reading import Quality
from headend.ports.ledger import EntryRecord
from headend.ports.settlement import CalendarDay, Indication
from headend.ports.supply_views import Numbers
from headend.services.account_statement import MeterIndication, Statement, StatementLine
from headend.services.accounts import AccountView, LedgerPage
from headend.services.supply_views import AccountSupply


class AccountOut(Answer):
    """One account as it stands: money and supply together."""

    account_no: str
    name: str
    phone: str | None = Field(description="Masked.", examples=["138****5678"])
    customer_class: str
    payment_mode: str
    tariff: str
    agreement_signed_at: Instant | None
    balance: Yuan = Field(description="The customer's credit; negative is owed.")
    balance_nano: int = Field(description="The same, exactly: 10⁻⁹ yuan.")
    estimated: Yuan = Field(description="Charges in the balance that rest on estimated energy.")
    emergency_credit: Yuan
    settled_through: Day | None = Field(description="Last local day that is settled.")
    actual_through: Instant | None = Field(
        description="Up to when every settled interval is an actual reading."
    )
    supply: list[PointSupplyOut]
    payments: list[PaymentOut] = Field(description="The latest, newest first.")
    pending_payments: list[PaymentOut] = Field(description="Announced, not yet money.")

    @classmethod
    def of(cls, view: AccountView, supply: AccountSupply) -> AccountOut:
        account, balance = view.account, view.balance
        return cls(
            account_no=account.account_no,
            name=account.name,
            phone=mask_phone(account.phone) if account.phone else None,
            customer_class=account.customer_class,
            payment_mode=account.payment_mode,
            tariff=account.tariff_code,
            agreement_signed_at=account.agreement_signed_at,
            balance=balance.balance_nano,
            balance_nano=balance.balance_nano,
            estimated=balance.estimated_nano,
            emergency_credit=account.emergency_credit_nano,
            settled_through=balance.settled_through,
            actual_through=balance.actual_through,
            supply=[PointSupplyOut.of(point) for point in supply.points],
            payments=[PaymentOut.of(payment) for payment in view.payments],
            pending_payments=[PaymentOut.of(payment) for payment in view.pending],
        )


class LedgerEntryOut(Answer):
    """One posting to the account; positive is credit."""

    business_date: Day
    entry_key: str
    kind: str
    amount: Yuan
    amount_exact: YuanExact
    corrects: str | None = Field(description="The entry that this one corrects or reverses.")
    posted_at: Instant

    @classmethod
    def of(cls, entry: EntryRecord) -> LedgerEntryOut:
        return cls(
            business_date=entry.business_date,
            entry_key=entry.entry_key,
            kind=entry.kind,
            amount=entry.amount_nano,
            amount_exact=entry.amount_nano,
            corrects=entry.corrects,
            posted_at=entry.posted_at,
        )


class LedgerPageOut(Answer):
    """Postings, newest first."""

    account_no: str
    items: list[LedgerEntryOut]
    next_cursor: str | None = Field(description="Ask again with it; null on the last page.")

    @classmethod
    def of(cls, account_no: str, page: LedgerPage) -> LedgerPageOut:
        return cls(
            account_no=account_no,
            items=[LedgerEntryOut.of(entry) for entry in page.entries],
            next_cursor=page.next_cursor,
        )


class UsageDayOut(Answer):
    """One rated day of one usage point. Energy is after the meter's multiplier."""

    day: Day
    usage_point_no: str
    energy_wh: int
    estimated_wh: int = Field(description="The part of it that is estimated.")
    charge: Yuan
    charge_exact: YuanExact
    quality: str = Field(description="The worst of the day's intervals.", examples=["actual"])
    unrated_reason: str | None = Field(
        description="Why nothing was charged: the day is open, not free."
    )

    @classmethod
    def of(cls, day: CalendarDay, numbers: Numbers) -> UsageDayOut:
        return cls(
            day=day.business_date,
            usage_point_no=numbers.usage_points[day.usage_point_id],
            energy_wh=day.energy_wh,
            estimated_wh=day.estimated_wh,
            charge=day.charge_nano,
            charge_exact=day.charge_nano,
            quality=Quality(day.worst_quality).name.lower(),
            unrated_reason=day.unrated_reason,
        )


class UsageCalendarOut(Answer):
    """Rated days, oldest first."""

    account_no: str
    first: Day
    last: Day
    days: list[UsageDayOut]


class StatementLineOut(Answer):
    """Energy of one tier and time-of-use period under one tariff version, and its money."""

    tariff: str
    effective_from: Day
    tier: int = Field(description="Counts from 1.")
    period: str
    label: Bilingual
    energy_wh: int
    price_micro_yuan_per_kwh: int
    amount: Yuan
    amount_exact: YuanExact

    @classmethod
    def of(cls, line: StatementLine) -> StatementLineOut:
        return cls(
            tariff=line.tariff_code,
            effective_from=line.effective_from,
            tier=line.tier,
            period=line.period,
            label=Bilingual(zh=line.label.zh, en=line.label.en),
            energy_wh=line.energy_wh,
            price_micro_yuan_per_kwh=line.price_micro,
            amount=line.amount_nano,
            amount_exact=line.amount_nano,
        )


class IndicationOut(Answer):
    """What a meter's register showed, before the multiplier."""

    measured_at: Instant
    value_wh: int


class MeterIndicationOut(Answer):
    """A meter's register at both ends; null where it was not read near that end."""

    meter_no: str
    multiplier: int
    first: IndicationOut | None
    last: IndicationOut | None

    @classmethod
    def of(cls, indication: MeterIndication, numbers: Numbers) -> MeterIndicationOut:
        return cls(
            meter_no=numbers.meters[indication.meter_id],
            multiplier=indication.multiplier,
            first=_indication(indication.first),
            last=_indication(indication.last),
        )


class StatementOut(Answer):
    """What happened from ``first`` to ``last``, both included.

    The lines price the days as they are rated now, the postings are what was booked: the two
    differ by corrections, which are listed.
    """

    account_no: str
    first: Day
    last: Day
    balance_before: Yuan
    balance_after: Yuan
    posted: dict[str, YuanExact] = Field(description="Sum of postings by kind.")
    energy_wh: int
    estimated_wh: int
    charge: Yuan
    charge_exact: YuanExact
    fixed_charge: Yuan
    unexplained_exact: YuanExact = Field(description="What no tariff known today explains.")
    days_estimated: int
    days_unrated: int
    lines: list[StatementLineOut]
    meters: list[MeterIndicationOut]
    corrections: list[LedgerEntryOut]

    @classmethod
    def of(cls, statement: Statement, numbers: Numbers) -> StatementOut:
        return cls(
            account_no=statement.account.account_no,
            first=statement.first,
            last=statement.last,
            balance_before=statement.balance_before_nano,
            balance_after=statement.balance_after_nano,
            posted=statement.posted_nano,
            energy_wh=statement.energy_wh,
            estimated_wh=statement.estimated_wh,
            charge=statement.charge_nano,
            charge_exact=statement.charge_nano,
            fixed_charge=statement.fixed_nano,
            unexplained_exact=statement.unexplained_nano,
            days_estimated=statement.days_estimated,
            days_unrated=statement.days_unrated,
            lines=[StatementLineOut.of(line) for line in statement.lines],
            meters=[MeterIndicationOut.of(each, numbers) for each in statement.indications],
            corrections=[LedgerEntryOut.of(entry) for entry in statement.corrections],
        )


def _indication(value: Indication | None) -> IndicationOut | None:
    if value is None:
        return None
    return IndicationOut(measured_at=value.measured_at, value_wh=value.value_wh)
