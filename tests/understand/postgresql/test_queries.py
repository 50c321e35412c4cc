"""Lineage held against a real PostgreSQL: a marker that comes out of a column must be in that column's sources.

Every text in the scratch database is unique to its column, so where a value comes from can be read off it. Random
queries are run there; whatever is not an error must be explained.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.understand.postgresql import Understanding, influences, outputs
from lockgate.values.catalog import Catalog
from tests.support.postgres import Postgres
from tests.understand.postgresql.catalogs import read

TABLES = {
    "customers": ("id", "email", "ssn", "note"),
    "orders": ("id", "customer", "email", "total"),
    "items": ("id", "ssn", "total"),
    "contacts": ("id", "mail", "low"),
    "totals": ("id", "everything"),
}
SETUP = """
create table customers (id text, email text, ssn text, note text);
create table orders (id text, customer text, email text, total text);
create table items (id text, ssn text, total text);
insert into customers select n, 'mk_customers_email_'||n, 'mk_customers_ssn_'||n, 'mk_customers_note_'||n
  from generate_series(1, 2) n;
insert into orders select n, 'mk_orders_customer_'||n, 'mk_orders_email_'||n, 'mk_orders_total_'||n
  from generate_series(1, 2) n;
insert into items select n, 'mk_items_ssn_'||n, 'mk_items_total_'||n from generate_series(1, 2) n;
create view contacts as select id, email as mail, lower(ssn) as low from customers where note is not null;
create materialized view totals as
  with t as (select o.id, o.total || c.mail as x from orders o join contacts c using (id))
  select id, x || coalesce((select max(ssn) from items i where i.id = t.id), '') as everything from t;
