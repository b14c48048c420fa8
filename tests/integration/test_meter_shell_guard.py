"""Opening a contact from the shell: never that of an installed meter, elsewhere only with a reason.

Meters on this machine's other address stand for meters that are not on its loopback interface.
"""

from __future__ import annotations

import json
import stat
from decimal import Decimal
from pathlib import Path

import psycopg
import pytest

from headend.cli import meter_guard, meter_settings, meter_switching
from headend.cli.meter_tools import Tool
from headend.configuration import Settings, load_settings
from headend.domain.errors import BadInput, Conflict
from headend.domain.reading import MeterIdentity
from headend.domain.supply import ControlState, RelayReading
from headend.testing.inspection import FakeInspection, FakeInspector

CLOSED = RelayReading(True, ControlState.CONNECTED, 4)
OPENED = RelayReading(False, ControlState.DISCONNECTED, 4)
ENDPOINT = "fake+tcp://meter.example:4059?client=1&password=geheim&ek=00"


def install(url: str, *, name: str = "SIM42", serial: str = "42", ended: bool = False) -> None:
    """Put a meter into the registry that serves a usage point, or did."""
    with psycopg.connect(url) as connection:
        connection.execute(
            """
            with area as (insert into area (area_code, name) values ('A', 'A') returning area_id),
            ta as (insert into transformer_area (transformer_area_code, name, area_id)
                   select 'T', 'T', area_id from area returning transformer_area_id),
            up as (insert into usage_point (usage_point_no, transformer_area_id, address)
                   select 'UP1', transformer_area_id, 'x' from ta returning usage_point_id),
            l as (insert into link (endpoint) values ('dlms+tcp://x:1') returning link_id),
            m as (insert into meter (meter_no, link_id, link_address, model, logical_device_name,
                                     serial)
                  select 'M42', link_id, 1, 'generic', %s, %s from l returning meter_id)
            insert into meter_installation (meter_id, usage_point_id, valid_from, valid_to)
            select meter_id, usage_point_id, '2025-01-01+00',
                   case when %s then timestamptz '2025-02-01+00' end
            from m, up
            """,
            (name, serial, ended),
        )


@pytest.fixture
def meter() -> FakeInspection:
    return FakeInspection([CLOSED, OPENED], MeterIdentity("SIM42", "42"))


def settings(tmp_path: Path, database_url: str | None = None) -> Settings:
    overrides = {} if database_url is None else {"database_url": database_url}
    return load_settings(None, state_dir=tmp_path / "state", **overrides)


async def open_contact(
    meter: FakeInspection, found: Settings, *, local: bool, reason: str | None
) -> bool:
    tool = Tool(found, FakeInspector(meter, local=local), ENDPOINT)
    watched = await meter_switching._switch(tool, "open", reason, 1)
    return watched.arrived


@pytest.mark.parametrize("identity", [MeterIdentity("SIM42", ""), MeterIdentity("", "42")])
@pytest.mark.parametrize("local", [True, False])
async def test_an_installed_meter_is_never_opened(
    meter: FakeInspection, database_url: str, tmp_path: Path, identity: MeterIdentity, local: bool
) -> None:
    install(database_url)
    meter.identity = identity
    found = settings(tmp_path, database_url=database_url)
    with pytest.raises(Conflict, match="meter M42 serves usage point UP1"):
        await open_contact(meter, found, local=local, reason="commissioning")
    assert meter.commands == []


@pytest.mark.parametrize(
    "installed", [{"ended": True}, {"name": "SIM43", "serial": "43"}, {"name": "", "serial": ""}]
)
async def test_a_meter_that_serves_nobody_is_opened_and_audited(
    meter: FakeInspection, database_url: str, tmp_path: Path, installed: dict[str, object]
) -> None:
    install(database_url, **installed)  # type: ignore[arg-type]
    found = settings(tmp_path, database_url=database_url)
    assert await open_contact(meter, found, local=False, reason="new at the test bench")
    with psycopg.connect(database_url) as connection:
        events = connection.execute(
            "select actor, action, subject, detail from audit_event order by audit_id"
        ).fetchall()
    assert [(event[1], event[2], event[3]["outcome"]) for event in events] == [
        ("meter.commissioning_open", "meter:SIM42", "intended"),
        ("meter.commissioning_open", "meter:SIM42", "done"),
    ]
    assert events[0][0].startswith("shell:")
    assert events[0][3]["reason"] == "new at the test bench"
    assert "geheim" not in json.dumps(events[0][3])


