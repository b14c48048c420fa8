"""Ciphering against the Green Book's examples, a `cryptography` reference, and attackers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from headend.domain.errors import LocalProtocolError
from protocols.dlms.errors import MalformedData
from protocols.dlms.security import (
    AUTHENTICATED,
    AUTHENTICATED_ENCRYPTED,
    ENCRYPTED,
    CounterBlock,
    CounterReplayed,
    Form,
    GcmKey,
    PlainAnswer,
    SecureChannel,
    SecurityFault,
    TagMismatch,
)

EK, AK = bytes(range(16)), bytes(range(0xD0, 0xE0))
CLIENT, SERVER = bytes.fromhex("4D4D4D0000000001"), bytes.fromhex("4D4D4D0000BC614E")
GET_CLOCK = bytes.fromhex("C0010000080000010000FF0200")
COUNTER = 0x01234567


def make_channel(
    local: bytes = SERVER, peer: bytes | None = CLIENT, *, first: int = COUNTER, received: int = -1,
    control: int = AUTHENTICATED_ENCRYPTED, key: GcmKey | None = None,
) -> SecureChannel:  # fmt: skip
    return SecureChannel(
        key or GcmKey(EK, AK), CounterBlock(first, first + 100), local_title=local,
        peer_title=peer, highest_received=received, control=control,
    )  # fmt: skip


def make_pair(**received: int) -> tuple[SecureChannel, SecureChannel]:
    return make_channel(CLIENT, SERVER, first=0), make_channel(SERVER, CLIENT, **received)


def reference_seal(control: int, title: bytes, counter: int, plain: bytes) -> bytes:
    """Seal with the streaming interface of `cryptography`, as the standard describes it."""
    mode = modes.GCM(title + counter.to_bytes(4, "big"))
    encryptor = Cipher(algorithms.AES(EK), mode).encryptor()
    encrypted = control & ENCRYPTED
    encryptor.authenticate_additional_data(bytes((control,)) + AK + (b"" if encrypted else plain))
    body = encryptor.update(plain if encrypted else b"") + encryptor.finalize()
    return (body if encrypted else plain) + encryptor.tag[:12]


@pytest.mark.parametrize(
    ("control", "sealed"),
    [
        (AUTHENTICATED, "C0010000080000010000FF020006725D910F9221D263877516"),
        (ENCRYPTED, "411312FF935A47566827C467BC"),
        (AUTHENTICATED_ENCRYPTED, "411312FF935A47566827C467BC7D825C3BE4A77C3FCC056B6B"),
    ],
)
def test_the_published_get_request(control: int, sealed: str) -> None:
    """Green Book, example of ciphering a GET request (Table 37 in the 8th edition; unverified)."""
    channel = make_channel(control=control)
    size = f"{5 + len(sealed) // 2:02X}"
    assert channel.protect(GET_CLOCK).hex().upper() == f"C8{size}{control:02X}01234567{sealed}"
    assert GcmKey(EK, AK).open(control, SERVER, COUNTER, bytes.fromhex(sealed)) == GET_CLOCK


def test_the_published_initiate_request() -> None:
    plain = bytes.fromhex("01011000112233445566778899AABBCCDDEEFF0000065F1F0400007E1F04B0")
    assert make_channel().protect(plain).hex().upper() == (
        "21303001234567801302FF8A7874133D414CED25B42534D28DB0047720606B175BD52211BE6841DB204D39EE"
        "6FDB8E356855"
    )


def test_the_published_hls_proofs() -> None:
    """Green Book, HLS mechanism 5 with challenges K56iVagY and P6wRJ21F."""
    client = make_channel(CLIENT, SERVER, first=1)
    assert client.make_hls_tag(b"P6wRJ21F").hex().upper() == "10000000011A52FE7DD3E72748973C1E28"
    proof = bytes.fromhex("1001234567FE1466AFB3DBCD4F9389E2B7")
    client.check_hls_tag(proof, b"K56iVagY")
    assert make_channel().make_hls_tag(b"K56iVagY") == proof


@pytest.mark.parametrize("control", [AUTHENTICATED, AUTHENTICATED_ENCRYPTED])
@pytest.mark.parametrize("size", [0, 1, 16, 300])
def test_sealing_is_that_of_the_reference(control: int, size: int) -> None:
    plain = bytes(i & 0xFF for i in range(size))
    assert GcmKey(EK, AK).seal(control, SERVER, 7, plain) == reference_seal(
        control, SERVER, 7, plain
    )


@pytest.mark.parametrize(("form", "tag"), [(Form.GLO, 0xC8), (Form.GENERAL_GLO, 0xDB)])
def test_both_forms_arrive(form: Form, tag: int) -> None:
    client, server = make_pair()
    sealed = client.protect(GET_CLOCK, form=form)
    assert sealed[0] == tag
    assert server.unprotect(sealed) == GET_CLOCK
    assert server.highest_received == 0


def test_a_first_counter_of_zero_is_good_and_an_equal_one_is_a_replay() -> None:
    client, server = make_pair()
    sealed = client.protect(GET_CLOCK)
    server.unprotect(sealed)
    with pytest.raises(CounterReplayed):
        server.unprotect(sealed)
    assert server.highest_received == 0


def test_counters_may_jump_but_never_fall() -> None:
    client, server = make_pair()
    first, second = client.protect(GET_CLOCK), client.protect(GET_CLOCK)
    server.unprotect(second)
    with pytest.raises(CounterReplayed) as caught:
        server.unprotect(first)
    assert (caught.value.received, caught.value.highest) == (0, 1)


def test_every_flipped_bit_is_refused_and_changes_nothing() -> None:
    client, server = make_pair()
    sealed = client.protect(GET_CLOCK)
    for position in range(len(sealed)):
        for bit in range(8):
            altered = bytearray(sealed)
            altered[position] ^= 1 << bit
            with pytest.raises((SecurityFault, MalformedData)):
                server.unprotect(bytes(altered))
    assert server.highest_received == -1
    assert server.unprotect(sealed) == GET_CLOCK


def test_every_cut_is_refused_and_changes_nothing() -> None:
    client, server = make_pair()
    for form in (Form.GLO, Form.GENERAL_GLO):
        sealed = client.protect(GET_CLOCK, form=form)
        for size in range(len(sealed)):
            with pytest.raises((SecurityFault, MalformedData)):
                server.unprotect(sealed[:size])
        assert server.unprotect(sealed) == GET_CLOCK


@pytest.mark.parametrize("control", [0x00, AUTHENTICATED, ENCRYPTED, 0x31, 0x70, 0xB0])
def test_another_security_control_is_refused_even_with_a_good_tag(control: int) -> None:
    """A peer must not talk the channel down to less than it was opened with."""
    weaker = make_channel(CLIENT, SERVER, control=control)
    _, server = make_pair()
    with pytest.raises(SecurityFault, match="control"):
        server.unprotect(weaker.protect(GET_CLOCK))


@pytest.mark.parametrize("octets", [GET_CLOCK, b"", b"\xd8\x01\x01"])
def test_a_plain_apdu_is_refused(octets: bytes) -> None:
    with pytest.raises(PlainAnswer):
        make_channel().unprotect(octets)


def test_a_service_dressed_as_another_is_refused() -> None:
    client, server = make_pair()
    sealed = client.protect(GET_CLOCK)
    with pytest.raises(SecurityFault):
        server.unprotect(b"\xcb" + sealed[1:])


@pytest.mark.parametrize(
    "key", [GcmKey(bytes(16), AK), GcmKey(EK, bytes(16))], ids=["encryption", "authentication"]
)
def test_another_key_is_a_tag_mismatch(key: GcmKey) -> None:
    _, server = make_pair()
    stranger = make_channel(CLIENT, SERVER, key=key)
    with pytest.raises(TagMismatch):
        server.unprotect(stranger.protect(GET_CLOCK))
    with pytest.raises(TagMismatch):
        server.check_hls_tag(stranger.make_hls_tag(b"challenge"), b"challenge")


def test_another_sender_is_refused() -> None:
    stranger = make_channel(b"STRANGER", SERVER)
    _, server = make_pair()
    for form in (Form.GLO, Form.GENERAL_GLO):
        with pytest.raises(SecurityFault):
            server.unprotect(stranger.protect(GET_CLOCK, form=form))


def test_a_reflected_apdu_is_refused() -> None:
    client, _ = make_pair()
    with pytest.raises(SecurityFault):
        client.unprotect(client.protect(GET_CLOCK))


def test_no_counter_is_used_twice_not_even_by_a_proof_and_its_carrier() -> None:
    client, _ = make_pair()
    proof = client.make_hls_tag(b"challenge")
    carrier = client.protect(b"\xc3\x01" + proof)
    assert proof[1:5] != carrier[3:7]
    assert int.from_bytes(carrier[3:7], "big") > int.from_bytes(proof[1:5], "big")


def test_a_used_up_block_stops_everything() -> None:
    channel = SecureChannel(GcmKey(EK, AK), CounterBlock(5, 6), local_title=CLIENT)
    channel.protect(GET_CLOCK)
    for use in (lambda: channel.protect(GET_CLOCK), lambda: channel.make_hls_tag(b"challenge")):
        with pytest.raises(LocalProtocolError, match="used up"):
            use()


@pytest.mark.parametrize("counters", [[3, 3], [3, 2], [0x1_0000_0000]])
def test_a_counter_source_that_repeats_or_overflows_is_caught(counters: list[int]) -> None:
    class Source:
        def take(self) -> int:
            return counters.pop(0)

    channel = SecureChannel(GcmKey(EK, AK), Source(), local_title=CLIENT)

    def use_all() -> None:
        while counters:
            channel.protect(GET_CLOCK)

    with pytest.raises(LocalProtocolError):
        use_all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: GcmKey(bytes(15), AK),
        lambda: GcmKey(EK, bytes(32)),
        lambda: make_channel(b"short"),
        lambda: make_channel(CLIENT, b"short"),
        lambda: make_channel().protect(b"\xd8\x01\x01"),
    ],
)
def test_wrong_use_is_told_at_once(make: Callable[[], object]) -> None:
    with pytest.raises(LocalProtocolError):
        make()


@pytest.mark.parametrize("proof", [b"", bytes(17), b"\x30" + bytes(16), b"\x10" + bytes(15)])
def test_a_malformed_proof_is_refused(proof: bytes) -> None:
    with pytest.raises(SecurityFault):
        make_channel().check_hls_tag(proof, b"challenge")
