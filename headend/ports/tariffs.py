"""Port of the tariff repository: tariff documents by code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class TariffRepository(Protocol):
    """Stores tariff documents as they were imported."""

    async def put(self, tariff_code: str, document: Mapping[str, Any]) -> bool:
        """Store a document under its code; False when the same one is there already."""
        ...

    async def find(self, tariff_code: str) -> Mapping[str, Any] | None:
        """Return the document of a code."""
        ...
