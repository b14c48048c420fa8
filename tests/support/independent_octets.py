"""Octets of the independent meter: encoded values, ciphering and BER, of nothing of ours."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

AUTHENTICATED, ENCRYPTED = 0x10, 0x20


# --- values ---------------------------------------------------------------------------------


def length(count: int) -> bytes:
    if count < 0x80:
        return bytes((count,))
    octets = count.to_bytes((count.bit_length() + 7) // 8, "big")
    return bytes((0x80 | len(octets),)) + octets


def read_length(octets: bytes, at: int) -> tuple[int, int]:
    if octets[at] < 0x80:
        return octets[at], at + 1
    size = octets[at] & 0x7F
    return int.from_bytes(octets[at + 1 : at + 1 + size], "big"), at + 1 + size


def ln(obis: str) -> bytes:
    return bytes(map(int, obis.split(".")))


def null() -> bytes:
    return b"\x00"


def array(*items: bytes) -> bytes:
    return b"\x01" + length(len(items)) + b"".join(items)


def structure(*items: bytes) -> bytes:
    return b"\x02" + length(len(items)) + b"".join(items)


def boolean(value: bool) -> bytes:
    return bytes((3, value))


def octets(value: bytes) -> bytes:
    return b"\x09" + length(len(value)) + value


def visible(value: str) -> bytes:
    return b"\x0a" + length(len(value)) + value.encode()


def utf8(value: str) -> bytes:
    coded = value.encode()
    return b"\x0c" + length(len(coded)) + coded


def i8(value: int) -> bytes:
    return b"\x0f" + value.to_bytes(1, "big", signed=True)


def i16(value: int) -> bytes:
    return b"\x10" + value.to_bytes(2, "big", signed=True)


def i32(value: int) -> bytes:
    return b"\x05" + value.to_bytes(4, "big", signed=True)


def u32(value: int) -> bytes:
    return b"\x06" + value.to_bytes(4, "big")


def u8(value: int) -> bytes:
    return bytes((0x11, value))


def u16(value: int) -> bytes:
    return b"\x12" + value.to_bytes(2, "big")


def i64(value: int) -> bytes:
    return b"\x14" + value.to_bytes(8, "big", signed=True)


def u64(value: int) -> bytes:
    return b"\x15" + value.to_bytes(8, "big")


def enum(value: int) -> bytes:
    return bytes((0x16, value))


def scaler_unit(scaler: int, unit: int) -> bytes:
    return structure(i8(scaler), enum(unit))


def moment(
    year: int, month: int, day: int, hour: int, minute: int, second: int = 0, *,
    deviation: int = -480, status: int = 0, weekday: int = 0xFF, hundredths: int = 0xFF,
) -> bytes:  # fmt: skip
    """Return the 12 octets of a date-time; a deviation of -0x8000 is not told."""
    return (
        year.to_bytes(2, "big") + bytes((month, day, weekday, hour, minute, second, hundredths))
        + deviation.to_bytes(2, "big", signed=True) + bytes((status,))
    )  # fmt: skip


# --- ciphering ------------------------------------------------------------------------------


def gcm(key: bytes, iv: bytes, plain: bytes, additional: bytes) -> tuple[bytes, bytes]:
    encryptor = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()
    encryptor.authenticate_additional_data(additional)
    sealed = encryptor.update(plain) + encryptor.finalize()
    return sealed, encryptor.tag[:12]


def ungcm(key: bytes, iv: bytes, sealed: bytes, tag: bytes, additional: bytes) -> bytes:
    """Return the plain text; raises ``InvalidTag``."""
    decryptor = Cipher(algorithms.AES(key), modes.GCM(iv, tag, min_tag_length=12)).decryptor()
    decryptor.authenticate_additional_data(additional)
    return decryptor.update(sealed) + decryptor.finalize()


def seal(key: bytes, ak: bytes, control: int, title: bytes, counter: int, plain: bytes) -> bytes:
    iv = title + counter.to_bytes(4, "big")
    head = bytes((control,))
    if control & 0x30 == 0x30:
        body, tag = gcm(key, iv, plain, head + ak)
        body += tag
    elif control & AUTHENTICATED:
        body = plain + gcm(key, iv, b"", head + ak + plain)[1]
    else:
        body = gcm(key, iv, plain, b"")[0]
    return head + counter.to_bytes(4, "big") + body


def unseal(key: bytes, ak: bytes, title: bytes, sealed: bytes) -> bytes:
    """Return the plain text; raises ``InvalidTag``."""
    control, body = sealed[0], sealed[5:]
    iv, head = title + sealed[1:5], sealed[:1] + ak
    if control & 0x30 == 0x30:
        return ungcm(key, iv, body[:-12], body[-12:], head)
    if control & AUTHENTICATED:
        ungcm(key, iv, b"", body[-12:], head + body[:-12])
        return body[:-12]
    return gcm(key, iv, body, b"")[0]


# --- association control ------------------------------------------------------------


def counter_of(sealed: bytes) -> int:
    at = 1
    if sealed[0] in (0xDB, 0xDC):
        at = 2 + sealed[1]
    _, at = read_length(sealed, at)
    return int.from_bytes(sealed[at + 1 : at + 5], "big")


def tlv(tag: int, value: bytes) -> bytes:
    return bytes((tag,)) + length(len(value)) + value


def ber(content: bytes) -> list[tuple[int, bytes]]:
    fields, at = [], 0
    while at < len(content):
        size, start = read_length(content, at + 1)
        fields.append((content[at], content[start : start + size]))
        at = start + size
    return fields


def aare_of(context: int, result: int, diagnostic: int) -> bytes:
    return tlv(
        0x61,
        b"\xa1\x09\x06\x07\x60\x85\x74\x05\x08\x01" + bytes((context,))
        + b"\xa2\x03\x02\x01" + bytes((result,))
        + b"\xa3\x05\xa1\x03\x02\x01" + bytes((diagnostic,)),
    )  # fmt: skip
