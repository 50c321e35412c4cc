from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lockgate.cli import main

EXAMPLE = Path(__file__).parents[2] / "policies" / "examples" / "orders" / "agent.yaml"
CACHE = EXAMPLE.parents[1] / "cache" / "agent.yaml"
ANN = ("--principal", "ann", "--groups", "engineers, x", "--datastore", "orders")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, arguments)], catch_exceptions=False)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The worked example without its cases, to be broken."""
    for name in ("agent.yaml", "identities.yaml", "classification.yaml", "access.cedar", "approvals.cedar"):
        (tmp_path / name).write_text((EXAMPLE.parent / name).read_text())
    return tmp_path / "agent.yaml"


def test_the_worked_example_is_valid_and_warns_of_nothing() -> None:
    result = run("check", "--config", EXAMPLE)
    assert result.exit_code == 0
    assert "forbid writes-take-two: execute_alone, held for dba  (" in result.stdout
    assert "forbid numbers-are-redacted: reveal, masked: redact  (" in result.stdout
    assert result.stdout.endswith("ok: 21 policies, 0 warnings\n")


def test_the_cases_of_the_worked_example_hold() -> None:
    result = run("test", "--config", EXAMPLE)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "ok: 42 of 42 cases hold")
    assert "FAIL" not in result.stdout


def test_check_lists_policies_and_warnings_a_line_each(config: Path) -> None:
    (config.parent / "z.cedar").write_text(
        '@approvers("nobody") @id("a z") @timeout("2m")\n'
        'forbid (principal, action == Action::"execute_alone", resource);'
    )
    *policies, warning = lines(run("check", "--config", config, "--json"))
    assert policies[-1] == {
        "policy": "a z",
        "effect": "forbid",
        "actions": ["execute_alone"],
        "file": str(config.parent / "z.cedar"),
        "line": 1,
        "approvers": ["nobody"],
        "timeout": 120.0,
        "timeout_in_transaction": 60.0,
        "grant": None,
        "mask": None,
        "reason": None,
    }
    assert warning == {"warning": f'{config.parent}/z.cedar:1: nothing defines Group::"nobody"'}
    assert "warning: " in run("check", "--config", config).stdout


def test_policies_that_are_not_valid(config: Path) -> None:
    (config.parent / "z.cedar").write_text('\n@aprovers("dba") permit (principal, action, resource);')
    for command, status in ((("check",), 1), (("test",), 2), (("explain", *ANN, "SELECT 1"), 2)):
        result = run(*command, "--config", config)
        assert result.exit_code == status
        assert f"{config.parent}/z.cedar:2: @aprovers is not an annotation" in result.stderr


def test_a_configuration_that_is_not_valid(config: Path) -> None:
    config.write_text("agent: {nam: x}")
    for command in (("check",), ("test",), ("explain", *ANN, "SELECT 1")):
        result = run(*command, "--config", config)
        assert result.exit_code == 2
        assert "agent.yaml:1:" in result.stderr


def test_a_case_that_fails_is_one_line_and_exit_status_1(config: Path) -> None:
    (config.parent / "z.test.yaml").write_text(
        """
