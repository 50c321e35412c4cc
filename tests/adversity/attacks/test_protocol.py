"""What an engineer may try with the messages of the protocol."""

from __future__ import annotations

import re

import pytest

from lockgate.wire.postgresql.frames import frame
from tests.support.attacks import Attack, Attacker, written
from tests.support.markers import marker
from tests.support.playbook import COPY_DONE, SYNC, bind, close, copy_fail, describe, execute, parse, query
from tests.support.raw import Raw
from tests.support.stack import Stack

WITHHELD = "withheld because it may quote masked columns"
HELD = "nobody of dba approved within 1 s"
NOTE = "SELECT note, id FROM customers ORDER BY id"
SECRET = "SELECT ssn, email FROM customers ORDER BY id"
MASKED = r"D \\x00\\x02\\x00\\x00\\x00\\x03\*\*\*\\x00\\x00\\x00\\ru\*\*\*@e\*\*\*\.org"


def bind_binary(portal: str, statement: str) -> bytes:
    """Bind without parameters, all results in binary."""
    return frame(b"B", f"{portal}\0{statement}\0".encode() + b"\0\0\0\0\0\1\0\1")


SPEAKING = [
    Attack("described one, run another", "ppAM", [parse("a", NOTE), parse("b", SECRET), bind("p", "a"), bind("q", "b"),
        describe("P", "p"), execute("q", 1), SYNC], MASKED),
    Attack("the unnamed, made again", "pApM", [parse("", NOTE), bind("", ""), describe("P", ""), parse("", SECRET),
        bind("", ""), execute("", 1), SYNC], MASKED),
    Attack("in parts", "pM", [parse("", SECRET), bind("", ""), execute("", 1), execute("", 2), SYNC],
        rf"{MASKED}.*s .*{MASKED}"),
    Attack("in binary", "pM", [parse("", "SELECT ssn, born, email::bytea FROM customers LIMIT 1"), bind_binary("", ""),
        execute(""), SYNC], r"D \\x00\\x03\\x00\\x00\\x00\\x03\*\*\*(\\xff){8}"),
    Attack("prepared by protocol, run by SQL", "pM", [parse("c", SECRET), SYNC, query("EXECUTE c")], MASKED, answers=2),
    Attack("prepared by SQL, run by protocol", "MM", [query("PREPARE d AS " + SECRET), bind("", "d"), execute("", 1),
        SYNC], MASKED, answers=2),
    Attack("prepared twice over", "MpM", [query("PREPARE e AS " + SECRET), parse("f", "EXECUTE e"), bind("", "f"),
        execute("", 1), SYNC], MASKED, answers=2),
    Attack("a portal fetched by SQL", "ApMMA", [query("BEGIN"), parse("", SECRET), bind("g", ""), SYNC,
        query("FETCH 2 FROM g"), query("ROLLBACK")], MASKED, answers=4),
    Attack("a cursor run by protocol", "AMA", [query("BEGIN"), query("DECLARE h CURSOR FOR " + SECRET), execute("h", 1),
        SYNC, query("ROLLBACK")], "is a cursor made in SQL", answers=4),
    Attack("made again, which fails", "ppM", [parse("i", SECRET), SYNC, parse("i", NOTE), SYNC, bind("", "i"),
        execute("", 1), SYNC], MASKED, answers=3),
    Attack("closed and made again", "ppM", [parse("j", NOTE), close("S", "j"), parse("j", SECRET), bind("", "j"),
        execute("", 1), SYNC], MASKED),
    Attack("closed behind an error", "ppApM", [parse("k", SECRET), SYNC, parse("l", "SELECT 1 / 0"), bind("", "l"),
        execute(""), close("S", "k"), parse("k", NOTE), SYNC, bind("", "k"), execute("", 1), SYNC], MASKED, answers=3),
    Attack("names in capitals", "MAM", [query('PREPARE "M" AS ' + SECRET), query("PREPARE m AS " + NOTE), bind("", "M"),
        execute("", 1), SYNC], MASKED, answers=3),
    Attack("DISCARD ALL between", "AAMM", [query("PREPARE n AS " + NOTE), query("DISCARD ALL"),
        query("PREPARE n AS " + SECRET), query("EXECUTE n")], MASKED, answers=4),
    Attack("several at once", "MAM", [query(SECRET + " LIMIT 1"), query(NOTE + " LIMIT 1"), query(SECRET + " LIMIT 1")],
        rf"{MASKED}.*D \\x00\\x02\\x00\\x00\\x00\\x01n.*{MASKED}", answers=3),
    Attack("an error of what was described", "pM", [parse("", "SELECT ssn::int FROM customers"), bind("", ""),
        describe("P", ""), execute(""), SYNC], WITHHELD),
    Attack("a function call", "", [frame(b"F", b"\0\0\0\1\0\0\0\0\0\0")], "function call protocol is refused"),
    Attack("a deletion", "pH", [parse("", "DELETE FROM scratch"), bind("", ""), execute(""), SYNC], HELD,
        kept=execute("")),
    Attack("a deletion prepared by protocol, run by SQL", "pH", [parse("o", "DELETE FROM scratch"), SYNC,
        query("EXECUTE o")], HELD, answers=2, kept=query("EXECUTE o")),
    Attack("a deletion prepared twice over", "ppH", [parse("q", "DELETE FROM scratch"), parse("r", "EXECUTE q"),
        bind("", "r"), execute(""), SYNC], HELD, kept=execute("")),
    Attack("a deletion inside a copy", "AH", [query("COPY scratch FROM STDIN"), SYNC, COPY_DONE,
        query("DELETE FROM scratch")], HELD, answers=2, kept=query("DELETE FROM scratch")),
    Attack("a deletion behind a copy", "pAH", [parse("", "COPY scratch FROM STDIN"), bind("", ""), execute(""), SYNC,
        COPY_DONE, SYNC, query("DELETE FROM scratch")], HELD, answers=2, kept=query("DELETE FROM scratch")),
    Attack("a deletion behind a failed copy", "AH", [query("COPY scratch FROM STDIN"), copy_fail("x"),
        query("DELETE FROM scratch")], HELD, answers=2, kept=query("DELETE FROM scratch")),
    Attack("a deletion behind an error", "pApH", [parse("", "SELECT 1 / 0"), bind("", ""), execute(""),
        parse("", "DELETE FROM scratch"), bind("", ""), execute(""), SYNC], "division by zero"),
]  # fmt: skip


