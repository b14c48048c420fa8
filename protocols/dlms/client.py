"""GET, SET and ACTION as flows: generators that yield requests and are sent the responses.

A flow knows what to ask next (the following block of a long answer) and what a refusal means; who
carries its requests, with which ciphering and time-outs, is the driver's business. Each flow
returns encoded data and raises the head-end's faults; see `responses` for what stays encoded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TypeAlias

from headend.domain.errors import MeterMisbehaved
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.errors import AccessResult, refusal
from protocols.dlms.selection import Selection

MAX_LONG_ANSWER = 1 << 24  # octets over all blocks; a year of quarter hours stays below 4 MB

DrawInvoke: TypeAlias = Callable[[], int]
Flow: TypeAlias = Generator[rq.Request, rs.Response, bytes]
ListFlow: TypeAlias = Generator[rq.Request, rs.Response, list[bytes | AccessResult]]


def get(
    attribute: rq.Attribute, draw_invoke: DrawInvoke, selection: Selection | None = None
) -> Flow:
    """Read one attribute, in blocks where the meter chooses to; returns the encoded data."""
    response = yield rq.GetRequest(draw_invoke(), attribute, selection)
    what = f"reading {attribute}"
    if isinstance(response, rs.GetResponseBlock):
        return (yield from _join_blocks(response, what))
    return _data_of(response, what)


def get_list(attributes: Sequence[rq.Attribute], draw_invoke: DrawInvoke) -> ListFlow:
    """Read several attributes in one request; returns data or result of each, in order."""
    items = tuple((attribute, None) for attribute in attributes)
    response = yield rq.GetRequestList(draw_invoke(), items)
    what = f"reading a list of {len(items)} attributes"
    if isinstance(response, rs.GetResponseBlock):
        joined = yield from _join_blocks(response, what)
        response = rs.decode_list(response.invoke, joined)
    if not isinstance(response, rs.GetResponseList):
        raise rs.fault_of(response, what)
    if len(response.items) != len(items):
        raise MeterMisbehaved(f"{len(response.items)} answers to {what}")
    return list(response.items)


def set_attribute(attribute: rq.Attribute, value: bytes, draw_invoke: DrawInvoke) -> Flow:
    """Write one attribute; returns nothing (empty octets) when the meter took it."""
    response = yield rq.SetRequest(draw_invoke(), attribute, value)
    if not isinstance(response, rs.SetResponse):
        raise rs.fault_of(response, f"writing {attribute}")
    if response.result is not AccessResult.SUCCESS:
        raise refusal(response.result, f"writing {attribute}")
    return b""


def action(method: rq.Attribute, parameter: bytes | None, draw_invoke: DrawInvoke) -> Flow:
    """Invoke one method; returns its encoded answer, empty where it gave none."""
    what = f"method {method.number} of {method.obis} class {method.class_id}"
    response = yield rq.ActionRequest(draw_invoke(), method, parameter)
    if not isinstance(response, rs.ActionResponse):
        raise rs.fault_of(response, what)
    if response.result is not AccessResult.SUCCESS:
        raise refusal(response.result, what)
    return response.data if isinstance(response.data, bytes) else b""


def _join_blocks(first: rs.GetResponseBlock, what: str) -> Flow:
    """Ask for block after block and return the data they carry."""
    response: rs.Response = first
    parts: list[bytes] = []
    size, block = 0, 1
    while True:
        if not isinstance(response, rs.GetResponseBlock):
            return _data_of(response, what)
        if isinstance(response.data, AccessResult):
            raise refusal(response.data, what)
        if response.block != block:
            raise MeterMisbehaved(f"block {response.block} instead of {block}, {what}")
        parts.append(response.data)
        size += len(response.data)
        if size > MAX_LONG_ANSWER:
            raise MeterMisbehaved(f"more than {MAX_LONG_ANSWER} octets, {what}")
        if response.last:
            return b"".join(parts)
        if not response.data:
            raise MeterMisbehaved(f"an empty block, {what}")
        response = yield rq.GetRequestNext(first.invoke, block)
        block += 1


def _data_of(response: rs.Response, what: str) -> bytes:
    if not isinstance(response, rs.GetResponse):
        raise rs.fault_of(response, what)
    if isinstance(response.data, AccessResult):
        if response.data is AccessResult.SUCCESS:
            raise MeterMisbehaved(f"success without data in answer to {what}")
        raise refusal(response.data, what)
    return response.data
