"""What a client sends, and what of it the server gets to see."""

from __future__ import annotations

import pytest

from lockgate.wire.gate import Refusal, Ruling
from lockgate.wire.postgresql import conversation, errors
from lockgate.wire.postgresql.frames import execute as ours
from lockgate.wire.postgresql.frames import frame
from lockgate.wire.postgresql.references import NOBODYS
from tests.support.playbook import (
    BOUND,
    CLOSED,
    COPY_DONE,
    COPY_IN,
    DENIED,
    EMPTY_QUERY,
    FLUSH,
    NO_DATA,
    PARSED,
    SUSPENDED,
    SYNC,
    Masked,
    Playbook,
    ScriptedGate,
    Split,
    bind,
    bytewise,
    close,
    complete,
    copy_data,
    copy_fail,
    describe,
    error,
    execute,
    fields,
    parse,
    query,
    ready,
    row,
)  # fmt: skip

DENIAL = errors.error_response(DENIED)
BARRIER = Ruling(barrier=True)
SPOILED = ours(NOBODYS)
"""What the server gets in place of an extended message that is refused: running it fails."""


def with_rulings(split: Split, **rulings: object) -> Playbook:
    """Texts by keyword: `delete=DENIED` rules on the text DELETE."""
    return Playbook(
        ScriptedGate({text.upper().replace("_", " "): r for text, r in rulings.items()}), split=split
    ).begun()


# simple query


def test_a_query(play: Playbook) -> None:
    play.client(query("SELECT 1")).to_server(query("SELECT 1")).to_client()
    answer = fields("?"), row(b"1"), row(None), complete("SELECT 2"), ready()
    play.server(*answer).to_client(*answer)
    (run,) = play.gate.runs
    assert (run.outcome, run.rows, run.tag, run.error) == ("completed", 2, "SELECT 2", None)
    assert run.bytes == len(row(b"1") + row(None))


def test_several_statements_and_none(play: Playbook) -> None:
    play.client(query("SELECT 1; SELECT 2"), query("")).to_server(query("SELECT 1; SELECT 2"), query(""))
    play.server(
        fields("?"), row(b"1"), complete("SELECT 1"), fields("?"), complete("SELECT 0"), ready(), EMPTY_QUERY, ready()
    )
    assert play.gate.settled == [("SELECT 1; SELECT 2", "completed"), ("", "completed")]
    assert play.session.idle


def test_a_query_that_fails(play: Playbook) -> None:
    failed = error("22012", "division by zero")
    play.client(query("SELECT 1")).server(failed, ready()).to_client(failed, ready())
    assert [(run.outcome, run.error) for run in play.gate.runs] == [("error", "22012")]


def test_a_query_refused_while_idle_never_reaches_the_server(split: Split) -> None:
    play = with_rulings(split, delete=DENIED).client(query("DELETE")).to_server()
    play.to_client(DENIAL, ready())
    play.client(query("SELECT 1")).to_server(query("SELECT 1"))


def test_a_query_refused_in_a_transaction_fails_the_transaction(split: Split) -> None:
    play = with_rulings(split, delete=DENIED).client(query("BEGIN")).server(complete("BEGIN"), ready("T"))
    play.to_client(complete("BEGIN"), ready("T")).to_server(query("BEGIN"))
    play.client(query("DELETE")).to_server(query(NOBODYS)).to_client()
    play.server(error("42601", "syntax error"), ready("E")).to_client(DENIAL, ready("E"))
    # and once it has failed, PostgreSQL's answer is known
    play.client(query("DELETE")).to_server().to_client(DENIAL, ready("E"))


def test_a_query_refused_behind_others_is_answered_in_its_turn(split: Split) -> None:
    play = with_rulings(split, delete=DENIED).client(query("SELECT 1"), query("DELETE"), query("SELECT 2"))
    play.to_server(query("SELECT 1"), query(NOBODYS), query("SELECT 2")).to_client()
    play.server(complete("SELECT 1"), ready(), error("42601"), ready(), complete("SELECT 2"), ready())
    play.to_client(complete("SELECT 1"), ready(), DENIAL, ready(), complete("SELECT 2"), ready())


def test_the_function_call_protocol_is_refused(play: Playbook) -> None:
    play.client(frame(b"F", b"\0\0\0\1\0\0\0\0\0\0")).to_server()
    assert play.client_errors()[0].startswith("0A000")


# extended query


