"""What a meter sends unasked: DataNotification, EventNotification and InformationReport.

IEC 62056-5-3 (Green Book 9.3.10, 9.3.11, 9.3.12 and 9.5; clauses unverified). Knows nothing of
what the data mean: `push_layout` finds that out. The data stay encoded here.

Meters differ in the date-time of a DataNotification: 12 octets behind a length (the standard), the
same with an octet-string or date-time tag before it, or none. All are read; ours are the standard.
Received faults raise `MalformedData`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from headend.domain.errors import LocalProtocolError
from headend.domain.obis import Obis
from protocols.dlms import xdr
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.data import TAG_DATE_TIME, TAG_NULL, TAG_OCTET_STRING
from protocols.dlms.errors import MalformedData

DATA_NOTIFICATION = 0x0F
INFORMATION_REPORT = 0x18
EVENT_NOTIFICATION = 0xC2
NOTIFICATION_TAGS = frozenset({DATA_NOTIFICATION, INFORMATION_REPORT, EVENT_NOTIFICATION})

# Long-invoke-id-and-priority: 24 bits of id, then flags in the highest octet.
CONFIRMED = 0x40000000
HIGH_PRIORITY = 0x80000000
_DATE_TIME_SIZE = 12
_DESCRIPTOR_SIZE = 9
_VARIABLE_NAME = 2
MAX_VARIABLES = 256


@dataclass(frozen=True, slots=True)
class DataNotification:
    """Data that a push object sends; ``body`` is one encoded value."""

    invoke: int
    time: CosemDateTime | None
    body: bytes

    def encode(self) -> bytes:
        time = b"" if self.time is None else self.time.octets
        head = bytes((DATA_NOTIFICATION,)) + self.invoke.to_bytes(4, "big")
        return head + xdr.encode_length(len(time)) + time + self.body


@dataclass(frozen=True, slots=True)
class EventNotification:
    """One attribute that changed; ``value`` is encoded."""

    time: CosemDateTime | None
    class_id: int
    obis: Obis
    attribute: int
    value: bytes

    def encode(self) -> bytes:
        out = bytearray((EVENT_NOTIFICATION,))
        if self.time is None:
            out.append(0)
        else:
            out += bytes((1, _DATE_TIME_SIZE)) + self.time.octets
        out += self.class_id.to_bytes(2, "big") + self.obis.octets
        out += self.attribute.to_bytes(1, "big", signed=True)
        return bytes(out) + self.value


@dataclass(frozen=True, slots=True)
class InformationReport:
    """Variables of a meter with short names; ``time`` is ASN.1 text such as 20260312152430Z."""

    time: str | None
    names: tuple[int, ...]
    values: tuple[bytes, ...]

    def encode(self) -> bytes:
        if len(self.names) != len(self.values):
            raise LocalProtocolError("an information report has as many names as values")
        out = bytearray((INFORMATION_REPORT,))
        if self.time is None:
            out.append(0)
        else:
            text = self.time.encode("ascii")
            out += bytes((1,)) + xdr.encode_length(len(text)) + text
        out += xdr.encode_length(len(self.names))
        for name in self.names:
            out += bytes((_VARIABLE_NAME,)) + name.to_bytes(2, "big", signed=True)
        return bytes(out) + xdr.encode_length(len(self.values)) + b"".join(self.values)


Notification: TypeAlias = DataNotification | EventNotification | InformationReport


def decode_notification(apdu: bytes) -> Notification:
    """Decode one plain notification.

    The value of a DataNotification or EventNotification is taken as it is, because some meters
    encode it loosely; that of an InformationReport is checked.
    """
    decoder = _DECODERS.get(apdu[0]) if apdu else None
    if decoder is None:
        raise MalformedData("not a notification")
    try:
        return decoder(apdu)
    except IndexError:
        raise MalformedData("a notification is cut short") from None


def _decode_data(apdu: bytes) -> DataNotification:
    if len(apdu) < 6:
        raise MalformedData("a notification is cut short")
    time, position = _decode_time(apdu, 5)
    return DataNotification(int.from_bytes(apdu[1:5], "big"), time, _body(apdu, position))


def _decode_time(apdu: bytes, position: int) -> tuple[CosemDateTime | None, int]:
    if apdu[position] == TAG_NULL:
        return None, position + 1
    if apdu[position] == TAG_DATE_TIME:
        octets, position = apdu[position + 1 : position + 13], position + 13
        return CosemDateTime.parse(octets), position
    if apdu[position] == TAG_OCTET_STRING:  # no length of a date-time, so it can only be the tag
        position += 1
    octets, position = xdr.take(apdu, position)
    return (CosemDateTime.parse(octets) if octets else None), position


def _decode_event(apdu: bytes) -> EventNotification:
    time, position = None, 2
    if apdu[1] not in (0, 1):
        raise MalformedData("the optional time of an event notification is neither there nor not")
    if apdu[1]:
        octets, position = xdr.take(apdu, 2)
        time = CosemDateTime.parse(octets) if octets else None
    end = position + _DESCRIPTOR_SIZE
    descriptor = apdu[position:end]
    if len(descriptor) != _DESCRIPTOR_SIZE:
        raise MalformedData("the descriptor of an event notification is cut short")
    return EventNotification(
        time=time,
        class_id=int.from_bytes(descriptor[:2], "big"),
        obis=Obis(descriptor[2:8]),
        attribute=int.from_bytes(descriptor[8:], "big", signed=True),
        value=_body(apdu, end),
    )


def _decode_report(apdu: bytes) -> InformationReport:
    time, position = None, 2
    if apdu[1] not in (0, 1):
        raise MalformedData("the optional time of an information report is neither there nor not")
    if apdu[1]:
        octets, position = xdr.take(apdu, 2)
        time = octets.decode("ascii", errors="replace")
    names, position = _decode_names(apdu, position)
    count, position = xdr.decode_length(apdu, position)
    if count != len(names):
        raise MalformedData(f"{len(names)} variables and {count} values")
    values = []
    for _ in names:
        end = xdr.skip(apdu, position)
        values.append(apdu[position:end])
        position = end
    if position != len(apdu):
        raise MalformedData(f"{len(apdu) - position} octets follow the information report")
    return InformationReport(time, names, tuple(values))


def _decode_names(apdu: bytes, position: int) -> tuple[tuple[int, ...], int]:
    count, position = xdr.decode_length(apdu, position)
    if count > MAX_VARIABLES:
        raise MalformedData(f"{count} variables in one report")
    names = []
    for _ in range(count):
        if apdu[position] != _VARIABLE_NAME or position + 3 > len(apdu):
            raise MalformedData("a variable that is not a plain short name")
        names.append(int.from_bytes(apdu[position + 1 : position + 3], "big", signed=True))
        position += 3
    return tuple(names), position


def _body(apdu: bytes, position: int) -> bytes:
    if position >= len(apdu):
        raise MalformedData("a notification without data")
    return apdu[position:]


_DECODERS: dict[int, Callable[[bytes], Notification]] = {
    DATA_NOTIFICATION: _decode_data,
    EVENT_NOTIFICATION: _decode_event,
    INFORMATION_REPORT: _decode_report,
}
