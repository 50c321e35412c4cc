"""What people write: configuration and policies. A mistake is named, and nothing is raised but that."""

from __future__ import annotations

from typing import Final

from lockgate.config import ConfigError, load_agent, load_classification, load_collector, load_identities
from lockgate.policy.bundle import load
from lockgate.policy.source import BundleError
from tests.fuzz.folder import folder
from tests.fuzz.target import Target
from tests.proxy.house import POLICIES

STORES: Final = {"orders": "postgresql", "cache": "redis"}


def check_configuration(data: bytes) -> None:
    """Every file is taken, or its mistake named in a line that begins with the file."""
    path = folder() / "file.yaml"
    path.write_bytes(data)
    for read in (load_agent, load_collector, lambda path: load_identities([path]),
                 lambda path: load_classification([path], STORES)):  # fmt: skip
        try:
            read(path)
        except ConfigError as error:
            said = str(error)
            assert said.startswith(f"{path}:"), said
            assert said.isprintable(), repr(said)


_YAML: Final = [
    b"agent: {name: host-1, state_dir: /var/lib/l, run_dir: /run/l, metrics: '127.0.0.1:9464'}\n"
    b"intercept: {mechanism: ebpf, cgroup: /}\ndatastores:\n  - name: orders\n    protocol: postgresql\n"
    b"    addresses: ['db.internal:5432', '10.0.0.0/8:5432', '[fd00::5]:5432', '*:6432']\n"
    b"    catalog: {user: lockgate, password_file: /etc/pw}\n    mode: enforce\nidentities: [i.yaml]\n"
    b"classify: [c.yaml]\npolicies: [p]\ncollector: {address: '127.0.0.1:24224', api: 'http://127.0.0.1:8080'}\n"
    b"limits: {message_bytes: 16777216}\nspool: {max_bytes: 1073741824, fsync: interval}\n",
    b'collector: {listen: "127.0.0.1:24224", http: "127.0.0.1:8080", state_dir: x, hosts: {a: b}}\n',
    b"- {principal: ann, person: ann, when: {user: ann}}\n- {principal: b, when: {unit: b.service}}",
    b"orders: {public.customers.email: [pii, email], public.customers.ssn: [pii]}\norders.public.a.b: [x]\n",
    b"intercept: {}\ndatastores:\n  - {name: cache, protocol: redis, addresses: ['*:6379'], upstream_tls: disable,\n"
    b"     scripts: [e0e1f9fabfc9d4800c877a703b823ac0578ff8db], credential: {password_file: /etc/pw}}\n"
    b"collector: {address: '127.0.0.1:24224', api: 'http://127.0.0.1:8080'}\n",
    b"cache: {'secret:*': [pii], 'profile:*#email': [pii], 'a[0-9]\\#?#$.b[*].c[0].*': [x]}\ncache.k#f*: [x]\n",
    b"a: &x [1, *x]\n? [a]\n: !!python/object:os.system x\n<<: {}\nb: |\n  x\n---\n",
]


def check_policies(data: bytes) -> None:
    """Every bundle is taken, or refused with reasons."""
    place = folder() / "policies"
    place.mkdir(exist_ok=True)
    (place / "all.cedar").write_bytes(data)
    try:
        load([place], {"orders": {"public.t.ssn": ("pii",)}, "cache": {"s:*#e": ("pii",)}}, STORES, epoch=1)
    except BundleError as error:
        said = str(error)
        assert said, "refused without a reason"


_POLICIES: Final = [POLICIES.encode()] + [text.encode() for text in (
    '@id("a") @approvers("dba") @timeout("15m") forbid (principal, action == Action::"execute_alone", resource) when '
    '{ context.effects.contains("write") };',
    '@mask("truncate:4") forbid (principal, action == Action::"reveal", resource in Tag::"pii") unless { principal in '
    'Group::"x" };',
    'permit (principal, action, resource) when { context.kinds == ["SELECT"] && context.has_where };',
    'forbid (principal, action == Action::"execute", resource in Keys::"cache/s[a-z]:*") when { resource is Key in '
    'Keys::"cache/*" && !(resource in [Keys::"cache/a", Keys::"cache/b"]) } unless { context.categories == ["slow"] };',
    'permit (principal, action, resource in Channels::"cache/n:*") when { resource is Key || resource is Channel };',
)]  # fmt: skip

CHECKS: Final = [
    Target("configuration", check_configuration, _YAML),
    Target("policies", check_policies, _POLICIES, 1024),
]
