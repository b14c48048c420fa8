"""Endpoint URLs."""

from __future__ import annotations

import pytest

from headend.domain.errors import BadInput
from protocols.dlms.endpoint import parse_endpoint

KEY = "000102030405060708090A0B0C0D0E0F"


def test_a_concentrator_is_host_and_port() -> None:
    endpoint = parse_endpoint("dlms+tcp://10.0.0.1:4061")
    assert (endpoint.host, endpoint.port, endpoint.authentication) == ("10.0.0.1", 4061, "none")


def test_a_meter_with_everything() -> None:
    endpoint = parse_endpoint(
        f"dlms+tcp://[::1]?client=2&server=17&auth=gmac&ek={KEY}&ak={KEY.lower()}"
        "&system_title=48454144454E4431&model=sim-single-phase"
    )
    access = endpoint.access(meter_id=5)
    assert (endpoint.host, endpoint.port) == ("::1", 4059)
    assert endpoint.system_title == b"HEADEND1"
    assert (access.meter_id, access.address, access.client_address) == (5, 17, 2)
    assert access.encryption_key == access.authentication_key == bytes(range(16))
    assert (access.authentication, access.model) == ("gmac", "sim-single-phase")


def test_a_password_is_text_and_does_not_show() -> None:
    endpoint = parse_endpoint("dlms+tcp://h?auth=lls&password=p%26w")
    assert endpoint.password == b"p&w"
    assert "p&w" not in repr(endpoint)


def test_security_is_chosen_by_name_and_a_long_key_says_its_suite() -> None:
    long = f"ek={KEY}{KEY}&ak={KEY}{KEY}"
    access = parse_endpoint(
        f"dlms+tcp://h?auth=sha256&password=s&protection=encryption&ciphering=general-ded&{long}"
    ).access()
    assert (access.authentication, access.security_suite) == ("sha256", 2)
    assert (access.protection, access.ciphering) == ("encryption", "general-ded")
    plain = parse_endpoint("dlms+tcp://h").access()
    assert (plain.security_suite, plain.protection, plain.ciphering) == (0, None, None)


@pytest.mark.parametrize(
    ("url", "field"),
    [
        ("modbus+tcp://h", "endpoint"),
        ("dlms+tcp://", "endpoint"),
        ("dlms+tcp://h:99999", "endpoint"),
        ("dlms+tcp://h?client", "endpoint"),
        ("dlms+tcp://h?client=-1", "client"),
        ("dlms+tcp://h?client=x", "client"),
        ("dlms+tcp://h?server=65536", "server"),
        ("dlms+tcp://h?auth=ecdsa", "auth"),
        ("dlms+tcp://h?auth=lls", "password"),
        ("dlms+tcp://h?auth=sha256", "password"),
        ("dlms+tcp://h?suite=3", "suite"),
        (f"dlms+tcp://h?suite=2&ek={KEY}", "ek"),
        ("dlms+tcp://h?protection=much", "protection"),
        ("dlms+tcp://h?ciphering=general", "ciphering"),
        (f"dlms+tcp://h?auth=gmac&ek={KEY}", "ak"),
        (f"dlms+tcp://h?auth=gmac&ak={KEY}", "ek"),
        ("dlms+tcp://h?ek=0011", "ek"),
        ("dlms+tcp://h?ek=zz", "ek"),
        ("dlms+tcp://h?system_title=00", "system_title"),
        ("dlms+tcp://h?colour=red", "colour"),
    ],
)
def test_a_wrong_url_names_its_parameter(url: str, field: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_endpoint(url)
    assert caught.value.field == field


def test_a_wrong_key_is_not_repeated_in_the_message() -> None:
    with pytest.raises(BadInput) as caught:
        parse_endpoint("dlms+tcp://h?ek=00112233445566")
    assert "001122" not in str(caught.value)
