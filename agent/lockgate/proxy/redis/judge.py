"""From a command to what becomes of it: policy's verdict on what it touches, and how its reply is masked. And messages.

Policy sees patterns, never keys: a verdict is taken once for all commands of a shape whose keys match the same ones.
What is masked of a reply is told for each command, since that hangs on its keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from lockgate import config
from lockgate.masking import Keys
from lockgate.masking.plan import Unmaskable
from lockgate.masking.replies.messages import MessageMasker, plan_message
from lockgate.masking.replies.plan import NameMask, ReplyMasker, key_masks, plan_exec, plan_reply
from lockgate.policy.decide import Engine
from lockgate.policy.generations import Generations
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.policy.touches import NOT_CLASSIFIED, Names, calls_of, classified
from lockgate.proxy.judgement import Judgement, denied, facts
from lockgate.proxy.outlook import Outlook
from lockgate.proxy.redis import databases
from lockgate.values.command import Call
from lockgate.values.identity import Asker
from lockgate.values.selector import parse_name
from lockgate.values.statement import Effect, Place, Request, Statement
from lockgate.values.verdict import Decision
from lockgate.wire.gate import Refusal, Why

UNKNOWN: Final = "ERR"
"""What Redis itself says in front of why it doesn't take a command."""

EXEC: Final = "EXEC"
"""It stands behind what was queued, and shows nothing of its own."""

LISTENING: Final = frozenset(("MONITOR", "CLIENT TRACKING"))
"""Besides those that name channels."""

WATCH: Final = "WATCH"
"""What it is told of, at EXEC, lasts too."""

