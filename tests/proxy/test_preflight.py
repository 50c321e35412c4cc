"""What a start would refuse, refused before one stops what runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate import config
from lockgate.proxy.preflight import PreflightError, check


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.cedar").write_text("permit (principal, action, resource);")
    (tmp_path / "identities.yaml").write_text("[]\n")
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "secret").chmod(0o600)
    (tmp_path / "masking.key").write_text("0" * 64)
    (tmp_path / "masking.key").chmod(0o600)
    return tmp_path


def checked(folder: Path, *, masking: dict[str, Any] | None = None, **datastore: Any) -> tuple[str, ...]:
    settings = {
        "agent": {"name": "h", "state_dir": str(folder / "state"), "run_dir": str(folder / "run")},
        "intercept": {"cgroup": "/"},
        "datastores": [{"name": "orders", "protocol": "postgresql", "addresses": ["10.9.8.7:5432"], **datastore}],
        "identities": ["identities.yaml"],
        "policies": ["policies"],
        "collector": {"address": "127.0.0.1:9", "api": "http://127.0.0.1:9"},
        **({"masking": masking} if masking else {}),
    }
    (folder / "agent.yaml").write_text(yaml.safe_dump(settings))
    return check(config.load_agent(str(folder / "agent.yaml")))


def test_what_would_start_passes_and_leaves_nothing_behind(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    warnings = checked(
        folder, masking={"key_file": "masking.key"}, credential={"user": "app", "password_file": "secret"}
    )
    assert warnings == ()
    assert sorted(folder.rglob("*")) == sorted([*before, folder / "agent.yaml"])


def test_warnings_of_the_policies_are_passed_on(folder: Path) -> None:
    (folder / "policies" / "all.cedar").write_text('permit (principal, action == Action::"execute", resource);')
    assert any("execute_alone" in warning for warning in checked(folder))


@pytest.mark.parametrize(
    ("file", "content", "datastore", "told"),
    [
        ("policies/all.cedar", "permit (", {}, "all.cedar"),
        ("identities.yaml", "- {principal: x}\n", {}, "identities.yaml"),
        ("secret", "", {"credential": {"user": "app", "password_file": "secret"}}, "secret"),
        ("none", "", {"credential": {"user": "app", "password_file": "absent"}}, "absent"),
        ("none", "", {"upstream_tls": "verify-full", "upstream_ca": "absent.crt"}, "absent.crt"),
        ("ca.crt", "nothing", {"upstream_tls": "verify-full", "upstream_ca": "ca.crt"}, "ca.crt"),
    ],
)
def test_what_a_start_would_refuse_is_named(
    folder: Path, file: str, content: str, datastore: dict[str, Any], told: str
) -> None:
    (folder / file).write_text(content)
    with pytest.raises(PreflightError, match=told) as error:
        checked(folder, **datastore)
    assert len(str(error.value).splitlines()) == 1


def test_a_secret_open_to_everyone(folder: Path) -> None:
    (folder / "secret").chmod(0o644)
    with pytest.raises(PreflightError, match="open to everyone") as error:
        checked(folder, credential={"user": "app", "password_file": "secret"})
    assert "hunter2" not in str(error.value)


def test_a_masking_key_that_is_none(folder: Path) -> None:
    (folder / "masking.key").write_text("short")
    with pytest.raises(PreflightError, match=r"masking\.key"):
        checked(folder, masking={"key_file": "masking.key"})


def test_a_command_that_can_not_run_is_a_warning(folder: Path) -> None:
    found = checked(folder, credential={"user": "app", "command": ["/absent/vault"]})
    assert [w for w in found if "/absent/vault" in w]


def test_a_run_folder_that_is_a_file(folder: Path) -> None:
    (folder / "run").write_text("")
    with pytest.raises(PreflightError, match="run_dir"):
        checked(folder)


def test_policies_that_are_only_tried_are_no_reason_not_to_start(folder: Path) -> None:
    def told() -> tuple[str, ...]:
        (folder / "next").mkdir(exist_ok=True)
        checked(folder)
        text = (folder / "agent.yaml").read_text() + "shadow: [next]\n"
        (folder / "agent.yaml").write_text(text)
        return check(config.load_agent(str(folder / "agent.yaml")))

    (warning,) = told()
    assert warning.startswith("shadow: nothing is tried: ")
    (folder / "next" / "all.cedar").write_text("permit (principal, action, resource);")
    assert told() == ()


def test_a_redis_needs_no_reader_of_a_catalog(folder: Path) -> None:
    (folder / "policies" / "all.cedar").write_text(
        'permit (principal, action in [Action::"execute", Action::"execute_alone"], resource in Keys::"orders/a:*");'
    )
    redis: dict[str, Any] = {"protocol": "redis", "addresses": ["10.9.8.7:6379"]}
    assert not any("catalog" in warning for warning in checked(folder, **redis))
    checked(folder, **redis, credential={"password_file": "secret"})
    with pytest.raises(PreflightError, match="absent"):
        checked(folder, **redis, catalog={"password_file": "absent"})
