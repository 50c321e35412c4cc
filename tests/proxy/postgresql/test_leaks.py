"""Ways out that no mask stands in: what is refused before it is sent, and what may go on to be masked."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lockgate.masking import Held, resolve
from lockgate.proxy.postgresql.catalog import Snapshot
from lockgate.proxy.postgresql.leaks import fires, leak, used
from lockgate.understand.postgresql import Understanding
from lockgate.values.statement import Request
from lockgate.values.use import Use
from lockgate.values.verdict import Decision, Mask, Verdict
from tests.proxy.house import EMAIL, SHOP, catalog, relation

SNAPSHOT = Snapshot(SHOP, resolve((EMAIL,), SHOP, {}, {}, {}), frozenset())
VERDICT = Verdict(Decision.ALLOW, "p", "", 1, (Mask(EMAIL, "redact", "pii"),))


def why(text: str, *, altered: bool = False) -> str | None:
    refusal = leak(VERDICT, [Understanding().request(text)], SNAPSHOT, altered)
    return None if refusal is None else refusal.message


@pytest.mark.parametrize(
    "text",
    [
        "COPY customers TO STDOUT",
        "COPY (SELECT upper(email) FROM customers) TO STDOUT CSV",
        "COPY customers (id, note) TO STDOUT (ENCODING 'LATIN1')",
        "COPY customers (id, note) TO '/tmp/f'",
        "COPY customers FROM STDIN",
        "COPY (UPDATE customers SET note = '' RETURNING email) TO STDOUT",
    ],
)
def test_a_copy_that_can_be_masked_on_its_way_or_shows_nothing(text: str) -> None:
    assert why(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COPY customers TO '/tmp/f'", "to a file or a program is refused"),
        ("COPY (SELECT id, upper(email) FROM customers) TO PROGRAM 'cat'", "to a file or a program is refused"),
        ("COPY customers TO STDOUT (ENCODING 'LATIN1')", "is refused: its encoding is latin1"),
        ("COPY customers TO STDOUT (FORMAT 'newer')", "is refused: its format is neither"),
        ("COPY nowhere TO STDOUT", "it can't be told whether COPY would send"),
        ("COPY (SELECT f(email) FROM nowhere) TO STDOUT", "it can't be told whether COPY would send"),
        ("COPY (INSERT INTO scratch SELECT id, email FROM customers RETURNING 1) TO STDOUT", "copying"),
        ("SELECT 1; COPY customers TO PROGRAM 'cat'", "to a file or a program is refused"),
    ],
)
def test_a_copy_that_can_not(text: str, expected: str) -> None:
    message = why(text)
    assert message is not None
    assert expected in message
    assert EMAIL in message


def test_behind_a_change_of_the_catalog_no_copy_can_be_told() -> None:
    assert "has changed the catalog" in (why("COPY customers (id) TO STDOUT", altered=True) or "")


FIRING = catalog(
    replace(relation(1, "orders", "id"), fires=True),
    replace(relation(2, "a.b", "id"), fires=True),
    relation(3, "scratch", "id"),
    replace(relation(4, "screened", "id"), screens=True),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("INSERT INTO orders VALUES (1)", True),
        ("UPDATE public.orders SET id = 2", True),
        ("WITH d AS (DELETE FROM orders RETURNING 1) SELECT * FROM d", True),
        ('TRUNCATE "a.b"', True),
        ('DELETE FROM public."a.b"', True),
        ("COPY orders FROM STDIN", True),
        ("SELECT 1; INSERT INTO orders VALUES (1)", True),
        ("SELECT * FROM orders", False),
        ("SELECT count(*) FROM screened", True),
        ("COPY screened TO STDOUT", True),
        ("DELETE FROM scratch USING screened", True),
        ("INSERT INTO scratch VALUES (1)", False),
        ("SELECT 1", False),
    ],
)
def test_what_sets_off_code_of_the_databases_own(text: str, expected: bool) -> None:
    assert fires([Understanding().request(text)], FIRING) is expected


# --- what is used without being shown


def _read(text: str) -> Request:
    return Understanding().request(text)


def test_uses_are_those_of_all_that_may_run() -> None:
    requests = [_read("SELECT id FROM customers ORDER BY email"), _read("SELECT 1 FROM customers GROUP BY email")]
    assert used(requests, SNAPSHOT) == {EMAIL: frozenset((Use.ORDER, Use.GROUP))}
    assert used([_read("SELECT email FROM customers WHERE note = 'x'")], SNAPSHOT) == {}


def test_a_renamed_column_is_used_as_the_one_it_was() -> None:
    renamed = catalog(relation(101, "customers", "id", "mail", "note"))
    of = Snapshot(renamed, resolve([EMAIL], renamed, {}, {}, {(101, 2): Held(frozenset({EMAIL}))}), frozenset())
    assert used([_read("SELECT id FROM customers ORDER BY mail")], of) == {EMAIL: frozenset((Use.ORDER,))}


@pytest.mark.parametrize("text", ["SELECT id FROM newcomer ORDER BY 1", "SELECT query_to_xml('x', true, true, '')"])
def test_what_may_look_at_anything_is_not_told(text: str) -> None:
    assert used([_read("SELECT 1"), _read(text)], SNAPSHOT) is None
