"""Attacks on what stands before Redis, as rows of a table, and what is asserted of each: that no marked value is seen,
that what was refused never reached the server, that it was refused in one line, what was recorded, and that others (and
the connection itself, unless it was closed) go on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import hiredis
import redis

from tests.support.attacks import Spool
from tests.support.markers import marker
from tests.support.redis import Redis, counted
from tests.support.redis_raw import RedisRaw, Straight, Talk, Word, encoded
from tests.support.redis_stack import RedisStack, fill

ONE_LINE: Final = re.compile(r"[A-Z]+ [^\x00-\x1f\x7f]*")
OURS: Final = re.compile(
    "(NOPERM|ERR) lockgate: "
    "|ERR (unknown (sub)?command|wrong number of arguments|value is not an integer|Number of keys)"
)
"""How a refusal of the agent's begins: where the server would refuse it too, in the server's words."""

SECONDS_ALONE: Final = 0.5
"""How long an answer may take that comes from the server itself."""

Said = Sequence[str | Sequence[Word] | bytes]


@dataclass(frozen=True, slots=True)
class RedisAttack:
    """A row: what is said, what is shown, what must not come of it.

    `said` are commands, each of which is answered before the next is sent; as one text (`GET a b`) or as words; or
    bytes, sent as they are, all at once, and answered by `answers` replies. `sees` is a pattern in all that is
    answered, as `shown` has it. `never` are commands that the server must not have been sent (`CONFIG SET`).
    `refused` says that the last answer is a refusal of the agent's own: the server has said no error. `ends` says that
    the connection is closed for it. `given` are commands that somebody else has had the server run before.
    """

    name: str
    said: Said
    sees: str = ""
    never: Sequence[str] = ()
    refused: bool = False
    answers: int = 1
    ends: bool = False
    person: str = "ann"
    given: Sequence[str | Sequence[str]] = ()

    def __str__(self) -> str:
        return self.name


def refused(
    name: str,
    *said: str | Sequence[Word] | bytes,
    never: Sequence[str] = (),
    given: Sequence[str | Sequence[str]] = (),
) -> RedisAttack:
    """A row whose last command is refused by the agent, and (unless `never` says what) not sent."""
    last = said[-1]
    word = last.split()[0] if isinstance(last, str) else last[0] if not isinstance(last, bytes) else ""
    return RedisAttack(name, said, never=never or (str(word).upper(),), refused=True, given=given)


class Attacked:
    """A server that is attacked: as new for each row that comes after one that may have spoilt it."""

    def __init__(self, server: Redis) -> None:
        self.server = server
        self.spoilt = False
        self._client = server.client(protocol=2)
        self._client.response_callbacks.clear()

    def ready(self, attack: RedisAttack) -> None:
        """With what every row finds, and what this one does."""
        if self.spoilt:
            self._client.close()
            self.server.renew()
        self.spoilt = True
        self._client.flushall()
        fill(self._client)
        for command in attack.given:
            self.ask(*(command.split() if isinstance(command, str) else command))

    def close(self) -> None:
        self._client.close()

    def ask(self, *words: str) -> Any:
        return self._client.execute_command(*words)  # type: ignore[no-untyped-call]

    def stats(self) -> dict[str, int]:
        """How often each command came."""
        return counted(self.ask("INFO", "commandstats"), refused=True)

    def errors(self) -> int:
        """How many errors it has said."""
        found = re.search(rb"total_error_replies:(\d+)", self.ask("INFO", "stats"))
        assert found
        return int(found[1])

    def state(self) -> list[object]:
        """What refused commands must not have changed."""
        keys = sorted(self.ask("KEYS", "*"))
        with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.dump(key)
            found = pipe.execute()
        return [keys, found, self.settings()]

    def settings(self) -> list[object]:
        """What it is beside its keys."""
        told = [self.ask(*words.split()) for words in ("CONFIG GET *", "ACL LIST", "FUNCTION LIST")]
        return [*told, self.ask("ROLE")[0]]


def say(raw: Talk, said: Said, answers: int) -> list[object]:
    """All of the answers there were."""
    if any(isinstance(one, bytes) for one in said):
        raw.send(*(one for one in said if isinstance(one, bytes)))
        return raw.replies(answers)
    found: list[object] = []
    for one in said:
        assert not isinstance(one, bytes)
        raw.send(encoded(*(one.split() if isinstance(one, str) else one)))
        found += raw.replies(1)
    return found


class RedisAttacker:
    """Who attacks through the agent: a connection of its own for each row, so that none helps the next."""

    def __init__(self, stack: RedisStack) -> None:
        self.stack = stack
        self.spool = Spool(stack)
        self.attacked = Attacked(stack.redis)

    def close(self) -> None:
        self.attacked.close()

    def run(self, attack: RedisAttack) -> None:
        """Do it, and hold what comes of it against its row."""
        self.attacked.ready(attack)
        for _ in self.spool.new():
            pass  # what others left
        with RedisRaw(self.stack, attack.person) as raw:
            hold_against(attack, self.attacked, raw)
        for one in self.spool.new():
            assert marker(json.dumps(one, default=repr).encode()) is None, one
        self.attacked.spoilt = bool(attack.given)


def works(attack: RedisAttack, attacked: Attacked) -> bool:
    """Whether what its row forbids comes of it where nobody stands before the server."""
    attacked.ready(attack)
    fresh = attacked.settings()
    try:
        with Straight(attacked.server, SECONDS_ALONE) as raw:
            hold_against(attack, attacked, raw)
    except (AssertionError, OSError, redis.RedisError):
        with suppress(redis.RedisError):
            attacked.spoilt = bool(attack.given) or attacked.settings() != fresh
        return True
    return False


def hold_against(attack: RedisAttack, attacked: Attacked, raw: Talk) -> None:
    """Do it on a connection. Raises AssertionError, or what a server that is gone makes of it."""
    kept, before = attacked.state() if attack.refused else [], attacked.stats()
    answers = say(raw, attack.said[:-1], attack.answers) if attack.refused else []
    failed = attacked.errors()
    answers += say(raw, attack.said[-1:] if attack.refused else attack.said, attack.answers)
    text = shown(answers)
    assert re.search(attack.sees, text, re.DOTALL), text
    assert marker(raw.heard) is None, text
    for error in errors(answers):
        assert ONE_LINE.fullmatch(str(error)), error
    if attack.refused:
        assert answers, "it said nothing"
        assert isinstance(answers[-1], hiredis.ReplyError), text
        assert OURS.match(str(answers[-1])), text
    if attack.ends:
        assert raw.ended()
    else:
        _is_usable(raw)
    reached = attacked.stats()
    for name in attack.never:
        assert reached_by(reached, name) == reached_by(before, name), (name, text)
    if attack.refused:
        assert attacked.errors() == failed, text
        assert attacked.state() == kept, text


def _is_usable(raw: Talk) -> None:
    for words in (("DISCARD",), ("UNSUBSCRIBE",), ("PUNSUBSCRIBE",), ("SUNSUBSCRIBE",), ("SELECT", "0")):
        raw.ask(*words)
    raw.heard = b""
    for _ in range(50):  # pushes may still come first
        if raw.ask("ECHO", "usable") == b"usable":
            return
    raise AssertionError(raw.heard)


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
