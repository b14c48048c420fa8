"""`MeterInspector` for DLMS/COSEM: one meter, one conversation, no database.

Wires adapter, session and the services of this package by an endpoint URL. Faults leave as
`Diagnosed`: their cause found, if need be by knocking at the meter again.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from headend.domain.diagnosis import Diagnosed, Diagnosis
from headend.domain.errors import BadInput, HeadEndError
from headend.ports.inspection import (
    InspectionOptions,
    MeterInspection,
    Secrets,
    ToolCounters,
)
from protocols.dlms.conversation import Timeouts
from protocols.dlms.counter_recovery import CounterRaise
from protocols.dlms.driver import DlmsAdapter, DlmsLink
from protocols.dlms.endpoint import DlmsEndpoint, parse_endpoint
from protocols.dlms.hls import LEGACY_MECHANISMS, MECHANISMS
from protocols.dlms.link import Tap, Wire
from protocols.dlms.meter_model import MeterModel, load_model
from protocols.dlms.security import TITLE_SIZE
from protocols.dlms.services.diagnose import (
    Knocker,
    explain_association,
    explain_connection,
    explain_use,
    is_for_diagnosis,
)
from protocols.dlms.services.inspection import DlmsInspection
from protocols.dlms.services.probe import no_queue
from protocols.dlms.services.reading import Target
from protocols.dlms.services.trace import TraceKeys, Tracer
from protocols.dlms.transport import HDLC_TCP, SCHEMES, WRAPPER_TCP

PROBE_SHARE = 0.4  # of the time for an answer: a probe's answer is short
MAX_PROBE_S = 2.0
MAX_CONNECT_S = 5.0
MAX_RELEASE_S = 1.0
_NO_TITLE = bytes(TITLE_SIZE)  # where no key is used and none is sent
_OTHER_SCHEME = {WRAPPER_TCP: HDLC_TCP, HDLC_TCP: WRAPPER_TCP}


class DlmsInspector:
    """Inspects DLMS meters."""

    schemes: tuple[str, ...] = SCHEMES

    def __init__(self, options: InspectionOptions) -> None:
        self._options = options
        self._raised: list[CounterRaise] = []

    def check_objects(self, targets: Sequence[str]) -> None:
        """Raise `BadInput` for what is no OBIS code or CLASS/OBIS/ATTRIBUTE."""
        for target in targets:
            Target.parse(target)

    def is_local(self, endpoint: str) -> bool:
        """Tell whether the endpoint is on this machine's loopback interface."""
        host = parse_endpoint(_with_secrets(endpoint, self._options)).host
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @asynccontextmanager
    async def open(self, endpoint: str) -> AsyncIterator[MeterInspection]:
        """Connect and associate; see `MeterInspector`."""
        options = self._options
        url = _with_secrets(endpoint, options)
        where = parse_endpoint(url)
        model = _model_of(where, options)
        adapter, counters = self._make_adapter(where)
        knocker = _make_knocker(where, url, options)
        try:
            link = await adapter.open_link(url)
        except HeadEndError as fault:
            raise _diagnosed(fault, explain_connection(fault, knocker.where)) from fault
        try:
            async with _session(link, where, model, knocker, options) as inspection:
                self._tell_raises()
                yield inspection
        finally:
            await link.close()
            block = adapter.shared.counters.of(where.access()).block
            if block.limit:
                await counters.give_back(block.next_counter, block.limit)

    def _make_adapter(self, where: DlmsEndpoint) -> tuple[DlmsAdapter, ToolCounters]:
        options, key = self._options, where.encryption_key
        needs_title = key is not None or where.authentication == "sha256"
        title = where.system_title or (options.keeper.system_title() if needs_title else _NO_TITLE)
        counters = options.keeper.counters(key or b"", first=options.first_counter)
        legacy = MECHANISMS[where.authentication] in LEGACY_MECHANISMS
        if legacy:
            options.note(f"auth={where.authentication} is broken: use it for legacy meters only")
        adapter = DlmsAdapter(
            counters,
            _RealClock(),
            system_title=title,
            timeouts=_timeouts(options.timeout_s),
            allow_legacy=legacy,
            on_raise=self._note_raise,
            tap=_make_tap(where, options),
        )
        return adapter, counters

    async def _note_raise(self, raised: CounterRaise) -> None:
        self._raised.append(raised)

    def _tell_raises(self) -> None:
        """Tell which counters were raised, once it is seen that this was what was wrong."""
        for raised in self._raised:
            self._options.note(
                f"the meter's counter was ahead: ours was raised from {raised.before} to"
                f" {raised.after} ({raised.cause})"
            )
        self._raised.clear()