- {name: "[bold]read", principal: ann, groups: [engineers], datastore: orders, statement: SELECT 1, expect: allow}
- {name: a drop, principal: ann, groups: [engineers], datastore: orders, statement: DROP TABLE t, expect: hold}
"""
    )
    result = run("test", "--config", config)
    assert result.exit_code == 1
    ok, failed, total = result.stdout.splitlines()
    assert ok == "ok: [bold]read"
    assert failed == (
        f"FAIL: {config.parent}/z.test.yaml:3: a drop: "
        "expected hold, got deny (the schema changes through reviewed migrations, not here)"
    )
    assert total == "FAIL: 1 of 2 cases hold"
    result = run("test", "--config", config, "--json")
    assert result.exit_code == 1
    assert [(line["case"], line["ok"], line["policy"]) for line in lines(result)] == [
        ("[bold]read", True, "engineers-use-orders"),
        ("a drop", False, "schema-is-migrated"),
    ]


def test_no_case_at_all_is_a_failure(config: Path) -> None:
    result = run("test", "--config", config)
    assert result.exit_code == 1
    assert "no case: there is no *.test.yaml beside the policies" in result.stderr


def test_a_case_that_cannot_be_read_is_a_configuration_error(config: Path) -> None:
    (config.parent / "z.test.yaml").write_text("- {name: x}")
    result = run("test", "--config", config)
    assert result.exit_code == 2
    assert "z.test.yaml:1: [0]: `principal` is missing" in result.stderr


def test_explain_says_it_in_a_sentence_whatever_the_verdict() -> None:
    result = run("explain", "--config", EXAMPLE, *ANN, "DELETE FROM parcels WHERE id = 7")
    assert (result.exit_code, result.stdout) == (
        0,
        "hold: ann has to wait for a second person on orders: someone in dba, within 15 minutes "
        f"(30 seconds in an open transaction). Held by writes-take-two ({EXAMPLE.parent}/approvals.cedar:14). "
        "They may let the like of it pass for up to 8 hours. "
        f"card in other columns: masked (partial) by no-cards-in-notes ({EXAMPLE.parent}/masking.cedar:54). "
        "cloud_key, private_key, jwt in other columns: masked (redact) by no-keys-in-notes "
        f"({EXAMPLE.parent}/masking.cedar:45).\n",
    )
    denied = run("explain", "--config", EXAMPLE, *ANN, 'SELECT * FROM "[red]x[/red]"; DROP TABLE t')
    assert denied.exit_code == 0
    assert denied.stdout.startswith("deny: ann may not run this on orders: the schema changes through")


def test_explain_as_json() -> None:
    (line,) = lines(run("explain", "--config", EXAMPLE, *ANN, "--json", "SELECT ssn FROM customers"))
    assert (line["verdict"], line["policy"], line["line"]) == ("allow", "engineers-use-orders", 3)
    assert line["file"] == str(EXAMPLE.parent / "access.cedar")
    assert {"column": "public.customers.ssn", "masker": "redact", "policy": "numbers-are-redacted"} in line["masks"]
    assert line["statements"] == [
        {"kind": "SELECT", "effects": ["read"], "objects": ["customers"], "functions": [], "touches": []}
    ]
    (line,) = lines(run("explain", "--config", EXAMPLE, *ANN, "--json", "SELECT FROM WHERE"))
    assert (line["verdict"], line["policy"], line["file"]) == ("deny", "lockgate:refusal", None)


def test_explain_knows_people_and_the_datastores_users(config: Path) -> None:
    (config.parent / "access.cedar").write_text(
        'permit (principal, action, resource);\nforbid (principal, action == Action::"execute", resource) unless '
        '{ principal has person && principal.person == "p" && context.user == "u" && context.database == "d" };'
    )
    who = ("explain", "--config", config, *ANN, "--json", "SELECT 1")
    assert lines(run(*who, "--person", "p", "--user", "u", "--database", "d"))[0]["verdict"] == "allow"
    for missing in (("--person", "p", "--user", "u"), ("--person", "p", "--database", "d"), ("--user", "u")):
        assert lines(run(*who, *missing))[0]["verdict"] == "deny"


def test_explain_as_of_another_time_and_for_so_many_rows(config: Path) -> None:
    (config.parent / "z.cedar").write_text(
        '@id("night") forbid (principal, action == Action::"execute", resource) when { context.hour < 6 };\n'
        '@id("many") forbid (principal, action == Action::"execute", resource)\n'
        "when { context has estimated_rows && context.estimated_rows > 9 };"
    )
    who = ("explain", "--config", config, *ANN, "--json", "SELECT 1")
    for options, policy in (
        (("--at", "2026-01-03T05:59"), "night"),
        (("--at", "2026-01-03T06:00"), "engineers-use-orders"),
        (("--at", "2026-01-03T06:00", "--estimated-rows", "10"), "many"),
    ):
        assert lines(run(*who, *options))[0]["policy"] == policy
    result = run(*who, "--at", "noon")
    assert (result.exit_code, "--at 'noon' is not a time" in result.stderr) == (2, True)


def test_explain_for_a_datastore_that_is_not_configured() -> None:
    result = run("explain", "--config", EXAMPLE, "--principal", "ann", "--datastore", "order", "SELECT 1")
    assert result.exit_code == 2
    assert "no datastore is called 'order'" in result.stderr
    assert "there are orders" in result.stderr


@pytest.mark.parametrize("command", ["check", "test", "explain"])
def test_every_command_looks_where_the_package_puts_it(command: str) -> None:
    assert "/etc/lockgate/agent.yaml" in run(command, "--help").stdout


# policies that are only tried


@pytest.fixture
def trying(config: Path) -> Path:
    """The worked example with a set beside it that is tried, and a case of its own."""
    following = config.parent / "next"
    following.mkdir()
    (following / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    config.write_text(config.read_text() + "shadow: [next]\n")
    return config


def test_what_is_tried_is_checked_tested_and_explained_by_itself(trying: Path) -> None:
    assert "ok: 1 policies" in run("check", "--config", trying, "--shadow").stdout
    (told,) = lines(run("explain", "--config", trying, "--shadow", "--json", *ANN, "DROP TABLE orders"))
    assert (told["verdict"], told["policy"]) == ("allow", "all")
    assert lines(run("explain", "--config", trying, "--json", *ANN, "DROP TABLE orders"))[0]["verdict"] == "deny"
    result = run("test", "--config", trying, "--shadow")
    assert (result.exit_code, "no case" in result.stderr) == (1, True)
    (trying.parent / "next" / "x.test.yaml").write_text((EXAMPLE.parent / "access.test.yaml").read_text())
    assert run("test", "--config", trying, "--shadow").exit_code == 1, (
        "its cases are asked of it, not of those in force"
    )


def test_a_mistake_in_what_is_tried_is_told(trying: Path) -> None:
    (trying.parent / "next" / "all.cedar").write_text("permit (nobody);")
    assert run("check", "--config", trying).exit_code == 0
    result = run("check", "--config", trying, "--shadow")
    assert (result.exit_code, "next/all.cedar:1" in result.stderr) == (1, True)


def test_nothing_is_tried_unless_configured(config: Path) -> None:
    result = run("check", "--config", config, "--shadow")
    assert (result.exit_code, "names no policies to be tried" in result.stderr) == (2, True)


# --- of Redis


def test_the_worked_example_of_a_cache_is_valid_and_its_cases_hold() -> None:
    assert run("check", "--config", CACHE).stdout.endswith("ok: 17 policies, 0 warnings\n")
    result = run("test", "--config", CACHE)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "ok: 50 of 50 cases hold")


def test_explain_a_command_as_redis_cli_takes_it() -> None:
    ann = ("--principal", "ann", "--groups", "engineers", "--datastore", "cache")
    result = run("explain", "--config", CACHE, *ann, "HSET 'cart:4 2' a 1")
    assert result.stdout.startswith(
        "deny: ann may not run this on cache: no policy permits ann to write keys cart:* of cache (HSET). "
    )
    assert "4 2" not in result.stdout


def test_explain_a_transaction_as_json() -> None:
    shop = ("--principal", "shop", "--groups", "services", "--datastore", "cache")
    (line,) = lines(
        run("explain", "--config", CACHE, *shop, "--json", "PING\nMGET session:1 cart:1\nPSUBSCRIBE mail:*")
    )
    assert line["verdict"] == "allow"
    assert [(s["kind"], s["touches"]) for s in line["statements"]] == [
        ("PING", []),
        (
            "MGET",
            [
                {"place": "key", "patterns": ["session:*"], "effects": ["read"]},
                {"place": "key", "patterns": ["cart:*"], "effects": ["read"]},
            ],
        ),
        ("PSUBSCRIBE", [{"place": "channel", "patterns": ["mail:*"], "effects": ["read"]}]),
    ]


def test_explain_a_script_that_agent_yaml_lists() -> None:
    shop = ("--principal", "shop", "--groups", "services", "--datastore", "cache")
    script = "EVALSHA c3f8721cbb97f72bc19e972846bd7aaf91901658 1 lock:stock token"
    assert run("explain", "--config", CACHE, *shop, script).stdout.startswith("allow: ")
    assert run("explain", "--config", CACHE, *shop, script.replace("c3f", "c4f")).stdout.startswith("deny: ")
