"""``headend serve``: the roles of one process, until it is told to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from headend.cli.context import checked_database, load, services_on
from headend.cli.failures import EXIT_DONE, EXIT_INTERRUPTED
from headend.domain.errors import ConfigurationError

if TYPE_CHECKING:
    import socket

    from headend.configuration import Settings
    from headend.roles import Role

DEFAULT_ROLES = "api,collector,dispatcher,worker"
CONSOLE = "console"


def serve(
    context: typer.Context,
    role: Annotated[
        str, typer.Option(metavar="ROLE,...", help="What this process does.")
    ] = DEFAULT_ROLES,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Address of the API.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Port of the API.")] = None,
) -> None:
    """Run the head-end until Ctrl-C or SIGTERM: one process, or many with different roles.

    api: HTTP. collector: reads meters. dispatcher: carries out supply orders. worker: settles,
    decides, delivers notices, and says when work is due; run at least one.
    """
    import asyncio

    from headend.roles import Role

    settings = load(context, api_host=host, api_port=port)
    roles = read_roles(role)
    listener = None
    if Role.API in roles:
        from api.server import bind_listener
        from headend.development_key import with_api_key

        # First of all: a port in use is told before anything was started.
        listener = bind_listener(settings.api_host, settings.api_port)
    try:
        with checked_database(settings) as url:
            if listener is not None:
                settings = with_api_key(settings)
            code = asyncio.run(_serve(settings, url, roles, listener))
    finally:
        if listener is not None:
            listener.close()
    raise typer.Exit(code)


def read_roles(text: str) -> frozenset[Role]:
    """Read ``api,worker``; raises `ConfigurationError` naming the role and the way out."""
    from headend.roles import Role

    names = [name.strip() for name in text.split(",") if name.strip()]
    known = ", ".join(Role)
    if not names:
        raise ConfigurationError(f"--role names no role: choose from {known}")
    for name in names:
        if name == CONSOLE:
            raise ConfigurationError(
                f"the console is not part of this release yet: leave it out of --role ({known})"
            )
        if name not in set(Role):
            raise ConfigurationError(f"--role: there is no role {name!r}; choose from {known}")
    return frozenset(map(Role, names))


async def _serve(
    settings: Settings, url: str, roles: frozenset[Role], listener: socket.socket | None
) -> int:
    import asyncio
    import signal

    from headend.roles import run_roles

    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    code = EXIT_DONE

    def end(number: signal.Signals) -> None:
        nonlocal code
        code = EXIT_INTERRUPTED if number is signal.SIGINT else EXIT_DONE
        loop.remove_signal_handler(number)  # a second one is not waited for
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    async with (
        services_on(settings, url) as services,
        run_roles(services, roles, listener=listener),
    ):
        where = f" on http://{settings.api_host}:{settings.api_port}" if listener else ""
        # Flushed: who started this with a pipe waits for the line.
        print(f"headend runs {', '.join(sorted(roles))}{where}; Ctrl-C ends it", flush=True)
        await ended.wait()
    return code
