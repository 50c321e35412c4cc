"""A session between a client that does anything and a model of PostgreSQL, and what must hold of it, whatever happens.

1. No `FORBIDDEN` statement ever runs, and no `secret` ever reaches the client.
2. The session never loses track of what the server answers: it never accuses a server that follows the rules.
3. What the gate is told to have completed is what the server completed, in that order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TypeAlias

from lockgate.wire.gate import Asked, Ruling
from lockgate.wire.postgresql.frames import frame, startup
from lockgate.wire.postgresql.observed import ObservedSession
from lockgate.wire.postgresql.session import Session
from tests.support.model_server import ModelServer
from tests.support.playbook import (
    COPY_DONE,
    DENIED,
    FLUSH,
    KERNEL,
    SYNC,
    Masked,
    ScriptedGate,
    bind,
    close,
    copy_data,
    copy_fail,
    describe,
    execute,
    parse,
    query,
)


class SuspiciousGate(ScriptedGate):
    """Refuses what is forbidden, masks what is secret; makes every `slow`-th request wait."""

    def __init__(self, slow: int) -> None:
        super().__init__()
        self.slow = slow
        self.waiting: Ruling | None = None

    def run(self, asked: Asked) -> Ruling | None:
        self.asked.append(asked)
        ruling = self._ruling(asked)
        if self.slow and len(self.asked) % self.slow == 0:
            self.waiting = ruling
            return None
        return ruling

    def _ruling(self, asked: Asked) -> Ruling:
        own = [s for s in asked.request.text.split(";") if s.split()[:1] not in (["PREPARE"], ["DECLARE"])]
        texts = [*own, *(c.text for c in asked.candidates)]
        if any("FORBIDDEN" in t for t in texts) or any(c.refusal for c in asked.candidates):
            return Ruling(DENIED)
        barrier = asked.request.text.startswith(("BEGIN", "EXECUTE"))
        if any("UNPLANNABLE" in t for t in texts):
            return Ruling(masking=Masked(fails=True), barrier=barrier)
        if any("SECRET" in t for t in texts):
            return Ruling(masking=Masked(), barrier=barrier)
        return Ruling(barrier=barrier)


Action: TypeAlias = tuple[str, bytes | int]

_WORDS = ["SELECT", "SELECT", "SECRET", "SECRET", "FORBIDDEN", "UNPLANNABLE"]


class Client:
    """A client that says anything, drawn from `random`, in words that have much to do with one another."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def script(self, length: int) -> list[Action]:
        return [self._action() for _ in range(length)]

    def _action(self) -> Action:
        match self.random.randrange(16):
            case 0 | 1:
                return "server", self.random.choice([1, 1, 2, 3, 1000])
            case 2 | 3:
                return "deliver", self.random.choice([1, 5, 8, 20, 100_000])
            case 4:
                return "everything", 0
            case 5:
                return "resume", 0
            case _:
                return "client", self._said()

    def _said(self) -> bytes:
        pick, name, portal, limit = self.random.choice, self._name, self._portal, self._limit
        match self.random.randrange(24):
            case 0 | 1 | 2 | 3:
                return query("; ".join(self._text() for _ in range(pick([0, 1, 1, 1, 2, 3]))))
            case 4 | 5:
                return parse(name(), "; ".join(self._text() for _ in range(pick([1] * 9 + [2]))))
            case 6 | 7:
                return bind(portal(), name())
            case 8 | 9 | 10:
                return execute(portal(), limit())
            case 11:
                return describe("P", portal()) if pick([True, False]) else describe("S", name())
            case 12:
                return close("P", portal()) if pick([True, False]) else close("S", name())
            case 13 | 14 | 15:
                return SYNC
            case 16:
                return pick([FLUSH, FLUSH, frame(b"F", b"\0\0\0\1\0\0\0\0\0\0")])
            case 17 | 18:
                return pick([copy_data(b"x"), COPY_DONE, COPY_DONE, copy_fail("no"), COPY_DONE + SYNC])
            case 19 | 20:
                one, other = name(), portal()
                return parse(one, self._text()) + bind(other, one) + execute(other, limit())
            case 21:
                return parse("", self._text()) + bind("", "") + describe("P", "") + execute("") + SYNC
            case 22:
                other = portal()
                return bind(other, name()) + execute(other)
            case _:
                return query("BEGIN") + SYNC

    def _name(self) -> str:
        return self.random.choice(["", "a", "a", "b"])

    def _portal(self) -> str:
        return self.random.choice(["", "c", "c", "p"])

    def _limit(self) -> int:
        return self.random.choice([0, 0, 1])

    def _leaf(self) -> str:
        return f"{self.random.choice(_WORDS)} {self.random.randint(1, 3)}"

    def _text(self) -> str:
        pick = self.random.choice
        match self.random.randrange(20):
            case 0 | 1 | 2 | 3 | 4 | 5 | 6:
                return self._leaf()
            case 7 | 8:
                return pick(["FAIL", "DEFER", "SYNTAX", "BEGIN", "BEGIN", "BEGIN", "COMMIT", "ROLLBACK"])
            case 9 | 10:
                return pick(["COPY in", "COPY fails", "COPY late", "COPY out"])
            case 11 | 12:
                return f"PREPARE {pick('ab')} AS {self._leaf()}"
            case 13 | 14:
                return f"EXECUTE {pick('ab')}"
            case 15:
                return f"DEALLOCATE {pick('ab')}"
            case 16 | 17:
                return f"DECLARE {pick('cp')} CURSOR FOR {self._leaf()}"
            case 18:
                return f"FETCH {pick('cp')}"
            case _:
                return f"CLOSE {pick('cp')}"


