"""What bob, who may neither see nor use a column, may learn of it: nothing, and what else he has to do he can do."""

from __future__ import annotations

import pytest

from tests.support.attacks import Attack, Attacker

GUESSING = [
    Attack("a look-up", "D", ["SELECT id FROM blind WHERE code = 'guess1'"], "you may not look it up"),
    Attack("a look-up turned around", "D", ["SELECT id FROM blind WHERE 'guess1' = code"], "you may not look it up"),
    Attack("a list", "D", ["SELECT id FROM blind WHERE code IN ('guess1', 'guess2')"], "you may not look it up"),
    Attack("a sub-query's name", "D", ["SELECT id FROM (SELECT id, code c FROM blind) x WHERE c = 'guess1'"],
        "you may not look it up"),
    Attack("a field of a row", "D", ["SELECT id FROM blind WHERE (blind).code = 'guess1'"], "you may not look it up"),
    Attack("a write", "D", ["UPDATE blind SET id = id WHERE code = 'guess1'"], "you may not look it up"),
    Attack("a conflict", "D",
        ["INSERT INTO blind (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 1 WHERE blind.code = 'guess1'"],
        "you may not look it up"),
    Attack("rows of a copy", "D", ["INSERT INTO scratch SELECT 1, 'x' FROM blind WHERE code = 'guess1'"],
        "you may not look it up"),
    Attack("MERGE", "D", ["MERGE INTO scratch s USING blind b ON b.code = 'guess1' WHEN MATCHED THEN DO NOTHING"],
        "you may not look it up"),
    Attack("MERGE with a condition", "D",
        ["MERGE INTO scratch s USING blind b ON s.id = b.id WHEN MATCHED AND b.code > 'guess1' THEN DO NOTHING"],
        "compare it by order"),
    Attack("halving", "D", ["SELECT id FROM blind WHERE code < 'guess1'"], "compare it by order"),
    Attack("halving dates", "D", ["SELECT id FROM blind WHERE day BETWEEN '1980-02-01' AND '1980-03-01'"],
        "compare it by order"),
    Attack("the planner's estimate", "D", ["EXPLAIN SELECT * FROM blind WHERE code < 'guess1'"], "compare it by order"),
    Attack("LATERAL", "D", ["SELECT id FROM blind, LATERAL (SELECT 1 WHERE code > 'guess1') l LIMIT 1"],
        "compare it by order"),
    Attack("a row as JSON", "D", ["SELECT id FROM blind WHERE row_to_json(blind)::text > 'guess1'"],
        "compare it by order"),
    Attack("COPY", "D", ["COPY (SELECT id FROM blind WHERE code > 'guess1') TO STDOUT"], "compare it by order"),
    Attack("sorting", "D", ["SELECT id FROM blind ORDER BY code LIMIT 1"], "you may not sort by it"),
    Attack("sorting by a sub-query", "D", ["SELECT id FROM blind ORDER BY 1, (SELECT code)"], "you may not sort by it"),
    Attack("sorting whole rows", "D", ["SELECT * FROM blind ORDER BY blind"], "you may not sort by it"),
    Attack("sorting in a window", "D", ["SELECT row_number() OVER (ORDER BY code), id FROM blind LIMIT 1"],
        "you may not sort by it"),
    Attack("sorting behind WITH", "D",
        ["WITH x AS MATERIALIZED (SELECT id, code || '' AS c FROM blind) SELECT id FROM x ORDER BY c"],
        "you may not sort by it"),
    Attack("sorting by a cursor", "D", ["DECLARE c CURSOR WITH HOLD FOR SELECT id FROM blind ORDER BY code"],
        "you may not sort by it"),
    Attack("sorting what is copied", "D", ["COPY (SELECT id FROM blind ORDER BY code) TO STDOUT"],
        "you may not sort by it"),
    Attack("a pattern", "D", ["SELECT count(*) FROM blind WHERE code LIKE 'guess1%'"], "match it with patterns"),
    Attack("a regular expression", "D", ["SELECT count(*) FROM blind WHERE code ~ '^guess1'"],
        "match it with patterns"),
    Attack("a pattern over a row", "D", ["SELECT id FROM blind WHERE blind::text LIKE '%guess1%'"],
        "match it with patterns"),
    Attack("a wait", "D", ["SELECT pg_sleep(0) FROM blind WHERE code LIKE 'guess1%'"], "match it with patterns"),
    Attack("a wait in CASE", "D", ["SELECT CASE WHEN code LIKE 'guess1%' THEN pg_sleep(0) END FROM blind LIMIT 1"],
        "match it with patterns"),
    Attack("a lock", "D", ["SELECT pg_try_advisory_lock(id) FROM blind WHERE code LIKE 'guess1%'"],
        "match it with patterns"),
    Attack("a sequence", "D", ["SELECT nextval('s') FROM blind WHERE code LIKE 'guess1%'"], "match it with patterns"),
    Attack("groups", "D", ["SELECT count(*) FROM blind GROUP BY code"], "you may not group by it"),
    Attack("DISTINCT", "D", ["SELECT DISTINCT code FROM blind LIMIT 1"], "you may not group by it"),
    Attack("DISTINCT in an aggregate", "D", ["SELECT count(DISTINCT code) FROM blind"], "you may not group by it"),
    Attack("UNION", "D", ["SELECT code FROM blind UNION SELECT 'guess1'"], "you may not group by it"),
    Attack("INTERSECT", "D", ["SELECT code FROM blind INTERSECT SELECT email FROM customers"],
        "you may not group by it"),
    Attack("PARTITION BY", "D", ["SELECT rank() OVER (PARTITION BY code) FROM blind LIMIT 1"],
        "you may not group by it"),
    Attack("a join", "D", ["SELECT b.id FROM blind b JOIN customers c ON b.code = c.email LIMIT 1"],
        "you may not join by it"),
    Attack("a natural join", "D", ["SELECT * FROM blind NATURAL JOIN (SELECT 'guess1' AS code) y"],
        "you may not join by it"),
    Attack("how many rows", "D", ["SELECT id FROM blind LIMIT (SELECT ascii(code) FROM blind LIMIT 1)"],
        "choose rows by it"),
    Attack("a set of rows", "D", ["SELECT generate_series(1, length(code)) FROM blind LIMIT 1"], "choose rows by it"),
    Attack("taken apart", "D", ["SELECT unnest(string_to_array(code, '@')) FROM blind LIMIT 1"], "choose rows by it"),
    Attack("EXISTS", "D", ["SELECT id FROM blind WHERE EXISTS (SELECT 1 FROM orders WHERE length(code) > 3)"],
        "choose rows by it"),
    Attack("a path into JSON", "D",
        ['SELECT id FROM blind WHERE jsonb_path_exists(to_jsonb(blind), \'$.code ? (@ like_regex "guess1")\')'],
        "choose rows by it"),
    Attack("an error", "D", ["SELECT 1 / (ascii(code) - 117) FROM blind"], "choose rows by it"),
    Attack("an error of CASE", "D", ["SELECT 1 / (CASE WHEN code LIKE 'guess1%' THEN 0 ELSE 1 END) FROM blind"],
        "match it with patterns"),
    Attack("an error of a cast", "D", ["SELECT code::int FROM blind"], "choose rows by it"),
]  # fmt: skip


