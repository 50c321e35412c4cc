"""Which entry of identities.yaml a process falls under."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.config import ConfigError, Identity, Selector
from lockgate.identity.principals import NOBODY, Directory
from lockgate.values.identity import Principal, Workload

ID = "4f" * 32
POD = "8f2d1f5e-3c4b-4b8e-9f11-0a1b2c3d4e5f"
BILLING = Workload(
    pid=42,
    start_ns=1,
    exec_id=1,
    exe="/usr/bin/billing",
    cmdline=("billing",),
    uid=1000,
    user="ann",
    cgroup="/system.slice/billing.service/workers",
    unit="billing.service",
    exe_is_local=True,
)
POD_MEMBER = replace(
    BILLING, unit=None, container=ID, pod=POD, image="shop/billing:1", cgroup="/kubepods/x", exe_is_local=False
)


def entry(principal: str, **when: str | int) -> Identity:
    return Identity(principal=principal, when=Selector(**when))  # type: ignore[arg-type]


def named(workload: Workload, *entries: Identity) -> str:
    return Directory(list(entries)).principal(workload).name


@pytest.mark.parametrize(
    "when",
    [
        {"unit": "billing.service"},
        {"user": "ann"},
        {"user": "1000"},
        {"user": 1000},
        {"exe": "/usr/bin/billing"},
        {"cgroup": "/"},
        {"cgroup": "/**"},
        {"cgroup": "/system.slice"},
        {"cgroup": "/system.slice/"},
        {"cgroup": "/system.slice/**"},
        {"cgroup": "/system.slice/billing.service/workers"},
        {"unit": "billing.service", "user": "ann", "exe": "/usr/bin/billing", "cgroup": "/system.slice"},
    ],
)
def test_a_selector_matches(when: dict[str, str | int]) -> None:
    assert named(BILLING, entry("billing", **when)) == "billing"


@pytest.mark.parametrize(
    "when",
    [
        {"unit": "billing"},
        {"unit": "user@1000.service/billing.service"},
        {"user": "an"},
        {"user": "1001"},
        {"user": "01000x"},
        {"exe": "/usr/bin/billin"},
        {"exe": "/usr/bin"},
        {"cgroup": "/system"},
        {"cgroup": "/system.slice/billing.service/work"},
        {"cgroup": "/system.slice/billing.service/workers/one"},
        {"container": ID},
        {"pod": POD},
        {"image": "shop/billing:1"},
        {"unit": "billing.service", "user": "bob"},
    ],
)
def test_a_selector_does_not_match(when: dict[str, str | int]) -> None:
    if when.get("unit") == "billing":
        with pytest.raises(ConfigError, match="full name"):
            Directory([entry("billing", **when)])
    else:
        assert named(BILLING, entry("billing", **when)) == "unmatched"


@pytest.mark.parametrize(
    "when",
    [{"container": ID}, {"pod": POD}, {"pod": POD.replace("-", "_")}, {"image": "shop/billing:1"}, {"user": 1000}],
)
def test_a_container_is_selected(when: dict[str, str | int]) -> None:
    assert named(POD_MEMBER, entry("billing", **when)) == "billing"


def test_a_program_of_that_path_somewhere_else_is_not_that_program() -> None:
    assert named(replace(BILLING, exe_is_local=False), entry("billing", exe="/usr/bin/billing")) == "unmatched"


def test_a_containers_user_is_not_ours_of_the_same_number() -> None:
    """uid 1000 of an image has nothing to do with whoever has uid 1000 on this host."""
    assert named(POD_MEMBER, entry("ann", user="ann")) == "unmatched"


def test_a_name_that_is_a_number_is_a_number() -> None:
    assert named(replace(BILLING, uid=5, user="1000"), entry("x", user="1000")) == "unmatched"


def test_nobody_is_a_principal_of_its_own() -> None:
    assert Directory([]).principal(BILLING) == NOBODY == Principal("unmatched", None, ())


def test_the_whole_principal_is_taken() -> None:
    directory = Directory(
        [Identity(principal="ann@prod", person="ann", groups=["b", "a", "b"], when=Selector(user="ann"))]
    )
    assert directory.principal(BILLING) == Principal("ann@prod", "ann", ("b", "a"))


EVERYTHING = replace(BILLING, container=ID, pod=POD, image="shop/billing:1")


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        # more selectors before fewer, whatever they are
        ({"user": 1000, "cgroup": "/"}, {"container": ID}),
        ({"image": "shop/billing:1", "cgroup": "/", "user": 1000}, {"container": ID, "pod": POD}),
        # then by kind
        ({"container": ID}, {"pod": POD}),
        ({"pod": POD}, {"unit": "billing.service"}),
        ({"unit": "billing.service"}, {"exe": "/usr/bin/billing"}),
        ({"exe": "/usr/bin/billing"}, {"user": 1000}),
        ({"user": 1000}, {"image": "shop/billing:1"}),
        ({"image": "shop/billing:1"}, {"cgroup": "/system.slice/billing.service"}),
        ({"container": ID, "cgroup": "/"}, {"pod": POD, "unit": "billing.service"}),
        ({"unit": "billing.service", "user": 1000}, {"unit": "billing.service", "cgroup": "/system.slice"}),
        # then the deeper place
        ({"cgroup": "/system.slice/billing.service"}, {"cgroup": "/system.slice"}),
        ({"cgroup": "/system.slice"}, {"cgroup": "/"}),
        ({"user": 1000, "cgroup": "/system.slice"}, {"user": 1000, "cgroup": "/"}),
    ],
)
def test_the_most_specific_wins_wherever_it_stands(winner: dict[str, str | int], loser: dict[str, str | int]) -> None:
    workload = replace(EVERYTHING, container=ID, exe_is_local=True)
    first, second = entry("winner", **winner), entry("loser", **loser)
    assert named(workload, first, second) == "winner"
    assert named(workload, second, first) == "winner"


def test_among_equals_the_earlier_wins() -> None:
    assert named(BILLING, entry("first", user="ann"), entry("second", user=1000)) == "first"
    assert named(BILLING, entry("second", user=1000), entry("first", user="ann")) == "second"


def test_the_spelling_of_a_cgroup_gives_no_precedence() -> None:
    assert named(BILLING, entry("a", cgroup="/system.slice"), entry("b", cgroup="/system.slice/**")) == "a"


@pytest.mark.parametrize(
    ("bad", "what"),
    [
        (Identity(principal="unmatched", when=Selector(user="ann")), "no entry selects"),
        (Identity(principal="host:other", when=Selector(user="ann")), "Lockgate's own"),
        (Identity(principal="ann", person="host:x", when=Selector(user="ann")), "Lockgate's own"),
        (
            Identity(principal="ann", groups=["a", "lockgate:operator"], when=Selector(user="ann")),
            "groups.1: .*own",
        ),
        (Identity(principal="ann", when=Selector()), "selects nothing"),
    ],
)
def test_an_entry_that_cannot_stand_is_refused(bad: Identity, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Directory([entry("good", user="bob"), bad])


SELECTORS = st.fixed_dictionaries(
    {},
    optional={
        "container": st.just(ID),
        "unit": st.just("billing.service"),
        "user": st.sampled_from(["1000", 1000]),
        "cgroup": st.sampled_from(["/", "/system.slice", "/system.slice/billing.service"]),
    },
).filter(bool)


@given(st.lists(SELECTORS, min_size=1, max_size=6))
def test_order_in_the_files_matters_among_equals_only(selectors: list[dict[str, str | int]]) -> None:
    entries = [entry(str(n), **when) for n, when in enumerate(selectors)]
    forwards = selectors[int(named(EVERYTHING, *entries))]
    backwards = selectors[int(named(EVERYTHING, *reversed(entries)))]
    assert forwards.keys() == backwards.keys()
    assert forwards.get("cgroup") == backwards.get("cgroup")
