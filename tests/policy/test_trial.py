from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.policy import trial
from lockgate.understand.postgresql import Understanding
from lockgate.values.identity import Asker
from tests.policy.given import CITY, EMAIL, SSN, engine, request, statement

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
        "ann has to wait for a second person on orders: someone in dba, within 15 minutes. "
        "Held by a.cedar:3 (a.cedar:3)."
    )


def test_a_denied_statement_in_a_sentence(tmp_path: Path) -> None:
    assert said(tmp_path, "SELECT 1") == (
        "ann may not run this on orders: no policy permits ann to read in orders (SELECT). "
        "Decided by default-deny (no policy permits it)."
    )


def test_a_refusal_in_a_sentence(tmp_path: Path) -> None:
    text = said(tmp_path, "SELEC 1", "engineers")
    assert 'syntax error at or near "SELEC"' in text
    assert text.endswith("Decided by lockgate:refusal (built in).")
