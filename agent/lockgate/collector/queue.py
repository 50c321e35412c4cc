"""The approvals queue over HTTP: holds, what agents and approvers say of them, and grants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lockgate.approval.hold import Became, Comment, Digest, Hold, HoldState, Locks, NotAllowed, State
from lockgate.collector.access import Access, Forbidden
from lockgate.collector.grants import Grants, Which
from lockgate.collector.holds import Holds, NoSuchHold
from lockgate.collector.http import Busy, answer, authorization, body_of, decode, query_of
from lockgate.collector.writer import Writer
from lockgate.identity.tokens import TOKEN_LIMIT

WAIT_SECONDS = 60.0
"""The longest long poll."""
WAITERS = 20_000
"""Long polls at once."""
LOOK_SECONDS = 5.0
"""The least time between two words to an agent that somebody looks at a hold of its: it then looks at locks anew."""
LOOKED = 10_000
"""Holds remembered as looked at. When there are more all are forgotten, which costs each one look more."""

log = logging.getLogger(__name__)


class _Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: Digest
    comment: Comment = ""
    grant: Annotated[str, msgspec.Meta(max_length=TOKEN_LIMIT)] | None = None


class _Revocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    comment: Comment = ""


class _Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`seen` is the newest `looked` that the agent knows of: the poll ends when there is a newer one."""

    wait: Annotated[float, msgspec.Meta(ge=0, le=WAIT_SECONDS)] = 0.0
    seen: float = 0.0


class _Holds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: State = "waiting"


class _Grants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: Which = "live"


