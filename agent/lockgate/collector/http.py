"""How the collector reads requests and writes answers: JSON in, JSON out, everything bounded and checked."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

BODY_BYTES = 8 * 1024 * 1024
"""A request's body: a hold whose statement has `hold.TEXT_CHARACTERS` of four bytes, and as much again."""
BODY_SECONDS = 30.0
"""How long a caller may take to send it."""

T = TypeVar("T")


class BadRequest(Exception):
    """The request is not what this address takes."""


class Busy(Exception):
    """A bound is reached."""


def failed(status: int, code: str, message: str) -> Response:
    """An error: a word for programs, a sentence for people."""
    return answer({"error": code, "message": message}, status)


def answer(value: object, status: int = 200) -> Response:
    """`value` as JSON."""
    # nothing of this is for a cache, and a browser must not take it for anything but JSON
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(msgspec.json.encode(value), status, headers, "application/json")


def authorization(request: Request) -> str | None:
    """The `Authorization` header."""
    return request.headers.get("authorization")


async def body_of(request: Request, limit: int = BODY_BYTES) -> bytes:
    """The body, of at most `limit` bytes. Raises BadRequest."""
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


def decode(body: bytes, kind: type[T]) -> T:
    """JSON as a value of `kind`. Raises BadRequest."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(str(error)) from None


def convert(value: object, kind: Any) -> Any:
    """A part of the address as a value of `kind`. Raises BadRequest."""
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(str(error)) from None


def query_of(request: Request, kind: type[T]) -> T:
    """The parameters of the address. Raises BadRequest."""
    pairs = request.query_params.multi_items()
    if len(dict(pairs)) != len(pairs):
        raise BadRequest("a parameter is given twice")
    found: T = convert(dict(pairs), kind)
    return found