CACHED_CHARACTERS: Final = 8192
"""Characters of a client's making that a kept judgement may keep alive, as in the rooms it asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandJudgement(Judgement):
    """`masking` is what the reply goes through, None where it passes. `listens`: the client is told from then on what
    others do.

    `masks` are all that who asks has in the datastore, whatever the command is about: it may reach further. `blocking`:
    it is one that may wait at the server. `waits` is the request where it does: its reply may come long after, when
    another judgement is due.
    """

    masking: ReplyMasker | None = None
    listens: bool = False
    masks: tuple[NameMask, ...] = ()
    blocking: bool = False
    waits: Request | None = None


@dataclass(slots=True)
class _Kept:
    """Judgements but for what hangs on the keys, and what they were taken on beside what their key says.

    `other` is by what is tried, None where nothing is. `passes`: of keys that nobody classified nothing is masked.
    """

    asker: Asker
    engine: Engine
    tried: Engine | None
    minute: int
    statements: tuple[Statement, ...]
    inforce: CommandJudgement
    other: CommandJudgement | None
    passes: bool = False

    def holds(
        self, asker: Asker, engine: Engine, tried: Engine | None, minute: int, statements: tuple[Statement, ...]
    ) -> bool:
        """Whether it is about the same. An asker is known by identity: a key by value would cost more than the rest."""
        return (
            self.asker is asker
            and self.engine is engine
            and self.tried is tried
            and self.minute == minute
            and (self.statements is statements or self.statements == statements)
        )


class CommandJudge:
    """Judges the commands to one datastore. `classification` has what `parse_name` reads -> tags.

    `keys` are the datastore's keyed maskers'.
    """

    def __init__(
        self,
        datastore: config.Datastore,
        classification: Mapping[str, tuple[str, ...]],
        policies: Policies,
        shadow: Shadow,
        *,
        keys: Keys,
        cache: int,
    ) -> None:
        self._datastore = datastore
        self._names = Names(tuple(classification))
        self._parsed = {name: parse_name(name) for name in classification}
        self._policies = policies
        self._shadow = shadow
        self._keys = keys
        self._kept: Generations[tuple[object, ...], _Kept] = Generations(cache)

    def judge(self, asker: Asker, request: Request) -> CommandJudgement:
        """What becomes of `request`, a command or EXEC with all that was queued. Never raises for what it says.

        What reaches other databases than the one it is sent in is judged as if sent in each: the strictest counts.
        """
        engine, tried = self._policies.engine, self._shadow.engine
        found = self._here(engine, tried, asker, request)
        if engine.placed or (tried is not None and tried.placed):
            every = engine.bundle.databases if tried is None else (*engine.bundle.databases, *tried.bundle.databases)
            for database in databases.reached(calls_of(request), asker.database, every):
                there = self._here(engine, tried, replace(asker, database=database), request)
                differs = there.facts.get("shadow")
                found = _stricter(found, there)
                if differs is not None and found.refusal is None and "shadow" not in found.facts:
                    found = replace(found, facts={**found.facts, "shadow": differs})
        if found.blocking and isinstance(request.detail, Call) and found.refusal is None and _waits(request.detail):
            return replace(found, waits=request)
        return found

    def _here(self, engine: Engine, tried: Engine | None, asker: Asker, request: Request) -> CommandJudgement:
        """The same in the asker's database."""
        minute = engine.minute if engine.timed else tried.minute if tried is not None and tried.timed else 0
        detail, name = request.detail, self._datastore.name
        if not isinstance(detail, Call):
            calls = calls_of(request)
            return self._carried_out(*self._both(engine, tried, asker, request, self._shown(calls)), calls)
        told = classified(detail, self._names) if self._names.names else NOT_CLASSIFIED
        bare = told is NOT_CLASSIFIED or not (any(told.keys) or told.anywhere)
        columns = told.shown
        touched = engine.touched(name, detail)
        key = (id(asker), request.shape, touched, None if tried is None else tried.touched(name, detail), columns)
        kept = self._kept.get(key)
        if kept is None or not kept.holds(asker, engine, tried, minute, request.statements):
            inforce, other = self._both(engine, tried, asker, request, columns)
            kept = _Kept(asker, engine, tried, minute, request.statements, inforce, other)
            if len(request.shape) + sum(map(len, columns)) <= CACHED_CHARACTERS:
                self._kept.put(key, kept)
        if kept.passes and bare:
            return kept.inforce
        # what is masked of a reply hangs on the keys
        found = self._carried_out(kept.inforce, kept.other, (detail,))
        if found is kept.inforce and bare and not detail.anywhere and detail.script is None:
            kept.passes = True
        return found

    def _both(
        self, engine: Engine, tried: Engine | None, asker: Asker, request: Request, columns: tuple[str, ...]
    ) -> tuple[CommandJudgement, CommandJudgement | None]:
        """By what is in force, and by what is tried: that may name other patterns."""
        name = self._datastore.name
        inforce = self._judge(engine, asker, engine.resolved(name, request), columns)
        return inforce, None if tried is None else self._judge(tried, asker, tried.resolved(name, request), columns)

    def _carried_out(
        self, inforce: CommandJudgement, other: CommandJudgement | None, calls: tuple[Call, ...]
    ) -> CommandJudgement:
        found = self._planned(inforce, calls)
        if other is None:
            return found
        shadow = self._planned(other, calls).outlook.beside(found.outlook, other.verdict.epoch)
        return found if shadow is None else replace(found, facts={**found.facts, "shadow": shadow})

    def hides(self, call: Call) -> bool:
        """Whether values that it names may be classified ones, so that they must not be recorded."""
        if not self._names.names:
            return False
        told = classified(call, self._names)
        if any(told.keys) or call.anywhere:
            return True
        return any(self._names.messages(use) for use in call.channels if Effect.WRITE in use.effects)

    def message(self, judgement: CommandJudgement, channel: bytes) -> MessageMasker | None:
        """What masks a message on `channel` for whom `judgement` is about, whatever it was listened to by."""
        detects = judgement.verdict.detects
        if not detects and not self._names.channel(channel):
            return None
        return plan_message(channel, judgement.masks, keys=self._keys, detectors={d.kind: d.masker for d in detects})

    def _shown(self, calls: tuple[Call, ...]) -> tuple[str, ...]:
        """The classified names that the calls may show values of, or may do so elsewhere."""
        if not self._names.names:
            return ()
        return tuple(dict.fromkeys(name for call in calls for name in classified(call, self._names).shown))

    def _judge(self, engine: Engine, asker: Asker, whole: Request, columns: tuple[str, ...]) -> CommandJudgement:
        verdict = engine.decide(asker, whole, columns)
        refusal = None
        if whole.refusal is not None:
            # nothing that policy says: the server would refuse it too, or nobody knows what it does
            refusal = Refusal(UNKNOWN, whole.refusal)
        elif verdict.decision is Decision.DENY:
            refusal = denied(verdict)
        every = self._names.names
        masks = verdict.masks if refusal is not None or columns == every else engine.decide(asker, whole, every).masks
        outlook = Outlook.of(verdict, refusal)
        told = facts(whole, verdict, outlook, self._datastore.mode)
        told["objects"] = sorted({name for s in whole.statements for t in s.touches for name in t.patterns or ("*",)})
        kinds = {s.kind for s in whole.statements}
        listens = bool(kinds & LISTENING) or any(
            t.place is Place.CHANNEL and Effect.READ in t.effects for s in whole.statements for t in s.touches
        )
        return CommandJudgement(
            verdict=verdict,
            refusal=refusal,
            facts=told,
            outlook=outlook,
            barrier=Effect.SESSION in whole.effects or listens or WATCH in kinds,
            listens=listens,
            blocking=any("blocking" in statement.categories for statement in whole.statements),
            masks=tuple(NameMask(self._parsed[mask.column], mask.masker) for mask in masks),
        )

    def _planned(self, judgement: CommandJudgement, calls: tuple[Call, ...]) -> CommandJudgement:
        """With what it takes to mask the reply; refused where that can't be done."""
        if judgement.refusal is not None or not (judgement.masks or judgement.verdict.detects):
            return judgement
        try:
            masking = self._plan(judgement, calls)
        except Unmaskable as error:
            return _refused(judgement, Refusal(Why.DENIED, f"lockgate: {error}"))
        if masking is None:
            return judgement
        return replace(judgement, masking=masking)

    def _plan(self, judgement: CommandJudgement, calls: tuple[Call, ...]) -> ReplyMasker | None:
        masks = judgement.masks
        detectors = {detect.kind: detect.masker for detect in judgement.verdict.detects}
        several = len(calls) > 1
        plans = [
            plan_reply(call, key_masks(call, masks), elsewhere=masks, keys=self._keys, detectors=detectors)
            for call in calls
            if call.name != EXEC
        ]
        return plan_exec(plans) if several else plans[0] if plans else None


