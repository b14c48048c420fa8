"""The keys that one simulated meter holds now: those of its file, until new ones are transferred.

`global_key_transfer` of the security setup replaces any of them at once: all in the request, or
none. A key wrapped under another master key, or of another size, changes nothing. The new keys are
kept for later runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from protocols.dlms.errors import AccessError, AccessResult
from protocols.dlms.key_transfer import KeyId, unwrap_keys
from protocols.dlms.security import KEY_SIZE, TagMismatch

_NAMES = {
    KeyId.GLOBAL_UNICAST_ENCRYPTION: "encryption_key",
    KeyId.GLOBAL_BROADCAST_ENCRYPTION: "broadcast_key",
    KeyId.AUTHENTICATION: "authentication_key",
    KeyId.MASTER: "master_key",
}


class MeterKeys:
    """Keys by their id; ``record`` keeps every change. Neither ``repr`` nor a message shows one."""

    def __init__(
        self,
        *,
        encryption_key: str,
        authentication_key: str,
        master_key: str,
        record: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self._keys = {
            KeyId.GLOBAL_UNICAST_ENCRYPTION: bytes.fromhex(encryption_key),
            KeyId.AUTHENTICATION: bytes.fromhex(authentication_key),
            KeyId.MASTER: bytes.fromhex(master_key),
        }
        self._record = record
        self._changed = False

    @property
    def encryption_key(self) -> bytes:
        """The global unicast encryption key."""
        return self._keys[KeyId.GLOBAL_UNICAST_ENCRYPTION]

    @property
    def authentication_key(self) -> bytes:
        """The authentication key."""
        return self._keys[KeyId.AUTHENTICATION]

    def transfer(self, parameter: bytes | None) -> None:
        """Take the keys in a method's parameter; raises `AccessError` and `MalformedData`."""
        master_key = self._keys[KeyId.MASTER]
        if not master_key:
            raise AccessError(AccessResult.READ_WRITE_DENIED)
        try:
            given = unwrap_keys(parameter or b"", master_key)
        except TagMismatch:
            raise AccessError(AccessResult.OTHER_REASON) from None
        if any(len(key) != KEY_SIZE for key in given.values()):
            raise AccessError(AccessResult.TYPE_UNMATCHED)
        self._keys.update(given)
        self._changed = True
        self._record("keys", self._to_json())

    def snapshot(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Return the records from which `replay` rebuilds what was transferred."""
        return [("keys", self._to_json())] if self._changed else []

    def replay(self, values: Mapping[str, Any]) -> None:
        """Take up the keys of an earlier run."""
        names = {name: key_id for key_id, name in _NAMES.items()}
        self._keys.update((names[name], bytes.fromhex(key)) for name, key in values["keys"].items())
        self._changed = True

    def _to_json(self) -> dict[str, Any]:
        return {"keys": {_NAMES[key_id]: key.hex() for key_id, key in self._keys.items()}}
