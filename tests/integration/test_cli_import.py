"""Imports through the shell: whole files or nothing, and every fault with its line."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog

from headend.cli import main

TARIFF = Path(__file__).parents[2] / "headend" / "demo" / "tariff.json"
SINCE = "2026-03-05T00:00:00+08:00"
FILES = {
    "usage-points": (
        "usage_point_no,transformer_area_code,transformer_area_name,area_code,area_name,address\n"
        "UP1,TA1,一号台区,33,西湖,文二路 1 号\nUP2,TA1,一号台区,33,西湖,文二路 2 号\n"
    ),
    "concentrators": "concentrator_no,endpoint\nDC1,dlms+tcp://127.0.0.1:4059\n",
    "meters": (
        "meter_no,endpoint,link_address,model,logical_device_name,serial,concentrator_no\n"
        "M1,dlms+tcp://127.0.0.1:4059,1,sim-single-phase,SIM0000000000001,M1,DC1\n"
        "M2,dlms+tcp://127.0.0.1:4059,2,sim-single-phase,SIM0000000000002,M2,DC1\n"
    ),
    "installations": (f"meter_no,usage_point_no,valid_from\nM1,UP1,{SINCE}\nM2,UP2,{SINCE}\n"),
    "accounts": (
        "account_no,name,tariff_code,created_at,usage_point_no,occupied_from\n"
        f"330100001,王伟,demo-residential,{SINCE},UP1,2026-03-05\n"
        f"330100002,李芳,demo-residential,{SINCE},UP2,2026-03-05\n"
    ),
    "keys": (f"meter_no,kind,key\nM1,encryption,{'0a' * 16}\nM1,authentication,{'0c' * 16}\n"),
}


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADEND_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("HEADEND_KEY_ENCRYPTION_KEY", "0b" * 32)
    monkeypatch.setenv("HEADEND_DATABASE_URL", database_url)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def put(kind: str, text: str | None = None) -> int:
    """Import one file of a kind."""
    path = Path(f"{kind}.csv")
    path.write_text(FILES[kind] if text is None else text, encoding="utf-8")
    return main(["import", kind, str(path)])


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else 0


def test_a_district_comes_in_file_by_file_and_again_without_change(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import", "tariffs", str(TARIFF)]) == 0
    assert capsys.readouterr().out == "imported 1 tariff: demo-residential\n"
    for kind in FILES:
        assert put(kind) == 0
    told = capsys.readouterr().out
    assert "usage points: 2 imported\n" in told
    assert "occupancies: 2 imported\n" in told
    assert (count(database_url, "occupancy"), count(database_url, "meter_key")) == (2, 2)

    assert put("meters") == 0
    assert capsys.readouterr().out == "meters: 0 imported, 2 were there already\n"
    with psycopg.connect(database_url) as connection:
        stored = connection.execute("SELECT wrapped_key FROM meter_key").fetchall()
    assert all(bytes.fromhex("0a" * 16) not in row[0] for row in stored)

    assert main(["doctor"]) == 0
    assert "2 are stored; the key-encryption key" in capsys.readouterr().out


@pytest.mark.slow
def test_collecting_from_meters_that_are_all_away_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["import", "tariffs", str(TARIFF)]) == 0
    for kind, text in FILES.items():
        assert put(kind, text.replace("127.0.0.1:4059", "127.0.0.1:1")) == 0
    capsys.readouterr()
    assert main(["collect", "--json"]) == 1
    collected = json.loads(capsys.readouterr().out)
    assert (collected["concentrators"], collected["meters"], collected["heard"]) == (1, 2, 0)
    assert set(collected["causes"]) == {"no_route"}


def test_an_unknown_tariff_refuses_the_whole_file(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert put("usage-points") == 0
    assert main(["import", "tariffs", str(TARIFF)]) == 0
    capsys.readouterr()
    assert put("accounts", FILES["accounts"].replace("芳,demo-residential", "芳,no-such")) == 2
    error = capsys.readouterr().err
    assert "nothing was imported; line 3: tariff_code" in error
    assert "no-such" in error
    assert count(database_url, "account") == 0


def test_a_wrong_value_is_told_with_its_line_before_anything_is_opened(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert put("meters", FILES["meters"].replace(",2,sim", ",two,sim")) == 2
    assert "line 3: link_address: 'two' is not a whole number" in capsys.readouterr().err


def test_several_tariffs_come_in_together_or_not_at_all(
    database_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    document = json.loads(TARIFF.read_text(encoding="utf-8"))
    file = tmp_path / "tariffs.json"
    file.write_text(json.dumps([document, {"code": "half"}]), encoding="utf-8")
    assert main(["import", "tariffs", str(file)]) == 2
    assert capsys.readouterr().err.startswith("headend: ")
    assert count(database_url, "tariff") == 0
    other = {**document, "code": "second"}
    file.write_text(json.dumps([document, other]), encoding="utf-8")
    assert main(["import", "tariffs", str(file)]) == 0
    assert capsys.readouterr().out == "imported 2 tariffs: demo-residential, second\n"


@pytest.mark.parametrize(
    ("content", "told"), [("{", "is not JSON"), ("[]", "holds no tariff"), ("[1]", "holds no")]
)
def test_a_file_without_tariffs_is_refused(
    content: str, told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "tariffs.json").write_text(content)
    assert main(["import", "tariffs", "tariffs.json"]) == 2
    assert told in capsys.readouterr().err