async def test_elsewhere_a_reason_is_needed_before_anything_is_asked(
    meter: FakeInspection, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="--commissioning REASON"):
        await open_contact(meter, settings(tmp_path), local=False, reason=None)
    assert (meter.opened, meter.commands) == (0, [])


async def test_on_this_machine_no_reason_is_needed(meter: FakeInspection, tmp_path: Path) -> None:
    assert await open_contact(meter, settings(tmp_path), local=True, reason=None)
    assert not (tmp_path / "state").exists()


async def test_without_a_database_the_reason_is_kept_in_a_file(
    meter: FakeInspection, tmp_path: Path
) -> None:
    assert await open_contact(meter, settings(tmp_path), local=False, reason="bench 3")
    path = tmp_path / "state" / meter_guard.RECORD_FILE
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["reason"], line["outcome"]) for line in lines] == [
        ("bench 3", "intended"), ("bench 3", "done"),
    ]  # fmt: skip
    assert lines[0]["endpoint"] == "fake+tcp://meter.example:4059?client=1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_database_that_does_not_answer_forbids_opening_elsewhere(
    meter: FakeInspection, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = settings(tmp_path, database_url="postgresql://u:p@127.0.0.1:1/none")
    with pytest.raises(BadInput, match="refused: the database cannot be asked"):
        await open_contact(meter, found, local=False, reason="bench")
    assert meter.commands == []
    meter.seen = [CLOSED, OPENED]
    assert await open_contact(meter, found, local=True, reason=None)
    assert "the database cannot be asked" in capsys.readouterr().err


async def test_a_meter_without_a_name_is_not_opened_where_installed_ones_are_known(
    meter: FakeInspection, database_url: str, tmp_path: Path
) -> None:
    meter.identity = MeterIdentity("", "")
    found = settings(tmp_path, database_url=database_url)
    with pytest.raises(BadInput, match="neither name nor serial"):
        await open_contact(meter, found, local=False, reason="bench")
    assert meter.commands == []


async def test_a_database_without_our_tables_cannot_be_asked(
    meter: FakeInspection, empty_database_url: str, tmp_path: Path
) -> None:
    found = settings(tmp_path, database_url=empty_database_url)
    with pytest.raises(BadInput, match="the database cannot be asked"):
        await open_contact(meter, found, local=False, reason="bench")
    assert meter.commands == []


@pytest.mark.parametrize("local", [True, False])
async def test_limits_are_as_guarded_as_the_contact(
    meter: FakeInspection, database_url: str, tmp_path: Path, local: bool
) -> None:
    install(database_url)
    inspector = FakeInspector(meter, local=local)
    tool = Tool(settings(tmp_path, database_url=database_url), inspector, ENDPOINT)
    with pytest.raises(Conflict, match="switch it by a supply order"):
        await meter_settings._set_limits(tool, {"power": Decimal(0)}, None, "bench")
    assert meter.limits == {}
    free = Tool(settings(tmp_path), inspector, ENDPOINT)
    if not local:
        with pytest.raises(BadInput, match="a limit may switch somebody's supply off"):
            await meter_settings._set_limits(free, {"power": Decimal(1)}, None, None)
        assert meter.limits == {}
    (held,) = await meter_settings._set_limits(free, {"power": Decimal(6600)}, 60, "bench")
    assert (held.value, held.over_s) == (6600, 60)


async def test_closing_is_free(meter: FakeInspection, database_url: str, tmp_path: Path) -> None:
    install(database_url)
    meter.seen = [OPENED, CLOSED]
    tool = Tool(
        settings(tmp_path, database_url=database_url), FakeInspector(meter, local=False), ENDPOINT
    )
    assert (await meter_switching._switch(tool, "close", None, 1)).arrived
