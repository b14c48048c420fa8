"""One plain APDU taken for what it says: a push with its named values, or another service.

`read_message` tells pushes (DataNotification, EventNotification, InformationReport, or the bare
data of one), the answers that carry data, and names everything else. Raises `MalformedData`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

from headend.domain.obis import CLOCK, Obis
from protocols.dlms import acse, push_lists
from protocols.dlms import data as d
from protocols.dlms import responses as rs
from protocols.dlms.cosem_time import CosemDateTime
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData
from protocols.dlms.notification import (
    NOTIFICATION_TAGS,
    DataNotification,
    EventNotification,
    InformationReport,
    decode_notification,
)
from protocols.dlms.push_body import Body, decode_body
from protocols.dlms.push_layout import PushItem, PushLayout, read_layout
from protocols.dlms.push_values import as_date_time
from protocols.dlms.requests import decode_request

_BARE_TAGS = (d.TAG_ARRAY, d.TAG_STRUCTURE)
_REQUEST_TAGS = (0xC0, 0xC1, 0xC3)
# The clock is class 8, 0-b:1.0.0.255 on any channel.
_CLOCK_TAIL = CLOCK.octets[2:]
_NO_LAYOUT = PushLayout((), ())


@dataclass(frozen=True, slots=True)
class Message:
    """What one APDU says. ``time`` is its own, or that of a clock among its values.

    ``list_name`` names the meter's object list, where the push begins with such a name; ``detail``
    is for people, of services that are no push.
    """

    service: str
    layout: PushLayout = _NO_LAYOUT
    time: CosemDateTime | None = None
    invoke: int | None = None
    list_name: str | None = None
    trailing: bytes = b""
    quirks: tuple[str, ...] = ()
    detail: str = ""


def read_message(apdu: bytes) -> Message:
    """Read one plain APDU."""
    if not apdu:
        raise MalformedData("an empty APDU")
    if apdu[0] in NOTIFICATION_TAGS:
        return _read_notification(apdu)
    if apdu[0] in _BARE_TAGS:
        return _read_body("data", decode_body(apdu))
    return _read_service(apdu)


def _read_notification(apdu: bytes) -> Message:
    notification = decode_notification(apdu)
    match notification:
        case DataNotification():
            return _read_body(
                "data-notification",
                decode_body(notification.body),
                time=notification.time,
                invoke=notification.invoke,
            )
        case EventNotification():
            body = decode_body(notification.value)
            item = PushItem(
                notification.obis, body.value, notification.class_id, notification.attribute
            )
            return Message(
                "event-notification",
                PushLayout((item,), ()),
                notification.time or as_date_time(body.value),
                trailing=body.trailing,
                quirks=body.quirks,
            )
        case InformationReport():
            values = tuple(decode_body(value).value for value in notification.values)
            names = ", ".join(f"{name & 0xFFFF:#06x}" for name in notification.names)
            return Message(
                "information-report",
                PushLayout((), values),
                detail=f"short names {names}, time {notification.time or 'none'}",
            )


def _read_body(
    service: str, body: Body, *, time: CosemDateTime | None = None, invoke: int | None = None
) -> Message:
    layout = read_layout(body.value)
    name = None
    if layout.loose and isinstance(layout.loose[0], bytes | str):
        name = push_lists.list_name(layout.loose)
    objects = None if layout.items else push_lists.objects_of(layout.loose)
    if objects is not None:
        pairs = zip(objects, layout.loose, strict=True)
        layout = PushLayout(tuple(PushItem(code, value) for code, value in pairs), ())
    return Message(
        service,
        layout,
        time or _time_among(layout),
        invoke,
        name if objects is not None or (name and _is_list_name(name)) else None,
        body.trailing,
        body.quirks,
    )


def _is_list_name(name: str) -> bool:
    # Published names end in a version: KFM_001, Kamstrup_V0001, AIDON_V0001.
    head, _, version = name.rpartition("_")
    return bool(head) and version.lstrip("Vv").isdigit()


def _time_among(layout: PushLayout) -> CosemDateTime | None:
    for item in layout.items:
        if _is_clock(item.obis) and (moment := as_date_time(item.value)) is not None:
            return moment
    for value in layout.loose:
        if (moment := as_date_time(value)) is not None:
            return moment
    return None


def _is_clock(obis: Obis) -> bool:
    return obis.octets[0] == CLOCK.octets[0] and obis.octets[2:] == _CLOCK_TAIL


def _read_service(apdu: bytes) -> Message:
    if apdu[0] in _REQUEST_TAGS:
        request = decode_request(apdu)
        return Message(_dashed(type(request).__name__), detail=_describe(request))
    reader = _ASSOCIATION.get(apdu[0])
    if reader is not None:
        return Message(reader[0], detail=_describe(reader[1](apdu)))
    try:
        response = rs.decode_response(apdu)
    except MalformedData as fault:
        raise MalformedData(f"{apdu[0]:#04x} begins no APDU that is understood: {fault}") from fault
    if isinstance(response, rs.GetResponse) and isinstance(response.data, bytes):
        return _read_body("get-response", decode_body(response.data))
    return Message(_dashed(type(response).__name__), detail=_describe(response))


def _describe(service: Any) -> str:
    """Name the fields of a service; octets only by their number, for some of them are secrets."""
    shown = []
    for field in fields(service):
        value = getattr(service, field.name)
        if field.repr and value is not None:
            shown.append(f"{field.name} {_describe_value(value)}")
    return ", ".join(shown)


def _describe_value(value: object) -> str:
    if isinstance(value, bytes):
        return f"({len(value)} octets)"
    if is_dataclass(value) and not isinstance(value, type | Obis):
        return f"({_describe(value)})"
    if isinstance(value, tuple):
        return f"({'; '.join(map(_describe_value, value))})"
    return value.name if isinstance(value, Enum) and value.name else str(value)


def _dashed(name: str) -> str:
    return "".join("-" + c.lower() if c.isupper() else c for c in name).lstrip("-")


_ASSOCIATION: dict[int, tuple[str, Callable[[bytes], object]]] = {
    0x60: ("association-request", acse.decode_aarq),
    0x61: ("association-response", acse.decode_aare),
    0x62: ("release-request", acse.decode_rlrq),
    0x63: ("release-response", acse.decode_rlre),
}

__all__ = ["Data", "Message", "read_message"]
