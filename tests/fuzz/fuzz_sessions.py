"""Fuzz targets for conversations: any APDU at any moment leaves them as they were, or says so.

The first octet chooses the moment, and whether the rest comes as it is or properly ciphered, so
that what lies behind the cipher is reached too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

from fuzz_codecs import check, declared

from headend.domain.errors import HeadEndError, LocalProtocolError, MeterMisbehaved
from headend.domain.obis import ACTIVE_ENERGY_IMPORT, DISCONNECT_CONTROL
from protocols.dlms import acse, client, gbt, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.acse import Mechanism
from protocols.dlms.association import ClientAssociation, ClientSettings, State
from protocols.dlms.events import Answer, Associated, Continue, Released
from protocols.dlms.security import CounterBlock, GcmKey, SecureChannel
from protocols.dlms.server import ClientAccess, ServerCounters, ServerSecurity, ServerSession
from protocols.dlms.testing import Loopback, TableObjects

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
CLIENT_TITLE, METER_TITLE = b"HEADEND1", b"METER001"
REGISTER = rq.Attribute(3, ACTIVE_ENERGY_IMPORT, 2)
SWITCH = rq.Attribute(70, DISCONNECT_CONTROL, 1)
VALUE = xdr.encode(d.DoubleLongUnsigned(12345))
LONG_VALUE = xdr.encode(d.Array(d.DoubleLongUnsigned(n) for n in range(60)))
MAX_EXCHANGES = 64


def make_loopback(*, secured: bool, key: bytes = EK) -> Loopback:
    """Return a client and a meter, the same each time; ``secured`` by GMAC, else plain."""
    objects = TableObjects(
        {(3, ACTIVE_ENERGY_IMPORT, 2): VALUE, (1, ACTIVE_ENERGY_IMPORT, 2): LONG_VALUE},
        {(70, DISCONNECT_CONTROL, 1): None},
    )
    access = ClientAccess("gmac", key, AK) if secured else ClientAccess("none")
    session = ServerSession(
        objects,
        ServerSecurity(METER_TITLE, {1: access}, ServerCounters()),
        client_address=1,
        max_pdu=128,
        draw_challenge=lambda size: b"m" * size,
    )
    if not secured:
        return Loopback(ClientAssociation(ClientSettings()), session)
    channel = SecureChannel(GcmKey(key, AK), CounterBlock(0, 1000), local_title=CLIENT_TITLE)
    settings = ClientSettings(Mechanism.HLS_GMAC, None, b"c" * 16, CLIENT_TITLE)
    return Loopback(ClientAssociation(settings, channel), session)


def seal(octets: bytes, title: bytes, counter: int) -> bytes:
    """Cipher octets as one side would, with a counter that it has not used yet."""
    channel = SecureChannel(GcmKey(EK, AK), CounterBlock(counter, counter + 1), local_title=title)
    try:
        return channel.protect(octets)
    except LocalProtocolError:
        return octets  # no service of that tag is ever ciphered


def meter(octets: bytes) -> None:
    """The server role: any APDU is answered, and a genuine request afterwards as before."""
    if not octets:
        return
    moment, rest = octets[0], octets[1:]
    secured, ciphered = bool(moment & 1), bool(moment & 2)
    loopback = make_loopback(secured=secured)
    if moment & 4:
        loopback.associate()
    session, objects = loopback.server, loopback.server._objects
    for index, apdu in enumerate(_cut(rest)):
        if secured and ciphered and apdu:
            apdu = seal(apdu, CLIENT_TITLE, 500 + index)
        was_associated = session.associated
        answers = session.handle_all(apdu)
        check(all(isinstance(each, bytes) for each in answers), "an answer is octets")
        may_change = apdu[:1] in (bytes((acse.AARQ,)), bytes((acse.RLRQ,)))
        proves = not was_associated and secured
        if not may_change and not proves:
            check(session.associated == was_associated, "an association ends by release alone")
    if not secured or not ciphered:
        check(not (secured and objects.invoked), "nothing is switched without the keys")
    if session.associated and secured and moment & 4 and not ciphered:
        request = loopback.association.request(rq.GetRequest(0xC1, REGISTER))
        event = loopback.association.receive(session.handle(request) or b"")
        check(isinstance(event, Answer), "a genuine request is answered as before")


def association(octets: bytes) -> None:
    """The client role: what is refused changes nothing, what is taken came with the keys."""
    if not octets:
        return
    moment, apdu = octets[0], octets[1:]
    secured, ciphered = bool(moment & 1), bool(moment & 2)
    loopback = make_loopback(secured=secured)
    client_side = loopback.association
    genuine = _bring_to(loopback, (moment >> 2) % 4)
    if ciphered and secured and apdu:
        apdu = seal(apdu, METER_TITLE, 500)
    before, channel = client_side.state, client_side._channel
    highest = -1 if channel is None else channel.highest_received
    try:
        event = client_side.receive(apdu)
    except LocalProtocolError:
        raise
    except MeterMisbehaved:
        check(client_side.state is before, "a refused APDU leaves the state")
        # What came with the keys, but late, does advance the received counter.
        if channel is None or channel.highest_received == highest:
            client_side.receive(genuine)
            check(client_side.state is not before, "the genuine answer is still taken")
        return
    if isinstance(event, Answer) and secured and not ciphered:
        known = apdu == genuine or not event.authenticated
        check(known, "an answer without the keys is not authenticated")
    if isinstance(event, Associated) and secured:
        check(ciphered or apdu == genuine, "nobody is let in without the keys")
    if isinstance(event, Released):
        check(client_side.state is State.CLOSED, "released is closed")
    if isinstance(event, Continue):
        check(client_side.state is before, "a block leaves the state")


def flows(octets: bytes) -> None:
    """The client's flows against a meter that answers anything: they end, in values or faults."""
    if not octets:
        return
    draw = iter(range(0xC1, 0x10000))
    make = _FLOWS[octets[0] % len(_FLOWS)]
    flow = make(lambda: next(draw) & 0xFF)
    try:
        request = next(flow)
        for apdu in _cut(octets[1:])[:MAX_EXCHANGES]:
            response = declared(lambda each=apdu: rs.decode_response(each))
            if response is None:
                return
            check(bool(request.encode()), "a request has octets")
            request = flow.send(response)
    except StopIteration:
        return
    except LocalProtocolError:
        raise
    except HeadEndError:
        return


