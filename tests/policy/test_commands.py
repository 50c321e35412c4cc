"""Commands as somebody types them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy.commands import CommandLines, split
from lockgate.policy.touches import calls_of
from lockgate.values.statement import Effect

SHA = "c3f8721cbb97f72bc19e972846bd7aaf91901658"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("GET session:42", (b"GET", b"session:42")),
        ("  SET\tk   v \r", (b"SET", b"k", b"v")),
        (r'SET k "a b\n\x00\xfF\t\"\q"', (b"SET", b"k", b'a b\n\x00\xff\t"q')),
        (r'SET k "\xzz\x1"', (b"SET", b"k", b"xzzx1")),
        (r"SET k 'a \' \n \x41'", (b"SET", b"k", rb"a ' \n \x41")),
        ("SET '' \"\"", (b"SET", b"", b"")),
        ('SET k"ey" v', (b"SET", b"key", b"v")),
        ("SET größe 1", (b"SET", "größe".encode(), b"1")),
        (r"SET a\b 1", (b"SET", rb"a\b", b"1")),
        ("", ()),
        (" \t", ()),
    ],
)
def test_a_line_is_split_as_redis_cli_does(line: str, words: tuple[bytes, ...]) -> None:
    assert split(line.encode()) == words


@pytest.mark.parametrize(
    "line", ['GET "a', "GET 'a", 'GET "a"b', "GET 'a'b", 'GET "a\\"', "GET 'a\\'", 'GET a"b"c', '"']
)
def test_quotes_have_to_pair(line: str) -> None:
    with pytest.raises(ValueError, match="quotes that don't pair"):
        split(line.encode())


@given(st.lists(st.binary(max_size=6), max_size=4))
def test_what_is_quoted_comes_back(words: list[bytes]) -> None:
    line = b" ".join(b'"' + b"".join(b"\\x%02x" % byte for byte in word) + b'"' for word in words)
    assert split(line) == tuple(words)


@given(st.binary(max_size=20))
def test_any_line_is_split_or_refused(line: bytes) -> None:
    try:
        words = split(line)
    except ValueError:
        return
    assert sum(map(len, words)) <= len(line)


def test_one_command() -> None:
    asked = CommandLines().request("MGET session:1 cart:1")
    (statement,) = asked.statements
    (call,) = calls_of(asked)
    assert (statement.kind, list(statement.effects)) == ("MGET", [Effect.READ])
    assert [key.key for key in call.keys] == [b"session:1", b"cart:1"]


def test_several_lines_are_judged_as_the_whole() -> None:
    asked = CommandLines().request("MULTI\nSET a 1\n\nCONFIG SET save ''\nEXEC\n")
    assert [statement.kind for statement in asked.statements] == ["MULTI", "SET", "CONFIG SET", "EXEC"]
    assert asked.statements[2].kinds == ("CONFIG SET", "CONFIG")
    assert [call.name for call in calls_of(asked)] == ["MULTI", "SET", "CONFIG SET", "EXEC"]


@pytest.mark.parametrize("text", ["GTE a", "GET", "GET 'a", "GET a\nGET 'b", "GET a\nGTE b"])
def test_what_can_not_be_read_is_refused(text: str) -> None:
    assert CommandLines().request(text).refusal is not None


def test_a_reviewed_script_touches_what_it_declares() -> None:
    text = f"EVALSHA {SHA} 1 lock:stock token"
    (unknown,) = calls_of(CommandLines().request(text))
    (known,) = calls_of(CommandLines([SHA]).request(text))
    assert (bool(unknown.anywhere), known.anywhere) == (True, frozenset())
    assert Effect.UNKNOWN not in CommandLines([SHA]).request(text).effects
