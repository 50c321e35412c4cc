"""From a request to what becomes of it: policy's verdict, and what it takes to carry the verdict out.

A judgement depends on who asks, where, the request's shape, the policies in force and the catalog; for those it is
taken once and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from lockgate import config
from lockgate.policy.decide import Engine
from lockgate.policy.generations import Generations
from lockgate.policy.reload import Policies
from lockgate.policy.shadow import Shadow
from lockgate.proxy.judgement import Judgement, denied, facts
from lockgate.proxy.outlook import Outlook
from lockgate.proxy.postgresql.catalog import Snapshot
from lockgate.proxy.postgresql.leaks import fires, leak, named, refused, unexplained, used
from lockgate.proxy.postgresql.result_masking import Plans, result_lineage
from lockgate.understand.postgresql import ANYTHING, CopyOut, Redaction, checked, copied_out, influences, reread
from lockgate.values.identity import Asker
from lockgate.values.output import Output
from lockgate.values.statement import Effect, Request, Statement
from lockgate.values.verdict import Decision, Verdict

PLAIN_EFFECTS: Final = frozenset((Effect.READ, Effect.WRITE, Effect.TRANSACTION))
"""Statements with no other effect hold no password, so their text is recorded as it is (but for classified columns)."""

ROWLESS_EFFECTS: Final = frozenset((Effect.SESSION, Effect.TRANSACTION))
"""Statements with no other effect return and copy no row, so nothing needs to be known of columns."""

BARRIER_EFFECTS: Final = frozenset((Effect.SESSION, Effect.ADMIN, Effect.UNKNOWN))
"""What may change how the next text is read (`SET standard_conforming_strings`, a function that does)."""

_MAY_ALTER: Final = frozenset(("DO", "CALL", "COMMIT PREPARED"))
"""Statements that may carry out what changes the catalog without saying so."""

CACHED_CHARACTERS: Final = 8192
"""Characters of a client's making that a kept judgement may keep alive, as in the rooms it asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementJudgement(Judgement):
    """`lineage` is that of each statement's result, None when there is nothing to mask; `copied` has what each
    statement copies out. `secrets` are classified columns whose literals must not be recorded, None when the text may
    be recorded as it is. `alters` says that it may change the catalog, `unknown` that a newer catalog could change the
    judgement. `watched` are the classified columns it was judged by, None when those are all. What all runs of it have
    in common is remembered here: `described` for `Watch.seen`, `plans` for `ResultMasking`, `redaction` for the text
    without what meets `secrets` (None like that).
    """

    lineage: tuple[tuple[Output, ...] | None, ...] | None
    copied: tuple[CopyOut | None, ...]
    secrets: frozenset[str] | None
    alters: bool
    unknown: bool
    watched: frozenset[str] | None = None
    described: set[bytes] = field(default_factory=set, compare=False)
    plans: Plans = field(default_factory=dict, compare=False)
    redaction: Redaction | None = field(default=None, compare=False)


