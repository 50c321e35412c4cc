from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.config import ConfigError
from lockgate.policy import cases
from lockgate.understand.postgresql import Understanding
from tests.policy.given import EMAIL, FOUR_QUESTIONS, SSN, engine

CASE = """\
# a comment
- name: engineers read
  principal: ann
  groups: [engineers]
  datastore: orders
  statement: SELECT * FROM customers
  expect: allow
"""
HELD = CASE.replace("SELECT *", "DELETE").replace("allow", "hold")


def run(folder: Path, text: str) -> tuple[str, ...]:
    (folder / "x.test.yaml").write_text(text)
    judge = engine(folder)
    (placed,) = cases.load(cases.find([folder]))
    outcome = cases.run(judge, Understanding(), placed)
    return tuple(word.replace(f"{folder}/", "") for word in outcome.wrong)


def test_a_case_that_holds_has_nothing_wrong(tmp_path: Path) -> None:
    masks = f"  policy: a.cedar:1\n  approvers: []\n  masks: {{{EMAIL}: partial, {SSN}: partial}}\n"
    assert run(tmp_path, CASE + masks) == ()
    assert run(tmp_path, HELD + "  approvers: [dba]\n  policy: a.cedar:3\n") == ()


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (
            CASE.replace("[engineers]", "[]"),
            "expected allow, got deny (no policy permits ann to read in orders (SELECT customers))",
        ),
        (CASE + "  policy: other\n", "expected policy other, got a.cedar:1 (a.cedar:1)"),
        (CASE + "  masks: {}\n", f"expected masks none, got {EMAIL}: partial, {SSN}: partial"),
        (
            CASE + f"  masks: {{{EMAIL}: partial}}\n",
            f"expected masks {EMAIL}: partial, got {EMAIL}: partial, {SSN}: partial",
        ),
        (HELD + "  approvers: [dba, security]\n", "expected approvers dba, security, got dba"),
        (CASE + "  approvers: [dba]\n", "expected approvers dba, got none"),
        (
            CASE.replace("datastore: orders", "datastore: order"),
            "expected allow, got deny (no datastore is called order)",
        ),
    ],
)
def test_a_case_that_fails_says_what_differs(tmp_path: Path, text: str, wrong: str) -> None:
    assert run(tmp_path, text) == (wrong,)


def test_the_datastores_user_and_database_reach_policy(tmp_path: Path) -> None:
    (tmp_path / "x.test.yaml").write_text(
        CASE
        + CASE.replace("expect: allow", "expect: deny\n  user: postgres")
        + CASE.replace("expect: allow", "expect: deny\n  database: template1")
    )
    judge = engine(
        tmp_path,
        """permit (principal, action, resource);
        forbid (principal, action == Action::"execute", resource)
        unless { context.user == "ann" && context.database == "postgres" };""",
    )
    for placed in cases.load(cases.find([tmp_path])):
        assert cases.run(judge, Understanding(), placed).wrong == ()


def test_times_and_grants_of_a_hold_are_compared_as_times(tmp_path: Path) -> None:
    held = HELD.rstrip("\n") + "\n  timeout: 900s\n  timeout_in_transaction: 1m\n  grant: 8h\n"
    (tmp_path / "x.test.yaml").write_text(held + held.replace("8h", "9h").replace("900s", "14m"))
    judge = engine(tmp_path, FOUR_QUESTIONS.replace("@timeout", '@grant("8h") @timeout'))
    right, wrong = (cases.run(judge, Understanding(), one).wrong for one in cases.load(cases.find([tmp_path])))
    assert right == ()
    assert wrong == ("expected timeout 14m, got 15m", "expected grant 9h, got 8h")


def test_a_case_may_be_of_another_time_and_of_so_many_rows(tmp_path: Path) -> None:
    (tmp_path / "x.test.yaml").write_text(
        CASE
        + "  at: 2026-01-03T12:00\n"
        + CASE.replace("expect: allow", "expect: deny")
        + "  at: 2026-01-03T05:00\n"
        + CASE.replace("expect: allow", "expect: deny")
        + "  at: 2026-01-03T12:00\n  estimated_rows: 10\n"
    )
    text = """permit (principal, action, resource);
        forbid (principal, action == Action::"execute", resource) when { context.hour < 6 };
        forbid (principal, action == Action::"execute", resource)
        when { context has estimated_rows && context.estimated_rows >= 10 };"""
    judge = engine(tmp_path, text)
    for placed in cases.load(cases.find([tmp_path])):
        assert cases.run(judge, Understanding(), placed).wrong == ()


def test_a_case_knows_its_line(tmp_path: Path) -> None:
    (tmp_path / "x.test.yaml").write_text(CASE + "\n" + HELD)
    assert [placed.where for placed in cases.load(cases.find([tmp_path]))] == [
        f"{tmp_path}/x.test.yaml:2",
        f"{tmp_path}/x.test.yaml:10",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CASE.replace("expect: allow", "expect: allowed"), "x.test.yaml:7: [0].expect: 'allowed' is none of"),
        (CASE + "  mask: {}\n", "x.test.yaml:8: [0].mask: unknown key (did you mean `masks`?)"),
        (CASE + "  expect: deny\n", "x.test.yaml:8: [0].expect: given twice"),
        (CASE.replace("  principal: ann\n", ""), "x.test.yaml:2: [0]: `principal` is missing"),
        (CASE + "  grant: 8\n", "x.test.yaml:8: [0].grant: "),
        (CASE + "  timeout: 8d\n", "x.test.yaml:8: [0].timeout: '8d' is not a time"),
        (CASE + "  at: noon\n", "x.test.yaml:8: [0].at: 'noon' is not a time"),
        ("a: b", "x.test.yaml:1: expected a list, got a mapping"),
        ("- [", "x.test.yaml:"),
        ("", "x.test.yaml:1: the file is empty"),
    ],
)
def test_cases_that_cannot_be_read_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.test.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        cases.load(cases.find([tmp_path]))
    assert message in str(caught.value)


def test_cases_stand_beside_policy_folders_and_files_each_once(tmp_path: Path) -> None:
    for name in ("b.test.yaml", "a.test.yaml", ".a.test.yaml", "a.yaml", "a.cedar"):
        (tmp_path / name).write_text("")
    found = (tmp_path / "a.test.yaml", tmp_path / "b.test.yaml")
    assert cases.find([tmp_path]) == found
    assert cases.find([tmp_path / "a.cedar", tmp_path]) == found
