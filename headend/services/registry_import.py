"""Import of the registry: places, devices, customers and keys, whole or not at all.

Rows refer to each other by name and are stored in one transaction, in the order in which they
depend on each other. Keys come in the clear and are wrapped before they reach the repository.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from headend.domain.errors import BadInput
from headend.ports.keys import KeyVault
from headend.ports.registry import (
    NewAccount,
    NewArea,
    NewConcentrator,
    NewInstallation,
    NewMeter,
    NewOccupancy,
    NewTransformerArea,
    NewUsagePoint,
    RegistryRepository,
    RowProblem,
    StoredRows,
    WrappedKey,
)
from headend.ports.unit_of_work import Store
from headend.services.registry_checks import AES_KEY_KINDS, check_key, check_rows


@dataclass(frozen=True, slots=True)
class NewMeterKey:
    """A meter's key in the clear, on its way to being wrapped."""

    meter_no: str
    kind: str
    key: bytes = field(repr=False)
    client_address: int = 1
    key_id: str = "unicast"


@dataclass(frozen=True, slots=True)
class RegistryBundle:
    """Rows to be stored together; they may refer to each other and to what is stored already."""

    areas: Sequence[NewArea] = ()
    transformer_areas: Sequence[NewTransformerArea] = ()
    usage_points: Sequence[NewUsagePoint] = ()
    concentrators: Sequence[NewConcentrator] = ()
    meters: Sequence[NewMeter] = ()
    installations: Sequence[NewInstallation] = ()
    accounts: Sequence[NewAccount] = ()
    occupancies: Sequence[NewOccupancy] = ()
    meter_keys: Sequence[NewMeterKey] = ()


class ImportRefused(BadInput):
    """Some rows cannot be stored, so none was. ``problems`` lists them by section."""

    def __init__(self, problems: dict[str, tuple[RowProblem, ...]]) -> None:
        section, found = next(iter(problems.items()))
        count = sum(map(len, problems.values()))
        more = f" (and {count - 1} more)" if count > 1 else ""
        super().__init__(
            f"{section} row {found[0].row + 1}: {found[0].field}: {found[0].message}{more}",
            field=found[0].field,
            code="import_refused",
        )
        self.problems = problems


class RegistryImport:
    """Stores bundles of registry rows."""

    def __init__(self, store: Store, vault: KeyVault) -> None:
        self._store = store
        self._vault = vault

    async def put(self, bundle: RegistryBundle, *, partial: bool = False) -> dict[str, StoredRows]:
        """Store a bundle; return what became of each section.

        Rows that exist already are left as they are, so a bundle may be stored again. Raises
        `ImportRefused` and stores nothing when a row has a problem, unless ``partial``.
        """
        outcome: dict[str, StoredRows] = {}
        async with self._store.transaction() as uow:
            for section, add in _steps(uow.registry).items():
                given: Sequence[Any] = getattr(bundle, section)
                if given:
                    outcome[section] = await self._add(section, given, add)
            problems = {name: rows.problems for name, rows in outcome.items() if rows.problems}
            if problems and not partial:
                raise ImportRefused(problems)
        return outcome

    async def _add(
        self,
        section: str,
        given: Sequence[Any],
        add: Callable[[Sequence[Any]], Awaitable[StoredRows]],
    ) -> StoredRows:
        problems = _check_keys(given) if section == "meter_keys" else check_rows(section, given)
        wrong = {problem.row for problem in problems}
        # Rows keep their numbers in the file through the gaps that wrong ones leave.
        numbers = [number for number in range(len(given)) if number not in wrong]
        rows = [given[number] for number in numbers]
        if section == "meter_keys":
            rows = [self._wrap(row) for row in rows]
        stored = await add(rows)
        problems += [
            RowProblem(numbers[problem.row], problem.field, problem.message)
            for problem in stored.problems
        ]
        return StoredRows(
            stored.inserted, stored.present, tuple(sorted(problems, key=lambda one: one.row))
        )

    def _wrap(self, key: NewMeterKey) -> WrappedKey:
        wrap = self._vault.wrap if key.kind in AES_KEY_KINDS else self._vault.wrap_secret
        return WrappedKey(
            meter_no=key.meter_no,
            client_address=key.client_address,
            key_id=key.key_id,
            kind=key.kind,
            wrapped_key=wrap(key.key),
            kek_id=self._vault.fingerprint,
        )


def _steps(
    registry: RegistryRepository,
) -> dict[str, Callable[[Sequence[Any]], Awaitable[StoredRows]]]:
    """Return the sections in the order in which later ones refer to earlier ones."""
    return {
        "areas": registry.add_areas,
        "transformer_areas": registry.add_transformer_areas,
        "usage_points": registry.add_usage_points,
        "concentrators": registry.add_concentrators,
        "meters": registry.add_meters,
        "installations": registry.add_installations,
        "accounts": registry.add_accounts,
        "occupancies": registry.add_occupancies,
        "meter_keys": registry.add_meter_keys,
    }


def _check_keys(keys: Sequence[NewMeterKey]) -> list[RowProblem]:
    return [
        RowProblem(number, "key", fault)
        for number, key in enumerate(keys)
        if (fault := check_key(key.kind, key.key)) is not None
    ]