def _waits(call: Call) -> bool:
    """Whether the server may keep a command that is counted among @blocking until others have done something."""
    streams = call.name in ("XREAD", "XREADGROUP")
    return not streams or any(arg.partition(b"\0")[0].upper() == b"BLOCK" for arg in call.args[1:])


def _refused(judgement: CommandJudgement, refusal: Refusal) -> CommandJudgement:
    """What policy would let pass, and can't be carried out."""
    outlook = Outlook.refused(refusal.message)
    told = judgement.facts
    if told["mode"] == "observe":
        told = {**told, **outlook.facts()}
    return replace(judgement, refusal=refusal, outlook=outlook, facts=told)


def _stricter(one: CommandJudgement, other: CommandJudgement) -> CommandJudgement:
    """What becomes of what is judged twice: refused where either is, held where either is, by whom both allow.

    `one` is of the database that it is sent in, whose masks are those of the keys that it names.
    """
    if one.refusal is not None or other.refusal is not None:
        return one if one.refusal is not None else other
    if one.masking is None and other.masking is not None:
        # of what it doesn't name it shows what is in the other
        one = replace(one, masking=other.masking)
    if other.verdict.decision is not Decision.HOLD:
        return one
    first, second = one.verdict, other.verdict
    if first.decision is not Decision.HOLD:
        held = replace(second, masks=first.masks, detects=first.detects)
    else:
        both = tuple(group for group in first.approvers if group in second.approvers)
        if not both:
            why = f"no group may approve this in both databases, under {first.policy} and {second.policy}"
            return _refused(other, Refusal(Why.DENIED, f"lockgate: {why}"))
        held = replace(
            first,
            approvers=both,
            timeout=min(first.timeout, second.timeout),
            timeout_in_transaction=min(first.timeout_in_transaction, second.timeout_in_transaction),
            grant=min(first.grant, second.grant),
        )
    told = {**other.facts, **{name: one.facts[name] for name in ("masks", "detects") if name in one.facts}}
    outlook = replace(other.outlook, masks=one.outlook.masks, detects=one.outlook.detects)
    return replace(one, verdict=held, facts=told, outlook=outlook)
