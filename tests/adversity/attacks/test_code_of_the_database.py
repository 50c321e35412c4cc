"""What the database's own code says on the side, and what is its code only to some releases."""

from __future__ import annotations

import pytest

from tests.support.attacks import Attack, Attacker

WITHHELD = "withheld because it may quote masked columns"

SAYING = [
    Attack("a notice of a policy for rows", "M", ["SELECT id FROM screened"], WITHHELD),
    Attack("a notice of a policy for rows, by a count", "M", ["SELECT count(*) FROM screened"], WITHHELD),
    Attack("a policy for rows that the owner of a view is above", "M", ["SELECT id FROM screened_too"], r"^1$"),
    Attack("a notice of a policy for rows, by COPY", "M", ["COPY (SELECT id FROM screened) TO STDOUT"], WITHHELD),
    Attack("a notice of a policy for rows, by EXISTS", "M", ["SELECT EXISTS (SELECT FROM screened)"], WITHHELD),
    Attack("a message raised as another kind", "M", ["SELECT 1 FROM orders WHERE id = raise('23505')"], WITHHELD),
    Attack("a message raised as no permission", "M", ["SELECT 1 FROM orders WHERE id = raise('42501')"], WITHHELD),
    Attack("a message raised as cancelled", "M", ["SELECT 1 FROM orders WHERE id = raise('57014')"], WITHHELD),
    Attack("a payload of a trigger", "MM", ["LISTEN changes", "INSERT INTO reported VALUES (1)"],
        r'Asynchronous notification "changes\x00\x00"'),
]  # fmt: skip


@pytest.mark.parametrize("attack", SAYING, ids=str)
def test_what_code_of_the_database_says_is_withheld(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)


OLDER = [
    Attack("a function called json_scalar", "D", ["SELECT json_scalar('x')"], "no policy permits"),
    Attack("a function called json_value", "M", ["SELECT json_value('x', 'y')"],
        "it can't be told|no policy permits|may depend on"),
    Attack("a function called json_array", "D", ["SELECT json_array('x'::text)"], "no policy permits"),
    Attack("a function called json_arrayagg", "D", ["SELECT json_arrayagg('x'::text)"], "no policy permits"),
    Attack("a function called merge_action", "D", ["SELECT merge_action()"], "no policy permits"),
    Attack("one in WHERE", "D", ["SELECT 1 FROM orders WHERE json_scalar('x') > ''"], "no policy permits"),
    Attack("one in a plan", "D", ["EXPLAIN SELECT json_scalar('x')"], "no policy permits"),
    Attack("one that is prepared", "DD", ["PREPARE p AS SELECT json_scalar('x')", "EXECUTE p"], "no policy permits"),
    Attack("a column called system_user", "M", ["SELECT lower(system_user) FROM shadows LIMIT 1"], r"^\*\*\*$"),
    Attack("a column called system_user, plainly", "M", ["SELECT system_user FROM shadows LIMIT 1"], r"^u\*\*\*@"),
]  # fmt: skip


@pytest.mark.parametrize("attack", OLDER, ids=str)
def test_words_of_newer_releases_are_calls_to_older_ones(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)
