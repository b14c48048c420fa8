"""Event logs: profiles that a meter fills by event, 0.0.99.98.e.255.

Each row has a time, mostly an event code (a data object of 0.0.96.11), and whatever else the log
captures.
"""

from __future__ import annotations

from datetime import UTC, datetime

from headend.domain.errors import MeterBusy, MeterRefused
from headend.domain.obis import Obis
from headend.ports.inspection import EventReading, ProfileReading, ProfileWindow
from protocols.dlms.services import cosem
from protocols.dlms.services.cosem import CosemAccess
from protocols.dlms.services.object_list import ObjectList
from protocols.dlms.services.profiles import read_profile
from protocols.dlms.services.wall_clock import WallClock

_LOG = (99, 98)  # C and D of an event log's code
_CODE = (96, 11)  # C and D of an event code's
_USUAL_LOGS = range(10)  # E of the logs that are tried where the object list may not be read


def is_event_log(obis: Obis) -> bool:
    """Tell whether a profile of this code is an event log."""
    return obis.octets[0] == 0 and tuple(obis.octets[2:4]) == _LOG


async def find_event_logs(access: CosemAccess, objects: ObjectList | None) -> list[Obis]:
    """Return the meter's event logs, from its object list or by trying the usual ones."""
    if objects is not None:
        return [each.obis for each in objects.of_class(cosem.PROFILE) if is_event_log(each.obis)]
    found = []
    for number in _USUAL_LOGS:
        obis = Obis(bytes((0, 0, *_LOG, number, 255)))
        if await cosem.read_if_there(access, cosem.PROFILE, obis, 3) is not None:
            found.append(obis)
    return found


async def read_events(
    access: CosemAccess,
    logs: list[Obis],
    window: ProfileWindow,
    wall: WallClock,
    *,
    may_select: bool = True,
    all_wanted: bool = False,
) -> tuple[list[EventReading], list[str]]:
    """Read the logs' entries of a window, oldest first; return them and notes.

    A log that this client may not read becomes a note, unless ``all_wanted``: then the refusal is
    raised.
    """
    events: list[EventReading] = []
    notes: list[str] = []
    for log in logs:
        try:
            table = await read_profile(access, log, window, wall, may_select=may_select)
        except MeterBusy:
            raise
        except MeterRefused as fault:
            if all_wanted:
                raise
            notes.append(f"{log} could not be read: {fault}")
            continue
        notes += [f"{log}: {note}" for note in table.notes]
        events += _events_of(log, table)
    events.sort(key=lambda event: event.time or datetime.min.replace(tzinfo=UTC))
    return events, notes


def _events_of(log: Obis, table: ProfileReading) -> list[EventReading]:
    code_at = _code_column(table)
    events = []
    for row in table.rows:
        values = dict(zip((column.name for column in table.columns), row, strict=True))
        time = row[0] if table.columns[0].is_time else None
        code = None if code_at is None else row[code_at]
        events.append(
            EventReading(
                str(log),
                time if isinstance(time, datetime) else None,
                code if isinstance(code, int) and not isinstance(code, bool) else None,
                {
                    name: value.isoformat() if isinstance(value, datetime) else value
                    for name, value in values.items()
                },
            )
        )
    return events


def _code_column(table: ProfileReading) -> int | None:
    """Return the column of the event code: by its object, else the first number of a row."""
    others = [at for at, column in enumerate(table.columns) if not column.is_time]
    for at in others:
        groups = table.columns[at].name.split("/")[0].split(".")
        if len(groups) == 6 and (int(groups[2]), int(groups[3])) == _CODE:
            return at
    return others[0] if others else None