def test_prepare_bind_describe_execute(play: Playbook) -> None:
    sent = (
        parse("s", "SELECT $1"), describe("S", "s"), bind("", "s", b"x", None), describe("P", ""), execute(""),
        close("P", ""), close("S", "s"), FLUSH, SYNC,
    )  # fmt: skip
    play.client(*sent).to_server(*sent)
    answer = (
        PARSED, frame(b"t", b"\0\1\0\0\0\x19"), fields("?"), BOUND, fields("?"), row(b"x"), complete("SELECT 1"),
        CLOSED, CLOSED, ready(),
    )  # fmt: skip
    play.server(*answer).to_client(*answer)
    assert play.gate.prepared == [("s", "SELECT $1")]
    assert list(play.gate.asked[0].parameters()) == [b"x", None]
    assert play.gate.settled == [("SELECT $1", "completed")]
    play.client(bind("", "s")).to_server(SPOILED, FLUSH)


def test_a_portal_in_pieces_is_one_run(play: Playbook) -> None:
    play.client(query("BEGIN")).server(complete("BEGIN"), ready("T"))
    play.client(parse("", "SELECT 1"), bind("p", ""), execute("p", 1), SYNC)
    play.server(PARSED, BOUND, row(b"1"), SUSPENDED, ready("T"))
    assert play.gate.settled == [("BEGIN", "completed")]
    play.client(execute("p", 1), execute("p"), SYNC).server(
        row(b"2"), SUSPENDED, row(b"3"), complete("SELECT 1"), ready("T")
    )
    assert play.gate.settled[1:] == [("SELECT 1", "completed")]
    assert play.gate.runs[1].rows == 3
    assert len(play.gate.asked) == 2


def test_a_portal_that_never_runs_is_told_as_closed(play: Playbook) -> None:
    play.client(parse("", "SELECT 1"), bind("", ""), bind("", ""), close("P", ""), SYNC)
    play.server(PARSED, BOUND, BOUND, CLOSED, ready())
    assert play.gate.settled == [("SELECT 1", "closed"), ("SELECT 1", "closed")]
    play.client(bind("q", ""), SYNC).server(BOUND, ready())
    assert play.gate.settled[2:] == [("SELECT 1", "closed")]


def test_a_pipeline_of_segments_stops_at_each_error_to_its_sync(play: Playbook) -> None:
    one = parse("", "SELECT 1"), bind("", ""), execute("")
    play.client(*one, *one, SYNC, *one, SYNC)
    play.server(PARSED, BOUND, error("22012"), ready(), PARSED, BOUND, complete("SELECT 1"), ready())
    assert [outcome for _, outcome in play.gate.settled] == ["error", "skipped", "completed"]
    assert play.session.idle


def test_after_an_error_everything_is_dropped_to_sync_as_the_server_does(play: Playbook) -> None:
    play.client(parse("", "SELECT 1"), FLUSH).server(error("42601")).to_server(parse("", "SELECT 1"), FLUSH)
    play.client(bind("", ""), query("DELETE"), FLUSH, copy_data(b"x"), SYNC, query("SELECT 2"))
    play.to_server(SYNC, query("SELECT 2"))
    assert [asked.request.text for asked in play.gate.asked] == ["SELECT 2"]


def test_a_bind_refused_in_the_middle_of_a_pipeline(split: Split) -> None:
    play = with_rulings(split, delete=DENIED)
    play.client(parse("", "SELECT 1"), bind("", ""), execute(""), parse("", "DELETE"), bind("", ""), execute(""), SYNC)
    play.to_server(parse("", "SELECT 1"), bind("", ""), execute(""), parse("", "DELETE"), SPOILED, FLUSH, SYNC)
    play.server(PARSED, BOUND, complete("SELECT 1"), PARSED, error("34000"), ready())
    play.to_client(PARSED, BOUND, complete("SELECT 1"), PARSED, DENIAL, ready())


def test_a_parse_refused(split: Split) -> None:
    play = with_rulings(split)
    play.gate.unprepared.add("DELETE")
    play.client(parse("", "DELETE"), bind("", ""), describe("P", ""), execute(""), SYNC).to_server(SPOILED, FLUSH, SYNC)
    play.server(error("34000"), ready("E")).to_client(DENIAL, ready("E"))


def test_refused_behind_an_error_is_not_answered_twice(split: Split) -> None:
    play = with_rulings(split, delete=DENIED)
    play.client(parse("", "SELECT 1"), bind("", ""), execute(""), query("DELETE"), SYNC)
    play.server(PARSED, BOUND, error("22012"), ready()).to_client(PARSED, BOUND, error("22012"), ready())
    assert play.session.idle


