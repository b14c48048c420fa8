"""Which inspector serves which endpoint: all that the shell's tools know of protocols.

A further protocol joins by one entry; commands never learn of it. No database is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from headend.domain.errors import BadInput
from headend.ports.inspection import InspectionOptions, MeterInspector

MakeInspector = Callable[[InspectionOptions], MeterInspector]


def _make_dlms(options: InspectionOptions) -> MeterInspector:
    from protocols.dlms.services.inspector import DlmsInspector

    return DlmsInspector(options)


# The first word of a scheme -> who serves it.
INSPECTORS: Mapping[str, MakeInspector] = {"dlms": _make_dlms}


def make_inspector(
    endpoint: str,
    options: InspectionOptions,
    inspectors: Mapping[str, MakeInspector] = INSPECTORS,
) -> MeterInspector:
    """Return the inspector of an endpoint's scheme; raises `BadInput` for an unknown one."""
    try:
        scheme = urlsplit(endpoint).scheme
    except ValueError as error:
        raise BadInput(f"not an endpoint URL: {error}", field="endpoint") from None
    make = inspectors.get(scheme.split("+", 1)[0])
    if make is not None:
        inspector = make(options)
        if scheme in inspector.schemes:
            return inspector
        known = ", ".join(inspector.schemes)
        raise BadInput(f"scheme {scheme!r} is none of {known}", field="endpoint")
    known = ", ".join(f"{name}+..." for name in inspectors)
    what = f"scheme {scheme!r}" if scheme else "an endpoint without a scheme"
    raise BadInput(
        f"{what} is not served, only {known} such as dlms+tcp://host:4059?client=1",
        field="endpoint",
    )


def safe_endpoint(endpoint: str) -> str:
    """Return an endpoint without anything that may be secret: scheme, place and addresses."""
    parts = urlsplit(endpoint)
    kept = [
        each
        for each in parts.query.split("&")
        if each.split("=", 1)[0] in ("client", "server", "unit", "auth", "model", "profile")
    ]
    host = parts.netloc.rpartition("@")[2]
    query = f"?{'&'.join(kept)}" if kept else ""
    return f"{parts.scheme}://{host}{parts.path}{query}"
