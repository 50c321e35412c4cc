"""Which patterns policies name, what is no pattern, and how few ways of matching have to be asked about."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.policy import patterns as room
from lockgate.policy.patterns import Named, Whole
from lockgate.policy.source import BundleError
from lockgate.values.statement import Place
from tests.policy.redis import bundle

ANY = "permit (principal, action, resource);\n"
EITHER = frozenset((True, False))
YES, NO = frozenset((True,)), frozenset((False,))


def test_patterns_are_found_wherever_policies_name_them(tmp_path: Path) -> None:
    loaded = bundle(
        tmp_path,
        r"""
        permit (principal, action, resource in Keys::"cache/a:*");
        permit (principal, action, resource is Key in Keys::"cache/b");
        forbid (principal, action, resource) when { resource in [Keys::"cache/c", Keys::"cache.eu/x"] };
        forbid (principal, action, resource) unless { resource is Channel in Channels::"cache/d" };
        forbid (principal, action, resource)
        when { if true then resource in Keys::"cache/a:*" else resource in Keys::"cache/\"e/f\\*" };
        // Keys::"cache/in a comment"
        forbid (principal, action, resource) when { context.database == "Keys::\"cache/in a string\"" };
        """.replace("action,", 'action == Action::"execute",'),
    )
    assert loaded.patterns("cache", Place.KEY) == ('"e/f\\*', "a:*", "b", "c")
    assert loaded.patterns("cache", Place.CHANNEL) == ("d",)
    assert loaded.patterns("cache.eu", Place.KEY) == ("x",)
    assert loaded.patterns("orders", Place.KEY) == ()


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ('resource in Keys::"cache/a"', YES),
        ('!(resource in Keys::"cache/a")', NO),
        ('!!(resource in Keys::"cache/a")', YES),
        ('context.has_where || (true && resource in Keys::"cache/a")', YES),
        ('(resource in Keys::"cache/a") == true', EITHER),
        ('if resource in Keys::"cache/a" then true else false', EITHER),
        ('resource in Keys::"cache/a" || !(resource in Keys::"cache/a")', EITHER),
        ('[resource in Keys::"cache/a"].contains(true)', EITHER),
    ],
)
def test_how_a_policy_comes_to_apply(tmp_path: Path, condition: str, wanted: frozenset[bool]) -> None:
    text = f'@id("p") permit (principal, action == Action::"execute", resource) when {{ {condition} }};'
    (found,) = bundle(tmp_path, text).named["p"]
    assert found == Named(Place.KEY, "cache", "a", wanted)
    (turned,) = bundle(tmp_path, text.replace("when", "unless")).named["p"]
    assert turned.wanted == frozenset(not one for one in wanted)


@pytest.mark.parametrize(
    ("resource", "message"),
    [
        (
            'in Keys::"cash/a:*"',
            'a.cedar:2: Keys::"cash/a:*": no datastore of the configuration stands before the slash (there are cache, ',
        ),
        ('in Keys::"session:*"', 'a.cedar:2: Keys::"session:*": no datastore of the configuration stands'),
        ('in Keys::"cache"', 'a.cedar:2: Keys::"cache": no datastore'),
        ('in Keys::"cache/"', 'a.cedar:2: Keys::"cache/": there is no pattern behind the slash'),
        ('in Channels::"cache/"', "(`*` is all channels)"),
        ('in Keys::"orders/a"', 'a.cedar:2: Keys::"orders/a": orders speaks postgresql, which has no keys'),
        ('in Channels::"orders/a"', "orders speaks postgresql, which has no channels"),
        (f'in Keys::"cache/{"k" * 1025}"', "a pattern of more than 1024 bytes"),
        (f'in Keys::"cache/{"ä" * 513}"', "a pattern of more than 1024 bytes"),
        ('== Key::"cache/a"', 'a.cedar:2: Key::"cache/a": keys and channels are named by pattern: Keys::'),
        ('in Channel::"a"', 'a.cedar:2: Channel::"a": keys and channels are named by pattern: Channels::'),
    ],
)
def test_what_would_match_nothing_is_an_error(tmp_path: Path, resource: str, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        bundle(tmp_path, f'{ANY}permit (principal, action == Action::"execute", resource {resource});')
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "condition",
    [
        '[Keys::"cache/a", Keys::"cache/b"].contains(resource)',
        'resource == Keys::"cache/a"',
        'Keys::"cache/a" in resource',
        'Keys::"cache/a" in Datastore::"cache"',
        'resource in (if true then Keys::"cache/a" else Keys::"cache/b")',
        'principal in Keys::"cache/a"',
    ],
)
def test_a_pattern_is_only_what_the_resource_is_in(tmp_path: Path, condition: str) -> None:
    """All else is always or never true, or hides how the policy depends on it."""
    with pytest.raises(BundleError, match=r"a\.cedar:2: "):
        bundle(tmp_path, f'{ANY}forbid (principal, action == Action::"execute", resource) when {{ {condition} }};')


def test_patterns_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PATTERNS", 2)
    names = ", ".join(f'Keys::"cache/{n}"' for n in range(3))
    permit = ANY.replace(";", " when {{ resource in [{}] }};")
    assert len(bundle(tmp_path, permit.format(names.rpartition(",")[0])).patterns("cache", Place.KEY)) == 2
    with pytest.raises(BundleError, match="more than 2 patterns of keys of cache"):
        bundle(tmp_path, permit.format(names))


def test_patterns_that_are_asked_both_ways_are_few(tmp_path: Path) -> None:
    names = [f'resource in Keys::"cache/{n}"' for n in range(room.EITHER + 1)]
    text = ANY.replace(";", " when {{ if {} then true else false }};")
    few = bundle(tmp_path, text.format(" && ".join(names[:-1])))
    assert len(few.whole("cache", Place.KEY).worlds) == 2**room.EITHER
    with pytest.raises(BundleError, match=r"a\.cedar:1: asks of more than 4 patterns both"):
        bundle(tmp_path, text.format(" && ".join(names)))


@pytest.mark.parametrize(
    ("policies", "whole"),
    [
        ("", Whole()),
        # a set, a scope and a condition that want it: one world in which all match has them all
        (
            'forbid (principal, ACTION, resource in Keys::"cache/a"); forbid (principal, ACTION, resource) '
            'when { resource in [Keys::"cache/b", Keys::"cache/c"] };',
            Whole(((), ("a", "b", "c"))),
        ),
        (
            '@id("p") permit (principal, ACTION, resource in Keys::"cache/a");',
            Whole(((), ("a",)), {"p": ((),)}),
        ),
        (
            '@id("p") permit (principal, ACTION, resource) unless { resource in Keys::"cache/a" };',
            Whole(((), ("a",)), {"p": (("a",),)}),
        ),
        # the one and not the other is a world of its own
        (
            'forbid (principal, ACTION, resource in Keys::"cache/a") unless { resource in Keys::"cache/b" };',
            Whole(((), ("a", "b"), ("a",))),
        ),
        (
            '@id("p") permit (principal, ACTION, resource in Keys::"cache/a") unless { resource in Keys::"cache/b" };',
            Whole(((), ("a", "b"), ("b",)), {"p": (("b",),)}),
        ),
    ],
)
def test_few_ways_of_matching_have_to_be_asked_about(tmp_path: Path, policies: str, whole: Whole) -> None:
    text = ANY + policies.replace("ACTION", 'action == Action::"execute"').replace("; forbid", ";\nforbid")
    assert bundle(tmp_path, text).whole("cache", Place.KEY) == whole


def test_keys_and_channels_are_asked_about_apart(tmp_path: Path) -> None:
    loaded = bundle(
        tmp_path,
        'forbid (principal, action, resource) when { resource in Keys::"cache/a" || resource in Channels::"cache/b" };',
    )
    assert loaded.whole("cache", Place.KEY).worlds == ((), ("a",))
    assert loaded.whole("cache", Place.CHANNEL).worlds == ((), ("b",))
    assert loaded.whole("cache.eu", Place.KEY).worlds == ((),)


def test_a_hundred_policies_on_patterns_are_two_ways_of_matching(tmp_path: Path) -> None:
    text = "\n".join(f'forbid (principal, action, resource in Keys::"cache/{n}");' for n in range(100))
    assert len(bundle(tmp_path, text).whole("cache", Place.KEY).worlds) == 2