@pytest.mark.parametrize(
    ("message", "code"),
    [(bind("", "no"), "26000"), (execute("no"), "34000"), (describe("P", "no"), "34000")],
)
def test_names_the_server_does_not_have(play: Playbook, message: bytes, code: str) -> None:
    play.client(message, SYNC).to_server(SPOILED, FLUSH, SYNC).server(error("34000"), ready())
    assert play.client_errors()[0].startswith(code)


# names


LONG = "a" * 63


@pytest.mark.parametrize("name", [LONG + "x", "é", NOBODYS])
def test_names_that_others_would_read_differently_are_refused(play: Playbook, name: str) -> None:
    """PostgreSQL cuts at 63 bytes and converts: what looks like two names could be one, and hide what runs."""
    for message in (
        parse(name, "SELECT 1"),
        bind("", name),
        bind(name, ""),
        execute(name),
        close("S", name),
        describe("S", name),
    ):
        play.client(message, SYNC).to_server(SPOILED, FLUSH, SYNC).server(error("34000"), ready())
        assert play.client_errors()[0].startswith("0A000")
    play.client(parse(LONG, "SELECT 1"), SYNC).to_server(parse(LONG, "SELECT 1"), SYNC)


def test_a_name_parsed_again_in_the_same_segment_stands_for_the_new_text(play: Playbook) -> None:
    play.client(
        parse("", "SELECT 1"), bind("", ""), execute(""), parse("", "SELECT 2"), bind("", ""), execute(""), SYNC
    )
    assert [asked.request.text for asked in play.gate.asked] == ["SELECT 1", "SELECT 2"]


def test_a_name_whose_parse_may_fail_is_waited_for(play: Playbook) -> None:
    play.client(parse("a", "DELETE"), SYNC).server(PARSED, ready()).to_server(parse("a", "DELETE"), SYNC)
    play.client(parse("a", "SELECT 1"), SYNC, bind("", "a"), execute(""), SYNC).to_server(parse("a", "SELECT 1"), SYNC)
    play.server(error("42P05"), ready()).to_server(bind("", "a"), execute(""), SYNC)
    assert [asked.request.text for asked in play.gate.asked] == ["DELETE"]


def test_a_name_that_is_closed_and_made_again(play: Playbook) -> None:
    play.client(parse("a", "SELECT 1"), SYNC).server(PARSED, ready())
    play.client(close("S", "a"), parse("a", "SELECT 2"), bind("", "a"), execute(""), SYNC)
    assert [asked.request.text for asked in play.gate.asked] == ["SELECT 2"]


def test_a_close_that_was_skipped_closed_nothing(play: Playbook) -> None:
    play.client(parse("a", "SELECT 1"), SYNC).server(PARSED, ready())
    play.client(parse("", "BAD"), close("S", "a"), SYNC).server(error("42601"), ready())
    play.client(bind("", "a"), SYNC)
    assert [asked.request.text for asked in play.gate.asked] == ["SELECT 1"]


def test_which_of_two_definitions_can_not_be_told_is_refused(play: Playbook) -> None:
    """Nothing on its way would tell: a query in the open segment may or may not have ended the old one."""
    play.client(parse("a", "SELECT 1"), SYNC).server(PARSED, ready()).to_server(parse("a", "SELECT 1"), SYNC)
    play.client(query("DEALLOCATE a; PREPARE a AS SELECT 2; FAIL")).server(error("22012"), ready())
    play.client(bind("", "a"), SYNC)
    assert [c.text for c in play.gate.asked[-1].candidates] == ["DEALLOCATE a; PREPARE a AS SELECT 2; FAIL", "SELECT 1"]


# what SQL names


def test_execute_is_judged_on_everything_its_name_may_stand_for(play: Playbook) -> None:
    play.client(parse("a", "DELETE"), SYNC).server(PARSED, ready())
    play.client(query("PREPARE a AS SELECT 1"), query("EXECUTE a"))
    assert [c.text for c in play.gate.asked[-1].candidates] == ["PREPARE a AS SELECT 1", "DELETE"]


def test_a_prepare_that_succeeded_is_the_only_one(play: Playbook) -> None:
    play.client(query("PREPARE a AS SELECT 1")).server(complete("PREPARE"), ready()).client(query("EXECUTE a"))
    assert [c.text for c in play.gate.asked[-1].candidates] == ["PREPARE a AS SELECT 1"]


