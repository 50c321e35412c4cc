"""What a request would do, as the understanding of its language tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Effect(StrEnum):
    """The names policies use. A statement has one or more; `unknown` is what could not be told."""

    READ = "read"
    WRITE = "write"
    DDL = "ddl"
    ADMIN = "admin"
    SESSION = "session"
    TRANSACTION = "transaction"
    UNKNOWN = "unknown"


class Place(StrEnum):
    """The kinds of things inside a datastore that policies name by pattern."""

    KEY = "key"
    CHANNEL = "channel"


@dataclass(frozen=True, slots=True)
class Touch:
    """Something inside a datastore that a statement touches, and what it does to it.

    `patterns` are those that match it, of all that policies name; None when it could be anything of its kind.
    """

    place: Place
    patterns: tuple[str, ...] | None
    effects: frozenset[Effect]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a request.

    `kind` is the command tag in the language's own words (`SELECT`, `UPDATE`, `COPY`), `inside` those of what else it
    runs (the DELETE of a WITH query, of EXPLAIN ANALYZE, of a MERGE), queries left out. `objects` are the names the
    statement touches as written, lower-cased where the language folds them (`public.orders`, `orders`, `role:bob`).
    `columns` are the column names referred to anywhere, unqualified. `functions` are the called functions not known
    harmless. `has_where` is False for an UPDATE, DELETE, MERGE or SELECT over a relation without a predicate that looks
    at its rows, for TRUNCATE and for COPY of a whole relation, True otherwise.
    `makes` is the name it gives to another statement (`("prepared", "p1")` for PREPARE, `("cursor", "c")` for DECLARE),
    `uses` the name of the one it goes on with (EXECUTE, FETCH, MOVE). `refusal` is set when the statement can't be
    judged at all (and why, in one line). `settings` are the parameters it changes for itself, its session or later
    ones (SET, RESET, set_config(), ALTER ROLE ... SET, the SET clause of a function), lower-cased; `?` for one that the
    text doesn't name, `all` for all of them. `definer_functions` are those of `functions` that run with the rights of
    their owner (SECURITY DEFINER), as far as the catalog was asked. `touches` are the keys and channels of a datastore
    that has them, `categories` what its own access control counts the statement among (`dangerous`).
    """

    kind: str
    effects: frozenset[Effect]
    objects: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    functions: tuple[str, ...] = ()
    has_where: bool = True
    makes: tuple[str, str] | None = None
    uses: tuple[str, str] | None = None
    refusal: str | None = None
    inside: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    definer_functions: tuple[str, ...] = ()
    touches: tuple[Touch, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        return (self.kind, *self.inside)


@dataclass(frozen=True, slots=True)
class Request:
    """Everything one message asks for: one or more statements that run together or not at all.

    `shape` keys caches: two texts with the same shape have the same statements and differ in literals only, and
    judging them gives the same verdict. `text` is what the client sent. `detail` belongs to the language that made
    the request (a parse tree for lineage and redaction) and is opaque to everyone else.
    """

    language: str
    text: str
    shape: str
    statements: tuple[Statement, ...]
    detail: object = field(default=None, compare=False, repr=False)

    @property
    def effects(self) -> frozenset[Effect]:
        return frozenset().union(*(s.effects for s in self.statements))

    @property
    def refusal(self) -> str | None:
        return next((s.refusal for s in self.statements if s.refusal), None)
