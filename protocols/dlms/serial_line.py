"""A serial device as an asyncio transport: raw octets through termios, no further dependency."""

from __future__ import annotations

import asyncio
import fcntl
import os
import termios
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

from headend.domain.errors import BadInput, MeterUnreachable

Parity: TypeAlias = Literal["none", "even", "odd"]
READ_SIZE = 4096  # octets
MAX_UNWRITTEN = 64 * 1024  # octets; a line that takes none of them is broken
_BAUD_RATES: dict[int, int] = {
    rate: getattr(termios, f"B{rate}")
    for rate in (300, 600, 1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400)
}
_PARITY_FLAGS = {"none": 0, "even": termios.PARENB, "odd": termios.PARENB | termios.PARODD}


class SerialTransport(asyncio.Transport):
    """An open line; give its octets to a protocol. Use `open_serial`."""

    def __init__(self, descriptor: int, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._unwritten = bytearray()
        self._closing = False
        self._loop.add_reader(descriptor, self._read)
        protocol.connection_made(self)

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: Any) -> None:
        if self._closing:
            return
        self._unwritten += data
        if len(self._unwritten) > MAX_UNWRITTEN:
            self._end(OSError(f"{len(self._unwritten)} octets wait to be written"))
            return
        self._flush()

    def close(self) -> None:
        self._end(None)

    def abort(self) -> None:
        self._end(None)

    def _read(self) -> None:
        try:
            octets = os.read(self._descriptor, READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as fault:
            self._end(fault)
            return
        if octets:
            self._protocol.data_received(octets)
        else:
            self._end(OSError("the device is gone"))

    def _flush(self) -> None:
        unwritten = self._unwritten
        try:
            written = os.write(self._descriptor, unwritten)
        except (BlockingIOError, InterruptedError):
            written = 0
        except OSError as fault:
            self._end(fault)
            return
        del unwritten[:written]
        if unwritten:
            self._loop.add_writer(self._descriptor, self._flush)
        else:
            self._loop.remove_writer(self._descriptor)

    def _end(self, fault: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.remove_reader(self._descriptor)
        self._loop.remove_writer(self._descriptor)
        os.close(self._descriptor)
        self._loop.call_soon(self._protocol.connection_lost, fault)


def open_serial(
    make_protocol: Callable[[], asyncio.Protocol], device: str, *, baud: int, parity: Parity
) -> asyncio.Protocol:
    """Open a line with 8 data bits and 1 stop bit, for this process alone.

    Raises `MeterUnreachable` naming the device, `BadInput` for a rate or parity it cannot have.
    """
    speed = _BAUD_RATES.get(baud)
    if speed is None:
        raise BadInput(f"baud={baud} is none of {', '.join(map(str, _BAUD_RATES))}", field="baud")
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as fault:
        raise MeterUnreachable(f"cannot open {device}: {fault.strerror}") from fault
    try:
        # Two programs on one line would read each other's answers.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _make_raw(descriptor, speed, _PARITY_FLAGS[parity])
    except (OSError, termios.error) as fault:
        os.close(descriptor)
        reason = "in use by another process" if isinstance(fault, BlockingIOError) else str(fault)
        raise MeterUnreachable(f"cannot use {device}: {reason}") from fault
    protocol = make_protocol()
    SerialTransport(descriptor, protocol)
    return protocol


def _make_raw(descriptor: int, speed: int, parity: int) -> None:
    """Set rate and parity, and let every octet pass unchanged."""
    _, _, _, _, _, _, characters = termios.tcgetattr(descriptor)
    characters[termios.VMIN], characters[termios.VTIME] = 0, 0
    control = termios.CREAD | termios.CLOCAL | termios.CS8 | parity
    check = termios.INPCK if parity else 0
    attributes = [check, 0, control, 0, speed, speed, characters]
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
    termios.tcflush(descriptor, termios.TCIOFLUSH)
