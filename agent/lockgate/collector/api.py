"""The collector over HTTP: hosts' keys, the approvals queue, records.

JSON in, JSON out. Every error is an object with `error` (a word) and `message` (a sentence).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lockgate.approval.hold import Comment, Digest, Hold, HoldState, NotAllowed, State
from lockgate.collector.access import Access, Forbidden, UnknownHost, is_agent
from lockgate.collector.holds import HoldConflict, Holds, NoSuchHold, TooManyHolds
from lockgate.collector.search import LIMIT, NotUnique, Query, Reader
from lockgate.collector.store import KeyConflict, Store
from lockgate.collector.writer import Writer
from lockgate.config import Collector
from lockgate.identity.keys import InvalidKeySet
from lockgate.identity.tokens import InvalidToken, verify_with_jwks

BODY_BYTES = 8 * 1024 * 1024
"""A request's body: a hold whose statement has `hold.TEXT_CHARACTERS` of four bytes, and as much again."""
BODY_SECONDS = 30.0
"""How long a caller may take to send it."""
KEY_BYTES = 64 * 1024
"""A published key set: it is read before the caller is known."""
WAIT_SECONDS = 60.0
"""The longest long poll."""
WAITERS = 20_000
"""Long polls at once."""
READERS = 4
"""Searches at once; more wait their turn."""

log = logging.getLogger(__name__)

T = TypeVar("T")


class BadRequest(Exception):
    """The request is not what this address takes."""


class Busy(Exception):
    """A bound is reached."""


class _Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    digest: Digest
    comment: Comment = ""


class _Wait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    wait: Annotated[float, msgspec.Meta(ge=0, le=WAIT_SECONDS)] = 0.0