class Queue:
    """`hosts` are those whose approvers count for other hosts. Call `close` before the server stops."""

    def __init__(self, writer: Writer, access: Access, hosts: tuple[str, ...], clock: Callable[[], float]) -> None:
        self._writer = writer
        self._access = access
        self._clock = clock
        self._holds = Holds(writer.store, hosts)
        self._grants = Grants(writer.store)
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._looked: dict[str, float] = {}
        self._polls = 0
        self._closing = False
        self.routes = [
            Route("/v1/holds", self._post, methods=["POST"]),
            Route("/v1/holds", self._list, methods=["GET"]),
            Route("/v1/holds/{id}", self._get, methods=["GET"]),
            Route("/v1/holds/{id}/cancel", self._cancel, methods=["POST"]),
            Route("/v1/holds/{id}/locks", self._locked, methods=["POST"]),
            Route("/v1/holds/{id}/became", self._became, methods=["POST"]),
            Route("/v1/holds/{id}/became", self._outcome, methods=["GET"]),
            Route("/v1/holds/{id}/approve", self._approve, methods=["POST"]),
            Route("/v1/holds/{id}/deny", self._deny, methods=["POST"]),
            Route("/v1/grants", self._list_grants, methods=["GET"]),
            Route("/v1/grants/{id}/revoke", self._revoke, methods=["POST"]),
        ]

    def close(self) -> None:
        """Answers every long poll with what is known now, and no more of them waits."""
        self._closing = True
        for identifier in self._waiters:
            self._wake(identifier)

    # the agent's side

    async def _post(self, request: Request) -> Response:
        claims = await self._access.agent(authorization(request))
        hold = decode(await body_of(request), Hold)
        if hold.host != claims.host:
            raise Forbidden(f"{claims.host} can't hold a statement of {hold.host}")
        return answer(await self._writer.run(self._holds.post, hold, self._clock()), 201)

    async def _get(self, request: Request) -> Response:
        wanted = query_of(request, _Wait)
        state = await self._own(request)

        def over(state: HoldState) -> bool:
            return state.state != "waiting" or state.looked > wanted.seen

        until = min(wanted.wait, max(0.0, state.hold.expires - self._clock()))
        return answer(await self._poll(state, until, over))

    async def _cancel(self, request: Request) -> Response:
        known = await self._own(request)
        state = await self._writer.run(self._holds.cancel, known.hold.id, self._clock())
        self._wake(known.hold.id)
        return answer(state)

    async def _locked(self, request: Request) -> Response:
        known = await self._own(request)
        locks = decode(await body_of(request), Locks)
        return answer(await self._writer.run(self._holds.locked, known.hold.id, locks, self._clock()))

    async def _became(self, request: Request) -> Response:
        known = await self._own(request)
        became = decode(await body_of(request), Became)
        state = await self._writer.run(self._holds.became, known.hold.id, became)
        self._wake(known.hold.id)
        return answer(state)

    async def _own(self, request: Request) -> HoldState:
        """The hold, for the agent whose it is; for any other there is none."""
        claims = await self._access.agent(authorization(request))
        state = await self._known(request.path_params["id"])
        if state.hold.host != claims.host:
            raise NoSuchHold(f"there is no hold {state.hold.id!r}")
        return state

    # the approver's side

    async def _list(self, request: Request) -> Response:
        host = await self._access.holds(authorization(request))
        wanted = query_of(request, _Holds)
        now = self._clock()
        states = await self._writer.run(self._holds.list, wanted.state, host, now)
        if wanted.state == "waiting":
            self._look([state.hold.id for state in states], now)
        return answer({"holds": [_without_token(state) for state in states]})

    async def _outcome(self, request: Request) -> Response:
        """What became of a decision, for whoever may see the hold."""
        host = await self._access.holds(authorization(request))
        wait = query_of(request, _Wait).wait
        state = await self._known(request.path_params["id"])
        if host not in (None, state.hold.host):
            raise NoSuchHold(f"there is no hold {state.hold.id!r}")
        found = await self._poll(state, wait, lambda s: s.became is not None or s.state not in ("waiting", "approved"))
        return answer(_without_token(found))

    async def _approve(self, request: Request) -> Response:
        return await self._decide(request, "approve")

    async def _deny(self, request: Request) -> Response:
        return await self._decide(request, "deny")

    async def _decide(self, request: Request, decision: Literal["approve", "deny"]) -> Response:
        identifier = request.path_params["id"]
        claims, approval, token = await self._access.approval(authorization(request))
        verdict = decode(await body_of(request), _Verdict)
        if (approval.hold, approval.digest, approval.decision) != (identifier, verdict.digest, decision):
            raise NotAllowed("the token signs another decision than the one asked for")
        known = await self._known(identifier)
        self._access.decides(claims, known.hold.host)
        grant = None if verdict.grant is None else await self._access.grant(verdict.grant)
        state = await self._writer.run(
            self._holds.decide, identifier, claims, approval, token, verdict.comment, self._clock(), grant
        )
        self._wake(identifier)
        log.info("hold %s %s by %s on %s", identifier, state.state, claims.person, claims.host)
        return answer(_without_token(state))

    async def _list_grants(self, request: Request) -> Response:
        host = await self._access.holds(authorization(request))
        wanted = query_of(request, _Grants)
        states = await self._writer.run(self._grants.list, wanted.state, host, self._clock())
        return answer({"grants": states})

    async def _revoke(self, request: Request) -> Response:
        identifier = request.path_params["id"]
        claims, revocation = await self._access.revocation(authorization(request))
        comment = decode(await body_of(request), _Revocation).comment
        known = await self._writer.run(self._grants.get, identifier)
        self._access.decides(claims, known.grant.host)
        state = await self._writer.run(self._grants.revoke, identifier, claims, revocation, comment, self._clock())
        log.info("grant %s revoked by %s on %s", identifier, claims.person, claims.host)
        return answer(state)

    # what both wait with

    async def _known(self, identifier: str) -> HoldState:
        state = await self._writer.run(self._holds.get, identifier, self._clock())
        return msgspec.structs.replace(state, looked=self._looked.get(identifier, 0.0))

    async def _poll(self, state: HoldState, wait: float, over: Callable[[HoldState], bool]) -> HoldState:
        """The hold once it is `over`, or as it is after `wait` seconds. Raises Busy."""
        identifier = state.hold.id
        if over(state) or wait <= 0 or self._closing:
            return state
        if self._polls >= WAITERS:
            raise Busy(f"{WAITERS} long polls are open")
        event = asyncio.Event()
        self._waiters.setdefault(identifier, set()).add(event)
        self._polls += 1
        try:
            async with asyncio.timeout(wait):
                # asked again now that a word would wake us: it may have come in between
                while not over(state := await self._known(identifier)) and not self._closing:
                    await event.wait()
                    event.clear()
        except TimeoutError:
            state = await self._known(identifier)
        finally:
            self._polls -= 1
            self._waiters[identifier].discard(event)
            if not self._waiters[identifier]:
                del self._waiters[identifier]
        return state

    def _wake(self, identifier: str) -> None:
        for event in self._waiters.get(identifier, ()):
            event.set()

    def _look(self, identifiers: list[str], now: float) -> None:
        """Somebody looks at these: agents that wait with them are told."""
        if len(self._looked) > LOOKED:
            self._looked.clear()
        for identifier in identifiers:
            if identifier in self._waiters and now - self._looked.get(identifier, 0.0) >= LOOK_SECONDS:
                self._looked[identifier] = now
                self._wake(identifier)


def _without_token(state: HoldState) -> HoldState:
    """A person who sees a decision does not get the approver's token: it belongs to the agent that waits for it."""
    if state.decided is None:
        return state
    return msgspec.structs.replace(state, decided=msgspec.structs.replace(state.decided, token=None))
