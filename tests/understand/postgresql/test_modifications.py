"""Where statements that write put things: targets of every form."""

from __future__ import annotations

import pytest

from lockgate.understand.postgresql import Flow, Understanding, copies
from tests.understand.postgresql.catalogs import catalog, relation

CATALOG = catalog(relation("a", "x y"), relation("b", "x y"), relation("v", "x", "select x from public.b"))


@pytest.mark.parametrize(
    ("text", "flow"),
    [
        ("insert into a (y) select x from b", Flow("public.a.y", frozenset({"public.b.x"}))),
        ("insert into v (x) select y from a", Flow("public.b.x", frozenset({"public.a.y"}))),
        ("update a as t set y = b.x from b", Flow("public.a.y", frozenset({"public.b.x"}))),
        ("update a set (y) = row((select x from b))", Flow("public.a.y", frozenset({"public.b.x"}))),
        ("insert into a (y) values (default) on conflict (x) do update set y = (select x from b)",
         Flow("public.a.y", frozenset({"public.b.x"}))),
        ("merge into a using b on true when not matched then insert values (1, b.x)",
         Flow("public.a.y", frozenset({"public.b.x"}))),
        ("with w as (update a set y = b.x from b returning 1) delete from b",
         Flow("public.a.y", frozenset({"public.b.x"}))),
        ("explain analyze insert into a (y) select x from b", Flow("public.a.y", frozenset({"public.b.x"}))),
        ("select lo_from_bytea(0, x::bytea) from b", Flow("function:lo_from_bytea", frozenset({"public.b.x"}))),
        ("insert into a (y) select evil(1) from b", Flow("public.a.y", None)),
    ],
)  # fmt: skip
def test_flows(text: str, flow: Flow) -> None:
    assert flow in (copies(Understanding().request(text), CATALOG, 0) or ())


def test_a_column_that_only_keeps_its_own_values_flows_to_itself() -> None:
    assert copies(Understanding().request("update a set y = lower(y)"), CATALOG, 0) == (
        Flow("public.a.y", frozenset({"public.a.y"})),
    )
