"""What is delivered: packages, locks, commands, licence, containers and the set-up script."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOP_LEVEL = ("api", "headend", "prepaid", "protocols", "rules")
TEST_PEERS = ("dlms-cosem", "gurux-dlms", "zen-engine")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins(name: str) -> dict[str, str]:
    """Package to version of one lock file."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, flags=re.MULTILINE))


def normalized(requirement: str) -> str:
    name = re.split(r"[\[<>=!~; ]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", TOP_LEVEL)
def test_nobody_else_provides_our_packages(name: str) -> None:
    providers = set(importlib.metadata.packages_distributions().get(name, []))
    assert providers <= {"ami-headend"}
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(ROOT)


def test_every_package_is_listed(project: dict[str, Any]) -> None:
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for top in TOP_LEVEL
        for path in (ROOT / top).rglob("*.py")
    }
    assert set(project["tool"]["setuptools"]["packages"]) == found


def test_every_data_file_is_delivered(project: dict[str, Any]) -> None:
    patterns = project["tool"]["setuptools"]["package-data"]
    delivered = {
        path
        for package, globs in patterns.items()
        for glob in globs
        for path in (ROOT / package.replace(".", "/")).glob(glob)
    }
    present = {
        path
        for top in TOP_LEVEL
        for path in (ROOT / top).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert present - delivered == set()


@pytest.mark.parametrize("name", ["runtime", "test"])
def test_locks_are_hashed_and_name_no_index(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    assert "index-url" not in text
    assert "find-links" not in text
    assert "://" not in text
    blocks = re.split(r"\n(?=\S)", text.strip())
    assert blocks
    for block in blocks:
        assert re.match(r"[A-Za-z0-9._-]+==\S+( ; [^\n]+)? \\\n", block), block.splitlines()[0]
        assert "--hash=sha256:" in block


def test_locks_hold_every_declared_dependency(project: dict[str, Any]) -> None:
    runtime = {normalized(name) for name in pins("runtime")}
    declared = {normalized(text) for text in project["project"]["dependencies"]}
    assert declared <= runtime
    test = {normalized(name) for name in pins("test")}
    extra = project["project"]["optional-dependencies"]["test"]
    assert {normalized(text) for text in extra} <= test


def test_the_test_lock_holds_the_runtime_lock() -> None:
    assert pins("runtime").items() <= pins("test").items()


def test_test_peers_are_not_in_the_runtime_lock() -> None:
    assert not set(TEST_PEERS) & {normalized(name) for name in pins("runtime")}


def test_the_command_is_installed() -> None:
    command = Path(sys.executable).parent / "headend"
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "demo" in done.stdout


def test_the_licence_is_apache(project: dict[str, Any]) -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert project["project"]["license"] == "Apache-2.0"


@pytest.mark.parametrize("name", ["run", "test", ".ci/run"])
def test_scripts_can_be_executed(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)
    subprocess.run(["bash", "-n", ROOT / name], check=True)


# The set-up script, on a copy of its inputs: no network and no real environment.


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "a checkout"
    (root / ".venv" / "bin").mkdir(parents=True)
    shutil.copytree(ROOT / "requirements", root / "requirements")
    shutil.copy(ROOT / "pyproject.toml", root)
    for name in ("python", "headend"):
        program = root / ".venv" / "bin" / name
        program.write_text("#!/bin/sh\n", encoding="ascii")
        program.chmod(0o755)
    return root


def in_setup(checkout: Path, script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", f". requirements/setup.sh; {script}"],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )


def stamp(checkout: Path) -> None:
    done = in_setup(checkout, 'fingerprint runtime > "$VENV/.stamp-runtime"')
    assert done.returncode == 0, done.stderr


def test_a_stamped_environment_is_used_as_it_is(checkout: Path) -> None:
    assert in_setup(checkout, "is_ready runtime").returncode == 1
    stamp(checkout)
    done = in_setup(checkout, "set_up runtime && echo used")
    assert (done.stdout, done.stderr) == ("used\n", "")


@pytest.mark.parametrize("changed", ["requirements/runtime.txt", "pyproject.toml"])
def test_a_changed_lock_or_project_is_installed_again(checkout: Path, changed: str) -> None:
    stamp(checkout)
    with (checkout / changed).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert in_setup(checkout, "is_ready runtime").returncode == 1


def test_a_moved_checkout_is_set_up_again(checkout: Path) -> None:
    stamp(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    assert in_setup(moved, "is_ready runtime").returncode == 1


@pytest.mark.parametrize("program", ["python", "headend"])
def test_an_environment_without_its_programs_is_not_ready(checkout: Path, program: str) -> None:
    stamp(checkout)
    (checkout / ".venv" / "bin" / program).unlink()
    assert in_setup(checkout, "is_ready runtime").returncode == 1


def test_a_killed_installation_is_begun_anew(checkout: Path) -> None:
    (checkout / ".venv" / ".installing").touch()
    done = in_setup(
        checkout,
        "make_venv() { echo made anew; }; install_locked() { echo installed $1; }; set_up runtime",
    )
    assert done.stdout.splitlines() == ["made anew", "installed runtime"]
    assert in_setup(checkout, "is_ready runtime").returncode == 0


def test_an_account_that_is_not_root_is_told_what_to_install(checkout: Path) -> None:
    done = in_setup(checkout, "id() { echo 1000; }; need_debian_package false first second")
    assert done.returncode == 2
    assert done.stderr == "Missing: first second. Run: sudo apt-get install first second\n"


def test_a_package_that_is_there_is_not_installed(checkout: Path) -> None:
    done = in_setup(checkout, "apt-get() { echo called; }; need_debian_package true first")
    assert (done.returncode, done.stdout) == (0, "")


# Containers cannot be built in every place the tests run; their description can be checked.


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    text = (ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8")
    described: dict[str, Any] = yaml.safe_load(text)
    return described


def test_the_stack_has_database_head_end_and_simulator(compose: dict[str, Any]) -> None:
    assert {"database", "migrate", "headend", "simulator"} == set(compose["services"])
    used = {
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }
    assert used == set(compose["volumes"])


def test_services_wait_for_what_they_need(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for needed, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in services[needed]
    assert services["headend"]["depends_on"]["migrate"]["condition"] == (
        "service_completed_successfully"
    )


def test_nothing_is_published_beyond_loopback_and_secrets_are_demanded(
    compose: dict[str, Any],
) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    environment = compose["services"]["headend"]["environment"]
    assert environment["HEADEND_API_KEY"].startswith("${HEADEND_API_KEY:?")
    assert "${POSTGRES_PASSWORD:?" in environment["HEADEND_DATABASE_URL"]


def test_the_stack_uses_only_settings_that_exist(
    compose: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from headend.configuration import load_settings

    monkeypatch.chdir(tmp_path)
    for name, value in compose["services"]["headend"]["environment"].items():
        monkeypatch.setenv(name, re.sub(r"\$\{\w+:\?[^}]*\}", "long-enough", value))
    assert load_settings().api_host == "0.0.0.0"


def test_images_are_made_from_files_that_exist(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        if "build" in service:
            context = (ROOT / "docker" / service["build"]["context"]).resolve()
            assert context == ROOT
            assert (context / service["build"]["dockerfile"]).is_file()
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, flags=re.MULTILINE)
    for name in " ".join(copied).split():
        assert (ROOT / name).exists(), name
    assert list((ROOT / "docker").rglob("*.py")) == []


def test_the_stack_s_commands_exist(compose: dict[str, Any]) -> None:
    programs = Path(sys.executable).parent
    for name, service in compose["services"].items():
        if "command" not in service:
            continue
        entry = service.get("entrypoint", ["headend"])
        command = [str(programs / entry[0]), *entry[1:], *service["command"], "--help"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"
