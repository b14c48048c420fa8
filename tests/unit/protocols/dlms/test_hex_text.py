"""Captures as text: every form in which people paste octets."""

from __future__ import annotations

import pytest

from protocols.dlms.errors import MalformedData
from protocols.dlms.hex_text import octets_of

OCTETS = bytes.fromhex("7ea079010201108093e6e7000f40000000090c")


@pytest.mark.parametrize(
    "text",
    [
        "7EA079010201108093E6E7000F40000000090C",
        "7e a0 79 01 02 01 10 80 93 e6 e7 00 0f 40 00 00 00 09 0c\n",
        "7E:A0:79:01:02:01:10:80:93:\nE6:E7:00:0F:40:00:00:00:09:0C:\n",
        "0x7e, 0xa0, 0x79, 0x01, 0x02, 0x01, 0x10, 0x80, 0x93, 0xe6,"
        " 0xe7, 0x00, 0x0f, 0x40, 0x00, 0x00, 0x00, 0x09, 0x0c",
        "7ea0 790102 01 1080 93 # header\ne6e700 // LLC\n0f40000000 ; notification\n090c",
        "\ufeff7ea079010201108093\r\n\r\ne6e7000f40000000090c\r\n",
        "# Zähler 电表\n7ea079010201108093e6e7000f40000000090c",
        "[7e, a0, 79, 01, 02, 01, 10, 80, 93, e6, e7, 00, 0f, 40, 00, 00, 00, 09, 0c]",
        "\\x7e\\xa0\\x79\\x01\\x02\\x01\\x10\\x80\\x93\\xe6\\xe7\\x00\\x0f\\x40\\x00\\x00\\x00\\x09\\x0c",
        "Recorded at the port\n7ea079010201108093-\ne6e7000f40000000090c\n",
        "12:30:01.123 RX: 7e a0 79 01 02 01 10 80 93\n"
        "12:30:01.170 RX: e6 e7 00 0f 40 00 00 00 09 0c",
        "00000000: 7ea0 7901 0201 1080 93e6 e700 0f40 0000  ~.y.........@..\n"
        "00000010: 0009 0c                                  ...\n",
        "00000000  7e a0 79 01 02 01 10 80  93 e6 e7 00 0f 40 00 00  |~.y.........@..|\n"
        "00000010  00 09 0c                                          |...|\n",
    ],
)
def test_text_of_any_form(text: str) -> None:
    assert octets_of(text.encode()) == OCTETS


def test_octets_are_taken_as_they_are() -> None:
    assert octets_of(OCTETS) == OCTETS
    assert octets_of(b"") == b""
    assert octets_of(b"\xff\xfe7e") == b"\xff\xfe7e"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("7ea079\n010", "line 2 holds half an octet"),
        ("7ea079\n01 02 03 04 zz 06", "line 2 is not hex: 'z'"),
        ("nothing here\n", "holds no hex octets"),
        ("\n", "holds no hex octets"),
    ],
)
def test_text_that_is_hex_in_part(text: str, told: str) -> None:
    with pytest.raises(MalformedData, match=told):
        octets_of(text.encode())
