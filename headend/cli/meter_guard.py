"""Whether a tool may open a contact: the shell is for meters that nobody lives behind.

A meter that the configured database knows as installed is switched by supply orders alone, which
have their guard; its identity is read in the session that would switch it. Anywhere but on this
machine's loopback an opening needs a reason as well, which is recorded with its outcome.
"""

from __future__ import annotations

import getpass
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from headend.cli.meter_tools import note
from headend.domain.errors import BadInput, ConfigurationError, Conflict, HeadEndError
from headend.domain.reading import MeterIdentity

if TYPE_CHECKING:
    from headend.configuration import Settings
    from headend.ports.inspection import MeterInspection, MeterInspector
    from headend.ports.registry import InstalledDevice

RECORD_FILE = "commissioning.jsonl"
OPEN, LIMIT = "relay open", "a limit"
_ACTIONS = {OPEN: "meter.commissioning_open", LIMIT: "meter.commissioning_limit"}


@dataclass(slots=True)
class OpeningGuard:
    """Judges one opening by the shell; ``reason`` is that of ``--commissioning``."""

    settings: Settings
    inspector: MeterInspector
    endpoint: str
    reason: str | None
    action: str = OPEN
    _identity: MeterIdentity | None = field(default=None, init=False)
    _database: str | None = field(default=None, init=False)

    @property
    def is_local(self) -> bool:
        return self.inspector.is_local(self.endpoint)

    def check_use(self) -> None:
        """Raise `BadInput` where the command line alone forbids the opening."""
        if self.reason is None and not self.is_local:
            raise BadInput(
                f"{self.action} may switch somebody's supply off: on a meter that is not on this"
                " machine it needs --commissioning REASON",
                field="commissioning",
            )

    async def check_meter(self, meter: MeterInspection) -> None:
        """Raise `Conflict` for an installed meter, `BadInput` where that cannot be told.

        On loopback a database that cannot be asked is only noted.
        """
        self._identity = identity = await meter.read_identity()
        self._database = url = find_database(self.settings)
        if url is not None:
            installed = await self._find_installed(url, identity)
            if installed is not None:
                raise Conflict(
                    f"meter {installed.meter_no} serves usage point {installed.usage_point_no} in"
                    " the configured database: switch it by a supply order, which has its guard",
                    field="endpoint",
                )
            if not (identity.logical_device_name or identity.serial):
                self._tell_unasked("the meter shows neither name nor serial to look it up by")
        await self._record("intended")

    async def record_outcome(self, outcome: str) -> None:
        """Record how what had a reason ended."""
        if self._identity is not None:
            await self._record(outcome)

    async def _find_installed(self, url: str, identity: MeterIdentity) -> InstalledDevice | None:
        from headend.store.faults import describe_database_fault
        from headend.store.migrate import check_schema

        try:
            check_schema(url)
            return await find_installed(url, identity)
        except Exception as error:
            told = str(error) if isinstance(error, HeadEndError) else describe_database_fault(error)
            if told is None:
                raise
            self._tell_unasked(f"the database cannot be asked whether it is installed: {told}")
            return None

    def _tell_unasked(self, why: str) -> None:
        if not self.is_local:
            raise BadInput(f"refused: {why}", field="endpoint")
        note(why)

    async def _record(self, what: str) -> None:
        """Record an opening with a reason: in the audit where there is one, else in a file."""
        if self.reason is None or self._identity is None:
            return
        from headend.inspectors import safe_endpoint

        detail: dict[str, Any] = {
            "reason": self.reason,
            "endpoint": safe_endpoint(self.endpoint),
            "serial": self._identity.serial,
            "outcome": what,
        }
        subject = f"meter:{self._identity.logical_device_name or self._identity.serial}"
        if self._database is not None:
            await record_audit(self._database, _ACTIONS[self.action], subject, detail)
            return
        self._append({"at": datetime.now(UTC).isoformat(), "subject": subject, **detail})

    def _append(self, entry: dict[str, Any]) -> None:
        from headend.configuration import prepare_state_dir

        path = prepare_state_dir(self.settings.state_dir) / RECORD_FILE
        head = {"action": _ACTIONS[self.action], "actor": actor()}
        line = json.dumps({**head, **entry}, ensure_ascii=False)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(handle, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigurationError(
                f"cannot record the opening in {path} ({error.strerror}): set HEADEND_STATE_DIR to"
                " a folder that you may write"
            ) from error


def actor() -> str:
    """Name who is at the shell."""
    try:
        return f"shell:{getpass.getuser()}"
    except (OSError, KeyError):
        return f"shell:{os.getuid()}"


def find_database(settings: Settings) -> str | None:
    """Return the configured database, or the embedded one where it runs; None for neither."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    from headend.store.embedded import find_running

    return find_running(settings.state_dir) if settings.state_dir.is_dir() else None


async def find_installed(url: str, identity: MeterIdentity) -> InstalledDevice | None:
    """Return the installed meter of this identity; raises `StorageUnavailable`, `OSError`."""
    from headend.store.database import open_pool
    from headend.store.unit_of_work import PostgresStore

    async with open_pool(url, max_size=1) as pool, PostgresStore(pool).transaction() as uow:
        return await uow.registry.find_installed(identity, datetime.now(UTC))


async def record_audit(url: str, action: str, subject: str, detail: dict[str, Any]) -> None:
    """Record an audit event of the shell."""
    from headend.store.database import open_pool
    from headend.store.unit_of_work import PostgresStore

    async with open_pool(url, max_size=1) as pool, PostgresStore(pool).transaction() as uow:
        await uow.audit.record(actor(), action, subject, at=datetime.now(UTC), detail=detail)
