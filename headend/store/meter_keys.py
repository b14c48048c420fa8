"""Unlocks meters: the registry's record of one meter with its keys unwrapped, for one session."""

from __future__ import annotations

from headend.domain.errors import ConfigurationError
from headend.ports import MeterAccess
from headend.ports.registry import MeterAccessRecord
from headend.ports.unit_of_work import Store
from headend.store.keys import KeyVault

UNICAST = "unicast"


class VaultMeterKeys:
    """Joins registry and vault; see `headend.ports.MeterKeys`."""

    def __init__(self, store: Store, vault: KeyVault) -> None:
        self._store = store
        self._vault = vault

    async def access_for(self, meter_id: int) -> MeterAccess:
        """Return how to reach and unlock the meter; raises `NotFound`."""
        async with self._store.transaction() as uow:
            record = await uow.registry.meter_access(meter_id)
        return self.unlock(record)

    def unlock(self, record: MeterAccessRecord) -> MeterAccess:
        """Unwrap the keys that the registry holds for a meter.

        Raises `ConfigurationError` when a ciphering meter has no key stored.
        """
        wrapped = record.keys.get(UNICAST)
        by_kind = wrapped.by_kind if wrapped is not None else {}
        encryption, authentication = by_kind.get("encryption"), by_kind.get("authentication")
        if record.authentication == "gmac" and (encryption is None or authentication is None):
            raise ConfigurationError(
                f"meter {record.meter_no} has no keys: headend import keys stores them"
            )
        password = by_kind.get("password")
        return MeterAccess(
            meter_id=record.meter_id,
            address=record.link_address,
            model=record.model,
            client_address=record.client_address,
            authentication=record.authentication,
            key_id=UNICAST,
            encryption_key=self._vault.unwrap(encryption) if encryption else None,
            authentication_key=self._vault.unwrap(authentication) if authentication else None,
            password=self._vault.unwrap_secret(password) if password else None,
        )
