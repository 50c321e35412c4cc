"""Columns that other maskers mask, by every channel."""

from __future__ import annotations

import pytest

from tests.support.attacks import Attack, Attacker

SHAPES = r"^[0-9A-Za-z_-]{16,}\|[^|@]+@[^|@]+\.[^|@]+\|90\|2001-05-01$"

MASKING = [
    Attack("columns", "M", ["SELECT who, mail, pin, joined FROM vault WHERE id = 1"], SHAPES),
    Attack("a sub-query", "M", ["SELECT who, mail, pin, joined FROM (SELECT * FROM vault WHERE id = 1) x"], SHAPES),
    Attack("WITH", "M", ["WITH x AS (SELECT * FROM vault WHERE id = 1) SELECT who, mail, pin, joined FROM x"], SHAPES),
    Attack("a cursor", "AMMA", ["BEGIN", "DECLARE c CURSOR FOR SELECT who, mail, pin, joined FROM vault ORDER BY id",
        "FETCH c", "COMMIT"], SHAPES),
    Attack("PREPARE", "MM", ["PREPARE p(int) AS SELECT who, mail, pin, joined FROM vault WHERE id = $1",
        "EXECUTE p(1)"], SHAPES),
    Attack("RETURNING", "AMA", ["BEGIN", "UPDATE vault SET id = id WHERE id = 1 RETURNING who, mail, pin, joined",
        "ROLLBACK"], SHAPES),
    Attack("an expression is nothing but redacted", "M",
        ["SELECT lower(who), mail || '', substr(pin, 3), joined + 1 FROM vault WHERE id = 1"],
        r"^\*\*\*\|\*\*\*\|\*\*\*\|$"),
    Attack("COPY", "M", ["COPY (SELECT who, mail, pin, joined FROM vault WHERE id = 1) TO STDOUT (DELIMITER '|')"],
        SHAPES),
    Attack("COPY as CSV", "M",
        ["COPY (SELECT who, mail, pin, joined FROM vault WHERE id = 1) TO STDOUT (FORMAT csv, DELIMITER '|')"], SHAPES),
    Attack("one value, two tables", "M", ["SELECT a.who = b.who FROM vault a, vault b LIMIT 1"], "^$"),
    Attack("a hash is the same twice", "M", ["SELECT who, who FROM vault WHERE id = 1"], r"^([^|]+)\|\1$"),
    Attack("rows that differ differ", "M", ["SELECT string_agg(who, '') FROM vault"], r"^\*\*\*$"),
    Attack("a union of two maskers", "M", ["SELECT who FROM vault UNION ALL SELECT email FROM customers LIMIT 1"],
        r"^\*\*\*$"),
    Attack("a copy into a column masked otherwise", "D", ["UPDATE vault SET who = pin"],
        "lockgate: copying public.vault.pin"),
    Attack("a copy into what cuts less", "D", ["UPDATE vault SET pin = mail"], "lockgate: copying public.vault.mail"),
    Attack("an error", "M", ["SELECT pin::int FROM vault"], "withheld because it may quote masked columns"),
]  # fmt: skip


@pytest.mark.parametrize("attack", MASKING, ids=str)
def test_what_other_maskers_leave_is_all_that_comes_out(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)
