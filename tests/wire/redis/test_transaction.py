"""MULTI, EXEC, DISCARD, WATCH: what is queued was asked about, what runs was asked about as a whole."""

from __future__ import annotations

import pytest

from lockgate.wire.gate import Ruling
from lockgate.wire.redis import transaction
from tests.support.redis_playbook import (
    ABORTED,
    ALLOW,
    DENIED,
    DENIED_REPLY,
    HELLO_3,
    MASK,
    NOTHING,
    OK,
    QUEUED,
    RESET,
    Masked,
    Playbook,
    array,
    bulk,
    command,
    error,
    number,
)

EMPTY = array()


@pytest.fixture
def multi(play: Playbook) -> Playbook:
    """Inside MULTI."""
    play.asks("MULTI", OK).outcomes(("MULTI", "completed"))
    play.gate.asked.clear()
    return play


def test_a_transaction(play: Playbook) -> None:
    play.client("MULTI", "SET a 1", "GET b", "EXEC", "GET c")
    # whether the server is inside MULTI decides how the next is judged
    play.to_server("MULTI").server(OK)
    play.to_server("SET a 1", "GET b", "EXEC").to_client(OK)
    assert play.gate.queued == ["SET a 1", "GET b"]
    assert play.gate.asked == [("MULTI", False), ("EXEC(SET a 1; GET b)", True)]
    play.server(QUEUED, QUEUED).to_server().to_client(QUEUED, QUEUED)
    play.server(array(OK, bulk("2"))).to_client(array(OK, bulk("2"))).to_server("GET c")
    play.server(bulk("3")).to_client(bulk("3"))
    play.outcomes(("MULTI", "completed"), ("EXEC(SET a 1; GET b)", "completed"), ("GET c", "completed"))
    assert play.gate.asked[-1] == ("GET c", False)


def test_a_multi_that_the_server_refuses_leaves_commands_judged_one_by_one(play: Playbook) -> None:
    refusal = error("NOPERM User x has no permissions to run the 'multi' command")
    play.gate.rulings["GET secret"] = DENIED
    play.client("MULTI", "GET secret", "EXEC").to_server("MULTI").server(refusal).to_server()
    play.to_client(refusal, DENIED_REPLY, error("ERR EXEC without MULTI"))
    assert play.gate.queued == []


def test_a_multi_that_policy_refuses(play: Playbook) -> None:
    play.gate.rulings["MULTI"] = DENIED
    play.client("MULTI", "GET a").to_server("GET a").to_client(DENIED_REPLY)
    assert play.gate.queued == []


def test_a_command_that_is_refused_locally_makes_the_transaction_fail(multi: Playbook) -> None:
    multi.gate.unqueued.add("DEL")
    multi.client("SET a 1", "DEL b", "SET c 1", "EXEC", "GET d").to_server("SET a 1", "SET c 1", "DISCARD")
    multi.server(QUEUED).to_client(QUEUED, DENIED_REPLY).server(QUEUED).to_client(QUEUED)
    multi.server(OK).to_client(ABORTED).to_server("GET d")
    multi.outcomes()
    assert multi.gate.asked == [("GET d", False)]


def test_whether_a_command_may_be_queued_may_take_time(multi: Playbook) -> None:
    multi.gate.later.add("LG.GET")
    multi.client("SET a 1", "LG.GET a", "GET b", "EXEC").to_server("SET a 1").server(QUEUED).to_client(QUEUED)
    assert multi.session.parked
    multi.resume().to_server("LG.GET a", "GET b", "EXEC")
    assert multi.gate.asked == [("EXEC(SET a 1; LG.GET a; GET b)", True)]
    multi.server(QUEUED, QUEUED).to_client(QUEUED, QUEUED)
    multi.server(array(OK, bulk("1"), bulk("2"))).to_client(array(OK, bulk("1"), bulk("2")))


def test_and_the_answer_be_no(multi: Playbook) -> None:
    multi.gate.later.add("LG.GET")
    multi.client("SET a 1", "LG.GET a", "EXEC").to_server("SET a 1").server(QUEUED).to_client(QUEUED)
    multi.resume(DENIED).to_client(DENIED_REPLY).to_server("DISCARD").server(OK).to_client(ABORTED)
    multi.outcomes()


def test_nothing_of_it_is_settled_when_the_client_goes_meanwhile(multi: Playbook) -> None:
    multi.gate.later.add("LG.GET")
    multi.client("LG.GET a").to_server()
    multi.session.client_gone()
    multi.resume().to_server().outcomes()


