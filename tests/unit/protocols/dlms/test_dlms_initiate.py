"""InitiateRequest and InitiateResponse."""

from __future__ import annotations

import pytest

from protocols.dlms.errors import MalformedData
from protocols.dlms.initiate import (
    Conformance,
    InitiateRequest,
    InitiateResponse,
    decode_initiate_request,
    decode_initiate_response,
)

# Green Book examples: without and with a dedicated key.
REQUEST = bytes.fromhex("01000000065F1F0400007E1F04B0")
REQUEST_DEDICATED = bytes.fromhex("01011000112233445566778899AABBCCDDEEFF0000065F1F0400007E1F04B0")
RESPONSE = bytes.fromhex("0800065F1F0400007C1F04000007")


def test_the_published_requests() -> None:
    request = decode_initiate_request(REQUEST)
    assert request.max_pdu == 0x04B0
    assert Conformance.GET in request.conformance
    assert Conformance.ACTION in request.conformance
    assert Conformance.READ not in request.conformance
    assert request.encode() == REQUEST
    dedicated = decode_initiate_request(REQUEST_DEDICATED)
    assert dedicated.dedicated_key == bytes.fromhex("00112233445566778899AABBCCDDEEFF")
    assert dedicated.encode() == REQUEST_DEDICATED
    assert "112233" not in repr(dedicated)


def test_the_published_response() -> None:
    response = decode_initiate_response(RESPONSE)
    assert (response.max_pdu, response.version, response.vaa_name) == (0x400, 6, b"\x00\x07")
    assert response.encode() == RESPONSE


def test_optional_fields_survive() -> None:
    request = InitiateRequest(Conformance.GET, 128, None, False, 3)
    response = InitiateResponse(Conformance.GET, 128, quality_of_service=3)
    assert decode_initiate_request(request.encode()) == request
    assert decode_initiate_response(response.encode()) == response


def test_a_conformance_tag_of_one_octet_is_read() -> None:
    assert decode_initiate_response(RESPONSE.replace(b"\x5f\x1f", b"\x5f")).max_pdu == 0x400


@pytest.mark.parametrize("cut", range(len(RESPONSE)))
def test_a_cut_response_is_malformed(cut: int) -> None:
    with pytest.raises(MalformedData):
        decode_initiate_response(RESPONSE[:cut])


@pytest.mark.parametrize("cut", range(len(REQUEST_DEDICATED)))
def test_a_cut_request_is_malformed(cut: int) -> None:
    with pytest.raises(MalformedData):
        decode_initiate_request(REQUEST_DEDICATED[:cut])


def test_octets_behind_are_malformed() -> None:
    with pytest.raises(MalformedData):
        decode_initiate_request(REQUEST + b"\x00")
    with pytest.raises(MalformedData):
        decode_initiate_response(RESPONSE + b"\x00")
