"""Replies on their way to the client: passed as they come, held and masked, or withheld; redirections looked at."""

from __future__ import annotations

import pytest

from lockgate.wire.gate import Ruling
from tests.support.redis_playbook import (
    DENIED,
    DENIED_REPLY,
    MASK,
    OK,
    Masked,
    Playbook,
    array,
    bulk,
    error,
    number,
    push,
    status,
)

LIMIT = 65_536


def withheld(why: str) -> bytes:
    return error(f"NOPERM lockgate: the reply is withheld: {why}")


@pytest.mark.parametrize(
    "reply",
    [
        status("OK"), bulk("v"), bulk(None), bulk(b"\r\n+PONG\r\n\0\xff"), number(-7), array(), b"*-1\r\n",
        array(bulk("a"), array(number(1), bulk(None))), b"_\r\n", b"#t\r\n", b",1.5\r\n", b"(123\r\n",
        b"=8\r\ntxt:abcd\r\n", b"~1\r\n+a\r\n", b"%1\r\n+k\r\n+v\r\n", b"|1\r\n+ttl\r\n:3\r\n$1\r\nx\r\n",
        b"$?\r\n;3\r\nabc\r\n;0\r\n", b"*?\r\n:1\r\n.\r\n", status("x" * 20_000), b"!5\r\nERR x\r\n",
    ],
)  # fmt: skip
def test_every_kind_of_reply_passes_byte_for_byte(play: Playbook, reply: bytes) -> None:
    play.client("CMD a", "GET b").server(reply, bulk("b")).to_client(reply, bulk("b"))
    play.outcomes(("CMD a", "error" if reply[:1] == b"!" else "completed"), ("GET b", "completed"))
    assert play.gate.runs[0].bytes == len(reply)


def test_a_large_reply_passes_as_it_comes_and_is_not_held(play: Playbook) -> None:
    session = play.session
    play.client("GET large", "GET b").to_server("GET large", "GET b")
    size, part = 100 * LIMIT, b"x" * LIMIT
    session.server_data(b"$%d\r\n" % size)
    play.to_client(b"$%d\r\n" % size)
    for _ in range(100):
        session.server_data(part)
        assert session.drain_client() == part
        assert session._answers.held == 0
    session.server_data(b"\r\n" + bulk("b"))
    play.to_client(b"\r\n" + bulk("b")).outcomes(("GET large", "completed"), ("GET b", "completed"))
    assert play.gate.runs[0].bytes == size + len(b"$%d\r\n\r\n" % size)


def test_errors_are_told_by_their_word(play: Playbook) -> None:
    for text, code in [
        ("WRONGTYPE Operation against a key", "WRONGTYPE"),
        ("ERR no", "ERR"),
        ("oh no", "ERR"),
        ("", "ERR"),
    ]:
        play.asks("GET a", error(text)).outcomes(("GET a", "error"))
        assert play.gate.runs[-1].error == code


def test_a_reply_is_masked_whole(play: Playbook) -> None:
    masking = Masked()
    play.gate.rulings["GET secret"] = Ruling(masking=masking)
    play.client("GET a", "GET secret", "GET b").server(bulk("1"), bulk("secret"), bulk("2"))
    play.to_client(bulk("1"), MASK, bulk("2"))
    assert masking.seen == [bulk("secret")]
    run = play.gate.runs[1]
    assert (run.masked_cells, run.detected, run.outcome, run.bytes) == (1, {"email": 1}, "completed", 12)


def test_errors_are_masked_too(play: Playbook) -> None:
    masking = Masked()
    play.gate.rulings["EVAL"] = Ruling(masking=masking)
    play.client("EVAL x").server(error("ERR secret")).to_client(MASK).outcomes(("EVAL x", "error"))
    assert masking.seen == [error("ERR secret")]


def test_a_reply_that_cant_be_masked_is_withheld(play: Playbook) -> None:
    play.gate.rulings["GET secret"] = Ruling(masking=Masked(fails=True))
    play.client("GET secret", "GET a").server(bulk("secret"), bulk("1"))
    play.to_client(withheld("what it holds can't be told"), bulk("1"))
    play.outcomes(("GET secret", "error"), ("GET a", "completed"))
    assert play.gate.runs[0].error == "NOPERM"


@pytest.mark.parametrize("size", [LIMIT - 10, LIMIT])
def test_a_reply_that_is_masked_is_held_up_to_the_bound(play: Playbook, size: int) -> None:
    play.gate.rulings["GET secret"] = Ruling(masking=Masked())
    play.client("GET secret", "GET a")
    reply = bulk("x" * size)
    for at in range(0, len(reply), 1000):
        play.session.server_data(reply[at : at + 1000])
        assert play.session._answers.held <= LIMIT
    play.server(bulk("1"))
    if size < LIMIT:
        play.to_client(MASK, bulk("1")).outcomes(("GET secret", "completed"), ("GET a", "completed"))
    else:
        play.to_client(withheld(f"the reply is longer than {LIMIT} bytes"), bulk("1"))
        play.outcomes(("GET secret", "error"), ("GET a", "completed"))


def test_what_is_left_out_may_be_any_length(play: Playbook) -> None:
    play.gate.rulings["GET secret"] = Ruling(masking=Masked())
    play.gate.rulings["GET refused"] = DENIED
    play.client("GET secret", "GET refused", "GET a")
    reply = array(bulk("x" * LIMIT), bulk("secret"), b"$5\r\n+OK\r\n\r\n")
    play.session.server_data(reply[:LIMIT])
    play.to_client()
    play.session.server_data(reply[LIMIT : LIMIT + 10])
    play.to_client(withheld(f"the reply is longer than {LIMIT} bytes"))
    play.server(reply[LIMIT + 10 :], bulk("1")).to_client(DENIED_REPLY, bulk("1"))