@pytest.mark.parametrize(
    "refused",
    ["SELECT 1", "AUTH x y", "HELLO 3", "SUBSCRIBE c", "PUNSUBSCRIBE", "SSUBSCRIBE c", "MONITOR", "CLIENT REPLY OFF",
     "client reply skip", "CLIENT TRACKING ON", "PSYNC ? -1", "DISCARD x", "MULTI x", "WATCH", "AUTH", "RESET x"],
)  # fmt: skip
def test_what_cant_be_queued_makes_it_fail_too(multi: Playbook, refused: str) -> None:
    multi.client("SET a 1", refused, "EXEC").to_server("SET a 1", "DISCARD").server(QUEUED, OK)
    shown = multi.session.drain_client()
    assert shown.startswith(QUEUED + b"-ERR ")
    assert shown.endswith(ABORTED)
    assert shown.count(b"\r\n") == 3


def test_an_error_of_the_servers_makes_it_fail(multi: Playbook) -> None:
    unknown = error("ERR unknown command 'NOPE'")
    multi.client("NOPE").server(unknown).to_client(unknown).to_server("NOPE")
    multi.client("EXEC").to_server("DISCARD").server(OK).to_client(ABORTED)
    assert multi.gate.asked == []
    # and where EXEC was sent before that was known, the server says so itself
    multi.asks("MULTI", OK).client("NOPE", "EXEC").to_server("NOPE", "EXEC").server(unknown, ABORTED)
    multi.to_client(unknown, ABORTED).asks("GET a", bulk("1"))
    assert multi.gate.asked[-1] == ("GET a", False)
    assert multi.gate.runs[-2].error == "EXECABORT"


def test_exec_is_held_and_let_go(multi: Playbook) -> None:
    multi.gate.rulings["EXEC"] = None
    multi.client("DEL a", "EXEC", "GET b").to_server("DEL a").server(QUEUED).to_client(QUEUED)
    assert multi.session.parked
    multi.resume().to_server("EXEC").server(array(number(1))).to_client(array(number(1))).to_server("GET b")


def test_exec_is_held_and_refused(multi: Playbook) -> None:
    multi.gate.rulings["EXEC"] = None
    multi.client("DEL a", "EXEC", "GET b").to_server("DEL a").server(QUEUED)
    multi.resume(DENIED).to_server("DISCARD").server(OK).to_client(QUEUED, DENIED_REPLY).to_server("GET b")
    multi.outcomes()


def test_exec_is_refused(multi: Playbook) -> None:
    multi.gate.rulings["EXEC"] = DENIED
    multi.client("DEL a", "EXEC").to_server("DEL a", "DISCARD").server(QUEUED, OK).to_client(QUEUED, DENIED_REPLY)
    multi.asks("GET a", bulk("1"))


def test_the_whole_reply_is_masked_as_one(multi: Playbook) -> None:
    masking = Masked()
    multi.gate.rulings["EXEC"] = Ruling(masking=masking)
    multi.client("GET a", "GET b", "EXEC").server(QUEUED, QUEUED, array(bulk("1"), bulk("2")))
    multi.to_client(QUEUED, QUEUED, MASK)
    assert masking.seen == [array(bulk("1"), bulk("2"))]
    assert multi.gate.runs[-1].masked_cells == 1
    assert multi.gate.runs[-1].detected == {"email": 1}


def test_keys_that_were_changed(play: Playbook) -> None:
    play.asks("WATCH a b", OK)
    play.asks("GET a", bulk("1"))
    assert play.gate.asked == [("WATCH a b", False), ("GET a", True)]
    play.asks("MULTI", OK).asks("SET a 2", QUEUED).asks("EXEC", NOTHING).asks("GET a", bulk("1"))
    assert play.gate.asked[-1] == ("GET a", False)


def test_discard(multi: Playbook) -> None:
    multi.asks("SET a 1", QUEUED).asks("DISCARD", OK).asks("GET a", bulk("1"))
    assert multi.gate.asked == [("DISCARD", True), ("GET a", False)]


def test_a_discard_that_the_server_refuses_leaves_the_transaction_open(multi: Playbook) -> None:
    refusal = error("NOPERM User x has no permissions to run the 'discard' command")
    multi.asks("DISCARD", refusal).asks("SET a 1", QUEUED)
    assert multi.gate.queued == ["SET a 1"]


def test_a_discard_of_ours_that_the_server_refuses_ends_the_connection(multi: Playbook) -> None:
    multi.gate.rulings["EXEC"] = DENIED
    multi.client("SET a 1", "EXEC").server(QUEUED, error("NOPERM no")).broken("did not discard a transaction")


def test_an_old_server_that_stays_inside_multi(multi: Playbook) -> None:
    # before 6.2: an EXEC that its ACL refuses changes nothing
    refusal = error("NOPERM this user has no permissions to run the 'exec' command")
    multi.client("SET a 1", "EXEC", "GET secret").to_server("SET a 1", "EXEC").server(QUEUED, refusal)
    multi.to_client(QUEUED, refusal).to_server("DISCARD").server(OK).to_client().to_server("GET secret")


def test_exec_with_arguments_aborts_as_in_redis(multi: Playbook) -> None:
    said = error("EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command")
    multi.client("SET a 1", "EXEC now", "GET a").to_server("SET a 1", "DISCARD").server(QUEUED, OK)
    multi.to_client(QUEUED, said).to_server("GET a").server(bulk("1")).to_client(bulk("1"))
    multi.client("EXEC now").to_client(said).to_server()