"""
MARKER = re.compile(r"mk_([a-z]+)_([a-z]+)_", re.IGNORECASE)


@dataclass(frozen=True)
class Database:
    connection: psycopg.Connection[tuple[object, ...]]
    catalog: Catalog


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with Postgres() as server:
        server.psql(SETUP)
        where = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres options='-c statement_timeout=500'"
        with psycopg.connect(where, autocommit=True) as connection:
            yield Database(connection, read(connection.cursor()))


@dataclass
class Writer:
    """Writes random SQL. `scope` is what a query sees: alias -> columns."""

    rng: random.Random
    count: int = 0
    ctes: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def alias(self) -> str:
        self.count += 1
        return f"a{self.count}"

    def column(self, scope: dict[str, tuple[str, ...]]) -> str:
        alias = self.rng.choice(list(scope))
        name = self.rng.choice(scope[alias])
        return name if self.rng.random() < 0.15 else f"{alias}.{name}"

    def value(self, scope: dict[str, tuple[str, ...]], depth: int) -> str:
        if not scope or self.rng.random() < 0.1:
            return "'k'"
        one = self.column(scope)
        if depth <= 0 or self.rng.random() < 0.4:
            return one
        two = self.value(scope, depth - 1)
        alias = self.rng.choice(list(scope))
        pick = self.rng.randrange(20)
        return [
            f"lower({one})", f"{one} || {two}", f"coalesce({two}, {one})", f"nullif({one}, 'x')",
            f"case when {one} is null then 'k' else {two} end", f"array[{one}, {two}]::text", f"{alias}::text",
            f"row_to_json({alias})::text", f"({alias}).{self.rng.choice(scope[alias])}", f"row({one}, {two})::text",
            f"(select {two} limit 1)", f"first_value({one}) over (order by {two})",
            f"greatest({one}, {two})", f"json_build_object('k', {one}) ->> 'k'", f"max({one}) over w",
            f"(select string_agg(x::text, ',') from ({self.query(scope, depth - 1)[0]}) x)",
            f"(select max(u) from unnest(array[{one}, {two}]) u)", f"({one} in (select {two}))::text",
            f"to_jsonb({alias})::text", f"format('%s', {alias}.*)",
        ][pick]  # fmt: skip

    def source(self, scope: dict[str, tuple[str, ...]], depth: int) -> tuple[str, str, tuple[str, ...], bool]:
        """(text, alias, columns, whether it may see what stands left of it)"""
        alias = self.alias()
        pick = self.rng.random()
        if pick > 0.95 and scope:
            # a function that may have any columns: what they are called must not hide the other names
            return (
                f"json_populate_record(null::items, row_to_json({self.rng.choice(list(scope))})) {alias}",
                alias,
                ("id",),
                True,
            )
        if self.ctes and pick < 0.25:
            name = self.rng.choice(list(self.ctes))
            return f"{name} {alias}", alias, self.ctes[name], False
        if depth > 0 and pick < 0.5:
            lateral = self.rng.random() < 0.4
            text, columns = self.query(scope if lateral else {}, depth - 1)
            names = tuple(self.alias() for _ in columns) if self.rng.random() < 0.3 else ()
            renamed = f"({', '.join(names)})" if names else ""
            return f"{'lateral ' if lateral else ''}({text}) {alias}{renamed}", alias, names or columns, lateral
        if depth > 0 and pick < 0.6 and scope:
            return f"string_to_table({self.value(scope, 1)}, '5') {alias}(x)", alias, ("x",), True
        name = self.rng.choice(list(TABLES))
        if self.rng.random() < 0.2:
            names = tuple(self.alias() for _ in TABLES[name][:2])
            return f"{name} {alias}({', '.join(names)})", alias, names + TABLES[name][2:], False
        return f"{name} {alias}", alias, TABLES[name], False

    def query(self, outer: dict[str, tuple[str, ...]], depth: int) -> tuple[str, tuple[str, ...]]:
        if depth > 0 and self.rng.random() < 0.2:
            left, names = self.select(outer, depth - 1, 2)
            right, _ = self.select(outer, depth - 1, 2)
            word = self.rng.choice(["union", "union all", "intersect", "except all"])
            return f"{left} {word} {right}", names
        return self.select(outer, depth, self.rng.choice([0, 0, 1, 2]))

    def select(self, outer: dict[str, tuple[str, ...]], depth: int, width: int) -> tuple[str, tuple[str, ...]]:
        """`width` 0: any select list, stars included."""
        inner: dict[str, tuple[str, ...]] = {}
        text = ""
        for place in range(self.rng.choice([1, 1, 2, 3])):
            item, alias, columns, _ = self.source({**outer, **inner}, depth)
            if place == 0:
                text = item
            else:
                join = self.rng.choice([", {}", " cross join {}", " join {} using (id)", " natural left join {}",
                                        " full join {} using (id)", " left join {} on true"])  # fmt: skip
                text += join.format(item)
            inner[alias] = columns
        scope = {**outer, **inner}
        targets: list[str] = []
        names: list[str] = []
        for _ in range(width or self.rng.choice([1, 2])):
            star = self.rng.random()
            if not width and star < 0.2:
                targets.append("*")
                names += [c for columns in inner.values() for c in columns]
            elif not width and star < 0.35:
                alias = self.rng.choice(list(inner))
                targets.append(f"{alias}.*" if star < 0.3 else f"({alias}).*")
                names += inner[alias]
            else:
                name = self.rng.choice(["id", "email", "x", self.alias()])
                targets.append(f"{self.value(scope, depth)} as {name}")
                names.append(name)
        where = f" where {self.value(scope, depth)} is not null" if self.rng.random() < 0.3 else ""
        window = f" window w as (order by {self.column(scope)})" if self.rng.random() < 0.8 else ""
        return f"select {', '.join(targets)} from {text}{where}{window}", tuple(names)

    def statement(self) -> str:
        ctes = []
        recursive = self.rng.random() < 0.4
        for _ in range(self.rng.choice([0, 0, 1, 2])):
            name = self.rng.choice(["customers", "orders", self.alias(), self.alias()])
            while name in self.ctes:
                name = self.alias()
            if recursive and self.rng.random() < 0.6:
                first, _ = self.select({}, 1, 2)
                second = f"select m, n || {self.rng.choice(['m', 'n'])} from {name} where length(n) < 60"
                ctes.append(f"{name}(n, m) as ({first} union {second})")
                self.ctes[name] = ("n", "m")
            elif self.rng.random() < 0.3:
                ctes.append(f"{name} as ({self.modification()})")
                self.ctes[name] = ("id", "x")
            else:
                text, columns = self.query({}, 1)
                ctes.append(f"{name} as ({text})")
                self.ctes[name] = columns
        start = f"with {'recursive ' if recursive else ''}{', '.join(ctes)} " if ctes else ""
        body = self.modification() if self.rng.random() < 0.2 else self.query({}, 3)[0]
        return start + body

    def modification(self) -> str:
        table = self.rng.choice(["customers", "orders", "items"])
        columns = TABLES[table]
        one, two = self.rng.sample(columns, 2)
        returning = self.rng.choice(["*", f"id, {one} || 'k' as x", f"id, {two} as x", f"{table}::text, id"])
        kind = self.rng.randrange(4)
        if kind == 0:
            return f"insert into {table} ({one}, {two}) {self.select({}, 1, 2)[0]} returning {returning}"
        if kind == 1:
            item, alias, names, _ = self.source({}, 1)
            value = self.value({alias: names, table: columns}, 1)
            return f"update {table} set {one} = {value}, ({two}) = row('k') from {item} returning {returning}"
        if kind == 2:
            item = self.source({}, 1)[0]
            return f"delete from {table} using {item} returning {returning}"
        return f"insert into {table} {self.query({}, 1)[0]} returning {returning}"


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(min_value=0, max_value=2**40))
def test_every_value_is_explained(database: Database, seed: int) -> None:
    text = Writer(random.Random(seed)).statement()
    cursor = database.connection.cursor()
    cursor.execute("begin")
    try:
        cursor.execute(text.encode())
    except psycopg.Error:
        return  # a random text that means nothing
    else:
        rows = cursor.fetchmany(50)
        names = [column.name for column in cursor.description or ()]
    finally:
        cursor.execute("rollback")
    request = Understanding().request(text)
    assert request.refusal is None, text
    assert influences(request, database.catalog, 0) is not None, text
    found = outputs(request, database.catalog, statement=0)
    if "json_populate_record" in text and (found is None or any(output.sources is None for output in found)):
        return  # the columns of its row are not known: no claim is made
    assert found is not None, text
    assert [output.name for output in found] == names, text
    for index, output in enumerate(found):
        seen = {f"public.{t}.{c}" for row in rows for t, c in MARKER.findall(str(row[index]).lower())}
        assert output.sources is not None, (text, output)
        assert seen <= output.sources, (text, output, seen)
