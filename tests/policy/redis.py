"""What the policy tests of Redis start from: a cache, and short ways to say what a command touches."""

from __future__ import annotations

from pathlib import Path

from lockgate.policy.bundle import Bundle, load
from lockgate.policy.decide import Engine
from lockgate.values.command import Call, ChannelUse, KeyUse
from lockgate.values.identity import Asker, Claims
from lockgate.values.statement import Effect, Request, Statement
from lockgate.values.verdict import Verdict

DATASTORES = {"cache": "redis", "cache.eu": "redis", "orders": "postgresql"}
SECRET, EMAIL, PATH = "secret:*", "profile:*#email", "doc:*#$.user.email"
CLASSIFICATION = {"cache": {SECRET: ("pii",), EMAIL: ("pii", "email"), PATH: ("pii",)}}
R, W = frozenset((Effect.READ,)), frozenset((Effect.WRITE,))
RW = R | W
ADMIN, UNKNOWN = frozenset((Effect.ADMIN,)), frozenset((Effect.UNKNOWN,))
SESSION, TRANSACTION = frozenset((Effect.SESSION,)), frozenset((Effect.TRANSACTION,))
EXECUTE = 'action in [Action::"execute", Action::"execute_alone"]'


def bundle(folder: Path, text: str) -> Bundle:
    (folder / "a.cedar").write_text(text)
    return load([folder], CLASSIFICATION, DATASTORES, epoch=1)


def engine(folder: Path, text: str) -> Engine:
    return Engine(bundle(folder, text))


def call(
    name: str,
    *keys: tuple[str | bytes, frozenset[Effect]],
    anywhere: frozenset[Effect] = frozenset(),
    channels: tuple[ChannelUse, ...] = (),
) -> Call:
    """A command of these keys, and what it does to each; every key it reads is shown."""
    names = [key.encode() if isinstance(key, str) else key for key, _ in keys]
    uses = tuple(
        KeyUse(key, n, done, Effect.READ in done)
        for n, (key, (_, done)) in enumerate(zip(names, keys, strict=True), len(name.split()))
    )
    return Call(name, (*(word.encode() for word in name.split()), *names), uses, anywhere, channels)


def channel(name: str, effects: frozenset[Effect], *, pattern: bool = False) -> ChannelUse:
    return ChannelUse(name.encode(), 1, effects, pattern)


def request(*calls: Call, beside: frozenset[Effect] = frozenset()) -> Request:
    """What the understanding makes of calls that run together: `beside` are effects on something else than keys."""
    statements = tuple(
        Statement(
            one.name,
            beside.union(one.anywhere, *(k.effects for k in one.keys), *(c.effects for c in one.channels)),
            functions=() if one.script is None else (f"script:{one.script}",),
        )
        for one in calls
    )
    shape = "; ".join(one.name for one in calls)
    return Request("redis", shape, shape, statements, detail=calls if len(calls) != 1 else calls[0])


def decide(
    engine: Engine, claims: Claims, *calls: Call, beside: frozenset[Effect] = frozenset(), datastore: str = "cache"
) -> Verdict:
    asked = engine.resolved(datastore, request(*calls, beside=beside))
    return engine.decide(Asker(claims, datastore, "0", "default"), asked, ())