def smallest(script: Sequence[Action], slow: int, world: type[World] | None = None) -> list[Action]:
    """`script`, which breaks what must hold, without the actions that it breaks without."""
    left, size = list(script), len(script) // 2
    while size:
        for start in range(0, len(left), size):
            shorter = left[:start] + left[start + size :]
            if not holds(shorter, slow, world):
                left = shorter
                break
        else:
            size //= 2
    return left


def holds(script: Sequence[Action], slow: int, world: type[World] | None = None) -> bool:
    try:
        (world or World)(slow).play(script)
    except AssertionError:
        return False
    return True


def _among(text: str, rest: Iterator[str]) -> bool:
    """Whether `text` comes next in `rest`, some skipped; what may have been prepared in SQL is told as its EXECUTE."""
    return any(text == other or text.startswith('EXECUTE "') for other in rest)


class World:
    """A client, a session, a gate and a server, and what must hold between them."""

    def __init__(self, slow: int = 0) -> None:
        self.gate = SuspiciousGate(slow)
        self.server = self.answering()
        self.session = self.begin()
        self.to_client = bytearray()
        self.session.client_data(startup({"user": "ann"}))
        self.session.connected()
        self.everything()

    def answering(self) -> ModelServer:
        return ModelServer()

    def begin(self) -> Session:
        return Session(self.gate, KERNEL, message_bytes=10_000, row_bytes=10_000)

    def play(self, script: Sequence[Action]) -> None:
        for action, value in script:
            if self.session.closing or self.server.dead:
                break
            if action == "client":
                assert isinstance(value, bytes)
                self.session.client_data(value)
            elif action == "server":
                assert isinstance(value, int)
                self.server.step(value)
                if value > 1:
                    self.server.flush()
            elif action == "deliver":
                assert isinstance(value, int)
                self.deliver(value)
            elif action == "resume":
                self.resume()
            else:
                self.everything()
            self.check()
        self.end()

    def deliver(self, count: int) -> None:
        data = bytes(self.server.sent[:count])
        del self.server.sent[:count]
        self.session.server_data(data)

    def resume(self) -> None:
        if self.session.parked:
            ruling = self.gate.waiting
            assert ruling is not None
            self.session.resume(ruling)

    def everything(self) -> None:
        self.check()
        self.server.step()
        while self.server.sent and not self.session.closing:
            self.deliver(1000)
            self.check()
            self.server.step()

    def check(self) -> None:
        self.server.take(self.session.drain_server())
        self.to_client += self.session.drain_client()
        assert b"secret" not in self.to_client, "a masked value reached the client"
        assert not any("FORBIDDEN" in text.split()[0] for text in self.server.ran), "a forbidden statement ran"
        assert b"lockgate: the server" not in self.to_client, "the session lost track of the server"
        assert b"rows came that" not in self.to_client, "rows came for which there was no plan"

    def end(self) -> None:
        """Let everything come to rest: nothing is owed, nothing is open, and both sides say the same of it."""
        for data in (b"", COPY_DONE, SYNC, COPY_DONE, SYNC):
            for _ in range(200):
                self.everything()
                if not self.session.parked:
                    break
                self.resume()
            if not self.session.closing and not self.server.dead:
                self.session.client_data(data)
        self.everything()
        if self.server.dead:
            self.session.server_gone()
        elif not self.session.closing:
            assert not self.session.waiting_bytes, "the session waits for an answer that never comes"
            told = [run.request.text for run in self.gate.runs if run.outcome == "completed"]
            rest = iter(self.server.completed)
            assert all(_among(text, rest) for text in told), "the gate was told of another order, or of what never ran"
            unmasked = sum(run.error == "42501" for run in self.gate.runs)
            assert len(self.server.completed) - len(told) <= unmasked, "the gate wasn't told of what ran"
            self.session.client_data(query("ROLLBACK"))
            for _ in range(3):
                self.everything()
                self.resume()
            self.everything()
            assert self.session.idle
        assert len({id(run) for run in self.gate.runs}) == len(self.gate.runs), "a run was settled twice"


