"""Connections that are only looked at: what can't be read goes on as it is, nothing lost, doubled or out of order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.values.statement import Request
from lockgate.wire.gate import Refusal, Ruling, Why
from lockgate.wire.redis.observed import ObservedSession
from tests.support.redis_playbook import (
    DENIED,
    HELLO_3,
    LOGIN,
    OK,
    PONG,
    QUEUED,
    RESET,
    Masked,
    Playbook,
    ScriptedGate,
    Split,
    array,
    bulk,
    bytewise,
    command,
    confirmed,
    error,
    push,
    whole,
)

TLS = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 and whatever a client hello has"
FOREIGN = "this is TLS, which is not offered here"


class LookingGate(ScriptedGate):
    """`blind` as the house has it; `said` has what the session could not read. Nothing is refused."""

    blind: str | None = None
    bug = False

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def unread(self, why: str) -> None:
        self.said.append(why)

    def understand(self, args: tuple[bytes, ...]) -> Request:
        if self.bug:
            raise ZeroDivisionError
        return super().understand(args)


class Looked(Playbook):
    session: ObservedSession
    gate: LookingGate

    def __init__(self, *, split: Split = whole, passing: bool = False, tls: bool = False) -> None:
        self._passing = passing
        super().__init__(LookingGate(), split=split, tls=tls)

    def made(self, **options: Any) -> ObservedSession:
        return ObservedSession(self.gate, passing=self._passing, **options)

    def unread(self, why: str) -> Looked:
        assert self.gate.said == [why]
        assert self.session.unread == why
        assert self.session.evades
        assert self.session.ready
        assert not self.session.idle
        assert not self.session.closing
        return self

    def both_ways(self) -> None:
        """Whatever it is, both sides get it."""
        self.client(b"\xff\0anything\r\n", "QUIT").to_server(b"\xff\0anything\r\n", "QUIT")
        self.server(b"\0" * 20).to_client(b"\0" * 20)
        assert not self.session.closing


@pytest.fixture
def new(split: Split) -> Looked:
    return Looked(split=split)


@pytest.fixture
def play(new: Looked) -> Looked:
    new.begun()
    return new


def test_an_ordinary_connection_is_read(play: Looked) -> None:
    play.asks("GET a", bulk("1")).asks("MULTI", OK).asks("GET a", QUEUED).asks("EXEC", array(bulk("1")))
    play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1)).asks("RESET", RESET).asks("QUIT", OK)
    assert play.gate.said == []
    assert not play.session.evades
    play.session.server_gone()
    assert play.session.closing


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (command("CLIENT REPLY OFF"), "CLIENT REPLY OFF and SKIP are refused: every command has to be answered"),
        (command("PSYNC ? -1"), "replication connections are refused"),
        (command("EXEC"), "EXEC without MULTI"),
        (command("MULTI now"), "wrong number of arguments for 'multi' command"),
        (command([b"PING\0x"]), "unknown command: there is a NUL in its name"),
        (command("POST / HTTP/1.1"), "this is HTTP"),
        (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1\r\n$70000\r\n", "a command of more than 65536 bytes"),
        (b"PING\0x\r\n", "NUL in an inline request"),
        (b"*2\r\n$4\r\nPING\r\n$1\r\nxyz", "a bulk is longer than it says"),
    ],
)
def test_what_would_be_refused_goes_to_the_server_as_it_is(play: Looked, said: bytes, why: str) -> None:
    play.client("GET a", said, "GET b").to_server("GET a", said, "GET b")
    play.unread(why).outcomes(("GET a", "unread"))
    play.server(bulk("1"), b"whatever").to_client(bulk("1"), b"whatever")
    play.both_ways()


@pytest.mark.parametrize("said", ["SELECT 1", "HELLO 3", "AUTH x y", "SUBSCRIBE a", "MONITOR", "MULTI", "WATCH a",
                                  "EXEC now", "DISCARD now"])  # fmt: skip
def test_what_would_be_refused_inside_multi_too(play: Looked, said: str) -> None:
    play.asks("MULTI", OK).client("SET a 1", said, "EXEC").to_server("SET a 1", said, "EXEC")
    assert play.gate.said
    play.both_ways()


def test_a_transaction_that_the_server_refuses_is_left_to_it(play: Looked) -> None:
    no = error("ERR unknown command 'NOPE'")
    play.asks("MULTI", OK).asks("NOPE", no).asks("EXEC", error("EXECABORT Transaction discarded")).asks("GET a", OK)
    assert play.gate.said == []


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400\r\n", b"*1\r\n>1\r\n+x\r\n:1\r\n", b"$01\r\nx\r\n", b"+a\nb\r\n", b"+QUEUED\r\n"]
)
def test_a_reply_that_cant_be_read_passes(play: Looked, said: bytes) -> None:
    play.client("GET a", "GET b", "GET c").to_server("GET a", "GET b", "GET c")
    play.server(bulk("1"), said, bulk("3")).to_client(bulk("1"), said, bulk("3"))
    play.outcomes(("GET a", "completed"), ("GET b", "unread"), ("GET c", "unread"))
    play.both_ways()


def test_what_the_server_says_of_itself_passes(play: Looked) -> None:
    said = error("ERR max number of clients reached")
    play.server(said).to_client(said).unread("the server answered what nobody asked").both_ways()


def test_redirections_lead_where_they_will(play: Looked) -> None:
    play.asks("GET a", error("MOVED 1 10.0.0.9:6381"))
    assert play.gate.runs[-1].error == "MOVED"


def test_what_would_be_withheld_passes(play: Looked) -> None:
    play.gate.rulings["GET secret"] = Ruling(rehearsal=Masked(fails=True))
    play.asks("GET secret", bulk("secret"))
    assert play.gate.runs[-1].withheld == "what it holds can't be told"


def test_what_waits_for_a_ruling_goes_first(play: Looked) -> None:
    play.gate.rulings["DEL k"] = None
    play.client("GET a", "DEL k", "GET b").to_server("GET a")
    play.server(b"??\r\n").to_client(b"??\r\n").to_server()
    play.client("GET c").to_server()
    play.resume().to_server("DEL k", "GET b", "GET c").outcomes(("GET a", "unread"), ("DEL k", "unread"))
    play.both_ways()


def test_what_waits_to_be_queued_goes_first_too(play: Looked) -> None:
    play.asks("MULTI", OK)
    play.gate.settled.clear()
    play.gate.later.add("LG.GET")
    play.client("LG.GET a", "GET b").to_server()
    play.server(b"??\r\n").to_client(b"??\r\n").to_server()
    play.resume().to_server("LG.GET a", "GET b").outcomes()
    play.both_ways()


def test_a_ruling_behind_which_something_cant_be_read(play: Looked) -> None:
    play.gate.rulings["DEL k"] = None
    play.client("DEL k", "EXEC", "GET a").to_server()
    play.resume().to_server("DEL k", "EXEC", "GET a").unread("EXEC without MULTI").both_ways()


# the beginning


def test_tls_that_isnt_ours(split: Split) -> None:
    play = Looked(split=split, passing=True)
    play.client(TLS)
    assert play.session.wants_raw
    assert not play.session.wants_upstream
    play.client(b"more").to_server()
    play.session.connected()
    play.to_server(TLS, b"more").unread("tls").both_ways()


def test_tls_that_is_ours(split: Split) -> None:
    play = Looked(split=split, tls=True)
    play.session.client_data(TLS)
    assert play.session.wants_tls is not None
    play.session.secured()
    play.begun()
    play.asks("GET a", bulk("1"))


def test_tls_that_nobody_offers(new: Looked) -> None:
    new.client(TLS)
    assert new.session.wants_raw
    new.session.connected()
    new.to_server(TLS).unread(FOREIGN).both_ways()


def test_who_is_not_known_is_not_read(new: Looked) -> None:
    new.gate.blind = "who that is can't be told"
    new.client("GET a")
    assert new.session.wants_upstream
    assert new.session.evades
    new.client("GET b").to_server()
    new.session.connected()
    new.to_server("GET a", "GET b").unread("who that is can't be told")
    assert new.gate.asked == []
    new.both_ways()


def test_nor_behind_a_login_of_the_agents(new: Looked) -> None:
    new.gate.blind = "who that is can't be told"
    new.client("GET a")
    new.session.connected(None, LOGIN)
    new.client("GET b").to_server(command([b"AUTH", b"agent", b"s3cret words"]))
    new.server(OK).to_client().to_server("GET a", "GET b").unread("who that is can't be told").both_ways()


# where it can't be


def test_what_was_said_in_a_sides_place_keeps_the_house_in_between(new: Looked) -> None:
    new.begun(LOGIN)
    new.client("GET a", "AUTH ann pw", "EXEC").to_server("GET a")
    assert new.session.closing
    assert new.gate.said == []


def test_a_credential_that_is_not_taken(new: Looked) -> None:
    new.client("GET a")
    new.session.connected(None, LOGIN)
    assert not new.session.give_up("x")
    new.server(error("WRONGPASS no"))
    assert new.session.closing


def test_a_mistake_of_ours(play: Looked) -> None:
    play.client("GET a").to_server("GET a")
    play.gate.bug = True
    with pytest.raises(ZeroDivisionError):
        play.session.client_data(command("GET b") + command("GET c"))
    assert play.session.give_up("a mistake")
    assert not play.session.give_up("another")
    play.to_server("GET b", "GET c").unread("a mistake").both_ways()


def test_a_mistake_before_the_server_is_there(new: Looked) -> None:
    new.client("GET a")
    assert new.session.give_up("a mistake")
    new.session.connected()
    new.to_server("GET a").unread("a mistake").both_ways()


# from observed to enforced


def test_enforced_it_is_like_any(play: Looked) -> None:
    play.session.enforce()
    assert not play.session.evades
    play.gate.rulings["GET secret"] = DENIED
    play.client("GET secret", "CLIENT REPLY OFF").to_server()
    assert play.session.drain_client().count(b"-") == 2
    assert not play.session.give_up("x")
    play.client(b"*x\r\n")
    assert play.session.closing


def test_what_is_owed_when_it_is_enforced_is_answered_as_it_is_judged_then(play: Looked) -> None:
    masked = Masked()
    play.client("GET secret", "GET a", "MULTI").to_server("GET secret", "GET a", "MULTI")
    play.gate.overtakes["GET secret"] = Ruling(masking=masked)
    play.session.enforce()
    assert not play.session.evades
    play.server(bulk("s3cret"), bulk("1"), OK).to_client(bulk("***"), bulk("1"), OK)
    play.outcomes(("GET secret", "completed"), ("GET a", "completed"), ("MULTI", "completed"))


@pytest.mark.parametrize("late", ["FLUSHALL", "AUTH x", "SELECT 3", "SUBSCRIBE a", "MULTI"])
def test_what_the_server_has_yet_to_do_and_may_not(play: Looked, late: str) -> None:
    play.client("BLPOP a 0", late).to_server("BLPOP a 0", late)
    play.gate.overtakes[late] = None
    play.session.enforce()
    assert play.session.evades


def test_what_has_begun_to_be_answered_goes_on_to_its_end(play: Looked) -> None:
    play.client("GET a").server(b"$10\r\n01234")
    begun = play.session.drain_client()
    play.gate.overtakes["GET a"] = Ruling(masking=Masked())
    play.session.enforce()
    play.server(b"56789\r\n")
    assert begun + play.session.drain_client() in (b"$10\r\n0123456789\r\n", bulk("***"))
    play.outcomes(("GET a", "completed"))


def test_what_is_not_read_ends_without_a_word(play: Looked) -> None:
    play.client("EXEC").to_server("EXEC")
    play.session.notice("hello")
    play.session.failed(Refusal(Why.STOPPING, "lockgate: the agent is stopping"))
    play.to_client()
    again = Looked(split=play.split)
    again.begun()
    again.client("EXEC")
    again.session.client_gone()
    assert again.session.ended_well


_COMMANDS: list[str | bytes | list[bytes]] = [
    "GET a", "MULTI", "SET a 1", "EXEC", "CLIENT REPLY SKIP", "DISCARD", "WAIT 1 0", b"*x\r\n", "PING", b'"\r\n',
    [b"SET", b"k", b"x" * 70], "HELLO 3", "RESET", "SUBSCRIBE a", "QUIT",
]  # fmt: skip
_SAID = st.sampled_from([command(words) for words in _COMMANDS])
_ANSWERS = st.sampled_from([
    OK, bulk("1"), QUEUED, b"?", RESET, HELLO_3, PONG, b"$9\r\nab", error("no"), confirmed("subscribe", "a", 1),
    push(bulk("x"), bulk("y")),
])  # fmt: skip


@given(
    said=st.lists(_SAID, max_size=10), answers=st.lists(_ANSWERS, max_size=10), split=st.sampled_from([whole, bytewise])
)
def test_nothing_is_lost_doubled_or_out_of_order(said: list[bytes], answers: list[bytes], split: Split) -> None:
    play = Looked(split=split)
    play.begun()
    play.gate.rulings["WAIT"] = None
    sent, told, got, heard = b"", b"", b"", b""
    for number in range(10):
        for one in said[number : number + 1]:
            sent += one
            play.client(one)
        for one in answers[number : number + 1]:
            told += one
            play.server(one)
        if play.session.parked:
            play.resume()
        got += play.session.drain_server()
        heard += play.session.drain_client()
        assert sent.startswith(got)
        assert told.startswith(heard)
    if play.session.unread is None:
        assert play.session.give_up("the end")
    assert got + play.session.drain_server() == sent
    assert heard + play.session.drain_client() == told
    assert len(play.gate.said) == 1
