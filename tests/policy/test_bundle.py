from __future__ import annotations

from pathlib import Path

import pytest

from lockgate import config
from lockgate.policy.bundle import BundleError, configured, load
from tests.policy.given import CLASSIFICATION, DATASTORES, FOUR_QUESTIONS, bundle

ANY = "permit (principal, action, resource);\n"


def test_the_plans_policies_validate_as_written(tmp_path: Path) -> None:
    loaded = bundle(tmp_path, FOUR_QUESTIONS, groups=frozenset(("engineers", "dba", "pii-readers")))
    assert [p.id for p in loaded.policies] == [f"a.cedar:{line}" for line in (1, 2, 3, 5, 7)]
    assert loaded.warnings == ()
    assert loaded.policies[2].approvers == ("dba",)
    assert loaded.policies[3].mask == "partial"


def test_a_policy_is_found_by_the_name_a_verdict_gives(tmp_path: Path) -> None:
    loaded = bundle(tmp_path, f'@id("open door")\n{ANY}')
    found = loaded.policy("open door")
    assert found is not None
    assert found.where == f"{tmp_path}/a.cedar:1"
    assert loaded.policy("default-deny") is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("permit (principal, action, resource)", "a.cedar:1: unexpected end of input"),
        (f"{ANY}\nforbid (principal, action, resource) whan {{ true }};", "a.cedar:3: invalid policy condition: whan"),
        ('permit (principal, action == Action::"exceute", resource);', "a.cedar:1: unrecognized action"),
        ('permit (principal in Grup::"x", action, resource);', "a.cedar:1: unrecognized entity type `Grup`"),
        (
            'permit (principal, action == Action::"execute", resource) when { context.effect.contains("x") };',
            "a.cedar:1: attribute `effect` in context",
        ),
        ('permit (principal, action == Action::"execute", resource in Tag::"pii");', "unable to find an applicable"),
        (
            f'{ANY}forbid (principal, action == Action::"execute", resource) when {{ context.effects.contains("x") }};',
            "a.cedar:2: 'x' is not an effect",
        ),
        ("permit (principal == ?principal, action, resource);", "a.cedar:1: a template"),
        ('@aprovers("dba")\nforbid (principal, action == Action::"execute_alone", resource);', "a.cedar:1: @aprovers"),
        ('@id("a") @id("b") permit (principal, action, resource);', "a.cedar:1: duplicate annotation: @id"),
        (f'@id("a")\n{ANY}@id("a")\n{ANY}', "a.cedar:3: the id 'a' is taken by"),
        ("// nothing yet\n", "there is no policy, so everything would be denied"),
        (f"permit (principal, action, resource) when {{ {'(' * 3000}true{')' * 3000} }};", "a.cedar:1: "),
    ],
)
def test_what_does_not_validate_is_named_by_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BundleError) as caught:
        bundle(tmp_path, text)
    assert message in str(caught.value)


def test_no_path_at_all_is_an_error() -> None:
    with pytest.raises(BundleError, match="no path is configured"):
        load([], {}, DATASTORES, epoch=1)


def test_a_bundle_knows_what_it_may_depend_on(tmp_path: Path) -> None:
    text = ANY + 'forbid (principal, action == Action::"infer", resource) when { context.hour < 6 };'
    loaded = bundle(tmp_path, text)
    assert (loaded.mentions("hour", "now"), loaded.mentions("now"), loaded.mentions("estimated_rows")) == (
        True,
        False,
        False,
    )
    assert bundle(tmp_path, ANY.replace(";", ' when { {"all": context} == {"all": context} };')).mentions("now")
    assert loaded.forbids("infer", "execute")
    assert not loaded.forbids("infer_equal", "reveal_detected")
    assert bundle(tmp_path, "forbid (principal, action, resource);").forbids("reveal_detected")
    assert [p.effect for p in loaded.permits.policies] == ["permit"]


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        (
            '@id("i") forbid (principal, action == Action::"infer", resource);',
            ["only columns that are masked are asked"],
        ),
        (
            'forbid (principal, action == Action::"infer_equal", resource);\n'
            'forbid (principal, action == Action::"reveal", resource in Tag::"pii");',
            [],
        ),
        (
            'permit (principal, action in [Action::"infer", Action::"reveal_detected"], resource);',
            ["this permit changes nothing: infer, reveal_detected is permitted unless a forbid says no"],
        ),
        ('permit (principal, action in [Action::"infer", Action::"reveal"], resource);', []),
    ],
)
def test_what_is_asked_of_no_column_or_changes_nothing_is_a_warning(
    tmp_path: Path, text: str, warnings: list[str]
) -> None:
    found = bundle(tmp_path, ANY + text).warnings
    assert len(found) == len(warnings)
    for said, expected in zip(found, warnings, strict=True):
        assert expected in said


