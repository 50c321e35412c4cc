"""The house, as one Redis connection sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from lockgate.approval.hold import TEXT_CHARACTERS
from lockgate.identity.cache import Identified
from lockgate.policy.decide import Engine
from lockgate.policy.touches import calls_of
from lockgate.proxy import observing, second_key
from lockgate.proxy.approving import Bound
from lockgate.proxy.gate import ConnectionGate
from lockgate.proxy.judgement import EvidenceError
from lockgate.proxy.recorder import Begun
from lockgate.proxy.redis import databases, functions
from lockgate.proxy.redis._precedents import Precedents
from lockgate.proxy.redis.batch import CHARACTERS, COMMANDS, Batch
from lockgate.proxy.redis.hearing import Hearing, approved
from lockgate.proxy.redis.judge import CommandJudge, CommandJudgement, minute_of
from lockgate.proxy.redis.masking import Later, Masking
from lockgate.proxy.redis.store import RedisStore
from lockgate.proxy.services import Services
from lockgate.understand.redis import CommandTable, bare, text, whole
from lockgate.values.command import Call
from lockgate.values.identity import Asker, Endpoint
from lockgate.values.statement import Request
from lockgate.values.verdict import Decision
from lockgate.wire.gate import Asked, MaskingError, Refusal, Ruling, Run
from lockgate.wire.redis.gate import NOT_YET, Ear, Execution, Followed, NotYet, ReplyMask

DEFAULT_USER: Final = "default"
"""Whom a connection that shows no credential belongs to (ACL documentation)."""


NO_CODE: Final = ""
"""In place of a digest, where the server has no such function."""


class CommandGate(ConnectionGate[RedisStore, CommandJudgement, None]):
    """Implements `lockgate.wire.redis.gate.CommandGate` for one connection.

    Commands come in pipelines, so what comes in one read is recorded with one write.
    """

    def __init__(
        self,
        services: Services,
        store: RedisStore,
        identified: Identified | None,
        endpoint: Endpoint,
        refusal: Refusal | None = None,
        blind: str | None = None,
    ) -> None:
        super().__init__(services, store, identified, endpoint, refusal, blind)
        self._server = store.commands.server(endpoint)
        self._request, self._reviewed = store.understanding.request, store.reviewed
        self._hearing = Hearing(self)
        self._batch: Batch | None = None
        """Commands that are about to be sent."""
        self._passed: CommandJudgement | None = None
        """That of the command that was let pass last, where nothing is done about it but sending it on."""
        self._minute = 0
        """When that was about to be judged."""
        self._precedents: Precedents | None = None
        self._grounds: tuple[Asker, Engine, Engine | None, int, CommandJudge, CommandTable] | None = None
        """What those were judged on, beside what they know."""
        self._lost: Refusal | None = None
        """Why some that are about to be sent are not recorded."""
        self._code: Mapping[str, str | None] = {}
        """The functions that what is held would run, with digests of their code; None for what can't be read."""

    # what the session asks (lockgate.wire.redis.gate.CommandGate)

    def open(self, parameters: Mapping[str, str]) -> Refusal | None:
        self.database = parameters.get("database", "0")
        claimed = parameters.get("user", DEFAULT_USER)
        self.user = claimed
        if self._refusal is None and self.store.observed:
            self._admit()
            return None
        refusal = self._refusal or self.refresh()
        if refusal is not None or not self.known:
            return refusal
        unmapped = self.role.find(self.claims.groups)
        self.user = self.role.user or claimed
        return self.open_record(None, user=self.user, application="") or unmapped

    def _admit(self) -> None:
        """It is only looked at: it is let in. What can't be looked at goes on unread (`blind`).

        Clients authenticate themselves, as they would without the agent: its own credential might allow less.
        """
        gone = self.refresh() if self.known else None
        if gone is not None:
            self.blind = self.blind or gone.message.removeprefix("lockgate: ")
        settings = self.store.settings
        # enforced, it would be somebody else
        self.lingers = settings.credential is not None or bool(settings.roles)
        self.open_record(None, user=self.user, application="")

    def understand(self, args: tuple[bytes, ...]) -> Request:
        return self._request(args, self._server.table, self._reviewed)

    def queue(self, request: Request) -> Refusal | NotYet | None:
        asked = Asked(request, in_transaction=True)
        if self.store.unsettled(request, self.endpoint):
            self.stage()
            self.wait(asked, self._queue_slowly(request))
            return NOT_YET
        gone = self.refresh()
        return self.prepared(asked, self.judge(asked, None), None, gone=gone, decided=True)

    async def _queue_slowly(self, request: Request) -> Ruling:
        asked = Asked(await self._settled(request), in_transaction=True)
        gone = self.refresh()
        return Ruling(self.prepared(asked, self.judge(asked, None), None, gone=gone, decided=True))

    def whole(self, execution: Execution) -> Request:
        own = self.understand((b"EXEC",))
        requests = (*execution.requests, own)
        calls = tuple(request.detail for request in requests)
        return replace(
            own,
            text="\n".join(request.text for request in requests),
            shape="\1".join(request.shape for request in requests),
            statements=tuple(statement for request in requests for statement in request.statements),
            detail=calls,
        )

    def run(self, request: Request, *, in_transaction: bool) -> Ruling | None:
        asked = Asked(request, in_transaction=in_transaction)
        # those before it in the same read have just been asked for: nobody has become another in between
        gone = self.refresh() if self._batch is None else None
        self._minute = minute_of(self.store.policies.engine, self.store.shadow.engine)
        judgement = self.judge(asked, None)
        if judgement.refusal is not None and self.store.unsettled(request, self.endpoint):
            self.stage()
            self.wait(asked, self._run_slowly(request, in_transaction=in_transaction))
            return None
        if gone is None and self.held(judgement):
            self.stage()
            self.wait(asked, self._hold(asked, judgement))
            return None
        return self.let_pass(asked, judgement, None, gone)

    def learn(self, request: Request) -> None:
        judgement, self._passed = self._passed, None
        call = request.detail
        if judgement is None or not isinstance(call, Call) or not self._is_like_all(judgement, call):
            return
        found = self.store.understanding.plan(call.args, self._server.table)
        if found is None or found[0].channels:
            return
        plan, same = found
        known = self._binding()
        if known is None:
            engine, tried, judge = self.store.policies.engine, self.store.shadow.engine, self.store.judge
            patterns = engine.patterns(self.store.name)
            if patterns is None:
                return
            others = None if tried is None else tried.patterns(self.store.name)
            known = self._precedents = Precedents(
                patterns.key, patterns.key if others is None else others.key, judge.classified
            )
            # it may be another by now, and then the next doesn't find these
            self._grounds = self.asker, engine, tried, self._minute, judge, self._server.table
        known.learn(call.args, call.name, tuple(place for place, _, _ in plan.keys), same, judgement.facts)

    @staticmethod
    def _is_like_all(judgement: CommandJudgement, call: Call) -> bool:
        """Whether nothing but the name, the number of arguments and what the keys match told what becomes of it."""
        plain = judgement.verdict.decision is Decision.ALLOW and "shadow" not in judgement.facts
        return plain and not judgement.blocking and call.script is None and databases.stays(call)

    def _binding(self) -> Precedents | None:
        """Those that still hold."""
        grounds, store = self._grounds, self.store
        if grounds is None:
            return None
        asker, engine, tried, minute, judge, table = grounds
        if (
            store.policies.engine is engine
            and store.shadow.engine is tried
            and store.judge is judge
            and self._server.table is table
            and self.asker is asker
            and minute_of(engine, tried) == minute
        ):
            return self._precedents
        self._precedents = self._grounds = None
        return None

    def follow(self, commands: Sequence[tuple[bytes, ...]], at: int, room: int) -> Followed | None:
        if self._precedents is None or not self.store.enforced:
            return None
        batch = self._batch
        # as for `run`, which renews it
        if batch is None and (self._identified is None or not self.services.identities.holds(self._identified)):
            return None
        known = self._binding()
        if known is None:
            return None
        most, characters = COMMANDS, CHARACTERS
        if batch is not None and not batch.full:
            most, characters = most - batch.commands, characters - batch.characters
        found = known.follow(commands, at, min(room, most), characters)
        if found is None:
            return None
        count, facts, text, sent = found
        batch = self._joined(facts)
        batch.add(text, count)
        return Followed(count, sent, batch.ruling)

    def settle_followed(self, ruling: Ruling, count: int, size: int) -> None:
        batch = ruling.handle
        batch.bytes += size
        batch.owed -= count
        if not batch.owed:
            self._ended(batch)

    def _joined(self, facts: Mapping[str, Any]) -> Batch:
        """Where what comes now with these facts is recorded: with what came before it, if that can be."""
        batch = self._batch
        together = None if batch is None or batch.full else self.store.together.of(batch.facts, facts)
        if batch is None or together is None:
            self.stage()
            batch = self._batch = Batch(self.recorder.next(), facts)
        else:
            batch.facts = together
        return batch

    def let_pass(self, asked: Asked, judgement: CommandJudgement, evidence: None, gone: Refusal | None) -> Ruling:
        """See `ConnectionGate`. What passes is recorded with what comes with it, before all of it is sent."""
        self._passed = None
        if gone is not None or judgement.refusal is not None or self.store.observed:
            self.stage()
            return super().let_pass(asked, judgement, evidence, gone)
        batch = self._joined(judgement.facts)
        batch.add(self.recordable(asked.request, judgement, evidence))
        if "shadow" in judgement.facts:
            observing.count(self.services.metrics, self.store.name, judgement.facts)
        if judgement.masking is None and not judgement.barrier and judgement.waits is None:
            self._passed = judgement
            return batch.ruling
        return replace(self.forward(judgement, batch.begun, evidence), handle=batch)

    def overtaken(self, run: Run) -> Ruling | None:
        if self.refresh() is not None:
            return None
        judgement = self.judge(Asked(run.request), None)
        if judgement.refusal is not None or self.held(judgement):
            return None
        return Ruling(masking=Later(partial(self._later, run.request)), handle=run.ruling.handle)

    @property
    def staging(self) -> bool:
        """See `ConnectionGate`."""
        return self._batch is not None

    def stage(self) -> None:
        """See `ConnectionGate`. Where it can't be recorded, none of it may be sent (`unrecorded`)."""
        batch, self._batch = self._batch, None
        if batch is None:
            return
        refusal = self.recorder.stage(batch.begun, "\n".join(batch.texts), batch.facts, batch.commands)
        batch.staged = refusal is None
        if batch.staged:
            self.services.metrics.statement(self.store.name, "allow", batch.commands)
        self._lost = self._lost or refusal

    def unrecorded(self) -> Refusal | None:
        """See `ConnectionGate`."""
        if self._batch is not None:
            self.stage()
        lost, self._lost = self._lost, None
        return self.recorder.written() or lost

    def settle(self, run: Run) -> None:
        """See `ConnectionGate`."""
        batch = run.ruling.handle
        if type(batch) is not Batch:
            super().settle(run)
        elif batch.settle(run):
            self._ended(batch)

    def _ended(self, batch: Batch) -> None:
        """All commands of a record have."""
        if not batch.staged:
            return
        if batch.outcome == "completed" and batch.error is None and not (batch.masked or batch.detected):
            self.services.metrics.upstream(self.recorder.completed(batch.begun, batch.bytes))
            return
        if batch.masked:
            self.services.metrics.masked(self.store.name, batch.masked)
        if batch.detected:
            self.services.metrics.detected(batch.detected)
        self.services.metrics.upstream(self.recorder.end(batch.begun, batch.outcome, batch.ends()))

    async def _run_slowly(self, request: Request, *, in_transaction: bool) -> Ruling:
        asked = Asked(await self._settled(request), in_transaction=in_transaction)
        gone = self.refresh()
        judgement = self.judge(asked, None)
        if gone is None and self.held(judgement):
            return await self._hold(asked, judgement)
        return self.let_pass(asked, judgement, None, gone)

    async def _hold(self, asked: Asked, judgement: CommandJudgement) -> Ruling:
        running = {call.script for call in calls_of(asked.request) if call.name in functions.RUNNING and call.script}
        self._code = await self._codes(running)
        return await second_key.hold(self, asked, judgement, None)

    async def _codes(self, names: Collection[str]) -> Mapping[str, str | None]:
        if not names:
            return {}
        known = await self.store.commands.functions(self.endpoint)
        return {name: None if known is None else known.get(name, NO_CODE) for name in sorted(names)}

    async def _settled(self, request: Request) -> Request:
        """The command again, once it is known which commands the server has."""
        store, enforced = self.store, False
        while not enforced:
            enforced = store.enforced
            await store.settled(self.endpoint)
            if store.observed or not store.unsettled(request, self.endpoint):
                break
        self._server = store.commands.server(self.endpoint)
        call = request.detail
        return self.understand(call.args) if isinstance(call, Call) else request

    def became(self, *, user: str | None = None, database: int | None = None) -> None:
        if user is not None:
            self.user = user
        if database is not None:
            self.database = str(database)
        self.recorder.moved(user=self.user, database=self.database)

    def heard(self, ear: Ear, channel: bytes | None) -> ReplyMask | Refusal | None:
        return self._hearing.heard(ear, channel)

    def end_listening(self, asked: Asked, judgement: CommandJudgement, refusal: Refusal) -> Refusal:
        """Record that what was let pass is not any more."""
        self.stage()
        return self.refuse(asked, judgement, refusal, None)

    def intercepted(self, host: str, port: int) -> bool:
        return self.store.leads(host or self.endpoint.host, port)

    # judgement

    def judge(self, asked: Asked, evidence: None) -> CommandJudgement:
        """See `ConnectionGate`."""
        return self.store.judge.judge(self.asker, asked.request)

    async def evidence(self) -> None:
        """See `ConnectionGate`: a command is judged by itself, but what is held may not become other code."""
        now = await self._codes(self._code)
        for name, code in self._code.items():
            if code is not None and now[name] != code:
                changed = "can't be read any more" if now[name] is None else "has changed while it waited"
                raise EvidenceError(f"the code of function {name} {changed}")

    def forward(self, judgement: CommandJudgement, begun: Begun, evidence: None) -> Ruling:
        """See `ConnectionGate`."""
        masking = None if judgement.masking is None else Masking(judgement.masking)
        if not self.store.enforced:
            return Ruling(barrier=judgement.barrier, handle=begun, rehearsal=masking)
        if judgement.waits is not None:
            # what stands behind it runs as late as it is answered: it is judged then, and costs nobody any time
            return Ruling(masking=Later(partial(self._later, judgement.waits)), barrier=True, handle=begun)
        standing = approved(judgement, self.asker) if judgement.listens else None
        return Ruling(masking=masking, barrier=judgement.barrier, handle=begun, standing=standing)

    def _later(self, request: Request) -> Masking | None:
        """What masks the reply that has come now. Raises MaskingError where it wouldn't be let pass any more."""
        gone = self.refresh()
        judgement = self.judge(Asked(request), None)
        refusal = gone or judgement.refusal
        if refusal is not None:
            raise MaskingError(f"meanwhile: {refusal.message.removeprefix('lockgate: ')}")
        return None if judgement.masking is None else Masking(judgement.masking)

    def recordable(self, request: Request, judgement: CommandJudgement, evidence: None) -> str:
        """See `ConnectionGate`: the values of classified keys are left out, and passwords always."""
        detail = request.detail
        if isinstance(detail, Call):
            return self._shown(detail)
        return "\n".join([self._shown(call) for call in calls_of(request)]) or request.text

    def shown(self, asked: Asked, judgement: CommandJudgement, evidence: None) -> str:
        """See `ConnectionGate`: all of it, where the text leaves something out that isn't hidden."""
        calls = calls_of(asked.request)
        found: list[str] = []
        left = TEXT_CHARACTERS
        for call in calls:
            if left < 0:
                break
            found.append(whole(call, self._hidden(call).__contains__, left))
            left -= len(found[-1]) + 1
        full = "\n".join(found)
        told = "" if full == "\n".join([self._shown(call) for call in calls]) else f"\n-- in full:\n{full}"
        return told + "".join([f"\n-- code of function {name}: {_read(code)}" for name, code in self._code.items()])

    def _shown(self, call: Call) -> str:
        hidden = self._hidden(call)
        return text(call, hidden.__contains__) if hidden else bare(call)

    def _hidden(self, call: Call) -> frozenset[int]:
        return frozenset(call.values) if self.store.judge.hides(call) else frozenset()

    def bound(self, asked: Asked) -> Bound:
        """See `ConnectionGate`: to every argument, also those that nobody is shown, and to the code of functions."""
        calls = calls_of(asked.request)
        parameters: list[bytes | None] = []
        for call in calls:
            parameters += (b"%d" % len(call.args), *call.args)
        parameters += [None if code is None else code.encode() for code in self._code.values()]
        return Bound(asked.request.text.replace("\0", " "), parameters)


def _read(code: str | None) -> str:
    """The code of a function, as an approver is told of it."""
    if code is None:
        return "it can't be read, so the approval is of the name, whatever that is when it runs"
    return f"SHA-256 {code} of its library" if code != NO_CODE else "the server has no such function"
