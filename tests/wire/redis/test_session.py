"""A connection from its first byte to its last: TLS, the way upstream, waiting, the end."""

from __future__ import annotations

import pytest

from lockgate.wire.gate import Refusal, Why
from lockgate.wire.redis.session import Session
from lockgate.wire.session import WantsTls
from tests.support.redis_playbook import (
    ALLOW,
    DENIED,
    DENIED_REPLY,
    LOGIN,
    OK,
    PONG,
    Masked,
    Playbook,
    ScriptedGate,
    Split,
    array,
    bulk,
    bytewise,
    command,
    error,
    number,
)

TLS = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"


def test_a_client_speaks_and_then_the_server_is_connected(new: Playbook) -> None:
    assert not new.session.wants_upstream
    new.client("GET k")
    assert new.session.wants_upstream
    assert not new.session.ready
    assert new.session.waiting_bytes == len(command("GET k"))
    new.to_server().to_client()
    new.session.connected()
    assert new.session.ready
    assert new.session.waiting_bytes == 0
    new.to_server("GET k").server(bulk("v")).to_client(bulk("v")).outcomes(("GET k", "completed"))
    assert new.session.idle


def test_a_connection_that_is_not_let_in(new: Playbook) -> None:
    new.gate.closed = DENIED
    new.client("GET k").to_client(DENIED_REPLY)
    assert new.session.closing
    assert not new.session.wants_upstream


def test_an_upstream_that_cant_be_had(new: Playbook) -> None:
    new.client("GET k", "GET k")
    new.session.failed(Refusal(Why.UNREACHABLE, "lockgate: cannot connect"))
    new.to_client(error("ERR lockgate: cannot connect"))
    assert new.session.closing


def test_tls_at_once_where_it_is_offered(split: Split) -> None:
    play = Playbook(split=split, tls=True)
    play.session.client_data(TLS)
    assert play.session.wants_tls is WantsTls.DIRECT
    assert not play.session.wants_upstream
    play.session.secured()
    play.client("PING")
    assert play.session.wants_tls is None
    assert play.session.wants_upstream


def test_tls_inside_tls_or_where_it_is_not_offered(split: Split) -> None:
    play = Playbook(split=split, tls=True)
    play.session.client_data(TLS)
    play.session.secured()
    play.session.client_data(TLS)
    play.broken("this is TLS, which is not offered here")
    Playbook(split=split).client(TLS).broken("this is TLS, which is not offered here")


def test_plain_bytes_before_tls_was_there(split: Split) -> None:
    play = Playbook(split=split, tls=True)
    play.session.client_data(TLS)
    play.session.client_data(b"PING\r\n")
    play.broken("bytes came before TLS was there")
    assert not play.session.wants_upstream


def test_a_pipeline_of_any_depth_keeps_its_order(play: Playbook) -> None:
    asked = [f"GET k{n}" for n in range(200)]
    play.client(*asked).to_server(*asked)
    answers = [bulk(f"v{n}") for n in range(200)]
    play.server(*answers).to_client(*answers)
    play.outcomes(*((text, "completed") for text in asked))


def test_a_refusal_stands_in_its_place(play: Playbook) -> None:
    play.gate.rulings["GET secret"] = DENIED
    play.client("GET a", "GET secret", "GET b", "GET secret").to_server("GET a", "GET b").to_client()
    play.server(bulk("1")).to_client(bulk("1"), DENIED_REPLY)
    play.server(bulk("2")).to_client(bulk("2"), DENIED_REPLY)
    play.client("GET secret").to_client(DENIED_REPLY).to_server()
    play.outcomes(("GET a", "completed"), ("GET b", "completed"))


def test_a_refusal_is_not_put_into_a_reply_that_is_on_its_way(play: Playbook) -> None:
    play.gate.rulings["GET secret"] = DENIED
    large = bulk("x" * 100)
    play.client("GET a").to_server("GET a").server(large[:50])
    play.client("GET secret").server(large[50:]).to_client(large, DENIED_REPLY)


def test_a_held_command_parks_and_what_was_sent_before_goes_on(play: Playbook) -> None:
    play.gate.rulings["DEL k"] = None
    play.client("GET a", "DEL k", "GET b").to_server("GET a").to_client()
    assert play.session.parked
    assert play.session.waiting_bytes > 0
    assert not play.session.idle
    play.server(bulk("1")).to_client(bulk("1")).to_server()
    play.client("GET c").to_server()
    play.resume().to_server("DEL k", "GET b", "GET c")
    assert not play.session.parked
    assert play.session.waiting_bytes == 0
    play.server(number(1), bulk("2"), bulk("3")).to_client(number(1), bulk("2"), bulk("3"))


