"""Why a meter cannot be worked with, in words: one cause, one sentence, and what to try next.

The causes are told apart because what helps differs: a wrong key is not cured by waiting, a busy
meter not by another key. How a cause is found is the protocol's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headend.domain.errors import HeadEndError


class Cause(StrEnum):
    """What is wrong, as programs and people name it."""

    NO_ROUTE = "no route"
    CONNECTION_REFUSED = "connection refused"
    SILENT = "silent"
    WRONG_PROTOCOL = "wrong protocol"
    WRONG_ADDRESS = "wrong address"
    WRONG_CLIENT = "wrong client"
    WRONG_KEY = "wrong key"
    WRONG_PASSWORD = "wrong password"  # noqa: S105  (a cause's name)
    WRONG_COUNTER = "wrong counter"
    UNSUPPORTED_SECURITY = "unsupported security"
    BUSY = "busy"
    BROKEN_OFF = "broken off"
    REFUSED = "refused"
    REJECTED = "rejected"
    MISBEHAVED = "misbehaved"
    UNCERTAIN = "uncertain"


# What to try next. Each cause's own words only: naming another one here would blur which it is.
ADVICE: dict[Cause, tuple[str, ...]] = {
    Cause.NO_ROUTE: (
        "check the host name and the network between (VPN, APN, firewall)",
        "a meter on a mobile network may be offline: try again when it was heard",
    ),
    Cause.CONNECTION_REFUSED: (
        "check the port number, 4059 is the usual one",
        "the meter or concentrator may be restarting, or listens only part of the day",
    ),
    Cause.SILENT: (
        "check server= and client=, and that the meter behind this connection has power",
        "give it longer with --timeout; look at what passes with --trace",
    ),
    Cause.WRONG_PROTOCOL: ("choose the scheme that fits: dlms+tcp:// or dlms+hdlc+tcp://",),
    Cause.WRONG_ADDRESS: ("correct server= (behind a concentrator, each meter has its own)",),
    Cause.WRONG_CLIENT: (
        "correct client=: 1 is the usual management client, 16 the public one",
        "a meter may know this one only with another system_title=",
    ),
    Cause.WRONG_KEY: (
        "compare ek= and ak= with the meter's delivery file: both, and which is which",
        "the meter may have been given new ones since",
    ),
    Cause.WRONG_PASSWORD: ("compare password= with the meter's delivery file",),
    Cause.WRONG_COUNTER: (
        "begin above the highest that the meter has seen, with --counter",
        "find out which other program uses this meter with the same client",
    ),
    Cause.UNSUPPORTED_SECURITY: (
        "try another auth= (none, lls, gmac, sha256), suite= or protection= for this client",
    ),
    Cause.BUSY: (
        "try again in a minute: most meters serve one program at a time",
        "see whether the head-end or another tool is connected to it",
    ),
    Cause.BROKEN_OFF: ("try again; if it happens at the same place, look with --trace",),
    Cause.REFUSED: ("see with identify what this client may read and write",),
    Cause.REJECTED: ("look at what the meter answers with --trace",),
    Cause.MISBEHAVED: ("look at what the meter sends with --trace, and keep it for its maker",),
    Cause.UNCERTAIN: ("read the state back before anything is sent again",),
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One cause with what shows it; ``sentence`` goes behind the cause's name."""

    cause: Cause
    sentence: str
    advice: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return the whole diagnosis, what to try next on lines of its own."""
        tries = self.advice + ADVICE[self.cause]
        return "\n".join((f"{self.cause}: {self.sentence}", *(f"  try: {each}" for each in tries)))


class Diagnosed(HeadEndError):
    """A fault whose cause was found; the fault itself is its ``__cause__``."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__(diagnosis.text)
        self.diagnosis = diagnosis
