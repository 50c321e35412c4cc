"""From a command to what becomes of it: policy's verdict on what it touches, and how its reply is masked.

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
from lockgate.masking.replies.commands import unnamed
from lockgate.masking.replies.plan import NameMask, ReplyMasker, key_masks, plan_exec, plan_reply
from lockgate.policy.decide import Engine
from lockgate.policy.generations import Generations
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.policy.touches import Names, Patterns, calls_of, classified, resolved
from lockgate.proxy.judgement import Judgement, denied, facts
from lockgate.proxy.outlook import Outlook
from lockgate.values.command import Call
from lockgate.values.identity import Asker
from lockgate.values.selector import parse_name
from lockgate.values.statement import Effect, Place, Request
from lockgate.values.verdict import Decision, Verdict
from lockgate.wire.gate import Refusal, Why

CACHED_CHARACTERS: Final = 8192
"""Characters of a client's making that a kept judgement may keep alive, as in the rooms it asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandJudgement(Judgement):
    """`masking` is what the reply goes through, None where it passes. `hides`: its values must not be recorded."""

    masking: ReplyMasker | None = None
    hides: bool = False


@dataclass(frozen=True, slots=True)
class _Bundle:
    """One engine, and the patterns by which its policies name things in this datastore."""

    engine: Engine
    patterns: Patterns


class CommandJudge:
    """Judges the commands to one datastore. `classification` is `pattern`, `pattern#field` or `pattern#$.path` -> tags.

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
        self._inforce: _Bundle | None = None
        self._tried: _Bundle | None = None
        self._kept: Generations[tuple[object, ...], CommandJudgement] = Generations(cache)

    def judge(self, asker: Asker, request: Request) -> CommandJudgement:
        """What becomes of `request`, a command or EXEC with all that was queued. Never raises for what it says."""
        bundle = self._inforce = self._bundle(self._policies.engine, self._inforce)
        tried = None
        if self._shadow.engine is not None:
            tried = self._tried = self._bundle(self._shadow.engine, self._tried)
        calls = calls_of(request)
        whole = resolved(request, bundle.patterns)
        columns = self._columns(calls)
        engine = bundle.engine
        timed = engine.timed or (tried is not None and tried.engine.timed)
        key = (asker.key, engine.epoch, 0 if tried is None else tried.engine.epoch, engine.minute if timed else 0,
               whole.shape, columns)  # fmt: skip
        kept = self._kept.get(key)
        if kept is None:
            kept = self._judge(engine, asker, whole, columns)
            if len(whole.shape) + len(asker.user) <= CACHED_CHARACTERS:
                self._kept.put(key, kept)
        found = self._carried_out(kept, calls) if kept.verdict.masks or kept.verdict.detects else kept
        if tried is None:
            return found
        # what is tried may name other patterns, and so tell commands apart that are the same to what is in force
        other = self._judge(tried.engine, asker, resolved(request, tried.patterns), columns)
        other = self._carried_out(other, calls)
        shadow = other.outlook.beside(found.outlook, tried.engine.epoch)
        return found if shadow is None else replace(found, facts={**found.facts, "shadow": shadow})

    def hides(self, call: Call) -> bool:
        """Whether values that it names may be classified ones, so that they must not be recorded."""
        told = classified(call, self._names)
        return any(told.keys) or bool(call.anywhere and self._names.names)

    def _bundle(self, engine: Engine, known: _Bundle | None) -> _Bundle:
        if known is not None and known.engine is engine:
            return known
        return _Bundle(engine, Patterns.of(engine.bundle, self._datastore.name))

    def _columns(self, calls: tuple[Call, ...]) -> tuple[str, ...]:
        """The classified names that the calls may show values of."""
        if not self._names.names:
            return ()
        if any(unnamed(call.name) for call in calls):
            return self._names.names
        if len(calls) == 1:
            return classified(calls[0], self._names).names
        return tuple(dict.fromkeys(name for call in calls for name in classified(call, self._names).names))

    def _judge(self, engine: Engine, asker: Asker, whole: Request, columns: tuple[str, ...]) -> CommandJudgement:
        verdict = engine.decide(asker, whole, columns)
        refusal = denied(verdict) if verdict.decision is Decision.DENY else None
        outlook = Outlook.of(verdict, refusal)
        told = facts(whole, verdict, outlook, self._datastore.mode)
        told["objects"] = sorted({name for s in whole.statements for t in s.touches for name in t.patterns or ("*",)})
        effects = whole.effects
        listens = any(
            t.place is Place.CHANNEL and Effect.READ in t.effects for s in whole.statements for t in s.touches
        )
        return CommandJudgement(
            verdict=verdict,
            refusal=refusal,
            facts=told,
            outlook=outlook,
            barrier=Effect.SESSION in effects,
            deaf=listens and bool(verdict.detects),
            hides=bool(columns),
        )

    def _carried_out(self, judgement: CommandJudgement, calls: tuple[Call, ...]) -> CommandJudgement:
        """With what it takes to mask the reply; refused where that can't be done."""
        if judgement.refusal is not None:
            return judgement
        try:
            masking = self._plan(judgement.verdict, calls)
        except Unmaskable as error:
            refusal = Refusal(Why.DENIED, f"lockgate: {error}")
            outlook = Outlook.refused(refusal.message)
            told = judgement.facts
            if self._datastore.mode == "observe":
                told = {**told, **outlook.facts()}
            return replace(judgement, refusal=refusal, outlook=outlook, facts=told)
        return replace(judgement, masking=masking)

    def _plan(self, verdict: Verdict, calls: tuple[Call, ...]) -> ReplyMasker | None:
        masks = tuple(NameMask(self._parsed[mask.column], mask.masker) for mask in verdict.masks)
        detectors = {detect.kind: detect.masker for detect in verdict.detects}
        plans = [
            plan_reply(call, key_masks(call, masks), elsewhere=masks, keys=self._keys, detectors=detectors)
            for call in calls
        ]
        # EXEC stands behind what it runs
        return plan_exec(plans[:-1]) if len(plans) > 1 else plans[0] if plans else None
