"""The composition root: the only place that wires adapters, storage and services together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from headend.configuration import Settings
from headend.notifiers import FileNotifier
from headend.ports import MeterAdapter, MeterKeys
from headend.ports.unit_of_work import Store, UnitOfWork
from headend.ports.wake import WakeSignal
from headend.process import ProcessWatch, name_process
from headend.services.accounts import Accounts
from headend.services.aftermath import SupplyAftermath
from headend.services.billing_run import BillingRun
from headend.services.business_clock import BusinessClock
from headend.services.collection import Collection
from headend.services.decisions import Decisions
from headend.services.dispatcher import Dispatcher, DispatcherParts
from headend.services.guard import Guard
from headend.services.holds import Holds
from headend.services.links import LinkPool
from headend.services.meter_keys import RegistryMeterKeys
from headend.services.notices import Notices
from headend.services.order_outcomes import OrderOutcomes
from headend.services.payments import Payments
from headend.services.policies import Policies
from headend.services.power_watch import PowerWatch
from headend.services.pushes import PushIntake, RegistryPushKeys
from headend.services.restraints import Restraints
from headend.services.run_keeper import RunKeeper
from headend.services.scheduler import Scheduler
from headend.services.supply_control import SupplyControl
from headend.store.counters import PostgresCounterStore
from headend.store.database import Pool, open_pool
from headend.store.keys import KeyVault, open_demo_vault, open_vault
from headend.store.listening import ListeningSignal
from headend.store.unit_of_work import PostgresStore
from protocols.dlms.conversation import Timeouts
from protocols.dlms.counter_recovery import CounterRaise, OnRaise
from protocols.dlms.driver import DlmsAdapter
from protocols.dlms.push_listener import PushListener
from protocols.dlms.push_receiver import PushReceiver
from rules.governor import GovernorLimits
from rules.service_levels import DEFAULT_RETRY_POLICY

NOTICES_FILE = "notices.jsonl"
# Three letters of the system title that meters see as the client's; not a registered manufacturer.
SYSTEM_TITLE_PREFIX = b"AHE"


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that a shell (API, jobs, commands) works with."""

    settings: Settings
    database_url: str
    process: str
    pool: Pool
    store: Store
    clock: BusinessClock
    vault: KeyVault
    keys: MeterKeys
    links: LinkPool
    wake: WakeSignal
    guard: Guard
    supply_control: SupplyControl
    restraints: Restraints
    power_watch: PowerWatch
    dispatcher: Dispatcher
    policies: Policies
    notices: Notices
    holds: Holds
    decisions: Decisions
    payments: Payments
    accounts: Accounts
    pushes: PushIntake
    push_listener: PushListener
    billing_run: BillingRun
    collection: Collection
    runs: RunKeeper
    scheduler: Scheduler


@asynccontextmanager
async def open_services(
    settings: Settings,
    database_url: str,
    *,
    demo: bool = False,
    adapters: Sequence[MeterAdapter] | None = None,
) -> AsyncIterator[Services]:
    """Wire everything on a migrated database; leases are kept and given back at the end.

    ``demo`` lets the business clock jump. Raises `ConfigurationError`.
    """
    process = name_process()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(
                database_url,
                application_name=f"headend {process}"[:60],
                max_size=settings.database_pool_size,
                statement_timeout_s=settings.statement_timeout_s,
            )
        )
        vault = _open_vault(settings, demo=demo)
        store = PostgresStore(pool)
        clock = BusinessClock(store)
        await clock.load(demo=demo)
        wake = await stack.enter_async_context(ListeningSignal(database_url))
        if adapters is None:
            adapters = [
                DlmsAdapter(
                    PostgresCounterStore(pool),
                    clock,
                    system_title=_system_title(),
                    timeouts=_timeouts(settings),
                    allow_legacy=settings.dlms_legacy_authentication,
                    on_raise=_audit_of_raises(store, clock),
                )
            ]
        links = LinkPool(store, _by_scheme(adapters), holder=process)
        stack.push_async_callback(links.close)
        services = _wire(settings, database_url, process, pool, store, clock, vault, links, wake)
        await services.policies.ensure_default_policy()
        await _take_over_from_the_dead(store, process)
        leases = asyncio.create_task(links.keep_leases(), name="link-leases")
        stack.push_async_callback(_cancel, leases)
        yield services


