"""The file notifier: a line that proves itself, on disk before its place is returned."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from headend.domain.masking import mask_phone
from headend.notifiers import FileNotifier
from headend.ports import NoticeMessage
from headend.testing.clock import FakeClock

NOW = datetime(2026, 3, 2, 0, 30, tzinfo=UTC)


def message(number: int, recipient: str = "13812345678") -> NoticeMessage:
    return NoticeMessage(number, "arrears", recipient, "请缴费", "please pay")


@pytest.fixture
def notifier(tmp_path: Path) -> FileNotifier:
    return FileNotifier(tmp_path / "outbox" / "notices.jsonl", FakeClock(NOW))


def line_at(tmp_path: Path, reference: str) -> dict[str, object]:
    name, _, offset = reference.partition("#")
    text = (tmp_path / "outbox" / name).read_bytes()[int(offset) :]
    line: dict[str, object] = json.loads(text.split(b"\n")[0])
    return line


async def test_the_reference_finds_the_line(notifier: FileNotifier, tmp_path: Path) -> None:
    proofs = [await notifier.deliver(message(number)) for number in (7, 8, 9)]
    for number, proof in zip((7, 8, 9), proofs, strict=True):
        assert proof is not None
        assert (proof.channel, proof.delivered_at) == ("file", NOW)
        line = line_at(tmp_path, proof.reference)
        assert (line["notice_id"], line["recipient"], line["text_zh"]) == (
            number,
            "13812345678",
            "请缴费",
        )


async def test_a_torn_line_of_a_killed_writer_does_not_swallow_the_next(
    notifier: FileNotifier, tmp_path: Path
) -> None:
    await notifier.deliver(message(1))
    file = tmp_path / "outbox" / "notices.jsonl"
    with file.open("ab") as torn:
        torn.write(b'{"notice_id": 2, "text')
    proof = await notifier.deliver(message(3))
    assert proof is not None
    assert line_at(tmp_path, proof.reference)["notice_id"] == 3


async def test_a_disk_that_refuses_gives_no_proof(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    notifier = FileNotifier(blocked / "notices.jsonl", FakeClock(NOW))
    assert await notifier.deliver(message(1)) is None


async def test_logs_show_no_phone_number(notifier: FileNotifier) -> None:
    with capture_logs() as logs:
        await notifier.deliver(message(1))
    assert [log["event"] for log in logs] == ["notice_delivered"]
    assert "13812345678" not in str(logs)
    assert logs[0]["recipient"] == "138****5678"
    assert "13812345678" not in repr(message(1))


async def test_only_the_owner_reads_the_file(notifier: FileNotifier, tmp_path: Path) -> None:
    await notifier.deliver(message(1))
    mode = (tmp_path / "outbox" / "notices.jsonl").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


@pytest.mark.parametrize(
    ("phone", "shown"),
    [
        ("13812345678", "138****5678"),
        ("+8613812345678", "+86*******5678"),
        ("12345678", "********"),
        ("", ""),
    ],
)
def test_masking_shows_too_little_to_use(phone: str, shown: str) -> None:
    assert mask_phone(phone) == shown
