"""What a message or a text refers to by name, in a namespace that SQL and the protocol share.

SQL `PREPARE` and Parse name statements in one namespace, `DECLARE` and Bind name portals in another. PostgreSQL
compares such names by their first 63 bytes (NAMEDATALEN), in the database's encoding; a pooler in between compares all
of them. So that one name is the same name to everybody, it has to be ASCII and no longer than that.
"""

from __future__ import annotations

from typing import Final, TypeVar

from lockgate.values.statement import Effect, Request, Statement
from lockgate.wire.gate import ProtocolError, Refusal
from lockgate.wire.names import NO_SEGMENT, Entry, Names
from lockgate.wire.postgresql import errors
from lockgate.wire.postgresql.conversation import Conversation, Named

V = TypeVar("V")

NAME_BYTES: Final = 63
"""PostgreSQL's NAMEDATALEN, less the NUL."""

NOBODYS: Final = "refused by lockgate"
"""No portal's name and not SQL: to run it fails on the server whatever its state, as the refused would have."""


class Refused(Exception):
    """The message can't be let through; `refusal` says why."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


def wire_name(raw: bytes) -> str:
    """A name as the protocol has it. Raises Refused."""
    if not raw:
        return ""
    if len(raw) > NAME_BYTES or not raw.isascii() or raw == NOBODYS.encode():
        raise Refused(Refusal(errors.FEATURE_NOT_SUPPORTED, f"lockgate: names are up to {NAME_BYTES} ASCII characters"))
    return raw.decode("ascii")


def plain(request: Request) -> bool:
    """Whether no statement of it makes or uses a name, or may turn the connection to copying."""
    for statement in request.statements:
        if statement.uses is not None or statement.makes is not None or statement.kind.startswith("COPY"):
            return False
    return True


def copies(request: Request, others: tuple[Request, ...]) -> bool:
    """Whether the connection may turn to copying, by the request or by one of those that it may go on with."""
    return any(s.kind.startswith("COPY") for r in (request, *others) for s in r.statements)


def candidates(conversation: Conversation, request: Request) -> tuple[Request, ...]:
    """Every request that a statement of `request` may turn out to go on with; one that refuses where none is known.

    What a name stands for may itself go on with another: the protocol can prepare an `EXECUTE`.
    """
    found: list[Request] = []
    todo = [request]
    while todo:
        of = todo.pop()
        for statement in of.statements:
            if statement.makes is not None and not _sound(statement.makes[1]):
                found.append(_unknown(of, *statement.makes, f"names are up to {NAME_BYTES} ASCII characters"))
            if statement.uses is not None:
                for meant in _meant(conversation, of, *statement.uses):
                    if all(meant is not other for other in found):
                        found.append(meant)
                        if meant is not request:
                            todo.append(meant)
    return tuple(found)


def _meant(conversation: Conversation, request: Request, kind: str, name: str) -> list[Request]:
    meant = [named.request for named in _namespace(conversation, kind).candidates(name, NO_SEGMENT)]
    if kind != "prepared":
        meant += [portal.run.request for portal in conversation.portals.candidates(name, NO_SEGMENT)]
    if any(other.makes == (kind, name) for other in request.statements):
        meant.append(request)
    return meant or [_unknown(request, kind, name, f'"{name}" was not made on this connection')]


def makes(conversation: Conversation, request: Request) -> tuple[tuple[Names[Named], Entry[Named]], ...]:
    """Enter the names that the text of `request` gives, which is about to be sent. Raises ProtocolError."""
    made = []
    for statement in request.statements:
        if statement.makes is not None:
            kind, name = statement.makes
            names = _namespace(conversation, kind)
            made.append((names, make(names, name, Named(request, in_sql=True), NO_SEGMENT)))
    return tuple(made)


def execution(name: str) -> str:
    """The SQL that runs the prepared statement of that name."""
    return 'EXECUTE "' + name.replace('"', '""') + '"'


def make(names: Names[V], name: str, value: V | None, segment: int) -> Entry[V]:
    """`Names.make`, with too many of them being the client's fault. Raises ProtocolError."""
    try:
        return names.make(name, value, segment)
    except OverflowError as error:
        raise ProtocolError(str(error)) from None


def _namespace(conversation: Conversation, kind: str) -> Names[Named]:
    return conversation.statements if kind == "prepared" else conversation.cursors


def _sound(name: str) -> bool:
    return len(name) <= NAME_BYTES and name.isascii() and name != NOBODYS


def _unknown(request: Request, kind: str, name: str, why: str) -> Request:
    """What stands for a name that can't be followed: a request that refuses."""
    what = "prepared statement" if kind == "prepared" else "cursor"
    refused = Statement("UNKNOWN", frozenset((Effect.UNKNOWN,)), refusal=f"{what}: {why}")
    return Request(request.language, request.text, f"{request.shape}\0{kind}\0{name}", (refused,))
