"""What an approval is bound to: one statement, of one identity, on one connection, at one datastore."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from lockgate.values.identity import Claims

DOMAIN = b"lockgate approval 1"
"""Separates these digests from every other SHA-256 in Lockgate; the number changes with the encoding."""
GRANT_DOMAIN = b"lockgate grant 1"
"""Likewise those of what a grant covers: no digest of a statement is ever one of these."""


def digest(
    text: str | bytes,
    parameters: Sequence[bytes | None],
    formats: Sequence[int],
    claims: Claims,
    connection_id: str,
    datastore: str,
    database: str,
    user: str,
) -> str:
    """The digest of a statement, as 64 lower-case hex digits of SHA-256.

    `parameters` are the bound values as sent (None is SQL's NULL) and `formats` their wire formats: the same bytes
    mean different values in text and in binary. Of `claims` only who is asking counts (principal, person, groups,
    host), not the token, so that a renewal while the statement is held changes nothing.

    Each field is written as a type letter, its length in 8 bytes and its bytes, and each list is preceded by its
    count: two different inputs never have the same encoding. Text given as bytes is another input than the same
    text given as str.
    """
    statement = [text, list(parameters), list(formats)]
    return _sha256([DOMAIN, statement, _who(claims), connection_id, datastore, database, user])


def fingerprint(
    shapes: Sequence[str],
    meaning: Sequence[str],
    claims: Claims,
    datastore: str,
    database: str,
    user: str,
    policy: str,
) -> str:
    """The digest of what a grant covers: statements of one kind, of one identity, at one database, under one policy.

    `shapes` are those of the request and of everything it may go on with, in order; `meaning` is what the names in
    them stand for (`lockgate.proxy.postgresql.grants.meaning`). Constants of a shape, bound values and the connection
    don't count.
    """
    return _sha256([GRANT_DOMAIN, list(shapes), list(meaning), _who(claims), datastore, database, user, policy])


def _who(claims: Claims) -> list[object]:
    return [claims.principal, claims.person, list(claims.groups), claims.host]


def _sha256(value: object) -> str:
    state = hashlib.sha256()
    for piece in _encode(value):
        state.update(piece)
    return state.hexdigest()


def _encode(value: object) -> Iterator[bytes]:
    match value:
        case None:
            yield b"n"
        case bytes():
            yield b"b" + len(value).to_bytes(8, "big")
            yield value
        case str():
            # surrogatepass: text with bytes no encoding explains still has exactly one encoding here
            data = value.encode("utf-8", "surrogatepass")
            yield b"s" + len(data).to_bytes(8, "big")
            yield data
        case int():
            yield b"i" + value.to_bytes(8, "big", signed=True)
        case list():
            yield b"l" + len(value).to_bytes(8, "big")
            for item in value:
                yield from _encode(item)
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a digest")
