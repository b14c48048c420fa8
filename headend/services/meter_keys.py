"""Unlocking meters: what the registry knows of a meter, joined with its keys in the clear.

Keys are in the clear only in `MeterAccess`, for as long as a session needs them.
"""

from __future__ import annotations

from headend.ports.keys import KeyVault
from headend.ports.meters import MeterAccess
from headend.ports.registry import MeterAccessRecord
from headend.ports.unit_of_work import Store

WORKING_KEY_ID = "unicast"
PASSWORD_KIND = "password"  # noqa: S105 (the name of a kind of key, not a secret)


class RegistryMeterKeys:
    """Unlocks one meter at a time, from the registry."""

    def __init__(self, store: Store, vault: KeyVault) -> None:
        self._store = store
        self._vault = vault

    async def access_for(self, meter_id: int) -> MeterAccess:
        """Return how to reach and unlock the meter; raises `NotFound`."""
        async with self._store.transaction() as uow:
            record = await uow.registry.meter_access(meter_id)
        return unlock(record, self._vault)


def unlock(record: MeterAccessRecord, vault: KeyVault) -> MeterAccess:
    """Return the access of a meter with its working keys in the clear.

    A key that is not stored is None: the session fails with `AuthenticationFailed` where the meter
    asks for it. Raises `ConfigurationError` when another key-encryption key wrapped them.
    """
    keys = record.keys.get(WORKING_KEY_ID)
    wrapped = keys.by_kind if keys is not None else {}
    encryption, authentication = wrapped.get("encryption"), wrapped.get("authentication")
    password = wrapped.get(PASSWORD_KIND)
    return MeterAccess(
        meter_id=record.meter_id,
        address=record.link_address,
        model=record.model,
        client_address=record.client_address,
        authentication=record.authentication,
        key_id=WORKING_KEY_ID,
        encryption_key=vault.unwrap(encryption) if encryption else None,
        authentication_key=vault.unwrap(authentication) if authentication else None,
        password=vault.unwrap_secret(password) if password else None,
    )
