"""Every target for a moment, and what fuzzing has found."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import target as bounds
from tests.fuzz.corpus import BEGUN, CLIENT, HELLO, MARKER, SERVER
from tests.fuzz.script import decode
from tests.fuzz.target import Target, changed
from tests.fuzz.targets import TARGETS
from tests.fuzz.wire import World, check_forwarded, check_shown, shown
from tests.support.playbook import complete, parameter, query, ready, row

ALL = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@ALL
def test_what_fuzzing_begins_with_holds(target: Target) -> None:
    for seed in target.seeds:
        assert len(seed) <= target.longest
        target.run(seed)


@ALL
def test_nothing_at_all_holds(target: Target) -> None:
    for data in (b"", b"\0", b"\xff", bytes(64), b"\xff" * 64):
        target.run(data)


@ALL
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(random=st.randoms(use_true_random=True), changes=st.integers(1, 6))
def test_what_becomes_of_it_holds(target: Target, random: Random, changes: int) -> None:
    data = random.choice(target.seeds)
    for _ in range(changes):
        if target.mutate is None:
            data = changed(data, target.longest, random)
        else:
            data = target.mutate(data, target.longest, random, lambda one, limit: changed(one, limit, random))
        assert len(data) <= target.longest
    target.run(data)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("detectors", b"DE1106 0 4704350 24 0 30010"),
        ("copied", bytes((0, 0, 1, 1)) + b"\n\n"),
        ("tls", bytes((0, 255, 240, 0, 1, 250, 0, 1, 255, 0, 255))),
    ],
)
def test_what_was_found(name: str, data: bytes) -> None:
    TARGETS[name].run(data)


def test_what_the_server_says_of_itself_may_stand_before_an_answer_of_the_sessions_or_behind_it() -> None:
    steps = [
        (0, b""), (CLIENT, HELLO), (SERVER, BEGUN),
        (CLIENT, query("set client_encoding to latin1")), (CLIENT, query("select 'é'")),
        (SERVER, complete("SET") + parameter("client_encoding", "LATIN1") + ready() + parameter("is_superuser", "on")),
    ]  # fmt: skip
    whole, cut = World(steps), World(steps, 3)
    assert whole.to_client != cut.to_client
    assert shown(whole) == shown(cut)
    cut.to_client += row(b"1")
    assert shown(whole) != shown(cut)


# the invariants see what they are there for


def world() -> World:
    return World(decode(TARGETS["session"].seeds[0]))


def test_what_the_gate_did_not_see_is_noticed() -> None:
    played = world()
    check_forwarded(played)
    played.gate.ran.clear()
    with pytest.raises(AssertionError, match="unjudged"):
        check_forwarded(played)
    for more in (query("select ssn from t"), b"F\0\0\0\4", b"Q\0\0\0\xff", b"E\0\0\0\x09p\0\0\0\0\0"):
        played = world()
        played.to_server += more
        with pytest.raises(AssertionError):
            check_forwarded(played)


def test_what_the_client_must_not_see_is_noticed() -> None:
    for more in (row(MARKER), row(b"x" + MARKER), b"D\0\0\0\xff", b"p\0\0\0\4"):
        played = world()
        check_shown(played)
        played.to_client += more
        with pytest.raises(AssertionError):
            check_shown(played)


def test_what_takes_too_long_is_noticed() -> None:
    def work(data: bytes) -> None:
        for _ in range(len(data)):
            pass

    slow = Target("slow", work, [b""])
    slow.run(b"x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "SECONDS", 0.0)
        with pytest.raises(AssertionError, match=r"0\.\d s for 9"):
            slow.run(b"x" * 9)


def test_a_server_is_not_talked_to_before_the_client_has_said_who_it_is() -> None:
    played = World([(0, b""), (SERVER, query("x")), (CLIENT, b"\0\0\0\x09")])
    assert not played.to_server
