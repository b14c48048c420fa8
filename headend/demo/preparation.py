"""What a demo needs before its loop starts: port, configuration, database, key; or one sentence.

The port is taken first and everything that can be refused is refused before anything is started,
so that a wrong configuration leaves nothing behind.
"""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headend.bootstrap import NOTICES_FILE
from headend.configuration import Settings, load_settings, prepare_state_dir
from headend.demo.options import DemoOptions
from headend.demo.simulation import FOLDER as SIMULATOR_FOLDER
from headend.development_key import with_api_key
from headend.domain.errors import ConfigurationError
from headend.log import configure_logging
from headend.store.embedded import EmbeddedPostgres
from headend.store.migrate import migrate

DEMO_FILE = "demo.json"
LOG_FILE = "headend.log"
# The simulated meters are on the loopback: one that takes longer is silent.
METER_ANSWER_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A demo ready to start; its settings have an API key."""

    settings: Settings
    database_url: str
    seed: int
    listener: socket.socket


@contextmanager
def prepare(
    options: DemoOptions, bind_listener: Callable[[str, int], socket.socket]
) -> Iterator[Prepared]:
    """Prepare, and stop what was started at the end. Raises `ConfigurationError`."""
    settings = load_settings(options.config_path, **_overrides(options))
    with ExitStack() as stack:
        listener = bind_listener(settings.api_host, settings.api_port)
        stack.callback(listener.close)
        prepare_state_dir(settings.state_dir)
        if options.reset:
            _reset(settings)
        log = stack.enter_context((settings.state_dir / LOG_FILE).open("a", encoding="utf-8"))
        configure_logging(level=settings.log_level, form="json", stream=log)
        # What is told after the file is closed goes where every other command tells it.
        stack.callback(configure_logging, level=settings.log_level, stream=sys.stderr)
        if settings.database_url is not None:
            database_url = settings.database_url.get_secret_value()
        else:
            server = EmbeddedPostgres(settings.state_dir)
            stack.callback(server.stop)
            database_url = server.start()
        migrate(database_url)
        seed = _keep_seed(settings.state_dir, options.seed)
        yield Prepared(with_api_key(settings), database_url, seed, listener)


def _overrides(options: DemoOptions) -> dict[str, Any]:
    given = {
        "api_port": options.port,
        "state_dir": options.state_dir,
        "log_level": options.log_level,
        "meter_answer_timeout_s": METER_ANSWER_TIMEOUT_S,
    }
    return {name: value for name, value in given.items() if value is not None}


def _reset(settings: Settings) -> None:
    """Forget the demo's data: the embedded database, the meters' journal, the notices."""
    if settings.database_url is not None:
        raise ConfigurationError(
            "--reset forgets the embedded database only: HEADEND_DATABASE_URL names a server whose"
            " database you empty yourself"
        )
    EmbeddedPostgres(settings.state_dir).destroy()
    shutil.rmtree(settings.state_dir / SIMULATOR_FOLDER, ignore_errors=True)
    for name in (NOTICES_FILE, DEMO_FILE):
        (settings.state_dir / name).unlink(missing_ok=True)


def _keep_seed(state_dir: Path, seed: int) -> int:
    """Keep the seed of the first start: another one would be another town."""
    path = state_dir / DEMO_FILE
    if not path.exists():
        path.write_text(json.dumps({"seed": seed}))
        return seed
    try:
        kept = int(json.loads(path.read_text())["seed"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{path} cannot be read: ./run --reset begins anew") from error
    if kept != seed:
        raise ConfigurationError(
            f"this demo's data was made with --seed {kept}: go on with that, or ./run --reset"
        )
    return kept
