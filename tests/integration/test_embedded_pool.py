"""The pool on a real server: how its sessions behave, and servers that cannot be used."""

from __future__ import annotations

import socket

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from headend.domain.errors import ConfigurationError
from headend.store.database import connect, open_pool


async def test_rows_are_dictionaries_and_sessions_are_in_utc(database_url: str) -> None:
    async with (
        open_pool(database_url, application_name="pool-test") as pool,
        pool.connection() as connection,
    ):
        cursor = await connection.execute(
            "SELECT current_setting('timezone') AS zone, current_setting('application_name')"
            " AS name, current_setting('statement_timeout') AS timeout"
        )
        assert await cursor.fetchone() == {"zone": "UTC", "name": "pool-test", "timeout": "30s"}


async def test_a_statement_that_takes_too_long_is_ended(database_url: str) -> None:
    async with (
        open_pool(database_url, statement_timeout_s=0.05) as pool,
        pool.connection() as connection,
    ):
        with pytest.raises(psycopg.errors.QueryCanceled):
            await connection.execute("SELECT pg_sleep(30)")


async def test_waiting_for_a_connection_is_bounded(database_url: str) -> None:
    async with (
        open_pool(database_url, max_size=1, wait_timeout_s=0.05) as pool,
        pool.connection(),
    ):
        with pytest.raises(PoolTimeout):
            await pool.getconn()


async def test_a_server_that_is_not_there_is_named() -> None:
    with socket.socket() as bound_only:  # bound but not listening: connections are refused
        bound_only.bind(("127.0.0.1", 0))
        port = bound_only.getsockname()[1]
        url = f"postgresql://u:hush-hush@127.0.0.1:{port}/n"
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} does not answer") as caught:
            async with open_pool(url):
                pass
    assert "hush" not in str(caught.value)


async def test_a_wrong_password_is_said_to_be_one(database_url: str) -> None:
    head, tail = database_url.split("@")
    user = head.rsplit(":", 1)[0]
    with pytest.raises(ConfigurationError, match="refuses the user 'headend'"):
        async with open_pool(f"{user}:wrong@{tail}"):
            pass


def test_a_missing_database_is_named(database_url: str) -> None:
    with pytest.raises(ConfigurationError, match="has no database 'absent'"):
        connect(database_url.rsplit("/", 1)[0] + "/absent")


def test_a_malformed_url_is_said_to_be_one() -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        connect("postgresql://[broken")


async def test_a_database_of_another_encoding_is_refused(
    database_url: str, empty_database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS latin")
        connection.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
        try:
            with pytest.raises(ConfigurationError, match="ENCODING 'UTF8'"):
                async with open_pool(empty_database_url.rsplit("/", 1)[0] + "/latin"):
                    pass
        finally:
            connection.execute("DROP DATABASE latin WITH (FORCE)")
