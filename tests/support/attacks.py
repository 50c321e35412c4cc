"""Attacks as rows of a table, and what is asserted of each: the verdict, the bytes upstream, the bytes at the client,
the record, the state of the transaction, and that the connection is usable after."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lockgate.audit import record, segment
from tests.support.markers import marker
from tests.support.overheard import Overheard
from tests.support.playbook import execute, query
from tests.support.raw import Raw
from tests.support.stack import Stack

_REFUSED = frozenset("DHd")
_INSTEAD, _INSTEAD_EXECUTED = query("refused by lockgate"), execute("refused by lockgate")
"""What is sent in an open transaction for what was refused: it fails there, and so does the transaction."""


@dataclass(frozen=True, slots=True)
class Attack:
    """A row: what is sent, what is decided, what the client is shown.

    `said` are texts, each a query of its own that is answered before the next is sent; or messages, sent at once and
    answered by `answers` ReadyForQuery; or, with a backslash at the beginning of any, commands of psql. `verdicts` has
    a letter for each record of a statement: Allowed, Masked, Denied or Held; prepared, or denied that.
    `sees` is a pattern in what psql would print, or in the messages as `written`. `kept` must not reach the server.
    `last` says that it leaves the connection changed for good.
    """

    name: str
    verdicts: str
    said: Sequence[str | bytes]
    sees: str
    answers: int = 1
    kept: bytes | None = None
    last: bool = False

    def __str__(self) -> str:
        return self.name


class Spool:
    """The records of an agent, each read once."""

    def __init__(self, stack: Stack) -> None:
        self._folder = stack.folder / "state" / "spool"
        self._read: dict[str, int] = {}

    def new(self) -> Iterator[dict[str, Any]]:
        """Those written since it was last asked."""
        for path in sorted(self._folder.glob(f"*{segment.SUFFIX}")):
            data = path.read_bytes()
            offset = self._read.get(path.name) or segment.read_header(data)[1]
            for start, stop in segment.entries(data, offset):
                yield record.decode(data[start + segment.ENTRY_PREFIX : stop])
                offset = stop
            self._read[path.name] = offset


class Attacker:
    """Who attacks, over one connection as long as it lasts. `stack` serves what listens in front of its server."""

    def __init__(self, stack: Stack, upstream: Overheard, person: str = "ann") -> None:
        self.stack = stack
        self.upstream = upstream
        self.spool = Spool(stack)
        self.person = person
        self._raw: Raw | None = None

    def close(self) -> None:
        if self._raw is not None:
            self._raw.__exit__(None, None, None)
            self._raw = None

    def run(self, attack: Attack) -> None:
        """Do it, and hold what comes of it against its row."""
        try:
            self._run(attack)
        except BaseException:
            self.close()  # whatever state it is in
            raise

    def _run(self, attack: Attack) -> None:
        raw = self._connected()
        for _ in self.spool.new():
            pass  # what others left
        mark = self.upstream.mark()
        texts = [text for text in attack.said if isinstance(text, str)]
        if any(text.startswith("\\") for text in texts):
            seen, sent = self._by_psql(texts), None
        elif texts:
            seen, sent = self._by_queries(raw, texts)
        else:
            frames = [message for message in attack.said if isinstance(message, bytes)]
            raw.send(*frames)
            answered = raw.until(times=attack.answers)
            seen, sent = written(answered), None
            assert answered[-1][0] == "Z", seen
            onward, meant = self.upstream.since(mark), b"".join(frames)
            assert _in_order(_telling(onward), _telling(meant)), (meant, onward)
        reached = self.upstream.since(mark)
        told = list(self.spool.new())
        self._usable(raw)
        verdicts = "".join(map(_letter, (one for one in told if _is_begin(one))))
        assert verdicts == attack.verdicts, (verdicts, seen)
        assert re.search(attack.sees, seen, re.MULTILINE | re.DOTALL * (sent is None)), seen
        if sent is not None:
            passed = [_passed(*one) for one in zip(sent, verdicts, strict=True)]
            assert b"".join(passed) == reached
        if attack.kept is not None:
            assert attack.kept not in reached
        for one in told:
            assert marker(json.dumps(one, default=repr).encode()) is None, one
        assert marker(raw.heard) is None, seen
        raw.heard = b""
        if attack.last:
            self.close()

    def _by_queries(self, raw: Raw, texts: Sequence[str]) -> tuple[str, list[tuple[str, str]]]:
        """What is shown, and each text with the state of the transaction that it is sent in."""
        seen, state, sent = "", "I", []
        for text in texts:
            sent.append((text, state))
            raw.send(query(text))
            answer = raw.until()
            assert answer, seen
            assert answer[-1][0] == "Z", seen + shown(answer)
            after = answer[-1][1].decode()
            failed = any(kind == "E" for kind, _ in answer)
            assert ";" in text or after == _state(state, text, failed), (text, state, after)
            state = after
            seen += shown(answer)
        return seen, sent

    def _by_psql(self, texts: Sequence[str]) -> str:
        run = self.stack.psql(self.person, *texts, "SELECT 'still here'", port=self.upstream.port)
        assert run.stdout.endswith("still here\n"), run.stderr
        assert marker((run.stdout + run.stderr).encode()) is None
        return run.stdout + run.stderr

    def _connected(self) -> Raw:
        if self._raw is None:
            self._raw = Raw(self.stack, self.person, port=self.upstream.port)
            self._raw.start()
            # what is classified is known from here on
            self._raw.send(query("SELECT 1 FROM customers LIMIT 1"))
            self._raw.until()
        return self._raw

    def _usable(self, raw: Raw) -> None:
        for text, expected in (
            ("ROLLBACK", "ROLLBACK"),
            ("DISCARD ALL", "DISCARD ALL"),
            ("SELECT 'still here'", "still here"),
        ):
            raw.send(query(text))
            assert expected in shown(raw.until())


def _is_begin(one: dict[str, Any]) -> bool:
    return one["type"] in ("statement", "prepare") and one.get("phase") == "begin"


def _letter(begin: dict[str, Any]) -> str:
    if begin["type"] == "prepare":
        # which columns may be masked needn't be known yet
        return {"allow": "p", "deny": "d"}[begin["verdict"]]
    return {"allow": "M" if begin.get("masks") else "A", "deny": "D", "hold": "H"}[begin["verdict"]]


def _passed(said: tuple[str, str], verdict: str) -> bytes:
    """What reaches the server of a text that is sent in a state of the transaction."""
    text, state = said
    if verdict not in _REFUSED:
        return query(text)
    return _INSTEAD if state == "T" else b""


def _state(before: str, text: str, failed: bool) -> str:
    """The state of the transaction after a text of one statement, as PostgreSQL has it."""
    if failed:
        return "I" if before == "I" else "E"
    word = text.split(maxsplit=1)[0].upper()
    if word in ("BEGIN", "START"):
        return "T"
    return "I" if word in ("COMMIT", "END", "ROLLBACK") else before


def _in_order(some: Sequence[bytes], all_: Sequence[bytes]) -> bool:
    rest = iter(all_)
    return all(one in rest for one in some)


def _telling(data: bytes) -> list[bytes]:
    """The messages that say something, without what stands for those that were refused."""
    return [one for one in messages(data) if one[:1] not in b"DHS" and one != _INSTEAD and one != _INSTEAD_EXECUTED]


def messages(data: bytes) -> Iterator[bytes]:
    """The messages of a connection that has begun, each with its type and length."""
    while data:
        end = 1 + int.from_bytes(data[1:5], "big")
        yield data[:end]
        data = data[end:]


def written(answer: Sequence[tuple[str, bytes]]) -> str:
    """Messages as a pattern can find them."""
    return " ".join(f"{kind} {str(payload)[2:-1]}" for kind, payload in answer)


def shown(answer: Sequence[tuple[str, bytes]]) -> str:
    """What `psql -At` prints of an answer."""
    return "".join(_line(kind, payload) for kind, payload in answer)


def _line(kind: str, payload: bytes) -> str:
    match kind:
        case "D":
            return "|".join(_cells(payload)) + "\n"
        case "d":
            return payload.decode(errors="replace")
        case "C":
            tag = payload[:-1].decode()
            return "" if tag.startswith(("SELECT", "COPY", "FETCH")) else tag + "\n"
        case "E" | "N":
            found = {part[:1].decode(): part[1:].decode(errors="replace") for part in payload.split(b"\0") if part}
            rest = [f"{word}:  {found[letter]}\n" for letter, word in _REST.items() if letter in found]
            return f"{found['S']}:  {found['M']}\n" + "".join(rest)
        case "A":
            return f'Asynchronous notification "{payload[4:].decode(errors="replace")}"\n'
        case _:
            return ""


_REST = {"D": "DETAIL", "H": "HINT", "q": "QUERY", "W": "CONTEXT", "n": "CONSTRAINT"}


def _cells(row: bytes) -> Iterator[str]:
    place = 2
    for _ in range(int.from_bytes(row[:2], "big")):
        length = int.from_bytes(row[place : place + 4], "big", signed=True)
        place += 4
        yield "" if length < 0 else row[place : place + length].decode(errors="replace")
        place += max(length, 0)
