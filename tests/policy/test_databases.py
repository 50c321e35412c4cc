"""Which databases stand for all that a server has: those that policies tell apart, and one for the rest."""

from __future__ import annotations

import pytest

from lockgate.policy import databases
from lockgate.policy.source import BundleError
from tests.policy.test_lint import parse

USUAL = tuple(map(str, range(16)))


@pytest.mark.parametrize(
    ("condition", "names"),
    [
        ("true", set()),
        ('context.database == "20"', {"20"}),
        ('"20" == context.database', {"20"}),
        ('context["database"] != "20"', {"20"}),
        ('["20", "21", "orders"].contains(context.database)', {"20", "21"}),
        ('!(context.database == "20" || (context.user == "30" && context.database == "40"))', {"20", "40"}),
        ('if context.database == "20" then context.user == "30" else true', {"20"}),
        ('context.database == (if context.user == "30" then "20" else "x")', {"20", "30"}),
        ('(if true then context.database else "30") == "20"', {"20", "30"}),
        ('[context.database].contains("20")', {"20"}),
        ('context has database && context.user == "30"', set()),
        ('context.database == "020" || context.database == "-1" || context.database == "12345678901"', set()),
        ('context.database like "20"', {"20"}),
        ('context.database like "2*"', {"2", "20"}),
        ('context.database like "2*0*"', {"20", "2000"}),
        ('context.database like "*"', {"0"}),
        ('context.kinds.contains("20")', set()),
    ],
)
def test_what_a_policy_names(condition: str, names: set[str]) -> None:
    assert databases.named(parse(condition)) == names


def test_what_stands_for_all_of_them() -> None:
    assert databases.everywhere((), "p") == USUAL
    assert databases.everywhere({"100", "20", "3"}, "p") == (*USUAL, "20", "100")
    assert databases.everywhere(USUAL, "p") == (*USUAL, "16"), "that it isn't any of these may matter"
    assert databases.everywhere((*USUAL, "16", "17", "19"), "p") == (*USUAL, "16", "17", "19", "18")


def test_there_is_a_bound() -> None:
    most = [str(number) for number in range(16, 16 + databases.NAMED)]
    assert len(databases.everywhere(most, "p")) == 16 + databases.NAMED
    with pytest.raises(BundleError, match=r"^p: policies name more than 256 databases"):
        databases.everywhere([*most, "1000"], "p")