def test_two_files_of_one_name_need_ids(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.cedar").write_text(ANY)
    with pytest.raises(BundleError, match=r"y/a\.cedar:1: the id 'a\.cedar:1' is taken by .*x/a\.cedar:1"):
        load([tmp_path / "x", tmp_path / "y"], {}, DATASTORES, epoch=1)


def test_one_column_name_for_two_datastores_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(ANY)
    with pytest.raises(BundleError, match=r"'a\.b\.c\.d\.e' names columns of two datastores"):
        load([tmp_path], {"a": {"b.c.d.e": ("pii",)}, "a.b": {"c.d.e": ()}}, {"a": "p", "a.b": "p"}, epoch=1)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ('forbid (principal in Group::"enginers", action, resource);', 'a.cedar:2: nothing defines Group::"enginers"'),
        ('forbid (principal, action, resource) unless { principal in Group::"x" };', 'nothing defines Group::"x"'),
        ('forbid (principal, action == Action::"execute", resource in Datastore::"order");', 'Datastore::"order"'),
        ('forbid (principal, action == Action::"reveal", resource in Tag::"pi");', 'nothing defines Tag::"pi"'),
        (
            'forbid (principal, action == Action::"reveal", resource == Column::"orders.public.customers.mail");',
            'nothing defines Column::"orders.public.customers.mail"',
        ),
        ('@approvers("dbas") forbid (principal, action == Action::"execute_alone", resource);', 'Group::"dbas"'),
    ],
)
def test_names_that_nobody_defines_are_warned_of(tmp_path: Path, text: str, warning: str) -> None:
    warnings = bundle(tmp_path, ANY + text, groups=frozenset(("dba",))).warnings
    assert len(warnings) == 1
    assert warning in warnings[0]


def test_groups_are_not_judged_where_they_are_not_known(tmp_path: Path) -> None:
    assert bundle(tmp_path, 'permit (principal in Group::"x", action, resource);').warnings == ()


def test_questions_that_are_never_answered_yes_are_warned_of(tmp_path: Path) -> None:
    text = """
        permit (principal, action == Action::"execute", resource);
        @approvers("dba") forbid (principal, action == Action::"execute_alone", resource);
    """
    alone, approve = bundle(tmp_path, text).warnings
    assert "no policy permits execute_alone" in alone
    assert "no policy permits approve: every hold will time out" in approve


def test_policies_in_sub_folders_are_not_silently_left_out(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.cedar").write_text("forbid (principal, action, resource);")
    (warning,) = bundle(tmp_path, ANY).warnings
    assert "b.cedar:1: not read: sub-folders" in warning


def test_a_file_that_everyone_may_write_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(ANY)
    (tmp_path / "a.cedar").chmod(0o666)
    (warning,) = load([tmp_path], CLASSIFICATION, DATASTORES, epoch=1).warnings
    assert "every user of this host may write" in warning


def settings(folder: Path, classification: str = "orders: {public.c.email: [pii]}") -> config.AgentFile:
    (folder / "policies").mkdir()
    (folder / "policies" / "a.cedar").write_text(
        ANY + 'forbid (principal in Group::"nobody", action == Action::"reveal", resource in Tag::"pii");'
    )
    (folder / "who.yaml").write_text("- {principal: ann, groups: [engineers], when: {user: ann}}\n")
    (folder / "what.yaml").write_text(classification)
    (folder / "agent.yaml").write_text(
        """
agent: {name: host-1}
intercept: {cgroup: /}
datastores: [{name: orders, protocol: postgresql, addresses: ["127.0.0.1:5432"], catalog: {user: lockgate}}]
identities: [who.yaml]
classify: [what.yaml]
policies: [policies]
collector: {address: "127.0.0.1:24224", api: "http://127.0.0.1:8080"}
"""
    )
    return config.load_agent(folder / "agent.yaml")


def test_the_configuration_names_everything_a_bundle_needs(tmp_path: Path) -> None:
    loaded = configured(settings(tmp_path), epoch=3)
    assert (loaded.epoch, loaded.datastores) == (3, {"orders": "postgresql"})
    assert loaded.classification == {"orders": {"public.c.email": ("pii",)}}
    assert [w.split(": ")[1] for w in loaded.warnings] == ['nothing defines Group::"nobody"']


def test_a_broken_classification_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="there is no datastore 'order'"):
        configured(settings(tmp_path, "order: {public.c.email: [pii]}"), epoch=1)


def test_groups_are_no_mistake_while_nobody_is_named_at_all(tmp_path: Path) -> None:
    found = settings(tmp_path)
    (tmp_path / "who.yaml").write_text("[]\n")
    assert configured(found, epoch=1).warnings == ()


def test_the_bundle_that_is_tried_is_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "next.cedar").write_text('@id("next") permit (principal, action, resource);')
    settings(tmp_path)
    with (tmp_path / "agent.yaml").open("a") as file:
        file.write("shadow: [next.cedar]\n")
    found = config.load_agent(tmp_path / "agent.yaml")
    tried = configured(found, epoch=2, shadow=True)
    assert ([policy.id for policy in tried.policies], tried.epoch) == (["next"], 2)
    assert tried.classification == configured(found, epoch=1).classification
