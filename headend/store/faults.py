"""Database faults at run time as sentences, for those who may not know the driver's types."""

from __future__ import annotations

import psycopg
import psycopg_pool


def describe_database_fault(error: BaseException) -> str | None:
    """Say what happened to the database, without its secrets; None for any other error."""
    if isinstance(error, psycopg_pool.PoolTimeout):
        return "the database gave no free connection in time: is it running, and large enough?"
    if isinstance(error, psycopg.errors.QueryCanceled):
        return "the database took longer than statement_timeout_s for one statement"
    if isinstance(error, psycopg.errors.LockNotAvailable):
        return "the database could not give a lock in time: another process holds it"
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return f"the database connection was lost ({lines[0]}): is the server running?"
    return None
