"""The house, as one Redis connection sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import ClassVar, Final

from lockgate.approval.hold import TEXT_CHARACTERS
from lockgate.proxy import second_key
from lockgate.proxy.approving import Bound
from lockgate.proxy.gate import ConnectionGate
from lockgate.proxy.recorder import Begun
from lockgate.proxy.redis.judge import CommandJudgement
from lockgate.proxy.redis.masking import Later, Masking
from lockgate.proxy.redis.store import RedisStore
from lockgate.understand.redis import text, whole
from lockgate.values.command import Call
from lockgate.values.statement import Request
from lockgate.wire.gate import Asked, MaskingError, Refusal, Ruling
from lockgate.wire.redis.gate import Execution

DEFAULT_USER: Final = "default"
"""Whom a connection that shows no credential belongs to (ACL documentation)."""


class CommandGate(ConnectionGate[RedisStore, CommandJudgement, None]):
    """Implements `lockgate.wire.redis.gate.CommandGate` for one connection.

    Commands come in pipelines, so what comes in one read is recorded with one write.
    """

    staging: ClassVar = True

    # what the session asks (lockgate.wire.redis.gate.CommandGate)

    def open(self, parameters: Mapping[str, str]) -> Refusal | None:
        self.database = parameters.get("database", "0")
        claimed = parameters.get("user", DEFAULT_USER)
        self.user = claimed
        if self._refusal is None and self.store.observed:
            self._admit(claimed)
            return None
        refusal = self._refusal or self.refresh()
        if refusal is not None or not self.known:
            return refusal
        unmapped = self.role.find(self.claims.groups)
        self.user = self.role.user or claimed
        return self.open_record(None, user=self.user, application="") or unmapped

    def _admit(self, claimed: str) -> None:
        """It is only looked at: it is let in. What can't be looked at goes on unread (`blind`)."""
        if self.known:
            gone = self.refresh()
            if gone is not None:
                self.blind = self.blind or gone.message.removeprefix("lockgate: ")
            elif self.role.find(self.claims.groups) is None:
                self.user = self.role.user or claimed
            else:
                # who has no role with the agent authenticates itself, as it would without it
                self.lingers = True
        self.open_record(None, user=self.user, application="")

    def understand(self, args: tuple[bytes, ...]) -> Request:
        return self.store.understand(args, self.endpoint)

    def queue(self, request: Request) -> Refusal | None:
        asked = Asked(request, in_transaction=True)
        gone = self.refresh()
        return self.prepared(asked, self.judge(asked, None), None, gone=gone, decided=True)

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
        gone = self.refresh()
        if self.store.unsettled(request, self.endpoint):
            self.wait(asked, self._run_slowly(request, in_transaction=in_transaction))
            return None
        judgement = self.judge(asked, None)
        if gone is None and self.held(judgement):
            self.wait(asked, second_key.hold(self, asked, judgement, None))
            return None
        return self.let_pass(asked, judgement, None, gone)

    async def _run_slowly(self, request: Request, *, in_transaction: bool) -> Ruling:
        """Once it is known which commands the server has."""
        await self.store.settled(self.endpoint)
        call = request.detail
        if isinstance(call, Call):
            request = self.understand(call.args)
        asked = Asked(request, in_transaction=in_transaction)
        gone = self.refresh()
        judgement = self.judge(asked, None)
        if gone is None and self.held(judgement):
            return await second_key.hold(self, asked, judgement, None)
        return self.let_pass(asked, judgement, None, gone)

    def became(self, *, user: str | None = None, database: int | None = None) -> None:
        if user is not None:
            self.user = user
        if database is not None:
            self.database = str(database)

    def intercepted(self, host: str, port: int) -> bool:
        return self.store.leads(host or self.endpoint.host, port)

    # judgement

    def judge(self, asked: Asked, evidence: None) -> CommandJudgement:
        """See `ConnectionGate`."""
        return self.store.judge.judge(self.asker, asked.request)

    async def evidence(self) -> None:
        """See `ConnectionGate`: a command is judged by itself."""

    def forward(self, judgement: CommandJudgement, begun: Begun, evidence: None) -> Ruling:
        """See `ConnectionGate`."""
        masking = None if judgement.masking is None else Masking(judgement.masking)
        if not self.store.enforced:
            return Ruling(barrier=judgement.barrier, handle=begun, rehearsal=masking)
        if judgement.waits is not None:
            # what stands behind it runs as late as it is answered: it is judged then, and costs nobody any time
            return Ruling(masking=Later(partial(self._later, judgement.waits)), barrier=True, handle=begun)
        return Ruling(masking=masking, barrier=judgement.barrier, handle=begun, deaf=judgement.deaf)

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
        return "\n".join([self._shown(call) for call in _calls(request)]) or request.text

    def shown(self, asked: Asked, judgement: CommandJudgement, evidence: None) -> str:
        """See `ConnectionGate`: all of it, where the text leaves something out that isn't hidden."""
        calls = _calls(asked.request)
        found: list[str] = []
        left = TEXT_CHARACTERS
        for call in calls:
            if left < 0:
                break
            found.append(whole(call, self._hidden(call).__contains__, left))
            left -= len(found[-1]) + 1
        full = "\n".join(found)
        return "" if full == "\n".join([self._shown(call) for call in calls]) else f"\n-- in full:\n{full}"

    def _shown(self, call: Call) -> str:
        return text(call, self._hidden(call).__contains__)

    def _hidden(self, call: Call) -> frozenset[int]:
        return frozenset(call.values) if self.store.judge.hides(call) else frozenset()

    def bound(self, asked: Asked) -> Bound:
        """See `ConnectionGate`: to every argument, also those that nobody is shown."""
        calls = _calls(asked.request)
        parameters: list[bytes | None] = []
        for call in calls:
            parameters += (b"%d" % len(call.args), *call.args)
        return Bound(asked.request.text.replace("\0", " "), parameters)


def _calls(request: Request) -> tuple[Call, ...]:
    detail = request.detail
    if isinstance(detail, Call):
        return (detail,)
    return tuple(one for one in detail if isinstance(one, Call)) if isinstance(detail, tuple) else ()
