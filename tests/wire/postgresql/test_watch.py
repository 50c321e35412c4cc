"""What becomes of a result that the watch stops: an error in its place, no row, and the connection goes on."""

from __future__ import annotations

import pytest

from lockgate.wire.gate import MaskingError, Ruling
from tests.support.playbook import (
    BOUND,
    PARSED,
    SYNC,
    Playbook,
    ScriptedGate,
    bind,
    complete,
    describe,
    execute,
    fields,
    parse,
    query,
    ready,
    row,
)


class Suspicious:
    """Stops what comes from table 7."""

    def __init__(self) -> None:
        self.looked = 0

    def check(self, description: bytes) -> None:
        self.looked += 1
        if b"\0\0\0\7" in description:
            raise MaskingError("lockgate: try again")


@pytest.fixture
def watch() -> Suspicious:
    return Suspicious()


@pytest.fixture
def play(watch: Suspicious) -> Playbook:
    return Playbook(ScriptedGate({"SELECT 1": Ruling(watch=watch)})).begun()


def outcome(play: Playbook, *server: bytes) -> bytes:
    play.session.client_data(b"")
    for data in server:
        play.session.server_data(data)
    return play.session.drain_client()


def test_a_query_is_stopped_before_its_first_row(play: Playbook, watch: Suspicious) -> None:
    play.session.client_data(query("SELECT 1"))
    got = outcome(play, fields("a", table=7) + row(b"secret") + complete("SELECT 1") + ready())
    assert b"secret" not in got
    assert b"try again" in got
    assert got.endswith(ready())
    assert play.gate.settled == [("SELECT 1", "error")]
    play.session.client_data(query("SELECT 1"))
    assert b"fine" in outcome(play, fields("a", table=8) + row(b"fine") + complete("SELECT 1") + ready())
    assert watch.looked == 2


def test_a_portal_that_is_described_is_stopped_before_it_runs(play: Playbook) -> None:
    play.session.client_data(parse("", "SELECT 1") + bind("", "") + describe("P", "") + execute("") + SYNC)
    got = outcome(play, PARSED + BOUND + fields("a", table=7) + row(b"secret") + complete("SELECT 1") + ready())
    assert b"secret" not in got
    assert b"try again" in got
    assert got.endswith(ready())


def test_what_is_in_order_passes_as_it_is(play: Playbook) -> None:
    play.session.client_data(parse("", "SELECT 1") + bind("", "") + describe("P", "") + execute("") + SYNC)
    answer = PARSED + BOUND + fields("a", table=8) + row(b"fine") + complete("SELECT 1") + ready()
    assert outcome(play, answer) == answer
