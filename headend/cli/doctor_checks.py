"""The checks of ``headend doctor``: each looks at one thing and says what to do about it.

Nothing here writes. What cannot be judged is said, never passed over.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from headend.configuration import Settings
from headend.development_key import api_key_path
from headend.domain.days import DEFAULT_ZONE, local_day
from headend.domain.errors import ConfigurationError
from headend.domain.money import format_yuan_exact
from headend.ports.runs import RunKind
from headend.services.accounts import Accounts, BooksCheck
from headend.store.database import open_pool
from headend.store.faults import describe_database_fault
from headend.store.inspection import (
    KeySample,
    LinkLeases,
    OpenOrders,
    PostgresInspection,
    RunFacts,
    ServerFacts,
)
from headend.store.keys import KEK_FILE, KeyVault, open_vault
from headend.store.unit_of_work import PostgresStore

# Adding the whole ledger up takes its time [s].
STATEMENT_TIMEOUT_S = 600.0
# Leases are compared between machines: more than this apart and they are no use [s].
CLOCK_LIMIT_S = 2.0
# Later than this, work that is due is not merely waiting for its turn [s].
LATE_ORDER_S = 300.0
LATE_RUN_S = 6 * 3600.0
RECENT = timedelta(days=7)
GIB = 1 << 30
LITTLE_DISK = 5 * GIB
NO_DISK = 1 * GIB
AES_KEYS = ("encryption", "authentication", "master")


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    LOOK = "look"  # not wrong, and somebody should know
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was seen, and what to do about it."""

    verdict: Verdict
    subject: str
    text: str
    advice: str = ""


def check_configuration(settings: Settings) -> Finding:
    """Say from where the deployment is reached; reading it has passed already."""
    where = f"http://{settings.api_host}:{settings.api_port}"
    key = "the configured key" if settings.api_key is not None else f"{api_key_path(settings)}"
    text = f"API on {where} (key: {key}); state in {settings.state_dir}"
    return Finding(Verdict.OK, "configuration", text)


def check_disk(settings: Settings) -> list[Finding]:
    """Look at the space under the state folder."""
    folder = settings.state_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{free / GIB:.1f} GiB free under {settings.state_dir}"
    if free < NO_DISK:
        return [Finding(Verdict.WRONG, "disk", text, "make room: a full disk stops the database")]
    if free < LITTLE_DISK:
        return [Finding(Verdict.LOOK, "disk", text, "make room before it is full")]
    return [Finding(Verdict.OK, "disk", text)]


def no_database_yet(settings: Settings) -> Finding:
    """Say that the embedded database was never made."""
    return Finding(
        Verdict.WRONG,
        "database",
        f"there is no embedded database in {settings.state_dir} yet",
        "run headend migrate, or ./run for the demo; or set HEADEND_DATABASE_URL",
    )


def describe_database(settings: Settings, *, was_running: bool) -> Finding:
    """Say which database it is and that it answers."""
    if settings.database_url is not None:
        return Finding(Verdict.OK, "database", "the one that database_url names answers")
    started = "is running" if was_running else "does not run; it was started for this check"
    return Finding(Verdict.OK, "database", f"the embedded one in {settings.state_dir} {started}")


def schema_is_right() -> Finding:
    """Say that the schema is this release's."""
    return Finding(Verdict.OK, "schema", "exactly this release's")


def refused(error: ConfigurationError) -> Finding:
    """Turn a refusal, which names its way out itself, into a line."""
    problem, colon, way_out = str(error).rpartition(": ")
    if not colon:
        return Finding(Verdict.WRONG, "database", str(error))
    return Finding(Verdict.WRONG, "database", problem, way_out)


