"""Octets as hex for people, with every secret blanked.

Known secrets (keys, passwords) are blanked wherever they stand; what only the meaning of an APDU
tells to be secret is named by its place.
"""

from __future__ import annotations

from collections.abc import Iterable

MASK = "**"
MIN_SEARCHED = 4  # octets; a shorter secret would blank half of every frame


def mask_octets(octets: bytes, secrets: Iterable[bytes], places: Iterable[range] = ()) -> str:
    """Return hex in groups of an octet, with secrets and ``places`` blanked."""
    hidden: set[int] = set()
    for secret in secrets:
        if len(secret) < MIN_SEARCHED:
            continue
        at = octets.find(secret)
        while at >= 0:
            hidden.update(range(at, at + len(secret)))
            at = octets.find(secret, at + 1)
    for place in places:
        hidden.update(place)
    return " ".join(MASK if at in hidden else f"{octet:02X}" for at, octet in enumerate(octets))


def place_of(part: bytes, octets: bytes) -> range:
    """Return where a part last stands in octets; an empty range where it does not."""
    at = octets.rfind(part) if part else -1
    return range(0) if at < 0 else range(at, at + len(part))
