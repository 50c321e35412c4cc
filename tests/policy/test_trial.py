from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.policy import trial
from lockgate.understand.postgresql import Understanding
from lockgate.values.identity import Asker
from tests.policy.given import CITY, EMAIL, FOUR_QUESTIONS, SSN, engine, request, statement

ALL = (EMAIL, SSN, CITY, "sales.customers.email", "public.orders.note")
PUBLIC = (EMAIL, SSN, CITY)


@pytest.mark.parametrize(
    ("objects", "columns"),
    [
        (("public.customers",), PUBLIC),
        (("shop.public.customers",), PUBLIC),
        (("customers",), (*PUBLIC, "sales.customers.email")),
        (("sales.customers", "orders"), ALL[3:]),
        (("Customers", "public", "customer", "public.customers.email", "role:customers"), ()),
        ((), ()),
    ],
)
def test_the_columns_of_a_request_are_those_of_the_relations_it_names(
    objects: tuple[str, ...], columns: tuple[str, ...]
) -> None:
    asked = request(statement("SELECT", "read", objects=objects))
    assert trial.named_columns(asked, ALL) == columns


def said(tmp_path: Path, text: str, *groups: str) -> str:
    judge = engine(tmp_path)
    claims = trial.stand_in("ann", "ann", groups)
    tried = trial.run(judge, Understanding(), Asker(claims, "orders", "shop", "app"), text)
    return trial.sentence(judge.bundle, tried).replace(f"{tmp_path}/", "")


def test_an_allowed_statement_in_a_sentence(tmp_path: Path) -> None:
    assert said(tmp_path, "SELECT email FROM customers", "engineers", "pii-readers") == (
        "ann may run this on orders. Permitted by a.cedar:1 (a.cedar:1)."
    )


def test_masks_are_said(tmp_path: Path) -> None:
    assert said(tmp_path, "SELECT email FROM customers", "engineers").endswith(
        f"{EMAIL} is masked (partial) by a.cedar:5 (a.cedar:5). {SSN} is masked (partial) by a.cedar:5 (a.cedar:5)."
    )


def test_a_held_statement_in_a_sentence(tmp_path: Path) -> None:
    assert said(tmp_path, "DELETE FROM items", "engineers") == (
        "ann has to wait for a second person on orders: someone in dba, within 15 minutes "
        "(1 minute in an open transaction). Held by a.cedar:3 (a.cedar:3)."
    )


def test_a_grant_is_said(tmp_path: Path) -> None:
    judge = engine(tmp_path, FOUR_QUESTIONS.replace("@timeout", '@grant("8h") @timeout'))
    claims = trial.stand_in("ann", "ann", ("engineers",))
    tried = trial.run(judge, Understanding(), Asker(claims, "orders", "shop", "app"), "DELETE FROM items")
    assert "They may let the like of it pass for up to 8 hours." in trial.sentence(judge.bundle, tried)


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("SELECT city FROM customers ORDER BY email", "sort by it"),
        ("SELECT c.city FROM shops s JOIN public.customers c ON c.email = s.contact", "join by it"),
        ("DELETE FROM shop.public.customers WHERE email LIKE 'a%'", "match it with patterns"),
        ("SELECT count(*) FROM (SELECT email AS e FROM customers) x GROUP BY e", "group by it"),
        ("SELECT city FROM customers WHERE email = 'a@b.example'", None),
        ("SELECT city FROM customers, elsewhere.lists WHERE lists.id = 7 ORDER BY city", None),
        ("SET search_path = x", None),
    ],
)
def test_what_a_masked_column_is_used_for_is_tried_without_a_catalogue(
    tmp_path: Path, text: str, use: str | None
) -> None:
    infer = '@id("no-guessing") forbid (principal, action == Action::"infer", resource);'
    judge = engine(tmp_path, FOUR_QUESTIONS + infer)
    claims = trial.stand_in("ann", "ann", ("engineers",))
    verdict = trial.run(judge, Understanding(), Asker(claims, "orders", "shop", "app"), text).verdict
    assert (verdict.policy == "no-guessing") == (use is not None)
    if use is not None:
        assert verdict.reason == f"{EMAIL} is masked for you, and you may not {use}"


def test_a_denied_statement_in_a_sentence(tmp_path: Path) -> None:
    assert said(tmp_path, "SELECT 1") == (
        "ann may not run this on orders: no policy permits ann to read in orders (SELECT). "
        "Decided by default-deny (no policy permits it)."
    )


def test_a_refusal_in_a_sentence(tmp_path: Path) -> None:
    text = said(tmp_path, "SELEC 1", "engineers")
    assert 'syntax error at or near "SELEC"' in text
    assert text.endswith("Decided by lockgate:refusal (built in).")