class LookingGate(SuspiciousGate):
    """Refuses and masks nothing; makes every `slow`-th request wait."""

    blind: str | None = None

    def unread(self, why: str) -> None:
        """It need not be known here."""


class Turned(World):
    """A world whose session began observed and is enforced from before the first statement on."""

    def begin(self) -> Session:
        gate = LookingGate(self.gate.slow)
        gate._ruling = self.gate._ruling  # type: ignore[method-assign]
        self.gate = gate
        session = ObservedSession(gate, KERNEL, message_bytes=10_000, row_bytes=10_000, passing=True)
        session.enforce()
        return session


class Calling(ModelServer):
    """One that answers the function call protocol, by saying no."""

    def _extended(self, kind: str, payload: bytes) -> None:
        if kind != "F":
            super()._extended(kind, payload)
            return
        self._fail("42883")
        self._ready()


class Observed(World):
    """A world that is only looked at: it is to come out as if client and server had spoken with each other."""

    def begin(self) -> Session:
        gate = LookingGate(self.gate.slow)
        gate._ruling = lambda asked: Ruling(barrier=asked.request.text.startswith("BEGIN"))  # type: ignore[method-assign]
        self.gate = gate
        self.said = b""
        return ObservedSession(gate, KERNEL, message_bytes=10_000, row_bytes=10_000)

    def play(self, script: Sequence[Action]) -> None:
        for action, value in script:
            if action == "client":
                assert isinstance(value, bytes)
                self.say(value)
            elif action == "server":
                assert isinstance(value, int)
                self.server.step(value)
            elif action == "deliver":
                assert isinstance(value, int)
                self.deliver(value)
            elif action == "resume":
                self.resume()
            self.check()
        for data in (b"", COPY_DONE, SYNC, COPY_DONE, SYNC, query("ROLLBACK")):
            self.say(data)
            for _ in range(300):
                self.everything()
                if not self.session.parked:
                    break
                self.resume()
        direct = Calling()
        direct.take(startup({"user": "ann"}) + self.said)
        direct.step()
        direct.flush()
        assert not self.session.closing
        assert self.server.ran == direct.ran, "another thing ran"
        assert bytes(self.to_client) == bytes(direct.sent), "the client was told another thing"

    def answering(self) -> ModelServer:
        return Calling()

    def say(self, data: bytes) -> None:
        self.said += data
        self.session.client_data(data)

    def check(self) -> None:
        self.server.take(self.session.drain_server())
        self.to_client += self.session.drain_client()
