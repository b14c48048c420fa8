"""Captured octets from text: hex dumps as people paste, log and export them.

Takes plain hex with any separators, ``0x`` prefixes, comments (``#``, ``//``, ``;``), the dumps of
``xxd`` and ``hexdump -C``, and log lines that end in hex behind a time and a word. Whatever is not
text of that kind is taken as the octets themselves. A line of words is passed over; half octets
and words among the hex are refused, naming the line.
"""

from __future__ import annotations

import re

from protocols.dlms.errors import MalformedData

_COMMENT = re.compile(r"(#|//|;).*")
_PREFIX = re.compile(r"0[xX](?=[0-9A-Fa-f])|\\x")
_SEPARATORS = re.compile(r"[\s:,.\-_|\[\]{}()<>\"']+")
_HEX = re.compile(r"[0-9A-Fa-f]*")
_DUMP_LINE = re.compile(r"\s*(?:[0-9A-Fa-f]{4,16}:\s|[0-9A-Fa-f]{8}\s\s)(?P<octets>.*)")
_DUMP_TEXT = re.compile(r"(\s{2,}\S.{0,16}|\s*\|.*\|)\s*$")
# The last word of a log line's head, such as "12:30:01.123 RX:", holds a letter that is not hex.
_LOG_HEAD = re.compile(r".*[^\W\dA-Fa-f_]\w*\s*[\]:>=-]*\s+(?=(?:0x)?[0-9A-Fa-f]{2}\b)")
_MIN_LOG_OCTETS = 4
_OCTETS = re.compile(r"(?:\b|0x)[0-9A-Fa-f]{8}|(?:\b[0-9A-Fa-f]{2}\b\W*){4}")
_TEXT = frozenset(b"\t\n\r\f\v") | frozenset(range(0x20, 0x7F))


def octets_of(content: bytes) -> bytes:
    """Return the octets that a file or a pasted text holds.

    Raises `MalformedData` naming the line where text is hex only in part.
    """
    text = _as_text(content)
    return content if text is None else octets_of_text(text)


def octets_of_text(text: str) -> bytes:
    """Return the octets of a hex text; raises `MalformedData` naming the line."""
    lines = text.splitlines()
    full = [line for line in lines if line.strip()]
    dump = bool(full) and all(_DUMP_LINE.fullmatch(line) for line in full)
    digits = []
    for number, line in enumerate(lines, start=1):
        digits.append(_dump_digits(line) if dump else _digits(line, number))
    joined = "".join(digits)
    if not joined:
        raise MalformedData("this text holds no hex octets")
    if len(joined) % 2:
        odd = next((n for n, part in enumerate(digits, start=1) if len(part) % 2), len(lines))
        raise MalformedData(f"line {odd} holds half an octet: an odd number of hex digits")
    return bytes.fromhex(joined)


def _as_text(content: bytes) -> str | None:
    content = content.removeprefix(b"\xef\xbb\xbf")
    if not content:
        return None
    if any(octet not in _TEXT for octet in content):
        # Comments may be in any language; the hex beside them is what counts.
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            return None
        return text if text.isprintable() or ("\n" in text and _mostly_hex(text)) else None
    return content.decode("ascii")


def _mostly_hex(text: str) -> bool:
    plain = "".join(_COMMENT.sub("", line) for line in text.splitlines())
    plain = _SEPARATORS.sub("", _PREFIX.sub("", plain))
    return bool(plain) and _HEX.fullmatch(plain) is not None


def _digits(line: str, number: int) -> str:
    plain = _COMMENT.sub("", line)
    digits = _SEPARATORS.sub("", _PREFIX.sub("", plain))
    if _HEX.fullmatch(digits):
        return digits
    head = _LOG_HEAD.match(plain)
    rest = _SEPARATORS.sub("", _PREFIX.sub("", plain[head.end() :])) if head else ""
    if head and _HEX.fullmatch(rest) and len(rest) >= 2 * _MIN_LOG_OCTETS:
        return rest
    if not _OCTETS.search(plain):
        return ""  # a title or a remark
    wrong = next(character for character in digits if not _HEX.fullmatch(character))
    raise MalformedData(f"line {number} is not hex: {wrong!r} in {line.strip()[:40]!r}")


def _dump_digits(line: str) -> str:
    match = _DUMP_LINE.fullmatch(line)
    if match is None:
        return ""
    octets = match["octets"].rstrip()
    octets = _DUMP_TEXT.sub("", octets) if re.search(r"\s{2,}\S|\|", octets) else octets
    digits = re.sub(r"\s+", "", octets)
    found = _HEX.match(digits)
    return found.group() if found else ""