_Flow = Generator[rq.Request, rs.Response, Any]
_FLOWS: tuple[Callable[[client.DrawInvoke], _Flow], ...] = (
    lambda draw: client.get(REGISTER, draw),
    lambda draw: client.get_list([REGISTER, SWITCH], draw),
    lambda draw: client.set_attribute(REGISTER, LONG_VALUE, draw, limit=64),
    lambda draw: client.set_list([(REGISTER, VALUE), (SWITCH, LONG_VALUE)], draw, limit=64),
    lambda draw: client.action(SWITCH, LONG_VALUE, draw, limit=64),
    lambda draw: client.action(SWITCH, None, draw),
)


def blocks(octets: bytes) -> None:
    """General block transfer: both ends take any blocks, and hold no more than they may."""
    receiver, transfer = gbt.BlockReceiver(max_apdu=512), gbt.BlockTransfer(block_size=64, window=4)
    declared(lambda: transfer.send(LONG_VALUE))
    for apdu in _cut(octets)[:MAX_EXCHANGES]:
        block = declared(lambda each=apdu: gbt.decode_block(each))
        if block is not None:
            declared(lambda each=block: receiver.take(each))
        declared(lambda each=apdu: transfer.receive(each))
        transfer.repeat()
        check(receiver.pending <= 1024, "a receiver holds no more than an APDU")


def _bring_to(loopback: Loopback, moment: int) -> bytes:
    """Bring the client to a moment when it waits; return the genuine answer to it."""
    side, server = loopback.association, loopback.server
    aare = server.handle(side.open()) or b""
    if moment == 0:
        return aare
    side.receive(aare)
    if side.state is State.CHALLENGED:
        proof = server.handle(side.prove()) or b""
        if moment == 1:
            return proof
        side.receive(proof)
    if moment == 3:
        return server.handle(side.release()) or b""
    return server.handle(side.request(rq.GetRequest(0xC1, REGISTER))) or b""


def _cut(octets: bytes) -> list[bytes]:
    """Cut into APDUs: an octet of length before each."""
    found, position = [], 0
    while position < len(octets):
        end = position + 1 + octets[position]
        found.append(octets[position + 1 : end])
        position = end
    return found
