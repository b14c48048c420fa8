"""Log lines: readable by machines, and without secrets or phone numbers."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from headend import log


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def logged(**fields: Any) -> dict[str, Any]:
    stream = io.StringIO()
    log.configure_logging(form="json", stream=stream)
    log.get_logger("tests").info("happened", **fields)
    line: dict[str, Any] = json.loads(stream.getvalue())
    return line


@pytest.mark.parametrize(
    "name", ["api_key", "ek", "ak", "meter_password", "accessToken", "KEK", "client_secret"]
)
def test_a_value_under_a_secret_name_disappears(name: str) -> None:
    assert logged(**{name: "0011223344"})[name] == "***"


@pytest.mark.parametrize("name", ["idempotency_key", "entry_key", "monkey", "breaker", "key_id"])
def test_names_that_only_look_secret_are_kept(name: str) -> None:
    assert logged(**{name: "seen"})[name] == "seen"


def test_secrets_deep_inside_are_found() -> None:
    line = logged(meter={"access": [{"ek": "001122", "address": 17}]})
    assert line["meter"] == {"access": [{"ek": "***", "address": 17}]}


def test_octets_are_counted_not_shown() -> None:
    assert logged(frame=bytes(16))["frame"] == "<16 octets>"


def test_a_phone_number_keeps_its_ends() -> None:
    assert logged(phone="13812345678")["phone"] == "138****5678"
    assert logged(text="call +86 13812345678 now")["text"] == "call +86 138****5678 now"


@pytest.mark.parametrize("number", ["138123456789012", "0-0:96.1.0", "0013812345678"])
def test_meter_numbers_are_not_taken_for_phones(number: str) -> None:
    assert logged(meter_no=number)["meter_no"] == number


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://headend:hush@127.0.0.1:5432/x", "postgresql://headend:***@127.0.0.1:5432/x"),
        ("dlms+tcp://h:1?ek=0011&client=1", "dlms+tcp://h:1?ek=***&client=1"),
        ("Authorization was Bearer abc.def", "Authorization was Bearer ***"),
        ('api_key="hush" given', 'api_key="***" given'),
    ],
)
def test_secrets_inside_text_are_masked(text: str, masked: str) -> None:
    assert log.mask_text(text) == masked
    assert logged(note=text)["note"] == masked


def test_a_traceback_is_masked_and_shows_no_local_values() -> None:
    stream = io.StringIO()
    log.configure_logging(form="json", stream=stream)
    local_secret = "hush" * 2
    try:
        raise RuntimeError(f"no answer from postgresql://u:{local_secret}@h/n")
    except RuntimeError:
        log.get_logger("tests").exception("failed")
    assert "RuntimeError" in stream.getvalue()
    assert local_secret not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_libraries_pass_the_same_masks(form: Any) -> None:
    stream = io.StringIO()
    log.configure_logging(form=form, stream=stream)
    logging.getLogger("library").warning("password=%s for %s", "hush", "13812345678")
    assert "hush" not in stream.getvalue()
    assert "138****5678" in stream.getvalue()


def test_bound_context_is_logged_and_masked() -> None:
    with structlog.contextvars.bound_contextvars(order_id=7, token="hush"):
        line = logged()
    assert (line["order_id"], line["token"]) == (7, "***")
    assert (line["level"], line["event"], line["logger"]) == ("info", "happened", "tests")


def test_lines_below_the_level_are_dropped() -> None:
    stream = io.StringIO()
    log.configure_logging(level="warning", form="json", stream=stream)
    log.get_logger("tests").info("quiet")
    assert stream.getvalue() == ""
