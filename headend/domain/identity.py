"""Is the device that answered the installed one? Asked before anything is read or switched."""

from __future__ import annotations

from headend.domain.errors import IdentityMismatch
from headend.domain.reading import MeterIdentity


def check_identity(expected: MeterIdentity, found: MeterIdentity) -> None:
    """Raise `IdentityMismatch` unless logical device name and serial are both as installed."""
    if (expected.logical_device_name, expected.serial) == (found.logical_device_name, found.serial):
        return
    wanted = f"{expected.logical_device_name} / {expected.serial}"
    seen = f"{found.logical_device_name} / {found.serial}"
    raise IdentityMismatch(
        f"the device that answered is {seen}, installed is {wanted}", expected=wanted, found=seen
    )
