"""What is wrong with a strange meter is told apart in words, with what to try next.

Against meters that answer as the standard wants, and against ones that answer the same thing, or
nothing, to everything: there the inspector has to find out by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headend.domain.diagnosis import Cause, Diagnosed, Diagnosis
from headend.domain.errors import MeterUnreachable
from headend.meter_counters import CounterFile
from headend.ports.inspection import InspectionOptions, MeterInspection
from protocols.dlms.acse import AARQ, Aare, AssociationResult, Diagnostic
from protocols.dlms.errors import AccessResult
from protocols.dlms.hdlc_frame import FrameKind, HdlcFrame
from protocols.dlms.hdlc_splitter import HdlcSplitter
from protocols.dlms.refusals import ExceptionResponse, ServiceError, StateError
from protocols.dlms.responses import GetResponse
from protocols.dlms.services.inspector import DlmsInspector
from protocols.dlms.testing_site import AK, EK, PASSWORD, Site, serve_site
from protocols.dlms.wrapper import WrapperFrame

GMAC = f"auth=gmac&ek={EK.hex()}&ak={AK.hex()}"
LLS = f"client=2&auth=lls&password={PASSWORD.decode()}"
OTHER_KEY = bytes(16).hex()
TIMEOUT_S = 0.4


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serve_site() as served:
        yield served


@pytest.fixture
def inspector(tmp_path: Path) -> DlmsInspector:
    notes: list[str] = []
    options = InspectionOptions(
        keeper=CounterFile(tmp_path, notes.append), note=notes.append, timeout_s=TIMEOUT_S
    )
    return DlmsInspector(options)


def endpoint(site: Site, query: str, **changes: object) -> str:
    extra = "".join(f"&{name}={value}" for name, value in changes.items())
    return f"dlms+tcp://127.0.0.1:{site.port}?{query}{extra}"


async def diagnose(inspector: DlmsInspector, url: str) -> Diagnosis:
    with pytest.raises(Diagnosed) as caught:
        async with inspector.open(url) as meter:
            await meter.read_relay()
    assert str(caught.value) == caught.value.diagnosis.text
    assert EK.hex() not in str(caught.value)
    return caught.value.diagnosis


Answer = Callable[[WrapperFrame, bytes | None], bytes | None]


def to_associations(answer: bytes | None, *, clients: frozenset[int] | None = None) -> Answer:
    """Answer association requests (of some clients) that carry keys in one and the same way."""

    def tamper(frame: WrapperFrame, good: bytes | None) -> bytes | None:
        secured = frame.apdu[:1] == bytes((AARQ,)) and b"\x60\x85\x74\x05\x08\x02" in frame.apdu
        mine = clients is None or frame.source in clients
        return answer if secured and mine else good

    return tamper


def rejection(diagnostic: Diagnostic, *, transient: bool = False) -> bytes:
    result = (
        AssociationResult.REJECTED_TRANSIENT if transient else AssociationResult.REJECTED_PERMANENT
    )
    return Aare(context=3, result=result, diagnostic=diagnostic).encode()


# What the way tells.


@pytest.mark.parametrize("scheme", ["dlms+tcp", "dlms+hdlc+tcp", "dlms+udp"])
async def test_a_closed_port(inspector: DlmsInspector, unused_tcp_port: int, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{unused_tcp_port}?{GMAC}"
    found = await diagnose(inspector, url)
    assert found.cause is Cause.CONNECTION_REFUSED
    assert "no route to a meter" in found.sentence
    assert "nothing listens on that port" in found.sentence


@pytest.fixture
def unused_tcp_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


async def test_an_unknown_host(inspector: DlmsInspector) -> None:
    found = await diagnose(inspector, "dlms+tcp://meter.invalid:4059?client=16")
    assert found.cause is Cause.NO_ROUTE
    assert "meter.invalid" in found.sentence


async def test_an_unreachable_network(
    inspector: DlmsInspector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unreachable(*_: object, **__: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", unreachable)
    found = await diagnose(inspector, "dlms+tcp://10.99.99.99:4059?client=16")
    assert found.cause is Cause.NO_ROUTE
    assert "10.99.99.99:4059 cannot be reached: " in found.sentence


# What the meter says.


@pytest.mark.parametrize(
    ("query", "changes", "cause"),
    [
        (f"auth=gmac&ek={OTHER_KEY}&ak={AK.hex()}", {}, Cause.WRONG_KEY),
        (f"auth=gmac&ek={EK.hex()}&ak={OTHER_KEY}", {}, Cause.WRONG_KEY),
        (GMAC, {"client": 77}, Cause.WRONG_CLIENT),
        (LLS.replace(PASSWORD.decode(), "87654321"), {}, Cause.WRONG_PASSWORD),
        ("client=1", {}, Cause.UNSUPPORTED_SECURITY),
        (LLS.replace("client=2", "client=1"), {}, Cause.UNSUPPORTED_SECURITY),
        (f"client=2&{GMAC}", {}, Cause.UNSUPPORTED_SECURITY),
        (GMAC, {"server": 9}, Cause.WRONG_ADDRESS),
        ("client=16", {"server": 9}, Cause.WRONG_ADDRESS),
        ("client=99", {}, Cause.WRONG_CLIENT),
    ],
)
async def test_a_meter_that_answers_by_the_standard(
    site: Site, inspector: DlmsInspector, query: str, changes: dict[str, object], cause: Cause
) -> None:
    found = await diagnose(inspector, endpoint(site, query, **changes))
    assert found.cause is cause
    assert found.text.startswith(f"{cause}: ")
    assert "\n  try: " in found.text


async def test_a_counter_that_cannot_be_caught_up_with(
    site: Site, inspector: DlmsInspector
) -> None:
    behind = ExceptionResponse(
        StateError.SERVICE_NOT_ALLOWED, ServiceError.INVOCATION_COUNTER_ERROR
    )
    site.server.tamper = to_associations(behind.encode())
    found = await diagnose(inspector, endpoint(site, GMAC))
    assert found.cause is Cause.WRONG_COUNTER
    assert "--counter" in found.text


@pytest.mark.parametrize(
    "answer",
    [
        rejection(Diagnostic.NO_REASON_GIVEN, transient=True),
        ExceptionResponse(
            StateError.SERVICE_NOT_ALLOWED, ServiceError.OPERATION_NOT_POSSIBLE
        ).encode(),
    ],
    ids=["transient", "exception"],
)
async def test_a_busy_meter_says_not_now_to_everybody(
    site: Site, inspector: DlmsInspector, answer: bytes
) -> None:
    site.server.tamper = lambda _frame, _good: answer
    for query in (GMAC, LLS, "client=16"):
        assert (await diagnose(inspector, endpoint(site, query))).cause is Cause.BUSY


async def test_a_meter_that_is_busy_with_a_reading(site: Site, inspector: DlmsInspector) -> None:
    def busy(frame: WrapperFrame, good: bytes | None) -> bytes | None:
        if frame.apdu[0] == 0xC0:
            return GetResponse(frame.apdu[2], AccessResult.TEMPORARY_FAILURE).encode()
        return good

    site.server.tamper = busy
    assert (await diagnose(inspector, endpoint(site, LLS))).cause is Cause.BUSY


# What the meter does not say.


@pytest.mark.parametrize(
    "answer",
    [
        None,
        rejection(Diagnostic.NO_REASON_GIVEN),
        ExceptionResponse(StateError.SERVICE_NOT_ALLOWED, ServiceError.OTHER_REASON).encode(),
    ],
    ids=["silence", "no reason", "not allowed"],
)
async def test_a_wrong_key_is_found_behind_a_vague_answer(
    site: Site, inspector: DlmsInspector, answer: bytes | None
) -> None:
    site.server.tamper = to_associations(answer)
    found = await diagnose(inspector, endpoint(site, GMAC))
    assert found.cause is Cause.WRONG_KEY
    found = await diagnose(inspector, endpoint(site, LLS))
    if answer is None or answer[0] != 0xD8:
        assert found.cause is Cause.WRONG_PASSWORD


async def test_a_wrong_client_is_found_behind_silence(site: Site, inspector: DlmsInspector) -> None:
    def ignore(frame: WrapperFrame, good: bytes | None) -> bytes | None:
        return None if frame.source == 77 else good

    site.server.tamper = ignore
    for query in (f"client=77&{GMAC}", "client=77"):
        found = await diagnose(inspector, endpoint(site, query))
        assert found.cause is Cause.WRONG_CLIENT
        assert "client=77" in found.sentence


async def test_a_meter_without_a_public_client_is_judged_too(
    site: Site, inspector: DlmsInspector
) -> None:
    def private(frame: WrapperFrame, good: bytes | None) -> bytes | None:
        return None if frame.source in (16, 77) or frame.destination != 1 else good

    site.server.tamper = private
    assert (await diagnose(inspector, endpoint(site, f"client=77&{GMAC}"))).cause is (
        Cause.WRONG_CLIENT
    )
    assert (await diagnose(inspector, endpoint(site, f"server=9&{GMAC}"))).cause is (
        Cause.WRONG_ADDRESS
    )


async def test_a_silent_meter(site: Site, inspector: DlmsInspector) -> None:
    site.server.tamper = lambda _frame, _good: None
    found = await diagnose(inspector, endpoint(site, GMAC))
    assert found.cause is Cause.SILENT
    assert "nobody answers at server=1 as client=1" in found.sentence


async def test_a_meter_that_hangs_up_on_our_keys(site: Site, inspector: DlmsInspector) -> None:
    def hang_up(frame: WrapperFrame, good: bytes | None) -> bytes | None:
        if to_associations(b"")(frame, good) == b"":
            assert site.server.transport is not None
            site.server.transport.close()
            return None
        return good

    site.server.tamper = hang_up
    assert (await diagnose(inspector, endpoint(site, GMAC))).cause is Cause.WRONG_KEY


async def test_a_meter_that_falls_silent_later(site: Site, inspector: DlmsInspector) -> None:
    def stop(frame: WrapperFrame, good: bytes | None) -> bytes | None:
        return None if frame.apdu[0] == 0xC0 else good

    site.server.tamper = stop
    found = await diagnose(inspector, endpoint(site, LLS))
    assert found.cause is Cause.BROKEN_OFF
    assert "let us in" in found.sentence


async def test_what_a_client_may_not_do(site: Site, inspector: DlmsInspector) -> None:
    for meter in site.meters.values():
        meter.attributes.clear()
    found = await diagnose(inspector, endpoint(site, LLS))
    assert found.cause is Cause.REFUSED


async def test_a_refusal_within_the_block_keeps_its_cause(
    site: Site, inspector: DlmsInspector
) -> None:
    with pytest.raises(Diagnosed) as caught:
        async with inspector.open(endpoint(site, LLS)):
            raise MeterUnreachable("gone")
    assert isinstance(caught.value.__cause__, MeterUnreachable)


# Who else may be there.


@asynccontextmanager
async def listener(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object],
) -> AsyncIterator[int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        result = serve(reader, writer)
        if asyncio.iscoroutine(result):
            await result

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_a_meter_that_serves_somebody_else_closes_at_once(inspector: DlmsInspector) -> None:
    async with listener(lambda _reader, writer: writer.close()) as port:
        found = await diagnose(inspector, f"dlms+tcp://127.0.0.1:{port}?{GMAC}")
    assert found.cause is Cause.BUSY
    assert "serve somebody else" in found.sentence


async def test_something_that_is_no_meter(inspector: DlmsInspector) -> None:
    def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")

    async with listener(talk) as port:
        found = await diagnose(inspector, f"dlms+tcp://127.0.0.1:{port}?client=16")
    assert found.cause is Cause.WRONG_PROTOCOL


async def test_a_meter_with_the_other_framing(site: Site, inspector: DlmsInspector) -> None:
    found = await diagnose(inspector, endpoint(site, "client=16").replace("dlms+", "dlms+hdlc+"))
    assert found.cause is Cause.WRONG_PROTOCOL
    assert "dlms+hdlc+tcp" in found.sentence


async def test_an_hdlc_station_that_refuses_to_connect_is_busy(inspector: DlmsInspector) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        splitter = HdlcSplitter()
        while octets := await reader.read(1024):
            for frame in splitter.feed(octets):
                answer = HdlcFrame(FrameKind.DISCONNECTED, frame.source, frame.destination)
                writer.write(answer.encode())
        writer.close()

    async with listener(refuse) as port:
        found = await diagnose(inspector, f"dlms+hdlc+tcp://127.0.0.1:{port}?client=16")
    assert found.cause is Cause.BUSY


async def test_every_cause_has_words_of_its_own() -> None:
    texts = {Diagnosis(cause, "x").text for cause in Cause}
    assert len(texts) == len(Cause)


async def test_the_meter_is_not_kept_connected(site: Site, inspector: DlmsInspector) -> None:
    async with inspector.open(endpoint(site, LLS)) as meter:
        inspection: MeterInspection = meter
        await inspection.read_identity()
    await asyncio.sleep(0)
    assert site.server.transport is not None
    assert site.server.requests[-1].apdu[0] == 0x62
