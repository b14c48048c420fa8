"""The connection type that every repository works on: async, rows as dictionaries."""

from __future__ import annotations

from typing import Any, TypeAlias

from psycopg import AsyncConnection

Connection: TypeAlias = AsyncConnection[dict[str, Any]]
