"""Judges pushed APDUs: opens them by their sender's keys, refuses replays, makes events.

Rules: a ciphered push counts only when its tag is right and its invocation counter exceeds the
highest accepted from that system title under that key (0 is a valid first); the counter is taken
over only from a push whose tag was good. A plain push is refused unless the deployment takes them,
and then names no meter. `CounterStore` makes the highest counters outlive the process; without one
they last as long as the receiver. Knows no sockets; the two ports are awaited.
"""

from __future__ import annotations

from collections import OrderedDict
from decimal import Decimal

from headend.domain.errors import MeterMisbehaved
from headend.domain.events import (
    MeterPushed,
    PushedData,
    PushedValue,
    PushEvent,
    PushRefusal,
    PushRefused,
)
from headend.ports.meters import CounterStore
from headend.ports.pushes import PUSH_CLIENT, PushKeyLookup, PushKeys
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData
from protocols.dlms.message import Message, read_message
from protocols.dlms.notification import NOTIFICATION_TAGS
from protocols.dlms.push_ciphering import (
    Ciphered,
    is_ciphered,
    open_checked,
    open_unchecked,
    parse_ciphered,
)
from protocols.dlms.push_layout import PushItem
from protocols.dlms.push_values import Shown, instant_of, show_time, show_value
from protocols.dlms.security import KEY_SIZES, GcmKey, SecurityFault
from protocols.dlms.units import ScalerUnit

MAX_SENDERS = 50_000  # senders whose highest counter is kept in memory
_ENERGY_UNITS = frozenset({"Wh", "varh", "VAh"})


class _Refused(Exception):
    """Carries a refusal to the end of the judgement."""

    def __init__(self, reason: PushRefusal, message: str, title: bytes | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.title = title


class PushReceiver:
    """The judgement of one listener, shared by all its connections."""

    def __init__(
        self,
        keys: PushKeyLookup,
        *,
        counters: CounterStore | None = None,
        accept_plain: bool = False,
        max_senders: int = MAX_SENDERS,
    ) -> None:
        self._keys = keys
        self._counters = counters
        self._accept_plain = accept_plain
        self._max_senders = max_senders
        self._highest: OrderedDict[tuple[bytes, str], int] = OrderedDict()

    async def judge(self, apdu: bytes, *, peer: str) -> PushEvent:
        """Return the event of one whole APDU; never raises for what a sender may send."""
        try:
            return await self._judge(apdu, peer)
        except _Refused as refused:
            return PushRefused(peer, refused.reason, str(refused), refused.title)
        except MeterMisbehaved as fault:
            return PushRefused(peer, PushRefusal.MALFORMED, str(fault))

    async def _judge(self, apdu: bytes, peer: str) -> MeterPushed:
        if not is_ciphered(apdu):
            message = _read_push(apdu)
            if not self._accept_plain:
                raise _Refused(PushRefusal.PLAIN, "a plain push where only ciphered ones count")
            return _event(message, peer)
        ciphered = parse_ciphered(apdu)
        title = ciphered.title
        if title is None or ciphered.dedicated:
            raise _Refused(
                PushRefusal.UNKNOWN_SENDER, "the push names no sender, or belongs to an association"
            )
        keys = await self._keys.keys_for(title)
        if keys is None:
            raise _Refused(
                PushRefusal.UNKNOWN_SENDER, f"no keys for system title {title.hex()}", title
            )
        plain = _open(ciphered, keys, title)
        message = _read_push(plain, title)
        if ciphered.authenticated:
            await self._check_counter(ciphered.counter, keys, title)
        return _event(message, peer, ciphered, keys)

    async def _check_counter(self, counter: int, keys: PushKeys, title: bytes) -> None:
        sender = (title, keys.key_id)
        highest = self._highest.get(sender, -1)
        if counter <= highest:
            raise _Refused(
                PushRefusal.REPLAYED,
                f"invocation counter {counter} of {title.hex()}, expected above {highest}",
                title,
            )
        # Taken over before anything is awaited: the same push on another connection loses.
        self._highest[sender] = counter
        self._highest.move_to_end(sender)
        if len(self._highest) > self._max_senders and self._counters is not None:
            self._highest.popitem(last=False)  # the store still knows it
        if self._counters is None:
            return
        grew = await self._counters.check_received(keys.meter_id, PUSH_CLIENT, keys.key_id, counter)
        if not grew:
            raise _Refused(
                PushRefusal.REPLAYED,
                f"invocation counter {counter} of {title.hex()} was recorded before",
                title,
            )


def _open(ciphered: Ciphered, keys: PushKeys, title: bytes) -> bytes:
    size = KEY_SIZES[ciphered.suite]
    if {len(keys.encryption_key), len(keys.authentication_key)} != {size}:
        raise _Refused(
            PushRefusal.WRONG_KEY, f"its suite {ciphered.suite} takes keys of {size} octets", title
        )
    key = GcmKey(keys.encryption_key, keys.authentication_key, suite=ciphered.suite)
    if not ciphered.authenticated:
        if keys.require_tag:
            raise _Refused(
                PushRefusal.NOT_AUTHENTICATED, "the push carries no authentication tag", title
            )
        return open_unchecked(ciphered, key)
    try:
        return open_checked(ciphered, key)
    except SecurityFault as fault:
        raise _Refused(PushRefusal.WRONG_KEY, str(fault), title) from fault


def _read_push(apdu: bytes, title: bytes | None = None) -> Message:
    if not apdu or apdu[0] not in NOTIFICATION_TAGS:
        raise _Refused(PushRefusal.NOT_A_PUSH, "the APDU is no notification", title)
    try:
        message = read_message(apdu)
    except MalformedData as fault:
        raise _Refused(PushRefusal.MALFORMED, str(fault), title) from fault
    if message.trailing:
        raise _Refused(
            PushRefusal.MALFORMED, f"{len(message.trailing)} octets follow the push", title
        )
    return message


def _event(
    message: Message,
    peer: str,
    ciphered: Ciphered | None = None,
    keys: PushKeys | None = None,
) -> MeterPushed:
    time = message.time
    return MeterPushed(
        peer=peer,
        service=message.service,
        values=tuple(_pushed(item) for item in message.layout.items),
        loose=tuple(_as_data(show_value(value)) for value in message.layout.loose),
        meter_id=keys.meter_id if keys is not None else None,
        system_title=ciphered.title if ciphered is not None else None,
        invocation_counter=ciphered.counter if ciphered is not None else None,
        authenticated=ciphered is not None and ciphered.authenticated,
        measured_at=None if time is None else instant_of(time),
        local_time=None if time is None else show_time(time),
    )


def _pushed(item: PushItem) -> PushedValue:
    unit = item.scaler_unit.unit if item.scaler_unit is not None else ""
    value = _exact(item.value, item.scaler_unit)
    return PushedValue(item.obis, value, unit, item.class_id, item.attribute)


def _exact(value: Data, scaler_unit: ScalerUnit | None) -> PushedData:
    """Return a value scaled without loss; energy is whole, rounded down as in a reading."""
    if scaler_unit is None or isinstance(value, bool) or not isinstance(value, int):
        return _as_data(show_value(value, scaler_unit))
    if scaler_unit.scaler >= 0 or scaler_unit.unit in _ENERGY_UNITS:
        return scaler_unit.scale(int(value))
    return Decimal(int(value)).scaleb(scaler_unit.scaler)


def _as_data(shown: Shown) -> PushedData:
    return tuple(map(_as_data, shown)) if isinstance(shown, list) else shown
