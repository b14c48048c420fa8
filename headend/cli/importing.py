"""``headend import KIND FILE``: a file's rows go in whole, or not at all."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headend.cli.context import checked_database, load, services_on
from headend.domain.errors import BadInput

if TYPE_CHECKING:
    from headend.cli.csv_rows import CsvFile

importing = typer.Typer(
    help="Bring in what the head-end works with. Rows that are there already stay as they are.",
    rich_markup_mode=None,
)
File = Annotated[Path, typer.Argument(metavar="FILE", show_default=False)]


@importing.command()
def tariffs(context: typer.Context, file: File) -> None:
    """Import one tariff, or a list of them, from JSON (docs/tariffs.md)."""
    documents = _read_documents(file)

    async def put(url: str) -> list[str]:
        from headend.services.tariffs import Tariffs
        from prepaid.tariff_document import parse_tariff

        for document in documents:
            parse_tariff(document)  # all are checked before the first is stored
        async with services_on(settings, url) as services:
            stored = Tariffs(services.store)
            return [(await stored.put(document)).code for document in documents]

    settings = load(context)
    with checked_database(settings) as url:
        codes = asyncio.run(put(url))
    typer.echo(
        f"imported {len(codes)} {'tariff' if len(codes) == 1 else 'tariffs'}: {_list(codes)}"
    )


@importing.command("usage-points")
def usage_points(context: typer.Context, file: File) -> None:
    """Import usage points from CSV.

    Columns: usage_point_no, transformer_area_code, address [, time_zone, expected_load_w].
    With transformer_area_name, area_code and area_name it makes their areas as well.
    """
    from headend.cli.csv_rows import usage_point_sections

    _import(context, file, usage_point_sections)


@importing.command()
def concentrators(context: typer.Context, file: File) -> None:
    """Import concentrators from CSV. Columns: concentrator_no, endpoint."""
    from headend.cli.csv_rows import concentrator_sections

    _import(context, file, concentrator_sections)


@importing.command()
def meters(context: typer.Context, file: File) -> None:
    """Import meters from CSV.

    Columns: meter_no, endpoint, link_address, model, logical_device_name, serial
    [, concentrator_no, client_address, authentication, maximum_current_a, remote_close,
    closes_directly, system_title (16 hex digits; by it a meter's pushes are known)].
    """
    from headend.cli.csv_rows import meter_sections

    _import(context, file, meter_sections)


@importing.command()
def installations(context: typer.Context, file: File) -> None:
    """Import from CSV which meter serves which usage point.

    Columns: meter_no, usage_point_no, valid_from [, multiplier, indication_start_wh,
    link_confirmed_at].
    """
    from headend.cli.csv_rows import installation_sections

    _import(context, file, installation_sections)


@importing.command()
def accounts(context: typer.Context, file: File) -> None:
    """Import accounts from CSV.

    Columns: account_no, name, tariff_code, created_at [, phone, customer_class, payment_mode,
    agreement_signed_at, standing_close_consent_at, emergency_credit_nano].
    With usage_point_no and occupied_from it says where the account is, too.
    """
    from headend.cli.csv_rows import account_sections

    _import(context, file, account_sections)


@importing.command()
def keys(context: typer.Context, file: File) -> None:
    """Import meter keys from CSV; they are stored wrapped. Delete the file afterwards.

    Columns: meter_no, kind (encryption, authentication, master: hex; password: text), key
    [, client_address, key_id]. A key that is there already is replaced.
    """
    from headend.cli.csv_rows import key_sections

    _import(context, file, key_sections)


def _import(context: typer.Context, file: Path, read: Any) -> None:
    """Read the file's sections, store them in one transaction and say what became of them."""
    from headend.cli.csv_rows import read_csv

    content: CsvFile = read_csv(file)
    sections: dict[str, list[Any]] = read(content)

    async def put(url: str) -> dict[str, Any]:
        from headend.services.registry_import import (
            ImportRefused,
            RegistryBundle,
            RegistryImport,
        )

        async with services_on(settings, url) as services:
            registry = RegistryImport(services.store, services.vault)
            try:
                return await registry.put(RegistryBundle(**sections))
            except ImportRefused as error:
                raise content.explain(error.problems) from error

    settings = load(context)
    with checked_database(settings) as url:
        outcome = asyncio.run(put(url))
    for section, rows in outcome.items():
        there = f", {rows.present} were there already" if rows.present else ""
        typer.echo(f"{section.replace('_', ' ')}: {rows.inserted} imported{there}")


def _read_documents(file: Path) -> list[dict[str, Any]]:
    import json

    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"cannot read {file}: {error.strerror}", field="file") from error
    except ValueError as error:
        raise BadInput(f"{file} is not JSON: {error}", field="file") from error
    documents = content if isinstance(content, list) else [content]
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise BadInput(f"{file} holds no tariff object", field="file")
    return documents


def _list(names: list[str], shown: int = 10) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
