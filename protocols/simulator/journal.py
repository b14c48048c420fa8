"""The simulator's state on disk: an append-only file of JSON lines, replayed at the next start.

A record is one `write` of one line before its effect can be seen, so a ``kill -9`` at any instant
loses nothing that anyone was told; a line cut short by it is dropped. Power failure of the host is
not covered (no fsync): these are simulated meters. One process at a time, by a lock file.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

from headend.domain.errors import ConfigurationError, InvariantViolated

VERSION = 1
_HEADER = {"kind": "journal", "version": VERSION}

Record = Mapping[str, Any]


class Journal(Protocol):
    """Where records go."""

    def append(self, record: Record) -> None:
        """Keep one record; it is durable against a kill of the process on return."""
        ...


class NoJournal:
    """Keeps nothing: a simulator without a state file."""

    def append(self, record: Record) -> None:
        """Forget the record."""


class FileJournal:
    """The state file; open it, `replay` its records, `rewrite` it compactly, then append."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _take_lock(path.with_name(path.name + ".lock"))
        self._descriptor: int | None = None
        self._closed = False

    def replay(self) -> list[dict[str, Any]]:
        """Return every whole record of earlier runs, oldest first.

        Raises `ConfigurationError` when the file is no journal or of a newer version.
        """
        if not self._path.exists():
            return []
        whole, _, _torn = self._path.read_bytes().rpartition(b"\n")
        records = [
            self._parse(number, line)
            for number, line in enumerate(whole.split(b"\n") if whole else [], start=1)
        ]
        if records:
            self._check_header(records[0])
        return records[1:]

    def rewrite(self, records: Iterable[Record]) -> int:
        """Replace the file by the given records at once; return the descriptor to append to."""
        fresh = self._path.with_name(self._path.name + ".new")
        with fresh.open("wb") as file:
            file.write(_line(_HEADER))
            file.writelines(_line(record) for record in records)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        return self._descriptor

    def append(self, record: Record) -> None:
        """Write one record before its effect is seen."""
        if self._closed:
            raise InvariantViolated(f"a record for {self._path} came after it was closed")
        descriptor = self._descriptor
        if descriptor is None:
            descriptor = self.rewrite(self.replay())
        os.write(descriptor, _line(record))

    def close(self) -> None:
        """Close the file and let another process have it; no record may follow."""
        self._closed = True
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        self._lock.close()

    def _parse(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or "kind" not in record:
            raise ConfigurationError(
                f"{self._path} line {number} is no record of the simulator; "
                "remove the file to begin with new meters"
            )
        return record

    def _check_header(self, header: dict[str, Any]) -> None:
        if header.get("kind") != "journal" or header.get("version") != VERSION:
            raise ConfigurationError(
                f"{self._path} is no simulator state of version {VERSION}; "
                "remove the file to begin with new meters"
            )


def _line(record: Record) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _take_lock(path: Path) -> IO[bytes]:
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise ConfigurationError(
            f"another simulator uses the state beside {path}; stop it or give another --state"
        ) from None
    return lock
