"""Which answers are taken as a request's own, and from which meters another invoke-id is borne."""

from __future__ import annotations

import pytest

from headend.domain.obis import DISCONNECT_CONTROL, LOGICAL_DEVICE_NAME
from protocols.dlms import requests as rq
from protocols.dlms import responses as rs
from protocols.dlms.errors import AccessResult
from protocols.dlms.events import StaleAnswer
from protocols.dlms.fitting import AnswerCheck

NAME = rq.Attribute(1, LOGICAL_DEVICE_NAME, 2)
OPEN = rq.Attribute(70, DISCONNECT_CONTROL, 1)
FIRST, SECOND = b"\x11\x01", b"\x11\x02"


def take(check: AnswerCheck, request: rq.Request, response: rs.Response) -> None:
    check.check(response, request, response.encode())


def get(invoke: int) -> rq.GetRequest:
    return rq.GetRequest(invoke, NAME)


def test_priority_and_class_of_service_are_the_meters_own() -> None:
    take(AnswerCheck(), get(0xC1), rs.GetResponse(0x41, FIRST))


def test_an_answer_that_comes_twice_is_stale() -> None:
    check = AnswerCheck()
    take(check, get(0xC1), rs.GetResponse(0xC1, FIRST))
    take(check, get(0xC2), rs.GetResponse(0xC2, SECOND))
    for octets in (FIRST, SECOND):
        with pytest.raises(StaleAnswer):
            take(check, get(0xC3), rs.GetResponse(0xC1 if octets is FIRST else 0xC2, octets))


def test_a_meter_that_echoes_no_invoke_id_is_known_by_a_new_answer() -> None:
    check = AnswerCheck()
    take(check, get(0xC1), rs.GetResponse(0x81, FIRST))
    take(check, get(0xC2), rs.GetResponse(0x81, SECOND))
    take(check, get(0xC3), rs.GetResponse(0x81, SECOND))
    take(check, rq.ActionRequest(0xC4, OPEN, None), rs.ActionResponse(0x81, AccessResult.SUCCESS))


def test_where_an_answer_was_given_up_the_invoke_id_counts() -> None:
    check = AnswerCheck()
    check.may_be_late = True
    with pytest.raises(StaleAnswer):
        take(check, get(0xC2), rs.GetResponse(0xC1, FIRST))
    take(check, get(0xC2), rs.GetResponse(0xC2, FIRST))


def test_a_command_is_not_acknowledged_by_another_invoke_id() -> None:
    request = rq.ActionRequest(0xC2, OPEN, None)
    with pytest.raises(StaleAnswer):
        take(AnswerCheck(), request, rs.ActionResponse(0xC1, AccessResult.SUCCESS))


def test_another_service_never_fits() -> None:
    with pytest.raises(StaleAnswer):
        take(AnswerCheck(), get(0xC1), rs.SetResponse(0xC1, AccessResult.SUCCESS))


def test_a_refusal_fits_whatever_waits() -> None:
    take(AnswerCheck(), get(0xC1), rs.ExceptionResponse(1, 1))
