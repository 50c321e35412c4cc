"""Connections that are only looked at: what can't be read goes on as it is, nothing lost, doubled or out of order."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.gate import Asked, Ruling
from lockgate.wire.postgresql.authentication import Login
from lockgate.wire.postgresql.frames import cancel_request, frame, ssl_request, startup
from lockgate.wire.postgresql.observed import ObservedSession
from lockgate.wire.postgresql.session import Session
from tests.support.playbook import (
    ALLOW,
    BOUND,
    COPY_DONE,
    COPY_IN,
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
    copy_data,
    error,
    execute,
    fields,
    messages,
    parameter,
    parse,
    password,
    query,
    ready,
    row,
    whole,
)  # fmt: skip

ANN = {"user": "ann", "database": "orders"}
GSSENC_REQUEST = struct.pack("!II", 8, 80877104)
HELLO = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 and whatever a client hello has"
SELECT = (fields("?"), row(b"1"), complete("SELECT 1"), ready())
SASL = authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
LARGE = frame(b"d", b"x" * 70_000)
FUNCTION_CALL = frame(b"F", struct.pack("!IHHIHH", 957, 0, 1, 4, 0, 0))
LATIN1 = frame(b"Q", "SELECT 'é'".encode("latin-1") + b"\0")


FOREIGN = "this is not the PostgreSQL protocol, or the start-up packet is too long"


class LookingGate(ScriptedGate):
    """`blind` as the house has it; `said` has what the session could not read."""

    blind: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def unread(self, why: str) -> None:
        self.said.append(why)

    def run(self, asked: Asked) -> Ruling | None:
        self.asked.append(asked)
        ruling = self.rulings.get(asked.request.text, ALLOW)
        assert ruling is None or isinstance(ruling, Ruling)
        return ruling


class Looked(Playbook):
    session: ObservedSession
    gate: LookingGate

    def __init__(self, *, split: Split = whole, tls: bool = False, passing: bool = False) -> None:
        super().__init__(LookingGate(), split=split)
        self.session = ObservedSession(
            self.gate, KERNEL, message_bytes=65_536, row_bytes=65_536, tls=tls, passing=passing
        )

    def unread(self, why: str) -> Looked:
        assert self.gate.said == [why]
        assert self.session.unread == why
        assert not self.session.closing
        assert self.session.ready
        assert not self.session.idle
        return self

    def both_ways(self) -> None:
        """Whatever it is, both sides get it."""
        self.client(b"\xff\0anything", TERMINATE).to_server(b"\xff\0anything" + TERMINATE, typed=False)
        self.server(b"\0" * 20).to_client(b"\0" * 20, typed=False)
        assert not self.session.closing


@pytest.fixture
def new(split: Split) -> Looked:
    return Looked(split=split)


def begun(split: Split) -> Looked:
    play = Looked(split=split)
    play.begun()
    return play


# what can be read is read as ever


def test_an_ordinary_connection_is_read(new: Looked) -> None:
    new.begun()
    new.client(query("SELECT 1")).to_server(query("SELECT 1"))
    new.server(*SELECT).to_client(*SELECT)
    assert new.gate.settled == [("SELECT 1", "completed")]
    new.client(TERMINATE).to_server(TERMINATE)
    assert new.session.closing
    assert new.session.ended_well
    assert new.gate.said == []


# start-up


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (startup(ANN)[:4] + b"\0\2\0\0" + startup(ANN)[8:], "protocol 2.0 is not supported: 3.0 and 3.2 are"),
        (startup({"database": "orders"}), "the start-up packet names no user"),
        (struct.pack("!II", 12, 3 << 16) + b"user", "start-up packet is not terminated"),
        (struct.pack("!II", 16, 3 << 16) + b"user\0\xe9\0\0", "start-up packet is not UTF-8"),
        (struct.pack("!II", 200_000, 3 << 16), FOREIGN),
        (b"GET / HTTP/1.1\r\n\r\n", FOREIGN),
        (HELLO, FOREIGN),
        (cancel_request(1, b"x" * 300), "CancelRequest is cut short, or too long"),
    ],
)  # fmt: skip
def test_a_start_up_packet_that_cant_be_read_goes_to_the_server_as_it_is(new: Looked, packet: bytes, why: str) -> None:
    new.client(packet, b"and more")
    assert new.session.wants_raw
    assert not new.session.wants_upstream
    new.to_server().to_client()
    new.session.connected()
    new.unread(why).to_server(packet + b"and more", typed=False)
    new.both_ways()


def test_what_is_glued_to_a_request_for_encryption_is_the_servers_to_refuse() -> None:
    play = Looked()
    play.client(ssl_request() + startup(ANN))
    play.session.connected()
    play.to_server(ssl_request() + startup(ANN), typed=False).to_client()
    play.unread("bytes came with a request for encryption, or it was asked for twice").both_ways()


@pytest.mark.parametrize(
    ("parameters", "why"),
    [
        ({"replication": "true"}, "replication connections are refused"),
        ({"replication": "database"}, "replication connections are refused"),
        ({"database": "d" * 64}, "the name of the user or the database is longer than 63 bytes"),
    ],
)
def test_who_asks_for_what_cant_be_read_logs_in_as_ever_and_is_not_read_then(
    new: Looked, parameters: dict[str, str], why: str
) -> None:
    new.client(startup({**ANN, **parameters}))
    assert new.session.wants_upstream
    assert new.gate.said == []
    assert new.session.evades
    new.session.connected(b"certificate")
    new.to_server(startup({**ANN, **parameters}), typed=False)
    # the server's TLS is not the client's: what is bound to it is not offered
    new.server(SASL).to_client(authentication(10, b"SCRAM-SHA-256\0\0"))
    new.client(password(b"SCRAM-SHA-256\0\0\0\0\4n,,")).to_server(password(b"SCRAM-SHA-256\0\0\0\0\4n,,"))
    new.server(authentication(0), frame(b"K", b"\0\0\0\7abcd"), ready())
    new.to_client(authentication(0), frame(b"K", b"\0\0\0\7abcd"), ready())
    new.unread(why)
    assert new.gate.keys == [(7, b"abcd")]
    new.client(query("IDENTIFY_SYSTEM")).to_server(query("IDENTIFY_SYSTEM"))
    assert new.gate.asked == []
    new.server(frame(b"W", b"\0\0\0")).to_client(frame(b"W", b"\0\0\0"))
    new.both_ways()


def test_a_house_that_wont_look_lets_the_client_log_in_first(new: Looked) -> None:
    new.gate.blind = "pid 7 has ended"
    new.begun()
    new.unread("pid 7 has ended").client(query("SELECT 1")).to_server(query("SELECT 1"))
    assert new.gate.asked == []


def test_what_is_sent_before_the_server_is_ready_follows_the_login(split: Split) -> None:
    play = Looked(split=split)
    play.gate.blind = "it is so"
    play.client(startup(ANN), password(b"secret"))
    play.session.connected()
    play.to_server(startup(ANN) + password(b"secret"), typed=False)
    play.server(authentication(0))
    play.client(query("SELECT 1")).to_server()
    play.server(ready())
    play.unread("it is so").to_server(query("SELECT 1"))


def test_a_login_out_of_order_is_left_to_the_two(new: Looked) -> None:
    new.client(startup(ANN))
    new.session.connected()
    new.to_server(startup(ANN), typed=False)
    new.client(query("too early"), b"more").to_server(query("too early") + b"more", typed=False)
    new.unread("message 'Q' before authentication was over").both_ways()


def test_a_server_that_speaks_otherwise_is_passed_on_too(new: Looked) -> None:
    new.client(startup(ANN))
    new.session.connected()
    new.session.drain_server()
    new.server(parameter("a", "b"), frame(b"?", b"x")).to_client(parameter("a", "b"), frame(b"?", b"x"))
    new.unread("the server reported a setting before authentication was over").both_ways()


class Ours(Login):
    user, channel_binding, verified = "app", "prefer", False

    def password(self) -> str | None:
        return "secret"

    def salted(self, salt: bytes, iterations: int) -> bytes | None:
        return None

    def refused(self, code: str, message: str) -> None:
        raise AssertionError(code, message)


def test_where_the_agent_logs_in_the_two_cant_be_left_to_themselves(new: Looked) -> None:
    new.client(startup(ANN))
    new.session.connected(None, Ours())
    new.session.drain_server()
    new.server(frame(b"?", b"x"))
    assert new.session.closing
    assert new.gate.said == []
    assert new.client_errors()[0].startswith("08P01")


# encryption that is the server's affair


def test_tls_is_passed_on(split: Split) -> None:
    play = Looked(split=split, passing=True)
    play.client(ssl_request()).to_client().to_server()
    assert play.session.wants_raw
    assert not play.session.wants_upstream
    assert play.session.evades
    play.session.connected()
    play.to_server(ssl_request(), typed=False)
    play.server(b"S").to_client(b"S", typed=False)
    play.unread("tls").client(HELLO).to_server(HELLO, typed=False)
    play.both_ways()
    assert play.session.parameters == {}


def test_tls_at_once_is_passed_on(split: Split) -> None:
    play = Looked(split=split, passing=True)
    play.client(HELLO)
    assert play.session.wants_raw
    play.session.connected()
    play.to_server(HELLO, typed=False)
    play.unread("tls").both_ways()


def test_a_connection_whose_server_declines_goes_on_readable(split: Split) -> None:
    play = Looked(split=split, passing=True)
    play.client(GSSENC_REQUEST)
    play.session.connected()
    play.to_server(GSSENC_REQUEST, typed=False)
    play.server(b"N").to_client(b"N", typed=False)
    assert not play.session.tls_declined
    play.client(ssl_request()).to_server(ssl_request(), typed=False)
    play.server(b"N").to_client(b"N", typed=False)
    assert play.session.tls_declined
    assert not play.session.evades
    play.client(startup(ANN)).to_server()
    assert play.session.wants_upstream
    play.session.connected()
    play.to_server(startup(ANN), typed=False)
    play.server(authentication(0), parameter("client_encoding", "UTF8"), ready())
    play.session.drain_client()
    play.client(query("SELECT 1")).to_server(query("SELECT 1"))
    assert [asked.request.text for asked in play.gate.asked] == ["SELECT 1"]
    assert play.gate.said == []


def test_a_client_that_doesnt_wait_for_the_answer_is_read_behind_it(split: Split) -> None:
    play = Looked(split=split, passing=True)
    play.client(ssl_request(), startup(ANN))
    play.session.connected()
    play.to_server(ssl_request(), typed=False)
    play.server(b"N").to_client(b"N", typed=False)
    assert play.session.wants_upstream
    assert play.session.parameters == ANN


def test_gss_encryption_is_passed_on(split: Split) -> None:
    play = Looked(split=split, passing=True)
    play.client(GSSENC_REQUEST)
    play.session.connected()
    play.to_server(GSSENC_REQUEST, typed=False).server(b"G").to_client(b"G", typed=False)
    play.unread("gss").both_ways()


def test_a_server_that_answers_with_an_error_is_heard(split: Split) -> None:
    play = Looked(split=whole, passing=True)
    play.client(ssl_request())
    play.session.connected()
    play.session.drain_server()
    play.server(error("53300")).to_client(error("53300"))
    play.unread("tls")


def test_an_unreadable_packet_behind_a_declined_request_goes_the_same_way(split: Split) -> None:
    play = Looked(split=split, passing=True)
    play.client(ssl_request())
    play.session.connected()
    play.session.drain_server()
    play.server(b"N")
    play.session.drain_client()
    play.client(startup({"database": "x"}), b"more").to_server(startup({"database": "x"}) + b"more", typed=False)
    play.unread("the start-up packet names no user").both_ways()


# statements


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (FUNCTION_CALL, "the function call protocol is refused: call it in SQL"),
        (LARGE, "message of 70004 bytes: the bound is 65536"),
        (frame(b"?", b"x"), "message of unknown type '?'"),
        (b"Q\0\0\0\0", "message of 0 bytes: the bound is 65536"),
        (LATIN1, "the statement is not valid UTF-8"),
        (frame(b"Q", b"SELECT 1\0; DROP\0"), "statement text is not terminated, or holds a NUL"),
        (parse("n" * 64, "SELECT 1"), "names are up to 63 ASCII characters"),
        (bind("", "nobody's"), 'prepared statement "nobody\'s" does not exist'),
        (execute("nobody's"), 'portal "nobody\'s" does not exist'),
        (frame(b"S", b"x"), "Sync of a wrong length"),
        (frame(b"C", b"?x\0"), "Close of neither a statement nor a portal"),
    ],
)
def test_a_message_that_cant_be_read_goes_on_with_all_behind_it(split: Split, message: bytes, why: str) -> None:
    play = begun(split)
    play.client(query("SELECT 1"), message, query("SELECT 2"), b"cut")
    play.to_server(query("SELECT 1") + message + query("SELECT 2") + b"cut", typed=False)
    play.unread(why)
    assert [asked.request.text for asked in play.gate.asked] == ["SELECT 1"]
    assert play.gate.settled == [("SELECT 1", "unread")]
    play.server(*SELECT).to_client(*SELECT)
    assert play.gate.settled == [("SELECT 1", "unread")]
    play.both_ways()


def test_a_row_of_copy_in_over_the_bound_goes_on(split: Split) -> None:
    play = begun(split)
    play.client(query("COPY t FROM STDIN"), copy_data(b"1\n"))
    play.to_server(query("COPY t FROM STDIN"))
    play.server(COPY_IN).to_client(COPY_IN).to_server(copy_data(b"1\n"))
    play.client(LARGE, COPY_DONE).to_server(LARGE, COPY_DONE)
    play.unread("message of 70004 bytes: the bound is 65536")
    play.server(complete("COPY 2"), ready()).to_client(complete("COPY 2"), ready())


def test_what_waits_behind_a_copy_or_a_barrier_follows(split: Split) -> None:
    play = begun(split)
    play.gate.rulings["SET x"] = Ruling(barrier=True)
    play.client(query("SET x"), query("SELECT 1"), query("SELECT 2")).to_server(query("SET x"))
    play.server(frame(b"?", b"x"))
    play.to_server(query("SELECT 1"), query("SELECT 2")).to_client(frame(b"?", b"x"))
    play.unread("the server sent a message of unknown type '?'")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            parameter("standard_conforming_strings", "off"),
            "standard_conforming_strings is off: statements would be read in two ways",
        ),
        (COPY_IN, "the server began a COPY FROM STDIN that nobody asked for"),
        (b"T" + struct.pack("!I", 70_000) + b"x", "message 'T' of the server is larger than 65536 bytes"),
        (ready() + ready(), "the server was ready where nobody had asked it to be"),
        (b"D\0\0\0\1", "the server sent a row that can't be read"),
    ],
)
def test_what_the_server_says_goes_on_too(split: Split, said: bytes, why: str) -> None:
    play = begun(split)
    play.client(query("SELECT 1"))
    play.session.drain_server()
    play.server(said, b"and more")
    assert play.session.drain_client() == said + b"and more"
    assert play.session.unread is not None
    assert play.session.unread.startswith(why)
    play.both_ways()


def test_a_statement_that_waits_goes_first(split: Split) -> None:
    play = begun(split)
    play.gate.rulings["SELECT 2"] = None
    play.client(query("SELECT 1"), query("SELECT 2"), query("SELECT 3"))
    play.to_server(query("SELECT 1"))
    assert play.session.parked
    play.server(frame(b"?", b"x")).to_client(frame(b"?", b"x")).to_server()
    play.client(query("SELECT 4")).to_server()
    play.resume()
    play.to_server(query("SELECT 2"), query("SELECT 3"), query("SELECT 4"))
    assert play.gate.settled == [("SELECT 1", "unread"), ("SELECT 2", "unread")]
    play.both_ways()


def test_a_statement_that_cant_go_on_once_it_was_judged_goes_on_unread(split: Split) -> None:
    play = begun(split)
    names = b"".join(parse(f"s{n}", "SELECT 1") for n in range(10_000))
    for start in range(0, len(names), 32_768):
        play.session.client_data(names[start : start + 32_768])
    play.session.server_data(PARSED * 10_000)
    play.client(SYNC)
    play.server(ready())
    play.session.drain_server()
    play.gate.rulings["PREPARE more"] = None
    play.client(query("PREPARE more"), query("SELECT 1")).to_server()
    play.resume()
    play.to_server(query("PREPARE more"), query("SELECT 1"))
    play.unread("more than 10000 names")
    assert play.gate.settled == [("PREPARE more", "unread")]


def test_a_wait_that_ends_with_the_connection_is_over(split: Split) -> None:
    play = begun(split)
    play.gate.rulings["SELECT 1"] = None
    play.client(query("SELECT 1"))
    play.server(frame(b"?"))
    play.session.client_gone()
    play.resume()
    play.to_server()
    assert play.gate.settled == [("SELECT 1", "disconnected")]


def test_the_house_may_give_up_by_itself(split: Split) -> None:
    play = begun(split)
    play.client(query("SELECT 1"), b"Q\0\0").to_server(query("SELECT 1"))
    assert play.session.give_up("a mistake of the agent's")
    assert not play.session.give_up("twice")
    play.to_server(b"Q\0\0", typed=False)
    play.unread("a mistake of the agent's").both_ways()


def test_nothing_is_said_in_the_middle_of_what_isnt_read(split: Split) -> None:
    play = begun(split)
    play.client(FUNCTION_CALL)
    play.session.notice("not here")
    play.session.failed(DENIED)
    play.to_client()
    assert play.session.closing


def test_its_end_is_good_when_the_client_went(split: Split) -> None:
    play = begun(split)
    play.client(FUNCTION_CALL)
    assert not play.session.ended_well
    play.session.client_gone()
    assert play.session.ended_well


def test_a_client_bound_to_our_tls_is_told_what_to_set() -> None:
    play = Looked(tls=True)
    play.client(startup(ANN))
    play.session.connected(b"certificate")
    play.server(SASL)
    play.session.drain_client()
    play.client(password(b"SCRAM-SHA-256\0\0\0\0\4y,,n"))
    assert play.session.bound
    assert b"client_tls: pass" in play.session.drain_client()


# enforced again


def test_what_is_enforced_from_now_on_is_refused_as_by_any_session(split: Split) -> None:
    play = begun(split)
    play.session.enforce()
    assert not play.session.evades
    play.client(FUNCTION_CALL)
    assert play.client_errors()[0].startswith("0A000")
    play.client(LARGE)
    assert play.session.closing
    play.to_server()
    assert play.gate.said == []
    assert not play.session.give_up("no more")


@pytest.mark.parametrize("packet", [startup({**ANN, "replication": "1"}), HELLO, ssl_request() + b"x", startup({})])
def test_nor_is_a_start_up_let_past_then(packet: bytes) -> None:
    play = Looked(passing=True)
    play.session.enforce()
    play.client(packet)
    play.to_server()
    assert play.session.closing
    assert not play.session.wants_raw
    assert not play.session.wants_upstream


ENFORCED = [
    lambda: b"",
    lambda: FUNCTION_CALL,
    lambda: LARGE,
    lambda: LATIN1,
    lambda: frame(b"?", b"x"),
    lambda: frame(b"Q", b"SELECT 1\0; DROP\0"),
    lambda: parse("n" * 64, "SELECT 1"),
    lambda: execute("nobody's"),
    lambda: b"Q\0\0\0\0",
]


@pytest.mark.parametrize("message", ENFORCED)
@pytest.mark.parametrize("said", [b"", frame(b"?", b"x"), COPY_IN, parameter("standard_conforming_strings", "off")])
def test_a_session_that_was_made_to_enforce_never_passes_anything_on(
    split: Split, message: Callable[[], bytes], said: bytes
) -> None:
    """Law 1: it has no way to."""
    play = Playbook(split=split).begun()
    assert type(play.session) is Session
    assert not hasattr(play.session, "give_up")
    assert not play.session.wants_raw
    play.client(message(), b"marker")
    play.server(said)
    play.client(b"marker")
    assert b"marker" not in play.session.drain_server()
    assert not play.session._conversation.observed


# whatever is said, wherever it is cut


ANYTHING = st.lists(
    st.sampled_from([
        query("SELECT 1"), query("NONSENSE"), parse("", "SELECT 2"), bind("", ""), execute(""), SYNC, FUNCTION_CALL,
        LATIN1, frame(b"H"), parse("n" * 70, "SELECT 3"), query("COPY t FROM STDIN"), copy_data(b"x"), COPY_DONE,
        frame(b"?"), LARGE,
    ]) | st.binary(max_size=12),
    max_size=12,
)  # fmt: skip


@given(
    said=ANYTHING, answered=st.lists(st.sampled_from([*SELECT, PARSED, BOUND, COPY_IN, frame(b"?", b"x")]), max_size=6)
)
def test_the_server_gets_what_the_client_sent_wherever_it_is_cut(said: list[bytes], answered: list[bytes]) -> None:
    """In order, complete, and nothing else but Flush of ours, which asks for nothing."""
    outcomes = []
    for split in (whole, bytewise):
        play = begun(split)
        to_server, to_client = b"", b""
        for part in said:
            play.client(part)
            to_server += play.session.drain_server()
        for part in answered:
            play.server(part)
            to_client += play.session.drain_client()
            to_server += play.session.drain_server()
        assert to_client == b"".join(answered)
        if play.session.unread is not None:
            sent = b"".join(said)
            ours = [m for m in messages(to_server) if m != "H b''"]
            assert ours == [m for m in messages(sent) if m != "H b''"] or _without_ignored(sent, to_server)
        outcomes.append((to_server, to_client, play.gate.said, play.gate.settled))
        assert not play.session.closing
    assert outcomes[0] == outcomes[1]


def _without_ignored(sent: bytes, got: bytes) -> bool:
    """What the server ignores (copied data outside of a copy) may be left out before nothing is read any more."""
    rest = iter(messages(sent))
    return all(any(m == each for each in rest) for m in messages(got) if m != "H b''")
