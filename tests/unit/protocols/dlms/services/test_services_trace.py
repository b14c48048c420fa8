"""A traced conversation tells every frame and APDU, and never a secret."""

from __future__ import annotations

import hashlib

import pytest

from headend.domain.obis import ACTIVE_ENERGY_IMPORT, Obis
from protocols.dlms import client, gbt, xdr
from protocols.dlms import data as d
from protocols.dlms import requests as rq
from protocols.dlms.acse import Mechanism
from protocols.dlms.admission import ClientAccess, ServerCounters, ServerSecurity
from protocols.dlms.association import ClientAssociation, ClientSettings
from protocols.dlms.gateway import GatewayHeader
from protocols.dlms.hdlc_frame import FrameKind, HdlcAddress, HdlcFrame
from protocols.dlms.security import CounterBlock, Form, GcmKey, SecureChannel
from protocols.dlms.server import ServerSession
from protocols.dlms.services.masking import mask_octets, place_of
from protocols.dlms.services.trace import TraceKeys, Tracer
from protocols.dlms.testing import Loopback, TableObjects
from protocols.dlms.wrapper import encode_frame

EK, AK, PASSWORD = bytes(range(16)), bytes(range(0xD0, 0xE0)), b"pa55word"
DEDICATED = hashlib.sha256(b"dedicated").digest()[:16]
ENERGY = rq.Attribute(3, ACTIVE_ENERGY_IMPORT, 2)
SECRET = rq.Attribute(15, Obis.parse("0.0.40.0.1.255"), 7)


def loopback(mechanism: Mechanism = Mechanism.NONE, form: Form | None = None) -> Loopback:
    objects = TableObjects(
        {
            (3, ACTIVE_ENERGY_IMPORT, 2): xdr.encode(d.DoubleLongUnsigned(12345)),
            (15, SECRET.obis, 7): xdr.encode(b"another secret"),
        }
    )
    clients = {
        1: ClientAccess("gmac", EK, AK),
        2: ClientAccess("lls", password=PASSWORD),
        16: ClientAccess("none"),
    }
    security = ServerSecurity(b"METER001", clients, ServerCounters())
    address = {Mechanism.HLS_GMAC: 1, Mechanism.LLS: 2}.get(mechanism, 16)
    channel = None
    if mechanism == Mechanism.HLS_GMAC:
        channel = SecureChannel(
            GcmKey(EK, AK), CounterBlock(1, 99), local_title=b"HEADEND1", form=form or Form.GLO
        )
    settings = ClientSettings(
        mechanism=mechanism,
        password=PASSWORD if mechanism == Mechanism.LLS else None,
        challenge=b"c" * 16 if channel else None,
        system_title=b"HEADEND1" if channel else None,
        dedicated_key=DEDICATED if form is Form.DED else None,
    )
    session = ServerSession(objects, security, client_address=address, max_pdu=256)
    return Loopback(ClientAssociation(settings, channel), session)


def trace_of(talk: Loopback, *attributes: rq.Attribute) -> list[str]:
    """Return the trace of an association and reads, as it passes over WRAPPER frames."""
    talk.associate()
    for attribute in attributes:
        talk.run(client.get(attribute, talk.association.draw_invoke))
    talk.exchange(talk.association.release())
    lines: list[str] = []
    tracer = Tracer(TraceKeys(EK, AK, PASSWORD), lines.append)
    for index, apdu in enumerate(talk.log):
        frame = encode_frame(1, 1, apdu)
        # The wire cuts where it likes.
        tracer.tap(index % 2 == 0, frame[:5])
        tracer.tap(index % 2 == 0, frame[5:])
    assert_no_secret(lines)
    return lines


def assert_no_secret(lines: list[str]) -> None:
    text = "\n".join(lines).lower()
    squeezed = text.replace(" ", "")
    for secret in (EK, AK, PASSWORD, DEDICATED, b"another secret"):
        assert secret.hex() not in squeezed
    assert PASSWORD.decode() not in text
    assert "another secret" not in text


