"""How long a session's AES takes: its operations are recorded, then run again by themselves."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from protocols.dlms import security

REPEATS = 200
_NS_PER_S = 1e9


@dataclass(slots=True)
class AesRecord:
    """Keys that were set up and what each of them sealed, in order."""

    keys: list[tuple[bytes, list[tuple[bytes, bytes, bytes | None]]]] = field(default_factory=list)

    def replay(self) -> None:
        """Do all of it again."""
        for key, calls in self.keys:
            encrypt = AESGCM(key).encrypt
            for nonce, data, associated in calls:
                encrypt(nonce, data, associated)


class _RecordingAes:
    """Stands where the stack has its AES-GCM."""

    def __init__(self, key: bytes, record: AesRecord) -> None:
        self._aes = AESGCM(key)
        self._calls: list[tuple[bytes, bytes, bytes | None]] = []
        record.keys.append((key, self._calls))

    def encrypt(self, nonce: bytes, data: bytes, associated: bytes | None) -> bytes:
        self._calls.append((nonce, data, associated))
        return self._aes.encrypt(nonce, data, associated)


async def measure_aes(run_session: Callable[[], Awaitable[None]]) -> float:
    """Return the CPU time of all AES operations of one session [s], key set-up included."""
    record = AesRecord()
    with _recording(record):
        await run_session()
    taken = []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        record.replay()
        taken.append(time.perf_counter_ns() - start)
    return statistics.median(taken) / _NS_PER_S


@contextmanager
def _recording(record: AesRecord) -> Iterator[None]:
    with patch.object(security, "AESGCM", lambda key: _RecordingAes(key, record)):
        yield
