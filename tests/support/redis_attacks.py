"""Attacks on what stands before Redis, as rows of a table, and what is asserted of each: that no marked value is seen,
that what was refused never reached the server, that it was refused in one line, what was recorded, and that others (and
the connection itself, unless it was closed) go on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import hiredis

from tests.support.attacks import Spool
from tests.support.markers import marker
from tests.support.redis_raw import RedisRaw, Word, encoded
from tests.support.redis_stack import RedisStack

ONE_LINE: Final = re.compile(r"(NOPERM|ERR|WRONGPASS|NOPROTO|NOAUTH|EXECABORT) [^\x00-\x1f\x7f]*")
OURS: Final = re.compile(r"(NOPERM|ERR) lockgate: ")


@dataclass(frozen=True, slots=True)
class RedisAttack:
    """A row: what is said, what is shown, what must not come of it.

    `said` are commands, each of which is answered before the next is sent; as one text (`GET a b`) or as words; or
    bytes, sent as they are, all at once, and answered by `answers` replies. `sees` is a pattern in all that is
    answered, as `shown` has it. `never` are commands that the server must not have been sent (`CONFIG SET`).
    `refused` says that the last answer is a refusal of the agent's own. `ends` says that the connection is closed for
    it.
    """

    name: str
    said: Sequence[str | Sequence[Word] | bytes]
    sees: str = ""
    never: Sequence[str] = ()
    refused: bool = False
    answers: int = 1
    ends: bool = False
    person: str = "ann"

    def __str__(self) -> str:
        return self.name


def refused(
    name: str, *said: str | Sequence[Word] | bytes, never: Sequence[str] = (), person: str = "ann"
) -> RedisAttack:
    """A row whose last command is refused by the agent, and (unless `never` says what) not sent."""
    last = said[-1]
    word = last.split()[0] if isinstance(last, str) else last[0] if not isinstance(last, bytes) else ""
    return RedisAttack(name, said, never=never or (str(word).upper(),), refused=True, person=person)


class RedisAttacker:
    """Who attacks: a connection of its own for each row, so that none helps the next."""

    def __init__(self, stack: RedisStack) -> None:
        self.stack = stack
        self.spool = Spool(stack)

    def run(self, attack: RedisAttack) -> None:
        """Do it, and hold what comes of it against its row."""
        self.stack.refill()
        for _ in self.spool.new():
            pass  # what others left
        before, kept = self.stack.redis.stats(refused=True), self._state()
        with RedisRaw(self.stack, attack.person) as raw:
            answers = self._said(raw, attack)
            text = shown(answers)
            assert re.search(attack.sees, text, re.DOTALL), text
            self._harmless(attack, raw, answers, text)
            if attack.ends:
                assert raw.ended()
            else:
                self._usable(raw)
        reached = self.stack.redis.stats(refused=True)
        for name in attack.never:
            assert reached_by(reached, name) == reached_by(before, name), (name, text)
        if attack.refused:
            assert self._state() == kept, text

    def _said(self, raw: RedisRaw, attack: RedisAttack) -> list[object]:
        if any(isinstance(one, bytes) for one in attack.said):
            raw.send(*(one for one in attack.said if isinstance(one, bytes)))
            return raw.replies(attack.answers)
        answers: list[object] = []
        for one in attack.said:
            assert not isinstance(one, bytes)
            raw.send(encoded(*(one.split() if isinstance(one, str) else one)))
            answers += raw.replies(1)
        return answers

    def _harmless(self, attack: RedisAttack, raw: RedisRaw, answers: list[object], text: str) -> None:
        assert marker(raw.heard) is None, text
        for error in errors(answers):
            assert ONE_LINE.fullmatch(str(error)) or not OURS.match(str(error)), error
        if attack.refused:
            assert isinstance(answers[-1], hiredis.ReplyError), text
            assert OURS.match(str(answers[-1])), text
        for one in self.spool.new():
            assert marker(json.dumps(one, default=repr).encode()) is None, one

    def _usable(self, raw: RedisRaw) -> None:
        for words in (("DISCARD",), ("UNSUBSCRIBE",), ("PUNSUBSCRIBE",), ("SUNSUBSCRIBE",), ("SELECT", "0")):
            raw.ask(*words)
        raw.heard = b""
        for _ in range(50):  # pushes may still come first
            if raw.ask("GET", "session:1") == b"session 1":
                return
        raise AssertionError(raw.heard)

    def _state(self) -> list[object]:
        """What refused commands must not have changed."""
        ask = self.stack.redis.ask
        keys = sorted(ask("KEYS", "*"))
        configured = ask("CONFIG", "GET", "*")
        users, functions = ask("ACL", "LIST"), ask("FUNCTION", "LIST")
        role = ask("ROLE")
        return [keys, [ask("DUMP", key) for key in keys], configured, users, functions, role[0]]


def errors(answers: Iterable[object]) -> list[Exception]:
    """All of them, at whatever depth."""
    found: list[Exception] = []
    for one in answers:
        if isinstance(one, hiredis.ReplyError):
            found.append(one)
        elif isinstance(one, (list, tuple, set)):
            found += errors(one)
        elif isinstance(one, dict):
            found += errors([*one.keys(), *one.values()])
    return found


def reached_by(stats: dict[str, int], name: str) -> int:
    """How many of a command, with all its sub-commands where it is named without one."""
    return sum(count for known, count in stats.items() if known == name or known.startswith(name + " "))


def shown(answers: Sequence[object]) -> str:
    """Answers as a pattern can find them: one a line, errors by their text."""
    return "\n".join(str(one) if isinstance(one, hiredis.ReplyError) else repr(one) for one in answers)
