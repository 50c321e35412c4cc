"""Attacks on a chain: each test is somebody's way around it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from lockgate.audit import chain, record
from lockgate.audit.chain import Flaw, Head, verify
from lockgate.identity.keys import HostKey, InvalidKeySet

HOST = "host-1"
KEY = HostKey(Ed25519PrivateKey.generate())
JWKS = KEY.jwks()


def build(count: int, *, seal_every: int = 4, host: str = HOST, key: HostKey = KEY, word: str = "start") -> list[bytes]:
    """A chain of `count` records (seals included)."""
    head, records = chain.start(host), list[bytes]()
    for seq in range(1, count + 1):
        fields: Mapping[str, object] = {"type": "agent", "event": word}
        if seq - 1 - head.sealed >= seal_every:
            fields = chain.seal(host, head, key)
        raw = link(host, head, fields)
        head = Head(seq, chain.step(raw), seq - 1 if fields["type"] == "seal" else head.sealed)
        records.append(raw)
    return records


def link(host: str, head: Head, fields: Mapping[str, object]) -> bytes:
    return record.encoder.encode({"v": 1, "host": host, "seq": head.seq + 1, "prev": head.hash, "time": 5, **fields})


def alter(raw: bytes, **changes: object) -> bytes:
    return record.encoder.encode({**record.decode(raw), **changes})


def head_of(records: list[bytes]) -> Head:
    return Head(record.envelope(records[-1]).seq, chain.step(records[-1]))


def flaws(result: chain.Verification) -> list[tuple[int, Flaw]]:
    return [(problem.seq, problem.flaw) for problem in result.problems]


RECORDS = build(20)
"""1 2 3 4 [5] 6 7 8 [9] 10 11 12 [13] ... [17] 18 19 20: seals in brackets."""


def test_an_untouched_chain() -> None:
    result = verify(HOST, RECORDS, JWKS)
    assert result == chain.Verification(True, 1, 20, 16, 20, (), (), 0)
    assert result.unsealed == 4


def test_nothing_at_all_is_fine_unless_something_is_known() -> None:
    assert verify(HOST, [], JWKS).ok
    assert flaws(verify(HOST, [], JWKS, until=head_of(RECORDS))) == [(20, Flaw.TRUNCATED)]


def test_in_parts_gives_the_same_as_whole() -> None:
    verifier = chain.Verifier(HOST, JWKS)
    for raw in RECORDS[:11]:
        assert verifier.feed(raw) == []
    result = verify(HOST, RECORDS[11:], JWKS, after=verifier.head)
    assert (result.ok, result.first, result.last, result.sealed) == (True, 12, 20, 16)


@given(st.integers(0, 19), st.sampled_from(["event", "time"]))
def test_a_changed_record_shows_at_the_next(place: int, field: str) -> None:
    forged = list(RECORDS)
    if record.envelope(forged[place]).type == "seal" and field == "event":
        field = "time"
    forged[place] = alter(forged[place], **{field: "stop" if field == "event" else 6})
    result = verify(HOST, forged, JWKS)
    if place == 19:  # nothing after it, not even a seal: only what is known from elsewhere can tell
        assert result.ok
        assert flaws(verify(HOST, forged, JWKS, until=head_of(RECORDS))) == [(20, Flaw.FORKED)]
    else:
        assert (place + 2, Flaw.BROKEN) in flaws(result)
        assert not result.ok


@given(st.integers(0, 18), st.integers(1, 5))
def test_dropped_records_are_a_gap(place: int, count: int) -> None:
    kept = RECORDS[:place] + RECORDS[place + count :]
    if len(kept) == place:  # the end was cut
        result = verify(HOST, kept, JWKS, until=head_of(RECORDS))
        assert (20, Flaw.TRUNCATED) in flaws(result)
    else:
        result = verify(HOST, kept, JWKS)
    assert not result.ok
    assert result.gaps == ((place + 1, min(place + count, 20)),)


def test_a_gap_is_one_problem_and_seals_after_it_still_count() -> None:
    result = verify(HOST, RECORDS[:4] + RECORDS[10:], JWKS)
    assert flaws(result) == [(11, Flaw.GAP)]
    assert (result.gaps, result.sealed) == (((5, 10),), 16)


def test_dropped_and_renumbered() -> None:
    forged = RECORDS[:5] + [alter(raw, seq=record.envelope(raw).seq - 1) for raw in RECORDS[6:]]
    assert (6, Flaw.BROKEN) in flaws(verify(HOST, forged, JWKS))


def test_swapped_neighbours() -> None:
    forged = [*RECORDS[:6], RECORDS[7], RECORDS[6], *RECORDS[8:]]
    assert [flaw for _, flaw in flaws(verify(HOST, forged, JWKS))] == [Flaw.GAP, Flaw.REPEATED]


def test_a_record_twice() -> None:
    assert flaws(verify(HOST, [*RECORDS[:7], RECORDS[6], *RECORDS[7:]], JWKS)) == [(7, Flaw.REPEATED)]


def test_a_record_put_in_between() -> None:
    extra = link(HOST, head_of(RECORDS[:6]), {"type": "agent", "event": "other"})
    assert flaws(verify(HOST, [*RECORDS[:6], extra, *RECORDS[6:]], JWKS)) == [(7, Flaw.REPEATED), (8, Flaw.BROKEN)]


def test_history_rewritten_with_another_key() -> None:
    forged = build(20, key=HostKey(Ed25519PrivateKey.generate()), word="stop")
    result = verify(HOST, forged, JWKS)
    assert [seq for seq, flaw in flaws(result) if flaw is Flaw.SIGNATURE] == [5, 9, 13, 17]
    assert result.sealed == 0
    assert not result.ok


def test_history_rewritten_without_seals_is_seen_against_a_known_head() -> None:
    forged = build(20, seal_every=100, word="stop")
    assert verify(HOST, forged, JWKS).sealed == 0
    assert flaws(verify(HOST, forged, JWKS, until=head_of(RECORDS[:16]))) == [(16, Flaw.FORKED)]


def test_a_seal_of_another_host_or_place_is_not_taken() -> None:
    other = build(5, host="host-2")
    assert (5, Flaw.OTHER_HOST) in flaws(verify(HOST, [*RECORDS[:4], other[4]], JWKS))
    moved = {key: record.decode(RECORDS[4])[key] for key in ("type", "first", "last", "hash", "kid", "signature")}
    assert flaws(verify(HOST, [*RECORDS[:6], link(HOST, head_of(RECORDS[:6]), moved)], JWKS)) == [(7, Flaw.SEAL)]


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        ({"first": 2}, Flaw.SEAL),
        ({"first": 0}, Flaw.SEAL),
        ({"first": True}, Flaw.SEAL),
        ({"last": 3}, Flaw.SEAL),
        ({"hash": bytes(32)}, Flaw.SEAL),
        ({"hash": "text"}, Flaw.SEAL),
        ({"signature": bytes(64)}, Flaw.SIGNATURE),
        ({"signature": b""}, Flaw.SIGNATURE),
        ({"signature": None}, Flaw.SEAL),
    ],
    ids=str,
)
def test_a_bad_seal_does_not_count(change: dict[str, object], flaw: Flaw) -> None:
    result = verify(HOST, [*RECORDS[:4], alter(RECORDS[4], **change)], JWKS)
    assert flaws(result) == [(5, flaw)]
    assert result.sealed == 0


def test_a_bad_seal_is_one_problem_and_the_next_good_one_counts() -> None:
    forged = [*RECORDS[:4], alter(RECORDS[4], signature=bytes(64)), *RECORDS[5:]]
    result = verify(HOST, forged, JWKS)
    assert flaws(result) == [(5, Flaw.SIGNATURE), (6, Flaw.BROKEN)]
    assert result.sealed == 16


@given(st.integers(0, 20))
def test_verification_can_stop_anywhere_and_go_on(place: int) -> None:
    """Nothing but the head is kept: also with a gap, where the seal before may be what is missing."""
    holed = [raw for raw in RECORDS if record.envelope(raw).seq not in (5, 6)]
    one, found = chain.Verifier(HOST, JWKS), list[chain.Problem]()
    for raw in holed[:place]:
        found += one.feed(raw)
    two = chain.Verifier(HOST, JWKS, one.head)
    for raw in holed[place:]:
        found += two.feed(raw)
    assert [(problem.seq, problem.flaw) for problem in found] == [(7, Flaw.GAP)]
    assert two.head == Head(20, chain.step(RECORDS[19]), 16)


def test_a_seal_may_not_leave_out_what_came_since_the_last() -> None:
    """A signed claim to cover less than everything since the seal before would let records between be disowned."""
    head = Head(8, chain.step(RECORDS[7]), 6)
    assert flaws(verify(HOST, [*RECORDS[:8], link(HOST, head, chain.seal(HOST, head, KEY))], JWKS)) == [(9, Flaw.SEAL)]


def test_the_beginning_cut_off() -> None:
    result = verify(HOST, RECORDS[5:], JWKS)
    assert (flaws(result), result.gaps, result.first) == ([(6, Flaw.GAP)], ((1, 5),), 6)


def test_a_chain_that_begins_elsewhere() -> None:
    stranger = link(HOST, Head(0, bytes(32)), {"type": "agent", "event": "start"})
    assert flaws(verify(HOST, [stranger], JWKS)) == [(1, Flaw.BROKEN)]


def test_the_first_record_of_one_host_cannot_begin_another() -> None:
    assert chain.genesis("a") != chain.genesis("b")


def test_garbage_in_between_hides_nothing() -> None:
    result = verify(HOST, [*RECORDS[:6], b"\xc1garbage", *RECORDS[7:]], JWKS)
    assert flaws(result) == [(7, Flaw.UNREADABLE), (8, Flaw.GAP)]


def test_a_record_with_a_key_twice_is_not_taken() -> None:
    raw = RECORDS[0]
    assert raw[0] == 0x87
    twice = bytes([0x88]) + raw[1:] + b"\xa5event\xa5other"
    assert flaws(verify(HOST, [twice], JWKS)) == [(1, Flaw.UNREADABLE)]


def test_an_anchor_in_a_gap_is_a_problem_of_its_own() -> None:
    result = verify(HOST, RECORDS[:10] + RECORDS[12:], JWKS, until=head_of(RECORDS[:11]))
    assert flaws(result) == [(13, Flaw.GAP), (11, Flaw.TRUNCATED)]


def test_an_anchor_before_what_is_verified_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="before"):
        verify(HOST, RECORDS[10:], JWKS, after=head_of(RECORDS[:10]), until=head_of(RECORDS[:9]))


def test_a_flood_of_problems_is_counted_and_not_kept() -> None:
    result = verify(HOST, [b"\xc1"] * (chain.MAX_PROBLEMS + 5), JWKS)
    assert (len(result.problems), result.found) == (chain.MAX_PROBLEMS, chain.MAX_PROBLEMS + 5)


@given(st.lists(st.binary(max_size=40) | st.sampled_from(RECORDS), max_size=25))
def test_hostile_records_raise_nothing_and_only_the_chain_itself_is_ok(records: list[bytes]) -> None:
    assert verify(HOST, records, JWKS).ok == (records == RECORDS[: len(records)])


@given(st.text(max_size=60), st.text(max_size=60), st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)))
def test_no_two_seal_messages_collide(a: str, b: str, place: tuple[int, int]) -> None:
    first, last = place
    same = chain.seal_message(a, first, last, bytes(32)) == chain.seal_message(b, first, last, bytes(32))
    assert same == (a == b)


def test_a_seal_message_is_of_a_whole_hash() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        chain.seal_message(HOST, 1, 2, b"short")


def test_a_seal_names_the_key_it_was_made_with() -> None:
    """A host whose key was changed has both in its set; a third party's key is in neither."""
    other = HostKey(Ed25519PrivateKey.generate())
    both = {"keys": [*JWKS["keys"], *other.jwks()["keys"]]}
    assert verify(HOST, build(20, key=other), both).ok
    stolen = alter(RECORDS[4], kid=other.kid)
    assert flaws(verify(HOST, [*RECORDS[:4], stolen], both)) == [(5, Flaw.SIGNATURE)]
    assert flaws(verify(HOST, [*RECORDS[:4], alter(RECORDS[4], kid=["x"])], both)) == [(5, Flaw.SEAL)]


def test_a_seal_is_not_a_token_and_a_token_not_a_seal() -> None:
    """The key signs tokens as well; bare signatures (without the audit's context) must not pass."""
    bare = KEY.private.sign(chain.seal_message(HOST, 1, 4, chain.step(RECORDS[3])))
    assert flaws(verify(HOST, [*RECORDS[:4], alter(RECORDS[4], signature=bare)], JWKS)) == [(5, Flaw.SIGNATURE)]


def test_keys_that_can_not_be_trusted_verify_nothing() -> None:
    with pytest.raises(InvalidKeySet):
        verify(HOST, RECORDS, {"keys": [{**JWKS["keys"][0], "kid": "another"}]})
