"""Notifiers: adapters that deliver notices and come back with evidence.

`FileNotifier` hands messages over as lines of a JSON Lines file, for a gateway to pick up or for
a demo to show. The line is its own proof: it is on disk (fsync) before its place in the file is
returned as the evidence. A message may appear twice after a crash, with the same ``notice_id``;
it never goes missing.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from pathlib import Path

import structlog

from headend.domain.masking import mask_phone
from headend.ports import Clock, DeliveryEvidence, NoticeMessage

_LOG = structlog.get_logger(__name__)
_OWNER_ONLY = 0o600  # the file holds phone numbers


class FileNotifier:
    """Appends each message as one line; the reference is ``<file name>#<byte offset>``."""

    channel = "file"

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock

    async def deliver(self, message: NoticeMessage) -> DeliveryEvidence | None:
        """Append and fsync; None when the disk did not take it, so that it is tried again."""
        delivered_at = self._clock.now()
        line = json.dumps(
            {
                "notice_id": message.notice_id,
                "stage": message.stage,
                "recipient": message.recipient,
                "text_zh": message.text_zh,
                "text_en": message.text_en,
                "at": delivered_at.isoformat(),
            },
            ensure_ascii=False,
        )
        log = _LOG.bind(
            notice_id=message.notice_id,
            stage=message.stage,
            recipient=mask_phone(message.recipient),
        )
        try:
            offset = await asyncio.to_thread(self._append, line)
        except OSError as error:
            log.warning("notice_not_delivered", channel=self.channel, error=str(error))
            return None
        reference = f"{self._path.name}#{offset}"
        log.info("notice_delivered", channel=self.channel, reference=reference)
        return DeliveryEvidence(self.channel, reference, delivered_at)

    def _append(self, line: str) -> int:
        """Write one whole line at the end under a lock; return the offset where it begins."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _OWNER_ONLY)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            end = file.seek(0, os.SEEK_END)
            # A writer killed in mid-line left a torn line; ours begins on a line of its own.
            torn = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
            payload = (b"\n" if torn else b"") + line.encode() + b"\n"
            if file.write(payload) != len(payload):
                raise OSError(f"{self._path.name}: short write")
            os.fsync(descriptor)
            return end + (1 if torn else 0)