class _Holds(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: State = "waiting"


_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class _Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`since` and `until` in seconds since the epoch."""

    text: _Text | None = None
    principal: _Text | None = None
    person: _Text | None = None
    datastore: _Text | None = None
    verdict: _Text | None = None
    host: _Text | None = None
    connection: _Text | None = None
    since: Annotated[float, msgspec.Meta(ge=0, le=9e9)] | None = None
    until: Annotated[float, msgspec.Meta(ge=0, le=9e9)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT)] = 100


class _Host(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: _Text | None = None


_HostName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]

_ERRORS: dict[type[Exception], tuple[int, str]] = {
    BadRequest: (400, "bad_request"),
    InvalidKeySet: (400, "bad_key"),
    NotUnique: (400, "not_unique"),
    InvalidToken: (401, "invalid_token"),
    UnknownHost: (401, "unknown_host"),
    Forbidden: (403, "forbidden"),
    NotAllowed: (403, "not_allowed"),
    NoSuchHold: (404, "no_such_hold"),
    HoldConflict: (409, "conflict"),
    KeyConflict: (409, "key_conflict"),
    TooManyHolds: (429, "too_many_holds"),
    Busy: (503, "busy"),
    sqlite3.Error: (503, "store"),
}


class Api:
    """`app` is the ASGI application; `metrics` gives the Prometheus text; `clock` seconds since the epoch."""

    def __init__(
        self,
        settings: Collector,
        writer: Writer,
        metrics: Callable[[], bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._writer = writer
        self._store: Store = writer.store
        self._holds = Holds(writer.store)
        self._metrics = metrics
        self._clock = clock
        self._access = Access(self._pinned, settings.hosts, settings.auditors, clock)
        self._reading = asyncio.Semaphore(READERS)
        self._verifying = asyncio.Semaphore(1)
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._polls = 0
        self._closing = False
        self.app = Starlette(
            routes=[
                Route("/v1/hosts/{name}/key", self._put_key, methods=["PUT"]),
                Route("/v1/hosts/{name}/key", self._get_key, methods=["GET"]),
                Route("/v1/holds", self._post_hold, methods=["POST"]),
                Route("/v1/holds", self._list_holds, methods=["GET"]),
                Route("/v1/holds/{id}", self._get_hold, methods=["GET"]),
                Route("/v1/holds/{id}/cancel", self._cancel, methods=["POST"]),
                Route("/v1/holds/{id}/approve", self._approve, methods=["POST"]),
                Route("/v1/holds/{id}/deny", self._deny, methods=["POST"]),
                Route("/v1/records", self._search, methods=["GET"]),
                Route("/v1/records/{id:path}", self._show, methods=["GET"]),
                Route("/v1/verify", self._verify, methods=["GET"]),
                Route("/healthz", self._health, methods=["GET"]),
                Route("/metrics", self._exposition, methods=["GET"]),
            ],
            exception_handlers={**dict.fromkeys(_ERRORS, _failure), HTTPException: _unrouted},
        )

    def close(self) -> None:
        """Answers every long poll with what is known now, so that the server can stop."""
        self._closing = True
        for events in self._waiters.values():
            for event in events:
                event.set()

    async def _pinned(self, host: str) -> Any:
        return await self._writer.run(self._store.key, host)

    # hosts

    async def _put_key(self, request: Request) -> Response:
        name = _convert(request.path_params["name"], _HostName)
        jwks = _decode(await _body(request, KEY_BYTES), dict[str, object])
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise InvalidToken("there is no `Authorization: Bearer` token")
        # signed by the very key that is shown: whoever publishes it has it
        if not is_agent(verify_with_jwks(token, jwks, name, clock=self._clock)):
            raise Forbidden("only an agent publishes its host's key")
        try:
            new = await self._writer.run(self._store.pin, name, jwks, self._settings.hosts.get(name))
        except KeyConflict as error:
            log.error("alarm: host %s: %s", name, error)
            raise
        if new:
            log.info("host %s: key pinned", name)
        return _json({"host": name, "pinned": True}, 201 if new else 200)

    async def _get_key(self, request: Request) -> Response:
        await self._access.agent(_authorization(request))
        name = request.path_params["name"]
        key = await self._access.key(name)
        return _json({"host": name, "kid": key.kid, "jwks": key.jwks, "trusted": self._access.trusted(name)})

    # the approvals queue

    async def _post_hold(self, request: Request) -> Response:
        claims = await self._access.agent(_authorization(request))
        hold = _decode(await _body(request), Hold)
        if hold.host != claims.host:
            raise Forbidden(f"{claims.host} can't hold a statement of {hold.host}")
        state = await self._writer.run(self._holds.post, hold, self._clock())
        return _json(state, 201)

    async def _list_holds(self, request: Request) -> Response:
        host = await self._access.holds(_authorization(request))
        wanted = _query(request, _Holds)
        states = await self._writer.run(self._holds.list, wanted.state, host, self._clock())
        return _json({"holds": [_without_token(state) for state in states]})

    async def _get_hold(self, request: Request) -> Response:
        identifier = request.path_params["id"]
        wait = _query(request, _Wait).wait
        state = await self._own_hold(request)
        if state.state != "waiting" or not wait or self._closing:
            return _json(state)
        if self._polls >= WAITERS:
            raise Busy(f"{WAITERS} long polls are open")
        event = asyncio.Event()
        self._waiters.setdefault(identifier, set()).add(event)
        self._polls += 1
        try:
            # asked again now that a decision would wake us: it may have been taken in between
            state = await self._writer.run(self._holds.get, identifier, self._clock())
            if state.state == "waiting":
                async with asyncio.timeout(min(wait, max(0.0, state.hold.expires - self._clock()))):
                    await event.wait()
        except TimeoutError:
            pass  # the poll ends without a decision; the answer below says so
        finally:
            self._polls -= 1
            self._waiters[identifier].discard(event)
            if not self._waiters[identifier]:
                del self._waiters[identifier]
        return _json(await self._writer.run(self._holds.get, identifier, self._clock()))

    async def _cancel(self, request: Request) -> Response:
        await self._own_hold(request)
        state = await self._writer.run(self._holds.cancel, request.path_params["id"], self._clock())
        self._wake(state)
        return _json(state)

    async def _own_hold(self, request: Request) -> HoldState:
        """The hold, for the agent whose it is; for any other there is none."""
        claims = await self._access.agent(_authorization(request))
        identifier = request.path_params["id"]
        state = await self._writer.run(self._holds.get, identifier, self._clock())
        if state.hold.host != claims.host:
            raise NoSuchHold(f"there is no hold {identifier!r}")
        return state

    async def _approve(self, request: Request) -> Response:
        return await self._decide(request, "approve")

    async def _deny(self, request: Request) -> Response:
        return await self._decide(request, "deny")

    async def _decide(self, request: Request, decision: Literal["approve", "deny"]) -> Response:
        identifier = request.path_params["id"]
        claims, approval, token = await self._access.approval(_authorization(request))
        verdict = _decode(await _body(request), _Verdict)
        if (approval.hold, approval.digest, approval.decision) != (identifier, verdict.digest, decision):
            raise NotAllowed("the token signs another decision than the one asked for")
        known = await self._writer.run(self._holds.get, identifier, self._clock())
        self._access.decides(claims, known.hold.host)
        state = await self._writer.run(
            self._holds.decide, identifier, claims, approval, token, verdict.comment, self._clock()
        )
        self._wake(state)
        log.info("hold %s %s by %s on %s", identifier, state.state, claims.person, claims.host)
        return _json(_without_token(state))

    def _wake(self, state: HoldState) -> None:
        for event in self._waiters.get(state.hold.id, ()):
            event.set()

    # records

    async def _search(self, request: Request) -> Response:
        wanted = _query(request, _Search)
        host = await self._access.records(_authorization(request), wanted.host)
        query = Query(
            text=wanted.text,
            principal=wanted.principal,
            person=wanted.person,
            datastore=wanted.datastore,
            verdict=wanted.verdict,
            host=host,
            connection=wanted.connection,
            since=None if wanted.since is None else int(wanted.since * 1e9),
            until=None if wanted.until is None else int(wanted.until * 1e9),
            limit=wanted.limit,
        )
        return _json({"records": await self._read(lambda reader: reader.search(query))})

    async def _show(self, request: Request) -> Response:
        host = await self._access.records(_authorization(request), _query(request, _Host).host)
        identifier = request.path_params["id"]
        records = await self._read(lambda reader: reader.show(identifier, host))
        if not records:
            return _error(404, "no_such_record", f"there is no record {identifier!r}")
        return _json({"records": records})

    async def _verify(self, request: Request) -> Response:
        host = await self._access.records(_authorization(request), _query(request, _Host).host)
        async with self._verifying:
            names = [host] if host is not None else await self._read(Reader.hosts)
            found = [await self._read(partial(Reader.verify, host=name)) for name in names]
        return _json({"hosts": found})

    async def _read(self, work: Callable[[Reader], T]) -> T:
        def read(path: Path) -> T:
            with Reader(path) as reader:
                return work(reader)

        async with self._reading:
            return await asyncio.to_thread(read, self._store.path)

    async def _health(self, request: Request) -> Response:
        await self._writer.run(self._store.db.execute, "SELECT 1")
        return _json({"status": "stopping" if self._closing else "ok"})

    async def _exposition(self, request: Request) -> Response:
        return Response(await self._writer.run(self._metrics), media_type="text/plain; version=0.0.4")


async def _unrouted(request: Request, error: Exception) -> Response:
    """An address that is none, or a method that it doesn't take."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _error(status, "no_such_address", f"{request.method} {request.url.path}: there is nothing to answer here")


async def _failure(request: Request, error: Exception) -> Response:
    status, code = next(_ERRORS[kind] for kind in type(error).__mro__ if kind in _ERRORS)
    if status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, error)
    return _error(status, code, str(error))


def _error(status: int, code: str, message: str) -> Response:
    return _json({"error": code, "message": message}, status)


def _json(value: object, status: int = 200) -> Response:
    # nothing of this is for a cache, and a browser must not take it for anything but JSON
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def _without_token(state: HoldState) -> HoldState:
    """A person who sees a decision does not get the approver's token: it belongs to the agent that waits for it."""
    if state.decided is None:
        return state
    return msgspec.structs.replace(state, decided=msgspec.structs.replace(state.decided, token=None))


def _authorization(request: Request) -> str | None:
    return request.headers.get("authorization")


async def _body(request: Request, limit: int = BODY_BYTES) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise BadRequest("the body is not application/json")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.stream():
                body += piece
                if len(body) > limit:
                    raise BadRequest(f"the body has more than {limit} bytes")
    except TimeoutError:
        raise BadRequest(f"the body took more than {BODY_SECONDS:.0f} seconds") from None
    return bytes(body)


def _decode(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(str(error)) from None


def _convert(value: object, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None


def _query(request: Request, kind: type[T]) -> T:
    pairs = request.query_params.multi_items()
    if len(dict(pairs)) != len(pairs):
        raise BadRequest("a parameter is given twice")
    found: T = _convert(dict(pairs), kind)
    return found
