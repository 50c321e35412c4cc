"""What is only a superuser's to set counts as administration: held against the servers' own lists."""

from __future__ import annotations

import pytest

from lockgate.understand.postgresql.parsing import parse
from lockgate.understand.postgresql.settings import ADMIN_SETTINGS, Change, changes, configured
from lockgate.understand.postgresql.tree import walk
from tests.support.postgres import Postgres
from tests.support.postgres18 import Postgres18

HARMLESS = {"lc_messages"}
PACKAGERS = {"composite_type_mismatch", "extension_destdir", "output_plugin_libraries"}
"""Parameters that only some builds of the server have."""


@pytest.mark.parametrize("release", [Postgres, Postgres18])
def test_what_only_a_superuser_may_set_is_administration(release: type[Postgres]) -> None:
    with release() as server:
        names = set(server.psql("select name from pg_settings where context = 'superuser'").split())
    assert names - HARMLESS - PACKAGERS <= ADMIN_SETTINGS
    assert len(names) > 40


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("set a = 1", Change("a", "1")),
        ("set a = -1.5", Change("a", "-1.5")),
        ("set a = on", Change("a", "on")),
        ("set a = b, c", Change("a")),
        ("set a to default", Change("a", given=False)),
        ("reset A", Change("a", given=False)),
        ("discard all", Change("all", given=False)),
    ],
)
def test_one_change(text: str, expected: Change) -> None:
    (statement,) = parse(text)
    assert changes(statement.stmt) == (expected,)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("set_config('Role', 'bob', true)", Change("role", "bob")),
        ("set_config('ro' || 'le', 'bob', true)", Change("?", "bob")),
        ("set_config('role', a, true)", Change("role")),
        ("set_config(variadic x)", Change("?")),
    ],
)
def test_one_call(call: str, expected: Change) -> None:
    node = next(node for node in walk(parse(f"select {call}")) if node.kind == "FuncCall")
    assert configured(node.args, None) == expected


def test_a_role_is_named_only_where_it_is_taken_on() -> None:
    assert Change("role", "bob").role == "bob"
    assert Change("role").role == "?"
    assert Change("role", given=False).role is None
    assert Change("search_path", "bob").role is None
    assert Change("session_authorization", "bob").admin
    assert not Change("session_authorization", given=False).admin