class Judge:
    """Judges the requests to one datastore. `classification` is `schema.table.column` -> tags."""

    def __init__(
        self,
        datastore: config.Datastore,
        classification: Mapping[str, tuple[str, ...]],
        policies: Policies,
        shadow: Shadow | None = None,
        *,
        cache: int,
    ) -> None:
        """`shadow` is tried beside `policies`: where it comes to another end, the facts say so."""
        self._datastore = datastore
        self._classification = classification
        self._policies = policies
        self._shadow = Shadow.none() if shadow is None else shadow
        self._kept: Generations[tuple[object, ...], StatementJudgement] = Generations(cache)

    def judge(
        self,
        asker: Asker,
        request: Request,
        candidates: tuple[Request, ...],
        snapshot: Snapshot | None,
        *,
        altered: bool,
        rows: int | None = None,
    ) -> StatementJudgement:
        """What becomes of `request`, which may go on with one of `candidates`. Never raises for what a client sent.

        `snapshot` is the catalog of the client's database, None when the datastore has nothing classified or it can't
        be read. `altered`: the client's own open transaction has changed the catalog in ways that no snapshot shows,
        so that names tell nothing; a table's own columns are still known by number. `rows` is the datastore's estimate
        of those that the request reads or changes, None when there is none.
        """
        shapes = (request.shape, *[c.shape for c in candidates]) if candidates else (request.shape,)
        engine, tried = self._policies.engine, self._shadow.engine
        timed = engine.timed or (tried is not None and tried.timed)
        key = (asker.key, engine.epoch, 0 if tried is None else tried.epoch, engine.minute if timed else 0, rows,
               altered, 0 if snapshot is None else snapshot.number, shapes)  # fmt: skip
        kept = self._kept.get(key)
        if kept is None:
            kept = self._judge(engine, asker, request, candidates, snapshot, altered, rows)
            if tried is not None:
                other = self._judge(tried, asker, request, candidates, snapshot, altered, rows).outlook
                if (shadow := other.beside(kept.outlook, tried.epoch)) is not None:
                    kept = replace(kept, facts={**kept.facts, "shadow": shadow})
            if len(asker.database) + len(asker.user) + sum(map(len, shapes)) <= CACHED_CHARACTERS:
                self._kept.put(key, kept)
        return kept

    def _judge(
        self,
        engine: Engine,
        asker: Asker,
        request: Request,
        candidates: tuple[Request, ...],
        snapshot: Snapshot | None,
        altered: bool,
        rows: int | None,
    ) -> StatementJudgement:
        # of a text that changes the catalog, what stands behind is read with the changed one
        altered = altered or any(
            len(r.statements) > 1 and any(_alters(s) for s in r.statements) for r in (request, *candidates)
        )
        if snapshot is not None:
            request = reread(request, snapshot.catalog, current=not altered)
            candidates = tuple(reread(candidate, snapshot.catalog, current=not altered) for candidate in candidates)
        whole = _with_prepared(request, candidates)
        alters = any(_alters(statement) for statement in whole.statements)
        altered = altered or (alters and len(whole.statements) > 1)
        columns, known = self._columns((request, *candidates), None if altered else snapshot)
        verdict = engine.decide(asker, whole, columns, rows=rows)
        if verdict.decision is Decision.HOLD and not candidates:
            verdict = _only_prepared(whole, verdict, lambda rest: engine.decide(asker, rest, columns, rows=rows))
        refusal, lineage, unknown = None, None, False
        inferring = None
        if engine.infers and verdict.masks and snapshot is not None and not whole.effects <= ROWLESS_EFFECTS:
            told = None if altered else used((request, *candidates), snapshot)
            inferring = engine.inferred(asker, verdict.masks, told)
            if inferring is not None and told is not None:
                verdict, inferring = inferring, None
        if verdict.decision is Decision.DENY:
            refusal = denied(verdict)
        elif inferring is not None:
            # by this catalog: the verdict stays what it is, since with a newer one it may be told
            refusal = denied(inferring)
        elif verdict.masks and snapshot is None:
            if not whole.effects <= ROWLESS_EFFECTS:
                refusal = refused(f"{named({m.column for m in verdict.masks})} can't be masked without the catalog")
        elif verdict.masks and snapshot is not None:
            refusal = leak(verdict, (request, *candidates), snapshot, altered)
            if refusal is None:
                lineage = (
                    (None,) * len(request.statements) if altered else result_lineage(request, candidates, snapshot)
                )
                unknown = any(o.sources is None for found in lineage if found is not None for o in found)
                refusal = unexplained(request, verdict, lineage)
        outlook = Outlook.of(verdict if inferring is None else inferring, refusal)
        effects = whole.effects
        secrets = self._secrets(snapshot) if columns or not effects <= PLAIN_EFFECTS else None
        known_columns = None if snapshot is None or altered else snapshot.catalog
        return StatementJudgement(
            verdict=verdict,
            refusal=refusal,
            lineage=lineage,
            copied=tuple(copied_out(request, known_columns, index) for index in range(len(request.statements))),
            barrier=bool(effects & BARRIER_EFFECTS),
            facts=facts(whole, verdict, outlook, self._datastore.mode),
            secrets=secrets,
            alters=alters,
            unknown=unknown or not known,
            outlook=outlook,
            deaf=bool(verdict.masks or verdict.detects) and any(_listens(s) for s in whole.statements),
            watched=None if self._classification.keys() <= set(columns) else frozenset(columns),
            redaction=None if secrets is None else Redaction(secrets),
        )

    def _secrets(self, snapshot: Snapshot | None) -> frozenset[str]:
        return frozenset(self._classification) | (frozenset() if snapshot is None else snapshot.columns.secrets())

    def _columns(self, requests: Sequence[Request], snapshot: Snapshot | None) -> tuple[tuple[str, ...], bool]:
        """The classified columns that the requests may touch, and whether that is known: all of them where not."""
        if not self._classification:
            return (), True
        if snapshot is None:
            return tuple(sorted(self._classification)), True
        if fires(requests, snapshot.catalog):
            return tuple(sorted(self._classification)), True
        found: set[str] = set()
        for request in requests:
            for index in range(len(request.statements)):
                touched = influences(request, snapshot.catalog, index)
                if touched is None:
                    return tuple(sorted(self._classification)), False
                if ANYTHING in touched:
                    return tuple(sorted(self._classification)), True
                for name in touched | checked(request, snapshot.catalog, index):
                    found |= snapshot.columns.held(name).all
        return tuple(sorted(found)), True


def _with_prepared(request: Request, candidates: tuple[Request, ...]) -> Request:
    """The request as policy is to see it: EXECUTE counts as the statements it executes, and as nothing else."""
    executed = [
        c for c in candidates if any(s.uses is not None and s.uses[0] == "prepared" for s in request.statements)
    ]
    refused = [c for c in candidates if c.refusal is not None]
    if not executed and not refused:
        return request
    own = (s for s in request.statements if s.uses is None or s.uses[0] != "prepared")
    others = (s for c in dict.fromkeys((*executed, *refused)) for s in c.statements)
    shape = "\0".join((request.shape, *(c.shape for c in candidates)))
    return Request(request.language, request.text, shape, (*own, *others))


def _only_prepared(request: Request, held: Verdict, decide: Callable[[Request], Verdict]) -> Verdict:
    """PREPARE runs nothing: what it prepares waits when it is executed, and needn't wait twice.

    `held` is the verdict on all of `request`, none of whose statements executes what it prepares.
    """
    rest = tuple(s for s in request.statements if s.makes is None or s.makes[0] != "prepared")
    if len(rest) == len(request.statements):
        return held
    if rest and decide(replace(request, shape=f"{request.shape}\0run", statements=rest)).decision is Decision.HOLD:
        return held
    return replace(
        held, decision=Decision.ALLOW, reason="it is prepared, not run: it waits when it is executed",
        approvers=(), timeout=0.0, timeout_in_transaction=0.0, grant=0.0,
    )  # fmt: skip


def _listens(statement: Statement) -> bool:
    """Whether it may LISTEN: what comes then was said by triggers and others, of whatever rows they like."""
    return statement.kind == "LISTEN" or Effect.UNKNOWN in statement.effects


def _alters(statement: Statement) -> bool:
    """Whether the names in the catalog may be others behind it."""
    return Effect.DDL in statement.effects or statement.kind in _MAY_ALTER
