"""AUTH, HELLO, SELECT and RESET, with a credential of the agent's and without."""

from __future__ import annotations

import pytest

from lockgate.values.secret import Secret
from lockgate.wire.gate import Ruling
from lockgate.wire.redis.gate import Login
from tests.support.redis_playbook import (
    DENIED,
    DENIED_REPLY,
    HELLO_2,
    HELLO_3,
    LOGIN,
    OK,
    PONG,
    RESET,
    Playbook,
    array,
    bulk,
    command,
    error,
    push,
)

AGENTS = command([b"AUTH", b"agent", b"s3cret words"])


@pytest.fixture
def kept(new: Playbook) -> Playbook:
    """A connection for which the agent authenticates."""
    new.begun(LOGIN).gate.became_.clear()
    return new


# without a credential of the agent's


@pytest.mark.parametrize(("said", "user"), [("AUTH pw", "default"), ("auth ann pw", "ann")])
def test_the_clients_own_authentication_passes(play: Playbook, said: str, user: str) -> None:
    play.client(said, "GET a").to_server(said).server(OK).to_server("GET a").to_client(OK)
    assert play.gate.became_ == [(user, None)]
    assert play.gate.asked[0] == (said, False)


def test_an_authentication_that_fails_changes_nobody(play: Playbook) -> None:
    wrong = error("WRONGPASS invalid username-password pair or user is disabled.")
    play.asks("AUTH ann pw", wrong).asks("HELLO 3 AUTH ann pw", wrong)
    assert play.gate.became_ == []
    play.client("GET a").server(push(bulk("invalidate"), array())).broken("a push in RESP2")


def test_a_user_whose_name_cant_be_told(play: Playbook) -> None:
    play.client(command([b"AUTH", b"\xff", b"pw"]), command([b"HELLO", b"3", b"AUTH", b"\xff", b"pw"])).to_server()
    play.to_client(*[error("ERR lockgate: the name of the user is not UTF-8")] * 2)


def test_policy_may_refuse_it(play: Playbook) -> None:
    play.gate.rulings["AUTH"] = DENIED
    play.client("AUTH root pw", "GET a").to_server("GET a").to_client(DENIED_REPLY)
    assert play.gate.became_ == []


def test_what_auth_and_hello_say_of_wrong_arguments(play: Playbook) -> None:
    play.client("AUTH", "AUTH a b c", "HELLO 3 FOO", "HELLO 3 AUTH a", "HELLO 3 SETNAME").to_server()
    play.to_client(
        error("ERR wrong number of arguments for 'auth' command"),
        error("ERR syntax error"),
        error("ERR Syntax error in HELLO option 'FOO'"),
        error("ERR Syntax error in HELLO option 'AUTH'"),
        error("ERR Syntax error in HELLO option 'SETNAME'"),
    )


@pytest.mark.parametrize("said", ["AUTH a b", "HELLO 3", "SELECT 1", "RESET"])
@pytest.mark.parametrize("reply", [bulk("OK"), b"*1\r\n:1\r\n"])
def test_a_server_that_answers_with_something_else(play: Playbook, said: str, reply: bytes) -> None:
    if said == "HELLO 3" and reply[:1] == b"*":
        return
    play.client(said, "GET a").server(reply).to_server(said).broken("with something else")


def test_hello_tells_in_which_version_the_server_answers(play: Playbook) -> None:
    unsupported = error("NOPROTO unsupported protocol version")
    play.asks("HELLO", HELLO_2).asks("HELLO 4", unsupported).asks("HELLO 3 SETNAME x", HELLO_3)
    play.server(push(bulk("invalidate"), array(bulk("k")))).to_client(push(bulk("invalidate"), array(bulk("k"))))
    play.asks("HELLO", HELLO_3).asks("HELLO 2", HELLO_2)
    play.server(push(bulk("invalidate"), array(bulk("k")))).broken("a push in RESP2")


def test_a_hello_that_could_fail_behind_its_authentication_is_not_sent(play: Playbook) -> None:
    twice = error("ERR lockgate: HELLO with AUTH twice is refused")
    named = error("ERR Client names cannot contain spaces, newlines or special characters.")
    play.client("HELLO 3 AUTH ann pw SETNAME x AUTH bob pw").to_client(twice)
    for name in (b"a b", b"a\n", b"\x7f", "\u00e9".encode()):
        play.client(command([b"HELLO", b"3", b"AUTH", b"ann", b"pw", b"SETNAME", name])).to_client(named)
    play.client("HELLO 3 AUTH ann pw SETNAME x!~", "GET a").to_server("HELLO 3 AUTH ann pw SETNAME x!~")
    play.server(HELLO_3).to_server("GET a")
    assert play.gate.became_ == [("ann", None)]