def _wire(
    settings: Settings,
    database_url: str,
    process: str,
    pool: Pool,
    store: Store,
    clock: BusinessClock,
    vault: KeyVault,
    links: LinkPool,
    wake: WakeSignal,
) -> Services:
    policies = Policies(store=store, clock=clock, floors=settings.floors)
    guard = Guard(policies)
    supply_control = SupplyControl(clock=clock, guard=guard, limits=_limits(settings))
    notifier = FileNotifier(settings.state_dir / NOTICES_FILE, clock)
    notices = Notices(store=store, notifier=notifier, clock=clock, policies=policies)
    decisions = Decisions(
        store=store,
        clock=clock,
        policies=policies,
        notices=notices,
        supply_control=supply_control,
    )

    async def rerated(uow: UnitOfWork, account_id: int, *, difference_nano: int) -> None:
        await decisions.decide_account(uow, account_id, trigger="re_rating")

    keys = RegistryMeterKeys(store, vault)
    outcomes = OrderOutcomes(
        store=store,
        clock=clock,
        aftermath=SupplyAftermath(clock=clock, notices=notices, decide=decisions.decide_account),
        retry_policy=DEFAULT_RETRY_POLICY,
    )
    runs = RunKeeper(store, clock, process=process)
    pushes = PushIntake(store, clock)
    return Services(
        settings=settings,
        database_url=database_url,
        process=process,
        pool=pool,
        store=store,
        clock=clock,
        vault=vault,
        keys=keys,
        links=links,
        wake=wake,
        guard=guard,
        supply_control=supply_control,
        restraints=Restraints(store=store, clock=clock, supply_control=supply_control),
        power_watch=PowerWatch(
            store=store, clock=clock, guard=guard, supply_control=supply_control
        ),
        dispatcher=Dispatcher(
            DispatcherParts(
                store=store,
                clock=clock,
                guard=guard,
                links=links,
                keys=keys,
                outcomes=outcomes,
                wake=wake,
            )
        ),
        policies=policies,
        notices=notices,
        holds=Holds(store, clock, decisions),
        decisions=decisions,
        payments=Payments(store, clock, decisions.decide_account),
        accounts=Accounts(store),
        pushes=pushes,
        push_listener=PushListener(_push_receiver(store, pool, vault), pushes),
        billing_run=BillingRun(store, clock, on_rerated=rerated),
        collection=Collection(store, clock, links, vault),
        runs=runs,
        scheduler=Scheduler(store, clock, runs, notices=notices, decisions=decisions),
    )


def _push_receiver(store: Store, pool: Pool, vault: KeyVault) -> PushReceiver:
    """Return the judge of pushes; only ciphered ones count, from anywhere."""
    return PushReceiver(RegistryPushKeys(store, vault), counters=PostgresCounterStore(pool))


async def _take_over_from_the_dead(store: Store, process: str) -> None:
    """End the leases of processes of this host that were killed, so that nobody waits for them.

    Leases of other hosts run out by themselves.
    """
    watch = ProcessWatch(process)
    async with store.transaction() as uow:
        dead = [name for name in await uow.links.holders() if watch.is_dead(name)]
        await uow.links.release_held(dead)
        dead = [name for name in await uow.orders.holders() if watch.is_dead(name)]
        await uow.orders.release_held(dead)


def _open_vault(settings: Settings, *, demo: bool) -> KeyVault:
    configured = settings.key_encryption_key
    if configured is not None:
        return open_vault(key_text=configured.get_secret_value())
    if settings.key_encryption_key_file is not None:
        return open_vault(key_file=settings.key_encryption_key_file)
    if demo or settings.database_url is None:
        return open_demo_vault(settings.state_dir)
    return open_vault()


def _limits(settings: Settings) -> GovernorLimits:
    governor = settings.governor
    return GovernorLimits(
        system=governor.per_hour,
        caller=governor.per_caller_hour,
        area=governor.per_area_hour,
        power_w=governor.estimated_kw_hour * 1000,
        safety=governor.safety_per_hour,
    )


def _timeouts(settings: Settings) -> Timeouts:
    """Return the meters' time-outs; a probe of the public client is short, its answer is too."""
    answer_s = settings.meter_answer_timeout_s
    return Timeouts(answer_s=answer_s, probe_s=answer_s * 0.4, release_s=min(1.0, answer_s))


def _audit_of_raises(store: Store, clock: BusinessClock) -> OnRaise:
    """Return what records each raise of an invocation counter before it happens."""

    async def record(event: CounterRaise) -> None:
        async with store.transaction() as uow:
            await uow.audit.record(
                "collector",
                "counter.raised",
                f"meter:{event.meter_id}",
                at=clock.now(),
                detail={
                    "client_address": event.client_address,
                    "key_id": event.key_id,
                    "before": event.before,
                    "after": event.after,
                    "cause": event.cause,
                },
            )

    return record


def _system_title() -> bytes:
    """Return the client's system title; with counters per meter in the database it may be fixed."""
    return SYSTEM_TITLE_PREFIX + (1).to_bytes(5, "big")


def _by_scheme(adapters: Sequence[MeterAdapter]) -> Mapping[str, MeterAdapter]:
    return {scheme: adapter for adapter in adapters for scheme in adapter.schemes}


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
