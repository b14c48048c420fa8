"""What every command begins with: the global options, the settings and the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import typer

if TYPE_CHECKING:
    from headend.bootstrap import Services
    from headend.configuration import Settings

LevelName: TypeAlias = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, slots=True)
class GlobalOptions:
    """Options that stand before the command."""

    config: Path | None = None
    log_level: LevelName | None = None


def global_options(context: typer.Context) -> GlobalOptions:
    """Return the options that stood before the command."""
    return context.find_object(GlobalOptions) or GlobalOptions()


def load(context: typer.Context, **overrides: Any) -> Settings:
    """Read the configuration and set up logging; ``overrides`` that are None do not count.

    Raises `ConfigurationError`.
    """
    from headend.configuration import load_settings
    from headend.log import configure_logging

    options = global_options(context)
    given = {"log_level": options.log_level, **overrides}
    settings = load_settings(
        options.config, **{name: value for name, value in given.items() if value is not None}
    )
    configure_logging(level=settings.log_level, form=settings.log_format)
    return settings


@contextmanager
def running_database(settings: Settings) -> Iterator[str]:
    """Give the URL of the configured database, or start the embedded one for the block.

    An embedded server that another process started is used and left running.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    from headend.store.embedded import EmbeddedPostgres

    with EmbeddedPostgres(settings.state_dir) as server:
        yield server.url


@contextmanager
def checked_database(settings: Settings) -> Iterator[str]:
    """As `running_database`, and refuse a schema that is not this release's."""
    from headend.store.migrate import check_schema

    with running_database(settings) as url:
        check_schema(url)
        yield url


@asynccontextmanager
async def services_on(settings: Settings, url: str) -> AsyncIterator[Services]:
    """Open the services on a database, in the clock mode that it has.

    A demo's database stays one: its business time is ahead, and would otherwise run backwards.
    """
    from headend.bootstrap import open_services

    async with open_services(settings, url, demo=await is_demo(url)) as services:
        yield services


async def is_demo(url: str) -> bool:
    """Tell whether the database belongs to a demo, whose clock may jump."""
    from headend.store.database import open_pool
    from headend.store.unit_of_work import PostgresStore

    async with open_pool(url, max_size=1) as pool, PostgresStore(pool).transaction() as uow:
        return (await uow.runs.clock()).demo
