"""A connection from its first byte to its last: start-up, authentication, waiting, the end."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.wire.gate import Refusal, Ruling
from lockgate.wire.postgresql import errors
from lockgate.wire.postgresql.frames import (
    cancel_request,
    frame,
    negotiate_protocol_version,
    ssl_request,
    startup,
)
from lockgate.wire.postgresql.session import Session
from lockgate.wire.session import WantsTls
from tests.support.playbook import (
    BOUND,
    DENIED,
    KERNEL,
    PARSED,
    SYNC,
    TERMINATE,
    Playbook,
    ScriptedGate,
    Split,
    authentication,
    bind,
    bytewise,
    complete,
    error,
    execute,
    fields,
    parameter,
    parse,
    password,
    query,
    ready,
    row,
    whole,
)  # fmt: skip
from tests.wire.postgresql.hostile import SuspiciousGate

ANN = {"user": "ann", "database": "orders"}
OLDEST = negotiate_protocol_version([])
GSSENC_REQUEST = struct.pack("!II", 8, 80877104)
SELECT = (fields("?"), row(b"1"), complete("SELECT 1"), ready())


@pytest.fixture
def new(split: Split) -> Playbook:
    return Playbook(split=split)


# start-up


def test_a_client_introduces_itself(new: Playbook) -> None:
    assert not new.session.idle, "what is still made has something to be broken off"
    new.client(startup(ANN)).to_client()
    assert new.session.wants_upstream
    assert new.session.parameters == ANN
    new.session.connected()
    new.to_server(startup(ANN), typed=False)
    new.server(authentication(0), parameter("client_encoding", "UTF8"), frame(b"K", b"\0\0\0\7abcd"), ready())
    new.to_client(authentication(0), parameter("client_encoding", "UTF8"), frame(b"K", b"\0\0\0\7abcd"), ready())
    assert new.gate.keys == [(7, b"abcd")]
    assert new.session.ready
    assert new.session.idle


def test_encryption_is_declined(new: Playbook) -> None:
    new.client(ssl_request()).to_client(b"N", typed=False)
    new.client(GSSENC_REQUEST).to_client(b"N", typed=False)
    new.client(startup(ANN))
    assert new.session.wants_upstream


def test_bytes_glued_behind_an_encryption_request_are_refused_as_postgresql_does() -> None:
    play = Playbook().client(ssl_request() + startup(ANN))
    assert play.session.closing
    assert play.client_errors()[0].startswith("08P01")


def test_encryption_is_asked_for_once(new: Playbook) -> None:
    new.client(ssl_request()).to_client(b"N", typed=False)
    new.client(ssl_request())
    assert new.session.closing


def test_a_newer_minor_version_and_unknown_options_are_negotiated_down(new: Playbook) -> None:
    new.client(startup({**ANN, "_pq_.grease": "1"}, minor=9999)).to_client()
    new.session.connected()
    new.to_server(startup(ANN, minor=2), typed=False)
    new.server(OLDEST).to_client()
    new.server(authentication(0)).to_client(frame(b"v", b"\0\3\0\0\0\0\0\1_pq_.grease\0"), authentication(0))


@pytest.mark.parametrize(("asked", "offered"), [(0, 0), (1, 0), (2, 2), (3, 2), (9999, 2)])
@pytest.mark.parametrize("knows", [0, 2])
def test_the_version_that_the_client_is_told_is_in_force_on_both_sides(
    split: Split, asked: int, offered: int, knows: int
) -> None:
    play = Playbook(split=split).client(startup(ANN, minor=asked))
    play.session.connected()
    play.to_server(startup(ANN, minor=offered), typed=False)
    agreed = min(offered, knows)
    if agreed < offered:
        play.server(OLDEST)
    key = frame(b"K", b"\0\0\0\7" + b"k" * (32 if agreed else 4))
    play.server(authentication(0), key, ready())
    told = [] if agreed == asked else [negotiate_protocol_version([], agreed)]
    play.to_client(*told, authentication(0), key, ready())
    assert play.session.ready


@pytest.mark.parametrize("minor", [0, 2])
@pytest.mark.parametrize(
    "answer",
    [
        [OLDEST, OLDEST],
        [negotiate_protocol_version([], 1)],
        [negotiate_protocol_version([], 2)],
        [negotiate_protocol_version(["_pq_.x"])],
        [frame(b"v", OLDEST[5:-1])],
        [frame(b"v")],
        [authentication(0), OLDEST],
    ],
)
def test_a_server_that_negotiates_what_it_was_not_asked_for(split: Split, minor: int, answer: list[bytes]) -> None:
    play = Playbook(split=split).client(startup(ANN, minor=minor))
    play.session.connected()
    play.server(*answer)
    assert play.session.closing
    assert play.client_errors()[0].startswith("08P01")


@pytest.mark.parametrize(
    ("minor", "length", "taken"),
    [(0, 3, False), (0, 4, True), (0, 5, False), (0, 32, False), (2, 3, False), (2, 4, True), (2, 32, True),
     (2, 256, True), (2, 257, False)],
)  # fmt: skip
def test_cancellation_keys_are_as_long_as_the_version_has_them(
    split: Split, minor: int, length: int, taken: bool
) -> None:
    play = Playbook(split=split).client(startup(ANN, minor=minor))
    play.session.connected()
    play.server(authentication(0), frame(b"K", b"\0\0\0\7" + b"k" * length))
    assert play.session.closing is not taken
    assert play.gate.keys == ([(7, b"k" * length)] if taken else [])


def test_the_client_is_given_a_key_of_the_houses_own(new: Playbook) -> None:
    new.gate.secret = lambda theirs: theirs[::-1]
    new.client(startup(ANN))
    new.session.connected()
    new.server(authentication(0), frame(b"K", b"\0\0\0\7abcd"))
    new.to_client(authentication(0), frame(b"K", b"\0\0\0\7dcba"))


@pytest.mark.parametrize(
    "early", [ready(), frame(b"K", b"\0\0\0\7abcd"), parameter("client_encoding", "UTF8")], ids=["ready", "key", "set"]
)
def test_a_server_that_skips_authentication(new: Playbook, early: bytes) -> None:
    new.client(startup(ANN))
    new.session.connected()
    new.server(early)
    assert new.session.closing
    assert not new.gate.keys


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",  # a TLS handshake without asking first
        struct.pack("!II", 8, 2 << 16),
        struct.pack("!II", 10_001, 3 << 16),
        struct.pack("!II", 7, 3 << 16),
        startup({"database": "orders"}),
        startup({"user": ""}),
        startup({"user": "a" * 64}),
        startup({"user": "ann", "database": "ä" * 32}),
        struct.pack("!II", 26, 3 << 16) + b"user\0ann\0user\0bob\0",
        struct.pack("!II", 27, 3 << 16) + b"user\0ann\0user\0bob\0\0",
        struct.pack("!II", 12, 80877102) + b"abcd",
        cancel_request(7, b"abc"),
        cancel_request(7, b"k" * 257),
        struct.pack("!II", 12, 80877103) + b"more",
    ],
)  # fmt: skip
def test_what_is_no_start_up_is_answered_and_closed(new: Playbook, data: bytes) -> None:
    new.client(data)
    assert new.session.closing
    assert not new.session.wants_upstream
    assert new.client_errors()[0].startswith("08P01")


@pytest.mark.parametrize("value", ["database", "true", "on", "1", "t", "y"])
def test_replication_is_refused(new: Playbook, value: str) -> None:
    new.client(startup({**ANN, "replication": value}))
    assert new.session.closing
    assert new.client_errors() == ["0A000 lockgate: replication connections are refused"]


def test_the_gate_may_refuse_a_client(split: Split) -> None:
    gate = ScriptedGate()
    gate.refused_users.add("ann")
    play = Playbook(gate, split=split).client(startup(ANN))
    assert play.session.closing
    assert play.client_errors() == ["28000 not this user"]


@pytest.mark.parametrize("secret", [b"abcd", b"k" * 32, b"k" * 256])
def test_a_cancel_request_is_told_to_the_gate_and_is_the_end(new: Playbook, secret: bytes) -> None:
    new.client(cancel_request(7, secret)).to_client()
    assert new.gate.cancelled == [(7, secret)]
    assert new.session.closing
    assert not new.session.wants_upstream


def test_a_cancel_that_is_on_its_way_ends_when_it_was_taken(new: Playbook) -> None:
    new.gate.cancelling = True
    new.client(cancel_request(7, b"abcd")).to_client()
    assert not new.session.closing
    new.session.cancelled()
    assert new.session.closing


def test_what_comes_behind_a_request_to_cancel_is_not_read(new: Playbook) -> None:
    new.gate.cancelling = True
    new.client(cancel_request(7, b"abcd") + startup(ANN)).client(startup(ANN)).to_client().to_server()
    assert not new.session.wants_upstream
    assert new.session.waiting_bytes <= len(startup(ANN))


def test_an_upstream_that_is_not_there(new: Playbook) -> None:
    new.client(startup(ANN))
    new.session.failed(Refusal(errors.CANNOT_CONNECT, "lockgate: nobody listens"))
    assert new.session.closing
    assert new.client_errors() == ["08001 lockgate: nobody listens"]


# authentication


@pytest.mark.parametrize(
    "steps",
    [
        [(authentication(3), password(b"secret\0"))],
        [(authentication(5, b"salt"), password(b"md5abc\0"))],
        [
            (authentication(10, b"SCRAM-SHA-256\0\0"), password(b"SCRAM-SHA-256\0\0\0\0\1n")),
            (authentication(11, b"r=1"), password(b"c=1")),
        ],
        [(authentication(7), password(b"\1token")), (authentication(8, b"more"), password(b"\2token"))],
    ],
    ids=["cleartext", "md5", "sasl", "gss"],
)
def test_authentication_of_every_kind_is_relayed(new: Playbook, steps: list[tuple[bytes, bytes]]) -> None:
    new.client(startup(ANN))
    new.session.connected()
    new.to_server(startup(ANN), typed=False)
    for asked, answered in steps:
        new.server(asked).to_client(asked)
        new.client(answered).to_server(answered)
    new.server(authentication(12, b"v=1"), authentication(0), ready())
    new.to_client(authentication(12, b"v=1"), authentication(0), ready())


@pytest.mark.parametrize("left", [b"SCRAM-SHA-256\0\0", b"SCRAM-SHA-256\0OAUTHBEARER\0\0"])
def test_what_is_bound_to_the_servers_tls_is_not_offered_to_a_client_without(new: Playbook, left: bytes) -> None:
    new.client(startup(ANN))
    new.session.connected()
    new.server(authentication(10, b"SCRAM-SHA-256-PLUS\0" + left)).to_client(authentication(10, left))


def test_where_nothing_else_is_offered_it_is_said(new: Playbook) -> None:
    new.client(startup(ANN))
    new.session.connected()
    new.server(authentication(10, b"SCRAM-SHA-256-PLUS\0\0"))
    assert "bound to its TLS" in new.client_errors()[0]


def test_a_password_that_is_wrong(new: Playbook) -> None:
    new.client(startup(ANN))
    new.session.connected()
    failed = error("28P01", 'password authentication failed for user "ann"', "FATAL")
    new.server(authentication(3)).client(password(b"x\0")).server(failed).to_client(authentication(3), failed)
    new.session.server_gone()
    assert new.session.closing


@pytest.mark.parametrize("early", [query("SELECT 1"), SYNC, frame(b"F"), b"\0\0\0\0\0", frame(b"p", b"x" * 70_000)])
def test_nothing_but_answers_before_authentication_is_over(new: Playbook, early: bytes) -> None:
    new.client(startup(ANN))
    new.session.connected()
    new.to_server(startup(ANN), typed=False)
    new.client(early).to_server()
    assert new.session.closing


def test_what_comes_before_the_upstream_is_connected_is_bounded(new: Playbook) -> None:
    new.client(startup(ANN))
    new.session.client_data(password(b"x" * 70_000))
    assert new.session.closing


def test_goodbye_while_authenticating(new: Playbook) -> None:
    new.client(startup(ANN))
    new.session.connected()
    new.client(TERMINATE).to_server(startup(ANN) + TERMINATE, typed=False)
    assert new.session.closing


def test_a_statement_sent_before_the_server_is_ready_waits_and_is_judged(new: Playbook) -> None:
    new.client(startup(ANN))
    new.session.connected()
    new.server(authentication(0)).to_server(startup(ANN), typed=False)
    new.client(query("SELECT 1")).to_server()
    assert new.session.waiting_bytes
    assert not new.gate.asked
    new.server(parameter("client_encoding", "UTF8"), ready()).to_server(query("SELECT 1"))
    assert [asked.request.text for asked in new.gate.asked] == ["SELECT 1"]


def test_a_server_that_asks_for_authentication_twice(new: Playbook) -> None:
    new.client(startup(ANN))
    new.session.connected()
    new.server(authentication(0), authentication(3))
    assert new.session.closing


# waiting


def waiting(split: Split) -> Playbook:
    return Playbook(ScriptedGate({"DELETE": None}), split=split).begun()


def test_nothing_overtakes_a_statement_that_waits(split: Split) -> None:
    play = waiting(split).client(query("SELECT 0"), query("DELETE"), query("SELECT 1")).to_server(query("SELECT 0"))
    assert play.session.parked
    assert not play.session.idle
    play.server(*SELECT).to_client(*SELECT).to_server()
    play.resume().to_server(query("DELETE"), query("SELECT 1"))
    assert not play.session.parked


def test_a_statement_refused_after_waiting(split: Split) -> None:
    play = waiting(split).client(query("DELETE"), query("SELECT 1")).resume(DENIED)
    play.to_server(query("SELECT 1")).to_client(errors.error_response(DENIED), ready())
    assert play.gate.settled == []


def test_a_bind_that_waits_holds_the_pipeline(split: Split) -> None:
    play = waiting(split).client(parse("", "DELETE"), bind("", ""), execute(""), SYNC).to_server(parse("", "DELETE"))
    play.resume().to_server(bind("", ""), execute(""), SYNC)
    play.server(PARSED, BOUND, complete("DELETE 1"), ready())
    assert play.gate.settled == [("DELETE", "completed")]


def test_an_error_before_a_statement_that_waits_makes_it_moot(split: Split) -> None:
    play = waiting(split).client(parse("", "SELECT 1"), bind("", ""), execute(""), parse("", "DELETE"), bind("", ""))
    assert play.session.parked
    play.server(PARSED, BOUND, error("22012")).to_server(
        parse("", "SELECT 1"), bind("", ""), execute(""), parse("", "DELETE")
    )
    play.resume().client(execute(""), SYNC).to_server(SYNC)
    assert play.gate.settled == [("SELECT 1", "error"), ("DELETE", "skipped")]
    play.server(ready())
    assert play.session.idle


def test_a_client_that_goes_while_it_waits(split: Split) -> None:
    play = waiting(split).client(query("DELETE"))
    play.session.client_gone()
    assert play.session.closing
    play.resume().to_server()
    assert play.gate.settled == [("DELETE", "disconnected")]
    assert not play.session.parked


def test_a_wait_that_ends_in_a_cancel(split: Split) -> None:
    play = waiting(split).client(query("DELETE"))
    play.resume(Refusal(errors.QUERY_CANCELED, "canceling statement due to user request")).to_server()
    assert play.client_errors() == ["57014 canceling statement due to user request"]


def test_resuming_what_does_not_wait_is_a_bug(play: Playbook) -> None:
    with pytest.raises(RuntimeError, match="nothing waits"):
        play.resume()


def test_a_notice_stands_between_messages_only(split: Split) -> None:
    play = waiting(split).client(query("SELECT 1"), query("DELETE"))
    answer = b"".join(SELECT)
    play.server(answer[:34]).session.notice("held", "wait")
    play.server(answer[34:39]).server(answer[39:]).to_client(
        fields("?"), row(b"1"), errors.notice_response("held", "wait"), *SELECT[2:]
    )


def test_a_bind_that_waits_and_can_not_be_shown_is_refused(split: Split) -> None:
    play = waiting(split).client(parse("", "DELETE"), frame(b"B", b"\0\0\0\0\0\5"))
    assert play.session.closing


# the end


def test_goodbye(play: Playbook) -> None:
    play.client(TERMINATE).to_server(TERMINATE)
    assert play.session.closing
    assert play.session.ended_well


def test_goodbye_behind_a_statement_that_waits_for_an_answer(split: Split) -> None:
    play = Playbook(ScriptedGate({"SET x": Ruling(barrier=True)}), split=split).begun()
    play.client(query("SET x"), query("SELECT 1"), TERMINATE).to_server(query("SET x"))
    assert not play.session.closing
    play.server(complete("SET"), ready()).to_server(query("SELECT 1"), TERMINATE)
    assert play.session.closing
    assert play.gate.settled == [("SET x", "completed"), ("SELECT 1", "disconnected")]


def test_what_runs_when_a_side_goes_is_told_to_the_gate(play: Playbook) -> None:
    play.client(query("SELECT 1")).session.server_gone()
    assert play.gate.settled == [("SELECT 1", "disconnected")]
    play.client(query("SELECT 2")).server(*SELECT).to_client()


@pytest.mark.parametrize(
    "data",
    [
        frame(b"?"), frame(b"W", b"x"), b"Q\0\0\0\3", b"Q\xff\xff\xff\xff", b"Q" + struct.pack("!I", 65_537),
        frame(b"Q", b"SELECT 1"), frame(b"Q", b"SELECT\x001\0"), frame(b"Q"), frame(b"P", b"a\0SELECT"),
        frame(b"P", b"a"),
        frame(b"P", b"a\0SELECT 1\0"), frame(b"P", b"a\0SELECT 1\0\0\2abcd"), frame(b"B", b"a"), frame(b"E", b"a\0"),
        frame(b"D", b"P"), frame(b"D", b"Xa\0"), frame(b"C", b"Xa\0"), frame(b"C", b"Sa\0more"), frame(b"S", b"more"),
        frame(b"H", b"more"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_ends_the_connection(play: Playbook, data: bytes) -> None:
    play.client(query("SELECT 0"), data, query("SELECT 1")).to_server(query("SELECT 0"))
    assert play.session.closing
    assert play.client_errors()[0].startswith("08P01")
    assert play.gate.settled == [("SELECT 0", "broken")]


def test_a_client_message_may_have_the_bound_and_no_more() -> None:
    play = Playbook(message_bytes=100).begun()
    longest = query("x" * 95)
    play.client(longest).to_server(longest)
    play.client(query("x" * 96)).to_server()
    assert play.session.closing


def test_what_waits_counts(split: Split) -> None:
    play = waiting(split).client(query("DELETE"), query("SELECT 1"))
    assert play.session.waiting_bytes == len(query("SELECT 1"))


def test_an_error_of_ours_is_not_put_into_a_row(play: Playbook) -> None:
    play.client(query("SELECT 1")).server(fields("?"), row(b"abcdef")[:-3])
    play.session.failed(Refusal(errors.ADMIN_SHUTDOWN, "stopping"))
    assert play.client_errors() == []
    assert play.session.closing


# whatever comes


def transcript() -> list[tuple[str, bytes]]:
    masked = fields("ssn", table=7)
    return [
        ("client", startup(ANN)),
        ("connected", b""),
        ("server", authentication(0) + parameter("client_encoding", "UTF8") + ready()),
        ("client", query("SELECT 1; SECRET 1") + parse("s", "SECRET 2") + bind("", "s") + execute("") + SYNC),
        ("server", fields("?") + row(b"1") + complete("SELECT 1") + masked + row(b"x") * 3 + complete("SELECT 3")),
        ("server", ready() + PARSED + BOUND + masked + row(b"abc", ) + error("22012") + ready()),
        ("client", query("NONSENSE") + parse("s", "SELECT 2") + query("SELECT 3") + SYNC),
        ("server", error("42P05") + ready()),
        ("client", query("COPY in") + frame(b"d", b"1\n") + frame(b"c") + query("SELECT 4") + TERMINATE),
        ("server", frame(b"G", b"\0\0\0") + complete("COPY 1") + ready()),
        ("server", fields("?") + row(b"1" * 50) + complete("SELECT 1") + ready()),
    ]  # fmt: skip


def replay(split_client: Split, split_server: Split) -> tuple[bytes, bytes, list[tuple[str, str]]]:

    gate = SuspiciousGate(0)
    session = Session(gate, KERNEL, message_bytes=1000, row_bytes=1000)
    to_client, to_server = b"", b""
    for side, data in transcript():
        if side == "connected":
            session.connected()
        for part in (split_client if side == "client" else split_server)(data):
            (session.client_data if side == "client" else session.server_data)(part)
            to_client += session.drain_client()
            to_server += session.drain_server()
    return to_client, to_server, gate.settled


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1), st.lists(st.integers(1, 40), min_size=1))
def test_however_bytes_are_cut_the_same_comes_out(client: list[int], server: list[int]) -> None:
    def cut(sizes: list[int]) -> Split:
        def split(data: bytes) -> list[bytes]:
            found, pos, n = [], 0, 0
            while pos < len(data):
                found.append(data[pos : pos + sizes[n % len(sizes)]])
                pos += sizes[n % len(sizes)]
                n += 1
            return found

        return split

    assert replay(cut(client), cut(server)) == replay(whole, whole) == replay(bytewise, bytewise)


KINDS = [bytes((kind,)) for kind in b"QPBDESHCXFdcfpRKTtnIsZGA123NW"]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.one_of(
                st.binary(max_size=30),
                st.builds(frame, st.sampled_from(KINDS), st.binary(max_size=20)),
            ),
        ),
        max_size=12,
    )
)  # fmt: skip
def test_no_bytes_from_either_side_raise(script: list[tuple[bool, bytes]]) -> None:
    play = Playbook().begun()
    for from_client, data in script:
        if from_client:
            play.session.client_data(data)
        else:
            play.session.server_data(data)
    judged = {query(asked.request.text) for asked in play.gate.asked} | {query("refused by lockgate")}
    sent = play.session.drain_server()
    pos = 0
    while len(sent) - pos >= 5:
        end = pos + 1 + int.from_bytes(sent[pos + 1 : pos + 5], "big")
        assert sent[pos : pos + 1] not in (b"F", b"p")
        assert sent[pos : pos + 1] != b"Q" or sent[pos:end] in judged
        pos = end
    assert pos == len(sent)


# TLS


def secure() -> Session:
    return Session(ScriptedGate(), KERNEL, message_bytes=1 << 20, row_bytes=1 << 20, tls=True)


@pytest.mark.parametrize("first", [b"", GSSENC_REQUEST])
def test_tls_begins_behind_its_request(first: bytes) -> None:
    session = secure()
    if first:
        session.client_data(first)
        assert session.drain_client() == b"N"
    session.client_data(ssl_request())
    assert (session.drain_client(), session.wants_tls) == (b"S", WantsTls.NEGOTIATED)
    session.secured()
    assert session.wants_tls is None
    session.client_data(startup(ANN))
    assert session.wants_upstream


def test_tls_begins_with_the_first_byte_that_is_its_own() -> None:
    session = secure()
    session.client_data(b"\x16\x03\x01")
    assert (session.drain_client(), session.wants_tls) == (b"", WantsTls.DIRECT)
    session.secured()
    session.client_data(startup(ANN))
    assert session.wants_upstream


def test_the_first_byte_of_tls_is_nothing_without_tls_or_behind_something_else() -> None:
    plain, late = Session(ScriptedGate(), KERNEL, message_bytes=1 << 20, row_bytes=1 << 20), secure()
    late.client_data(GSSENC_REQUEST)
    for session in (plain, late):
        session.client_data(b"\x16\x03\x01\0\x05\x01\0\0\x01")
        assert session.wants_tls is None
        assert b"this is not the PostgreSQL protocol" in session.drain_client()


@pytest.mark.parametrize("more", [ssl_request(), GSSENC_REQUEST])
def test_encryption_is_not_asked_for_inside_tls(more: bytes) -> None:
    session = secure()
    session.client_data(ssl_request())
    session.secured()
    session.client_data(more)
    assert b"asked for twice" in session.drain_client()
    assert session.closing


@pytest.mark.parametrize("flag", [b"y", b"n"])
@pytest.mark.parametrize("plus", [True, False])
def test_a_client_that_misses_the_binding_is_told_what_to_do(flag: bytes, plus: bool) -> None:
    session = secure()
    session.client_data(ssl_request())
    session.secured()
    session.client_data(startup(ANN))
    session.connected(b"hash")
    session.drain_server()
    session.server_data(frame(b"R", b"\0\0\0\x0a" + b"SCRAM-SHA-256-PLUS\0" * plus + b"SCRAM-SHA-256\0\0"))
    first = flag + b",,n=,r=x"
    response = frame(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(first)) + first)
    session.drain_client()
    session.client_data(response)
    if flag == b"y" and plus:
        assert b"C28000\0" in (told := session.drain_client())
        assert b"channel_binding=disable" in told
        assert (session.closing, session.drain_server()) == (True, b"")
    else:
        assert session.drain_server() == response
