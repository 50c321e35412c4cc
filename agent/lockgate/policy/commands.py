"""Commands as somebody types them into redis-cli: what `policy test` and `policy explain` take for a statement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from lockgate.understand.redis import LANGUAGE, REFUSED, Understanding
from lockgate.values.command import Call
from lockgate.values.statement import Effect, Request, Statement

_WORD: Final = re.compile(
    rb"""[\ \t\r\f\v]*(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>[^\s"']+))(?=\s|\Z)""",
    re.DOTALL,
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
            lines = [words for line in text.splitlines() if (words := split(line.encode("utf-8", "surrogateescape")))]
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
    """The words of a line, as redis-cli splits it (sds.c, `sdssplitargs`). Raises ValueError for quotes that don't pair."""
    return tuple(_words(line))


def _words(line: bytes) -> Iterator[bytes]:
    at = 0
    line = line.rstrip()
    while at < len(line):
        found = _WORD.match(line, at)
        if found is None:
            raise ValueError("quotes that don't pair, or something right behind one")
        if (double := found["double"]) is not None:
            yield _ESCAPE.sub(lambda m: bytes.fromhex(m[1].decode()) if m[1] else _ESCAPED.get(m[2], m[2]), double)
        elif (single := found["single"]) is not None:
            yield single.replace(b"\\'", b"'")
        else:
            yield found["bare"]
        at = found.end()
