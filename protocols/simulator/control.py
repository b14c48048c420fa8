"""The control socket: JSON lines on a loopback port or a Unix path, one answer per request.

A request is ``{"request": name, ...}`` and is answered by ``{"ok": true, "result": ...}`` or
``{"ok": false, "error": sentence, "field": name}``; an ``id`` comes back with its answer. It tells
the truth whatever the faults make the meters say, and it is the only way to move the meters' clock.
Nobody signs in here: it is refused on any address but loopback.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from headend.domain.errors import BadInput, ConfigurationError, HeadEndError
from protocols.simulator.faults import Fault, FaultKind
from protocols.simulator.simulator import Simulator
from protocols.simulator.truth import tell_truth

MAX_LINE = 1 << 20  # octets of one request


class ControlServer:
    """Serves the control socket of one simulator."""

    def __init__(
        self,
        simulator: Simulator,
        *,
        on_shutdown: Callable[[], None],
        host: str = "127.0.0.1",
        port: int = 0,
        path: Path | None = None,
    ) -> None:
        self._simulator = simulator
        self._on_shutdown = on_shutdown
        self._host = host
        self._path = path
        self.port = port
        self._server: asyncio.Server | None = None
        self._open: set[_ControlConnection] = set()
        self._handlers = {
            "truth": self._truth,
            "rows": self._rows,
            "clock": self._clock,
            "fault": self._fault,
            "clear_fault": self._clear_fault,
            "press_button": self._press_button,
            "trip": self._trip,
            "sessions": self._sessions,
            "stats": self._stats,
            "fleet": self._fleet,
            "shutdown": self._shutdown,
        }

    async def start(self) -> None:
        """Listen; raises `ConfigurationError` for a foreign address or a port in use."""
        loop = asyncio.get_running_loop()
        try:
            if self._path is not None:
                self._path.unlink(missing_ok=True)
                self._server = await loop.create_unix_server(self._connect, self._path)
                return
            if not ipaddress.ip_address(self._host).is_loopback:
                raise ConfigurationError(f"the control socket may not listen on {self._host}")
            self._server = await loop.create_server(self._connect, self._host, self.port)
        except OSError as error:
            where = self._path or f"{self._host}:{self.port}"
            raise ConfigurationError(
                f"the control socket cannot listen on {where} ({error.strerror or error}); "
                "choose another with --control"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection, answers already made still go out."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in tuple(self._open):
            connection.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def where(self) -> dict[str, Any]:
        """Return the address as the ready line shows it."""
        if self._path is not None:
            return {"path": str(self._path)}
        return {"host": self._host, "port": self.port}

    def answer(self, line: bytes) -> dict[str, Any]:
        """Carry out one request line and return its answer; never raises for a bad request."""
        identifier = None
        try:
            request = _parse(line)
            identifier = request.get("id")
            handler = self._handlers.get(str(request.get("request")))
            if handler is None:
                known = ", ".join(self._handlers)
                raise BadInput(
                    f"no request {request.get('request')!r}; known are {known}", field="request"
                )
            return {"ok": True, "result": handler(request), "id": identifier}
        except HeadEndError as error:
            field = getattr(error, "field", None)
            return {"ok": False, "error": str(error), "field": field, "id": identifier}

    def _connect(self) -> _ControlConnection:
        return _ControlConnection(self.answer, self._open)

    # Requests.

    def _truth(self, request: Mapping[str, Any]) -> list[dict[str, Any]]:
        if request.get("meter") is not None:
            return [tell_truth(self._simulator.device(str(request["meter"]))).to_json()]
        return [tell_truth(device).to_json() for device in self._simulator.devices.values()]

    def _rows(self, request: Mapping[str, Any]) -> dict[str, Any]:
        meter = self._simulator.device(str(request.get("meter"))).meter
        start, end = (_instant_s(request, name) for name in ("start", "end"))
        rows = meter.rows(start, end)
        return {
            "interval_s": meter.interval_s,
            "start_s": rows.start_s.tolist(),
            "energy_wh": rows.energy_wh.tolist(),
        }

    def _clock(self, request: Mapping[str, Any]) -> dict[str, Any]:
        offset_s = request.get("offset_s")
        if offset_s is not None:
            if isinstance(offset_s, bool) or not isinstance(offset_s, int | float):
                raise BadInput(f"offset_s {offset_s!r} is no number", field="offset_s")
            self._simulator.set_offset(offset_s)
        clock = self._simulator.clock
        return {"now": clock.now().isoformat(), "offset_s": clock.offset_us / 1_000_000}

    def _fault(self, request: Mapping[str, Any]) -> dict[str, Any]:
        fault = Fault.from_json(request)
        self._simulator.set_fault(_target(request), fault)
        return fault.to_json()

    def _clear_fault(self, request: Mapping[str, Any]) -> None:
        name = request.get("fault")
        try:
            kind = FaultKind(str(name)) if name is not None else None
        except ValueError:
            raise BadInput(f"no fault {name!r}", field="fault") from None
        self._simulator.clear_fault(_target(request), kind)

    def _press_button(self, request: Mapping[str, Any]) -> dict[str, Any]:
        device = self._simulator.device(str(request.get("meter")))
        return {"moved": device.press_button()}

    def _trip(self, request: Mapping[str, Any]) -> None:
        self._simulator.device(str(request.get("meter"))).contact.local_disconnect()

    def _sessions(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        groups = self._simulator.concentrators.values()
        return {group.name: group.open_sessions() for group in groups}

    def _stats(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        devices = self._simulator.devices.values()
        groups = self._simulator.concentrators.values()
        return {
            "meters": len(devices),
            "requests_answered": sum(device.requests_answered for device in devices),
            "sessions_opened": sum(device.sessions_opened for device in devices),
            "rows_served": sum(device.objects.rows_served for device in devices),
            "concentrators": {group.name: asdict(group.stats) for group in groups},
        }

    def _fleet(self, _request: Mapping[str, Any]) -> dict[str, Any]:
        return self._simulator.fleet.to_json()

    def _shutdown(self, _request: Mapping[str, Any]) -> None:
        self._on_shutdown()


class _ControlConnection(asyncio.Protocol):
    """One peer: a line in, a line out, without a task that could be left behind."""

    def __init__(
        self, answer: Callable[[bytes], dict[str, Any]], peers: set[_ControlConnection]
    ) -> None:
        self._answer = answer
        self._peers = peers
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  (create_server's promise)
        self._transport = transport
        self._peers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._peers.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        *lines, rest = self._received.split(b"\n")
        self._received = rest
        for line in lines:
            if self._transport is not None:
                self._transport.write(json.dumps(self._answer(bytes(line))).encode() + b"\n")
        if len(rest) > MAX_LINE:
            self.close()

    def pause_writing(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close when the answers already made are out."""
        if self._transport is not None:
            self._transport.close()


def _parse(line: bytes) -> Mapping[str, Any]:
    try:
        request = json.loads(line)
    except ValueError as error:
        raise BadInput(f"the request is not JSON: {error}", field="request") from error
    if not isinstance(request, dict):
        raise BadInput("the request is not a JSON object", field="request")
    return request


def _target(request: Mapping[str, Any]) -> str:
    target = request.get("meter") or request.get("concentrator")
    if target is None:
        raise BadInput("name a meter or a concentrator", field="meter")
    return str(target)


def _instant_s(request: Mapping[str, Any], name: str) -> int:
    try:
        instant = datetime.fromisoformat(str(request.get(name)))
    except ValueError:
        raise BadInput(f"{name} {request.get(name)!r} is not an ISO instant", field=name) from None
    if instant.tzinfo is None:
        raise BadInput(f"{name} has no UTC offset", field=name)
    return int(instant.timestamp())
