"""A decoded capture as one JSON document: the contract of ``headend meter decode --json``.

``obis`` maps each code to its value (in the unit that the push tells, else as sent), ``time`` is
the meter's wall clock in ISO form. Beside them stands what else the capture holds; what is absent
is left out, except ``obis`` and ``time``. Several messages in one capture are merged in their
order, the later value counting, and listed under ``messages``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headend.domain.obis import DEVICE_SERIAL, DISCONNECT_CONTROL, LOGICAL_DEVICE_NAME, Obis
from protocols.dlms import data as d
from protocols.dlms.capture import CapturedFrame
from protocols.dlms.decode import Decoded, DecodedMessage, Protection
from protocols.dlms.message import Message
from protocols.dlms.push_layout import PushItem
from protocols.dlms.push_values import as_text, instant_of, show_time, show_value

_METER_IDS = (DEVICE_SERIAL, Obis.parse("0.0.96.1.1.255"), LOGICAL_DEVICE_NAME)
_LIST_NAME = Obis.parse("1.1.0.2.129.255")
_CONTROL_STATES = ("disconnected", "connected", "ready_for_reconnection")
_DISCONNECT_CLASS = 70
_VALUE = 2  # the attribute that is an object's value, of almost every class
_OUTPUT_STATE, _CONTROL_STATE, _CONTROL_MODE = 2, 3, 4
_MIN_ID_DIGITS = 8
_PROTECTIONS = {0x00: "none", 0x10: "authenticated", 0x20: "encrypted", 0x30: "both"}
_PROTECTION_BITS = 0x30


def build_document(decoded: Decoded) -> dict[str, Any]:
    """Return the document of a decoded capture."""
    messages = [_message_document(message) for message in decoded.messages]
    document: dict[str, Any] = {"obis": {}, "time": None}
    for message in messages:
        document["obis"] = {**document["obis"], **message["obis"]}
        document.update(
            (name, value)
            for name, value in message.items()
            if name != "obis" and not (name == "time" and value is None)
        )
    if len(messages) > 1:
        document["messages"] = messages
    document["frames"] = [_frame_document(frame) for frame in decoded.frames]
    document["warnings"] = list(decoded.warnings)
    return document


def _message_document(decoded: DecodedMessage) -> dict[str, Any]:
    message = decoded.message
    items = message.layout.items
    time = message.time
    document: dict[str, Any] = {
        "obis": _values_by_code(items),
        "time": show_time(time) if time is not None else None,
    }
    optional = {
        "time_utc": _iso_utc(message),
        "service": message.service,
        "invoke_id": message.invoke,
        "meter_id": _meter_id(message),
        "list": message.list_name or _text_of(items, _LIST_NAME),
        **(_protection_document(decoded.protection) if decoded.protection else {}),
        "relay": _relay(items, DISCONNECT_CONTROL),
        "relays": _relays(items),
        "values": [_item_document(item) for item in items],
        "unparsed": [show_value(value) for value in message.layout.loose],
        "trailing": message.trailing.hex(),
        "blocks": decoded.block_count or None,
        "detail": message.detail,
        "in_frames": [index + 1 for index in decoded.frames],
    }
    document.update((name, value) for name, value in optional.items() if value not in (None, ""))
    if not document["relays"]:
        del document["relays"]
    return document


def _values_by_code(items: Sequence[PushItem]) -> dict[str, Any]:
    """Map each code to one value: attribute 2 where an object is pushed by several."""
    valued = {item.obis for item in items if item.attribute == _VALUE}
    return {
        str(item.obis): _shown(item)
        for item in items
        if item.attribute == _VALUE or item.obis not in valued
    }


def _shown(item: PushItem) -> Any:
    return show_value(item.value, item.scaler_unit)


def _item_document(item: PushItem) -> dict[str, Any]:
    document: dict[str, Any] = {"obis": str(item.obis), "value": _shown(item)}
    if item.scaler_unit is not None:
        document["unit"] = item.scaler_unit.unit
        document["raw"] = show_value(item.value)
        document["scaler"] = item.scaler_unit.scaler
    if item.class_id is not None:
        document["class"] = item.class_id
    if item.attribute is not None:
        document["attribute"] = item.attribute
    return document


def _iso_utc(message: Message) -> str | None:
    instant = None if message.time is None else instant_of(message.time)
    return None if instant is None else instant.isoformat().replace("+00:00", "Z")


def _meter_id(message: Message) -> str | None:
    for code in _METER_IDS:
        found = _text_of(message.layout.items, code)
        if found:
            return found
    # Some lists end in the meter's number without a code.
    for value in reversed(message.layout.loose):
        text = as_text(value) if isinstance(value, bytes) else value
        if isinstance(text, str) and len(text) >= _MIN_ID_DIGITS and text.isdigit():
            return text
    return None


def _text_of(items: Sequence[PushItem], code: Obis) -> str | None:
    for item in items:
        if item.obis == code and isinstance(item.value, bytes | str):
            shown = show_value(item.value)
            return shown if isinstance(shown, str) else None
    return None


def _protection_document(protection: Protection) -> dict[str, Any]:
    title = protection.system_title
    document: dict[str, Any] = {
        "invocation_counter": protection.counter,
        "security": {
            "control": f"{protection.control:#04x}",
            "suite": protection.control & 0x0F,
            "protection": _PROTECTIONS[protection.control & _PROTECTION_BITS],
            "tag_checked": protection.checked,
        },
    }
    if title is not None:
        document["system_title"] = title.hex().upper()
        document["manufacturer"] = as_text(title[:3])
    return document


def _relay(items: Sequence[PushItem], code: Obis) -> dict[str, Any] | None:
    """Return what a push says of one disconnect control."""
    relay: dict[str, Any] = {}
    for item in items:
        if item.obis != code or item.class_id not in (None, _DISCONNECT_CLASS):
            continue
        value, attribute = item.value, item.attribute
        if isinstance(value, bool) and attribute in (None, _OUTPUT_STATE):
            relay["output_state"] = value
        elif isinstance(value, int) and attribute in (None, _CONTROL_STATE):
            known = 0 <= value < len(_CONTROL_STATES)
            relay["control_state"] = _CONTROL_STATES[value] if known else int(value)
        elif isinstance(value, int) and attribute == _CONTROL_MODE:
            relay["control_mode"] = int(value)
    return relay or None


def _relays(items: Sequence[PushItem]) -> dict[str, Any]:
    """Return every disconnect control, also further contacts on channels of their own."""
    codes = dict.fromkeys(
        item.obis
        for item in items
        if item.class_id == _DISCONNECT_CLASS
        or (item.obis.octets[2:] == DISCONNECT_CONTROL.octets[2:] and _may_be_state(item.value))
    )
    found: Mapping[Obis, Any] = {code: _relay(items, code) for code in codes}
    return {str(code): relay for code, relay in found.items() if relay}


def _may_be_state(value: d.Data) -> bool:
    return isinstance(value, bool | d.Enum)


def _frame_document(frame: CapturedFrame) -> dict[str, Any]:
    document: dict[str, Any] = {
        "link": frame.link,
        "offset": frame.offset,
        "length": frame.length,
        "checked": frame.checked,
    }
    if frame.source or frame.destination:
        document["source"], document["destination"] = frame.source, frame.destination
    if frame.kind:
        document["kind"] = frame.kind
    if frame.more:
        document["more"] = True
    return document
