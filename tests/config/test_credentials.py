"""What a credential may look like in the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.config import ConfigError, load_agent

AGENT = """
agent: {name: host-1}
intercept: {cgroup: /apps}
collector: {address: "127.0.0.1:24224", api: "http://127.0.0.1:8080"}
datastores:
  - name: orders
    protocol: postgresql
    addresses: ["127.0.0.1:5432"]
"""


def load(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(AGENT + text)
    return path


@pytest.mark.parametrize(
    "source",
    ["", ", password_file: app.pw", ", systemd: orders.app", ", env: ORDERS_PW", ", command: [/usr/bin/vault, read]"],
)
def test_one_source_or_none(tmp_path: Path, source: str) -> None:
    settings = load_agent(load(tmp_path, f"    credential: {{user: app{source}}}\n")).datastores[0]
    assert settings.credential is not None
    assert settings.credential.user == "app"
    assert settings.credential.password_file == (f"{tmp_path}/app.pw" if "password_file" in source else None)


def test_roles_and_the_catalogs_reader_have_them_too(tmp_path: Path) -> None:
    path = load(
        tmp_path,
        """    catalog: {user: reader, env: READER_PW}
    roles:
      - {group: dba, credential: {user: owner, password_file: owner.pw}}
      - {group: "*", credential: {user: app}}
    channel_binding: require
""",
    )
    settings = load_agent(path).datastores[0]
    assert settings.catalog is not None
    assert settings.catalog.env == "READER_PW"
    assert [role.credential.user for role in settings.roles] == ["owner", "app"]
    assert settings.roles[0].credential.password_file == f"{tmp_path}/owner.pw"
    assert settings.channel_binding == "require"


WIDE = '    addresses: ["127.0.0.1:5432", "{}"]\n    credential: {{user: app}}\n'


@pytest.mark.parametrize("address", ["*:5432", "10.0.0.0/8:5432", "0.0.0.0/0:5432"])
def test_no_credential_is_for_whoever_can_be_dialled(tmp_path: Path, address: str) -> None:
    """A client would dial a server of its own, and be handed what the agent answers it with."""
    given = AGENT.replace('    addresses: ["127.0.0.1:5432"]\n', "")
    path = tmp_path / "agent.yaml"
    ca = "    upstream_ca: ca.crt\n"
    for short in ("", "    upstream_tls: require\n" + ca, "    upstream_tls: verify-full\n"):
        path.write_text(given + WIDE.format(address) + short)
        with pytest.raises(ConfigError, match=r"addresses\[1\].*verify-full and upstream_ca"):
            load_agent(path)
    path.write_text(given + WIDE.format(address) + "    upstream_tls: verify-full\n" + ca)
    assert load_agent(path).datastores[0].verified


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("credential: {user: app, env: A, systemd: a}", "comes from systemd already"),
        ("credential: {user: app, password_file: a, command: [/b]}", "comes from password_file already"),
        ("catalog: {user: app, env: A, systemd: a}", "comes from systemd already"),
        ("roles: [{group: dba, credential: {user: app, env: A, systemd: a}}]", "comes from systemd already"),
        ("credential: {user: app, command: [vault]}", "absolute path"),
        ("credential: {user: app, command: []}", "length"),
        ("credential: {user: app, systemd: ../host.key}", "regex"),
        ("credential: {user: app, env: A=B}", "regex"),
        ('credential: {user: ""}', "length"),
        ('credential: {user: "a\\nb"}', "not the name of a role"),
        (f"credential: {{user: {'ä' * 32}}}", "not the name of a role"),
        ("credential: {user: app, password: s3cret}", "password"),
        ("credential: {password_file: a}", "user"),
        ("channel_binding: require\n    upstream_tls: disable", "nothing to bind to"),
        ("channel_binding: always", "channel_binding"),
    ],
)
def test_what_can_not_stand(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        load_agent(load(tmp_path, f"    {text}\n"))
    assert "s3cret" not in str(refused.value)
