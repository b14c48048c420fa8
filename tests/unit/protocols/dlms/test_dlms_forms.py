"""Suites, protections and forms: what goes over the line, and what is not taken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from headend.domain.errors import LocalProtocolError
from headend.domain.obis import ACTIVE_ENERGY_IMPORT
from protocols.dlms import client
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.association import State
from protocols.dlms.errors import AccessResult
from protocols.dlms.events import Answer, Associated
from protocols.dlms.initiate import Conformance
from protocols.dlms.security import (
    AUTHENTICATED,
    AUTHENTICATED_ENCRYPTED,
    ENCRYPTED,
    CounterBlock,
    Form,
    GcmKey,
    SecureChannel,
    SecurityFault,
    form_of,
)
from protocols.dlms.testing import Loopback

MAKE = Callable[..., Loopback]
EK, AK, DEDICATED = bytes(range(16)), bytes(range(0xD0, 0xE0)), bytes(range(0x40, 0x50))
LONG_EK, LONG_AK = EK + AK, AK + EK
TITLE = b"METER001"
REGISTER = rq.Attribute(3, ACTIVE_ENERGY_IMPORT, 2)
GET = rq.GetRequest(0xC1, REGISTER).encode()
CONTROLS = [AUTHENTICATED, ENCRYPTED, AUTHENTICATED_ENCRYPTED]


def reference_seal(key: bytes, control: int, aad: bytes, iv: bytes, plain: bytes) -> bytes:
    """Seal with the streaming interface of `cryptography`, as the standard describes it."""
    encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    encrypted, authenticated = control & ENCRYPTED, control & AUTHENTICATED
    if authenticated:
        encryptor.authenticate_additional_data(
            bytes((control,)) + aad + (b"" if encrypted else plain)
        )
    body = encryptor.update(plain if encrypted else b"") + encryptor.finalize()
    return (body if encrypted else plain) + (encryptor.tag[:12] if authenticated else b"")


@pytest.mark.parametrize("suite", [0, 1, 2])
@pytest.mark.parametrize("protection", CONTROLS)
def test_every_suite_seals_as_the_reference_does(suite: int, protection: int) -> None:
    ek, ak = (LONG_EK, LONG_AK) if suite == 2 else (EK, AK)
    channel = SecureChannel(
        GcmKey(ek, ak, suite=suite), CounterBlock(7, 9), local_title=TITLE, control=protection
    )
    sealed = channel.protect(GET)
    control = protection | suite
    iv = TITLE + (7).to_bytes(4, "big")
    body = bytes((control,)) + iv[8:] + reference_seal(ek, control, ak, iv, GET)
    assert sealed == bytes((0xC8, len(body))) + body


@pytest.mark.parametrize(("suite", "size"), [(0, 32), (1, 32), (2, 16), (3, 16)])
def test_keys_must_be_those_of_the_suite(suite: int, size: int) -> None:
    with pytest.raises(LocalProtocolError):
        GcmKey(bytes(size), bytes(size), suite=suite)


def serve_with(loopback: Loopback, **changes: object) -> None:
    clients = loopback.server._security.clients
    assert isinstance(clients, dict)
    clients[1] = replace(clients[1], **changes)


@pytest.mark.parametrize("form", list(Form))
@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("suite", [0, 1, 2])
def test_every_combination_converses(
    form: Form, control: int, suite: int, make_loopback: MAKE
) -> None:
    ek, ak = (LONG_EK, LONG_AK) if suite == 2 else (EK, AK)
    dedicated = (DEDICATED * 2 if suite == 2 else DEDICATED) if form.is_dedicated else None
    loopback = make_loopback(
        "gmac", form=form, control=control, suite=suite, dedicated_key=dedicated,
        encryption_key=ek, authentication_key=ak,
    )  # fmt: skip
    serve_with(loopback, encryption_key=ek, authentication_key=ak, suite=suite, control=control)
    assert isinstance(loopback.associate(), Associated)
    loopback.log.clear()
    assert loopback.run(client.get(REGISTER, loopback.association.draw_invoke))
    assert [form_of(apdu) for apdu in loopback.log] == [form, form]
    if control & ENCRYPTED:
        assert not any(REGISTER.obis.octets in apdu for apdu in loopback.log)


def test_a_meter_that_offers_no_general_protection_is_spoken_to_by_service(
    make_loopback: MAKE,
) -> None:
    for first, form in enumerate((Form.GENERAL_GLO, Form.GENERAL_DED)):
        loopback = make_loopback(
            "gmac", form=form, dedicated_key=DEDICATED, first_counter=first * 100,
            served=Conformance.GET | Conformance.ACTION,
        )  # fmt: skip
        loopback.associate()
        loopback.log.clear()
        assert loopback.run(client.get(REGISTER, loopback.association.draw_invoke))
        assert [form_of(apdu) for apdu in loopback.log] == [form.specific, form.specific]


class TestADedicatedKey:
    @pytest.fixture
    def ready(self, make_loopback: MAKE) -> Loopback:
        loopback = make_loopback("gmac", form=Form.DED, dedicated_key=DEDICATED)
        assert isinstance(loopback.associate(), Associated)
        return loopback

    @staticmethod
    def answer(loopback: Loopback, form: Form) -> bytes:
        admission = loopback.server._admission
        assert admission is not None
        assert admission.channel is not None
        response = rs.GetResponse(0xC1, AccessResult.READ_WRITE_DENIED)
        return admission.channel.protect(response.encode(), form=form)

    def test_nothing_goes_under_the_global_one_any_more(self, ready: Loopback) -> None:
        request = ready.association.request(rq.GetRequest(0xC1, REGISTER))
        assert request[0] == 0xD0
        for form in (Form.GLO, Form.GENERAL_GLO):
            with pytest.raises(SecurityFault, match="dedicated"):
                ready.association.receive(self.answer(ready, form))
            assert ready.association.state is State.WAITING
        assert isinstance(ready.association.receive(self.answer(ready, Form.DED)), Answer)

    def test_shares_no_counter_with_the_global_one(self, ready: Loopback) -> None:
        ready.run(client.get(REGISTER, ready.association.draw_invoke))
        aarq, _, proof, *_, request, _ = ready.log
        initiate = aarq[aarq.index(b"\x21\x30") :]
        counters = [int.from_bytes(apdu[3:7], "big") for apdu in (initiate, proof, request)]
        assert len(set(counters)) == len(counters)

    def test_is_fresh_for_each_association(self, ready: Loopback, make_loopback: MAKE) -> None:
        old = ready.association.request(rq.GetRequest(0xC1, REGISTER))
        again = make_loopback("gmac", form=Form.DED, dedicated_key=bytes(16), first_counter=500)
        again.associate()
        refusal = rs.decode_response(again.server.handle(old) or b"")
        assert refusal == rs.ExceptionResponse(1, 5)

    def test_does_not_show_on_the_line_or_in_text(self, ready: Loopback) -> None:
        assert not any(DEDICATED in apdu for apdu in ready.log)
        assert DEDICATED.hex() not in repr(ready.association._settings)
        assert str(DEDICATED) not in repr(ready.association._settings)

    def test_must_be_of_the_right_size(self, make_loopback: MAKE) -> None:
        for key in (None, bytes(15), bytes(32)):
            with pytest.raises(LocalProtocolError):
                make_loopback("gmac", form=Form.DED, dedicated_key=key)


def test_a_dedicated_form_without_a_key_is_refused() -> None:
    channel = SecureChannel(GcmKey(EK, AK), CounterBlock(0, 9), local_title=TITLE)
    with pytest.raises(LocalProtocolError):
        channel.protect(GET, form=Form.DED)
    with pytest.raises(SecurityFault, match="never agreed"):
        channel.unprotect(b"\xd0" + bytes(30))


@pytest.mark.parametrize("control", CONTROLS)
def test_the_protection_demanded_is_the_protection_taken(control: int, make_loopback: MAKE) -> None:
    """A meter that answers with less (or other) than the access demands is not believed."""
    loopback = make_loopback("gmac", control=control)
    serve_with(loopback, control=control)
    loopback.associate()
    loopback.association.request(rq.GetRequest(0xC1, REGISTER))
    admission = loopback.server._admission
    assert admission is not None
    assert admission.channel is not None
    for other in CONTROLS:
        if other != control:
            admission.channel.control = other
            answer = admission.channel.protect(rs.GetResponse(0xC1, b"\x11\x01").encode())
            with pytest.raises(SecurityFault, match="control"):
                loopback.association.receive(answer)
    assert loopback.association.state is State.WAITING
