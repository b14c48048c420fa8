"""Control modes as the standard has them, and where the contact is found."""

from __future__ import annotations

import pytest

from headend.domain.errors import MeterRefused
from headend.domain.obis import DISCONNECT_CONTROL, Obis
from headend.domain.supply import ControlState, RelayReading
from protocols.dlms import data as d
from protocols.dlms.errors import MalformedData
from protocols.dlms.services.disconnect import (
    CONTROL_MODES,
    RemoteClose,
    explain_mode,
    find_relay,
    read_relay,
)
from protocols.dlms.services.testing import TableAccess
from protocols.simulator.contact import TRANSITIONS_OF_MODE

RELAY = str(DISCONNECT_CONTROL)


def meter(output: d.Data, state: d.Data, mode: d.Data, obis: str = RELAY) -> TableAccess:
    return TableAccess({(70, obis, 2): output, (70, obis, 3): state, (70, obis, 4): mode})


def test_the_modes_are_those_that_simulated_meters_obey() -> None:
    told = {number: mode.transitions for number, mode in CONTROL_MODES.items()}
    assert told == TRANSITIONS_OF_MODE


@pytest.mark.parametrize(
    ("mode", "opens", "close", "itself"),
    [
        (0, False, RemoteClose.NOTHING, False),
        (1, True, RemoteClose.ARMS, False),
        (2, True, RemoteClose.CLOSES, False),
        (3, True, RemoteClose.ARMS, False),
        (4, True, RemoteClose.CLOSES, False),
        (5, True, RemoteClose.ARMS, True),
        (6, True, RemoteClose.ARMS, True),
    ],
)
def test_what_each_mode_does(mode: int, opens: bool, close: RemoteClose, itself: bool) -> None:
    known = CONTROL_MODES[mode]
    assert (known.opens_remotely, known.remote_close, known.closes_by_itself) == (
        opens, close, itself,
    )  # fmt: skip


def test_every_mode_has_a_meaning_of_its_own() -> None:
    meanings = [explain_mode(number) for number in range(8)]
    assert len(set(meanings)) == 8
    assert "always closed" in meanings[0]
    assert "the button opens too" in meanings[1]
    assert "button" not in meanings[4]
    assert meanings[7] == "control mode 7 is not one of 0 to 6"


async def test_contact_state_and_mode_are_read() -> None:
    access = meter(False, d.Enum(2), d.Enum(3))
    assert await read_relay(access) == RelayReading(False, ControlState.READY_FOR_RECONNECTION, 3)


@pytest.mark.parametrize(
    "values", [(b"x", d.Enum(0), d.Enum(0)), (True, d.Enum(3), d.Enum(0)), (True, None, None)]
)
async def test_nonsense_is_malformed(values: tuple[d.Data, d.Data, d.Data]) -> None:
    with pytest.raises(MalformedData):
        await read_relay(meter(*values))


async def test_the_first_relay_that_is_there_counts() -> None:
    other = "0.1.96.3.10.255"
    access = meter(True, d.Enum(1), d.Enum(4), other)
    found = await find_relay(access, [DISCONNECT_CONTROL, Obis.parse(other)])
    assert str(found) == other
    with pytest.raises(MeterRefused, match=r"0\.0\.96\.3\.10\.255"):
        await find_relay(access, [DISCONNECT_CONTROL])
