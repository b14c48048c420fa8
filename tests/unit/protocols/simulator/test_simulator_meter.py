"""The meter's truth: registers and rows reconcile, and an open contact really stops the load."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.simulator.business_time import US_PER_S, BusinessClock
from protocols.simulator.contact import Contact
from protocols.simulator.load import HouseholdLoad
from protocols.simulator.meter import Meter

STEP_S = 900
START_S = 1_741_536_000 + 5 * 3600


class Site:
    """A meter with a clock that stands where it is put."""

    def __init__(self, *, seed: int = 11, initial_wh: int = 1_000, scale: float = 1.0) -> None:
        self.us = START_S * US_PER_S
        self.clock = BusinessClock(real_us=lambda: self.us)
        self.contact = Contact(self.clock, relay_delay_ms=0)
        self.load = HouseholdLoad(seed, scale)
        self.meter = Meter(
            self.clock, self.contact, self.load, initial_wh=initial_wh, commissioned_s=START_S
        )

    def switch(self, closed: bool) -> None:
        if closed:
            self.contact.remote_reconnect()
        else:
            self.contact.remote_disconnect()

    def energy_wh(self, start_s: int) -> int:
        return int(self.load.energy_wh(np.asarray([start_s], dtype=np.int64))[0])


def test_the_register_starts_at_its_initial_reading() -> None:
    site = Site(initial_wh=123_456)
    assert site.meter.register_wh() == 123_456
    assert site.meter.rows(START_S - 86_400, START_S).start_s.size == 0


def test_register_is_initial_plus_the_sum_of_the_intervals() -> None:
    site = Site()
    for days in (0.25, 1, 3, 40):
        site.us = (START_S + int(days * 86_400)) * US_PER_S
        rows = site.meter.rows(START_S, START_S + 100 * 86_400)
        assert rows.start_s.size == int(days * 96)
        assert site.meter.register_wh() == 1_000 + int(rows.energy_wh.sum())
        assert rows.energy_wh[0] == site.energy_wh(START_S)


def test_a_part_of_an_interval_counts_by_time() -> None:
    site = Site()
    whole = site.energy_wh(START_S)
    site.us += 300 * US_PER_S
    assert site.meter.register_wh() == 1_000 + whole * 300 // STEP_S
    assert site.meter.rows(START_S, START_S + STEP_S).start_s.size == 0


def test_an_interval_belongs_to_the_range_that_contains_its_start() -> None:
    site = Site()
    site.us += 86_400 * US_PER_S
    rows = site.meter.rows(START_S + 1, START_S + 2 * STEP_S)
    assert rows.start_s.tolist() == [START_S + STEP_S]


def test_power_is_the_mean_of_the_interval_and_zero_when_open() -> None:
    site = Site()
    assert site.meter.power_w() == site.energy_wh(START_S) * 4
    site.switch(closed=False)
    assert site.meter.power_w() == 0


def test_an_open_contact_stops_the_register() -> None:
    site = Site()
    site.us += 450 * US_PER_S
    site.switch(closed=False)
    stopped = site.meter.register_wh()
    for days in (1, 2, 30):
        site.us = (START_S + days * 86_400) * US_PER_S
        assert site.meter.register_wh() == stopped
    rows = site.meter.rows(START_S, START_S + 86_400)
    assert rows.energy_wh[0] == stopped - 1_000
    assert rows.energy_wh[1:].sum() == 0
    assert rows.start_s.size == 96


def test_the_past_can_still_be_asked_after_the_register_moved_on() -> None:
    site = Site()
    site.us += 2 * 86_400 * US_PER_S
    early_us = site.us
    early_wh = site.meter.register_wh()
    site.us += 5 * 86_400 * US_PER_S
    site.switch(closed=False)
    assert site.meter.register_wh() > early_wh
    assert site.meter.register_wh_at(early_us) == early_wh


def test_the_cache_of_days_changes_no_value() -> None:
    patient, hasty = Site(), Site()
    for _ in range(12):
        patient.us += 86_400 * US_PER_S
        patient.meter.register_wh()
        patient.meter.rows(START_S, START_S + 3 * 86_400)
    hasty.us = patient.us
    assert hasty.meter.register_wh() == patient.meter.register_wh()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1_000),
    waits_s=st.lists(st.floats(0.001, 30_000), min_size=1, max_size=12),
    first=st.booleans(),
)
def test_energy_passes_only_while_the_contact_is_closed(
    seed: int, waits_s: list[float], first: bool
) -> None:
    """Against a plain loop over every interval and every closed span."""
    site = Site(seed=seed)
    closed = True
    closed_spans: list[tuple[int, int]] = []
    registers = [site.meter.register_wh()]
    for index, wait_s in enumerate(waits_s):
        wanted = (index % 2 == 0) is first
        site.switch(wanted)
        closed = wanted
        begin_us = site.us
        site.us += round(wait_s * US_PER_S)
        if closed:
            closed_spans.append((begin_us, site.us))
        registers.append(site.meter.register_wh())
        if not closed:
            assert registers[-1] == registers[-2]
    assert registers == sorted(registers)

    expected, rows = 0, {}
    for start_s in range(START_S, site.us // US_PER_S + 1, STEP_S):
        low, high = start_s * US_PER_S, (start_s + STEP_S) * US_PER_S
        inside_us = sum(max(0, min(end, high) - max(begin, low)) for begin, end in closed_spans)
        got = site.energy_wh(start_s) * inside_us // (STEP_S * US_PER_S)
        expected += got
        if high <= site.us:
            rows[start_s] = got
    assert site.meter.register_wh() == 1_000 + expected
    served = site.meter.rows(START_S, START_S + 10**7)
    assert dict(zip(served.start_s.tolist(), served.energy_wh.tolist(), strict=True)) == rows