def test_a_prepare_that_failed_when_it_committed_may_be_there(play: Playbook) -> None:
    play.client(query("PREPARE a AS SELECT 1")).server(error("23505"), ready()).client(query("EXECUTE a"))
    assert [c.text for c in play.gate.asked[-1].candidates] == ["PREPARE a AS SELECT 1"]


def test_a_name_nobody_made_is_refused(play: Playbook) -> None:
    play.client(query("EXECUTE a"), query("FETCH c")).to_server()
    assert [e[:5] for e in play.client_errors()] == ["42501", "42501"]


def test_a_name_made_and_used_in_one_text(play: Playbook) -> None:
    text = "PREPARE a AS SELECT 1; EXECUTE a"
    play.client(query(text))
    assert [c.text for c in play.gate.asked[-1].candidates] == [text]


def test_a_statement_prepared_in_sql_and_bound_by_the_protocol_is_its_execute(play: Playbook) -> None:
    play.client(query("PREPARE a AS SELECT 1")).server(complete("PREPARE"), ready()).client(bind("", "a"))
    assert play.gate.asked[-1].request.text == 'EXECUTE "a"'
    assert [c.text for c in play.gate.asked[-1].candidates] == ["PREPARE a AS SELECT 1"]


def test_an_execute_prepared_by_the_protocol_is_followed(play: Playbook) -> None:
    play.client(parse("a", "DELETE"), parse("b", "EXECUTE a"), SYNC).server(PARSED, PARSED, ready())
    play.client(query("EXECUTE b"))
    assert [c.text for c in play.gate.asked[-1].candidates] == ["EXECUTE a", "DELETE"]


def test_a_portal_that_runs_another_than_it_was_judged_on_is_refused(play: Playbook) -> None:
    play.client(query("BEGIN"), query("PREPARE a AS SELECT 1")).server(complete("BEGIN"), ready("T"))
    play.server(complete("PREPARE"), ready("T"))
    play.client(parse("", "EXECUTE a"), bind("p", ""), SYNC).server(PARSED, BOUND, ready("T"))
    play.client(query("DEALLOCATE a; PREPARE a AS DELETE")).server(
        complete("DEALLOCATE"), complete("PREPARE"), ready("T")
    )
    play.session.drain_server()
    play.client(execute("p"), SYNC).to_server(SPOILED, FLUSH, SYNC)


def test_a_portal_fetched_in_sql_is_judged_as_what_it_is(play: Playbook) -> None:
    play.client(query("BEGIN")).server(complete("BEGIN"), ready("T"))
    play.client(parse("", "SELECT 1"), bind("p", ""), SYNC).server(PARSED, BOUND, ready("T")).client(query("FETCH p"))
    assert [c.text for c in play.gate.asked[-1].candidates] == ["SELECT 1"]


def test_a_cursor_declared_in_sql_is_not_run_by_the_protocol(play: Playbook) -> None:
    """DECLARE, CLOSE and Bind share one namespace: what the portal is now may not be what was judged."""
    play.client(query("BEGIN")).server(complete("BEGIN"), ready("T"))
    play.client(parse("", "SELECT 1"), bind("c", ""), SYNC).server(PARSED, BOUND, ready("T"))
    play.client(query("CLOSE c; DECLARE c CURSOR FOR DELETE")).server(
        complete("CLOSE"), complete("DECLARE"), ready("T")
    )
    play.session.drain_server()
    play.client(describe("P", "c"), SYNC).to_server(describe("P", "c"), SYNC).server(fields("?"), ready("T"))
    play.client(execute("c"), SYNC).to_server(SPOILED, FLUSH, SYNC).server(error("34000"), ready("E"))


def test_names_in_sql_that_others_would_read_differently_are_refused(play: Playbook) -> None:
    play.client(query("PREPARE é AS SELECT 1")).to_server()
    assert play.client_errors()[0].startswith("42501")


# settings


def test_texts_wait_behind_a_barrier_and_nothing_else_does(split: Split) -> None:
    play = with_rulings(split, set_x=BARRIER).client(parse("a", "SELECT 1"), SYNC).server(PARSED, ready())
    play.session.drain_server()
    play.client(query("SET X"), bind("", "a"), execute(""), SYNC, query("SELECT 2"))
    play.to_server(query("SET X"), bind("", "a"), execute(""), SYNC)
    play.server(complete("SET"), ready()).to_server(query("SELECT 2"))


