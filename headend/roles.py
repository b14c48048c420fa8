"""The roles of one process: HTTP API, collector, dispatcher, worker; in any combination.

Theory of operation. A role is one or more endless tasks. They run beside the block of `run_roles`;
when one of them crashes, or ends though nobody told it to, the block is cancelled and the error is
raised in its place: a process that does only half of its work would go unnoticed. At the end every
task gets a bounded time to finish what it is doing. What does not finish in time is cut off; the
leases in the database say to the next process what that was.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from enum import StrEnum
from typing import Any

import structlog
from fastapi import FastAPI

from api.app import create_app
from api.server import serve
from headend.bootstrap import Services
from headend.domain.errors import (
    BadInput,
    ConfigurationError,
    InvariantViolated,
    StorageUnavailable,
)
from headend.jobs.engine import open_engine
from headend.jobs.tasks import COLLECTION_QUEUE, WORK_QUEUE
from headend.services.business_clock import BusinessClock

_LOG = structlog.get_logger(__name__)
# The product ends within 5 s of Ctrl-C: this much for the tasks, and as long again for giving
# leases back and stopping an embedded database [s].
STOP_S = 2.5
CUT_OFF_S = 0.5
# Jobs that one process works on at a time; collection is bounded per link besides.
JOBS_AT_ONCE = 4
CLOCK_PAUSE_S = 1.0


class Role(StrEnum):
    """What a process does."""

    API = "api"
    COLLECTOR = "collector"
    DISPATCHER = "dispatcher"
    WORKER = "worker"


EVERY_ROLE = frozenset(Role)


@asynccontextmanager
async def run_roles(
    services: Services,
    roles: Collection[Role] = EVERY_ROLE,
    *,
    listener: socket.socket | None = None,
    follow_clock: bool = True,
) -> AsyncIterator[None]:
    """Run the roles beside the block and stop them at its end.

    ``listener`` is the bound socket of the API, needed with `Role.API` and closed at the end.
    ``follow_clock`` keeps up with another process that moves a demo's clock; whoever moves it
    itself says False. A role that crashes cancels the block and its error is raised.
    """
    if Role.API in roles and listener is None:
        raise BadInput("the API needs a listener", field="listener")
    async with AsyncExitStack() as stack:
        crew = _Crew()
        if {Role.COLLECTOR, Role.WORKER} & set(roles):
            engine = await stack.enter_async_context(
                open_engine(services.database_url, services, process=services.process)
            )
        await stack.enter_async_context(crew)
        if listener is not None and Role.API in roles:
            await stack.enter_async_context(serve(_application(services), listener))
        if Role.COLLECTOR in roles and services.settings.push_port is not None:
            await stack.enter_async_context(_listen_for_pushes(services))
        # Called first at the end: the tasks finish while the API answers its last requests.
        stack.callback(crew.tell_to_stop)
        if Role.COLLECTOR in roles or Role.WORKER in roles:
            crew.start("jobs", engine.run_worker(concurrency=JOBS_AT_ONCE, queues=_queues(roles)))
        if Role.WORKER in roles:
            crew.start("scheduler", engine.run_scheduler())
            crew.start("power watch", services.power_watch.run())
        if Role.DISPATCHER in roles or Role.COLLECTOR in roles:
            # A collector carries out the orders for the links that it holds; claiming sees to it
            # that the links of other processes are left to them.
            crew.start("dispatcher", services.dispatcher.run())
        if follow_clock and services.clock.is_demo:
            crew.start("clock", _follow_clock(services.clock))
        yield


@asynccontextmanager
async def _listen_for_pushes(services: Services) -> AsyncIterator[None]:
    """Take pushes on TCP and UDP; raises `ConfigurationError` naming a port in use."""
    listener, settings = services.push_listener, services.settings
    port = settings.push_port or 0
    try:
        await listener.listen_tcp(settings.push_host, port)
        await listener.listen_udp(settings.push_host, port)
        yield
    finally:
        await listener.close()


async def _follow_clock(clock: BusinessClock) -> None:
    """Keep up with the clock through restarts of the database."""
    while True:
        try:
            await clock.follow()
        except StorageUnavailable as error:
            _LOG.warning("business time not read", error=str(error))
            await asyncio.sleep(CLOCK_PAUSE_S)


def _application(services: Services) -> FastAPI:
    """Return the API of these services; raises `ConfigurationError` when it has no key."""
    if services.settings.api_key is None:
        raise ConfigurationError(
            "the API needs a key: set HEADEND_API_KEY to a secret of at least 8 characters"
        )
    return create_app(services, api_key=services.settings.api_key.get_secret_value())


def _queues(roles: Collection[Role]) -> list[str]:
    queue_of = {Role.COLLECTOR: COLLECTION_QUEUE, Role.WORKER: WORK_QUEUE}
    return [queue for role, queue in queue_of.items() if role in roles]


class _Crew:
    """Endless tasks beside a block; the first that ends by itself takes the block with it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._failure: BaseException | None = None
        self._owner: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> _Crew:
        self._owner = asyncio.current_task()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            await self._stop()
        except asyncio.CancelledError:
            # Cancelled while stopping: by a failure in the last moment of the block, or again by
            # somebody in a hurry. The tasks are told either way.
            await self._stop()
            if self._failure is None:
                raise
            error = asyncio.CancelledError()
        if self._failure is None:
            return
        if isinstance(error, asyncio.CancelledError) and self._owner is not None:
            self._owner.uncancel()
        raise self._failure

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start an endless task."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def tell_to_stop(self) -> None:
        """Begin the end: from here on a task may end."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if self._stopping:
            if error is not None:
                _LOG.warning("ended with an error", role=task.get_name(), error=repr(error))
            return
        if error is None:
            error = InvariantViolated(f"the {task.get_name()} ended by itself")
        _LOG.error("role crashed", role=task.get_name(), error=repr(error))
        if self._failure is None:
            self._failure = error
            if self._owner is not None:
                self._owner.cancel()

    async def _stop(self) -> None:
        if not self._stopping:
            self.tell_to_stop()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=STOP_S)
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(set(self._tasks), timeout=CUT_OFF_S)
        for task in self._tasks:
            _LOG.warning("did not end in time and was left", role=task.get_name())
