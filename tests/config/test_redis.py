"""What the configuration says of a Redis datastore, and what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from lockgate.config import ConfigError, Credential, Datastore, Role, left, load_agent, load_classification, turned

SHA = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db"
AGENT = """\
agent: {name: host-1}
intercept: {cgroup: /apps}
collector: {address: "127.0.0.1:24224", api: "http://127.0.0.1:8080"}
datastores:
  - name: orders
    protocol: postgresql
    addresses: ["127.0.0.1:5432"]
    catalog: {user: lockgate}
  - name: cache
    protocol: redis
    addresses: ["127.0.0.1:6379"]
"""
STORES = {"cache": "redis", "cache.eu": "redis", "orders": "postgresql"}


def written(folder: Path, more: str = "", name: str = "agent.yaml", text: str = AGENT) -> Path:
    path = folder / name
    path.write_text(text + more)
    return path


def test_little_is_needed(tmp_path: Path) -> None:
    """Not even a reader: what commands there are is known, and keys are not in a catalog."""
    store = load_agent(written(tmp_path, "classify: [c.yaml]\n")).datastores[1]
    assert (store.protocol, store.catalog, store.upstream_tls, store.scripts) == ("redis", None, "prefer", [])


def test_a_server_with_one_password_has_no_users(tmp_path: Path) -> None:
    more = "    credential: {password_file: cache.pw}\n    catalog: {env: PW}\n"
    more += "    roles: [{group: dba, credential: {user: admin, systemd: admin}}]\n"
    store = load_agent(written(tmp_path, more)).datastores[1]
    assert store.credential is not None
    assert (store.credential.user, store.credential.password_file) == (None, f"{tmp_path}/cache.pw")
    assert store.roles[0].credential.user == "admin"


def test_names_of_users_are_longer_than_roles(tmp_path: Path) -> None:
    store = load_agent(written(tmp_path, f"    credential: {{user: {'u' * 1024}}}\n")).datastores[1]
    assert store.credential is not None


def test_reviewed_scripts_are_named_by_digest(tmp_path: Path) -> None:
    assert load_agent(written(tmp_path, f"    scripts: [{SHA}]\n")).datastores[1].scripts == [SHA]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "channel_binding: require",
            "12: datastores[1].channel_binding: is of postgresql, and cache speaks redis: leave it out",
        ),
        ("channel_binding: disable", "12: datastores[1].channel_binding: is of postgresql"),
        (f"scripts: [{SHA.upper()}]", "12: datastores[1].scripts[0]: expected text matching regex"),
        (f"scripts: [{SHA[1:]}]", "12: datastores[1].scripts[0]: expected text matching regex"),
        (f"scripts: {SHA}", "12: datastores[1].scripts: expected a list, got text"),
        (f"scripts: [{', '.join([SHA] * 10_001)}]", "12: datastores[1].scripts: expected a list of length <= 10000"),
        ("credential: {}", "12: datastores[1].credential: has neither a user nor a password"),
        ("catalog: {}", "12: datastores[1].catalog: has neither a user nor a password"),
        ("credential: {user: a b}", "12: datastores[1].credential.user: 'a b' is not the name of a user"),
        (f"credential: {{user: {'ä' * 600}}}", "12: datastores[1].credential.user: "),
        ("roles: [{group: dba, credential: {}}]", "12: datastores[1].roles[0].credential: has neither"),
    ],
)
def test_what_can_not_stand(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_agent(written(tmp_path, f"    {text}\n"))
    assert str(refused.value).removeprefix(f"{tmp_path}/agent.yaml:").startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"scripts: [{SHA}]", "6: datastores[0].scripts: is of redis, and orders speaks postgresql: leave it out"),
        ("credential: {env: A}", "6: datastores[0].credential: `user` is missing"),
        ("roles: [{group: dba, credential: {env: A}}]", "6: datastores[0].roles[0].credential: `user` is missing"),
        (f"credential: {{user: {'u' * 64}}}", "6: datastores[0].credential.user: "),
    ],
)
def test_what_is_redis_is_not_postgresqls(tmp_path: Path, text: str, expected: str) -> None:
    given = AGENT.replace("    protocol: postgresql\n", f"    {text}\n    protocol: postgresql\n")
    with pytest.raises(ConfigError) as refused:
        load_agent(written(tmp_path, text=given))
    assert str(refused.value).removeprefix(f"{tmp_path}/agent.yaml:").startswith(expected)


@pytest.mark.parametrize(
    ("protocol", "more", "caution"),
    [
        ("redis", {}, None),
        ("redis", {"credential": Credential(user="a")}, "the agent logs nobody in while it only observes: new "),
        ("redis", {"roles": [Role(group="a", credential=Credential(user="a"))]}, "the agent logs nobody in"),
        ("postgresql", {}, None),
        ("postgresql", {"credential": Credential(user="a")}, "whoever has a role there is let in with the agent's"),
    ],
)
def test_what_a_credential_means_to_clients_while_it_is_observed_is_said(
    protocol: Any, more: dict[str, Any], caution: str | None
) -> None:
    store = Datastore(name="s", protocol=protocol, addresses=["127.0.0.1:1"], mode="observe", **more)
    assert (store.caution or "").startswith(caution or "")
    assert (store.caution is None) is (caution is None)
    assert store.logs_in is (protocol == "postgresql" and bool(more))
    assert msgspec.structs.replace(store, mode="enforce").caution is None


def test_scripts_wait_for_a_restart_and_a_mode_does_not(tmp_path: Path) -> None:
    old = load_agent(written(tmp_path))
    new = load_agent(written(tmp_path, f"    scripts: [{SHA}]\n    mode: observe\n"))
    assert left(old, new) == ("datastores.cache.scripts",)
    assert turned(old, new).datastores[1].mode == "observe"
    assert turned(old, new).datastores[1].scripts == []


def test_both_spellings_of_what_is_classified(tmp_path: Path) -> None:
    text = """\
