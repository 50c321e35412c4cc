"""What looks like an attack and is everyday work."""

from __future__ import annotations

import pytest

from tests.support.attacks import Attack, Attacker

ORDINARY = [
    Attack("a join", "A", ["SELECT o.total, c.name FROM orders o JOIN customers c ON c.id = o.customer WHERE o.id = 2"],
        r"^20\|name2$"),
    Attack("groups", "A",
        ["SELECT c.name, sum(o.total) FROM orders o JOIN customers c ON c.id = o.customer GROUP BY 1 ORDER "
        "BY 2 LIMIT 1"], r"^name1\|10$"),
    Attack("a window", "A", ["SELECT id, rank() OVER (ORDER BY total DESC) FROM orders ORDER BY 2 LIMIT 1"],
        r"^100\|1$"),
    Attack("WITH", "A", ["WITH t AS (SELECT * FROM orders) SELECT count(*), max(total) FROM t"], r"^100\|1000$"),
    Attack("rows of an ordinary table", "A", ["SELECT o, to_json(o) FROM orders o WHERE id = 1"],
        r'^\(1,1,10\)\|\{"id":1,'),
    Attack("a plain column beside others", "A", ["SELECT id, initcap(name), note FROM customers WHERE id = 1"],
        r"^1\|Name1\|n$"),
    Attack("a count", "A", ["SELECT count(*) FROM customers"], "^100$"),
    Attack("a temporary setting", "AA", ["SELECT set_config('app.tenant', '7', false)",
        "SELECT current_setting('app.tenant')"], r"^7\n7$"),
    Attack("writing a classified column", "AMA", ["BEGIN",
        "UPDATE customers SET email = 'x@y.org' WHERE id = 1 RETURNING id", "ROLLBACK"], r"^1\nUPDATE 1$"),
    Attack("ON CONFLICT", "AMA", ["BEGIN",
        "INSERT INTO customers (id, name, email) VALUES (1, 'a', 'x@y.org') ON CONFLICT (id) DO UPDATE "
        "SET email = excluded.email RETURNING id", "ROLLBACK"], r"^1\nINSERT 0 1$"),
    Attack("a key's detail", "A", ["INSERT INTO orders (id) VALUES (1)"], r"Key \(id\)=\(1\) already exists"),
    Attack("COPY of an ordinary table", "A", ["COPY (SELECT id FROM orders ORDER BY id LIMIT 1) TO STDOUT"], "^1$"),
    Attack("information_schema", "A", ["SELECT data_type FROM information_schema.columns WHERE column_name = 'ssn'"],
        "^text$"),
    Attack("who is there", "A", ["SELECT count(*) > 0, max(state) FROM pg_stat_activity WHERE pid = pg_backend_pid()"],
        r"^t\|active$"),
    Attack("sizes", "A", ["SELECT n_live_tup IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'customers'"], "^t$"),
    Attack("widths", "A", ["SELECT avg_width > 0 FROM pg_stats WHERE attname = 'ssn'"], "^t$"),
    Attack(r"\d+", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", [r"\d+ customers", r"\d+ contacts", r"\d+ parted"],
        r"email\|text"),
    Attack(r"\d of everything", "AAAAAAAAAAAA", [r"\dtvms+", r"\di+", r"\df+ wipe", r"\du+", r"\dp", r"\dn+", r"\dx+",
        r"\dT+", r"\dX", r"\l+"], r"public\|customers\|table"),
    Attack(r"\sv and \sf", "AAAAA", [r"\sv contacts", r"\sf wipe"], "CREATE OR REPLACE VIEW"),
    Attack("what pg_dump sets", "A",
        ["SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = "
        "'restrict_nonsystem_relation_kind'"], "view, foreign-table|^$"),
    Attack("an EXECUTE in a text", "AA", ["PREPARE p AS SELECT count(*) FROM orders", "EXECUTE p"], "^100$"),
]  # fmt: skip


@pytest.mark.parametrize("attack", ORDINARY, ids=str)
def test_ordinary_work_raises_no_alarm(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)
