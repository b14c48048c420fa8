"""The DLMS benchmarks do the same work on both sides; without a peer they say what is missing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from dlms_cosem import enumerations

from headend.bench.dlms import peers
from headend.bench.dlms.aes import AesRecord, _recording
from headend.bench.dlms.decoding import measure_decoding
from headend.bench.dlms.loopback import LoopbackMeters
from headend.bench.dlms.run import judge
from headend.bench.dlms.samples import CAPTURED, ROWS, make_profile, make_profiles
from headend.bench.dlms.session_cost import measure_session_cpu
from headend.bench.measure import silent_logs
from protocols.dlms.profile_buffer import decode_buffer, decode_buffers
from protocols.dlms.security import AUTHENTICATED_ENCRYPTED, GcmKey


def test_samples_are_the_same_each_time_and_differ_by_seed() -> None:
    assert make_profile(1) == make_profile(1)
    assert make_profile(1) != make_profile(2)


def test_all_decode_the_same_values() -> None:
    octets = make_profile(7)
    ours = decode_buffer(octets)
    cosem: Any = peers.cosem_decoder()(octets)
    gurux: Any = peers.gurux_decoder()(octets)
    assert ours.rows == len(cosem) == len(gurux) == ROWS
    assert len(ours.columns) == len(CAPTURED)
    for row in (0, 50, ROWS - 1):
        numbers = [int(column.values[row]) for column in ours.columns[1:]]
        assert numbers == [cell.value for cell in cosem[row][1:]] == list(gurux[row][1:])
        clock = ours.columns[0]
        assert clock.deviation_min is not None
        at_s = int(clock.values[row]) + 60 * int(clock.deviation_min[row])
        assert at_s == cosem[row][0].value.timestamp()
        assert gurux[row][0].value.replace(tzinfo=None) == cosem[row][0].value.replace(tzinfo=None)


def test_a_call_of_many_profiles_gives_the_rows_of_each() -> None:
    profiles = make_profiles(3)
    together = decode_buffers(profiles)
    alone = [decode_buffer(each) for each in profiles]
    assert together.columns[2].values.tolist() == [
        value for table in alone for value in table.columns[2].values.tolist()
    ]


def test_decoding_is_compared_with_both_peers() -> None:
    found = measure_decoding(rounds=1, batch=2)
    names = {
        f"decode{kind}_vs_{peer}" for kind in ("", "_single") for peer in ("dlms_cosem", "gurux")
    }
    assert set(found.figures) == names
    assert found.missing == {}
    many = found.details["decode_dlms_cosem_us"] / found.details["decode_us"]
    assert found.figures["decode_vs_dlms_cosem"] == pytest.approx(many)


def test_both_clients_carry_out_whole_sessions_with_the_same_meter() -> None:
    found = measure_session_cpu(rounds=1)
    ours, theirs = found.details["session_cpu_us"], found.details["session_cpu_dlms_cosem_us"]
    assert found.figures["session_cpu_vs_dlms_cosem"] == pytest.approx(theirs / ours)


def test_the_peer_really_reads_the_relay_and_the_profile() -> None:
    meters, seen = LoopbackMeters(), []

    def carry(octets: bytes) -> bytes:
        seen.append(octets)
        return meters.answer(octets)

    with silent_logs():
        peers.cosem_sessions(carry).run()
    assert len(seen) == 8  # association and proof, four blocks, the relay, the release
    assert enumerations.CosemInterface(70).name == "DISCONNECT_CONTROL"
    assert meters.take_spent_ns() > 0


@pytest.mark.parametrize(("package", "figure"), [("dlms_cosem", "decode_vs_dlms_cosem"),
                                                 ("gurux_dlms", "decode_vs_gurux")])  # fmt: skip
def test_a_peer_that_is_not_installed_is_named(
    package: str, figure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "headend.bench.dlms." + ("cosem_peer" if package == "dlms_cosem" else "gurux_peer")
    monkeypatch.delitem(sys.modules, module, raising=False)
    for name in [each for each in sys.modules if each.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    found = measure_decoding(rounds=1, batch=1)
    assert figure not in found.figures
    assert "ami-headend[bench]" in found.missing[figure]
    assert len(found.figures) == 2  # those against the other peer


def test_nothing_imports_a_peer_before_a_benchmark_runs() -> None:
    program = (
        "import sys, headend.bench.dlms.run, headend.cli.bench;"
        "print([m for m in ('dlms_cosem', 'gurux_dlms') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_aes_operations_are_recorded_and_done_again() -> None:
    record = AesRecord()
    with _recording(record):
        key = GcmKey(bytes(16), bytes(16))
        sealed = key.seal(AUTHENTICATED_ENCRYPTED, b"HEADEND1", 1, b"plain")
    assert (
        GcmKey(bytes(16), bytes(16)).open(AUTHENTICATED_ENCRYPTED, b"HEADEND1", 1, sealed)
        == b"plain"
    )
    assert [len(calls) for _, calls in record.keys] == [1]
    record.replay()


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("decode_vs_gurux", 90, "at least 90: met"),
        ("decode_vs_gurux", 89.9, "at least 90: MISSED"),
        ("memory_per_session_kib", 48, "at most 48: met"),
        ("memory_per_session_kib", 49, "at most 48: MISSED"),
        ("sessions_per_s", 1, ""),
    ],
)
def test_figures_are_judged_by_their_targets(name: str, value: float, verdict: str) -> None:
    assert judge(name, value) == verdict
