"""What the shapes of the configuration promise by themselves."""

from __future__ import annotations

import msgspec
import pytest

from lockgate.config.shapes import Agent, Identity, Intercept, Limits, Name, Selector, SpoolSettings, host_name

ID = "4f" * 32


@pytest.mark.parametrize(
    ("intercept", "own"),
    [
        (Intercept(), "/lockgate-agent"),
        (Intercept(cgroup="/apps"), "/agent"),
        (Intercept(cgroup="/apps/"), "/agent"),
        (Intercept(cgroup="/test/apps"), "/test/agent"),
        (Intercept(cgroup="/test/apps", agent_cgroup="/elsewhere"), "/elsewhere"),
    ],
)
def test_the_agents_own_cgroup_is_beside_the_intercepted_one(intercept: Intercept, own: str) -> None:
    assert intercept.own_cgroup == own


@pytest.mark.parametrize("name", ["", "-a", ".", "a/b", "a b", "a\n", "ä", "x" * 64, "a:b"])
def test_a_name_is_one_word(name: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": name}, Agent)


@pytest.mark.parametrize("limit", Limits.__struct_fields__)
def test_no_bound_is_zero_or_less(limit: str) -> None:
    for value in (0, -1):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({limit: value}, Limits)
    assert getattr(msgspec.convert({limit: 2}, Limits), limit) == 2


def test_a_cache_of_one_verdict_is_none() -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"verdict_cache": 1}, Limits)


def test_the_defaults_hold_to_their_own_rules() -> None:
    for kind in (Limits, SpoolSettings):
        assert msgspec.convert(msgspec.to_builtins(kind()), kind) == kind()


@pytest.mark.parametrize(
    "when",
    [
        {"unit": "billing.service"},
        {"unit": "postgresql@15-main.service"},
        {"unit": "user@1000.service"},
        {"unit": "user@1000.service/app.service"},
        {"unit": "session-3.scope"},
        {"container": ID},
        {"container": f"user@1000.service/{ID}"},
        {"image": "registry.example/shop/billing:1"},
        {"pod": "8f2d1f5e-3c4b-4b8e-9f11-0a1b2c3d4e5f"},
        {"pod": "8f2d1f5e_3c4b_4b8e_9f11_0a1b2c3d4e5f"},
        {"user": "ann"},
        {"user": 0},
        {"exe": "/usr/bin/psql"},
        {"exe": "/opt/a b/..c"},
        {"cgroup": "/"},
        {"cgroup": "/**"},
        {"cgroup": "/apps"},
        {"cgroup": "/apps/one/"},
        {"cgroup": "/apps/one/**"},
    ],
)
def test_a_selector_that_can_match(when: dict[str, str | int]) -> None:
    assert Selector(**when).problem() is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("when", "key"),
    [
        ({"unit": "billing"}, "unit"),
        ({"unit": "billing.slice"}, "unit"),
        ({"unit": "*.service"}, "unit"),
        ({"unit": "a/b/c.service"}, "unit"),
        ({"unit": ""}, "unit"),
        ({"container": "4f4f4f4f4f4f"}, "container"),
        ({"container": "billing"}, "container"),
        ({"container": ID.upper()}, "container"),
        ({"image": ""}, "image"),
        ({"pod": "billing-7d9f"}, "pod"),
        ({"user": ""}, "user"),
        ({"user": "a b"}, "user"),
        ({"user": "ann:x"}, "user"),
        ({"exe": "psql"}, "exe"),
        ({"exe": "/usr/../bin/psql"}, "exe"),
        ({"exe": "/usr//bin/psql"}, "exe"),
        ({"cgroup": "apps"}, "cgroup"),
        ({"cgroup": "/apps/*"}, "cgroup"),
        ({"cgroup": "/apps/**/one"}, "cgroup"),
        ({"cgroup": "/apps**"}, "cgroup"),
        ({"cgroup": "/apps/../other"}, "cgroup"),
        ({"cgroup": "/apps/.."}, "cgroup"),
        ({"cgroup": "/./apps"}, "cgroup"),
        ({"cgroup": ""}, "cgroup"),
        ({"unit": "billing.service", "exe": "psql"}, "exe"),
    ],
)
def test_a_selector_that_would_never_match(when: dict[str, str], key: str) -> None:
    wrong = Selector(**when).problem()
    assert wrong is not None
    assert wrong[0] == (key,)


def test_a_selector_that_selects_nothing() -> None:
    wrong = Selector().problem()
    assert wrong is not None
    assert wrong[0] == ()
    assert "unit, container, image, pod, user, exe, cgroup" in wrong[1]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"principal": "unmatched"}, ("principal",)),
        ({"principal": "host:a"}, ("principal",)),
        ({"principal": "lockgate:agent"}, ("principal",)),
        ({"person": "host:a"}, ("person",)),
        ({"groups": ["a", "lockgate:operator"]}, ("groups", 1)),
        ({"when": Selector()}, ("when",)),
        ({"when": Selector(exe="psql")}, ("when", "exe")),
    ],
)
def test_an_entry_that_cannot_stand(change: dict[str, object], where: tuple[str | int, ...]) -> None:
    good = Identity(principal="ann", person="ann", groups=["engineers"], when=Selector(user="ann"))
    assert good.problem() is None
    wrong = msgspec.structs.replace(good, **change).problem()
    assert wrong is not None
    assert wrong[0] == where


@pytest.mark.parametrize(
    "entry",
    [
        {"principal": ""},
        {"principal": "a" * 257},
        {"person": ""},
        {"groups": [""]},
        {"groups": ["a" * 129]},
        {"groups": ["a"] * 65},
        {"groups": "a"},
        {"when": {"user": -1}},
        {"when": {"user": 1.5}},
        {"when": {"uid": 1}},
        {"admin": True},
    ],
)
def test_an_entry_of_another_shape(entry: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"principal": "ann", "when": {"user": "ann"}, **entry}, Identity)


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("db-1.internal", "db-1.internal"),
        ("Büro 7", "B-ro-7"),
        ("-x", "x"),
        ("_._", "host"),
        ("", "host"),
        ("a" * 70, "a" * 63),
        ("localhost\n", "localhost-"),
    ],
)
def test_what_a_host_calls_itself_is_made_to_fit(called: str, name: str) -> None:
    assert host_name(called) == name
    assert msgspec.convert(name, Name) == name
