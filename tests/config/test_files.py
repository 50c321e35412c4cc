"""The files of the configuration: what is taken, and every mistake by file, line and key."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec.yaml
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.config.document import ConfigError
from lockgate.config.files import load_agent, load_classification, load_collector, load_identities
from lockgate.config.shapes import AgentFile, Identity, Selector, host_name

AGENT = """\
agent: {name: host-1, state_dir: state, run_dir: /run/lockgate, metrics: "127.0.0.1:9464"}
intercept: {mechanism: ebpf, cgroup: /apps}
datastores:
  - name: orders
    protocol: postgresql
    addresses:
      - "127.0.0.1:5432"
      - "10.0.0.0/8:5432"
    catalog: {user: lockgate, password_file: orders.pw}
    mode: enforce
identities: [identities.yaml]
classify: [/etc/lockgate/classification.yaml]
policies: [policies]
collector: {address: "127.0.0.1:24224", api: "http://127.0.0.1:8080"}
limits:
  message_bytes: 1000
spool: {fsync: always}
"""
COLLECTOR = """\
collector:
  listen: "127.0.0.1:24224"
  http: "127.0.0.1:8080"
  state_dir: state
  hosts:
    host-1: kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k
"""
IDENTITIES = """\
- {principal: ann, person: ann, groups: [engineers], when: {user: ann}}
- principal: billing
  groups: [services]
  when:
    unit: billing.service
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return path


def said(tmp_path: Path, load: Callable[[Path], object], text: str) -> str:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    return str(caught.value).removeprefix(f"{tmp_path}/")


def changed(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def test_the_agents_file(tmp_path: Path) -> None:
    settings = load_agent(written(tmp_path, AGENT))
    assert settings.agent.name == "host-1"
    assert settings.intercept.own_cgroup == "/agent"
    (store,) = settings.datastores
    assert (store.name, store.mode, store.upstream_tls) == ("orders", "enforce", "prefer")
    assert store.addresses == ["127.0.0.1:5432", "10.0.0.0/8:5432"]
    assert (settings.limits.message_bytes, settings.limits.connections) == (1000, 10000)
    assert settings.spool.fsync == "always"


def test_paths_are_taken_from_the_files_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, AGENT)
    monkeypatch.chdir(tmp_path.parent)
    settings = load_agent(f"{tmp_path.name}/x.yaml")
    assert settings.agent.state_dir == f"{tmp_path}/state"
    assert settings.agent.run_dir == "/run/lockgate"
    assert settings.identities == [f"{tmp_path}/identities.yaml"]
    assert settings.classify == ["/etc/lockgate/classification.yaml"]
    assert settings.policies == [f"{tmp_path}/policies"]
    assert settings.datastores[0].catalog is not None
    assert settings.datastores[0].catalog.password_file == f"{tmp_path}/orders.pw"
    (tmp_path / "x.yaml").write_text(COLLECTOR)
    assert load_collector(f"{tmp_path.name}/x.yaml").collector.state_dir == f"{tmp_path}/state"


