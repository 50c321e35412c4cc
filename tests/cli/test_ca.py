"""`lockgate ca`: shown, installed where it is told to, removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from lockgate.cli import main


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(
        json.dumps(
            {
                "agent": {"name": "host-1", "state_dir": str(tmp_path / "state"), "run_dir": str(tmp_path / "run")},
                "intercept": {"cgroup": "/"},
                "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["127.0.0.1:5432"]}],
                "collector": {"address": "127.0.0.1:1", "api": "http://127.0.0.1:2"},
            }
        )
    )
    return path


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["ca", *arguments, "--config", str(config)])


def test_shown_it_is_a_certificate_and_nothing_else(config: Path) -> None:
    shown = run(config, "show")
    assert shown.exit_code == 0
    certificate = x509.load_pem_x509_certificate(shown.stdout.encode())
    assert shown.stdout.startswith("-----BEGIN CERTIFICATE-----")
    (told,) = [json.loads(line) for line in run(config, "show", "--json").stdout.splitlines()]
    assert told["pem"] == shown.stdout
    assert told["subject"] == certificate.subject.rfc4514_string() == "CN=Lockgate on host-1"
    assert told["sha256"] in shown.stderr
    assert told["not_after"] in shown.stderr


def test_installed_and_removed_again(config: Path, tmp_path: Path) -> None:
    anchors = tmp_path / "anchors"
    anchors.mkdir()
    assert run(config, "install", "--anchors", str(anchors)).exit_code == 0
    assert (anchors / "lockgate-host-1.crt").read_text() == run(config, "show").stdout
    assert run(config, "remove", "--anchors", str(anchors)).exit_code == 0
    gone = run(config, "remove", "--anchors", str(anchors))
    assert (gone.exit_code, "is not there" in gone.stderr) == (1, True)


def test_what_fails_is_one_line_and_1(config: Path, tmp_path: Path) -> None:
    failed = run(config, "install", "--anchors", str(tmp_path / "absent"))
    assert (failed.exit_code, failed.stderr.count("\n")) == (1, 1)
    (tmp_path / "state").chmod(0o777)
    failed = run(config, "show")
    assert failed.exit_code == 1
    assert "others may write here" in failed.stderr
