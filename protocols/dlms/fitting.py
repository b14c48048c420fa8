"""Which answers fit which requests: the rest came late, doubled or from elsewhere."""

from __future__ import annotations

from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.events import StaleAnswer

_INVOKE_ID = 0x0F  # of invoke-id-and-priority

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


def check_fits(response: rs.Response, pending: rq.Request | None) -> None:
    """Raise `StaleAnswer` unless service and invoke-id are those of the pending request.

    A refusal has neither, so it fits whatever is pending.
    """
    if pending is None or isinstance(response, rs.ExceptionResponse | rs.ConfirmedServiceError):
        return
    if not isinstance(response, _ANSWERS[type(pending)]):
        raise StaleAnswer(f"a {type(response).__name__} to a {type(pending).__name__}")
    if (response.invoke ^ pending.invoke) & _INVOKE_ID:
        raise StaleAnswer(f"the answer to request {response.invoke & _INVOKE_ID} came late")