def test_little_is_needed(tmp_path: Path) -> None:
    text = """\
agent: {name: a}
intercept: {}
datastores: [{name: d, protocol: postgresql, addresses: ["*:5432"]}]
collector: {address: "[::1]:24224", api: "http://[::1]:8080"}
"""
    settings = load_agent(written(tmp_path, text))
    assert settings.intercept.cgroup == "/"
    assert settings.agent.metrics is None
    assert (settings.identities, settings.classify, settings.policies) == ([], [], [])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("agent: {name: host-1", "agent: {nmae: host-1", "1: agent.nmae: unknown key (did you mean `name`?)"),
        ("host-1", "'host 1'", "1: agent.name: expected text matching regex"),
        ("127.0.0.1:9464", "*:9464", "1: agent.metrics: '*:9464': one address is needed here"),
        ("ebpf", "nftables", "2: intercept.mechanism: 'nftables' is none of ebpf"),
        ("cgroup: /apps", "cgroup: apps", "2: intercept.cgroup: 'apps' is not an absolute cgroup v2 path"),
        ("cgroup: /apps", "cgroup: /../apps", "2: intercept.cgroup: '/../apps' is not"),
        ("cgroup: /apps", "agent_cgroup: x", "2: intercept.agent_cgroup: 'x' is not"),
        ("cgroup: /apps", "cgroup: /apps, agent_cgroup: /apps/", "2: intercept.agent_cgroup: the agent can't live"),
        ("cgroup: /apps", "cgroup: /agent", "2: intercept.agent_cgroup: the agent can't live"),
        ("- name: orders\n", "- nome: orders\n", "4: datastores[0].nome: unknown key (did you mean `name`?)"),
        ("    protocol: postgresql\n", "", "4: datastores[0]: `protocol` is missing"),
        ("postgresql", "oracle", "5: datastores[0].protocol: 'oracle' is none of postgresql"),
        ("127.0.0.1:5432", "127.0.0.1", "7: datastores[0].addresses[0]: '127.0.0.1' is not HOST:PORT"),
        ("10.0.0.0/8:5432", "10.0.0.1/8:5432", "8: datastores[0].addresses[1]: '10.0.0.1/8:5432': "),
        ("10.0.0.0/8:5432", "127.0.0.1:5432", "8: datastores[0].addresses[1]: 127.0.0.1:5432 is given twice"),
        ('"127.0.0.1:5432"', "5432", "7: datastores[0].addresses[0]: expected text, got a whole number"),
        ("mode: enforce", "mode: enforced", "10: datastores[0].mode: 'enforced' is none of enforce, observe"),
        ("    catalog: {user: lockgate, password_file: orders.pw}\n", "", "4: datastores[0]: `classify` is set"),
        ("user: lockgate", "usr: lockgate", "9: datastores[0].catalog.usr: unknown key (did you mean `user`?)"),
        ("[identities.yaml]", "identities.yaml", "11: identities: expected a list, got text"),
        ("[identities.yaml]", "['']", "11: identities[0]: expected text of length >= 1"),
        ("127.0.0.1:24224", "24224", "14: collector.address: '24224' is not HOST:PORT"),
        ("127.0.0.1:24224", "*:24224", "14: collector.address: '*:24224': one address"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080", "14: collector.api: '127.0.0.1:8080' is not http://HOST:PORT"),
        ("message_bytes: 1000", "message_bytes: 0", "16: limits.message_bytes: expected a whole number >= 1"),
        ("message_bytes: 1000", "message_bytes: 1 MB", "16: limits.message_bytes: expected a whole number, got text"),
        (
            "message_bytes: 1000",
            "mesage_bytes: 1",
            "16: limits.mesage_bytes: unknown key (did you mean `message_bytes`?)",
        ),
        ("message_bytes: 1000", "connect_seconds: 0", "16: limits.connect_seconds: expected a number > 0"),
        ("fsync: always", "fsync: sometimes", "17: spool.fsync: 'sometimes' is none of always, interval, never"),
        ("fsync: always", "max_bytes: 5", "17: spool.segment_bytes: larger than max_bytes"),
        ("spool:", "spol:", "17: spol: unknown key (did you mean `spool`?)"),
        ("mode: enforce", "name: again", "10: datastores[0].name: given twice (first on line 4)"),
    ],
)
def test_a_mistake_in_the_agents_file(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert said(tmp_path, load_agent, changed(AGENT, old, new)).startswith(f"x.yaml:{expected}")


@pytest.mark.parametrize("part", ["intercept", "datastores", "collector"])
def test_a_part_that_is_missing(tmp_path: Path, part: str) -> None:
    data = msgspec.yaml.decode(AGENT)
    del data[part]
    assert said(tmp_path, load_agent, msgspec.yaml.encode(data).decode()) == f"x.yaml:1: `{part}` is missing"


def test_no_datastore_at_all(tmp_path: Path) -> None:
    data = msgspec.yaml.decode(AGENT)
    data["datastores"] = []
    assert "datastores: expected a list of length >= 1" in said(
        tmp_path, load_agent, msgspec.yaml.encode(data).decode()
    )


SECOND = """\
  - name: {name}
    protocol: postgresql
    addresses: ["{address}"]
    catalog: {{user: lockgate}}
identities"""


def test_two_datastores_have_two_names_and_no_address_in_common(tmp_path: Path) -> None:
    def second(name: str, address: str) -> str:
        return AGENT.replace("identities", SECOND.format(name=name, address=address), 1)

    assert len(load_agent(written(tmp_path, second("users", "127.0.0.1:5433"))).datastores) == 2
    twice = said(tmp_path, load_agent, second("orders", "127.0.0.1:5433"))
    assert twice == "x.yaml:11: datastores[1].name: datastore 'orders' is named twice"
    shared = said(tmp_path, load_agent, second("users", "10.0.0.0/8:5432"))
    assert shared.startswith("x.yaml:13: datastores[1].addresses[0]: 10.0.0.0/8:5432 is given twice")
    assert "'orders'" in shared


def test_the_collectors_file(tmp_path: Path) -> None:
    collector = load_collector(written(tmp_path, COLLECTOR)).collector
    assert (collector.listen, collector.http) == ("127.0.0.1:24224", "127.0.0.1:8080")
    assert collector.auditors == ["security"]
    assert list(collector.hosts) == ["host-1"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("listen:", "lisen:", "2: collector.lisen: unknown key (did you mean `listen`?)"),
        ("127.0.0.1:24224", "*:24224", "2: collector.listen: '*:24224': one address"),
        ("127.0.0.1:8080", "8080", "3: collector.http: '8080' is not HOST:PORT"),
        ("127.0.0.1:8080", "127.0.0.1:24224", "3: collector.http: is the address of `listen`"),
        (
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            "x",
            "6: collector.hosts.host-1: is not an RFC 7638 thumbprint",
        ),
        ("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", "7", "6: collector.hosts.host-1: expected text"),
    ],
)
def test_a_mistake_in_the_collectors_file(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert said(tmp_path, load_collector, changed(COLLECTOR, old, new)).startswith(f"x.yaml:{expected}")


def test_identities(tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text("- {principal: root, when: {user: 0}}\n")
    found = load_identities([written(tmp_path, IDENTITIES), more])
    assert found == [
        Identity(principal="ann", person="ann", groups=["engineers"], when=Selector(user="ann")),
        Identity(principal="billing", groups=["services"], when=Selector(unit="billing.service")),
        Identity(principal="root", when=Selector(user=0)),
    ]
    assert load_identities([]) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("principal: billing", "principal: unmatched", "2: [1].principal: 'unmatched' is what a process is called"),
        ("principal: billing", "principal: host:a", "2: [1].principal: 'host:a': names beginning with"),
        ("groups: [services]", "groups: [a, lockgate:agent]", "3: [1].groups[1]: 'lockgate:agent': names beginning"),
        ("unit: billing.service", "unit: billing", "5: [1].when.unit: 'billing' is not a unit's full name"),
        ("unit: billing.service", "uint: billing.service", "5: [1].when.uint: unknown key (did you mean `unit`?)"),
        ("unit: billing.service", "unit:", "4: [1].when: selects nothing"),
        (
            "  groups: [services]\n",
            "  groups: [services]\n  persn: x\n",
            "4: [1].persn: unknown key (did you mean `person`?)",
        ),
        ("principal: ann, ", "", "1: [0]: `principal` is missing"),
        ("when: {user: ann}", "when: {}", "1: [0].when: selects nothing"),
        ("when: {user: ann}", "when: ann", "1: [0].when: expected a mapping, got text"),
    ],
)
def test_a_mistake_in_the_identities(tmp_path: Path, old: str, new: str, expected: str) -> None:
    found = said(tmp_path, lambda path: load_identities([path]), changed(IDENTITIES, old, new))
    assert found.startswith(f"x.yaml:{expected}")


