"""Push set-up (class 40): what a meter pushes by itself, where to, how and when.

Attributes are those of IEC 62056-6-2, class 40 version 0 (clause unverified); versions 1 and 2
describe objects with more fields, which are kept as they came and written back unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headend.domain.errors import BadInput
from headend.domain.obis import Obis
from protocols.dlms import data as d
from protocols.dlms import xdr
from protocols.dlms.data import Data
from protocols.dlms.errors import MalformedData
from protocols.dlms.selection import CaptureObject
from protocols.dlms.services import cosem
from protocols.dlms.services.cosem import CosemAccess
from protocols.dlms.targets import Attribute

DEFAULT_PUSH_SETUP = Obis.parse("0.0.25.9.0.255")
_OBJECTS, _DESTINATION, _WINDOW, _RANDOMISATION, _RETRIES, _DELAY = range(2, 8)
_PUSH_METHOD = 1
TRANSPORTS = {
    0: "tcp", 1: "udp", 2: "ftp", 3: "smtp", 4: "sms", 5: "hdlc", 6: "m-bus", 7: "zigbee",
}  # fmt: skip
MESSAGES = {0: "a-xdr", 1: "xml"}
MAX_DESTINATION = 255  # octets


@dataclass(frozen=True, slots=True)
class PushSetup:
    """How one push is set up. ``destination`` is host:port for TCP and UDP.

    ``windows`` are the encoded communication windows as the meter holds them; none: always.
    """

    obis: Obis
    objects: tuple[CaptureObject, ...]
    transport: str
    destination: str
    message: str
    windows: int
    randomisation_s: int | None
    retries: int | None
    repetition_delay_s: int | None


async def read_push_setup(access: CosemAccess, obis: Obis = DEFAULT_PUSH_SETUP) -> PushSetup:
    """Read a push set-up; raises `MeterRefused` where there is none, `MalformedData`."""
    objects = await cosem.read(access, cosem.PUSH_SETUP, obis, _OBJECTS)
    transport, destination, message = _parse_destination(
        await cosem.read(access, cosem.PUSH_SETUP, obis, _DESTINATION)
    )
    windows, randomisation, retries, delay = [
        await cosem.read_if_there(access, cosem.PUSH_SETUP, obis, number)
        for number in (_WINDOW, _RANDOMISATION, _RETRIES, _DELAY)
    ]
    return PushSetup(
        obis=obis,
        objects=_parse_objects(objects),
        transport=transport,
        destination=destination,
        message=message,
        windows=len(windows) if isinstance(windows, d.Array) else 0,
        randomisation_s=_whole(randomisation),
        retries=_whole(retries),
        repetition_delay_s=_whole(delay),
    )


async def write_destination(
    access: CosemAccess,
    destination: str,
    *,
    transport: str = "tcp",
    obis: Obis = DEFAULT_PUSH_SETUP,
) -> None:
    """Write where the meter pushes to, as A-XDR; raises `BadInput`, `MeterRefused`."""
    codes = {name: code for code, name in TRANSPORTS.items()}
    if transport not in codes:
        raise BadInput(f"{transport!r} is none of {', '.join(codes)}", field="transport")
    octets = destination.encode()
    if not 0 < len(octets) <= MAX_DESTINATION:
        raise BadInput(f"a destination of {len(octets)} octets", field="destination")
    value = d.Structure((d.Enum(codes[transport]), octets, d.Enum(0)))
    await _write(access, obis, _DESTINATION, value)


async def write_objects(
    access: CosemAccess, objects: Sequence[CaptureObject], *, obis: Obis = DEFAULT_PUSH_SETUP
) -> None:
    """Write what the meter pushes, in this order; raises `MeterRefused`."""
    if not objects:
        raise BadInput("a push of nothing", field="objects")
    await _write(access, obis, _OBJECTS, d.Array(each.to_data() for each in objects))


async def write_timing(
    access: CosemAccess,
    *,
    randomisation_s: int | None = None,
    retries: int | None = None,
    repetition_delay_s: int | None = None,
    obis: Obis = DEFAULT_PUSH_SETUP,
) -> None:
    """Write how pushes are spread and repeated; what is None stays. Raises `BadInput`."""
    wanted: list[tuple[int, int | None, type[d.LongUnsigned] | type[d.Unsigned]]] = [
        (_RANDOMISATION, randomisation_s, d.LongUnsigned),
        (_RETRIES, retries, d.Unsigned),
        (_DELAY, repetition_delay_s, d.LongUnsigned),
    ]
    for _, value, kind in wanted:
        if value is not None and not kind.low <= value <= kind.high:
            raise BadInput(f"{value} does not fit {kind.__name__}", field="timing")
    for number, value, kind in wanted:
        if value is not None:
            await _write(access, obis, number, kind(value))


async def push_now(access: CosemAccess, obis: Obis = DEFAULT_PUSH_SETUP) -> None:
    """Ask the meter to push at once; raises `MeterRefused`."""
    await access.act(Attribute(cosem.PUSH_SETUP, obis, _PUSH_METHOD), xdr.encode(d.Integer(0)))


async def _write(access: CosemAccess, obis: Obis, number: int, value: Data) -> None:
    await access.set(Attribute(cosem.PUSH_SETUP, obis, number), xdr.encode(value))


def _parse_objects(value: Data) -> tuple[CaptureObject, ...]:
    if not isinstance(value, d.Array | d.Structure):
        raise MalformedData("the pushed objects are no array")
    # Later versions add a restriction behind the four fields that all have.
    return tuple(
        CaptureObject.from_data(each[:4] if isinstance(each, tuple) else each) for each in value
    )


def _parse_destination(value: Data) -> tuple[str, str, str]:
    match value:
        case (int(transport), bytes(destination), int(message)):
            return (
                TRANSPORTS.get(int(transport), f"transport {int(transport)}"),
                _destination_text(int(transport), destination),
                MESSAGES.get(int(message), f"message {int(message)}"),
            )
    raise MalformedData("no destination of a push")


def _destination_text(transport: int, octets: bytes) -> str:
    if octets.isascii() and octets.decode("ascii").isprintable():
        return octets.decode("ascii")
    if transport in (0, 1) and len(octets) == 6:
        # Some meters write IPv4 address and port as octets.
        return f"{'.'.join(map(str, octets[:4]))}:{int.from_bytes(octets[4:], 'big')}"
    return octets.hex()


def _whole(value: Data) -> int | None:
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else None
