"""Invocation counters of the shell's tools, in one small file of the state folder.

A nonce is a system title and a counter; counters are kept per key, whichever title goes with them,
because a meter compares them whoever sends. A key that several meters share gets one sequence for
all. The file holds fingerprints, never keys. Counters are reserved, and the file is on the disk,
before the first of them is used; a lock keeps two commands apart. What a conversation left unused
is given back when it ends; a crash costs it.

The title of this installation is drawn once. It is not that of the head-end's own collection, so
that both may talk to a meter with the same key and never use one nonce twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headend.configuration import prepare_state_dir
from headend.domain.errors import ConfigurationError
from headend.ports.inspection import ToolCounters

FILE_NAME = "meter-counters.json"
TITLE_PREFIX = b"AHT"  # not a registered manufacturer; the head-end's collection has another
COUNTER_LIMIT = 1 << 32
FIRST_COUNTER = 1  # some meters begin by having seen 0
_TITLE_SIZE = 8


class CounterFile:
    """`CounterKeeper` in a file; nothing is written before a counter is needed."""

    def __init__(self, state_dir: Path, note: Callable[[str], None]) -> None:
        self._state_dir = state_dir
        self._note = note

    def system_title(self) -> bytes:
        """Return this installation's title, drawn when there is none yet."""
        with self._locked() as document:
            text = document.get("system_title")
            if isinstance(text, str):
                return bytes.fromhex(text)
            title = TITLE_PREFIX + secrets.token_bytes(_TITLE_SIZE - len(TITLE_PREFIX))
            document["system_title"] = title.hex()
            return title

    def counters(self, key: bytes, *, first: int | None = None) -> ToolCounters:
        """Return the counters of one key."""
        material = b"invocation counters of " + key
        return _KeyCounters(self, hashlib.sha256(material).hexdigest()[:24], first, self._note)

    @contextmanager
    def _locked(self) -> Iterator[dict[str, Any]]:
        """Give the document under the file's lock; write it back when it changed."""
        prepare_state_dir(self._state_dir)
        path = self._state_dir / FILE_NAME
        try:
            with (self._state_dir / f"{FILE_NAME}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                document = _read(path)
                before = json.dumps(document)
                yield document
                if json.dumps(document) != before:
                    _write(path, document)
        except OSError as error:
            raise ConfigurationError(
                f"cannot keep invocation counters in {path} ({error.strerror}): set"
                " HEADEND_STATE_DIR to a folder that you may write"
            ) from error


class _KeyCounters:
    """`ToolCounters` of one key; meter, client and key id do not tell its counters apart."""

    def __init__(
        self, file: CounterFile, name: str, first: int | None, note: Callable[[str], None]
    ) -> None:
        self._file = file
        self._name = name
        self._first = first
        self._note = note

    async def reserve(self, meter_id: int, client_address: int, key_id: str, count: int) -> int:
        with self._file._locked() as document:
            entry = _entry(document, self._name)
            first = max(entry.get("next", FIRST_COUNTER), self._first or 0)
            if first + count > COUNTER_LIMIT:
                raise ConfigurationError(
                    f"the invocation counters of this key are used up at {first}: give the meter"
                    " a new key"
                )
            entry["next"] = first + count
        return int(first)

    async def raise_to(self, meter_id: int, client_address: int, key_id: str, counter: int) -> None:
        with self._file._locked() as document:
            entry = _entry(document, self._name)
            entry["next"] = max(entry.get("next", FIRST_COUNTER), counter)

    async def give_back(self, first_unused: int, limit: int) -> None:
        with self._file._locked() as document:
            entry = _entry(document, self._name)
            if entry.get("next") == limit and first_unused < limit:
                entry["next"] = first_unused

    async def check_received(
        self, meter_id: int, client_address: int, key_id: str, counter: int
    ) -> bool:
        """Keep the received counter; one that fell is told, and accepted.

        Who stands before a meter may have restarted or replaced it, and the fresh challenge of the
        association keeps replays out.
        """
        with self._file._locked() as document:
            entry = _entry(document, self._name)
            highest = entry.get("received", -1)
            entry["received"] = counter
        if counter < highest:
            self._note(
                f"the meter's own invocation counter fell from {highest} to {counter} since last"
                " time: another meter with this key, or one that was reset"
            )
        return True


def _entry(document: dict[str, Any], name: str) -> dict[str, Any]:
    entry: dict[str, Any] = document.setdefault("counters", {}).setdefault(name, {})
    return entry


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        # Beginning anew would repeat counters: nobody may do that silently.
        raise ConfigurationError(
            f"{path} is damaged ({error}): restore it, or remove it and begin above what the meter"
            " has seen with --counter"
        ) from error
    return document if isinstance(document, dict) else {}


def _write(path: Path, document: dict[str, Any]) -> None:
    handle, scratch = tempfile.mkstemp(prefix=".counters-", dir=path.parent)  # mode 0600
    with os.fdopen(handle, "w", encoding="ascii") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    Path(scratch).replace(path)
