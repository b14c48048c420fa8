"""Client of the simulator's control socket, for the demo and the tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from headend.domain.errors import BadInput, MeterUnreachable
from protocols.simulator.meter import IntervalRows
from protocols.simulator.truth import MeterTruth

MAX_LINE = 64 << 20  # the truth about ten thousand meters with their histories is one line


@dataclass(frozen=True, slots=True)
class SimulatorClock:
    """The simulator's business time and its offset from real time."""

    now: datetime
    offset_s: float


class SimulatorControl:
    """One connection to a control socket; requests are answered in order.

    Every method raises `BadInput` when the simulator refuses, and `MeterUnreachable` when it is
    gone.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    async def connect(
        cls, *, host: str = "127.0.0.1", port: int = 0, path: Path | None = None
    ) -> SimulatorControl:
        """Connect to a loopback port or a Unix path; raises `MeterUnreachable`."""
        try:
            if path is not None:
                streams = await asyncio.open_unix_connection(path, limit=MAX_LINE)
            else:
                streams = await asyncio.open_connection(host, port, limit=MAX_LINE)
        except OSError as error:
            where = path or f"{host}:{port}"
            raise MeterUnreachable(f"no simulator answers on {where}: {error}") from error
        return cls(*streams)

    async def __aenter__(self) -> SimulatorControl:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; the simulator goes on."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return

    async def truth(self, meter_no: str) -> MeterTruth:
        """Return what one meter really is."""
        values = await self._request("truth", meter=meter_no)
        return MeterTruth.from_json(values[0])

    async def truths(self) -> list[MeterTruth]:
        """Return what every meter really is, in the fleet's order."""
        return [MeterTruth.from_json(values) for values in await self._request("truth")]

    async def rows(self, meter_no: str, start: datetime, end: datetime) -> IntervalRows:
        """Return the true intervals that start in ``[start, end)``."""
        values = await self._request(
            "rows", meter=meter_no, start=start.isoformat(), end=end.isoformat()
        )
        return IntervalRows(
            np.asarray(values["start_s"], dtype=np.int64),
            np.asarray(values["energy_wh"], dtype=np.int64),
        )

    async def clock(self) -> SimulatorClock:
        """Return the simulator's business time."""
        return _clock(await self._request("clock"))

    async def set_offset(self, offset_s: float) -> SimulatorClock:
        """Carry the meters' clocks forward to real time plus ``offset_s``."""
        return _clock(await self._request("clock", offset_s=offset_s))

    async def set_fault(self, target: str, fault: str, **parameters: Any) -> None:
        """Switch a fault of a meter (or of a concentrator, by name) on.

        ``from_`` and ``until`` bound it in business time (ISO text or aware datetime).
        """
        values = {key.rstrip("_"): _plain(value) for key, value in parameters.items()}
        await self._request("fault", meter=target, fault=fault, **values)

    async def clear_fault(self, target: str, fault: str | None = None) -> None:
        """Clear one fault of a meter or concentrator, or all of them."""
        await self._request("clear_fault", meter=target, fault=fault)

    async def press_button(self, meter_no: str) -> bool:
        """Press the button at the meter; return whether it did anything."""
        result = await self._request("press_button", meter=meter_no)
        return bool(result["moved"])

    async def trip(self, meter_no: str) -> None:
        """Let the meter's own limiter open its contact."""
        await self._request("trip", meter=meter_no)

    async def sessions(self) -> dict[str, list[dict[str, Any]]]:
        """Return open connections and conversations by concentrator."""
        result: dict[str, list[dict[str, Any]]] = await self._request("sessions")
        return result

    async def stats(self) -> dict[str, Any]:
        """Return counts of requests, rows and connections since the simulator began."""
        result: dict[str, Any] = await self._request("stats")
        return result

    async def shutdown(self) -> None:
        """Ask the simulator to end."""
        await self._request("shutdown")

    async def _request(self, name: str, **values: Any) -> Any:
        line = json.dumps({"request": name, **values}).encode() + b"\n"
        try:
            async with self._one_at_a_time:
                self._writer.write(line)
                await self._writer.drain()
                answer = await self._reader.readline()
        except OSError as error:
            raise MeterUnreachable(f"the simulator is gone: {error}") from error
        if not answer:
            raise MeterUnreachable("the simulator closed its control socket")
        document = json.loads(answer)
        if not document["ok"]:
            raise BadInput(document["error"], field=document["field"] or name)
        return document["result"]


def _clock(values: dict[str, Any]) -> SimulatorClock:
    return SimulatorClock(datetime.fromisoformat(values["now"]), values["offset_s"])


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