@asynccontextmanager
async def _session(
    link: DlmsLink,
    where: DlmsEndpoint,
    model: MeterModel,
    knocker: Knocker,
    options: InspectionOptions,
) -> AsyncIterator[MeterInspection]:
    """Associate for the block; faults of either leave with their diagnosis."""
    context = link.session(where.access(), no_queue)
    try:
        session = await context.__aenter__()
    except HeadEndError as fault:
        if not is_for_diagnosis(fault):
            raise
        # The meter may serve one connection at a time: ours must be gone before it is asked again.
        await link.close()
        raise _diagnosed(fault, await explain_association(fault, knocker)) from fault
    inspection = DlmsInspection(session, model, options)
    try:
        yield inspection
    except HeadEndError as fault:
        await context.__aexit__(type(fault), fault, fault.__traceback__)
        if not is_for_diagnosis(fault):
            raise
        raise _diagnosed(fault, explain_use(fault, knocker)) from fault
    except BaseException as fault:
        await context.__aexit__(type(fault), fault, fault.__traceback__)
        raise
    else:
        await context.__aexit__(None, None, None)


def _diagnosed(fault: HeadEndError, diagnosis: Diagnosis) -> HeadEndError:
    return Diagnosed(diagnosis) if is_for_diagnosis(fault) else fault


class _RealClock:
    """`Clock` of tools: who stands before a meter lives in real time."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def _timeouts(answer_s: float) -> Timeouts:
    return Timeouts(
        connect_s=min(MAX_CONNECT_S, answer_s),
        answer_s=answer_s,
        release_s=min(MAX_RELEASE_S, answer_s),
        probe_s=min(MAX_PROBE_S, answer_s * PROBE_SHARE),
    )


def _model_of(where: DlmsEndpoint, options: InspectionOptions) -> MeterModel:
    model = load_model(where.model)
    if options.zone is None:
        return model
    try:
        ZoneInfo(options.zone)
    except (ValueError, OSError, KeyError):
        raise BadInput(
            f"{options.zone!r} is no time zone such as Asia/Shanghai", field="zone"
        ) from None
    return replace(model, zone=options.zone)


def _make_tap(where: DlmsEndpoint, options: InspectionOptions) -> Tap | None:
    if options.trace is None:
        return None
    keys = TraceKeys(where.encryption_key, where.authentication_key, where.password)
    return Tracer(keys, options.trace).tap


def _make_knocker(where: DlmsEndpoint, url: str, options: InspectionOptions) -> Knocker:
    timeouts = _timeouts(options.timeout_s)

    async def open_wire() -> Wire:
        wire = await where.transport.open(timeouts)
        wire.tap = _make_tap(where, options)
        return wire

    async def open_other() -> Wire:
        parts = urlsplit(url)
        other = urlunsplit((_OTHER_SCHEME[where.scheme], parts.netloc, "", "", ""))
        return await parse_endpoint(other).transport.open(timeouts)

    knows_other = where.scheme in _OTHER_SCHEME
    return Knocker(where, open_wire, open_other if knows_other else None, timeouts.probe_s)


def _with_secrets(url: str, options: InspectionOptions) -> str:
    """Put the secrets that the URL's authentication needs into it, where it has none itself."""
    secrets = options.secrets
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    added: dict[str, str] = {}
    authentication = query.get("auth")
    if authentication is None and secrets.explicit:
        authentication = _implied(secrets)
        if authentication is not None:
            added["auth"] = authentication
    ciphers = any(name in query for name in ("protection", "ciphering", "suite"))
    if authentication == "gmac" or ciphers:
        added |= _given(ek=secrets.encryption_key, ak=secrets.authentication_key)
    if authentication not in (None, "none", "gmac"):
        added |= _given(password=secrets.password)
    extra = "&".join(
        f"{name}={quote(value, safe='')}" for name, value in added.items() if name not in query
    )
    joined = "&".join(each for each in (parts.query, extra) if each)
    return urlunsplit(parts._replace(query=joined))


def _implied(secrets: Secrets) -> str | None:
    if secrets.encryption_key is not None and secrets.authentication_key is not None:
        return "gmac"
    return "lls" if secrets.password is not None else None


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None}
