"""What COPY sends of masked columns, in every dress."""

from __future__ import annotations

import pytest

from tests.support.attacks import Attack, Attacker

WITHHELD = "withheld because it may quote masked columns"

SENDING = [
    Attack("COPY of the table", "M", ["COPY customers TO STDOUT"], r"^1\tname1\tu\*\*\*@e\*\*\*\.org\t\*\*\*\t\\N\tn$"),
    Attack("COPY of a query", "M", ["COPY (SELECT ssn FROM customers) TO STDOUT"], r"^\*\*\*$"),
    Attack("COPY of a view", "M", ["COPY (SELECT * FROM nested) TO STDOUT WITH CSV"], r"^1,u\*\*\*@e\*\*\*\.org$"),
    Attack("COPY of an expression", "M", ["COPY (SELECT id, lower(email) FROM customers) TO STDOUT CSV"],
        r"^1,\*\*\*$"),
    Attack("COPY of a row", "M", ["COPY (SELECT c FROM customers c) TO STDOUT"], r"^\*\*\*$"),
    Attack("COPY of JSON", "M", ["COPY (SELECT row_to_json(c) FROM customers c) TO STDOUT"], r"^\*\*\*$"),
    Attack("COPY of RETURNING", "AMA", ["BEGIN", "COPY (UPDATE customers SET note = 'n' RETURNING ssn) TO STDOUT",
        "ROLLBACK"], r"^\*\*\*$"),
    Attack("COPY of a partition", "M", ["COPY parted_1 TO STDOUT"], r"^1\tu\*\*\*@e\*\*\*\.org$"),
    Attack("COPY of a partitioned table", "M", ["COPY parted TO STDOUT"], WITHHELD),
    Attack("COPY of chosen columns", "M", ["COPY customers (note, email, id) TO STDOUT"],
        r"^n\tu\*\*\*@e\*\*\*\.org\t1$"),
    Attack("COPY with a header", "M", ["COPY customers (id, email) TO STDOUT CSV HEADER"], r"^id,email\n1,u\*\*\*@"),
    Attack("COPY in the oldest words", "M", ["COPY customers (email) TO STDOUT WITH DELIMITER '|' NULL AS ''"],
        r"^u\*\*\*@"),
    Attack("COPY with quotes", "M", ["COPY customers (id, email) TO STDOUT CSV QUOTE 'u' FORCE QUOTE email"],
        r"^1,uuu\*\*\*@"),
    Attack("COPY with a guess as NULL", "M", ["COPY customers (email) TO STDOUT (NULL 'user2@example.org')"],
        r"^u\*\*\*@e\*\*\*\.org\nu\*\*\*@e\*\*\*\.org$"),
    Attack("COPY with a guess as NULL of CSV", "M",
        ["COPY customers (email) TO STDOUT (FORMAT csv, NULL 'user2@example.org')"],
        r"^u\*\*\*@e\*\*\*\.org\nu\*\*\*@e\*\*\*\.org$"),
    Attack("COPY in another encoding", "D", ["COPY customers TO STDOUT (ENCODING 'SJIS')"], "its encoding is sjis"),
    Attack("COPY in another encoding, set before", "AMA", ["SET client_encoding = 'SJIS'", "COPY customers TO STDOUT",
        "RESET client_encoding"], "in client_encoding UTF8 only", last=True),
    Attack("COPY in another encoding, set in one text", "MA", ["SET client_encoding = 'SJIS'; COPY customers TO STDOUT",
        "RESET client_encoding"], "in client_encoding UTF8 only", last=True),
    Attack("COPY in another encoding, set on the way", "MA",
        ["COPY (SELECT set_config('client_encoding', 'SJIS', false), email FROM customers) TO STDOUT",
        "RESET client_encoding"], r"SJIS\tu\*\*\*@|lockgate: ", last=True),
    Attack("COPY of statistics", "M", ["COPY pg_statistic TO STDOUT"], "permission denied"),
    Attack("COPY of a view's statistics", "M",
        ["COPY (SELECT most_common_vals, histogram_bounds FROM pg_stats) TO STDOUT"], r"^(\*\*\*|\\N)\t(\*\*\*|\\N)$"),
    Attack("COPY of what can't be told", "D", ["COPY (SELECT (c).* FROM (SELECT c FROM customers c) x) TO STDOUT"],
        "it can't be told whether COPY would send"),
    Attack("COPY behind another", "M", ["COPY orders TO STDOUT; COPY customers (ssn) TO STDOUT"], r"^\*\*\*$"),
    Attack(r"\copy", "MA", [r"\copy customers (ssn, id) TO STDOUT"], r"^\*\*\*\t1$"),
    Attack(r"\copy of a query", "MA", [r"\copy (SELECT ssn FROM customers) TO PSTDOUT CSV HEADER"], r"^ssn\n\*\*\*$"),
    Attack("COPY to a file", "D", ["COPY customers TO '/tmp/lockgate-attack'"], "lockgate: "),
    Attack("COPY to a program", "D", ["COPY customers TO PROGRAM 'cat'"], "lockgate: "),
]  # fmt: skip


@pytest.mark.parametrize("attack", SENDING, ids=str)
def test_no_value_of_a_masked_column_is_copied_out(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)
