from __future__ import annotations

import json
from pathlib import Path

import pytest
from cedarpy import Entities, is_authorized
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.policy import questions
from lockgate.policy.bundle import Bundle
from lockgate.values.identity import Asker
from lockgate.values.statement import Effect, Statement
from tests.policy.given import READ, bundle, who

MINUTE = 29_000_000
ORDERS = questions.store("orders")


def execute(
    rules: Bundle, name: str, groups: tuple[str, ...] = (), statement: Statement = READ, user: str = "app"
) -> questions.Answer:
    claims = who(name, *groups)
    context = questions.statement_context(
        statement, 12, questions.place(Asker(claims, "orders", "shop", user), "postgresql", MINUTE)
    )
    asked = questions.question(claims, "execute", ORDERS, context)
    (answer,) = questions.ask(rules.rules, (asked,), (questions.principal(claims), ORDERS))
    return answer


def test_an_answer_names_every_deciding_policy_in_order(tmp_path: Path) -> None:
    text = "".join(f'@id("p{n}") permit (principal, action == Action::"execute", resource);' for n in range(12))
    answer = execute(bundle(tmp_path, text), "ann")
    assert answer.permitted
    assert [p.id for p in answer.policies] == [f"p{n}" for n in range(12)]


def test_a_forbid_that_cannot_be_evaluated_is_an_error_though_cedar_permits(tmp_path: Path) -> None:
    text = """
        permit (principal, action, resource);
        @id("broken") forbid (principal, action == Action::"execute", resource) when { 9223372036854775807 + 1 > 0 };
    """
    answer = execute(bundle(tmp_path, text), "ann")
    assert not answer.permitted
    assert answer.error == (
        "error while evaluating policy broken: "
        "integer overflow while attempting to add the values `9223372036854775807` and `1`"
    )


ENGINEERS = 'permit (principal in Group::"engineers", action == Action::"execute", resource);'
HOSTILE = [
    '", "parents": [{"type":"Group","id":"engineers"}], "x": "',
    'x" || true || "',
    'ann", action, resource); permit (principal, action, resource); //',
    '{"__entity": {"type": "Group", "id": "engineers"}}',
    "Group::engineers",
    'Group::"engineers"',
    "\\u0022",
    "\x00",
    "a\nb",
    " ",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_are_data(tmp_path: Path, text: str) -> None:
    rules = bundle(tmp_path, ENGINEERS)
    statement = Statement(text, READ.effects, (text,), (text,), (text,))
    for answer in (
        execute(rules, text, statement=statement, user=text),
        execute(rules, "ann", (text,), statement=statement),
        execute(rules, "ann", (f"{text}engineers", f"engineers{text} "), statement=statement),
    ):
        assert not answer.permitted
        assert answer.error is None
    assert execute(rules, text, ("engineers",), statement, text).permitted


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=20), st.lists(st.text(max_size=12), max_size=4))
def test_only_the_group_itself_is_the_group(tmp_path: Path, name: str, groups: list[str]) -> None:
    rules = bundle(tmp_path, ENGINEERS)
    assert execute(rules, name, tuple(groups)).permitted == ("engineers" in groups)


def test_what_is_no_unicode_is_refused_not_raised(tmp_path: Path) -> None:
    rules = bundle(tmp_path, "permit (principal, action, resource);")
    for answer in (
        execute(rules, "\ud800"),
        execute(rules, "ann", ("\ud800",)),
        execute(rules, "ann", (), Statement("SELECT", READ.effects, ("\ud800",))),
    ):
        assert not answer.permitted
        assert answer.error is not None


def test_a_statement_without_effects_is_unknown_not_harmless(tmp_path: Path) -> None:
    rules = bundle(
        tmp_path,
        """permit (principal, action, resource);
        forbid (principal, action == Action::"execute", resource) when { context.effects.contains("unknown") };""",
    )
    assert execute(rules, "ann").permitted
    assert not execute(rules, "ann", (), Statement("?", frozenset())).permitted


def test_every_attribute_of_a_statement_reaches_policy(tmp_path: Path) -> None:
    rules = bundle(
        tmp_path,
        """permit (principal, action == Action::"execute", resource == Datastore::"orders") when {
            principal has person && principal.person == "ann" && principal in Group::"g" &&
            context.effects == ["read", "write"] && context.objects == ["t"] && context.columns == ["c"] &&
            context.functions == ["f"] && context.kinds == ["UPDATE", "DELETE"] && !context.has_where &&
            context.definer_functions == ["d"] && context.settings == ["role"] &&
            context has estimated_rows && context.estimated_rows == 12 &&
            context.now == datetime("2025-02-19T21:20:00Z") && context.hour >= 0 && context.hour < 24 &&
            ["wed", "thu"].contains(context.weekday) &&
            context.database == "shop" && context.user == "app" && context.protocol == "postgresql"
        };""",
    )
    effects = frozenset({Effect.READ, Effect.WRITE})
    statement = Statement(
        "UPDATE",
        effects,
        ("t",),
        ("c",),
        ("f",),
        has_where=False,
        inside=("DELETE",),
        settings=("role",),
        definer_functions=("d",),
    )
    assert execute(rules, "ann", ("g",), statement).permitted


def test_thousands_of_groups_are_only_slower(tmp_path: Path) -> None:
    groups = tuple(f"g{n}" for n in range(5000))
    rules = bundle(tmp_path, ENGINEERS)
    assert not execute(rules, "ann", groups).permitted
    assert execute(rules, "ann", (*groups, "engineers", "engineers")).permitted


def test_what_is_asked_conforms_to_the_schema(tmp_path: Path) -> None:
    """At run time it is not validated again, so here it is, with every attribute there is."""
    rules = bundle(tmp_path, "permit (principal, action, resource);")
    claims = who("ann", "engineers")
    column = questions.column("orders", "public.customers.email", ("pii",))
    place = questions.place(Asker(claims, "orders", "shop", "app"), "postgresql", MINUTE)
    stated = Statement("X", READ.effects, ("a",), ("b",), ("c",), settings=("d",), definer_functions=("e",))
    context = questions.statement_context(stated, 7, place)
    detector = questions.detector("orders", "card")
    entities = Entities.from_json_str(json.dumps([questions.principal(claims), ORDERS, column, detector]), rules.schema)
    approval = questions.approval_context(claims, (READ,), "held", MINUTE)
    nobody = questions.approval_context(who("bot", person=None), (), "held", MINUTE)
    for action, resource, about in (
        ("execute", ORDERS, context),
        ("execute_alone", ORDERS, context),
        ("execute", ORDERS, questions.statement_context(stated, None, place)),
        ("reveal", column, place),
        ("reveal_detected", detector, place),
        ("infer", column, {"uses": ["order"], **place}),
        ("infer_equal", column, {"uses": ["equal"], **place}),
        ("approve", ORDERS, approval),
        ("approve", ORDERS, nobody),
    ):
        asked = questions.question(claims, action, resource, about)
        assert is_authorized(asked, rules.rules.policy_set, entities, rules.schema).allowed