@pytest.mark.parametrize("attack", GUESSING, ids=str)
def test_what_is_masked_is_not_guessed_either(bob: Attacker, attack: Attack) -> None:
    bob.run(attack)


FINE = [
    Attack("seeing it masked", "M", ["SELECT code FROM blind WHERE id = 2"], r"^\*\*\*$"),
    Attack("computing with it", "M", ["SELECT code || '', length(code) FROM blind WHERE id = 2"], r"^\*\*\*\|$"),
    Attack("its greatest", "M", ["SELECT max(code), count(code) FROM blind"], r"^\*\*\*\|$"),
    Attack("all of it", "M", ["COPY blind TO STDOUT"], r"^2\t\*\*\*\t\\N$"),
    Attack("looking for others", "A", ["SELECT b.id FROM blind b JOIN orders USING (id) WHERE id = 3 ORDER BY id"],
        "^3$"),
    Attack("writing it", "AMA", ["BEGIN", "UPDATE blind SET code = 'x' WHERE id = 1", "ROLLBACK"], r"^UPDATE 1$"),
    Attack("an address in a letter", "A", ["SELECT body FROM letters WHERE id = 1"], r"^write to \*\*\* at once$"),
    Attack("addresses in letters", "A",
        ["SELECT array_agg(body ORDER BY id), json_agg(body) FROM letters WHERE id < 3"],
        r'^{"write to \*\*\* at once","write to \*\*\* at once"}\|\["write to \*\*\* at once"'),
    Attack("addresses of a copy", "A", ["COPY letters TO STDOUT (FORMAT csv)"], r"^7,write to \*\*\* at once$"),
]  # fmt: skip


@pytest.mark.parametrize("attack", FINE, ids=str)
def test_who_may_not_guess_still_works(bob: Attacker, attack: Attack) -> None:
    bob.run(attack)