def test_a_held_command_that_is_refused_leaves_the_pipeline_behind_intact(play: Playbook) -> None:
    play.gate.rulings["DEL k"] = None
    play.client("GET a", "DEL k", "GET b", "DEL k", "GET c").to_server("GET a")
    play.resume(DENIED).to_server("GET b").to_client()
    assert play.session.parked
    play.server(bulk("1")).to_client(bulk("1"), DENIED_REPLY)
    play.resume().to_server("DEL k", "GET c")
    play.server(bulk("2"), number(0), bulk("3")).to_client(bulk("2"), number(0), bulk("3"))


def test_a_barrier_keeps_what_stands_behind_until_it_is_answered(play: Playbook) -> None:
    play.gate.rulings["CONFIG"] = type(ALLOW)(barrier=True)
    play.client("GET a", "CONFIG SET x y", "GET b").to_server("GET a", "CONFIG SET x y")
    assert play.session.waiting_bytes > 0
    play.server(bulk("1")).to_server().server(OK).to_server("GET b").to_client(bulk("1"), OK)


def test_a_blocking_command_takes_long(play: Playbook) -> None:
    play.client("BLPOP q 0", "GET k").to_server("BLPOP q 0", "GET k").to_client()
    assert play.session.awaits_run
    assert not play.session.idle
    play.server(array(bulk("q"), bulk("job")), bulk("v")).to_client(array(bulk("q"), bulk("job")), bulk("v"))


def test_a_ruling_that_comes_when_the_connection_is_over(play: Playbook) -> None:
    play.gate.rulings["DEL k"] = None
    play.client("DEL k")
    play.session.client_gone()
    play.resume()
    play.to_server().outcomes(("DEL k", "disconnected"))


def test_what_runs_when_a_side_goes_away_is_disconnected(play: Playbook) -> None:
    play.client("GET a", "BLPOP q 0").server(bulk("1"))
    play.session.server_gone()
    play.outcomes(("GET a", "completed"), ("BLPOP q 0", "disconnected"))
    assert play.session.closing


def test_quit_is_answered_in_its_turn_and_ends_the_connection(play: Playbook) -> None:
    play.client("GET a", "QUIT", "GET b").to_server("GET a").to_client()
    assert not play.session.closing
    play.server(bulk("1")).to_client(bulk("1"), OK)
    assert play.session.closing
    assert play.session.ended_well
    play.outcomes(("GET a", "completed"))


def test_quit_at_once(play: Playbook) -> None:
    play.client("quit now").to_client(OK)
    assert play.session.closing


def test_http_hears_nothing(play: Playbook) -> None:
    play.client(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET k v\r\n").to_client().to_server()
    assert play.session.closing


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"*1\r\n+PING\r\n", "expected '$', got '+'"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"*1\r\n$-5\r\n", "invalid bulk length"),
        (b'GET "\r\n', "unbalanced quotes in request"),
        (b"*1\r\n$70000\r\n", "a command of more than 65536 bytes"),
    ],
)
def test_a_client_that_doesnt_keep_to_the_protocol_is_told_in_its_turn(play: Playbook, said: bytes, why: str) -> None:
    play.client("GET a", said, "GET b").to_server("GET a").to_client()
    play.server(bulk("1")).to_client(bulk("1"), error(f"ERR Protocol error: {why}")).to_server()
    assert play.session.closing
    play.outcomes(("GET a", "completed"))


def test_broken_bytes_behind_what_waits_come_in_their_turn_too(play: Playbook) -> None:
    play.gate.rulings["DEL k"] = None
    play.client("DEL k", b"*x\r\n").to_client()
    play.resume().to_server("DEL k").server(number(1))
    play.to_client(number(1), error("ERR Protocol error: invalid multibulk length"))
    assert play.session.closing


def test_inline_commands_are_sent_as_arrays(play: Playbook) -> None:
    play.client(b"set k 'a b'\r\n\r\n  \nPING\n").to_server(command([b"set", b"k", b"a b"]), "PING")
    play.server(OK, PONG).to_client(OK, PONG)


def test_a_name_with_nul_in_it_is_no_name(play: Playbook) -> None:
    # strcasecmp(), by which Redis compares names of one hash bucket, sees MULTI
    play.client(command([b"MULTI\0x"]), command([b"CLIENT", b"REPLY\0x", b"OFF"]), "GET k").to_server("GET k")
    play.server(bulk("v")).to_client(
        error("ERR unknown command: there is a NUL in its name"),
        error("ERR unknown subcommand: there is a NUL in its name"),
        bulk("v"),
    )


def test_too_many_answers_are_owed(play: Playbook) -> None:
    many = 20_000
    play.session.client_data(b"PING\r\n" * many)
    sent = play.session.drain_server().count(b"PING")
    assert sent == 16_384
    assert play.session.waiting_bytes > 0
    play.session.server_data(PONG * 100)
    assert play.session.drain_server().count(b"PING") == 100
    for _ in range(4):
        play.session.server_data(PONG * 16_384)
        if not play.session.waiting_bytes:
            break
        sent += play.session.drain_server().count(b"PING")
    play.session.server_data(PONG * (many - 100 - 16_384))
    assert len(play.gate.settled) == many
    assert play.session.idle