orders: {public.customers.email: [pii]}
cache: {"secret:*": [pii], "profile:*#email": [pii], "doc:*#$.user.email": [pii], "a.b.c": [x]}
cache.secret:*: [card]
cache.eu.tenant[0-9]:\\#1#card_*: [card]
cache.*#$.items[*].cards[0].*: [card]
cache.&news:*: [pii]
cache.~&odd: [x]
"""
    assert load_classification([written(tmp_path, text=text, name="c.yaml")], STORES) == {
        "orders": {"public.customers.email": ("pii",)},
        "cache": {
            "secret:*": ("pii", "card"),
            "profile:*#email": ("pii",),
            "doc:*#$.user.email": ("pii",),
            "a.b.c": ("x",),
            "*#$.items[*].cards[0].*": ("card",),
            "&news:*": ("pii",),
            "~&odd": ("x",),
        },
        "cache.eu": {"tenant[0-9]:\\#1#card_*": ("card",)},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('cache: {"#email": [pii]}', "1: cache.#email: '#email' has no pattern of keys"),
        ('cache:\n  "a#": [pii]', "2: cache.a#: 'a#' names no field behind `#`"),
        ('cache: {"a#$": [pii]}', "1: cache.a#$: 'a#$': `#$` is the whole value"),
        ('cache: {"a#$.b.": [pii]}', "1: cache.a#$.b.: 'a#$.b.': no JSON path"),
        ("cache.a#$b: [pii]", "1: cache.a#$b: 'a#$b': no JSON path"),
        (
            'cache: {"a#$.b[-1]": [pii]}',
            "1: cache.a#$.b[-1]: 'a#$.b[-1]': no JSON path that is understood, from '[-1]' on",
        ),
        ('cache: {"": [pii]}', "1: cache.: a pattern of keys is empty"),
        (f'cache: {{"{"ä" * 513}": [pii]}}', "1: cache.ä"),
        ('cache:\n  "&": [pii]', "2: cache.&: '&' has no pattern of channels"),
        (
            'cache:\n  "a": [pii]\n  "&news#email": [pii]',
            "3: cache.&news#email: '&news#email': a message has no fields",
        ),
        ("cache.&news#$.: [pii]", "1: cache.&news#$.: '&news#$.': no JSON path"),
        ("cache:\n  &news: [pii]", "2: anchors are not taken here (what begins with & stands in quotes)"),
        ('cache: {"a": pii}', "1: cache.a: a list of tags is needed"),
        ('orders: {"secret:*": [pii]}', "1: orders.secret:*: 'secret:*' is not schema.table.column"),
        ("cash.secret:*: [pii]", "1: cash.secret:*: there is no datastore 'cash'"),
    ],
)
def test_a_mistake_in_what_is_classified(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_classification([written(tmp_path, text=text, name="c.yaml")], STORES)
    assert str(refused.value).removeprefix(f"{tmp_path}/c.yaml:").startswith(expected)
