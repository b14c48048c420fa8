"""Which peers there are to be compared with: each is imported when asked for, and never before.

They are no part of the product; the modules that use them (`cosem_peer`, `gurux_peer`) are imported
from here alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from headend.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from headend.bench.dlms.cosem_peer import CosemSessions

Decode = Callable[[bytes], object]
Carry = Callable[[bytes], bytes]  # a WRAPPER frame to the meter, and the frame of its answer


class PeerMissing(ConfigurationError):
    """A peer of the comparison is not installed."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not installed, so nothing is compared with it:"
            " pip install 'ami-headend[bench]' brings it"
        )


def cosem_decoder() -> Decode:
    """Return dlms-cosem's decoding of a profile; raises `PeerMissing`."""
    try:
        from headend.bench.dlms.cosem_peer import make_decoder
    except ImportError as fault:
        raise _missing(fault, "dlms-cosem", "dlms_cosem") from fault
    return make_decoder()


def cosem_sessions(carry: Carry) -> CosemSessions:
    """Return sessions through dlms-cosem's client; raises `PeerMissing`."""
    try:
        from headend.bench.dlms.cosem_peer import CosemSessions
    except ImportError as fault:
        raise _missing(fault, "dlms-cosem", "dlms_cosem") from fault
    return CosemSessions(carry)


def gurux_decoder(*, clocks: bool = True) -> Decode:
    """Return gurux' decoding of a profile, without ``clocks`` its parse alone.

    Raises `PeerMissing`.
    """
    try:
        from headend.bench.dlms.gurux_peer import make_decoder, parse
    except ImportError as fault:
        raise _missing(fault, "gurux-dlms", "gurux_dlms") from fault
    return make_decoder() if clocks else parse


def _missing(fault: ImportError, name: str, package: str) -> Exception:
    """Return what to raise: a fault inside an installed package is not its absence."""
    absent = isinstance(fault, ModuleNotFoundError) and (fault.name or "").startswith(package)
    return PeerMissing(name) if absent else fault