# what the server must not say


@pytest.mark.parametrize(
    "said",
    [b"+PONG\r\n", b"$1\r\nx\r\n", b"*0\r\n", b"$100\r\n"],
)
def test_an_answer_to_nothing(play: Playbook, said: bytes) -> None:
    play.server(said).broken("the server answered what nobody asked")


def test_an_error_to_nothing_is_what_the_server_says_of_itself(play: Playbook) -> None:
    play.server(error("ERR max number of clients reached")).to_client(error("ERR max number of clients reached"))
    assert play.session.closing


def test_an_answer_too_many(play: Playbook) -> None:
    play.client("GET a").server(bulk("1"), bulk("2"))
    play.broken("the server answered what nobody asked")


@pytest.mark.parametrize("said", [b"HTTP/1.1 400\r\n", b"*1\r\n>1\r\n+x\r\n", b"$01\r\nx\r\n", b"+a\nb\r\n"])
def test_a_reply_that_cant_be_read(play: Playbook, said: bytes) -> None:
    play.client("GET a", "GET b").server(bulk("1"), said)
    play.outcomes(("GET a", "completed"), ("GET b", "broken"))
    shown = play.session.drain_client().removeprefix(bulk("1"))
    # a part of it may have been passed on already: an error behind it would be taken for the rest
    assert b"the server's reply can't be read" in shown or (play.split is bytewise and said.startswith(shown))
    play.broken()


def test_nothing_behind_what_is_broken_is_passed_on(play: Playbook) -> None:
    # what has begun to pass must not take along what would have been masked
    play.client("LRANGE a 0 -1", "GET secret").server(b"*2\r\n:1\r\n").to_client(b"*2\r\n:1\r\n")
    play.session.server_data(b">1\r\n+x\r\n:2\r\n" + bulk("secret"))
    assert play.session.closing
    play.to_client()


def test_queued_outside_a_transaction(play: Playbook) -> None:
    # a server on which MULTI has another name: it would show what was queued where nothing masks it
    for masking in (None, Masked()):
        again = Playbook(split=play.split).begun()
        again.gate.rulings["M"] = type(ALLOW)(masking=masking)
        again.client("M", "GET k").server(status := b"+QUEUED\r\n")
        again.broken("the server queued what was not sent inside MULTI")
        assert status not in again.session.drain_client()


# the agent's own credential


def test_the_agent_authenticates_before_anything_else(new: Playbook) -> None:
    new.client("GET a", "GET b")
    new.session.connected(None, LOGIN)
    new.to_server(command([b"AUTH", b"agent", b"s3cret words"])).to_client()
    assert not new.session.ready
    assert new.session.waiting_bytes > 0
    new.client("GET c").to_server()
    new.server(OK).to_client().to_server("GET a", "GET b", "GET c")
    assert new.session.ready
    assert new.gate.became_ == [("agent", None)]


def test_a_credential_that_is_not_taken_is_an_error_without_it(new: Playbook) -> None:
    new.client("GET a")
    new.session.connected(None, LOGIN)
    new.server(error("WRONGPASS invalid username-password pair: s3cret words"))
    new.to_client(error("NOPERM lockgate: the datastore did not take the agent's credential (WRONGPASS)"))
    assert new.session.closing
    assert new.gate.became_ == []


def test_something_else_than_an_answer_to_the_agents_auth(new: Playbook) -> None:
    new.client("GET a")
    new.session.connected(None, LOGIN)
    new.server(bulk("s3cret")).broken("the server answered AUTH with something else")


def test_nothing_is_said_where_the_protocol_has_no_way(play: Playbook) -> None:
    play.session.notice("waits for approval", "https://x")
    play.to_client()


def test_a_broken_off_reply_is_not_followed_by_an_error(play: Playbook) -> None:
    large = bulk("x" * 100)
    play.client("GET a").server(large[:60])
    play.session.failed(Refusal(Why.STOPPING, "lockgate: the agent is stopping"))
    play.to_client(large[:60])
    assert play.session.closing


def test_idle_is_who_has_nothing_to_lose(play: Playbook) -> None:
    session = play.session
    assert session.idle
    session.client_data(b"*1\r\n$4\r\nPI")
    assert not session.idle
    session.client_data(b"NG\r\n")
    assert not session.idle
    play.server(PONG).to_server("PING").to_client(PONG)
    assert session.idle
    play.asks("WATCH k", OK)
    assert not session.idle
    play.asks("UNWATCH", OK)
    assert session.idle
    play.asks("MULTI", OK)
    assert not session.idle


def test_the_session_is_as_the_io_wants_it() -> None:
    session = Session(ScriptedGate(), message_bytes=1, row_bytes=1)
    assert not session.wants_raw
    session.client_gone()
    assert session.closing
