"""Every kind of statement in the grammar is classified, and its tag is PostgreSQL's."""

from __future__ import annotations

import pytest
from pglast import ast

from lockgate.understand.postgresql.commands import COMMANDS, tag
from lockgate.understand.postgresql.parsing import parse

INSIDE_ONLY = {"RawStmt", "ReturnStmt", "PLAssignStmt", "SetOperationStmt"}
"""Wrappers and parts that never stand alone: PL/pgSQL's assignment, the body of a function, an analysed query."""


def test_no_kind_of_statement_is_left_out() -> None:
    kinds = {name for name in vars(ast) if name.endswith("Stmt")}
    assert kinds - INSIDE_ONLY == set(COMMANDS)


def test_every_command_does_something() -> None:
    silent = {kind for kind, command in COMMANDS.items() if not command.effects}
    # what these do is all in what they hold
    assert silent == {"CopyStmt", "PrepareStmt", "DeclareCursorStmt", "LockStmt"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("drop materialized view x", "DROP MATERIALIZED VIEW"),
        ("drop text search configuration x", "DROP TEXT SEARCH CONFIGURATION"),
        ("drop server s", "DROP SERVER"),
        ("alter foreign table t add column a int", "ALTER FOREIGN TABLE"),
        ("alter table t rename column a to b", "ALTER TABLE"),
        ("alter type t rename attribute a to b", "ALTER TYPE"),
        ("alter table t rename constraint a to b", "ALTER TABLE"),
        ("alter large object 1 owner to x", "ALTER LARGE OBJECT"),
        ("alter procedure p() reset all", "ALTER PROCEDURE"),
        ("create aggregate a (int) (sfunc = f, stype = int)", "CREATE AGGREGATE"),
        ("create procedure p() language sql as ''", "CREATE PROCEDURE"),
        ("start transaction", "START"),
        ("end", "COMMIT"),
        ("abort", "ROLLBACK"),
        ("savepoint x", "SAVEPOINT"),
        ("release x", "RELEASE"),
        ("rollback prepared 'x'", "ROLLBACK PREPARED"),
        ("discard temp", "DISCARD TEMP"),
        ("reset role", "RESET"),
        ("analyze", "ANALYZE"),
    ],
)
def test_tags(text: str, expected: str) -> None:
    (statement,) = parse(text)
    assert tag(statement.stmt) == expected