STORES = dict.fromkeys(("orders", "orders.eu", "users"), "postgresql")


def classify(tmp_path: Path, *texts: str) -> dict[str, dict[str, tuple[str, ...]]]:
    paths = []
    for number, text in enumerate(texts):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(text)
    return load_classification(paths, STORES)


def test_classification_nested_and_flat(tmp_path: Path) -> None:
    expected = {"orders": {"public.customers.email": ("pii", "email")}, "users": {"public.users.ssn": ("pii",)}}
    nested = "orders: {public.customers.email: [pii, email]}\nusers: {public.users.ssn: [pii]}\n"
    flat = "orders.public.customers.email: [pii, email]\nusers.public.users.ssn: [pii]\n"
    mixed = "orders: {public.customers.email: [pii, email]}\nusers.public.users.ssn: [pii]\n"
    assert classify(tmp_path, nested) == classify(tmp_path, flat) == classify(tmp_path, mixed) == expected
    assert classify(tmp_path) == {}


def test_what_several_places_say_of_a_column_adds_up(tmp_path: Path) -> None:
    text = "orders: {public.c.email: [pii, a]}\norders.public.c.email: [b, pii]\n"
    assert classify(tmp_path, text, "orders.public.c.email: [c]\n") == {
        "orders": {"public.c.email": ("pii", "a", "b", "c")}
    }


