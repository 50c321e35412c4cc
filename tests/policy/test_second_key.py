from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy.second_key import objection
from lockgate.values.identity import Claims
from tests.policy.given import who

ANN = who("ann", "engineers", "dba")


def test_another_person_of_the_group_may() -> None:
    assert objection(who("bea", "dba"), ANN, ("dba", "security")) is None


def test_a_service_may_ask_and_a_person_approve() -> None:
    assert objection(who("bea", "dba"), who("billing", "services", person=None), ("dba",)) is None


@pytest.mark.parametrize(
    "approver",
    [
        who("ann", "dba"),
        who("ann-admin", "dba", person="ann"),
        who("ann", "dba", person="bea"),
        who("x", "dba", person="Ann"),
        who("x", "dba", person=" ann "),
        who("x", "dba", person="ａｎｎ"),
        who("x", "dba", "root", "break-glass", "admins", person="ann"),
    ],
)
def test_nobody_approves_what_they_asked_for(approver: Claims) -> None:
    said = objection(approver, ANN, ("dba", "root", "break-glass", "admins"))
    assert said is not None
    assert said.endswith("who approves is never who asked")


def test_an_account_that_was_never_marked_as_anns_is_still_anns() -> None:
    unmarked = who("ann", "engineers", person=None)
    assert objection(who("ann-laptop", "dba", person="ann"), unmarked, ("dba",)) is not None
    assert objection(who("bea", "dba", person="x"), who("service", person="bea"), ("dba",)) is not None


@pytest.mark.parametrize("person", [None, "", "  "])
def test_only_people_approve(person: str | None) -> None:
    said = objection(replace(who("bot", "dba"), person=person), ANN, ("dba",))
    assert said == "bot is not a person: only people approve"


@pytest.mark.parametrize("groups", [(), ("security",), ("DBA",), ("dba ",)])
def test_only_the_groups_that_the_policies_named(groups: tuple[str, ...]) -> None:
    said = objection(who("bea", "dba"), ANN, groups)
    assert said is not None
    assert "is in none of the groups" in said


NAMES = st.text(min_size=1, max_size=6)


@given(NAMES, NAMES, st.lists(NAMES, max_size=3), st.one_of(st.none(), NAMES))
def test_law_3_holds_for_every_name(principal: str, account: str, groups: list[str], person: str | None) -> None:
    everything = (*groups, "dba")
    asked = who(principal, *everything, person=person)
    for approver in (
        who(principal, *everything, person=person),
        who(account, *everything, person=person),
        who(account, *everything, person=principal),
        who(account, *everything, person=(person or principal).upper()),
    ):
        assert objection(approver, asked, everything) is not None
