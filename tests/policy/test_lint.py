from __future__ import annotations

import cedarpy
import pytest
from cedarpy import pst

from lockgate.policy import lint
from lockgate.policy.source import BundleError


def parse(condition: str = "true", scope: str = "principal, action, resource") -> pst.Template:
    return cedarpy.policies_to_pst(f"forbid ({scope}) when {{ {condition} }};").static_policies["policy0"]


@pytest.mark.parametrize(
    "condition",
    [
        'context.effects.contains("wriet")',
        'context.effects.containsAny(["write", "wriet"])',
        'context["effects"].containsAll(["wriet"])',
        '["read", "wriet"].containsAll(context.effects)',
        'context.effects == ["wriet"]',
        'true && !(principal in Group::"a" || (if true then context.effects.contains("wriet") else false))',
        '{"a": context.effects.contains("wriet")}.a',
    ],
)
def test_an_effect_that_cannot_occur_is_an_error(condition: str) -> None:
    with pytest.raises(BundleError, match=r"^p:1: 'wriet' is not an effect \(they are read, write"):
        lint.check_words(parse(condition), "p:1")


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ('context.uses.contains("sort")', "'sort' is not a use"),
        ('["sat", "sonntag"].contains(context.weekday)', "'sonntag' is not a day of the week"),
        ('context.weekday == "Mon"', "'Mon' is not a day of the week"),
        ('resource == Detector::"creditcard"', "nothing detects 'creditcard'"),
    ],
)
def test_other_words_that_cannot_occur_are_errors_too(condition: str, message: str) -> None:
    with pytest.raises(BundleError, match=rf"^p:1: {message} \("):
        lint.check_words(parse(condition), "p:1")
    there_are = condition.replace("sort", "order").replace("sonntag", "sun").replace("Mon", "mon")
    assert lint.check_words(parse(there_are.replace("creditcard", "card")), "p:1") == ()


@pytest.mark.parametrize(
    ("condition", "attributes"),
    [
        ('context.hour > 3 || context["now"] == context.now', {"hour", "now"}),
        ("context has estimated_rows", {"estimated_rows"}),
        ('principal has person && principal.person == "context.hour"', set[str]()),
        ('{"a": context}.a.has_where', {lint.WHOLE}),
        ("(if context.has_where then context else context).has_where", {"has_where", lint.WHOLE}),
    ],
)
def test_attributes_of_the_context_are_found_wherever_they_stand(condition: str, attributes: set[str]) -> None:
    assert lint.attributes(parse(condition)) == attributes


def test_words_of_other_attributes_are_free() -> None:
    assert lint.check_words(parse('context.functions.contains("wriet") && context.user == "read"'), "p:1") == ()


def test_a_kind_in_small_letters_never_matches() -> None:
    (warning,) = lint.check_words(parse('context.kinds.contains("delete")'), "p:1")
    assert "'delete' is no statement's kind" in warning
    assert lint.check_words(parse('context.kinds.contains("TRUNCATE TABLE")'), "p:1") == ()


def test_a_kind_that_hides_inside_another_is_no_safe_thing_to_forbid() -> None:
    (warning,) = lint.check_words(parse('context.kinds == ["DELETE"]'), "p:1")
    assert "p:1: the kind 'DELETE' can be walked around" in warning
    assert lint.check_words(parse('context.kinds.contains("DELETE")'), "p:1") == ()
    assert "'SELECT'" in lint.check_words(parse('context.kinds.contains("SELECT")'), "p:1")[0]


@pytest.mark.parametrize("names", ['"orders"', '"public.orders"', '"orders", "public.payments", "payments"'])
def test_a_relation_forbidden_by_one_of_its_names_goes_by_the_other(names: str) -> None:
    (warning,) = lint.check_words(parse(f"context.objects.containsAny([{names}])"), "p:1")
    assert "p:1: statements may also write 'orders' with its schema or without" in warning


@pytest.mark.parametrize("names", ['"orders", "public.orders"', '"role:bob"', '"setting:role", "program"'])
def test_one_forbidden_by_both_does_not(names: str) -> None:
    assert lint.check_words(parse(f"context.objects.containsAny([{names}])"), "p:1") == ()


