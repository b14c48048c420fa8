"""Faults of simulated meters and concentrators, switched on demand or from a file.

A fault never touches the truth: the contact, the load and the control socket stay honest, and only
what the meter *says* over its protocol, or how its relay obeys, goes wrong. A fault may have a
window in business time; without one it holds from now until cleared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from headend.domain.errors import BadInput
from protocols.simulator.business_time import to_instant, to_us
from protocols.simulator.push_target import parse_push_target

_PUSH_FORMS = ("ciphered", "plain")
_MIN_BLOCK_OCTETS = 32
_MAX_DRIFT = {"offset_s": 315_360_000.0, "ppm": 100_000.0}  # ten years; a tenth of the time


class FaultKind(StrEnum):
    """Every fault there is; the parameters of each are in `PARAMETERS`."""

    SILENT = "silent"  # accepts and never answers
    SLOW = "slow"  # answers late
    DROP = "drop"  # closes the connection in the middle of its answer
    BUSY = "busy"  # answers every read and action with temporary-failure
    WRONG_IDENTITY = "wrong_identity"  # another device hangs at this address
    WRONG_KEY = "wrong_key"  # holds other keys than the head-end was told
    COUNTER_AHEAD = "counter_ahead"  # has seen a higher client invocation counter
    COUNTER_BEHIND = "counter_behind"  # has lost its own counter and the one it had seen
    CLOCK_DRIFT = "clock_drift"  # its own clock is off, and so are the times of its rows
    MISSING_ROWS = "missing_rows"  # no profile rows from then on, registers denied
    DENIED = "denied"  # refuses to show one object
    RELAY_STUCK = "relay_stuck"  # acknowledges and believes it, the contact stays
    RELAY_IGNORED = "relay_ignored"  # acknowledges, and nothing at all happens
    RELAY_REFUSED = "relay_refused"  # answers a switching command with an error
    RELAY_DELAY_MS = "relay_delay_ms"  # the contact moves later than usual
    BUTTON_REQUIRED = "button_required"  # remote reconnection only arms
    ACTION_UNANSWERED = "action_unanswered"  # executes the command, its answer is lost
    DOWN = "down"  # a concentrator refuses every connection
    SMALL_PDU = "small_pdu"  # agrees to short APDUs only, from its next session on
    GENERAL_BLOCKS = "general_blocks"  # no fault: has general blocks instead of those of services
    PUSH = "push"  # no fault but a feature: pushes its readings on a schedule of business time
    # Of its HDLC link; they have no effect on other transports.
    WRONG_FCS = "wrong_fcs"  # its frames come with a wrong check sequence
    LOST_FRAME = "lost_frame"  # its frames do not come
    LINK_BUSY = "link_busy"  # answers polls with "receive not ready"
    SMALL_WINDOW = "small_window"  # agrees to a small window, from its next connection on
    SMALL_INFORMATION = "small_information"  # and to short information fields


# Parameter names and their defaults; numbers have their unit last in their name.
PARAMETERS: dict[FaultKind, dict[str, Any]] = {
    FaultKind.SLOW: {"delay_ms": 2000},
    # That share of sessions, by seed, breaks off in the answer after so many whole ones.
    FaultKind.DROP: {"probability": 1.0, "after_answers": 2},
    FaultKind.WRONG_IDENTITY: {"logical_device_name": "", "serial": ""},
    FaultKind.COUNTER_AHEAD: {"by": 1_000_000},
    FaultKind.GENERAL_BLOCKS: {"window": 4},
    FaultKind.COUNTER_BEHIND: {"by": 1_000_000},
    # Ahead (behind: below 0) by so much at once, and by so many millionths of the time that passes.
    FaultKind.CLOCK_DRIFT: {"offset_s": 0.0, "ppm": 0.0},
    FaultKind.DENIED: {"obis": ""},
    FaultKind.RELAY_DELAY_MS: {"delay_ms": 5000},
    FaultKind.SMALL_PDU: {"octets": 128},
    # Blocks of so many octets (0: whole), acknowledged where the window is above 0 (WRAPPER, TCP).
    FaultKind.PUSH: {
        "target": "tcp://127.0.0.1:4059",
        "every_s": 900,
        "form": "ciphered",
        "block_octets": 0,
        "window": 0,
    },
    # That share of the frames that the meter sends, by seed.
    FaultKind.WRONG_FCS: {"probability": 0.2},
    FaultKind.LOST_FRAME: {"probability": 0.2},
    # So many polls of each connection; 0 strikes all.
    FaultKind.LINK_BUSY: {"polls": 0},
    FaultKind.SMALL_WINDOW: {"frames": 1},
    FaultKind.SMALL_INFORMATION: {"octets": 32},
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault with its window ``[from_us, until_us)`` in business time and its parameters."""

    kind: FaultKind
    from_us: int | None = None
    until_us: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Fault:
        """Read ``{"fault": name, "from"?, "until"?, parameter...}``; raises `BadInput`."""
        name = values.get("fault")
        try:
            kind = FaultKind(str(name))
        except ValueError:
            known = ", ".join(kind.value for kind in FaultKind)
            raise BadInput(f"no fault {name!r}; known are {known}", field="fault") from None
        allowed = PARAMETERS.get(kind, {})
        given = {key: value for key, value in values.items() if key not in _FRAME_KEYS}
        unknown = sorted(given.keys() - allowed.keys())
        if unknown:
            raise BadInput(f"fault {kind} has no parameter {unknown[0]!r}", field=unknown[0])
        for key, value in given.items():
            _check_type(kind, key, value, allowed[key])
        if kind is FaultKind.PUSH:
            _check_push({**allowed, **given})
        from_us, until_us = (_instant_us(values, key) for key in ("from", "until"))
        if from_us is not None and until_us is not None and until_us <= from_us:
            raise BadInput(f"fault {kind} ends before it begins", field="until")
        return cls(kind, from_us, until_us, {**allowed, **given})

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        values: dict[str, Any] = {"fault": self.kind.value, **self.parameters}
        if self.from_us is not None:
            values["from"] = to_instant(self.from_us).isoformat()
        if self.until_us is not None:
            values["until"] = to_instant(self.until_us).isoformat()
        return values

    def holds_at(self, business_us: int) -> bool:
        """Tell whether a business instant lies in the window."""
        begun = self.from_us is None or business_us >= self.from_us
        return begun and (self.until_us is None or business_us < self.until_us)


