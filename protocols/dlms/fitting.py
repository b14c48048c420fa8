"""Which answers fit which requests: the rest came late, doubled or from elsewhere."""

from __future__ import annotations

from collections import deque

from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.events import StaleAnswer

_INVOKE_ID = 0x0F  # of invoke-id-and-priority

_GETS = (rq.GetRequest, rq.GetRequestNext, rq.GetRequestList)
_SET_BLOCK_ANSWERS = (
    rs.SetResponseBlock,
    rs.SetResponseLastBlock,
    rs.SetResponseLastBlockList,
    rs.SetResponse,
    rs.SetResponseList,
)
_ACTION_ANSWERS = (rs.ActionResponse, rs.ActionResponseBlock, rs.ActionResponseNext)
_ANSWERS: dict[type, tuple[type, ...]] = {
    rq.GetRequest: (rs.GetResponse, rs.GetResponseBlock),
    rq.GetRequestNext: (rs.GetResponse, rs.GetResponseBlock),
    rq.GetRequestList: (rs.GetResponseList, rs.GetResponseBlock, rs.GetResponse),
    rq.SetRequest: (rs.SetResponse,),
    rq.SetRequestFirstBlock: _SET_BLOCK_ANSWERS,
    rq.SetRequestListFirstBlock: _SET_BLOCK_ANSWERS,
    rq.SetRequestBlock: _SET_BLOCK_ANSWERS,
    rq.SetRequestList: (rs.SetResponseList, rs.SetResponse),
    rq.ActionRequest: _ACTION_ANSWERS,
    rq.ActionRequestNext: _ACTION_ANSWERS,
    rq.ActionRequestFirstBlock: _ACTION_ANSWERS,
    rq.ActionRequestBlock: _ACTION_ANSWERS,
    rq.ActionRequestList: (rs.ActionResponseList, rs.ActionResponseBlock, rs.ActionResponse),
}


class AnswerCheck:
    """Tells the answer to a request from others, and bears with meters that echo no invoke-id.

    An invoke-id that is not the request's means an answer that came late, or twice. Where no
    answer was ever given up, none can come late, and one that comes twice is known by its octets:
    any other answer of the right service is then the request's. A GET must show first that a meter
    is of that kind before it is believed about what was written or switched.
    """

    __slots__ = ("_echoes", "_seen", "may_be_late")

    def __init__(self) -> None:
        self.may_be_late = False  # whether an answer was given up, so that it may still come
        self._echoes = True
        self._seen: deque[int] = deque(maxlen=_INVOKE_ID + 1)

    def check(self, response: rs.Response, pending: rq.Request | None, octets: bytes) -> None:
        """Raise `StaleAnswer` unless the response is the pending request's.

        A refusal has neither service nor invoke-id, so it fits whatever is pending.
        """
        if pending is None or isinstance(response, rs.ExceptionResponse | rs.ConfirmedServiceError):
            return
        if not isinstance(response, _ANSWERS[type(pending)]):
            raise StaleAnswer(f"a {type(response).__name__} to a {type(pending).__name__}")
        mark = hash(octets)
        if (response.invoke ^ pending.invoke) & _INVOKE_ID:
            is_new = not self._echoes or (mark not in self._seen and isinstance(pending, _GETS))
            if self.may_be_late or not is_new:
                raise StaleAnswer(f"the answer to request {response.invoke & _INVOKE_ID} came late")
            self._echoes = False
        self._seen.append(mark)
