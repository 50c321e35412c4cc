"""What the server says besides rows: errors, notices, settings, keys."""

from __future__ import annotations

import pytest

from lockgate.wire.gate import Ruling
from lockgate.wire.postgresql.errors import WITHHELD
from lockgate.wire.postgresql.frames import frame
from tests.support.playbook import (
    BOUND,
    CLOSED,
    COPY_DONE,
    COPY_IN,
    COPY_OUT,
    NO_DATA,
    PARAMETERS,
    PARSED,
    SUSPENDED,
    SYNC,
    LookedAt,
    Masked,
    Playbook,
    ScriptedGate,
    Split,
    bind,
    complete,
    copy_data,
    error,
    execute,
    fields,
    notice,
    parameter,
    parse,
    query,
    ready,
    row,
)  # fmt: skip

QUOTING = error("22P02", 'invalid input syntax: "123-45-6789"', D="Failing row contains (123-45-6789)")
SSN = b"123-45-6789"


@pytest.fixture
def masked(split: Split) -> Playbook:
    return Playbook(ScriptedGate({"SECRET": Ruling(masking=Masked())}), split=split).begun()


def test_an_error_of_an_unmasked_statement_is_passed_on_unchanged(play: Playbook) -> None:
    play.client(query("SELECT 1")).server(QUOTING, ready()).to_client(QUOTING, ready())


def test_an_error_of_a_masked_statement_quotes_nothing(masked: Playbook) -> None:
    masked.client(query("SECRET")).server(fields("ssn"), QUOTING, ready())
    found = masked.session.drain_client()
    assert SSN not in found
    assert b"C22P02\0M" + WITHHELD.encode() in found


def test_texts_are_gone_over_where_values_are_only_looked_at(split: Split) -> None:
    ruling = Ruling(masking=LookedAt(nothing=True))
    play = Playbook(ScriptedGate({"SECRET": ruling}), split=split).begun()
    play.client(query("SECRET")).server(notice("saw 123-45-6789"), QUOTING, ready())
    found = play.session.drain_client()
    assert SSN not in found
    assert b'Minvalid input syntax: "***"\0' in found
    assert b"DFailing row contains (***)\0" in found
    assert b"saw ***" in found
    # what holds none stands as it was
    play.client(query("SECRET")).server(error("42P01", 'relation "t" does not exist', H="Make it."), ready())
    assert error("42P01", 'relation "t" does not exist', H="Make it.") in play.session.drain_client()
    # and so does what the server says of other statements
    play.client(query("SELECT 1")).server(QUOTING, ready())
    assert QUOTING in play.session.drain_client()


def test_an_error_at_sync_quotes_nothing_of_what_ran_before(masked: Playbook) -> None:
    """A deferred constraint: it answers Sync, and quotes the row of the statement before."""
    masked.client(parse("", "SECRET"), bind("", ""), execute(""), SYNC)
    masked.server(PARSED, BOUND, NO_DATA, complete("INSERT 0 1"), QUOTING, ready())
    assert SSN not in masked.session.drain_client()
    masked.client(query("SELECT 1")).server(QUOTING, ready()).to_client(QUOTING, ready())


def test_within_the_transaction_neither_do_errors_and_notices_of_others(masked: Playbook) -> None:
    masked.client(query("BEGIN"), query("SECRET"), query("SELECT 1"), query("COMMIT"))
    masked.server(complete("BEGIN"), ready("T"), fields("ssn"), complete("SELECT 0"), ready("T"))
    masked.server(notice("found 123-45-6789"), complete("SELECT 1"), ready("T"), QUOTING, ready())
    assert SSN not in masked.session.drain_client()


def test_a_fatal_error_quotes_nothing_either_and_is_passed_on(masked: Playbook) -> None:
    masked.client(query("SECRET")).server(error("57P01", "terminating connection", "FATAL", D="123-45-6789"))
    assert masked.client_errors() == ["57P01 terminating connection"]
    masked.session.server_gone()
    assert masked.gate.settled == [("SECRET", "disconnected")]


def test_errors_of_parsing_are_about_the_clients_own_text(masked: Playbook) -> None:
    masked.client(query("BEGIN"), query("SECRET")).server(
        complete("BEGIN"), ready("T"), complete("SELECT 0"), ready("T")
    )
    masked.session.drain_client()
    masked.client(parse("", "SELCT"), SYNC).server(QUOTING, ready("E")).to_client(QUOTING, ready("E"))


def test_notices_notifications_and_settings_may_come_at_any_time(play: Playbook) -> None:
    told = frame(b"A", b"\0\0\0\1channel\0payload\0"), notice("hello"), parameter("TimeZone", "UTC")
    play.server(*told).to_client(*told)
    play.client(query("SELECT 1")).server(*told, fields("?"), *told, row(b"1"), *told, complete("SELECT 1"), ready())
    play.to_client(*told, fields("?"), *told, row(b"1"), *told, complete("SELECT 1"), ready())


