"""Which pushes count: keys by system title, tags, replays, plain ones, and the events they make."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from headend.domain.events import MeterPushed, PushEvent, PushRefusal, PushRefused
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, Obis
from headend.ports.pushes import PUSH_CLIENT, PushKeys
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.notification import DataNotification
from protocols.dlms.push_ciphering import seal_general
from protocols.dlms.push_receiver import PushReceiver
from protocols.dlms.security import GcmKey
from protocols.dlms.testing import MemoryCounterStore

TITLE = b"SIM\x01\x02\x03\x04\x05"
EK, AK = bytes(range(16)), bytes(range(16, 32))
KEYS = PushKeys(7, EK, AK)
AT = datetime(2026, 3, 5, 4, 15, tzinfo=UTC)
VOLTAGE = Obis.parse("1.0.32.7.0.255")
BODY = d.Structure(
    (
        d.Structure(
            (
                ACTIVE_ENERGY_IMPORT.octets,
                d.DoubleLongUnsigned(12345),
                d.Structure((d.Integer(-1), d.Enum(30))),
            )
        ),
        d.Structure(
            (VOLTAGE.octets, d.LongUnsigned(2364), d.Structure((d.Integer(-1), d.Enum(35))))
        ),
    )
)
PLAIN = DataNotification(
    1, CosemDateTime.from_instant(AT, deviation_min=-480), xdr.encode(BODY)
).encode()


class _Lookup:
    """Keys in a dictionary."""

    def __init__(self, keys: PushKeys | None = KEYS) -> None:
        self.keys = {TITLE: keys}

    async def keys_for(self, system_title: bytes) -> PushKeys | None:
        return self.keys.get(system_title)


def _sealed(counter: int, *, control: int = 0x30, apdu: bytes = PLAIN, key: bytes = EK) -> bytes:
    return seal_general(apdu, GcmKey(key, AK), title=TITLE, counter=counter, control=control)


async def _judge(receiver: PushReceiver, apdu: bytes) -> PushEvent:
    return await receiver.judge(apdu, peer="10.0.0.1:4059")


async def _reason(receiver: PushReceiver, apdu: bytes) -> PushRefusal:
    event = await _judge(receiver, apdu)
    assert isinstance(event, PushRefused)
    assert event.message
    return event.reason


async def test_ciphered_push_becomes_an_event() -> None:
    event = await _judge(PushReceiver(_Lookup()), _sealed(0))
    assert isinstance(event, MeterPushed)
    assert (event.meter_id, event.system_title, event.invocation_counter) == (7, TITLE, 0)
    assert event.authenticated
    assert event.measured_at == AT
    assert event.local_time == "2026-03-05T12:15:00+08:00"
    energy, voltage = event.values
    # Energy is whole and rounded down, never overstated; everything else is exact.
    assert (energy.obis, energy.value, energy.unit) == (ACTIVE_ENERGY_IMPORT, 1234, "Wh")
    assert (voltage.value, voltage.unit) == (Decimal("236.4"), "V")


async def test_counter_must_grow_per_sender() -> None:
    receiver = PushReceiver(_Lookup())
    assert isinstance(await _judge(receiver, _sealed(5)), MeterPushed)
    for counter in (5, 4, 0):
        assert await _reason(receiver, _sealed(counter)) is PushRefusal.REPLAYED
    assert isinstance(await _judge(receiver, _sealed(6)), MeterPushed)


async def test_counter_of_a_push_with_a_wrong_tag_is_not_taken_over() -> None:
    receiver = PushReceiver(_Lookup())
    forged = _sealed(1000, key=bytes(16))
    assert await _reason(receiver, forged) is PushRefusal.WRONG_KEY
    assert isinstance(await _judge(receiver, _sealed(1)), MeterPushed)


async def test_store_keeps_replays_out_over_a_restart() -> None:
    store = MemoryCounterStore()
    first = PushReceiver(_Lookup(), counters=store)
    assert isinstance(await _judge(first, _sealed(9)), MeterPushed)
    assert store.received == {(7, PUSH_CLIENT, "push"): 9}
    restarted = PushReceiver(_Lookup(), counters=store)
    assert await _reason(restarted, _sealed(9)) is PushRefusal.REPLAYED
    assert isinstance(await _judge(restarted, _sealed(10)), MeterPushed)


async def test_forgotten_sender_is_still_known_to_the_store() -> None:
    store = MemoryCounterStore()
    receiver = PushReceiver(_Lookup(), counters=store, max_senders=0)
    assert isinstance(await _judge(receiver, _sealed(3)), MeterPushed)
    assert await _reason(receiver, _sealed(3)) is PushRefusal.REPLAYED


async def test_plain_push_counts_only_where_it_is_allowed_and_names_no_meter() -> None:
    assert await _reason(PushReceiver(_Lookup()), PLAIN) is PushRefusal.PLAIN
    event = await _judge(PushReceiver(_Lookup(), accept_plain=True), PLAIN)
    assert isinstance(event, MeterPushed)
    assert not event.authenticated
    assert (event.meter_id, event.system_title, event.invocation_counter) == (None, None, None)


async def test_push_without_a_tag_is_no_evidence() -> None:
    unauthenticated = _sealed(1, control=0x20)
    assert await _reason(PushReceiver(_Lookup()), unauthenticated) is PushRefusal.NOT_AUTHENTICATED
    lookup = _Lookup(replace(KEYS, require_tag=False))
    receiver = PushReceiver(lookup)
    event = await _judge(receiver, _sealed(900, control=0x20))
    assert isinstance(event, MeterPushed)
    assert not event.authenticated
    # Anybody may write any counter into it: it must not shut out the sender's real pushes.
    assert isinstance(await _judge(receiver, _sealed(1)), MeterPushed)


async def test_strangers_and_dedicated_keys_are_refused() -> None:
    assert await _reason(PushReceiver(_Lookup(None)), _sealed(1)) is PushRefusal.UNKNOWN_SENDER
    dedicated = b"\xdc" + _sealed(1)[1:]
    assert await _reason(PushReceiver(_Lookup()), dedicated) is PushRefusal.UNKNOWN_SENDER
    nameless = b"\xca" + _sealed(1)[10:]
    assert await _reason(PushReceiver(_Lookup()), nameless) is PushRefusal.UNKNOWN_SENDER


async def test_keys_of_another_suite_are_the_wrong_ones() -> None:
    lookup = _Lookup(replace(KEYS, encryption_key=bytes(32), authentication_key=bytes(32)))
    assert await _reason(PushReceiver(lookup), _sealed(1)) is PushRefusal.WRONG_KEY


@pytest.mark.parametrize(
    ("apdu", "reason"),
    [
        (b"", PushRefusal.NOT_A_PUSH),
        (bytes.fromhex("c401c1000601020304"), PushRefusal.NOT_A_PUSH),
        (PLAIN[:-3], PushRefusal.MALFORMED),
        (PLAIN + b"\x00", PushRefusal.MALFORMED),
        (b"\x0f\x00", PushRefusal.MALFORMED),
    ],
)
async def test_what_is_no_push_is_told_apart(apdu: bytes, reason: PushRefusal) -> None:
    receiver = PushReceiver(_Lookup(), accept_plain=True)
    assert await _reason(receiver, apdu) is reason
    if apdu:
        assert await _reason(receiver, _sealed(1, apdu=apdu)) is reason
        assert isinstance(await _judge(receiver, _sealed(1)), MeterPushed)


async def test_cut_ciphered_push_is_malformed() -> None:
    assert await _reason(PushReceiver(_Lookup()), _sealed(1)[:-1]) is PushRefusal.MALFORMED


def test_keys_never_show() -> None:
    assert EK.hex() not in repr(KEYS)
    assert repr(EK) not in repr(KEYS)
