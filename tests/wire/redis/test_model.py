"""Any pipeline, any server that keeps to the protocol, any delays: what runs was let run, and no secret is shown."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.values.statement import Request
from lockgate.wire.gate import Refusal, Ruling
from lockgate.wire.redis.session import Session
from tests.support.redis_playbook import DENIED, Masked, MaskedMessages, ScriptedGate, command
from tests.wire.redis.model import SECRET, Model

_FREE = frozenset((b"MULTI", b"EXEC", b"DISCARD", b"RESET", b"WATCH", b"UNWATCH", b"HELLO", b"UNSUBSCRIBE",
                   b"PUNSUBSCRIBE", b"PING"))  # fmt: skip
"""What may run however it came to be."""


class Judge(ScriptedGate):
    """GET of `secret` and messages on it are masked, DEL is refused, `hold` waits; and it knows what it has let run."""

    def __init__(self) -> None:
        super().__init__()
        self.messages["secret"] = MaskedMessages()
        self.let: set[str] = set()
        self.let_together: set[str] = set()

    def queue(self, request: Request) -> Refusal | None:
        return DENIED if request.text.startswith("DEL") else None

    def run(self, request: Request, *, in_transaction: bool) -> Ruling | None:
        return None if "hold" in request.text else self.rule(request.text)

    def rule(self, text: str) -> Ruling:
        """What becomes of it."""
        if "DEL" in text:
            return Ruling(DENIED)
        if text.startswith("EXEC("):
            self.let_together |= set(text[5:-1].split("; "))
        else:
            self.let.add(text)
        return Ruling(masking=Masked() if "secret" in text else None)


_SAID = st.sampled_from([
    "GET a", "GET secret", "GET hold", "DEL a", "SET hold 1", "MULTI", "EXEC", "DISCARD", "WATCH a", "UNWATCH", "RESET",
    "HELLO 2", "HELLO 3", "SUBSCRIBE a", "SUBSCRIBE secret", "SUBSCRIBE hold b", "UNSUBSCRIBE", "UNSUBSCRIBE a", "PING",
    "PSUBSCRIBE s*", "PSUBSCRIBE a ?ecret", "PSUBSCRIBE plain *", "PUNSUBSCRIBE", "PUNSUBSCRIBE *",
    "NIL", "MULTI x", "EXEC x", "DISCARD x", "CLIENT REPLY OFF",
])  # fmt: skip
_REFUSES = st.frozensets(
    st.sampled_from([b"MULTI", b"EXEC", b"DISCARD", b"RESET", b"HELLO", b"SUBSCRIBE", b"GET", b"WATCH"]), max_size=3
)


class Played:
    """A session between a client and a model of the server, one step after another."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.gate = Judge()
        self.session = Session(self.gate, message_bytes=4096, row_bytes=4096)
        self.session.client_data(command("PING"))
        self.session.connected()
        self.on_the_way = bytearray()
        self.shown = bytearray()

    def serve(self, size: int) -> None:
        """The server takes what was sent, and that much of what it has to say arrives."""
        self.on_the_way += self.model.feed(self.session.drain_server())
        part = bytes(self.on_the_way[:size])
        del self.on_the_way[:size]
        if part:
            self.session.server_data(part)
        self.shown += self.session.drain_client()

    def decide(self, refuse: bool) -> None:
        if self.session.parked:
            text = self.session._commands._parked.request.text  # type: ignore[union-attr]
            self.session.resume(Ruling(DENIED) if refuse else self.gate.rule(text))


@settings(max_examples=400, deadline=None)
@given(
    said=st.lists(_SAID, max_size=14),
    refuses=_REFUSES,
    old=st.booleans(),
    schedule=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 60), st.booleans()), min_size=1, max_size=20),
    published=st.lists(st.sampled_from(["a", "secret", "b", "other"]), max_size=8),
)
def test_what_runs_was_let_run_and_no_secret_is_shown(
    said: list[str], refuses: frozenset[bytes], old: bool, schedule: list[tuple[int, int, bool]], published: list[str]
) -> None:
    played = Played(Model(refuses, old=old))
    rest, news = list(said), list(published)
    for count, size, refuse in schedule * 3:
        played.session.client_data(b"".join(map(command, rest[:count])))
        del rest[:count]
        played.serve(size)
        if news:
            played.on_the_way += played.model.publish(news.pop())
        played.decide(refuse)
    played.session.client_data(b"".join(map(command, rest)))
    for _ in range(4 * len(said) + 4):
        played.decide(False)
        played.serve(4096)
    gate, session = played.gate, played.session
    for args, by_exec in played.model.ran:
        text = b" ".join(args).decode()
        assert args[0].upper() in _FREE or text in (gate.let_together if by_exec else gate.let), f"{text} ran unjudged"
    assert SECRET.encode() not in played.shown
    assert len({id(run) for run in gate.runs}) == len(gate.runs)
    if not session.closing:
        assert session._commands.waits is False
        assert not session.awaits_run
        # only a server that refuses the session's own DISCARD is closed on
    else:
        assert b"DISCARD" in refuses