@pytest.mark.parametrize("said", [(query("LISTEN"),), (parse("", "LISTEN"), bind("", ""), execute(""), SYNC)])
def test_payloads_are_kept_from_who_may_not_see_what_they_tell(said: tuple[bytes, ...]) -> None:
    play = Playbook(ScriptedGate({"LISTEN": Ruling(barrier=True, deaf=True)})).begun()
    told, rest = frame(b"A", b"\0\0\0\1c\0user1@example.org\0"), frame(b"A", b"\0\0\0\1c\0\0")
    play.server(told).to_client(told)
    play.client(*said)
    play.server(told).to_client(rest)
    play.server(frame(b"A", b"\0\0\0\1c\0\0")).to_client(rest)


def test_strings_that_can_be_read_in_two_ways_end_the_connection(play: Playbook) -> None:
    play.server(parameter("standard_conforming_strings", "on"))
    assert not play.session.closing
    play.server(parameter("standard_conforming_strings", "off"))
    assert play.session.closing


def test_another_encoding_leaves_ascii_only(play: Playbook) -> None:
    play.client(query("SET client_encoding")).server(complete("SET"), parameter("client_encoding", "SJIS"), ready())
    play.session.drain_server()
    play.session.drain_client()
    play.client(query("SELECT 'é'")).to_server()
    assert play.client_errors()[0].startswith("22021")
    play.client(query("SELECT 1")).to_server(query("SELECT 1"))


def test_an_encoding_that_has_moved_may_move_back(play: Playbook) -> None:
    """Behind a COMMIT the old one may be back before it is reported: what hangs on it waits for the answer."""
    play.server(parameter("client_encoding", "SJIS"), parameter("client_encoding", "UTF8"))
    play.client(query("COMMIT"), query("SELECT 'é'")).to_server(query("COMMIT"))
    play.server(complete("COMMIT"), parameter("client_encoding", "SJIS"), ready()).to_server()
    assert play.client_errors()[0].startswith("22021")


def test_an_encoding_nobody_reported_is_not_trusted(split: Split) -> None:
    play = Playbook(split=split).begun("LATIN1").client(query("SELECT 'é'")).to_server()
    assert play.client_errors()[0].startswith("22021")


def test_an_error_that_answers_nothing_ends_the_connection(play: Playbook) -> None:
    play.server(error("22012"))
    assert play.session.closing


@pytest.mark.parametrize(
    "answer",
    [
        PARSED,
        BOUND,
        CLOSED,
        NO_DATA,
        PARAMETERS,
        SUSPENDED,
        COPY_IN,
        frame(b"c"),
        frame(b"K", b"\0" * 8),
        frame(b"Z", b"X"),
    ],
)
def test_an_answer_to_another_question_ends_the_connection(play: Playbook, answer: bytes) -> None:
    play.client(query("SELECT 1")).server(answer)
    assert play.session.closing
    assert play.gate.settled == [("SELECT 1", "broken")]


def test_a_tag_that_counts_nothing(play: Playbook) -> None:
    play.client(query("COPY out")).server(complete("COPY ²"), complete("COPY " + "9" * 5000), ready())
    assert play.gate.runs[0].rows == 0
    assert not play.session.closing


# results that are only observed


def test_masking_that_is_rehearsed_changes_nothing_and_tells_whether_it_would_do() -> None:
    rehearsals = {"fails": Masked(fails=True), "masks": Masked()}
    for name, rehearsal in rehearsals.items():
        play = Playbook(ScriptedGate({"SELECT 1": Ruling(rehearsal=rehearsal)})).begun()
        play.client(query("SELECT 1"))
        play.session.drain_server()
        answer = (fields("a"), row(b"123-45-6789"), complete("SELECT 1"), ready())
        play.server(*answer).to_client(*answer)
        assert rehearsal.planned == [(0, ["a"])]
        assert (play.gate.runs[0].withheld is not None) is (name == "fails")
        assert play.gate.runs[0].masked_cells == 0


def test_a_copy_that_is_rehearsed_passes_as_it_is() -> None:
    play = Playbook(ScriptedGate({"COPY t TO STDOUT": Ruling(rehearsal=Masked(fails=True))})).begun()
    play.client(query("COPY t TO STDOUT"))
    play.session.drain_server()
    answer = (COPY_OUT, copy_data(b"a\n"), COPY_DONE, complete("COPY 1"), ready())
    play.server(*answer).to_client(*answer)
    assert play.gate.runs[0].withheld is not None