def test_a_datastore_whose_name_begins_with_anothers(tmp_path: Path) -> None:
    """The longest name is meant, else a column would go unmasked under a schema that isn't there."""
    assert classify(tmp_path, "orders.eu.public.c.email: [pii]\n") == {"orders.eu": {"public.c.email": ("pii",)}}
    assert classify(tmp_path, "orders.us.public.c: [pii]\n") == {"orders": {"us.public.c": ("pii",)}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", "1: a mapping is needed"),
        ("orders: {}\nusrs: {public.c.email: [pii]}\n", "2: usrs: there is no datastore 'usrs' in the configuration"),
        ("orders: {}\nusrs.public.c.email: [pii]\n", "2: usrs.public.c.email: there is no datastore 'usrs'"),
        ("usrs: {}\n", "1: usrs: there is no datastore 'usrs'"),
        ("orders: [pii]\n", "1: orders: there is no datastore 'orders'"),
        ("orders:\n  public.c: [pii]\n", "2: orders.public.c: 'public.c' is not schema.table.column"),
        ("orders:\n  public..c: [pii]\n", "2: orders.public..c: 'public..c' is not schema.table.column"),
        ("orders.public.c: [pii]\n", "1: orders.public.c: 'public.c' is not schema.table.column"),
        ("orders:\n  public.c.email: pii\n", "2: orders.public.c.email: a list of tags is needed"),
        ("orders:\n  public.c.email: []\n", "2: orders.public.c.email: a list of tags is needed"),
        ("orders:\n  public.c.email:\n", "2: orders.public.c.email: a list of tags is needed"),
        ("orders:\n  public.c.email: {a: b}\n", "2: orders.public.c.email: a list of tags is needed"),
        ("orders:\n  public.c.email:\n  - pii\n  - PII\n", "4: orders.public.c.email[1]: 'PII' is not a tag"),
        ("orders:\n  public.c.email: [7]\n", "2: orders.public.c.email[0]: 7 is not a tag"),
        (
            "orders:\n  public.c.email: [a]\n  public.c.email: [b]\n",
            "3: orders.public.c.email: given twice (first on line 2)",
        ),
        ("orders: {public.c.email: [a]}\norders: {}\n", "2: orders: given twice"),
    ],
)
def test_a_mistake_in_the_classification(tmp_path: Path, text: str, expected: str) -> None:
    found = said(tmp_path, lambda path: load_classification([path], STORES), text)
    assert found.startswith(f"x.yaml:{expected}")


LOADERS: list[Callable[[Path], object]] = [
    load_agent,
    load_collector,
    lambda path: load_identities([path]),
    lambda path: load_classification([path], STORES),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def refusals(folder: Path, text: str) -> list[str]:
    """What each loader says; anything but a ConfigError fails the test."""
    path = written(folder, text)
    found = []
    for load in LOADERS:
        try:
            load(path)
        except ConfigError as error:
            found.append(str(error))
    return found


def mutated(text: str) -> st.SearchStrategy[str]:
    places = st.integers(0, len(text))
    junk = st.text(st.sampled_from("ab:-,[]{}&*!|>'\"%#\\ \n~0"), max_size=4)
    return st.tuples(places, places, junk).map(lambda m: text[: m[0]] + m[2] + text[m[1] :])


@given(
    text=st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from([AGENT, COLLECTOR, IDENTITIES]).flatmap(mutated)
)
def test_nothing_but_a_config_error_is_ever_raised(folder: Path, text: str) -> None:
    for said in refusals(folder, text):
        assert said.startswith(f"{folder}/x.yaml:")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "a", "a.b.c.d", "*:1", "/", "orders"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "user", "a"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(data=st.data(), value=VALUES)
def test_any_value_in_any_place_is_taken_or_refused(folder: Path, data: st.DataObject, value: object) -> None:
    settings = msgspec.yaml.decode(data.draw(st.sampled_from([AGENT, COLLECTOR, IDENTITIES])))
    here = settings
    while True:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        below = here[key]
        if not isinstance(below, dict | list) or not below or data.draw(st.booleans()):
            here[key] = value
            break
        here = below
    for said in refusals(folder, msgspec.yaml.encode(settings).decode()):
        assert said.startswith(f"{folder}/x.yaml:")


def test_a_default_is_not_shared_between_files(tmp_path: Path) -> None:
    first, second = (load_collector(written(tmp_path, COLLECTOR)) for _ in range(2))
    first.collector.auditors.append("x")
    assert second.collector.auditors == ["security"]
    assert AgentFile.__struct_config__.frozen


def test_the_masking_key_is_looked_for_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "agent.yaml"
    path.write_text(AGENT + "masking: {key_file: tokens.key}\n")
    assert load_agent(path).masking.key_file == f"{tmp_path}/tokens.key"
    path.write_text(AGENT)
    assert load_agent(path).masking.key_file is None


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("upstream_ca: ca.crt", "upstream_ca: upstream_tls: prefer verifies nothing"),
        ("upstream_tls: disable\n    upstream_ca: ca.crt", "upstream_ca: upstream_tls: disable verifies nothing"),
        ("upstream_certificate: a.crt\n    upstream_key: a.key", "upstream_certificate: upstream_tls: prefer may go"),
        ("upstream_tls: require\n    upstream_certificate: a.crt", "upstream_certificate: has no upstream_key"),
        ("upstream_tls: require\n    upstream_key: a.key", "upstream_key: has no upstream_certificate"),
        ("upstream_tls: verify-ca", "verify-ca"),
        ("client_tls: require", "require"),
    ],
)
def test_what_looks_like_protection_has_to_be_some(tmp_path: Path, lines: str, why: str) -> None:
    assert why in said(tmp_path, load_agent, AGENT.replace("mode: enforce", lines))