def test_a_password_association() -> None:
    lines = trace_of(loopback(Mechanism.LLS), ENERGY)
    assert lines[0].startswith("> wrapper 1 to 1, ")
    assert "AC 0A 80 08 ** ** ** ** ** ** ** ** BE" in lines[0]
    assert "authentication lls, password **" in lines[1]
    assert lines[3].startswith("<   association response: accepted, null")
    assert ">   get 3/1.0.1.8.0.255/2" in lines
    assert "<   got 12345" in lines
    assert lines[-1] == "<   release response"


@pytest.mark.parametrize("form", [Form.GLO, Form.DED, Form.GENERAL_GLO])
def test_ciphered_apdus_are_told_in_plain_words(form: Form) -> None:
    lines = trace_of(loopback(Mechanism.HLS_GMAC, form), ENERGY)
    assert any("client title 48454144454E4431" in line for line in lines)
    assert any("security control 0x30, invocation counter 1" in line for line in lines)
    assert ">   get 3/1.0.1.8.0.255/2" in lines
    assert "<   got 12345" in lines
    told = [line for line in lines if "dedicated key" in line]
    assert bool(told) == (form is Form.DED)


def test_a_secret_attribute_is_hidden_in_words_and_hex() -> None:
    lines = trace_of(loopback(), SECRET)
    assert "<   got ** (16 octets)" in lines
    assert any(line.endswith("C4 01 C1 00" + " **" * 16) for line in lines)


def test_other_keys_are_told_as_such() -> None:
    talk = loopback(Mechanism.HLS_GMAC)
    talk.associate()
    lines: list[str] = []
    tracer = Tracer(TraceKeys(bytes(16), AK), lines.append)
    tracer.tap(True, encode_frame(1, 1, talk.log[0]))
    assert lines[-1].endswith("its authentication tag is wrong for our keys")


def test_hdlc_segments_are_told_once_whole() -> None:
    lines: list[str] = []
    tracer = Tracer(TraceKeys(password=PASSWORD), lines.append)
    apdu = b"\xe6\xe6\x00" + loopback(Mechanism.LLS).association.open()
    client_address, meter = HdlcAddress(2), HdlcAddress(1)
    snrm = HdlcFrame(FrameKind.SET_NORMAL_MODE, meter, client_address)
    tracer.tap(True, snrm.encode())
    for part, more in ((apdu[:45], True), (apdu[45:], False)):
        frame = HdlcFrame(
            FrameKind.INFORMATION, meter, client_address, information=part, segmented=more
        )
        tracer.tap(True, frame.encode())
    assert lines[0] == "> hdlc SNRM 2 to 1"
    assert lines[1] == "> hdlc I 2 to 1, 45 octets, more follows"
    assert "password **" in lines[3]
    assert_no_secret(lines)


def test_blocks_and_gateways_are_seen_through() -> None:
    lines: list[str] = []
    tracer = Tracer(TraceKeys(), lines.append)
    apdu = rq.GetRequest(0xC1, ENERGY).encode()
    half = len(apdu) // 2
    for block in (gbt.Block(1, 0, apdu[:half]), gbt.Block(2, 0, apdu[half:], last=True)):
        tracer.tap(True, encode_frame(1, 1, gbt.encode_block(block)))
    assert lines[-1] == ">   get 3/1.0.1.8.0.255/2"
    tracer.tap(True, encode_frame(1, 1, GatewayHeader(0, b"\x05").request(apdu)))
    assert lines[-2:] == [">   gateway network 0, device 05", ">   get 3/1.0.1.8.0.255/2"]


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n\r\n", bytes(64), b"\x7e\xa0", b"\x00\x01" * 20, b"\x60\xff"]
)
def test_foreign_octets_never_raise(octets: bytes) -> None:
    lines: list[str] = []
    tracer = Tracer(TraceKeys(), lines.append)
    tracer.tap(False, octets)
    tracer.tap(False, encode_frame(1, 1, octets))


def test_masking_hides_every_occurrence_and_named_places() -> None:
    octets = b"..SECRET..SECRET."
    assert mask_octets(octets, [b"SECRET"]).split()[2:8] == ["**"] * 6
    assert mask_octets(octets, [b"SECRET"]).count("**") == 12
    assert mask_octets(b"abc", [b"bc"]) == "61 62 63"
    assert mask_octets(b"abc", [], [place_of(b"c", b"abc")]) == "61 62 **"
    assert place_of(b"x", b"abc") == range(0)
