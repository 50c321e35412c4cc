"""The views over the JSON tree: kinds of unwrapped fields, defaults, order."""

from __future__ import annotations

from lockgate.understand.postgresql.parsing import parse
from lockgate.understand.postgresql.tree import constant, items, relation_name, strings, walk, walk_branches

TEXTS = [
    "with a as (delete from x returning *) insert into t (b) select c[1:2], (d).e, row(1), array[1] from u join v"
    " using (w) on conflict (b) do update set b = excluded.b where t.b = any (select 1) returning *",
    "select f(a => 1, variadic b) over (partition by c order by d range between 1 preceding and current row)",
    "create table t (a int default 1 check (a > 0), primary key (a)) partition by range (a)",
    "merge into t using u on t.a = u.a when matched and true then update set b = 1",
    "select * from xmltable('/a' passing b columns c int path 'd'), json_table(e, '$' columns (f int)) j",
    "grant select (a) on t to bob; alter role bob set x = 1; copy t (a) from stdin; select a into b from c",
]


def test_every_node_has_a_kind() -> None:
    for text in TEXTS:
        for statement in parse(text):
            assert all(node.kind for node in walk(statement))


def test_fields() -> None:
    (statement,) = parse("insert into s.t select 'x'::text, 0, null")
    insert = statement.stmt
    assert (insert.kind, insert.relation.kind, relation_name(insert.relation)) == ("InsertStmt", "RangeVar", "s.t")
    text, zero, null = (target.val for target in insert.selectStmt.targetList)
    assert (constant(text), constant(zero), zero.ival.ival, null.isnull) == ("x", None, None, True)
    assert insert.withClause is None
    assert [n.kind for n in walk(None)] == []


def test_lists() -> None:
    (statement,) = parse("drop table a.b, c")
    assert [strings(items(name)) for name in statement.stmt.objects] == [("a", "b"), ("c",)]
    assert items(None) == ()
    assert strings(None) == ()


def test_constants_are_leaves_and_branches_leave_them_out() -> None:
    (statement,) = parse("select a from t where b in (1, 'x', null, $1, c)")
    kinds = [node.kind for node in walk(statement.stmt)]
    assert kinds.count("A_Const") == 3
    assert "Integer" not in kinds
    assert [node.kind for node in walk_branches(statement.stmt)] == [kind for kind in kinds if kind != "A_Const"]
