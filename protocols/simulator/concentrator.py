"""One endpoint that serves many meters: WRAPPER over TCP or UDP, or HDLC over TCP.

A silent meter simply leaves its requests unanswered, as does an address where no meter is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from protocols.simulator.business_time import BusinessClock
from protocols.simulator.conversations import ConcentratorStats, Connection
from protocols.simulator.device import Device
from protocols.simulator.faults import FaultBook, FaultKind
from protocols.simulator.fleet import Transport
from protocols.simulator.hdlc_port import HdlcPort
from protocols.simulator.wrapper_ports import TcpPort, UdpPort

__all__ = ["Concentrator", "ConcentratorStats"]


class Concentrator:
    """The listener and its meters."""

    def __init__(
        self,
        name: str,
        devices: Mapping[int, Device],
        clock: BusinessClock,
        *,
        host: str,
        port: int,
        transport: Transport = "wrapper",
        seed: int = 0,
    ) -> None:
        self.name = name
        self.devices = dict(devices)
        self.faults = FaultBook()
        self.stats = ConcentratorStats()
        self.host = host
        self.port = port
        self.transport = transport
        self.seed = seed
        self._clock = clock
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._datagrams: asyncio.DatagramTransport | None = None

    @property
    def endpoint(self) -> str:
        """The URL that the head-end opens."""
        scheme = {"wrapper": "dlms+tcp", "hdlc": "dlms+hdlc+tcp", "udp": "dlms+udp"}
        return f"{scheme[self.transport]}://{self.host}:{self.port}"

    async def start(self) -> None:
        """Listen; ``port`` then tells the bound one. Raises `OSError` when it is in use."""
        loop = asyncio.get_running_loop()
        if self.transport == "udp":
            self._datagrams, _ = await loop.create_datagram_endpoint(
                lambda: UdpPort(self), local_addr=(self.host, self.port)
            )
            self.port = self._datagrams.get_extra_info("sockname")[1]
            return
        make = HdlcPort if self.transport == "hdlc" else TcpPort
        self._server = await loop.create_server(
            lambda: make(self), self.host, self.port, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None
        if self._server is not None:
            self._server.close()
            self.hang_up()
            await self._server.wait_closed()
            self._server = None

    @property
    def is_down(self) -> bool:
        """Whether the whole concentrator is down now."""
        return bool(self.faults) and (
            self.faults.active(FaultKind.DOWN, self._clock.now_us()) is not None
        )

    def open_sessions(self) -> list[dict[str, object]]:
        """Describe the open connections and the conversations on each."""
        return [connection.describe() for connection in self._connections]

    def hang_up(self) -> None:
        """Close every connection, as a concentrator that lost its network does."""
        for connection in tuple(self._connections):
            connection.abort()

    def joined(self, connection: Connection) -> None:
        """Count a new connection."""
        self._connections.add(connection)
        self.stats.connections += 1

    def left(self, connection: Connection) -> None:
        """Forget a connection that closed."""
        self._connections.discard(connection)
