"""Where a simulated meter pushes to: ``tcp://``, ``udp://``, ``hdlc+tcp://`` or ``hdlc+udp://``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from headend.domain.errors import BadInput

_SCHEMES = ("tcp", "udp", "hdlc+tcp", "hdlc+udp")


@dataclass(frozen=True, slots=True)
class PushTarget:
    """One listener; ``hdlc`` frames the push in HDLC instead of WRAPPER."""

    host: str
    port: int
    udp: bool = False
    hdlc: bool = False


def parse_push_target(url: str) -> PushTarget:
    """Read ``tcp://127.0.0.1:4059``; raises `BadInput`."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in _SCHEMES or not host or port is None:
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise BadInput(f"push target {url!r} is not one of {known} HOST:PORT", field="target")
    return PushTarget(host, port, parts.scheme.endswith("udp"), parts.scheme.startswith("hdlc"))
