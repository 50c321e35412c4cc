"""What a first installation finds in /etc/lockgate: it starts as it is, and does nothing to anybody."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lockgate import config
from lockgate.policy.bundle import configured, load
from lockgate.proxy.preflight import check

INSTALLED = Path(__file__).parents[2] / "packaging" / "etc"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    return Path(shutil.copytree(INSTALLED, tmp_path / "lockgate"))


def test_it_would_start_without_a_warning(etc: Path) -> None:
    assert check(config.load_agent(str(etc / "agent.yaml"))) == ()


def test_it_observes_everything_and_reads_no_client_s_own_tls(etc: Path) -> None:
    settings = config.load_agent(str(etc / "agent.yaml"))
    assert [(store.mode, store.tls_of_clients) for store in settings.datastores] == [("observe", "pass")]
    assert settings.intercept.cgroup == "/"


def test_the_collector_s_would_start(etc: Path) -> None:
    assert config.load_collector(str(etc / "collector.yaml")).collector.state_dir == "/var/lib/lockgate-collector"


def test_the_files_that_are_not_used_yet_are_right(etc: Path) -> None:
    """Whoever takes the comment away in agent.yaml is not surprised."""
    config.load_classification([str(etc / "classification.yaml")], {"postgresql": "postgresql"})
    assert config.load_identities([str(etc / "identities.yaml")]) == []


def test_the_policies_name_what_there_is(etc: Path) -> None:
    bundle = configured(config.load_agent(str(etc / "agent.yaml")), epoch=1)
    assert {policy.id for policy in bundle.policies} >= {"start-reads-and-writes", "start-whole-tables"}


def test_datastores_in_comments_are_as_the_program_reads_them(etc: Path) -> None:
    agent, classification = etc / "agent.yaml", etc / "classification.yaml"
    lines = [
        line.replace("  # ", "  ", 1) if line.startswith("  # ") else line for line in agent.read_text().splitlines()
    ]
    agent.write_text("\n".join(lines))
    stores = {store.name: store.protocol for store in config.load_agent(str(agent)).datastores}
    assert stores == {"postgresql": "postgresql", "orders": "postgresql", "cache": "redis"}
    shown = [
        line.removeprefix("# ")
        for line in classification.read_text().splitlines()
        if line.endswith("}") and ": {" in line
    ]
    classification.write_text("\n".join(shown))
    found = config.load_classification([str(classification)], stores)
    assert {store: len(names) for store, names in found.items()} == {"orders": 2, "cache": 4}


def test_policies_in_comments_are_valid(etc: Path) -> None:
    start = etc / "policies" / "start.cedar"
    text = start.read_text()
    begin = text.index("// @id(")
    shown = "\n".join(line.removeprefix("// ") for line in text[begin:].partition(";")[0].splitlines())
    start.write_text(text + shown + ";")
    bundle = load([start], {}, {"cache": "redis"}, epoch=1)
    assert [policy.id for policy in bundle.policies][-1] == "start-secrets"


def test_the_examples_in_comments_are_as_the_program_reads_them(etc: Path) -> None:
    text = (etc / "identities.yaml").read_text()
    shown = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# - {")]
    assert shown
    (etc / "identities.yaml").write_text("\n".join(shown))
    assert len(config.load_identities([str(etc / "identities.yaml")])) == len(shown)
