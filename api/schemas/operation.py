"""Answers for operators and orchestrators."""

from __future__ import annotations

from typing import Literal

from api.schemas.common import Answer


class HealthOut(Answer):
    """How the process is."""

    status: Literal["alive", "ready"]