@pytest.mark.parametrize(
    ("effect", "clause", "warned"),
    [
        ("forbid", "when { context has estimated_rows && context.estimated_rows > 9 }", True),
        ("permit", "unless { context has estimated_rows && context.estimated_rows > 9 }", True),
        ("permit", "when { context has estimated_rows && context.estimated_rows < 9 }", False),
        ("forbid", "unless { context has estimated_rows && context.estimated_rows < 9 }", False),
        ("forbid", "when { !(context has estimated_rows) || context.estimated_rows > 9 }", False),
        ("forbid", "when { if context has estimated_rows then false else true }", False),
        ("forbid", "when { context.has_where }", False),
    ],
)
def test_what_passes_because_nobody_could_estimate_it(effect: str, clause: str, warned: bool) -> None:
    policy = f"{effect} (principal, action, resource) {clause};"
    warnings = lint.check_words(cedarpy.policies_to_pst(policy).static_policies["policy0"], "p:1")
    assert any("can't be estimated passes" in warning for warning in warnings) is warned


def test_names_are_found_in_scope_and_conditions() -> None:
    template = parse('principal in Group::"a" && resource in Tag::"b"', 'principal == Principal::"c", action, resource')
    assert lint.named(template) == {("Group", "a"), ("Tag", "b"), ("Principal", "c")}


@pytest.mark.parametrize(
    ("scope", "actions"),
    [
        ("action", set[str]()),
        ('action == Action::"reveal"', {"reveal"}),
        ('action in [Action::"reveal", Action::"execute"]', {"reveal", "execute"}),
        ('action in Action::"reveal"', {"reveal"}),
    ],
)
def test_actions_of_a_scope(scope: str, actions: set[str]) -> None:
    assert lint.actions(parse(scope=f"principal, {scope}, resource")) == actions


STORES = {"cache": "redis", "orders": "postgresql"}
WARNED = "cache has keys: `resource == Datastore::"


@pytest.mark.parametrize(
    ("condition", "scope", "warned"),
    [
        ("true", 'principal, action, resource == Datastore::"cache"', True),
        ("true", 'principal, action == Action::"execute", resource == Datastore::"cache"', True),
        ('resource == Datastore::"cache"', "principal, action, resource", True),
        ('context.hour < 6 && resource != Datastore::"cache"', "principal, action, resource", True),
        ('[Datastore::"orders", Datastore::"cache"].contains(resource)', "principal, action, resource", True),
        ('resource in [Datastore::"cache"]', "principal, action, resource", False),
        ("true", 'principal, action, resource in Datastore::"cache"', False),
        ("true", 'principal, action, resource is Datastore in Datastore::"cache"', False),
        ('resource is Datastore in Datastore::"cache"', "principal, action, resource", False),
        ("true", 'principal, action, resource == Datastore::"orders"', False),
        ("true", 'principal, action == Action::"approve", resource == Datastore::"cache"', False),
    ],
)
def test_a_comparison_with_a_datastore_of_keys_means_less_than_it_seems(
    condition: str, scope: str, warned: bool
) -> None:
    found = lint.check_stores(parse(condition, scope), "p:1", STORES)
    assert [warning.startswith(f"p:1: {WARNED}") for warning in found] == [True] * warned


@pytest.mark.parametrize(
    ("resource", "redis"),
    [
        ('resource in Datastore::"cache"', True),
        ('resource is Key in Keys::"cache/a"', True),
        ('resource == Datastore::"cache"', True),
        ('resource in Datastore::"orders"', False),
        ("resource", False),
        ("resource is Key", False),
    ],
)
def test_what_is_about_redis_only_is_told_nothing_about_sql(resource: str, redis: bool) -> None:
    template = parse('context.kinds == ["SELECT"]', f"principal, action, {resource}")
    assert lint.only_keys(template, STORES) is redis
    assert lint.check_words(template, "p:1", sql=False) == ()


@pytest.mark.parametrize("word", ["@dangerous", "Slow", "all keys", ""])
def test_categories_are_written_as_redis_lists_them(word: str) -> None:
    with pytest.raises(BundleError, match=rf"^p:1: '{word}' is not a category \(they are written as in `dangerous`"):
        lint.check_words(parse(f'context.categories.contains("{word}")'), "p:1")
    assert lint.check_words(parse('["dangerous", "timeseries"].containsAny(context.categories)'), "p:1") == ()
