"""``headend migrate``: bring the database to this release's schema."""

from __future__ import annotations

import typer

from headend.cli.context import load, running_database


def migrate(context: typer.Context) -> None:
    """Bring the database to this release's schema. Safe to repeat, at any time.

    Without HEADEND_DATABASE_URL it makes and starts the embedded database for that time.
    """
    from headend.store import migrate as schema

    settings = load(context)
    with running_database(settings) as url:
        applied = schema.migrate(url)
    for migration_id in applied:
        typer.echo(f"applied {migration_id}")
    if not applied:
        typer.echo("the database has this release's schema already")
