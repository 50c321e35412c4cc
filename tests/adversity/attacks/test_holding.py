"""What needs a second person, by every way to spell it."""

from __future__ import annotations

import pytest

from tests.support.attacks import Attack, Attacker

HELD = "nobody of dba approved within 1 s"

DESTROYING = [
    Attack("plainly", "H", ["DELETE FROM scratch"], HELD),
    Attack("in WITH", "H", ["WITH d AS (DELETE FROM scratch RETURNING *) SELECT count(*) FROM d"], HELD),
    Attack("in WITH of an INSERT", "H",
        ["WITH d AS (DELETE FROM scratch RETURNING *) INSERT INTO scratch SELECT * FROM d WHERE id < 0"], HELD),
    Attack("by EXPLAIN ANALYZE", "H", ["EXPLAIN ANALYZE DELETE FROM scratch"], HELD),
    Attack("by EXPLAIN with options", "H", ["EXPLAIN (ANALYZE 1, TIMING off) DELETE FROM scratch"], HELD),
    Attack("by COPY", "H", ["COPY (DELETE FROM scratch RETURNING id) TO STDOUT"], HELD),
    Attack("by MERGE", "H", ["MERGE INTO scratch s USING orders o ON s.id = o.id WHEN MATCHED THEN DELETE"], HELD),
    Attack("behind another statement", "H", ["SELECT 1; DELETE FROM scratch"], HELD),
    Attack("behind a comment", "H", ["/* SELECT 1 */ DELETE/**/FROM scratch -- SELECT"], HELD),
    Attack("in a transaction", "AHA", ["BEGIN", "DELETE FROM scratch", "ROLLBACK"], HELD),
    Attack("by PREPARE", "AH", ["PREPARE p AS DELETE FROM scratch", "EXECUTE p"], HELD),
    Attack("by a cursor's name", "H", ["DELETE FROM scratch WHERE CURRENT OF c"], HELD),
    Attack("by a rule's view", "D", ["DELETE FROM ONLY scratch *"], "syntax error"),
    Attack("in a block", "D", ["DO $$ BEGIN DELETE FROM scratch; END $$"], "no policy permits"),
    Attack("in a function", "D", ["SELECT wipe()"], "no policy permits"),
    Attack("in a function in FROM", "D", ["SELECT * FROM wipe()"], "no policy permits"),
    Attack("in a function in VALUES", "D", ["INSERT INTO scratch VALUES (wipe(), '')"], "no policy permits"),
    Attack("in a function in LIMIT", "D", ["SELECT 1 LIMIT wipe()"], "no policy permits"),
    Attack("in a function that is planned", "D", ["EXPLAIN SELECT wipe()"], "no policy permits"),
    Attack("in an overloaded function", "D", ["SELECT abs('x'::text)"], "no policy permits"),
    Attack("in an overloaded function, prepared", "DH", ["PREPARE p AS SELECT abs('x'::text)", "EXECUTE p"],
        "no policy permits"),
    Attack("by query_to_xml", "D", ["SELECT query_to_xml('DELETE FROM scratch', true, true, '')"], "no policy permits"),
    Attack("by CALL", "D", ["CALL wipe()"], "no policy permits"),
    Attack("DROP", "D", ["DROP TABLE scratch"], "schema changes go through migrations"),
    Attack("DROP in a transaction", "D", ["BEGIN; DROP TABLE scratch; COMMIT"], "schema changes go through migrations"),
    Attack("ALTER", "D", ["ALTER TABLE scratch RENAME TO gone"], "schema changes go through migrations"),
    Attack("EXECUTE of what isn't known", "D", ["EXECUTE nobody_made_this"], "was not made on this connection"),
    Attack("as somebody else", "AD", ["SET ROLE postgres", "SET SESSION AUTHORIZATION postgres"], "permission denied"),
]  # fmt: skip


@pytest.mark.parametrize("attack", DESTROYING, ids=str)
def test_nothing_runs_without_its_second_key(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)
