"""Relations by name: every schema, the temporary ones, and several at once."""

from __future__ import annotations

from lockgate.understand.postgresql.origins import NOWHERE, Origin, Rows
from lockgate.understand.postgresql.relations import either, find, is_query, table_rows, view_rows
from tests.understand.postgresql.catalogs import catalog, relation

FIRST, SECOND, TEMPORARY = relation("s1.t", "a b"), relation("s2.t", "a c"), relation("pg_temp_3.t", "a b")
CATALOG = catalog(FIRST, SECOND, TEMPORARY)


def test_a_bare_name_is_every_relation_of_it() -> None:
    assert find(CATALOG, None, "t") == (FIRST, SECOND, TEMPORARY)
    assert find(CATALOG, "s2", "t") == (SECOND,)
    assert find(CATALOG, "pg_temp", "t") == (TEMPORARY,)
    assert find(CATALOG, None, "u") == ()


def test_either_is_the_union() -> None:
    rows, doubtful = either([table_rows(FIRST), table_rows(SECOND)])
    assert (rows.counted, doubtful) == (False, frozenset({"b", "c"}))
    assert rows.column("a") == Origin(frozenset({"s1.t.a", "s2.t.a"}))
    assert rows.column("b") == Origin(frozenset({"s1.t.b"}), plain="s1.t.b")
    same, doubtful = either([table_rows(FIRST), table_rows(TEMPORARY)])
    assert (same.counted, doubtful) == (True, frozenset())
    assert either([table_rows(FIRST), Rows(why="x")])[0].why == "x"


def test_views() -> None:
    view = relation("v", "x", "select a from s1.t")
    assert is_query(view)
    assert not is_query(relation("pg_catalog.pg_stats", "x", "select 1"))
    rows = view_rows(view, Rows((("a", Origin(frozenset({"s1.t.a"}), plain="s1.t.a")),)))
    assert rows.columns == (("x", Origin(frozenset({"s1.t.a"}), None, "s1.t.a", frozenset({"public.v.x"}))),)
    assert view_rows(view, Rows((("a", NOWHERE), ("b", NOWHERE)))).why is not None
    assert view_rows(view, Rows(why="x")).why == "x"