@pytest.mark.parametrize("attack", SPEAKING, ids=str)
def test_the_protocol_is_no_way_around(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)
    assert ann.stack.server.psql("SELECT count(*) FROM scratch") == "2\n"


ENDING = [
    ("a text with a NUL", [frame(b"Q", b"SELECT 1\0; DROP TABLE scratch\0")], "holds a NUL"),
    ("a text that doesn't end", [frame(b"Q", b"SELECT 1")], "not terminated"),
    ("a message without bounds", [b"Q\x7f\xff\xff\xff"], "the bound is"),
    ("a message shorter than its length", [b"Q\0\0\0\3"], "the bound is"),
    ("a message nobody knows", [frame(b"y")], "unknown type"),
    ("a query in the middle of a copy", [query("COPY scratch FROM STDIN"), query("SELECT 1")], "in the middle of COPY"),
    ("a password out of turn", [frame(b"p", b"x\0")], "unknown type"),
]


@pytest.mark.parametrize(("name", "said", "expected"), ENDING, ids=[row[0] for row in ENDING])
def test_what_is_no_message_ends_the_connection(stack: Stack, name: str, said: list[bytes], expected: str) -> None:
    with Raw(stack, "ann") as raw:
        raw.start()
        raw.send(*said)
        messages = raw.until("never")
        assert re.search(expected, written(messages[-1:]))


INTRODUCTIONS = [
    ("backslashes", {"options": "-c standard_conforming_strings=off"}, "must stay on"),
    ("backslashes, spelt otherwise", {"options": "--Standard-Conforming-Strings=off"}, "must stay on"),
    ("backslashes as a parameter", {"standard_conforming_strings": "off"}, "must stay on"),
    ("another encoding", {"client_encoding": "SJIS"}, "is not supported"),
    ("another encoding as an option", {"options": "-c client_encoding=LATIN1"}, "is not supported"),
    ("an option that isn't one", {"options": "-d 5"}, "is not a setting"),
    ("replication", {"replication": "database"}, "replication connections are refused"),
    ("replication, spelt otherwise", {"replication": "1"}, "replication connections are refused"),
    ("no name", {"user": ""}, "names no user"),
]


@pytest.mark.parametrize(("name", "parameters", "expected"), INTRODUCTIONS, ids=[row[0] for row in INTRODUCTIONS])
def test_no_introduction_opens_a_side_door(stack: Stack, name: str, parameters: dict[str, str], expected: str) -> None:
    with Raw(stack, "ann") as raw:
        messages = raw.start(**parameters)
        assert messages[-1][0] == "E"
        assert re.search(expected, written(messages))


def test_the_databases_superuser_is_still_ann(stack: Stack) -> None:
    with Raw(stack, "ann") as raw:
        raw.start(user="postgres")
        for text, expected in (("DROP TABLE scratch", "schema changes"), (SECRET, MASKED), ("DELETE FROM scratch",
        HELD),
                               ("SELECT stavalues1::text FROM pg_statistic", r"\*\*\*"),
                               ("SELECT pg_read_file('postgresql.conf')", "no policy permits")):  # fmt: skip
            raw.send(query(text))
            assert re.search(expected, written(raw.until()))
        assert marker(raw.heard) is None