def test_a_barrier_in_the_extended_protocol_is_flushed_and_holds_to_its_answer(split: Split) -> None:
    play = with_rulings(split, set_x=BARRIER)
    play.client(parse("", "SET X"), bind("", ""), execute(""), parse("", "SELECT 2"), SYNC)
    play.to_server(parse("", "SET X"), bind("", ""), execute(""), FLUSH)
    play.server(PARSED, BOUND, complete("SET")).to_server(parse("", "SELECT 2"), SYNC)


@pytest.mark.parametrize("text", ["SELECT 'é'", "SELECT '\\'"])
def test_a_setting_that_is_not_reported_yet(split: Split, text: str) -> None:
    """PostgreSQL 14 says that client_encoding has changed when it is ready, not when the SET is done."""
    play = with_rulings(split, set_x=BARRIER)
    play.client(parse("", "SET X"), bind("", ""), execute("")).server(PARSED, BOUND, complete("SET"))
    play.to_server(parse("", "SET X"), bind("", ""), execute(""), FLUSH)
    play.client(parse("", text)).to_server(SPOILED, FLUSH).server(error("34000"))
    play.client(SYNC).server(ready()).to_server(SYNC)
    play.client(parse("", text)).to_server(parse("", text))


# copies


def test_copy_in(play: Playbook) -> None:
    play.client(query("COPY in")).server(COPY_IN).to_client(COPY_IN).to_server(query("COPY in"))
    play.client(copy_data(b"1\n"), FLUSH, SYNC, copy_data(b"2\n"), COPY_DONE)
    play.to_server(copy_data(b"1\n"), FLUSH, copy_data(b"2\n"), COPY_DONE)
    play.server(complete("COPY 2"), ready()).to_client(complete("COPY 2"), ready())
    assert play.gate.runs[0].rows == 2


def test_copy_data_may_come_before_the_server_asks_for_it(play: Playbook) -> None:
    play.client(query("COPY in"), copy_data(b"1\n"), COPY_DONE, query("SELECT 1")).to_server(query("COPY in"))
    play.server(COPY_IN).to_server(copy_data(b"1\n"), COPY_DONE)
    play.server(complete("COPY 1"), ready()).to_server(query("SELECT 1"))


def test_copy_in_by_the_extended_protocol(play: Playbook) -> None:
    """A Sync is held back until it is known whether the server is going to ignore it."""
    sent = parse("", "COPY in"), bind("", ""), describe("P", ""), execute("")
    play.client(*sent, SYNC).to_server(*sent, FLUSH)
    play.server(PARSED, BOUND, NO_DATA, COPY_IN).to_server()
    play.client(copy_data(b"1\n"), COPY_DONE, SYNC).to_server(copy_data(b"1\n"), COPY_DONE, FLUSH)
    play.server(complete("COPY 1")).to_server(SYNC).server(ready())
    assert play.session.idle


def test_copy_in_that_fails_before_it_reads(play: Playbook) -> None:
    """COPY into a view, or a trigger that raises: had the Sync been sent on, the server would have heeded it."""
    sent = parse("", "COPY in"), bind("", ""), execute("")
    play.client(*sent, SYNC).to_server(*sent, FLUSH)
    play.server(PARSED, BOUND, COPY_IN).client(COPY_DONE, SYNC, query("SELECT 1"), query("SELECT 2"))
    play.to_server(COPY_DONE, FLUSH)
    play.server(error("42809")).to_server(SYNC, query("SELECT 1"), query("SELECT 2"))
    play.server(ready(), complete("SELECT 1"), ready(), complete("SELECT 1"), ready())
    assert play.gate.settled == [("COPY in", "error"), ("SELECT 1", "completed"), ("SELECT 2", "completed")]


def test_a_copy_given_up_by_either_side(play: Playbook) -> None:
    play.client(query("COPY in")).server(COPY_IN).client(copy_fail("no"))
    play.to_server(query("COPY in"), copy_fail("no")).server(error("57014"), ready())
    play.client(query("COPY in")).server(COPY_IN, error("22P04"), ready()).to_server(query("COPY in"))
    play.client(copy_data(b"x"), COPY_DONE, query("SELECT 1")).to_server(query("SELECT 1"))


def test_stray_copy_data_is_ignored_as_the_server_does(play: Playbook) -> None:
    play.client(copy_data(b"x"), COPY_DONE, copy_fail("no")).to_server()
    assert play.session.idle


def test_nothing_else_in_the_middle_of_a_copy(play: Playbook) -> None:
    play.client(query("COPY in")).server(COPY_IN).client(query("SELECT 1")).to_server(query("COPY in"))
    assert play.session.closing


