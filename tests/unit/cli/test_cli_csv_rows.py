"""CSV files become records with their types, and faults keep their line."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from headend.cli.csv_rows import (
    account_sections,
    concentrator_sections,
    installation_sections,
    key_sections,
    meter_sections,
    read_csv,
    usage_point_sections,
)
from headend.domain.errors import BadInput
from headend.ports.registry import (
    NewAccount,
    NewArea,
    NewConcentrator,
    NewInstallation,
    NewOccupancy,
    NewTransformerArea,
    NewUsagePoint,
    RowProblem,
)

METER = "meter_no,endpoint,link_address,model,logical_device_name,serial"


def write(folder: Path, text: str, *, encoding: str = "utf-8") -> Path:
    path = folder / "rows.csv"
    path.write_text(text, encoding=encoding)
    return path


def test_columns_may_stand_in_any_order_and_values_have_spaces(tmp_path: Path) -> None:
    content = read_csv(write(tmp_path, " endpoint ,concentrator_no\n dlms+tcp://h:1 , DC1\n"))
    assert concentrator_sections(content) == {
        "concentrators": [NewConcentrator("DC1", "dlms+tcp://h:1")]
    }


def test_a_spreadsheet_s_byte_order_mark_and_quotes_are_read(tmp_path: Path) -> None:
    text = 'concentrator_no,endpoint\n"DC,1","dlms+tcp://h:1"\n'
    content = read_csv(write(tmp_path, text, encoding="utf-8-sig"))
    assert concentrator_sections(content)["concentrators"][0].concentrator_no == "DC,1"


def test_usage_points_bring_their_areas_once(tmp_path: Path) -> None:
    text = (
        "usage_point_no,transformer_area_code,transformer_area_name,area_code,area_name,address\n"
        "UP1,TA1,一号台区,33,西湖,文二路 1 号\n"
        "UP2,TA1,一号台区,33,西湖,文二路 2 号\n"
    )
    sections = usage_point_sections(read_csv(write(tmp_path, text)))
    assert sections["areas"] == [NewArea("33", "西湖")]
    assert sections["transformer_areas"] == [NewTransformerArea("TA1", "一号台区", "33")]
    assert sections["usage_points"] == [
        NewUsagePoint("UP1", "TA1", "文二路 1 号"),
        NewUsagePoint("UP2", "TA1", "文二路 2 号"),
    ]


def test_half_of_the_area_columns_are_refused(tmp_path: Path) -> None:
    text = "usage_point_no,transformer_area_code,address,area_code\nUP1,TA1,x,33\n"
    with pytest.raises(BadInput, match="belong together: give all or none"):
        usage_point_sections(read_csv(write(tmp_path, text)))


def test_numbers_and_flags_have_their_types(tmp_path: Path) -> None:
    text = f"{METER},remote_close,maximum_current_a\nM1,dlms+tcp://h:1,7,sim,LDN,S,no,60\n"
    meter = meter_sections(read_csv(write(tmp_path, text)))["meters"][0]
    assert (meter.link_address, meter.remote_close, meter.maximum_current_a) == (7, False, 60)
    assert meter.closes_directly is True


def test_a_system_title_is_hex(tmp_path: Path) -> None:
    text = METER + ",system_title\nM1,dlms+tcp://h:1,7,sim,LDN,S,{}\n"
    meter = meter_sections(read_csv(write(tmp_path, text.format("4d4d4d0000bc614e"))))["meters"][0]
    assert meter.system_title == b"MMM\x00\x00\xbcaN"
    with pytest.raises(BadInput, match="line 2: system_title: 'MMM1' is not octets as hex"):
        meter_sections(read_csv(write(tmp_path, text.format("MMM1"))))


def test_an_empty_optional_value_is_no_value(tmp_path: Path) -> None:
    text = (
        "meter_no,usage_point_no,valid_from,link_confirmed_at,multiplier\n"
        "M1,UP1,2026-03-05T00:00:00+08:00,,\n"
    )
    sections = installation_sections(read_csv(write(tmp_path, text)))
    assert sections["installations"] == [
        NewInstallation("M1", "UP1", valid_from=datetime(2026, 3, 4, 16, tzinfo=UTC))
    ]


def test_accounts_may_say_where_they_are(tmp_path: Path) -> None:
    text = (
        "account_no,name,tariff_code,created_at,usage_point_no,occupied_from\n"
        "330100001,王伟,T1,2026-03-05T00:00:00+08:00,UP1,2026-03-05\n"
    )
    sections = account_sections(read_csv(write(tmp_path, text)))
    created_at = datetime(2026, 3, 4, 16, tzinfo=UTC)
    assert sections["accounts"] == [NewAccount("330100001", "王伟", "T1", created_at)]
    assert sections["occupancies"] == [NewOccupancy("330100001", "UP1", date(2026, 3, 5))]


def test_keys_are_hex_and_passwords_are_text(tmp_path: Path) -> None:
    text = f"meter_no,kind,key\nM1,encryption,{'0a' * 16}\nM1,password,12345678\n"
    keys = key_sections(read_csv(write(tmp_path, text)))["meter_keys"]
    assert [key.key for key in keys] == [b"\x0a" * 16, b"12345678"]


def test_a_mistyped_key_is_not_shown(tmp_path: Path) -> None:
    content = read_csv(write(tmp_path, "meter_no,kind,key\nM1,encryption,secret-zz\n"))
    with pytest.raises(BadInput, match="line 2: key: it is not hex") as caught:
        key_sections(content)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no rows"),
        ("meter_no\n", "has no rows"),
        (f"{METER},colour\na,b,1,d,e,f,g\n", "unknown column 'colour'"),
        (f"{METER},serail\na,b,1,d,e,f,g\n", "unknown column 'serail': did you mean serial?"),
        (f"{METER},serial\na,b,1,d,e,f,g\n", "the column serial stands there twice"),
        ("meter_no\nM1\n", "the column endpoint is missing"),
        (f"{METER}\nM1,e,one,m,l,s\n", "line 2: link_address: 'one' is not a whole number"),
        (f"{METER}\nM1,e,1,m,l,\n", "line 2: serial: it is empty"),
        (f"{METER}\nM1,e,1,m,l,s\nM2,e,1\n", "line 3: line: it does not have 6 values"),
        (f"{METER}\nM1,e,1,m,l,s,more\n", "line 2: line: it does not have 6 values"),
        (f"{METER},remote_close\nM1,e,1,m,l,s,perhaps\n", "'perhaps' is not true or false"),
        (f'{METER}\nM1,"e\n', "is not CSV in UTF-8"),
    ],
)
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told.replace("?", r"\?")):
        meter_sections(read_csv(write(tmp_path, text)))


def test_an_instant_needs_its_offset(tmp_path: Path) -> None:
    text = "meter_no,usage_point_no,valid_from\nM1,UP1,2026-03-05T00:00:00\n"
    with pytest.raises(BadInput, match=r"line 2: valid_from: .* with its offset"):
        installation_sections(read_csv(write(tmp_path, text)))


def test_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not CSV in UTF-8"):
        read_csv(write(tmp_path, "concentrator_no,endpoint\n一号,e\n", encoding="gb18030"))


def test_storing_s_problems_are_told_by_line(tmp_path: Path) -> None:
    """Rows count from 0, lines from 1 with the header, and quoted values span lines."""
    text = 'concentrator_no,endpoint\n"DC\n1",e\nDC2,e\n'
    content = read_csv(write(tmp_path, text))
    problems = {"concentrators": [RowProblem(n, "endpoint", "is taken") for n in (0, 1)]}
    told = str(content.explain(problems))
    assert "nothing was imported; line 3: endpoint: is taken; line 4: endpoint: is taken" in told


def test_many_problems_are_counted(tmp_path: Path) -> None:
    rows = "".join(f"DC{n},e\n" for n in range(9))
    content = read_csv(write(tmp_path, f"concentrator_no,endpoint\n{rows}"))
    problems = {"concentrators": [RowProblem(n, "endpoint", "is taken") for n in range(9)]}
    assert str(content.explain(problems)).endswith("(and 4 more)")
