"""What the demo is asked for; it reads no configuration and starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

DEFAULT_SEED = 1


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Options of ``headend demo``; None leaves a value to the configuration.

    ``once``: show the whole loop and end. ``json_path``: write the result there as JSON.
    ``reset``: forget the demo's data first. ``config_path`` and ``log_level`` are the global
    options, for whoever loads the settings.
    """

    once: bool = False
    json_path: Path | None = None
    reset: bool = False
    port: int | None = None
    seed: int = DEFAULT_SEED
    state_dir: Path | None = None
    config_path: Path | None = None
    log_level: str | None = None
