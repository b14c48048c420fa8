"""How fast a profile becomes typed columns, against the peers' rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headend.bench.dlms.peers import Decode, PeerMissing, cosem_decoder, gurux_decoder
from headend.bench.dlms.samples import make_profiles
from headend.bench.measure import Contestant, Figures, race
from protocols.dlms.profile_buffer import decode_buffer, decode_buffers

BATCH = 64  # profiles a call, as a collector has them from one concentrator
ROUNDS = 15
_OURS = 40  # calls in a round: a round of ours should not be shorter than a clock tick
_OURS_SINGLE = 200
_THEIRS_SINGLE = 4
_US = 1e6


def measure_decoding(*, rounds: int = ROUNDS, batch: int = BATCH) -> Figures:
    """Return the ratios to both peers, at ``batch`` profiles a call and at one.

    The peers know no batch: for them a call of many is a loop over their call of one.
    """
    found = Figures()
    profiles = make_profiles(batch)
    contestants = {
        "ours": Contestant(lambda: decode_buffers(profiles), _OURS),
        "ours_single": Contestant(lambda: decode_buffer(profiles[0]), _OURS_SINGLE),
    }
    names = _add_peers(contestants, profiles, found)
    median_s = race(contestants, rounds=rounds)
    ours, single = median_s["ours"] / batch, median_s["ours_single"]
    found.details["decode_us"] = ours * _US
    found.details["decode_single_us"] = single * _US
    for name in names:
        many, one = median_s[name] / batch, median_s[f"{name}_single"]
        found.details[f"decode_{name}_us"] = many * _US
        found.details[f"decode_{name}_single_us"] = one * _US
        found.figures[f"decode_vs_{name}"] = many / ours
        found.figures[f"decode_single_vs_{name}"] = one / single
    return found


def _add_peers(
    contestants: dict[str, Contestant], profiles: Sequence[bytes], found: Figures
) -> list[str]:
    names = []
    for name, make in (("dlms_cosem", cosem_decoder), ("gurux", gurux_decoder)):
        try:
            decode = make()
        except PeerMissing as missing:
            for figure in (f"decode_vs_{name}", f"decode_single_vs_{name}"):
                found.missing[figure] = str(missing)
            continue
        contestants[name] = Contestant(_loop(decode, profiles))
        contestants[f"{name}_single"] = Contestant(_loop(decode, profiles[:1]), _THEIRS_SINGLE)
        names.append(name)
    return names


def _loop(decode: Decode, profiles: Sequence[bytes]) -> Callable[[], None]:
    def run() -> None:
        for octets in profiles:
            decode(octets)

    return run
