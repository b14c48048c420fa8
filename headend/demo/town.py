"""The demo's town: sixty households, who lives in them, and what will happen to them.

Pure data by seed. Names, phones and addresses are made up; the phone numbers lie in no range that
is handed out. Most households keep enough credit; the cast below is chosen so that one run shows
every way an account can go: warned, cut, paid and back on, or refused for a reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from headend.domain.money import NANO_PER_YUAN
from protocols.simulator.fleet import ConcentratorSpec, FleetSpec, MeterSpec, make_fleet

METERS = 60
CONCENTRATORS = 2
# Long enough that a payment lands while the contact is on its way, well within the settle time.
RACE_RELAY_DELAY_MS = 1_000
# At about 5 yuan a day: used up on the second day, or lasting for a year.
SCARCE_NANO = 4 * NANO_PER_YUAN
SOME_NANO = 14 * NANO_PER_YUAN
AMPLE_NANO = 2_000 * NANO_PER_YUAN
# What a customer who was cut pays beyond the debt.
TOP_UP_NANO = 100 * NANO_PER_YUAN


class Part(StrEnum):
    """What happens to a household."""

    PAYS = "pays"  # keeps enough credit
    RUNS_DRY = "runs_dry"  # warned, cut, paid, back on
    PROTECTED = "protected"  # runs dry with a life-support hold
    ESTIMATED = "estimated"  # the meter stops delivering, only estimates say that it ran dry
    SILENT = "silent"  # runs dry, and its meter falls silent during the notice time
    WRONG_DEVICE = "wrong_device"  # another device hangs there when the cut comes
    PAYS_LATE = "pays_late"  # pays while the disconnect is being sent
    UNSAFE = "unsafe"  # cut, found unsafe, paid: stays off


_CAST = (
    *[Part.RUNS_DRY] * 8,
    Part.PROTECTED,
    Part.ESTIMATED,
    Part.SILENT,
    Part.WRONG_DEVICE,
    Part.PAYS_LATE,
    Part.UNSAFE,
)
_OPENING_NANO = {Part.PAYS: AMPLE_NANO, Part.ESTIMATED: SOME_NANO}
_SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗"
_GIVEN = ("伟", "芳", "娜", "敏", "静", "强", "磊", "洋", "艳", "勇", "军", "杰", "娟", "涛", "明")
_STREETS = ("文二路", "学院路", "解放路", "中山路", "人民路", "建国路")


@dataclass(frozen=True, slots=True)
class Household:
    """One account at one usage point with one meter."""

    number: int
    part: Part
    account_no: str
    usage_point_no: str
    name: str
    phone: str
    address: str
    opening_nano: int
    meter: MeterSpec
    concentrator: ConcentratorSpec


def make_town(seed: int) -> tuple[FleetSpec, tuple[Household, ...]]:
    """Return the simulated fleet and the households that its meters serve."""
    fleet = make_fleet(seed, CONCENTRATORS, METERS)
    cast = _spread(METERS)
    groups = []
    households = []
    number = 0
    for group in fleet.concentrators:
        meters = []
        for spec in group.meters:
            part = cast[number]
            if part is Part.PAYS_LATE:
                spec = replace(spec, relay_delay_ms=RACE_RELAY_DELAY_MS)
            meters.append(spec)
            households.append(_household(seed, number, part, spec, group))
            number += 1
        groups.append(replace(group, meters=tuple(meters)))
    return replace(fleet, concentrators=tuple(groups)), tuple(households)


def _spread(count: int) -> list[Part]:
    """Spread the cast evenly, so that both concentrators have all kinds of households."""
    parts = [Part.PAYS] * count
    step = count / len(_CAST)
    for index, part in enumerate(_CAST):
        parts[int(index * step)] = part
    return parts


def _household(
    seed: int, number: int, part: Part, meter: MeterSpec, group: ConcentratorSpec
) -> Household:
    mixed = (seed * 7_919 + number * 104_729) % 1_000_003
    name = _SURNAMES[mixed % len(_SURNAMES)] + _GIVEN[mixed // 31 % len(_GIVEN)]
    street = _STREETS[mixed // 7 % len(_STREETS)]
    return Household(
        number=number,
        part=part,
        account_no=f"33010{number + 1:05}",
        usage_point_no=f"UP{number + 1:06}",
        name=name,
        phone=f"1000000{number + 1:04}",
        address=f"杭州市西湖区{street}{mixed % 200 + 1}号{number % 6 + 1}幢{number % 20 + 1}室",
        opening_nano=_OPENING_NANO.get(part, SCARCE_NANO),
        meter=meter,
        concentrator=group,
    )
