"""Subscriptions, in both versions: answers are told from messages, and messages from answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lockgate.wire.gate import Refusal, Ruling, Why
from lockgate.wire.redis import answers, pubsub
from tests.support.redis_playbook import (
    DENIED,
    DENIED_REPLY,
    HELLO_2,
    HELLO_3,
    MASK,
    OK,
    RESET,
    Masked,
    MaskedMessages,
    Playbook,
    array,
    bulk,
    confirmed,
    error,
    message,
    number,
    push,
    status,
    whole,
)

PINGED = array(bulk("pong"), bulk(""))


def confined(name: str) -> bytes:
    return error(
        f"ERR Can't execute '{name}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this "
        "context"
    )


# RESP2


def test_a_subscription_has_an_answer_for_each_channel(play: Playbook) -> None:
    play.client("SUBSCRIBE a b a", "PING").to_server("SUBSCRIBE a b a")
    play.server(confirmed("subscribe", "a", 1), message("a", "early"), confirmed("subscribe", "b", 2)).to_server()
    play.server(confirmed("subscribe", "a", 2)).to_server("PING")
    play.to_client(confirmed("subscribe", "a", 1), message("a", "early"), confirmed("subscribe", "b", 2),
                   confirmed("subscribe", "a", 2))  # fmt: skip
    play.server(message("b", "x"), PINGED).to_client(message("b", "x"), PINGED)
    play.outcomes(("SUBSCRIBE a b a", "completed"), ("PING", "completed"))
    assert play.session.idle


def test_a_subscribed_client_may_do_little(play: Playbook) -> None:
    play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1))
    play.client("GET secret", "HELLO 3", "MULTI", "CLIENT REPLY OFF", "MONITOR").to_server()
    play.to_client(*map(confined, ("get", "hello", "multi", "client", "monitor")))
    play.asks("PING hi", array(bulk("pong"), bulk("hi")))
    play.asks("UNSUBSCRIBE", confirmed("unsubscribe", "a", 0)).asks("GET a", bulk("1"))


def test_unsubscribing_from_everything_has_an_answer_for_each_or_one_of_nothing(play: Playbook) -> None:
    play.asks("SUBSCRIBE a b", confirmed("subscribe", "a", 1) + confirmed("subscribe", "b", 2))
    play.asks("PSUBSCRIBE p*", confirmed("psubscribe", "p*", 3))
    play.client("UNSUBSCRIBE", "PING").to_server("UNSUBSCRIBE").server(confirmed("unsubscribe", "b", 2)).to_server()
    play.server(confirmed("unsubscribe", "a", 1)).to_server("PING").server(PINGED)
    play.to_client(confirmed("unsubscribe", "b", 2), confirmed("unsubscribe", "a", 1), PINGED)
    play.asks("UNSUBSCRIBE", confirmed("unsubscribe", None, 1))
    play.asks("PUNSUBSCRIBE p* q", confirmed("punsubscribe", "p*", 0) + confirmed("punsubscribe", "q", 0))
    play.asks("LRANGE l 0 -1", array(bulk("message"), bulk("a"), bulk("x")))


def test_a_reply_that_looks_like_a_message_is_one_only_to_a_subscriber(play: Playbook) -> None:
    forged = message("a", "forged")
    play.client("LRANGE l 0 -1", "SUBSCRIBE a").server(forged, confirmed("subscribe", "a", 1))
    play.to_client(forged, confirmed("subscribe", "a", 1))
    play.outcomes(("LRANGE l 0 -1", "completed"), ("SUBSCRIBE a", "completed"))


def test_patterns_and_shard_channels(play: Playbook) -> None:
    play.asks("PSUBSCRIBE n*", confirmed("psubscribe", "n*", 1)).asks("SSUBSCRIBE s", confirmed("ssubscribe", "s", 1))
    shown = array(bulk("pmessage"), bulk("n*"), bulk("news"), bulk("x"))
    play.server(shown, message("s", "y", word="smessage")).to_client(shown, message("s", "y", word="smessage"))


def by_pattern(pattern: str, channel: str | None, text: str, of: Callable[..., bytes] = array) -> bytes:
    return of(bulk("pmessage"), bulk(pattern), bulk(channel), bulk(text))


def test_messages_are_masked_by_the_channel_that_they_came_on(play: Playbook) -> None:
    masking = play.gate.messages["secret"] = MaskedMessages()
    play.gate.rulings["PSUBSCRIBE"] = Ruling(standing="two said so")
    play.asks("SUBSCRIBE plain", confirmed("subscribe", "plain", 1))
    play.asks("SUBSCRIBE secret", confirmed("subscribe", "secret", 2))
    play.asks("PSUBSCRIBE s*", confirmed("psubscribe", "s*", 3))
    play.asks("SSUBSCRIBE secret", confirmed("ssubscribe", "secret", 1))
    seen = [message("secret", "1"), by_pattern("s*", "secret", "2"), message("secret", "3", word="smessage")]
    play.server(message("plain", "1"), *seen, by_pattern("s*", "some", "4"))
    play.to_client(message("plain", "1"), *[b"*1\r\n" + MASK] * 3, by_pattern("s*", "some", "4"))
    assert masking.seen == seen
    assert list(dict.fromkeys(play.gate.heard_)) == [
        ("SUBSCRIBE plain", "plain"),
        ("SUBSCRIBE secret", "secret"),
        ("PSUBSCRIBE s*", "secret"),
        ("SSUBSCRIBE secret", "secret"),
        ("PSUBSCRIBE s*", "some"),
    ]
    assert set(play.gate.standing) == {None, "two said so"}
    assert play.gate.standing[-1] == "two said so"


def test_a_pattern_that_is_called_like_a_plain_channel_masks_no_less(play: Playbook) -> None:
    play.gate.messages["secret"] = MaskedMessages()
    play.asks("PSUBSCRIBE plain", confirmed("psubscribe", "plain", 1))
    play.server(by_pattern("plain", "secret", "1")).to_client(b"*1\r\n" + MASK)


NOT_ANY_MORE = Refusal(Why.DENIED, "lockgate: not any more")


def test_what_would_not_be_permitted_any_more_ends_without_a_word(play: Playbook) -> None:
    play.asks("SUBSCRIBE a b", confirmed("subscribe", "a", 1) + confirmed("subscribe", "b", 2))
    play.server(message("a", "1")).to_client(message("a", "1"))
    play.gate.messages["a"] = NOT_ANY_MORE
    play.server(message("b", "2"), message("a", "3"), message("b", "4")).to_client(message("b", "2"))
    assert play.session.closing


def test_nothing_of_a_large_message_that_is_not_permitted_any_more_is_seen(play: Playbook) -> None:
    play.asks("PSUBSCRIBE *", confirmed("psubscribe", "*", 1))
    play.gate.messages["a"] = NOT_ANY_MORE
    play.session.server_data(by_pattern("*", "a", "s3cret" * 10_000)[:500])
    play.to_client()
    assert play.session.closing


def test_a_message_is_held_until_its_channel_is_known(play: Playbook) -> None:
    """However it is cut: what it is masked by is told by its third part."""
    play.gate.messages["secret"] = MaskedMessages()
    play.asks("PSUBSCRIBE s*", confirmed("psubscribe", "s*", 1))
    whole = by_pattern("s*", "secret", "s3cret")
    for cut in range(1, len(whole)):
        play.session.server_data(whole[:cut])
        play.to_client()
        play.session.server_data(whole[cut:])
        play.to_client(b"*1\r\n" + MASK)


def test_a_subscription_goes_on_with_what_it_was_let_pass_by_last(play: Playbook) -> None:
    play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1))
    play.gate.rulings["SUBSCRIBE"] = Ruling(standing="anew")
    play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1)).server(message("a", "x")).to_client(message("a", "x"))
    assert play.gate.standing[-1] == "anew"


def test_a_message_that_cant_be_masked_is_left_out(play: Playbook) -> None:
    play.gate.messages["a"] = Masked(fails=True)
    play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1)).server(message("a", "1"), message("a", "2")).to_client()
    assert not play.session.closing


def test_a_large_message_passes_as_it_comes(play: Playbook) -> None:
    play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1))
    large = message("a", "x" * 200_000)
    play.session.server_data(large[:1000])
    play.to_client(large[:1000])
    play.gate.rulings["UNSUBSCRIBE"] = DENIED
    play.client("UNSUBSCRIBE").to_client()
    play.session.server_data(large[1000:])
    play.to_client(large[1000:], DENIED_REPLY)


def test_a_large_message_that_is_masked_is_too_long(play: Playbook) -> None:
    play.gate.messages["a"] = MaskedMessages()
    play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1))
    play.session.server_data(message("a", "x" * 200_000)[:100_000])
    play.broken("too long to be read")


def test_a_subscription_that_is_refused(play: Playbook) -> None:
    play.gate.rulings["SUBSCRIBE secret"] = DENIED
    play.client("SUBSCRIBE secret").to_client(DENIED_REPLY).to_server()
    refusal = error("NOPERM this user has no permissions to access one of the channels used as arguments")
    play.asks("SUBSCRIBE a b", refusal).asks("GET a", bulk("1"))
    assert play.gate.runs[-2].error == "NOPERM"
    play.client("SUBSCRIBE").to_client(error("ERR wrong number of arguments for 'subscribe' command"))


def test_more_subscriptions_than_there_may_be(play: Playbook) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pubsub, "SUBSCRIPTIONS", 2)
        play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1))
        play.client("SUBSCRIBE b c").to_server()
        assert b"-ERR lockgate: more than 2 subscriptions" in play.session.drain_client()
        patch.setattr(pubsub, "NAMES_BYTES", 10)
        play.client("SUBSCRIBE abcdefghijk").to_server()
        assert b"bytes" in play.session.drain_client()
        play.asks("UNSUBSCRIBE a", confirmed("unsubscribe", "a", 0))
        play.asks("SUBSCRIBE abcdefghij", confirmed("subscribe", "abcdefghij", 1))


def test_reset_forgets_subscriptions(play: Playbook) -> None:
    play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1)).client("RESET", "GET k").to_server("RESET")
    play.server(message("a", "late"), RESET).to_client(message("a", "late"), RESET).to_server("GET k")
    play.server(message("a", "not any more")).to_client(message("a", "not any more"))
    play.outcomes(("SUBSCRIBE a", "completed"), ("RESET", "completed"), ("GET k", "completed"))


def test_what_others_have_the_server_say_of_changed_keys_is_left_out(play: Playbook) -> None:
    """CLIENT TRACKING REDIRECT sends it to who listens to anything in RESP2, whatever that is (tracking.c)."""
    told = array(bulk("message"), bulk("__redis__:invalidate"), array(bulk("k")))
    play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1))
    play.server(told, message("a", "x")).to_client(message("a", "x"))
    subscribed = confirmed("subscribe", "__redis__:invalidate", 2)
    play.asks("SUBSCRIBE __redis__:invalidate", subscribed).server(told).to_client(told)


# what a server must not say to a subscriber


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (message("b", "x"), "of a channel that nobody listens to"),
        (message("a", "x", word="pmessage"), "of a channel that nobody listens to"),
        (array(bulk("message"), bulk(None), bulk("x")), "of a channel that nobody listens to"),
        (by_pattern("p*", None, "x"), "push can't be read"),
        (array(bulk("pmessage"), bulk("p*")), "push can't be read"),
        (array(bulk("pmessage"), bulk("p*"), array(bulk("a")), bulk("x")), "push can't be read"),
        (confirmed("subscribe", "b", 2), "nobody asked for"),
        (confirmed("unsubscribe", "a", 0), "nobody asked for"),
        (array(bulk("x"), bulk("y")), "something else than a subscribed client can ask"),
        (PINGED, "the server answered what nobody asked"),
        (array(number(1), number(2)), "push can't be read"),
        (array(), "push can't be read"),
        (array(bulk("message")), "push can't be read"),
        (b"*?\r\n.\r\n", "push can't be read"),
        (bulk("x"), "the server answered what nobody asked"),
        (b"|0\r\n" + message("a", "x"), "push can't be read"),
    ],
)
def test_what_is_neither_message_nor_answer(play: Playbook, said: bytes, why: str) -> None:
    play.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1)).asks("PSUBSCRIBE p*", confirmed("psubscribe", "p*", 2))
    play.server(said).broken(why)


def test_a_confirmation_of_something_else(play: Playbook) -> None:
    play.client("SUBSCRIBE a b").server(bulk("x")).broken("answered a subscription with something else")
    for said in (confirmed("subscribe", "c", 2), confirmed("psubscribe", "b", 2), confirmed("unsubscribe", "b", 0)):
        again = Playbook(split=play.split).begun()
        again.client("SUBSCRIBE a b").server(confirmed("subscribe", "a", 1), said).broken("subscription")


# shard channels that the server takes away


def test_a_slot_moves(play: Playbook) -> None:
    play.client("SSUBSCRIBE a b").server(confirmed("ssubscribe", "a", 1), confirmed("ssubscribe", "b", 2))
    play.session.drain_client()
    play.server(confirmed("sunsubscribe", "a", 1)).to_client(confirmed("sunsubscribe", "a", 1))
    play.server(message("a", "x", word="smessage")).broken("nobody listens to")


def test_a_confirmation_too_many_is_not_taken_for_a_reply(play: Playbook) -> None:
    play.gate.rulings["GET secret"] = Ruling(masking=Masked())
    play.asks("SSUBSCRIBE a", confirmed("ssubscribe", "a", 1))
    play.session.drain_server()
    # the server takes it away, and then answers that it has
    play.client("SUNSUBSCRIBE", "GET secret", "GET plain").server(confirmed("sunsubscribe", "a", 0))
    play.to_server("SUNSUBSCRIBE", "GET secret", "GET plain").to_client(confirmed("sunsubscribe", "a", 0))
    play.server(confirmed("sunsubscribe", None, 0)).broken("one too many")
    assert b"secret" not in play.session.drain_client()


def test_who_had_a_shard_channel_is_served_on(play: Playbook) -> None:
    play.asks("SSUBSCRIBE a", confirmed("ssubscribe", "a", 1)).asks("SUNSUBSCRIBE", confirmed("sunsubscribe", "a", 0))
    play.asks("LRANGE l 0 -1", array(bulk("1"), bulk("2"), bulk("3"))).asks("GET k", bulk("x" * 70_000))
    play.asks("GET k", bulk("sunsubscribe"))


# RESP3


@pytest.fixture
def three(play: Playbook) -> Playbook:
    play.speaks_3().outcomes(("HELLO 3", "completed"))
    return play


def test_in_resp3_messages_are_pushes_and_everything_may_be_asked(three: Playbook) -> None:
    three.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1, push))
    three.client("LRANGE l 0 -1", "GET k").server(message("a", "1", push), array(bulk("message"), bulk("a"), bulk("x")))
    three.server(message("a", "2", push), bulk("v"), message("a", "3", push))
    three.to_client(message("a", "1", push), array(bulk("message"), bulk("a"), bulk("x")), message("a", "2", push),
                    bulk("v"), message("a", "3", push))  # fmt: skip
    three.outcomes(("SUBSCRIBE a", "completed"), ("LRANGE l 0 -1", "completed"), ("GET k", "completed"))


def test_in_resp3_a_message_may_come_between_the_answers_to_a_subscription(three: Playbook) -> None:
    three.client("SUBSCRIBE a b", "GET k").to_server("SUBSCRIBE a b")
    said = [confirmed("subscribe", "a", 1, push), message("a", "x", push), confirmed("subscribe", "b", 2, push)]
    three.server(*said).to_client(*said).to_server("GET k")


def test_in_resp3_messages_are_masked(three: Playbook) -> None:
    three.gate.messages["a"] = MaskedMessages()
    three.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1, push)).server(message("a", "x", push))
    three.to_client(b">1\r\n" + MASK)
    three.asks("PSUBSCRIBE *", confirmed("psubscribe", "*", 2, push)).server(by_pattern("*", "a", "x", push))
    three.to_client(b">1\r\n" + MASK)


def test_in_resp3_what_is_not_permitted_any_more_ends_what_is_on_its_way_too(three: Playbook) -> None:
    three.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1, push))
    three.gate.messages["a"] = NOT_ANY_MORE
    three.client("GET k", "GET l").server(bulk("v"), message("a", "x", push), bulk("w")).to_client(bulk("v"))
    three.outcomes(("SUBSCRIBE a", "completed"), ("GET k", "completed"), ("GET l", "disconnected"))


def test_a_mask_outlasts_a_change_of_version(three: Playbook) -> None:
    three.gate.messages["a"] = MaskedMessages()
    three.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1, push)).client("HELLO 2")
    three.server(message("a", "x", push), HELLO_2, message("a", "x"))
    three.to_client(b">1\r\n" + MASK, HELLO_2, b"*1\r\n" + MASK)


def test_a_downgrade_to_resp2_while_subscribed_confines(three: Playbook) -> None:
    three.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1, push)).client("HELLO 2", "GET secret").to_server("HELLO 2")
    three.server(message("a", "still a push", push), HELLO_2).to_server()
    three.to_client(message("a", "still a push", push), HELLO_2, confined("get"))
    three.server(message("a", "now an array")).to_client(message("a", "now an array"))
    three.server(message("a", "a push again", push)).broken("the server sent a push in RESP2")


def test_a_push_in_resp2(play: Playbook) -> None:
    play.client("GET a").server(push(bulk("invalidate"), array(bulk("a")))).broken("a push in RESP2")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (push(bulk("subscribe"), bulk("a"), number(1)), "confirmed a subscription that nobody asked for"),
        (message("a", "x", push), "nobody listens to"),
        (push(bulk("MOVING"), bulk("127.0.0.1:6380")), "an unknown push"),
        (push(bulk("GET"), bulk("secret")), "an unknown push"),
        (push(bulk("x")), "an unknown push"),
        (b">0\r\n", "push can't be read"),
        (push(number(1), number(2)), "push can't be read"),
        (b">?\r\n+message\r\n+a\r\n.\r\n", "push can't be read"),
        (b"|1\r\n+a\r\n+b\r\n" + push(bulk("invalidate"), array(bulk("a"))), "push can't be read"),
    ],
)
def test_pushes_that_nobody_asked_for(three: Playbook, said: bytes, why: str) -> None:
    three.client("GET a").server(said).broken(why)


def test_a_subscription_under_another_name_shows_itself(three: Playbook) -> None:
    # rename-command: the reply of what comes behind would be taken for its own
    three.gate.rulings["GET secret"] = Ruling(masking=Masked())
    three.client("SUB a", "GET secret").server(confirmed("subscribe", "a", 1, push), bulk("secret"))
    three.broken("confirmed a subscription that nobody asked for")


def test_a_slot_moves_in_resp3(three: Playbook) -> None:
    three.asks("SSUBSCRIBE a", confirmed("ssubscribe", "a", 1, push))
    three.server(confirmed("sunsubscribe", "a", 0, push)).to_client(confirmed("sunsubscribe", "a", 0, push))
    nothing = push(bulk("sunsubscribe"), b"_\r\n", number(0))
    three.asks("SUNSUBSCRIBE", nothing).asks("GET k", bulk("v"))


# what is asked about again


@pytest.mark.parametrize("said", ["SUBSCRIBE a", "PSUBSCRIBE a*", "SSUBSCRIBE a"])
def test_what_is_listened_to_is_asked_about_when_rules_become_others(play: Playbook, said: str) -> None:
    word, name = said.split()
    play.asks("SUBSCRIBE x", confirmed("subscribe", "x", 1)).asks(said, confirmed(word.lower(), name, 2))
    play.session.reconsider()
    play.to_client()
    assert sorted(play.gate.heard_) == sorted([("SUBSCRIBE x", None), (said, None)])
    assert not play.session.closing
    play.gate.messages[word] = NOT_ANY_MORE
    play.session.reconsider()
    play.to_client()
    assert play.session.closing
    play.session.reconsider()


def test_what_is_not_listened_to_any_more_is_not_asked_about(play: Playbook) -> None:
    play.asks("SUBSCRIBE a b", confirmed("subscribe", "a", 1) + confirmed("subscribe", "b", 2))
    play.asks("UNSUBSCRIBE a", confirmed("unsubscribe", "a", 1))
    play.session.reconsider()
    assert play.gate.heard_ == [("SUBSCRIBE b", None)]
    play.client("RESET").server(RESET).session.reconsider()
    assert len(play.gate.heard_) == 1


def test_so_many_are_asked_about_at_once(play: Playbook) -> None:
    names = [f"c{number}" for number in range(10)]
    play.client("SUBSCRIBE " + " ".join(names)).server(*(confirmed("subscribe", name, 1) for name in names))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answers, "RECONSIDERED", 4)
        play.session.reconsider()
    assert len(play.gate.heard_) == 4


def test_what_runs_when_a_connection_is_reconsidered_is_told_to_have_been_broken_off(three: Playbook) -> None:
    three.asks("SUBSCRIBE a", confirmed("subscribe", "a", 1, push)).client("GET k")
    three.gate.messages["SUBSCRIBE"] = NOT_ANY_MORE
    three.session.reconsider()
    three.outcomes(("SUBSCRIBE a", "completed"), ("GET k", "disconnected"))


# client tracking


def test_tracking_that_was_turned_off_is_not_asked_about(three: Playbook) -> None:
    three.asks("CLIENT TRACKING ON BCAST", OK)
    # what comes behind waits for the answer: it may turn it on again
    three.client("CLIENT TRACKING off\0", "CLIENT TRACKING ON").to_server("CLIENT TRACKING off\0")
    three.server(OK).to_server("CLIENT TRACKING ON").server(OK).to_client(OK, OK)
    three.session.reconsider()
    assert three.gate.heard_ == [("CLIENT TRACKING ON", None)]
    three.asks("CLIENT TRACKING OFF", error("ERR no")).session.reconsider()
    assert len(three.gate.heard_) == 2, "it was not"


def test_invalidations_pass_while_they_are_permitted(three: Playbook) -> None:
    gone, everything = push(bulk("invalidate"), array(bulk("k"))), push(bulk("invalidate"), b"_\r\n")
    three.asks("CLIENT TRACKING ON", OK).asks("GET k", bulk("v")).server(gone, everything).to_client(gone, everything)
    three.server(push(bulk("tracking-redir-broken"))).to_client(push(bulk("tracking-redir-broken")))
    three.asks("CLIENT TRACKING ON bcast\0x", OK).asks("CLIENT TRACKING ON", error("ERR You can't switch"))
    three.server(gone).to_client(gone)
    # that all of them are told is what it has to be permitted
    assert three.gate.heard_[-1] == ("CLIENT TRACKING ON bcast\0x", None)
    three.gate.messages["CLIENT"] = NOT_ANY_MORE
    three.server(gone).to_client()
    assert three.session.closing


def test_invalidations_of_another_connection_by_a_channel(play: Playbook) -> None:
    channel = "__redis__:invalidate"
    play.asks(f"SUBSCRIBE {channel}", confirmed("subscribe", channel, 1))
    said = array(bulk("message"), bulk(channel), array(bulk("k1"), bulk("k2")))
    play.server(said).to_client(said)


# MONITOR

LINE = status('1700000000.123456 [0 127.0.0.1:5000] "GET" "secret"')


def test_monitor_tells_of_every_command(play: Playbook) -> None:
    play.client("MONITOR", "GET a").to_server("MONITOR").server(OK, LINE, LINE)
    refused = error("ERR lockgate: only QUIT and RESET are allowed while MONITOR tells of every command")
    shown = play.session.drain_client()
    assert shown.replace(refused, b"") == OK + LINE + LINE
    assert shown.count(refused) == 1
    play.client("RESET", "GET a").to_server("RESET").server(LINE, RESET).to_client(LINE, RESET).to_server("GET a")
    play.server(LINE).to_client(LINE).outcomes(("MONITOR", "completed"), ("RESET", "completed"), ("GET a", "completed"))


def test_what_monitor_tells_is_masked(play: Playbook) -> None:
    masking = play.gate.messages["MONITOR"] = MaskedMessages()
    play.asks("MONITOR", OK).server(LINE).to_client(b"+1\r\n" + MASK)
    assert masking.seen == [LINE]
    play.client("QUIT").to_client(OK)


def test_what_monitor_tells_ends_with_the_permission(play: Playbook) -> None:
    play.asks("MONITOR", OK).server(LINE).to_client(LINE)
    play.gate.messages["MONITOR"] = NOT_ANY_MORE
    play.server(LINE, LINE).to_client()
    assert play.session.closing


def test_a_monitor_that_is_refused(play: Playbook) -> None:
    refusal = error("NOPERM no")
    play.asks("MONITOR", refusal).asks("GET a", bulk("1"))


def test_hello_3_and_then_a_subscription_by_one_breath(play: Playbook) -> None:
    play.client("HELLO 3", "SUBSCRIBE a", "GET k").to_server("HELLO 3").server(HELLO_3).to_server("SUBSCRIBE a")
    play.server(confirmed("subscribe", "a", 1, push)).to_server("GET k").server(bulk("v"))
    play.to_client(HELLO_3, confirmed("subscribe", "a", 1, push), bulk("v"))


def test_nothing_is_sent_for_whom_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is answered makes room for what waits behind it, and then the connection ends."""
    monkeypatch.setattr("lockgate.wire.redis.commands.PIPELINE", 4)
    play = Playbook(split=whole).begun().speaks_3()
    play.asks("SUBSCRIBE c", confirmed("subscribe", "c", 1, push))
    play.client(*["GET k"] * 9).to_server(*["GET k"] * 4)
    play.gate.messages["c"] = NOT_ANY_MORE
    play.gate.asked.clear()
    play.server(bulk("v"), message("c", "m", push)).to_client(bulk("v")).to_server()
    assert play.session.closing
    assert play.gate.asked == []
