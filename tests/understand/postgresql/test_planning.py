"""What may be planned by the agent's own role: nothing that could run a function of the database's."""

from __future__ import annotations

import pytest

from lockgate.understand.postgresql import Understanding
from lockgate.understand.postgresql.planning import plannable
from lockgate.values.catalog import Catalog, Relation, Routine
from tests.understand.postgresql.catalogs import catalog, relation

EVIL = Routine("public", "evil", "i", False, "sql", body="SELECT 1", unary=True, of_row=True)
TABLES = [
    relation("orders", "id total"),
    relation("app.people", "id name"),
    relation("twice", "id"),
    relation("app.twice", "id"),
    relation("big", "id", "SELECT orders.id FROM public.orders WHERE total > 10::numeric"),
    relation("over_big", "id", "SELECT big.id FROM public.big"),
    relation("calling", "id", "SELECT public.evil(orders.id) AS id FROM public.orders"),
    relation("lost", "id", None, "v"),
    Relation(7, "public", "fires", "r", (), fires=True),
]
PLAIN = catalog(*TABLES)
DATABASE = Catalog(PLAIN.database, PLAIN.by_oid, PLAIN.by_name, frozenset({"evil", "lower"}), {"evil": (EVIL,)})


@pytest.mark.parametrize(
    ("text", "schemas"),
    [
        ("SELECT * FROM orders WHERE id = $1 AND upper('x') = 'X'", {"public"}),
        ("SELECT * FROM public.orders o JOIN people p ON o.id = p.id", {"public", "app"}),
        ("DELETE FROM orders WHERE total < 1.5 AND 'x'::text = CAST('x' AS varchar(3))", {"public"}),
        ("WITH x AS (SELECT 1) SELECT * FROM x", set()),
        ("SELECT * FROM over_big", {"public"}),
        ("UPDATE orders SET total = 1", {"public"}),
    ],
)
def test_plain_data(text: str, schemas: set[str]) -> None:
    found = plannable(Understanding().request(text), DATABASE)
    assert found is not None
    assert set(found) == schemas


@pytest.mark.parametrize(
    "text",
    ["SELECT evil(1)", "SELECT lower('x')", "SELECT nextval('s')", "SELECT (1).evil", "SELECT o.evil FROM orders o",
     "SELECT 'x'::mood", "SELECT 'x'::app.text", "SELECT 1 <?> 2", "SELECT * FROM calling", "SELECT * FROM lost",
     "SELECT * FROM nowhere", "SELECT * FROM twice", "INSERT INTO fires VALUES (1)", "SELECT 1; SELECT 2", "",
     "SELEC 1", "EXPLAIN SELECT 1", "SELECT a INTO b FROM orders", "DROP TABLE orders", "COPY orders TO STDOUT",
     "SELECT * FROM orders TABLESAMPLE evil(1)", "VALUES (pg_read_file('x'))"],
)  # fmt: skip
def test_everything_else_is_not_planned(text: str) -> None:
    assert plannable(Understanding().request(text), DATABASE) is None
