"""The collector over HTTP: hosts' keys, the approvals queue (queue.py), records.

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

from lockgate.approval.hold import NotAllowed
from lockgate.collector.access import Access, Forbidden, UnknownHost, is_agent
from lockgate.collector.grants import GrantEnded, NoSuchGrant, TooManyGrants
from lockgate.collector.holds import HoldConflict, NoSuchHold, TooManyHolds
from lockgate.collector.http import BadRequest, Busy, answer, authorization, body_of, convert, decode, failed, query_of
from lockgate.collector.queue import Queue
from lockgate.collector.search import LIMIT, NotUnique, Query, Reader
from lockgate.collector.store import KeyConflict, Store
from lockgate.collector.writer import Writer
from lockgate.config import Collector
from lockgate.identity.keys import InvalidKeySet
from lockgate.identity.tokens import InvalidToken, verify_with_jwks

KEY_BYTES = 64 * 1024
"""A published key set: it is read before the caller is known."""
READERS = 4
"""Searches at once; more wait their turn."""

log = logging.getLogger(__name__)

T = TypeVar("T")


_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
_Moment = Annotated[float, msgspec.Meta(ge=0, le=9e9)]


class _Search(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`since` and `until` in seconds since the epoch."""

    text: _Text | None = None
    principal: _Text | None = None
    person: _Text | None = None
    datastore: _Text | None = None
    verdict: _Text | None = None
    host: _Text | None = None
    connection: _Text | None = None
    would: Literal["deny", "hold", "mask"] | None = None
    shadow: Literal["allow", "deny", "hold", "mask"] | None = None
    since: _Moment | None = None
    until: _Moment | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT)] = 100


class _Otherwise(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`since` in seconds since the epoch."""

    host: _Text | None = None
    datastore: _Text | None = None
    since: _Moment | None = None


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
    NoSuchGrant: (404, "no_such_grant"),
    GrantEnded: (409, "grant_ended"),
    TooManyGrants: (429, "too_many_grants"),
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
        self._metrics = metrics
        self._clock = clock
        self._access = Access(self._pinned, settings.hosts, settings.auditors, clock)
        self._queue = Queue(writer, self._access, tuple(settings.hosts), clock)
        self._reading = asyncio.Semaphore(READERS)
        self._verifying = asyncio.Semaphore(1)
        self._closing = False
        self.app = Starlette(
            routes=[
                Route("/v1/hosts/{name}/key", self._put_key, methods=["PUT"]),
                Route("/v1/hosts/{name}/key", self._get_key, methods=["GET"]),
                *self._queue.routes,
                Route("/v1/records", self._search, methods=["GET"]),
                Route("/v1/records/{id:path}", self._show, methods=["GET"]),
                Route("/v1/would", self._would, methods=["GET"]),
                Route("/v1/verify", self._verify, methods=["GET"]),
                Route("/healthz", self._health, methods=["GET"]),
                Route("/metrics", self._exposition, methods=["GET"]),
            ],
            exception_handlers={**dict.fromkeys(_ERRORS, _failure), HTTPException: _unrouted},
        )

    def close(self) -> None:
        """Answers every long poll with what is known now, so that the server can stop."""
        self._closing = True
        self._queue.close()

    async def _pinned(self, host: str) -> Any:
        return await self._writer.run(self._store.key, host)

    # hosts

    async def _put_key(self, request: Request) -> Response:
        name = convert(request.path_params["name"], _HostName)
        jwks = decode(await body_of(request, KEY_BYTES), dict[str, object])
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
        return answer({"host": name, "pinned": True}, 201 if new else 200)

    async def _get_key(self, request: Request) -> Response:
        await self._access.agent(authorization(request))
        name = request.path_params["name"]
        key = await self._access.key(name)
        return answer({"host": name, "kid": key.kid, "jwks": key.jwks, "trusted": self._access.trusted(name)})

    # records

    async def _search(self, request: Request) -> Response:
        wanted = query_of(request, _Search)
        host = await self._access.records(authorization(request), wanted.host)
        query = Query(
            text=wanted.text,
            principal=wanted.principal,
            person=wanted.person,
            datastore=wanted.datastore,
            verdict=wanted.verdict,
            host=host,
            connection=wanted.connection,
            would=wanted.would,
            shadow=wanted.shadow,
            since=None if wanted.since is None else int(wanted.since * 1e9),
            until=None if wanted.until is None else int(wanted.until * 1e9),
            limit=wanted.limit,
        )
        return answer({"records": await self._read(lambda reader: reader.search(query))})

    async def _show(self, request: Request) -> Response:
        host = await self._access.records(authorization(request), query_of(request, _Host).host)
        identifier = request.path_params["id"]
        records = await self._read(lambda reader: reader.show(identifier, host))
        if not records:
            return failed(404, "no_such_record", f"there is no record {identifier!r}")
        return answer({"records": records})

    async def _would(self, request: Request) -> Response:
        wanted = query_of(request, _Otherwise)
        host = await self._access.records(authorization(request), wanted.host)
        since = None if wanted.since is None else int(wanted.since * 1e9)
        found = await self._read(lambda reader: reader.otherwise(since, host, wanted.datastore))
        return answer({"would": found})

    async def _verify(self, request: Request) -> Response:
        host = await self._access.records(authorization(request), query_of(request, _Host).host)
        async with self._verifying:
            names = [host] if host is not None else await self._read(Reader.hosts)
            found = [await self._read(partial(Reader.verify, host=name)) for name in names]
        return answer({"hosts": found})

    async def _read(self, work: Callable[[Reader], T]) -> T:
        def read(path: Path) -> T:
            with Reader(path) as reader:
                return work(reader)

        async with self._reading:
            return await asyncio.to_thread(read, self._store.path)

    async def _health(self, request: Request) -> Response:
        await self._writer.run(self._store.db.execute, "SELECT 1")
        return answer({"status": "stopping" if self._closing else "ok"})

    async def _exposition(self, request: Request) -> Response:
        return Response(await self._writer.run(self._metrics), media_type="text/plain; version=0.0.4")


async def _unrouted(request: Request, error: Exception) -> Response:
    """An address that is none, or a method that it doesn't take."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    return failed(status, "no_such_address", f"{request.method} {request.url.path}: there is nothing to answer here")


async def _failure(request: Request, error: Exception) -> Response:
    status, code = next(_ERRORS[kind] for kind in type(error).__mro__ if kind in _ERRORS)
    if status >= 500:
        log.error("%s %s: %s", request.method, request.url.path, error)
    return failed(status, code, str(error))
