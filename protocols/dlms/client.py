"""GET, SET and ACTION as flows: generators that yield requests and are sent the responses.

A flow knows what to ask next (the following block of a long answer, the next block of a long value)
and what a refusal means; who carries its requests, with which ciphering and time-outs, is the
driver's business. Each flow returns encoded data and raises the head-end's faults; see `responses`
for what stays encoded. ``limit`` is the longest plain request that the meter takes [octets]: what
is longer goes out in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from typing import TypeAlias

from headend.domain.errors import LocalProtocolError, MeterMisbehaved
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.errors import AccessResult, refusal
from protocols.dlms.refusals import fault_of
from protocols.dlms.selection import Selection
from protocols.dlms.targets import Outcome, encode_list

MAX_LONG_ANSWER = 1 << 24  # octets over all blocks; a year of quarter hours stays below 4 MB
_BLOCK_HEAD = 8  # octets of last-block, block-number and the length of the data, at most

DrawInvoke: TypeAlias = Callable[[], int]
Flow: TypeAlias = Generator[rq.Request, rs.Response, bytes]
ListFlow: TypeAlias = Generator[rq.Request, rs.Response, list[bytes | AccessResult]]
ResultFlow: TypeAlias = Generator[rq.Request, rs.Response, list[AccessResult]]
_Exchange: TypeAlias = Generator[rq.Request, rs.Response, rs.Response]


def get(
    attribute: rq.Attribute, draw_invoke: DrawInvoke, selection: Selection | None = None
) -> Flow:
    """Read one attribute, in blocks where the meter chooses to; returns the encoded data."""
    response = yield rq.GetRequest(draw_invoke(), attribute, selection)
    what = f"reading {attribute}"
    if isinstance(response, rs.GetResponseBlock):
        return (yield from _join_blocks(response, what))
    return _data_of(response, what)


def get_list(
    attributes: Sequence[rq.Attribute],
    draw_invoke: DrawInvoke,
    selections: Sequence[Selection | None] | None = None,
) -> ListFlow:
    """Read several attributes in one request; returns data or result of each, in order."""
    chosen = [None] * len(attributes) if selections is None else selections
    items = tuple(zip(attributes, chosen, strict=True))
    response = yield rq.GetRequestList(draw_invoke(), items)
    what = f"reading a list of {len(items)} attributes"
    if isinstance(response, rs.GetResponseBlock):
        joined = yield from _join_blocks(response, what)
        response = rs.decode_list(response.invoke, joined)
    if not isinstance(response, rs.GetResponseList):
        raise _fault_of_get(response, what)
    if len(response.items) != len(items):
        raise MeterMisbehaved(f"{len(response.items)} answers to {what}")
    return list(response.items)


def set_attribute(
    attribute: rq.Attribute,
    value: bytes,
    draw_invoke: DrawInvoke,
    selection: Selection | None = None,
    *,
    limit: int | None = None,
) -> Flow:
    """Write one attribute; returns nothing (empty octets) when the meter took it."""
    what = f"writing {attribute}"
    invoke = draw_invoke()
    request = rq.SetRequest(invoke, attribute, value, selection)
    if _fits(request, limit):
        response = yield request
    else:
        empty = rq.SetRequestFirstBlock(invoke, attribute, _NO_BLOCK, selection)
        first, *rest = _cut(value, limit, _head_size(empty))
        opening = rq.SetRequestFirstBlock(invoke, attribute, first, selection)
        response = yield from _send_set_blocks(opening, rest, what)
    if not isinstance(response, rs.SetResponse | rs.SetResponseLastBlock):
        raise fault_of(response, what)
    if response.result is not AccessResult.SUCCESS:
        raise refusal(response.result, what)
    return b""


def set_list(
    items: Sequence[tuple[rq.Attribute, bytes]],
    draw_invoke: DrawInvoke,
    *,
    limit: int | None = None,
) -> ResultFlow:
    """Write several attributes in one request; returns the result of each, in order."""
    what = f"writing a list of {len(items)} attributes"
    invoke = draw_invoke()
    targets: rq.Targets = tuple((attribute, None) for attribute, _ in items)
    values = tuple(value for _, value in items)
    request = rq.SetRequestList(invoke, targets, values)
    if _fits(request, limit):
        response = yield request
    else:
        empty = rq.SetRequestListFirstBlock(invoke, targets, _NO_BLOCK)
        first, *rest = _cut(encode_list(values), limit, _head_size(empty))
        opening = rq.SetRequestListFirstBlock(invoke, targets, first)
        response = yield from _send_set_blocks(opening, rest, what)
    if isinstance(response, rs.SetResponse | rs.SetResponseLastBlock):
        if response.result is AccessResult.SUCCESS:
            raise MeterMisbehaved(f"one answer to {what}")
        raise refusal(response.result, what)  # the transfer itself failed
    if not isinstance(response, rs.SetResponseList | rs.SetResponseLastBlockList):
        raise fault_of(response, what)
    if len(response.results) != len(items):
        raise MeterMisbehaved(f"{len(response.results)} answers to {what}")
    return list(response.results)


def action(
    method: rq.Attribute,
    parameter: bytes | None,
    draw_invoke: DrawInvoke,
    *,
    limit: int | None = None,
) -> Flow:
    """Invoke one method; returns its encoded answer, empty where it gave none."""
    what = f"method {method.number} of {method.obis} class {method.class_id}"
    invoke = draw_invoke()
    request = rq.ActionRequest(invoke, method, parameter)
    if parameter is None or _fits(request, limit):
        response: rs.Response = yield request
    else:
        empty = rq.ActionRequestFirstBlock(invoke, method, _NO_BLOCK)
        first, *rest = _cut(parameter, limit, _head_size(empty))
        opening = rq.ActionRequestFirstBlock(invoke, method, first)
        response = yield from _send_action_blocks(opening, rest, what)
    if isinstance(response, rs.ActionResponseBlock):
        result, data = yield from _join_action_blocks(response, what)
    elif isinstance(response, rs.ActionResponse):
        result, data = response.result, response.data
    else:
        raise fault_of(response, what)
    if result is not AccessResult.SUCCESS:
        raise refusal(result, what, action=True)
    if isinstance(data, AccessResult) and data is not AccessResult.SUCCESS:
        raise refusal(data, f"the answer of {what}")
    return data if isinstance(data, bytes) else b""


_NO_BLOCK = rq.Block(1, False, b"")


def _head_size(opening: rq.Request) -> int:
    """Return the octets of a first request before its block, given with an empty one."""
    return len(opening.encode()) - len(_NO_BLOCK.encode())


def _fits(request: rq.Request, limit: int | None) -> bool:
    return limit is None or len(request.encode()) <= limit


def _cut(value: bytes, limit: int | None, head: int) -> list[rq.Block]:
    """Cut a long value into blocks; the first request has ``head`` octets before its block."""
    room = (1 << 16) if limit is None else limit
    first, later = room - head - _BLOCK_HEAD, room - 3 - _BLOCK_HEAD
    if first < 1:
        raise LocalProtocolError(f"a request of {head} octets and more, the meter takes {room}")
    cuts = [0, *range(first, len(value), later), len(value)]
    parts = [value[start:end] for start, end in pairwise(cuts)]
    return [rq.Block(n + 1, n + 1 == len(parts), part) for n, part in enumerate(parts)]


def _send_set_blocks(
    opening: rq.SetRequestFirstBlock | rq.SetRequestListFirstBlock,
    rest: Sequence[rq.Block],
    what: str,
) -> _Exchange:
    """Send a long value block by block; return the answer to the last one, or a refusal."""
    response = yield opening
    for before, block in enumerate(rest, start=1):
        if not isinstance(response, rs.SetResponseBlock):
            return response
        if response.block != before:
            raise MeterMisbehaved(f"block {response.block} acknowledged, {before} sent, {what}")
        response = yield rq.SetRequestBlock(opening.invoke, block)
    return response


def _send_action_blocks(
    opening: rq.ActionRequestFirstBlock, rest: Sequence[rq.Block], what: str
) -> _Exchange:
    response = yield opening
    for before, block in enumerate(rest, start=1):
        if not isinstance(response, rs.ActionResponseNext):
            return response
        if response.block != before:
            raise MeterMisbehaved(f"block {response.block} acknowledged, {before} sent, {what}")
        response = yield rq.ActionRequestBlock(opening.invoke, block)
    return response


def _join_blocks(first: rs.GetResponseBlock, what: str) -> Flow:
    """Ask for block after block and return the data they carry."""
    response: rs.Response = first
    joint = _Joint(what)
    while True:
        if not isinstance(response, rs.GetResponseBlock):
            return _data_of(response, what)
        if isinstance(response.data, AccessResult):
            raise refusal(response.data, what)
        if joint.add(rq.Block(response.block, response.last, response.data)):
            return joint.joined
        response = yield rq.GetRequestNext(first.invoke, response.block)


def _join_action_blocks(
    first: rs.ActionResponseBlock, what: str
) -> Generator[rq.Request, rs.Response, Outcome]:
    response: rs.Response = first
    joint = _Joint(what)
    while isinstance(response, rs.ActionResponseBlock):
        if joint.add(response.block):
            return rs.decode_outcome(joint.joined)
        response = yield rq.ActionRequestNext(first.invoke, response.block.number)
    if isinstance(response, rs.ActionResponse):
        return response.result, response.data
    raise fault_of(response, what)


class _Joint:
    """Blocks in order, none empty, not without end."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def joined(self) -> bytes:
        return b"".join(self._parts)

    def add(self, block: rq.Block) -> bool:
        """Take the next block; return whether it was the last. Raises `MeterMisbehaved`."""
        expected = len(self._parts) + 1
        if block.number != expected:
            raise MeterMisbehaved(f"block {block.number} instead of {expected}, {self._what}")
        self._parts.append(block.data)
        self._size += len(block.data)
        if self._size > MAX_LONG_ANSWER:
            raise MeterMisbehaved(f"more than {MAX_LONG_ANSWER} octets, {self._what}")
        if not block.last and not block.data:
            raise MeterMisbehaved(f"an empty block, {self._what}")
        return block.last


def _data_of(response: rs.Response, what: str) -> bytes:
    if isinstance(response, rs.GetResponse) and isinstance(response.data, bytes):
        return response.data
    raise _fault_of_get(response, what)


def _fault_of_get(response: rs.Response, what: str) -> Exception:
    if isinstance(response, rs.GetResponse) and isinstance(response.data, AccessResult):
        return refusal(response.data, what)
    return fault_of(response, what)
