"""Commands that are not just passed on, and what keeps one waiting."""

from __future__ import annotations

import pytest

from tests.support.redis_playbook import DENIED, OK, Playbook, bulk, bytewise, command, error, number


@pytest.mark.parametrize("said", ["CLIENT REPLY OFF", "client reply skip", "CLIENT REPLY", "CLIENT REPLY ON now"])
def test_every_command_has_to_be_answered(play: Playbook, said: str) -> None:
    play.client(said, "GET a").to_server("GET a")
    play.to_client(error("ERR lockgate: CLIENT REPLY OFF and SKIP are refused: every command has to be answered"))
    assert play.gate.asked == [("GET a", False)]


def test_the_rest_of_client_passes(play: Playbook) -> None:
    play.asks("CLIENT REPLY ON", OK).asks("CLIENT", error("ERR wrong number")).asks("client tracking on", OK)
    play.asks("CLIENT NO-EVICT on", OK)


@pytest.mark.parametrize("said", ["SYNC", "psync ? -1", "REPLCONF ack 1"])
def test_replication_is_refused(play: Playbook, said: str) -> None:
    play.client(said).to_server().to_client(error("ERR lockgate: replication connections are refused"))


def test_the_name_that_is_sent_is_the_one_that_came(play: Playbook) -> None:
    play.asks("gEt a", bulk("1")).asks("sElEcT 1", OK).asks("ReSeT", b"+RESET\r\n")


def test_what_waits_is_counted_until_it_goes(play: Playbook) -> None:
    play.gate.rulings["DEL k"] = None
    said = command("DEL k") + command("GET a") * 3
    play.session.client_data(said)
    assert 0 < play.session.waiting_bytes <= len(said)
    before = play.session.waiting_bytes
    play.session.client_data(command("GET b"))
    assert play.session.waiting_bytes == before + len(command("GET b"))
    play.to_server().resume().to_server("DEL k", "GET a", "GET a", "GET a", "GET b")
    assert play.session.waiting_bytes == 0


def test_one_wait_behind_another(play: Playbook) -> None:
    play.gate.rulings["DEL"] = None
    play.client("DEL a", "DEL b", "DEL c").to_server()
    play.resume().to_server("DEL a").resume(DENIED).to_server().resume().to_server("DEL c")
    with pytest.raises(RuntimeError, match="nothing waits"):
        play.resume()


def test_a_command_that_comes_in_many_pieces(play: Playbook) -> None:
    large = command([b"SET", b"k", b"x" * 60_000])
    for part in (bytewise(large[:100]), [large[100:50_000], large[50_000:]]):
        for piece in part:
            play.session.client_data(piece)
    assert not play.session.waiting_bytes
    play.to_server(large).server(OK).to_client(OK)


def test_many_arguments(play: Playbook) -> None:
    many = command([b"DEL", *(b"k%d" % n for n in range(5000))])
    play.asks(many, number(5000))
