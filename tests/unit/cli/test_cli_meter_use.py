"""Wrong use of ``headend meter`` is one sentence and exit code 2, before any meter is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from headend.cli import main

HEX = "00" * 16
NOWHERE = f"dlms+tcp://192.0.2.1:4059?client=1&auth=gmac&ek={HEX}&ak={HEX}"
ENERGY = "1.0.1.8.0.255"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEADEND_STATE_DIR", str(tmp_path / "state"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["read", "192.0.2.1:4059", ENERGY], "is not served, only dlms+..."),
        (["read", "meter", ENERGY], "an endpoint without a scheme is not served"),
        (["read", "modbus+tcp://192.0.2.1?unit=3", ENERGY], "scheme 'modbus+tcp' is not served"),
        (["read", "dlms+ftp://192.0.2.1", ENERGY], "scheme 'dlms+ftp' is none of dlms+tcp"),
        (["read", "dlms+tcp://192.0.2.1?clinet=1", ENERGY], "has no parameter 'clinet'"),
        (["read", "dlms+tcp://192.0.2.1?auth=gmac", ENERGY], "auth=gmac needs ek="),
        (["read", "dlms+tcp://192.0.2.1?auth=lls", ENERGY], "auth=lls needs password="),
        (["read", NOWHERE.replace(f"ek={HEX}", "ek=12"), ENERGY], "ek has 1 octets, not 16"),
        (["read", NOWHERE, ENERGY, "1.0.1.8"], "'1.0.1.8' is not an OBIS code"),
        (["profile", NOWHERE, "99.1"], "'99.1' is not an OBIS code"),
        (["relay", NOWHERE, "get", "--control", "x"], "'x' is not an OBIS code"),
        (["read", NOWHERE], "Missing argument 'OBIS...'"),
        (["relay", NOWHERE], "Missing argument"),
        (["relay", NOWHERE, "toggle"], "'toggle' is not one of 'get', 'open', 'close'"),
        (["relay", NOWHERE, "open"], "it needs --commissioning REASON"),
        (["relay", NOWHERE, "open", "--commissioning", " "], "--commissioning needs a reason"),
        (["clock", NOWHERE, "get", "--force"], "go with set"),
        (["clock", NOWHERE, "set", "--to", "soon"], "--to 'soon' is not a time"),
        (["profile", NOWHERE, "1.0.99.1.0.255", "--from", "x"], "--from 'x' is not a time"),
        (
            ["profile", NOWHERE, "1.0.99.1.0.255", "--from", "2026-03-02", "--to", "2026-03-01"],
            "--to 2026-03-01 lies before --from 2026-03-02",
        ),
        (["profile", NOWHERE, "1.0.99.1.0.255", "--last", "0"], "Invalid value for '--last'"),
        (["limits", NOWHERE, "--power", "6600"], "it needs --commissioning REASON"),
        (["limits", NOWHERE, "--power", "lots"], "--power 'lots' is no number"),
        (["limits", NOWHERE, "--after", "5"], "--after goes with --power"),
        (["events", NOWHERE, "--keys", "none.toml"], "--keys: cannot read none.toml"),
        (["identify", NOWHERE, "--zone", "Nowhere/Land"], "is no time zone"),
        (["identify", f"{NOWHERE}&model=none"], "no meter model 'none'"),
    ],
)
def test_wrong_use(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["meter", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("headend: ")
    assert told in output.err
    assert output.err.count("\n") == 1
    assert HEX not in output.err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    "command",
    ["identify", "read", "profile", "relay", "clock", "events", "limits", "push", "decode"],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meter", command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: headend meter {command} ")
