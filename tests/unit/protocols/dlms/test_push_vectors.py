"""Recorded pushes of real meters, each against its published decoding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as Xml

import pytest

from headend.domain.errors import MeterMisbehaved
from protocols.dlms.decode import Decoded, DecodeKeys, decode_capture
from protocols.dlms.decode_document import build_document

FOLDER = Path(__file__).parents[3] / "vectors" / "dlms_push"
NAMES = sorted(path.stem for path in FOLDER.glob("*.log"))
CODE = re.compile(r"\d{1,3}(\.\d{1,3}){4}\.255")
DOTTED_TEXT = re.compile(r"\d{1,3}(\.\d{1,3}){5}")


def _keys(name: str) -> DecodeKeys | None:
    key, gak = FOLDER / f"{name}.key", FOLDER / f"{name}.gak"
    if not key.exists():
        return None
    authentication = bytes.fromhex(gak.read_text()) if gak.exists() else None
    return DecodeKeys(bytes.fromhex(key.read_text()), authentication)


def _decode(name: str) -> Decoded:
    return decode_capture((FOLDER / f"{name}.log").read_bytes(), _keys(name), strict=True)


def _document(name: str) -> dict[str, Any]:
    return build_document(_decode(name))


def _expected(name: str) -> Xml.Element:
    return Xml.parse(FOLDER / f"{name}_decoded.xml").getroot()


def _pairs(root: Xml.Element) -> Iterator[tuple[str, Xml.Element, int]]:
    """Yield (OBIS, value element, scaler) wherever a code stands before a value."""
    for parent in root.iter():
        children = list(parent)
        skip = False
        for index, child in enumerate(children[:-1]):
            code = None if skip else _code(child)
            skip = code is not None
            if code is not None:
                scaler = children[index + 2].find("INT8") if index + 2 < len(children) else None
                yield code, children[index + 1], 0 if scaler is None else int(scaler.get("Value"))


def _code(element: Xml.Element) -> str | None:
    if element.tag == "AttributeDescriptor":
        return element.find("InstanceId").get("Value")
    text = element.get("Value", "")
    return text if element.tag == "OCTETSTRING" and CODE.fullmatch(text) else None


def _value(element: Xml.Element, scaler: int) -> Any:
    text = element.get("Value")
    if element.tag.startswith(("UINT", "INT", "ENUM")):
        return pytest.approx(int(text) * 10.0**scaler, rel=1e-12)
    if DOTTED_TEXT.fullmatch(text):  # the publisher's tool shows any 6 octets as a code
        return bytes(map(int, text.split("."))).decode("ascii")
    return re.sub(r"^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d)$", r"\1T\2", text)


@pytest.mark.parametrize("name", NAMES)
def test_every_code_has_its_value(name: str) -> None:
    document = _document(name)
    expected = {code: _value(element, scaler) for code, element, scaler in _pairs(_expected(name))}
    if expected:
        assert document["obis"] == expected
    else:  # a list by place: the values in their order
        values = [v.get("Value") for v in _expected(name).find("STRUCTURE")]
        assert [str(value) for value in document["obis"].values()] == values


@pytest.mark.parametrize("name", NAMES)
def test_time_and_header(name: str) -> None:
    document, root = _document(name), _expected(name)
    notification = root if root.tag == "DataNotification" else root.find("DataNotification")
    time = notification.find("DateTime").get("Value")
    if time is None:
        assert document["time"] is None
    else:
        assert document["time"][:19] == time[:19].replace(" ", "T")
    assert document["invoke_id"] == int(notification.get("LongInvokeId"), 16)
    assert document.get("system_title") == root.get("SystemTitle")
    counter = root.get("FrameCounter")
    assert document.get("invocation_counter") == (None if counter is None else int(counter))
    assert not [warning for warning in document["warnings"] if "tag" not in warning]


def test_vectors_are_there() -> None:
    assert len(NAMES) == 6


def test_scaled_values_have_units() -> None:
    entries = {entry["obis"]: entry for entry in _document("hdlc_iskra550")["values"]}
    voltage = entries["1.0.32.7.0.255"]
    assert (voltage["value"], voltage["unit"], voltage["raw"]) == (236.4, "V", 2364)
    assert entries["1.0.1.8.0.255"]["unit"] == "Wh"


def test_instant_of_a_meter_that_tells_its_offset() -> None:
    document = _document("hdlc_iskra550")
    assert document["time"] == "2023-04-01T21:32:35+02:00"
    assert document["time_utc"] == "2023-04-01T19:32:35Z"


def test_list_by_place_is_named_by_its_version() -> None:
    document = _document("hdlc_kaifa_ma304h3e")
    assert document["list"] == "KFM_001"
    assert document["obis"]["1.0.1.7.0.255"] == 948
    assert document["meter_id"] == "6970631401753985"


def test_ciphered_push_tells_its_sender() -> None:
    document = _document("hdlc_landis_gyr_e450")
    assert document["manufacturer"] == "LGZ"
    assert document["security"] == {
        "control": "0x30",
        "suite": 0,
        "protection": "both",
        "tag_checked": True,
    }
    assert document["blocks"] == 3
    assert [frame["kind"] for frame in document["frames"]] == ["UI", "UI", "UI"]


def test_relay_states_of_a_push() -> None:
    document = _document("raw_sagecom_xt211")
    assert document["relay"] == {"control_state": "connected"}
    assert document["relays"]["0.2.96.3.10.255"] == {"control_state": "disconnected"}
    assert document["obis"]["0.0.96.3.10.255"] == 1
    assert "descriptors without a tag" in document["warnings"][0]


def test_segments_lose_nothing_at_any_order_of_flags() -> None:
    octets = bytes.fromhex((FOLDER / "hdlc_iskra550.log").read_text())
    shared = octets.replace(b"\x7e\x7e", b"\x7e")
    again = octets.replace(b"\x7e\x7e", b"\x7e\x7e\x7e")
    expected = _document("hdlc_iskra550")["obis"]
    for variant in (octets, shared, again, octets[:-1], octets[1:]):
        assert build_document(decode_capture(variant))["obis"] == expected


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"encryption_key": bytes(16)}, "gives no APDU: another key"),
        ({"authentication_key": bytes(16)}, "the authentication key is another one"),
        ({"encryption_key": bytes(32)}, "takes a key of 16 octets, 32 were given"),
    ],
)
def test_wrong_keys_are_told_apart(changes: dict[str, bytes], told: str) -> None:
    keys = _keys("hdlc_kamstrup_omnipower")
    wrong = DecodeKeys(
        changes.get("encryption_key", keys.encryption_key),
        changes.get("authentication_key", keys.authentication_key),
    )
    with pytest.raises(MeterMisbehaved, match=told):
        decode_capture((FOLDER / "hdlc_kamstrup_omnipower.log").read_bytes(), wrong)


def test_ciphered_push_without_a_key_names_its_sender() -> None:
    with pytest.raises(MeterMisbehaved, match="4B414D4501349083, invocation counter 17784996"):
        decode_capture((FOLDER / "hdlc_kamstrup_omnipower.log").read_bytes())


def test_without_the_authentication_key_the_tag_stays_unchecked() -> None:
    name = "hdlc_landis_gyr_e450"
    keys = DecodeKeys(_keys(name).encryption_key)
    decoded = decode_capture((FOLDER / f"{name}.log").read_bytes(), keys)
    document = build_document(decoded)
    assert document["obis"] == _document(name)["obis"]
    assert document["security"]["tag_checked"] is False
    assert "not checked" in document["warnings"][0]


def test_missing_block_is_named() -> None:
    first, _second, third = (FOLDER / "hdlc_landis_gyr_e450.log").read_text().split()
    name = "hdlc_landis_gyr_e450"
    with pytest.raises(MeterMisbehaved, match=r"frame 2 at octet 141: block 2"):
        decode_capture(f"{first} {third}".encode(), _keys(name))
    with pytest.raises(MeterMisbehaved, match="block 2 and what follows it are missing"):
        decode_capture(first.encode(), _keys(name))