def test_a_line_that_never_ends_is_not_held_for_ever(play: Playbook) -> None:
    play.client("GET a")
    for _ in range(70):
        play.session.server_data(b"-" + b"x" * 1000 if not play.session._answers.held else b"x" * 1000)
    play.broken("too long to be read")


def test_attributes_without_end_are_not_held_for_ever(play: Playbook) -> None:
    play.client("GET a")
    for _ in range(20):
        play.session.server_data(b"|0\r\n" * 1000)
    play.broken("too long to be read")


def test_attributes_belong_to_what_is_masked(play: Playbook) -> None:
    masking = Masked()
    play.gate.rulings["GET secret"] = Ruling(masking=masking)
    reply = b"|1\r\n+secret\r\n+value\r\n$1\r\nx\r\n"
    play.client("GET secret").server(reply).to_client(MASK)
    assert masking.seen == [reply]


def test_a_push_is_not_an_answer(play: Playbook) -> None:
    play.speaks_3().asks("CLIENT TRACKING ON", OK)
    masking = Masked()
    play.gate.rulings["GET secret"] = Ruling(masking=masking)
    gone = push(bulk("invalidate"), array(bulk("k")))
    play.client("GET secret", "GET a").server(gone, bulk("secret"), gone, bulk("1"))
    play.to_client(gone, MASK, gone, bulk("1"))
    assert masking.seen == [bulk("secret")]


def test_what_would_be_withheld_is_noted_and_passes(play: Playbook) -> None:
    masking = Masked(fails=True)
    play.gate.rulings["GET secret"] = Ruling(rehearsal=masking)
    play.asks("GET secret", bulk("secret"))
    assert play.gate.runs[-1].withheld == "what it holds can't be told"
    large = bulk("x" * 2 * LIMIT)
    play.client("GET secret").to_server("GET secret")
    for at in range(0, len(large), 1000):
        play.session.server_data(large[at : at + 1000])
    play.to_client(large)
    assert play.gate.runs[-1].withheld == f"the reply is longer than {LIMIT} bytes"
    play.gate.rulings["GET secret"] = Ruling(rehearsal=Masked())
    play.asks("GET secret", bulk("secret"))
    assert play.gate.runs[-1].withheld is None


# redirections


def elsewhere(where: str) -> bytes:
    return error(f"ERR lockgate: the datastore redirects to {where}: add it to its `addresses` in agent.yaml")


@pytest.mark.parametrize(
    ("said", "host", "port", "where"),
    [
        ("MOVED 3999 127.0.0.1:6381", "127.0.0.1", 6381, "127.0.0.1:6381"),
        ("ASK 3999 redis-2.example:6381", "redis-2.example", 6381, "redis-2.example:6381"),
        ("MOVED 0 ::1:6381", "::1", 6381, "[::1]:6381"),
        ("MOVED 3999 :6381", "", 6381, "port 6381 of the same host"),
        ("REDIRECT 10.0.0.2:6379", "10.0.0.2", 6379, "10.0.0.2:6379"),
    ],
)
def test_a_redirection_leads_to_where_the_agent_is(play: Playbook, said: str, host: str, port: int, where: str) -> None:
    play.client("GET a", "GET b").server(error(said), bulk("1"))
    play.to_client(elsewhere(where), bulk("1"))
    assert play.gate.runs[0].error == said.split(" ")[0]
    play.gate.covered.add((host, port))
    again = Playbook(play.gate, split=play.split).begun()
    again.asks("GET a", error(said)).outcomes(("GET a", "error"))


@pytest.mark.parametrize(
    "said",
    ["MOVED", "MOVED 3999", "MOVED 3999 127.0.0.1", "MOVED 3999 127.0.0.1:0", "ASK 1 a:70000", "MOVED x 127.0.0.1:1",
     "MOVED 1 127.0.0.1:6381 and more", "MOVED  1 127.0.0.1:6381", "ASK 1 ?:6379x"],
)  # fmt: skip
def test_a_redirection_that_cant_be_read_leads_nowhere(play: Playbook, said: str) -> None:
    play.client("GET a").server(error(said)).to_client(
        error("ERR lockgate: the datastore redirects to where can't be read")
    )


def test_a_redirection_is_looked_at_wherever_it_hides(play: Playbook) -> None:
    play.gate.rulings["GET secret"] = Ruling(masking=Masked())
    play.client("GET secret").server(error("MOVED 1 127.0.0.1:6381")).to_client(elsewhere("127.0.0.1:6381"))
    play.client("GET a").server(b"!22\r\nMOVED 1 127.0.0.1:6381\r\n").to_client(elsewhere("127.0.0.1:6381"))
    play.client("GET a").server(b"|1\r\n+a\r\n+b\r\n" + error("MOVED 1 127.0.0.1:6381"))
    play.broken("the server's error has attributes")


def test_exec_may_be_redirected(play: Playbook) -> None:
    play.asks("MULTI", OK).client("GET a", "EXEC").server(status("QUEUED"), error("MOVED 1 127.0.0.1:6381"))
    play.to_client(status("QUEUED"), elsewhere("127.0.0.1:6381"))
    play.session.drain_server()
    play.asks("GET a", bulk("1"))
    assert play.gate.asked[-1] == ("GET a", False)


def test_a_queued_command_may_be_redirected(play: Playbook) -> None:
    play.asks("MULTI", OK).client("GET a").server(error("MOVED 1 127.0.0.1:6381"))
    play.to_client(elsewhere("127.0.0.1:6381"))
