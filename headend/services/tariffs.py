"""Tariffs: only documents that price every minute of the year get into the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headend.domain.errors import NotFound
from headend.ports.unit_of_work import Store
from prepaid.tariff import Tariff
from prepaid.tariff_document import parse_tariff


class Tariffs:
    """Checks and stores tariff documents."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put(self, document: Mapping[str, Any]) -> Tariff:
        """Check a document and store it under its code; raises `BadInput` naming the place."""
        tariff = parse_tariff(document)
        async with self._store.transaction() as uow:
            await uow.tariffs.put(tariff.code, document)
        return tariff

    async def get(self, tariff_code: str) -> Tariff:
        """Return a stored tariff; raises `NotFound` naming the code."""
        async with self._store.transaction() as uow:
            document = await uow.tariffs.find(tariff_code)
        if document is None:
            raise NotFound(
                f"there is no tariff {tariff_code!r}: import it first", field="tariff_code"
            )
        return parse_tariff(document)
