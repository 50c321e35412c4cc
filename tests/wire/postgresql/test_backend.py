"""Rows on their way to the client: counted, masked, cut anywhere, dropped."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.wire.gate import Ruling
from lockgate.wire.postgresql.frames import describe_portal, frame
from tests.support.playbook import (
    BOUND,
    COPY_OUT,
    MASK,
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
    complete,
    copy_data,
    describe,
    error,
    execute,
    fields,
    parse,
    query,
    ready,
    row,
)  # fmt: skip

SSN = b"123-45-6789"


def masking(split: Split, mask: Masked | None = None, **bounds: int) -> tuple[Playbook, Masked]:
    """A connection on which SECRET is masked, and its mask."""
    mask = mask or Masked()
    return Playbook(ScriptedGate({"SECRET": Ruling(masking=mask)}), split=split, **bounds).begun(), mask


def test_a_masked_query(split: Split) -> None:
    play, mask = masking(split)
    play.client(query("SECRET")).server(fields("ssn", table=7), row(SSN), row(None), complete("SELECT 2"), ready())
    play.to_client(fields("ssn", table=7), row(MASK), row(None), complete("SELECT 2"), ready())
    (run,) = play.gate.runs
    assert (run.rows, run.masked_cells, run.outcome) == (2, 1, "completed")
    assert mask.planned == [(0, ["ssn"])]


def test_each_statement_of_a_query_has_its_own_plan(split: Split) -> None:
    mask = Masked()
    play = Playbook(ScriptedGate({"SECRET; SECRET": Ruling(masking=mask)}), split=split).begun()
    play.client(query("SECRET; SECRET")).server(fields("a"), row(SSN), complete("SELECT 1"), fields("a", "b"))
    play.server(row(SSN, SSN), complete("SELECT 1"), ready())
    play.to_client(
        fields("a"), row(MASK), complete("SELECT 1"), fields("a", "b"), row(MASK, MASK), complete("SELECT 1"), ready()
    )
    assert mask.planned == [(0, ["a"]), (1, ["a", "b"])]


def test_where_nothing_needs_masking_rows_pass_as_they_are(split: Split) -> None:
    play, _ = masking(split, Masked(nothing=True))
    answer = fields("id"), row(b"1"), complete("SELECT 1"), ready()
    play.client(query("SECRET")).server(*answer).to_client(*answer)
    assert play.gate.runs[0].masked_cells == 0


def test_a_portal_nobody_described_is_described_for_us(split: Split) -> None:
    """RowDescription says where the columns come from; the client, which didn't ask, doesn't get it."""
    play, _ = masking(split)
    play.client(parse("", "SECRET"), bind("", ""), execute(""), SYNC)
    play.to_server(parse("", "SECRET"), bind("", ""), describe_portal(b""), execute(""), SYNC)
    play.server(PARSED, BOUND, fields("ssn"), row(SSN), complete("SELECT 1"), ready())
    play.to_client(PARSED, BOUND, row(MASK), complete("SELECT 1"), ready())


def test_a_portal_the_client_described_is_not_described_again(split: Split) -> None:
    play, mask = masking(split)
    sent = parse("", "SECRET"), bind("", ""), describe("P", ""), execute("", 1), execute(""), SYNC
    play.client(*sent).to_server(*sent)
    play.server(PARSED, BOUND, fields("ssn"), row(SSN), SUSPENDED, row(SSN), complete("SELECT 1"), ready())
    play.to_client(PARSED, BOUND, fields("ssn"), row(MASK), SUSPENDED, row(MASK), complete("SELECT 1"), ready())
    assert len(mask.planned) == 1


def test_describing_the_statement_says_nothing_of_the_formats_bound_later(split: Split) -> None:
    play, _ = masking(split)
    play.client(parse("s", "SECRET"), describe("S", "s"), bind("", "s"), execute(""), SYNC)
    assert describe_portal(b"") in play.session.drain_server()


def test_a_portal_described_again_after_it_has_run_is_planned_as_the_same_statement(split: Split) -> None:
    play, mask = masking(split)
    play.client(query("BEGIN")).server(complete("BEGIN"), ready("T"))
    play.client(parse("", "SECRET"), bind("p", ""), execute("p"), describe("P", "p"), SYNC)
    play.server(PARSED, BOUND, fields("ssn"), complete("SELECT 0"), fields("ssn"), ready("T"))
    assert [statement for statement, _ in mask.planned] == [0, 0]


def test_a_masked_statement_without_a_result(split: Split) -> None:
    play, _ = masking(split)
    play.client(parse("", "SECRET"), bind("", ""), execute(""), SYNC)
    play.server(PARSED, BOUND, NO_DATA, complete("UPDATE 1"), ready()).to_client(
        PARSED, BOUND, complete("UPDATE 1"), ready()
    )


@pytest.mark.parametrize("described", [NO_DATA, b""])
def test_masked_rows_that_nothing_described_never_leave(split: Split, described: bytes) -> None:
    play, _ = masking(split)
    play.client(parse("", "SECRET"), bind("", ""), execute(""), SYNC).server(PARSED, BOUND, described, row(SSN))
    assert play.session.closing
    assert SSN not in play.session.drain_client()


@pytest.mark.parametrize(
    "hostile", [row(SSN, b"2"), row(), frame(b"D", b"\0\1\0\0\0\x7fx"), b"D\0\0\0\5x", b"D\xff\xff\xff\xff"]
)
def test_a_row_that_does_not_match_its_description(split: Split, hostile: bytes) -> None:
    play, _ = masking(split)
    play.client(query("SECRET")).server(fields("ssn"), row(SSN), hostile, row(SSN))
    assert play.session.closing
    assert SSN not in play.session.drain_client()


# results that can't be masked


def test_a_result_that_can_not_be_told_is_an_error_in_its_place(split: Split) -> None:
    play, _ = masking(split, Masked(fails=True))
    play.client(query("SECRET"), query("SELECT 1")).server(
        fields("ssn"), row(SSN), row(SSN), complete("SELECT 2"), ready()
    )
    assert play.client_errors() == ["42501 what the column holds can't be told"]
    assert [(run.outcome, run.error, run.rows) for run in play.gate.runs] == [("error", "42501", 0)]
    play.server(fields("?"), row(b"1"), complete("SELECT 1"), ready())
    play.to_client(fields("?"), row(b"1"), complete("SELECT 1"), ready())


def test_in_the_extended_protocol_the_client_gets_the_error_and_then_its_sync(split: Split) -> None:
    play, _ = masking(split, Masked(fails=True))
    play.client(parse("", "SECRET"), bind("", ""), execute(""), SYNC, query("SELECT 1"))
    play.server(PARSED, BOUND, fields("ssn"), row(SSN), complete("SELECT 1"), ready(), complete("SELECT 1"), ready())
    found = play.session.drain_client()
    assert SSN not in found
    assert found.endswith(ready() + complete("SELECT 1") + ready())
    assert found.count(b"C42501") == 1
    assert play.session.idle


def test_what_the_client_sends_behind_that_error_is_dropped_as_behind_any(split: Split) -> None:
    play, _ = masking(split, Masked(fails=True))
    play.client(parse("", "SECRET"), bind("", ""), describe("P", "")).server(PARSED, BOUND, fields("ssn"))
    play.session.drain_server()
    play.client(execute(""), query("DELETE"), SYNC).to_server(SYNC)


def test_a_result_that_could_not_be_masked_can_not_be_had_later(split: Split) -> None:
    """The server, which knows of no error, keeps the portal."""
    play, _ = masking(split, Masked(fails=True))
    play.client(query("BEGIN")).server(complete("BEGIN"), ready("T"))
    play.client(parse("", "SECRET"), bind("p", ""), describe("P", "p"), SYNC, execute("p"), SYNC)
    play.server(PARSED, BOUND, fields("ssn"), ready("T"), row(SSN), complete("SELECT 1"), ready("T"))
    assert SSN not in play.session.drain_client()
    play.session.drain_server()
    play.client(execute("p"), SYNC)
    assert execute("p") not in play.session.drain_server()


def test_notifications_and_settings_come_through_meanwhile(split: Split) -> None:
    play, _ = masking(split, Masked(fails=True))
    told, changed = frame(b"A", b"\0\0\0\1c\0x\0"), frame(b"S", b"TimeZone\0UTC\0")
    play.client(query("SECRET")).server(fields("ssn"), row(SSN), told, changed, complete("SELECT 1"), ready())
    found = play.session.drain_client()
    assert found.endswith(told + changed + ready())
    assert SSN not in found


# rows as they come


def test_a_row_longer_than_any_bound_passes_in_pieces(split: Split) -> None:
    play = Playbook(split=split, row_bytes=100).begun().client(query("SELECT 1"))
    long = row(b"x" * 5000)
    play.server(fields("?"), long, row(b"y"), complete("SELECT 2"), ready())
    play.to_client(fields("?"), long, row(b"y"), complete("SELECT 2"), ready())
    assert play.gate.runs[0].rows == 2
    assert play.gate.runs[0].bytes == len(long + row(b"y"))


def test_a_row_that_is_masked_is_held_whole_up_to_its_bound(split: Split) -> None:
    play, _ = masking(split, row_bytes=100)
    play.client(query("SECRET")).server(fields("ssn"), row(b"x" * 80)).to_client(fields("ssn"), row(MASK))
    play.server(row(b"x" * 200)[:-1])
    assert play.session.closing


def test_a_server_message_that_is_held_has_a_bound(play: Playbook) -> None:
    play.client(query("SELECT 1")).server(b"T" + struct.pack("!I", 100_000))
    assert play.session.closing


def test_copy_out_passes_and_is_counted(play: Playbook) -> None:
    answer = COPY_OUT, copy_data(b"1\n"), copy_data(b"x" * 9000), frame(b"c"), complete("COPY 2"), ready()
    play.client(query("COPY out")).server(*answer).to_client(*answer)
    assert play.gate.runs[0].rows == 2
    assert play.gate.runs[0].bytes == len(copy_data(b"1\n") + copy_data(b"x" * 9000))


def test_copy_out_of_masked_columns(split: Split) -> None:
    """However the lines are cut, they come a message each, and nothing but masked."""
    play, mask = masking(split)
    play.client(query("SECRET")).server(COPY_OUT, copy_data(SSN + b"\n"), copy_data(SSN[:4]), copy_data(SSN + b"\n"))
    play.server(copy_data(SSN), frame(b"c"), complete("COPY 3"), ready())
    line = copy_data(MASK + b"\n")
    play.to_client(COPY_OUT, line, line, line, frame(b"c"), complete("COPY 3"), ready())
    (run,) = play.gate.runs
    assert (run.rows, run.masked_cells, run.outcome) == (3, 3, "completed")
    assert mask.planned == [(0, ["copy"])]


def test_copy_out_of_masked_columns_by_the_extended_protocol(split: Split) -> None:
    play, _ = masking(split)
    play.client(parse("", "SECRET"), bind("", ""), describe("P", ""), execute(""), SYNC)
    play.server(PARSED, BOUND, NO_DATA, COPY_OUT, copy_data(SSN + b"\n"), frame(b"c"), complete("COPY 1"), ready())
    play.to_client(
        PARSED, BOUND, NO_DATA, COPY_OUT, copy_data(MASK + b"\n"), frame(b"c"), complete("COPY 1"), ready()
    )  # fmt: skip


def test_copy_out_where_nothing_is_masked_passes(split: Split) -> None:
    play, _ = masking(split, Masked(nothing=True))
    answer = COPY_OUT, copy_data(b"1\n"), copy_data(b"2"), frame(b"c"), complete("COPY 2"), ready()
    play.client(query("SECRET")).server(*answer).to_client(*answer)


def test_copies_of_one_query_are_masked_each_by_its_own_mask(split: Split) -> None:
    mask = Masked()
    play = Playbook(ScriptedGate({"SECRET; SECRET": Ruling(masking=mask)}), split=split).begun()
    copied = COPY_OUT, copy_data(SSN + b"\n"), frame(b"c"), complete("COPY 1")
    play.client(query("SECRET; SECRET")).server(*copied, *copied, ready())
    shown = COPY_OUT, copy_data(MASK + b"\n"), frame(b"c"), complete("COPY 1")
    play.to_client(*shown, *shown, ready())
    assert [statement for statement, _ in mask.planned] == [0, 1]


def test_a_copy_that_can_not_be_told_is_an_error_in_its_place(split: Split) -> None:
    play, _ = masking(split, Masked(fails=True))
    play.client(query("SECRET"), query("SELECT 1"))
    play.server(COPY_OUT, copy_data(SSN + b"\n"), copy_data(SSN), frame(b"c"), complete("COPY 2"), ready())
    assert SSN not in (sent := play.session.drain_client())
    assert sent.endswith(ready())
    assert b"what the column holds can't be told" in sent
    assert [(run.outcome, run.error) for run in play.gate.runs] == [("error", "42501")]
    play.server(fields("?"), row(b"1"), complete("SELECT 1"), ready())
    play.to_client(fields("?"), row(b"1"), complete("SELECT 1"), ready())


def test_a_copy_is_masked_in_utf8_only(split: Split) -> None:
    gate = ScriptedGate({"SECRET": Ruling(masking=Masked())})
    play = Playbook(gate, split=split).begun("SJIS")
    play.session.drain_client()
    play.client(query("SECRET")).server(COPY_OUT, copy_data(SSN + b"\n"), frame(b"c"), complete("COPY 1"), ready())
    assert play.client_errors() == ["42501 lockgate: masked columns are copied in client_encoding UTF8 only, "
                                    "set before the statement"]  # fmt: skip


def hundreds(data: bytes) -> list[bytes]:
    return [data[i : i + 100] for i in range(0, len(data), 100)]


def test_a_copy_is_not_masked_behind_what_may_have_changed_the_encoding_in_the_same_text(split: Split) -> None:
    gate = ScriptedGate({"SET; SECRET": Ruling(masking=Masked(), barrier=True)})
    play = Playbook(gate, split=split).begun()
    copied = COPY_OUT, copy_data(SSN + b"\n"), frame(b"c"), complete("COPY 1")
    play.client(query("SET; SECRET")).server(complete("SET"), *copied, ready())
    assert len(play.client_errors()) == 1
    gate.rulings["SECRET; SET"] = gate.rulings["SET; SECRET"]
    play.client(query("SECRET; SET")).server(*copied, complete("SET"), ready())
    play.to_client(COPY_OUT, copy_data(MASK + b"\n"), frame(b"c"), complete("COPY 1"), complete("SET"), ready())


@pytest.mark.parametrize("split", [bytewise, hundreds])
@pytest.mark.parametrize("pieces", [1, 40])
def test_a_row_too_large_to_be_masked_ends_the_copy_and_not_the_connection(split: Split, pieces: int) -> None:
    play, _ = masking(split, row_bytes=512)
    play.client(query("SECRET"), query("SELECT 1"))
    piece = copy_data(b"y" * (800 // pieces))
    play.server(COPY_OUT, copy_data(SSN + b"\n"), *[piece] * pieces, copy_data(b"\n"), copy_data(SSN + b"\n"))
    play.server(frame(b"c"), complete("COPY 3"), ready())
    sent = play.session.drain_client()
    assert sent.startswith(COPY_OUT + copy_data(MASK + b"\n") + b"E")
    assert b"larger than 512 bytes" in sent
    assert sent.endswith(ready())
    assert b"yy" not in sent
    assert (play.gate.runs[0].outcome, play.gate.runs[0].error) == ("error", "54000")
    play.server(fields("?"), row(b"1"), complete("SELECT 1"), ready())
    play.to_client(fields("?"), row(b"1"), complete("SELECT 1"), ready())


def test_a_row_too_large_in_the_extended_protocol() -> None:
    play, _ = masking(hundreds, row_bytes=512)
    play.client(parse("", "SECRET"), bind("", ""), execute(""), SYNC)
    play.server(PARSED, BOUND, NO_DATA, COPY_OUT, copy_data(b"y" * 800), frame(b"c"), complete("COPY 1"), ready())
    assert play.client_errors() == ["54000 lockgate: a row to be masked is larger than 512 bytes"]
    play.client(query("SELECT 1")).server(fields("?"), row(b"1"), complete("SELECT 1"), ready())
    play.to_client(fields("?"), row(b"1"), complete("SELECT 1"), ready())


def test_an_error_in_the_middle_of_a_masked_copy(split: Split) -> None:
    play, _ = masking(split)
    play.client(query("SECRET")).server(COPY_OUT, copy_data(SSN + b"\n"), copy_data(SSN), error("57014"), ready())
    play.to_client(COPY_OUT, copy_data(MASK + b"\n"), error("57014"), ready())
    play.client(query("SECRET")).server(COPY_OUT, copy_data(SSN + b"\n"), frame(b"c"), complete("COPY 1"), ready())
    play.to_client(COPY_OUT, copy_data(MASK + b"\n"), frame(b"c"), complete("COPY 1"), ready())


@pytest.mark.parametrize("hostile", [copy_data(b"?\n"), copy_data(b"?") + frame(b"c"), b"d\0\0\0\3"])
def test_copied_data_that_no_server_sends(split: Split, hostile: bytes) -> None:
    play, _ = masking(split)
    play.client(query("SECRET")).server(COPY_OUT, hostile, copy_data(SSN), ready())
    assert SSN not in play.session.drain_client()


@pytest.mark.parametrize("beginning", [frame(b"H"), frame(b"H", b"\0\0")])
def test_a_copy_that_begins_with_less_than_it_must(split: Split, beginning: bytes) -> None:
    play, _ = masking(split)
    play.client(query("SECRET")).server(beginning, copy_data(SSN))
    assert play.session.closing


@pytest.mark.parametrize(
    "stray", [row(b"1"), copy_data(b"1"), fields("?"), complete("SELECT 1"), PARSED, ready(), b"?\0\0\0\4"]
)
def test_what_answers_nothing_ends_the_connection(play: Playbook, stray: bytes) -> None:
    play.server(stray)
    assert play.session.closing


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.none() | st.binary(max_size=12), min_size=2, max_size=2), max_size=6), st.data())
def test_no_masked_value_leaves_however_rows_are_cut(rows: list[list[bytes | None]], data: st.DataObject) -> None:
    def anywhere(stream: bytes) -> list[bytes]:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        return [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    play, _ = masking(anywhere)
    play.client(query("SECRET")).server(fields("a", "b"), *(row(*r) for r in rows), complete("SELECT"), ready())
    masked = (row(*(None if v is None else MASK for v in r)) for r in rows)
    play.to_client(fields("a", "b"), *masked, complete("SELECT"), ready())