class FaultBook:
    """The faults of one meter or concentrator; a later one of a kind replaces the earlier."""

    def __init__(self) -> None:
        self._faults: dict[FaultKind, Fault] = {}

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults.values())

    def __bool__(self) -> bool:
        return bool(self._faults)

    def set(self, fault: Fault) -> None:
        """Switch a fault on, in its window."""
        self._faults[fault.kind] = fault

    def clear(self, kind: FaultKind | None = None) -> None:
        """Forget one kind, or all."""
        if kind is None:
            self._faults.clear()
        else:
            self._faults.pop(kind, None)

    def get(self, kind: FaultKind) -> Fault | None:
        """Return the fault of that kind, whether or not it holds now."""
        return self._faults.get(kind)

    def active(self, kind: FaultKind, business_us: int) -> Fault | None:
        """Return the fault of that kind when it holds at the instant."""
        fault = self._faults.get(kind)
        return fault if fault is not None and fault.holds_at(business_us) else None


def load_faults_file(path: Path) -> list[tuple[str, Fault]]:
    """Read ``{"faults": [{"meter": meter_no, "fault": ...}]}`` as (target, fault) pairs.

    The target is a meter number or a concentrator's name (``"concentrator": name``). Raises
    `BadInput` naming the file and the entry.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"cannot read faults file {path}: {error.strerror}", field=str(path)
        ) from error
    except ValueError as error:
        raise BadInput(f"faults file {path} is not JSON: {error}", field=str(path)) from error
    entries = document.get("faults") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise BadInput(f'faults file {path} needs a list under "faults"', field="faults")
    return [_read_entry(path, number, entry) for number, entry in enumerate(entries)]


_FRAME_KEYS = frozenset(
    {"fault", "from", "until", "meter", "concentrator", "request", "id", "kind"}
)


def _read_entry(path: Path, number: int, entry: object) -> tuple[str, Fault]:
    where = f"{path}, faults[{number}]"
    if not isinstance(entry, dict):
        raise BadInput(f"{where} is not an object", field="faults")
    target = entry.get("meter") or entry.get("concentrator")
    if not isinstance(target, str):
        raise BadInput(f"{where} names neither meter nor concentrator", field="meter")
    try:
        return target, Fault.from_json(entry)
    except BadInput as error:
        raise BadInput(f"{where}: {error}", field=error.field) from error


def _check_push(push: Mapping[str, Any]) -> None:
    parse_push_target(push["target"])
    if push["form"] not in _PUSH_FORMS:
        known = " or ".join(_PUSH_FORMS)
        raise BadInput(f"fault push: form {push['form']!r} is not {known}", field="form")
    if push["every_s"] < 1:
        raise BadInput("fault push: every_s must be 1 or more", field="every_s")
    if 0 < push["block_octets"] < _MIN_BLOCK_OCTETS:
        raise BadInput(
            f"fault push: block_octets is 0 or at least {_MIN_BLOCK_OCTETS}", field="block_octets"
        )


def _check_type(kind: FaultKind, key: str, value: object, default: object) -> None:
    wanted: tuple[type, ...] = (int, float) if isinstance(default, float) else (type(default),)
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise BadInput(f"fault {kind}: {key} cannot be {value!r}", field=key)
    if kind is FaultKind.CLOCK_DRIFT:
        _check_drift(key, float(str(value)))
    elif isinstance(value, int | float) and value < 0:
        raise BadInput(f"fault {kind}: {key} cannot be negative ({value})", field=key)


def _check_drift(key: str, value: float) -> None:
    if not abs(value) <= _MAX_DRIFT[key]:
        raise BadInput(f"fault clock_drift: {key} is within {_MAX_DRIFT[key]:g}", field=key)


def _instant_us(values: Mapping[str, Any], key: str) -> int | None:
    text = values.get(key)
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(str(text))
    except ValueError:
        raise BadInput(f"{key} {text!r} is not an ISO instant", field=key) from None
    if instant.tzinfo is None:
        raise BadInput(f"{key} {text!r} has no UTC offset", field=key)
    return to_us(instant)
