"""What statements name other than in FROM."""

from __future__ import annotations

import pytest

from lockgate.understand.postgresql.names import named_objects, role_name
from lockgate.understand.postgresql.parsing import parse
from lockgate.understand.postgresql.tree import walk


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("create role bob", ["role:bob"]),
        ("drop database d", ["database:d"]),
        ("drop schema a, b", ["schema:a", "schema:b"]),
        ("drop view a.v, w", ["a.v", "w"]),
        ("drop policy p on a.t", ["a.t"]),
        ("comment on column a.t.c is 'x'", ["a.t"]),
        ("drop function a.f(int)", ["function:a.f"]),
        ("drop type a.t", ["type:a.t"]),
        ("drop server s", ["foreign_server:s"]),
        ("create extension x", ["extension:x"]),
        ("grant usage on schema s to bob", ["schema:s"]),
        ("grant execute on function f(int) to bob", ["function:f"]),
        ("grant a to b", ["role:a"]),
        ("alter function f() rename to g", ["function:f"]),
        ("create function a.f() returns int language sql as ''", ["function:a.f"]),
        ("copy t from program 'x'", ["program"]),
        ("set Role = x", ["setting:role"]),
        ("reset all", ["setting:all"]),
        ("show a.b", ["setting:a.b"]),
        ("load 'x'", ["file:x"]),
        ("notify c", ["channel:c"]),
        ("select 1", []),
        ("drop table t", ["t"]),
    ],
)
def test_names(text: str, names: list[str]) -> None:
    (statement,) = parse(text)
    assert list(named_objects(statement.stmt)) == names


def test_roles() -> None:
    (statement,) = parse("grant select on t to bob, public, current_user, session_user")
    roles = [role_name(node) for node in walk(statement) if node.kind == "RoleSpec"]
    assert roles == ["role:bob", "role:public", "role:current_user", "role:session_user"]
