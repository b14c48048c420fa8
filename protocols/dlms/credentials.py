"""From a meter's access to an association: mechanism, keys, protection and form.

What an access leaves open its meter's model says. An access that cannot work (a missing key, a
name that is none) is `BadInput` before anything is sent.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TypeVar

from headend.domain.errors import BadInput
from headend.ports import MeterAccess
from protocols.dlms.acse import Mechanism
from protocols.dlms.association import PROPOSED_CONFORMANCE, ClientAssociation, ClientSettings
from protocols.dlms.hls import DIGEST_MECHANISMS, LEGACY_MECHANISMS, MECHANISMS
from protocols.dlms.initiate import Conformance
from protocols.dlms.meter_model import MeterModel
from protocols.dlms.security import (
    AUTHENTICATED,
    AUTHENTICATED_ENCRYPTED,
    ENCRYPTED,
    KEY_SIZES,
    CounterSource,
    Form,
    GcmKey,
    SecureChannel,
)

CHALLENGE_SIZE = 16  # octets
_T = TypeVar("_T")
PROTECTIONS = {
    "none": 0,
    "authentication": AUTHENTICATED,
    "encryption": ENCRYPTED,
    "both": AUTHENTICATED_ENCRYPTED,
}


@dataclass(frozen=True, slots=True)
class Credentials:
    """How one meter is unlocked; checked, but for its counters ready to associate."""

    access: MeterAccess
    mechanism: Mechanism
    control: int
    form: Form
    suite: int
    allow_legacy: bool

    @property
    def needs_counters(self) -> bool:
        """Whether an association draws invocation counters."""
        keyed = self.access.encryption_key is not None
        return keyed and (self.control != 0 or self.mechanism == Mechanism.HLS_GMAC)

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked of the meter: no password, no proof, no key."""
        return self.mechanism == Mechanism.NONE and not self.needs_counters


def check_access(access: MeterAccess, model: MeterModel, *, allow_legacy: bool) -> Credentials:
    """Judge an access; raises `BadInput` naming what is missing, never its secret."""
    mechanism = MECHANISMS.get(access.authentication)
    meter = f"meter {access.meter_id}"
    if mechanism is None:
        raise BadInput(
            f"DLMS has no authentication {access.authentication!r}; there are"
            f" {', '.join(MECHANISMS)}",
            field="authentication",
        )
    if mechanism in LEGACY_MECHANISMS and not allow_legacy:
        raise BadInput(
            f"{meter}: authentication {access.authentication} is broken and only for legacy meters;"
            " allow it in the configuration, or give the meter gmac or sha256",
            field="authentication",
        )
    if (mechanism == Mechanism.LLS or mechanism in DIGEST_MECHANISMS) and not access.password:
        raise BadInput(f"{meter} has no password", field="password")
    has_keys = access.encryption_key is not None and access.authentication_key is not None
    if not has_keys and mechanism == Mechanism.HLS_GMAC:
        raise BadInput(f"{meter} has no keys", field="encryption_key")
    security = model.security
    protection = security.protection if access.protection is None else access.protection
    form = security.ciphering if access.ciphering is None else access.ciphering
    control = _one_of(PROTECTIONS, protection, "protection") if has_keys else 0
    suite = access.security_suite or security.suite
    for name, key in (
        ("encryption_key", access.encryption_key),
        ("authentication_key", access.authentication_key),
    ):
        if key is not None and len(key) != KEY_SIZES.get(suite):
            raise BadInput(
                f"{meter}: {name} has {len(key)} octets, which security suite {suite} does not"
                " take",
                field=name,
            )
    forms = {each.value: each for each in Form}
    return Credentials(
        access, mechanism, control, _one_of(forms, form, "ciphering"), suite, allow_legacy
    )


def make_association(
    credentials: Credentials,
    counters: CounterSource,
    *,
    system_title: bytes,
    highest_received: int,
    general_blocks: bool = False,
) -> tuple[ClientAssociation, SecureChannel | None]:
    """Build an association with fresh challenge and dedicated key; see `check_access`.

    ``general_blocks`` proposes general-block-transfer beside the blocks of each service.
    """
    access, mechanism = credentials.access, credentials.mechanism
    channel = None
    keys = access.encryption_key, access.authentication_key
    if credentials.needs_counters and keys[0] is not None and keys[1] is not None:
        channel = SecureChannel(
            GcmKey(keys[0], keys[1], suite=credentials.suite),
            counters,
            local_title=system_title,
            highest_received=highest_received,
            control=credentials.control,
            form=credentials.form,
        )
    titled = channel is not None or mechanism == Mechanism.HLS_SHA256
    secret = mechanism == Mechanism.LLS or mechanism in DIGEST_MECHANISMS
    dedicated = channel is not None and credentials.form.is_dedicated
    settings = ClientSettings(
        mechanism=mechanism,
        password=access.password if secret else None,
        challenge=secrets.token_bytes(CHALLENGE_SIZE) if mechanism > Mechanism.LLS else None,
        system_title=system_title if titled else None,
        dedicated_key=secrets.token_bytes(KEY_SIZES[credentials.suite]) if dedicated else None,
        allow_legacy=credentials.allow_legacy,
        ciphered=credentials.control != 0,
        conformance=PROPOSED_CONFORMANCE
        | (Conformance.GENERAL_BLOCK_TRANSFER if general_blocks else 0),
    )
    return ClientAssociation(settings, channel), channel


def _one_of(known: dict[str, _T], name: str, field: str) -> _T:
    if name not in known:
        raise BadInput(f"{field} {name!r} is none of {', '.join(known)}", field=field)
    return known[name]