def test_what_is_said_outside_a_transaction(play: Playbook) -> None:
    play.client("EXEC", "DISCARD", "MULTI x", "WATCH", "UNWATCH x").to_server()
    play.to_client(
        error("ERR EXEC without MULTI"),
        error("ERR DISCARD without MULTI"),
        error("ERR wrong number of arguments for 'multi' command"),
        error("ERR wrong number of arguments for 'watch' command"),
        error("ERR wrong number of arguments for 'unwatch' command"),
    )


def test_multi_and_watch_inside_multi_change_nothing(multi: Playbook) -> None:
    multi.client("MULTI", "WATCH a").to_server()
    multi.to_client(error("ERR MULTI calls can not be nested"), error("ERR WATCH inside MULTI is not allowed"))
    multi.asks("UNWATCH", QUEUED).asks("CLIENT INFO", QUEUED).asks("EXEC", array(OK, bulk("id=1")))


def test_reset_inside_multi(multi: Playbook) -> None:
    multi.gate.rulings["GET secret"] = DENIED
    multi.client("SET a 1", "RESET", "GET secret", "EXEC").to_server("SET a 1", "RESET").server(QUEUED, RESET)
    multi.to_client(QUEUED, RESET, DENIED_REPLY, error("ERR EXEC without MULTI")).to_server()
    assert multi.gate.became_ == [("default", 0)]


def test_quit_inside_multi(multi: Playbook) -> None:
    multi.client("SET a 1", "QUIT", "EXEC").to_server("SET a 1").server(QUEUED).to_client(QUEUED, OK)
    assert multi.session.closing


@pytest.mark.parametrize("reply", [bulk("v"), array(), OK, NOTHING, b":1\r\n"])
def test_a_server_that_runs_what_it_should_queue(multi: Playbook, reply: bytes) -> None:
    multi.client("GET a").server(reply).broken("the server did not queue")


@pytest.mark.parametrize("said", [QUEUED, bulk("OK"), NOTHING])
def test_a_server_that_answers_multi_with_something_else(play: Playbook, said: bytes) -> None:
    play.client("MULTI", "GET secret").server(said).to_server("MULTI").broken("answered MULTI with something else")


def test_more_is_queued_than_may_be(multi: Playbook) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "QUEUED", 2)
        multi.client("GET a", "GET b", "GET c").to_server("GET a", "GET b").server(QUEUED, QUEUED)
    shown = multi.session.drain_client()
    assert b"-ERR lockgate: more than" in shown
    multi.client("EXEC").to_server("DISCARD").server(OK).to_client(ABORTED)


def test_more_bytes_are_queued_than_may_be(multi: Playbook) -> None:
    large = command([b"SET", b"k", b"x" * 40_000])
    multi.client(large, large).to_server(large).server(QUEUED)
    assert b"-ERR lockgate: more than" in multi.session.drain_client()
    multi.client("EXEC").to_server("DISCARD").server(OK).to_client(ABORTED)
    multi.asks("MULTI", OK).asks(large, QUEUED)


def test_arguments_without_a_byte_count_as_well(multi: Playbook) -> None:
    empty = command([b"MGET", *[b""] * 400])
    multi.client(empty, empty).to_server(empty).server(QUEUED)
    assert b"-ERR lockgate: more than" in multi.session.drain_client()


def test_a_push_inside_the_reply_of_exec_ends_the_connection(play: Playbook) -> None:
    # Redis 7.0 sends it where a client publishes, inside MULTI, to a channel of its own: clients count it as an element
    play.speaks_3().asks("MULTI", OK).client("PUBLISH c x", "EXEC").server(QUEUED).to_client(QUEUED)
    play.server(b"*1\r\n>3\r\n" + bulk("message") + bulk("c") + bulk("x") + b":1\r\n").broken()
    play.outcomes(("HELLO 3", "completed"), ("MULTI", "completed"), ("EXEC(PUBLISH c x)", "broken"))


def test_a_transaction_in_resp3(play: Playbook) -> None:
    play.client("HELLO 3", "MULTI").to_server("HELLO 3").server(HELLO_3).to_server("MULTI").server(OK)
    play.to_client(HELLO_3, OK).asks("GET a", QUEUED).asks("EXEC", b"*1\r\n_\r\n").asks("MULTI", OK)
    play.asks("EXEC", b"_\r\n").asks("GET a", b"_\r\n")


def test_a_disconnect_inside_a_transaction(multi: Playbook) -> None:
    multi.client("SET a 1", "EXEC").server(QUEUED)
    multi.session.server_gone()
    multi.outcomes(("EXEC(SET a 1)", "disconnected"))


def test_an_empty_transaction(multi: Playbook) -> None:
    multi.gate.rulings["EXEC"] = ALLOW
    multi.asks("EXEC", EMPTY).outcomes(("EXEC()", "completed"))
