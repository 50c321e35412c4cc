"""The house, as one Redis connection sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Final

from lockgate.proxy import second_key
from lockgate.proxy.approving import Bound
from lockgate.proxy.gate import ConnectionGate
from lockgate.proxy.recorder import Begun
from lockgate.proxy.redis.judge import CommandJudgement
from lockgate.proxy.redis.masking import Masking
from lockgate.proxy.redis.store import RedisStore
from lockgate.understand.redis import text
from lockgate.values.command import Call
from lockgate.values.statement import Request
from lockgate.wire.gate import Asked, Refusal, Ruling
from lockgate.wire.redis.gate import LATER, Execution, Later

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
        return self.store.understand(args, self.endpoint)

    def queue(self, request: Request) -> Refusal | Later | None:
        asked = Asked(request, in_transaction=True)
        if self.store.unsettled(request, self.endpoint):
            self.wait(asked, self._queue_slowly(request))
            return LATER
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
        gone = self.refresh()
        if isinstance(request.detail, Call) and self.store.unsettled(request, self.endpoint):
            self.wait(asked, self._run_slowly(request, in_transaction=in_transaction))
            return None
        judgement = self.judge(asked, None)
        if gone is None and self.held(judgement):
            self.wait(asked, second_key.hold(self, asked, judgement, None))
            return None
        return self.let_pass(asked, judgement, None, gone)

    async def _run_slowly(self, request: Request, *, in_transaction: bool) -> Ruling:
        asked = Asked(await self._settled(request), in_transaction=in_transaction)
        gone = self.refresh()
        judgement = self.judge(asked, None)
        if gone is None and self.held(judgement):
            return await second_key.hold(self, asked, judgement, None)
        return self.let_pass(asked, judgement, None, gone)

    async def _settled(self, request: Request) -> Request:
        """The command again, once it is known which commands the server has."""
        store, enforced = self.store, False
        while not enforced:
            enforced = store.enforced
            await store.settled(self.endpoint)
            if store.observed or not store.unsettled(request, self.endpoint):
                break
        call = request.detail
        return self.understand(call.args) if isinstance(call, Call) else request

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
        return Ruling(masking=masking, barrier=judgement.barrier, handle=begun, deaf=judgement.deaf)

    def recordable(self, request: Request, judgement: CommandJudgement, evidence: None) -> str:
        """See `ConnectionGate`: the values of classified keys are left out, and passwords always."""
        return "\n".join([self._shown(call) for call in _calls(request)]) or request.text

    def _shown(self, call: Call) -> str:
        hidden = frozenset(call.values) if self.store.judge.hides(call) else frozenset[int]()
        return text(call, hidden.__contains__)

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
