"""SQL: any text is answered, the same from the caches, and everything asked of a request answers."""

from __future__ import annotations

import re
from contextlib import suppress
from random import Random
from typing import Final

from lockgate.understand.postgresql import Understanding, copied_out, copies, influences, outputs, redacted, uses
from lockgate.understand.postgresql.copying import Uncopyable
from lockgate.understand.postgresql.planning import plannable
from lockgate.values.catalog import Catalog, Column, Relation
from tests.fuzz.script import Mutate
from tests.fuzz.target import Target

_WARM: Final = Understanding(limit=512)
_COLUMNS: Final = tuple(Column(name, number + 1, 25) for number, name in enumerate(("id", "ssn", "note")))
_TABLES: Final = (
    Relation(1, "public", "t", "r", _COLUMNS, None),
    Relation(2, "public", "v", "v", _COLUMNS[:2], "SELECT t.id, t.ssn FROM t"),
)
_CATALOG: Final = Catalog("db", {one.oid: one for one in _TABLES}, {one.name: (one,) for one in _TABLES})
_SECRET: Final = frozenset({"public.t.ssn"})
_TOKEN: Final = re.compile(r"\$\$.*?\$\$|'(?:[^']|'')*'|\"[^\"]*\"|[a-z_0-9]+|\s+|.", re.DOTALL | re.IGNORECASE)


def check_sql(data: bytes) -> None:
    """Nothing raises, a cached reading is a fresh one, and a literal that meets a secret is not shown."""
    text = data.decode("utf-8", "replace")
    request = _WARM.request(text)
    fresh = Understanding().request(text)
    assert request.text == text
    assert (request.refusal, request.statements) == (fresh.refusal, fresh.statements), "a cached reading is another"
    shown = redacted(request, _SECRET, _CATALOG)
    redacted(request, _SECRET, None)
    redacted(request, frozenset(), _CATALOG)
    if request.refusal is not None:
        return
    for number, statement in enumerate(request.statements):
        assert statement.effects, "a statement without an effect"
        outputs(request, _CATALOG, statement=number)
        copies(request, _CATALOG, number)
        touched, used = influences(request, _CATALOG, number), uses(request, _CATALOG, number)
        assert (touched is None) == (used is None), "what is touched can be told, and what for can't"
        with suppress(Uncopyable):
            copied_out(request, _CATALOG, number)
    plannable(request, _CATALOG)
    if re.fullmatch(r"\s*select \w+ from t where ssn = 'markmark'\s*;?\s*", text):
        assert "markmark" not in shown, "a literal that meets a secret column is recorded"


def _mutated_sql(data: bytes, limit: int, random: Random, mutate: Mutate) -> bytes:
    """Tokens moved among statements, or bytes changed."""
    if random.random() < 0.3:
        return mutate(data, limit)
    parts = _TOKEN.findall(data.decode("utf-8", "replace"))
    other = _TOKEN.findall(random.choice(_SQL).decode())
    place, start = random.randrange(len(parts) + 1), random.randrange(len(other))
    taken = other[start : start + random.randint(1, 8)]
    parts[place : place + random.choice([0, 0, 1, 3])] = taken
    return "".join(parts).encode()[:limit]


_SQL: Final = [text.encode() for text in (
    "select ssn from t where ssn = 'markmark'",
    "with recursive a(x) as (select 1 union all select x + 1 from a where x < 5) select * from a, lateral (select x) b",
    "insert into t (id, ssn) values (1, $1) on conflict (id) do update set ssn = excluded.ssn returning *",
    "merge into t using v on t.id = v.id when matched then update set ssn = v.ssn when not matched then do nothing",
    "update t set (id, ssn) = (select 1, 'a') from v where t.id = v.id returning old.ssn, new.ssn",
    "delete from t using v where v.id = t.id",
    "copy (select ssn, id from t) to stdout (format csv, header true, delimiter ';', force_quote *)",
    "copy t from program 'x' with (format 'binary')",
    "select array_agg(t order by ssn), (t).ssn, t.*, row(t.*)::text from t group by grouping sets ((id), ())",
    "select case when ssn ~ 'x' then ssn::int else -1.5e3 end, ssn || U&'\\0041', E'\\n' from t window w as ()",
    "prepare a(int) as select * from v where id = $1; execute a(1); deallocate all",
    "declare c scroll cursor with hold for select * from t; fetch all c; close c",
    "create or replace function f(a text default 'x') returns setof t language sql begin atomic select * from t; end",
    "create table s partition of t for values from (1) to (2); alter table s rename ssn to id; drop table s",
    "create view w as select * from t tablesample bernoulli (1); create rule r as on insert to w do instead nothing",
    "do $$ begin perform 1; end $$; call p(1, b => 'x'); set local role 'x'; reset all; explain analyze select 1",
    "select * from json_table('{}', '$' columns (a int path '$.a', nested '$.b' columns (c text))) j",
    "create role r password 'p' valid until 'x'; alter user mapping for x server s options (set password 'p')",
    "grant select (ssn) on t to public; lock t in access exclusive mode; vacuum t; select nextval('s'), lo_get(1)",
    "(select 1 union select 2 order by 1) intersect (table t) except values (1) limit 1 for update of t nowait",
    "/* a /* b */ c */ select -- x\n 1; ; begin isolation level serializable; savepoint s; commit and chain",
)]  # fmt: skip

CHECKS: Final = [Target("sql", check_sql, _SQL, 1024, _mutated_sql)]
