"""Commands as somebody types them into redis-cli: what `policy test` and `policy explain` take for a statement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from lockgate.understand.redis import LANGUAGE, REFUSED, Understanding
from lockgate.values.command import Call
from lockgate.values.statement import Effect, Request, Statement

_BLANKS: Final = re.compile(rb"\s*")
_BARE: Final = re.compile(rb"""[^\s"']*""")
_QUOTED: Final = re.compile(
    rb"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:\\'|[^'\\]|\\(?!'))*)')(?=\s|\Z)""", re.DOTALL
)
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_ESCAPED: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"a": b"\a"}


class CommandLines:
    """One command a line; several lines are a transaction, and judged as the whole.

    `reviewed` are the SHA-1 of scripts that touch the keys they declare, and no others.
    """

    def __init__(self, reviewed: Iterable[str] = ()) -> None:
        self._understanding = Understanding()
        self._reviewed = frozenset(reviewed)

    def request(self, text: str) -> Request:
        """What the commands would do, by the built-in table of commands. Never raises."""
        try:
            lines = [words for line in text.split("\n") if (words := split(line.encode("utf-8", "surrogateescape")))]
        except ValueError as error:
            refused = Statement(REFUSED, frozenset((Effect.UNKNOWN,)), refusal=str(error))
            return Request(LANGUAGE, text, "", (refused,))
        requests = [self._understanding.request(words, None, self._reviewed) for words in lines]
        if len(requests) == 1:
            return requests[0]
        return Request(
            LANGUAGE,
            "\n".join(request.text for request in requests),
            "\n".join(request.shape for request in requests),
            tuple(statement for request in requests for statement in request.statements),
            tuple(request.detail for request in requests if isinstance(request.detail, Call)),
        )


def split(line: bytes) -> tuple[bytes, ...]:
    """The words of a line, split as redis-cli does (sds.c, `sdssplitargs`). Raises ValueError.

    It joins what stands before a quote to it, and takes nothing right behind one.
    """
    return tuple(_words(line))


def _words(line: bytes) -> Iterator[bytes]:
    at = 0
    while (found := _BLANKS.match(line, at)) and (at := found.end()) < len(line):
        bare = _BARE.match(line, at)
        assert bare is not None
        word, at = bare[0], bare.end()
        if line[at : at + 1] in (b'"', b"'"):
            quoted = _QUOTED.match(line, at)
            if quoted is None:
                raise ValueError("quotes that don't pair, or something right behind them")
            word, at = word + _plain(quoted), quoted.end()
        yield word


def _plain(quoted: re.Match[bytes]) -> bytes:
    """What stands between quotes; one kind of them knows escapes."""
    if quoted["double"] is None:
        return quoted["single"].replace(b"\\'", b"'")
    return _ESCAPE.sub(
        lambda found: bytes.fromhex(found[1].decode()) if found[1] else _ESCAPED.get(found[2], found[2]),
        quoted["double"],
    )