def test_files_of_tls_are_taken_from_the_files_own_folder(tmp_path: Path) -> None:
    lines = (
        "upstream_tls: verify-full\n    upstream_ca: ca.crt\n    upstream_certificate: /a.crt\n    upstream_key: a.key"
    )
    (store,) = load_agent(written(tmp_path, AGENT.replace("mode: enforce", lines))).datastores
    assert (store.upstream_ca, store.upstream_certificate, store.upstream_key) == (
        str(tmp_path / "ca.crt"), "/a.crt", str(tmp_path / "a.key"),
    )  # fmt: skip
    assert store.tls_of_clients == "offer"


OBSERVED = AGENT.replace("mode: enforce", "mode: observe\n    client_tls: pass")
CREDENTIAL = "    credential: {user: app, password_file: app.pw}\n"


def test_clients_have_their_tls_with_the_datastore_where_it_is_only_observed(tmp_path: Path) -> None:
    def tls(text: str) -> str:
        return load_agent(written(tmp_path, text)).datastores[0].tls_of_clients

    assert tls(OBSERVED) == "pass"
    assert tls(AGENT.replace("mode: enforce", "mode: observe")) == "pass"
    assert tls(AGENT.replace("mode: enforce", "mode: observe\n    client_tls: offer")) == "offer"
    assert tls(AGENT) == "offer"
    own = AGENT.replace("10.0.0.0/8:5432", "10.0.0.1:5432")
    own = own.replace("    mode: enforce\n", f"{CREDENTIAL}    mode: observe\n")
    assert tls(own) == "offer"
    redis = own.replace("postgresql", "redis")
    assert tls(redis) == "pass", "the agent doesn't log in to what is only observed"
    assert tls(redis.replace("mode: observe", "mode: observe\n    client_tls: pass")) == "pass"
    assert tls(redis.replace("mode: observe", "mode: enforce")) == "offer"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            AGENT.replace("mode: enforce", "mode: enforce\n    client_tls: pass"),
            "11: datastores[0].client_tls: pass leaves clients' TLS unread: that is for mode: observe, and mode is",
        ),
        (
            AGENT.replace("mode: enforce", "client_tls: pass"),
            "10: datastores[0].client_tls: pass leaves clients' TLS unread: that is for mode: observe, and mode is",
        ),
        (
            OBSERVED.replace("10.0.0.0/8:5432", "10.0.0.1:5432").replace("    mode", f"{CREDENTIAL}    mode"),
            "12: datastores[0].client_tls: pass leaves clients' TLS unread: with a credential of the agent's own",
        ),
    ],
)
def test_what_is_enforced_is_never_passed_unread(tmp_path: Path, text: str, why: str) -> None:
    assert why in said(tmp_path, load_agent, text)


def test_policies_to_be_tried_are_taken_from_the_files_own_folder(tmp_path: Path) -> None:
    assert load_agent(written(tmp_path, AGENT)).shadow == []
    tried = load_agent(written(tmp_path, AGENT + "shadow: [next, /etc/next.cedar]\n")).shadow
    assert tried == [str(tmp_path / "next"), "/etc/next.cedar"]


def test_a_host_has_a_name_without_being_given_one(tmp_path: Path) -> None:
    settings = load_agent(written(tmp_path, AGENT.replace("name: host-1, ", "")))
    assert settings.agent.name == host_name()
    without = "\n".join(line for line in AGENT.splitlines() if not line.startswith("agent:"))
    assert load_agent(written(tmp_path, without)).agent.name == host_name()