async def check_content(settings: Settings, url: str) -> list[Finding]:
    """Make every check that reads the database."""
    async with open_pool(
        url,
        application_name="headend-doctor",
        max_size=1,
        statement_timeout_s=STATEMENT_TIMEOUT_S,
    ) as pool:
        store = PostgresStore(pool)
        async with store.transaction() as uow:
            clock = await uow.runs.clock()
            settled = await uow.runs.last_done(RunKind.SETTLE)
            stop = await uow.orders.stop_switch()
            cases = len(await uow.cases.list_open())
        now = datetime.now(UTC) + timedelta(seconds=clock.offset_s)
        today = local_day(now, DEFAULT_ZONE)
        async with pool.connection() as connection:
            inspection = PostgresInspection(connection)
            server = await inspection.server()
            findings = [
                judge_server(server),
                judge_clock(server, datetime.now(UTC), demo=clock.demo, offset_s=clock.offset_s),
                *judge_keys(settings, await inspection.key_sample(), demo=clock.demo),
                *judge_orders(await inspection.open_orders(now, late_s=LATE_ORDER_S)),
                judge_leases(await inspection.leases()),
                *judge_runs(
                    await inspection.runs(now, since=today - RECENT, late_s=LATE_RUN_S),
                    _settled_through(settled),
                ),
            ]
            waiting = await inspection.waiting_for_people()
        if stop.stopped:
            findings.append(
                Finding(
                    Verdict.LOOK,
                    "stop switch",
                    f"all disconnects are suspended by {stop.changed_by}: {stop.reason}",
                    "end the suspension when its reason is gone",
                )
            )
        findings.append(judge_people(waiting, cases))
        findings += await _check_books(store)
    return findings


async def _check_books(store: PostgresStore) -> list[Finding]:
    try:
        return judge_books(await Accounts(store).check_books())
    except Exception as error:
        fault = describe_database_fault(error)
        if fault is None:
            raise
        return [
            Finding(Verdict.WRONG, "books", f"not checked: {fault}", "run headend doctor again")
        ]


def judge_server(server: ServerFacts) -> Finding:
    """Judge version and connections."""
    text = (
        f"PostgreSQL {server.version}, {server.size_bytes / GIB:.2f} GiB,"
        f" {server.accounts:,} accounts, {server.meters:,} meters,"
        f" {server.connections} of {server.connections_allowed} connections"
    )
    if server.connections > 0.9 * server.connections_allowed:
        advice = "raise max_connections, or lower database_pool_size"
        return Finding(Verdict.LOOK, "server", text, advice)
    return Finding(Verdict.OK, "server", text)


def judge_clock(server: ServerFacts, ours: datetime, *, demo: bool, offset_s: float) -> Finding:
    """Compare the server's clock with ours; a demo's business time is ahead of both."""
    apart_s = abs((server.at - ours).total_seconds())
    business = f"; business time is {offset_s / 86_400:.1f} days ahead (demo)" if demo else ""
    text = f"the server's and ours are {apart_s:.1f} s apart{business}"
    if apart_s > CLOCK_LIMIT_S:
        return Finding(Verdict.WRONG, "clock", text, "let both follow the same time server")
    return Finding(Verdict.OK, "clock", text)


def judge_keys(settings: Settings, sample: Sequence[KeySample], *, demo: bool) -> list[Finding]:
    """Open one stored key of each kind with the configured key-encryption key."""
    subject = "meter keys"
    if not sample:
        return [Finding(Verdict.OK, subject, "none is stored")]
    try:
        vault = _vault(settings, demo=demo)
        for key in sample:
            if key.kind in AES_KEYS:
                vault.unwrap(key.wrapped_key)
            else:
                vault.unwrap_secret(key.wrapped_key)
    except ConfigurationError as error:
        problem, _, way_out = str(error).rpartition(": ")
        return [Finding(Verdict.WRONG, subject, problem or str(error), way_out)]
    count = sum({key.kek_id: key.keys for key in sample}.values())
    text = f"{count:,} are stored; the key-encryption key {vault.fingerprint} opens them"
    return [Finding(Verdict.OK, subject, text)]


