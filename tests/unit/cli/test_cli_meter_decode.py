"""``headend meter decode``: what people and programs are shown, and what failure is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headend.cli import main

FOLDER = Path(__file__).parents[2] / "vectors" / "dlms_push"
CIPHERED = FOLDER / "hdlc_kamstrup_omnipower.log"
KEY, AUTH_KEY = CIPHERED.with_suffix(".key"), CIPHERED.with_suffix(".gak")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_json_of_a_push(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meter", "decode", str(FOLDER / "hdlc_norway_han_1phase.log"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["obis"]["1.0.1.7.0.255"] == 1362
    assert document["time"] is None
    assert document["meter_id"] == "7359992890941742"
    assert document["values"][-1]["unit"] == "V"


@pytest.mark.parametrize("in_files", [True, False])
def test_keys_in_hex_or_in_files(in_files: bool, capsys: pytest.CaptureFixture[str]) -> None:
    key, auth_key = (
        str(file) if in_files else file.read_text().strip() for file in (KEY, AUTH_KEY)
    )
    arguments = ["meter", "decode", str(CIPHERED), "--key", key, "--auth-key", auth_key]
    assert main([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["obis"]["1.1.1.8.0.255"] == 6307498
    assert document["time"] == "2026-03-12T15:24:30"
    assert document["security"]["tag_checked"] is True


def test_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meter", "decode", str(FOLDER / "hdlc_iskra550.log")]) == 0
    told = capsys.readouterr()
    assert "1.0.32.7.0.255" in told.out
    assert "236.4" in told.out
    assert "2023-04-01T21:32:35+02:00" in told.out
    assert told.err == ""


def test_binary_file_is_taken_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "capture.bin"
    file.write_bytes(bytes.fromhex((FOLDER / "raw_sagecom_xt211.log").read_text()))
    assert main(["meter", "decode", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["relay"] == {"control_state": "connected"}


def test_warnings_go_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    octets = bytearray.fromhex((FOLDER / "hdlc_kaifa_ma304h3e.log").read_text())
    octets[-3] ^= 0xFF
    file = tmp_path / "altered.bin"
    file.write_bytes(octets)
    assert main(["meter", "decode", str(file), "--json"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["warnings"] == [
        "frame 1 at octet 0 has a wrong check sum: its values may be wrong"
    ]
    assert main(["meter", "decode", str(file), "--strict"]) == 1
    assert "frame 1 at octet 0: wrong check sequence" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([str(CIPHERED)], "ciphered by system title 4B414D4501349083"),
        ([str(CIPHERED), "--key", "00" * 16], "deciphering gives no APDU"),
        ([str(CIPHERED), "--key", str(KEY), "--auth-key", "00" * 16], "the authentication key is"),
    ],
)
def test_what_cannot_be_decoded_is_exit_code_1(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["meter", "decode", *arguments]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert told in output.err
    assert output.err.count("\n") == 1


def test_cut_frame_names_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cut.hex"
    file.write_text((FOLDER / "hdlc_iskra550.log").read_text()[:-30])
    assert main(["meter", "decode", str(file)]) == 1
    assert "frame 3 at octet 332" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing argument 'FILE'"),
        (["none.hex"], "cannot read none.hex: No such file"),
        ([str(CIPHERED), "--key", "0011"], "--key is neither 32 or 64 hex digits nor a file"),
        ([str(CIPHERED), "--auth-key", "00" * 16], "--auth-key without --key"),
        ([str(CIPHERED), "--key", str(CIPHERED)], "--key: the file does not hold 32 or 64 hex"),
        ([str(CIPHERED), "--key", "00" * 16, "--system-title", "12"], "--system-title is neither"),
    ],
)
def test_wrong_use_is_exit_code_2(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["meter", "decode", *arguments]) == 2
    output = capsys.readouterr()
    assert told in output.err
    assert output.err.count("\n") == 1


def test_keys_never_show(capsys: pytest.CaptureFixture[str]) -> None:
    key, auth_key = KEY.read_text().strip(), AUTH_KEY.read_text().strip()
    for wrong in (key, auth_key, key[:-2]):
        main(["meter", "decode", str(CIPHERED), "--key", wrong, "--auth-key", auth_key])
        output = capsys.readouterr()
        for secret in (key, auth_key):
            assert secret.lower() not in (output.out + output.err).lower()