def test_a_copy_behind_a_result_that_can_not_be_shown_is_failed_for_the_client(split: Split) -> None:
    play = with_rulings(split, secret=Ruling(masking=Masked(fails=True)))
    play.client(parse("", "SECRET"), bind("", ""), describe("P", ""), query("COPY in")).server(
        PARSED, BOUND, fields("ssn")
    )
    play.session.drain_server()
    play.server(COPY_IN).to_server(frame(b"f", b"lockgate: the result can't be shown\0"))
    play.server(error("57014"), ready()).client(copy_data(b"x"), SYNC).to_server(SYNC).server(ready())
    assert play.client_errors() == ["42501 what the column holds can't be told"]
    assert play.session.idle


# bounds


def test_a_client_that_does_not_wait_for_answers_waits_when_too_many_are_owed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.wire.postgresql.frontend.PENDING", 3)
    play = Playbook(split=bytewise).begun().client(SYNC * 5).to_server(SYNC * 3)
    play.server(ready()).to_server(SYNC)


def test_prepared_statements_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "NAMES", 2)
    play = Playbook().begun().client(parse("a", "SELECT 1"), parse("b", "SELECT 1")).client(parse("c", "SELECT 1"))
    assert play.session.closing
    assert play.client_errors() == ["08P01 lockgate: more than 2 names"]


def test_portals_are_bounded_and_what_was_let_run_has_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "NAMES", 2)
    play = Playbook().begun().client(parse("a", "A"), *(bind(name, "a") for name in "123"))
    assert play.client_errors() == ["08P01 lockgate: more than 2 names"]
    assert play.gate.settled == [("A", "broken")] * len(play.gate.asked) == [("A", "broken")] * 3


def test_refusals_carry_detail_and_hint(split: Split) -> None:
    play = with_rulings(split, delete=Refusal("42501", "no", "policy p", "ask"))
    play.client(query("DELETE")).to_client(errors.error_response(Refusal("42501", "no", "policy p", "ask")), ready())


def test_what_waits_goes_as_it_was_whatever_its_name_comes_to_mean(split: Split) -> None:
    play = Playbook(ScriptedGate({"A": None}), split=split).begun()
    play.client(parse("s1", "A"), bind("", "s1"), execute(""), SYNC).to_server(parse("s1", "A"))
    # Close and another Parse of the name stand behind: not one byte of them overtakes
    play.client(close("S", "s1"), parse("s1", "B"), bind("", "s1"), execute(""), SYNC).to_server()
    play.resume().to_server(
        bind("", "s1"), execute(""), SYNC, close("S", "s1"), parse("s1", "B"), bind("", "s1"), execute(""), SYNC
    )
    assert [asked.request.text for asked in play.gate.asked] == ["A", "B"]


def test_an_error_before_what_waits_makes_it_moot(split: Split) -> None:
    play = Playbook(ScriptedGate({"A": None}), split=split).begun()
    play.client(parse("s1", "A"), bind("", "s1"), execute(""), SYNC).to_server(parse("s1", "A"))
    play.server(error("42601"))
    assert True in play.gate.mooted
    play.resume(DENIED).to_server(SYNC)


def test_a_transaction_that_fails_makes_what_waits_moot_too(split: Split) -> None:
    play = Playbook(ScriptedGate({"A": None}), split=split).begun()
    play.client(query("BEGIN"), query("X"), query("A"))
    play.server(complete("BEGIN"), ready("T"), error("22012"), ready("E"))
    assert set(play.gate.mooted) == {False}


def test_whether_a_transaction_is_open_is_told_from_what_ran() -> None:
    play = Playbook().begun()

    def last() -> tuple[bool, bool]:
        return play.gate.asked[-1].in_transaction, play.gate.asked[-1].failed

    # a Parse opens no transaction, an Execute does until Sync
    play.client(parse("", "A"), bind("", ""))
    assert last() == (False, False)
    play.client(execute(""), parse("", "B"), bind("", ""))
    assert last() == (True, False)
    play.client(execute(""), SYNC)
    play.server(PARSED, BOUND, complete("A"), PARSED, BOUND, complete("B"), ready())
    # one that was sent and not answered may have been BEGIN
    play.client(query("BEGIN"), query("C"))
    assert last() == (True, False)
    play.server(complete("BEGIN"), ready("T"), error("22012"), ready("E"))
    play.client(query("D"))
    assert last() == (True, True)