def judge_orders(orders: Sequence[OpenOrders]) -> list[Finding]:
    """Judge the orders that a dispatcher has to deal with."""
    if not orders:
        return [Finding(Verdict.OK, "orders", "none is under way")]
    stuck = [each for each in orders if each.stuck]
    counts = ", ".join(f"{each.orders} {each.state}" for each in orders)
    if not stuck:
        return [Finding(Verdict.OK, "orders", counts)]
    text = ", ".join(
        f"{each.stuck} {each.state} for too long (first: order {each.first_stuck})"
        for each in stuck
    )
    advice = "see that a dispatcher runs: headend serve --role dispatcher"
    return [Finding(Verdict.WRONG, "orders", text, advice)]


def judge_leases(leases: LinkLeases) -> Finding:
    """Say who holds links; leases that ran out are free and need nobody."""
    ended = leases.links - leases.held
    text = f"{leases.held} links held by {leases.holders} processes"
    return Finding(Verdict.OK, "leases", text + (f", {ended} ended and free" if ended else ""))


def judge_runs(runs: RunFacts, settled: str) -> list[Finding]:
    """Judge the daily work."""
    findings = []
    if runs.failed:
        findings.append(
            Finding(
                Verdict.WRONG,
                "daily work",
                f"{runs.failed} runs failed lately (first: {runs.first_failed}); {settled}",
                "settle its case: it names the error; then headend collect, settle or decide --day",
            )
        )
    if runs.late:
        findings.append(
            Finding(
                Verdict.WRONG,
                "daily work",
                f"{runs.late} runs are late, the oldest was due {runs.oldest_due:%Y-%m-%d %H:%M}Z;"
                f" {settled}",
                "see that collectors and workers run: headend serve",
            )
        )
    return findings or [Finding(Verdict.OK, "daily work", settled)]


def judge_people(waiting: int, cases: int) -> Finding:
    """Say what waits for people."""
    text = f"{cases} open cases, {waiting} orders wait for a release or an approval"
    if waiting:
        return Finding(
            Verdict.LOOK, "people", text, "release or cancel them: GET /v1/supply-orders"
        )
    return Finding(Verdict.OK, "people", text)


def judge_books(books: BooksCheck) -> list[Finding]:
    """Judge the ledger and the stored balances."""
    findings = []
    if books.imbalance.nano:
        findings.append(
            Finding(
                Verdict.WRONG,
                "ledger",
                f"it does not sum to zero: {format_yuan_exact(books.imbalance.nano)} yuan",
                "stop every worker, keep the database as it is, and report it: this is a defect",
            )
        )
    else:
        findings.append(Finding(Verdict.OK, "ledger", "every batch and the whole sum to zero"))
    if books.mismatches:
        first = books.mismatches[0]
        findings.append(
            Finding(
                Verdict.WRONG,
                "balances",
                f"{len(books.mismatches)} or more are not the sum of their entries (account id"
                f" {first.account_id}: {format_yuan_exact(first.balance_nano)} stored,"
                f" {format_yuan_exact(first.entries_nano)} posted)",
                "suspend disconnects, keep the database as it is, and report it: this is a defect",
            )
        )
    else:
        findings.append(Finding(Verdict.OK, "balances", "each is the sum of its entries"))
    return findings


def _settled_through(last_run: date | None) -> str:
    """Say which day was settled last: the run of a business date settles the day before it."""
    if last_run is None:
        return "nothing has been settled yet"
    return f"settled through {last_run - timedelta(days=1)}"


def _vault(settings: Settings, *, demo: bool) -> KeyVault:
    """Open the vault as the services do, except that no key is made where one is missing."""
    if settings.key_encryption_key is not None:
        return open_vault(key_text=settings.key_encryption_key.get_secret_value())
    if settings.key_encryption_key_file is not None:
        return open_vault(key_file=settings.key_encryption_key_file)
    if demo or settings.database_url is None:
        return open_vault(key_file=settings.state_dir / KEK_FILE)
    return open_vault()