def test_an_option_is_read_as_the_server_reads_it(play: Playbook) -> None:
    # strcasecmp() sees nothing behind a NUL
    play.client(command([b"hello", b"3", b"auth\0x", b"ann", b"pw"]))
    play.to_server(command([b"hello", b"3", b"AUTH", b"ann", b"pw"])).server(HELLO_3)
    assert play.gate.became_ == [("ann", None)]


def test_select_moves_to_another_database(play: Playbook) -> None:
    play.client("SELECT 5", "GET a").to_server("SELECT 5").server(OK).to_server("GET a").to_client(OK)
    assert play.gate.became_ == [(None, 5)]
    out = error("ERR DB index is out of range")
    play.server(bulk("1")).to_client(bulk("1")).asks("SELECT 99", out).asks("SELECT 01", out).asks("SELECT", out)
    assert play.gate.became_ == [(None, 5)]


def test_a_database_that_cant_be_told(play: Playbook) -> None:
    play.client("SELECT 1_0", "GET a").server(OK).to_server("SELECT 1_0").broken("answered SELECT with something else")


def test_reset_makes_the_connection_as_new(play: Playbook) -> None:
    play.speaks_3().asks("WATCH k", OK).client("RESET", "GET a").to_server("RESET").server(RESET).to_server("GET a")
    assert play.gate.became_ == [("default", 0)]
    assert play.gate.asked[-1] == ("GET a", False)
    play.to_client(RESET).server(bulk("1"), push(bulk("invalidate"), array())).broken("a push in RESP2")


def test_a_reset_that_is_refused_changes_nothing(play: Playbook) -> None:
    refusal = error("NOPERM no")
    play.speaks_3().asks("RESET", refusal)
    play.server(push(bulk("invalidate"), array(bulk("k")))).to_client(push(bulk("invalidate"), array(bulk("k"))))
    assert play.gate.became_ == []


# with one


def test_the_clients_is_swallowed_and_answered_as_a_server_would(kept: Playbook) -> None:
    kept.client("AUTH ann wrong", "AUTH wrong", "AUTH", "AUTH a b c").to_server()
    kept.to_client(OK, OK, error("ERR wrong number of arguments for 'auth' command"), error("ERR syntax error"))
    assert kept.gate.asked == []
    assert kept.gate.became_ == []


def test_hello_is_sent_without_it(kept: Playbook) -> None:
    for said, sent in [
        ("HELLO 3 AUTH ann pw", "HELLO 3"),
        ("hello 3 auth ann pw SETNAME x", "hello 3 SETNAME x"),
        ("HELLO 3 SETNAME AUTH AUTH ann pw", "HELLO 3 SETNAME AUTH"),
    ]:
        kept.client(said).to_server(sent).server(HELLO_3).to_client(HELLO_3)
        assert kept.gate.asked.pop() == (sent, False)
    assert kept.gate.became_ == []


def test_a_hello_without_a_version_is_not_made_another(kept: Playbook) -> None:
    said = error("ERR Protocol version is not an integer or out of range")
    kept.asks("HELLO AUTH SETNAME x", said)


def test_no_part_of_it_gets_through_by_a_nul(kept: Playbook) -> None:
    kept.client(command([b"HELLO", b"2", b"AUTH\0", b"root", b"pw"])).to_server("HELLO 2")


def test_behind_reset_the_agent_authenticates_again(kept: Playbook) -> None:
    kept.client("RESET", "GET a").to_server("RESET").server(RESET).to_server(AGENTS).to_client(RESET)
    kept.server(OK).to_client().to_server("GET a")
    assert kept.gate.became_ == [("default", 0), ("agent", None)]


def test_behind_reset_it_is_not_taken_any_more(kept: Playbook) -> None:
    kept.client("RESET", "GET a").server(RESET, error("WRONGPASS no")).to_server("RESET", AGENTS)
    kept.to_client(RESET, error("NOPERM lockgate: the datastore did not take the agent's credential (WRONGPASS)"))
    assert kept.session.closing


def test_a_password_for_everybody(new: Playbook) -> None:
    new.client("PING")
    new.session.connected(None, Login(None, Secret("pw")))
    new.to_server("AUTH pw").server(OK).to_server("PING").server(PONG).to_client(PONG)
    assert new.gate.became_ == [("default", None)]


def test_a_held_hello(kept: Playbook) -> None:
    kept.gate.rulings["HELLO"] = None
    kept.client("HELLO 3 AUTH ann pw", "GET a").to_server()
    kept.resume(Ruling()).to_server("HELLO 3").server(HELLO_3).to_server("GET a")
