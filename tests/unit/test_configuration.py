"""The configuration: where values come from, and what is said of a wrong one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from headend.configuration import (
    GovernorLimits,
    Settings,
    is_loopback,
    load_settings,
    prepare_state_dir,
)
from headend.domain.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "headend.toml") -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def refusal(file: Path | None = None, **overrides: object) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(file, **overrides)
    return str(caught.value)


def test_the_defaults_are_a_loopback_demo_on_the_embedded_database() -> None:
    settings = load_settings()
    assert settings.database_url is None
    assert (settings.api_host, settings.api_port) == ("127.0.0.1", 8080)
    assert settings.state_dir.name == ".state"
    assert settings.floors.notice_time_of("residential") == timedelta(days=7)


def test_options_win_over_variables_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write('api_port = 1001\nlog_level = "warning"\nstatement_timeout_s = 5\n')
    monkeypatch.setenv("HEADEND_API_PORT", "1002")
    monkeypatch.setenv("HEADEND_LOG_LEVEL", "debug")
    settings = load_settings(log_level="error")
    assert (settings.api_port, settings.log_level) == (1002, "error")
    assert settings.statement_timeout_s == 5


def test_tables_of_limits_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    write("[floors]\nnotice_days = {residential = 10}\n[governor]\nper_hour = 5\n")
    monkeypatch.setenv("HEADEND_GOVERNOR__PER_AREA_HOUR", "3")
    settings = load_settings()
    assert settings.floors.notice_time_of("residential") == timedelta(days=10)
    assert (settings.governor.per_hour, settings.governor.per_area_hour) == (5, 3)


def test_floors_may_come_from_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADEND_FLOORS", '{"data_age_hours": 12}')
    assert load_settings().floors.maximum_data_age == timedelta(hours=12)


def test_a_named_file_is_used_and_its_paths_are_relative_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path("etc").mkdir()
    write('state_dir = "../var"\n', "etc/mine.toml")
    monkeypatch.setenv("HEADEND_CONFIG", "etc/mine.toml")
    assert load_settings().state_dir.resolve() == Path("var").resolve()


def test_secrets_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADEND_API_KEY", "dev-key-12345")
    monkeypatch.setenv("HEADEND_DATABASE_URL", "postgresql://u:hush-hush@db/n")
    settings = load_settings()
    assert "12345" not in repr(settings)
    assert "hush" not in repr(settings)
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "dev-key-12345"


def test_an_empty_variable_is_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADEND_DATABASE_URL", "")
    assert load_settings().database_url is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("api_prot = 1\n", ["headend.toml", "api_prot", "did you mean api_port?"]),
        ("api_port = 99999\n", ["headend.toml", "api_port", "65535"]),
        ('api_port = "many"\n', ["headend.toml", "api_port", "integer"]),
        ("[governor]\nper_our = 1\n", ["headend.toml", "governor.per_our", "per_hour?"]),
        ("[floors]\nnotice = 1\n", ["headend.toml", "floors", "'notice'", "notice_days"]),
        ("floors = 3\n", ["floors", "table"]),
        ("api_port = \n", ["headend.toml", "not TOML", "line 1"]),
        ('log_level = "loud"\n', ["log_level", "'debug'"]),
        ('database_url = "mysql://u@h/n"\n', ["postgresql://user:password@host:5432/name"]),
        ('api_key = "short"\n', ["api_key", "8 characters"]),
    ],
)
def test_a_wrong_file_is_named_with_key_and_way_out(text: str, parts: list[str]) -> None:
    write(text)
    message = refusal()
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_wrong_value_of_a_secret_is_not_repeated() -> None:
    write('database_url = "postgres:hush-hush"\n')
    assert "hush" not in refusal()


def test_a_mistyped_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADEND_DATABASE_UR", "postgresql://u@h/n")
    assert "did you mean HEADEND_DATABASE_URL?" in refusal()


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    write("api_port = 1\n")
    monkeypatch.setenv("HEADEND_API_PORT", "many")
    assert "variable HEADEND_API_PORT" in refusal()


def test_a_variable_that_is_not_json_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADEND_FLOORS", "{")
    assert "floors" in refusal()


def test_a_wrong_option_is_said_to_be_one() -> None:
    assert "command line has a wrong api_port" in refusal(api_port=0)


def test_a_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "absent.toml" in refusal(Path("absent.toml"))
    monkeypatch.setenv("HEADEND_CONFIG", "other.toml")
    assert "other.toml (HEADEND_CONFIG)" in refusal()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "meter.example"])
def test_no_listener_beyond_loopback_without_a_key(host: str) -> None:
    message = refusal(api_host=host)
    assert host in message
    assert "api_key" in message
    assert load_settings(api_host=host, api_key="dev-key-12345").api_host == host


def test_one_key_encryption_key_only() -> None:
    assert "not both" in refusal(key_encryption_key="00" * 32, key_encryption_key_file="kek")


@pytest.mark.parametrize(
    ("name", "local"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("::", False)]
)
def test_loopback(name: str, local: bool) -> None:
    assert is_loopback(name) is local


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.api_port = 1
    assert isinstance(settings, Settings)


def test_the_state_folder_is_closed_to_others(tmp_path: Path) -> None:
    folder = prepare_state_dir(tmp_path / "a" / "state")
    assert folder.stat().st_mode & 0o066 == 0


def test_the_documentation_names_every_setting() -> None:
    text = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name in Settings.model_fields:
        assert f"HEADEND_{name.upper()}" in text, name
    for name in GovernorLimits.model_fields:
        assert f"HEADEND_GOVERNOR__{name.upper()}" in text, name
