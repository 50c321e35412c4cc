"""`lockgate audit` through the API and on the collector's own file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lockgate.cli import audit
from lockgate.cli.show import line
from lockgate.collector.entry import parse_all
from lockgate.collector.store import database
from lockgate.understand.redis import Understanding
from tests.cli.host import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path) as found:
        host = found.host
        host.statement("SELECT email FROM customers", 1)
        identifier = host.statement("DELETE FROM orders", 2, verdict="hold", approval="hold-0001")
        host.write(
            type="approval",
            id=identifier,
            hold="hold-0001",
            digest="d",
            outcome="approved",
            waited_us=5,
            approver="bob",
        )
        host.statement("DROP TABLE \x1b[31m customers", 3, verdict="deny")
        host.seal()
        found.write(found.server._writer.store.ingest, [parse_all(host.records)])
        yield found


@pytest.fixture(params=["agent", "collector"])
def config(desk: Desk, request: pytest.FixtureRequest) -> Path:
    """Both ways to ask have to give the same answers."""
    return desk.agent_yaml if request.param == "agent" else desk.collector_yaml


def ids(output: str) -> list[str]:
    return [json.loads(line)["id"] for line in output.splitlines()]


def test_search_finds_by_word_and_field(desk: Desk, config: Path) -> None:
    def found(*arguments: str) -> list[str]:
        result = desk.run("audit", "search", *arguments, "--json", config=config)
        assert result.exit_code == 0, result.output
        return ids(result.output)

    assert found("delete") == ["c1-2"]
    assert found("customers") == ["c1-3", "c1-1"]
    assert found("email", "from") == ["c1-1"]
    assert found("--verdict", "deny") == ["c1-3"]
    assert found("--principal", "ann", "--limit", "1") == ["c1-3"]
    assert found("--connection", "c2") == []
    assert found("--until", "2020-01-01") == []
    assert len(found("--since", "2020-01-01T00:00:00")) == 4
    tomorrow = (datetime.now(UTC) + timedelta(days=3000)).date().isoformat()
    assert found("--since", tomorrow) == []


def test_search_shows_a_table(desk: Desk, config: Path) -> None:
    result = desk.run("audit", "search", config=config)
    assert result.exit_code == 0
    for word in ("WHO", "c1-1", "ann", "bob", "approved", "orders", "allow", "completed", "deny"):
        assert word in result.output
    assert "\x1b" not in result.output
    assert desk.run("audit", "search", "nowhere", config=config).output == "Nothing found.\n"


def test_show_gives_the_whole_story_of_one_statement(desk: Desk, config: Path) -> None:
    result = desk.run("audit", "show", "c1-2", config=config)
    assert result.exit_code == 0
    for word in (
        "statement begin",
        "statement end",
        "approval",
        "DELETE FROM orders",
        "approver:",
        "bob",
        "principal:",
    ):
        assert word in result.output
    lines = desk.run("audit", "show", "c1-2", "--json", "--host", "host-1", config=config).output.splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["statement", "statement", "approval"]
    assert "\x1b" not in desk.run("audit", "show", "c1-3", config=config).output


def test_show_of_nothing_or_of_several_is_1(desk: Desk, config: Path) -> None:
    for wanted, why in (("c9", "no record"), ("c1-", "fits several"), ("../holds", "no record")):
        result = desk.run("audit", "show", wanted, config=config)
        assert result.exit_code == 1
        assert why in result.output


def test_verify_says_intact(desk: Desk, config: Path) -> None:
    result = desk.run("audit", "verify", config=config)
    assert result.exit_code == 0
    assert f"host-1: intact, 8 records, signed by {desk.host.key.kid}" in result.output
    assert json.loads(desk.run("audit", "verify", "--json", config=config).output)["ok"] is True


def test_verify_of_a_tampered_store_is_1(desk: Desk, config: Path) -> None:
    with sqlite3.connect(database(desk.state)) as other:
        other.execute("DELETE FROM records WHERE seq = 3")
    other.close()
    result = desk.run("audit", "verify", config=config)
    assert result.exit_code == 1
    assert "host-1: BROKEN" in result.output
    assert "records 3 to 3 are missing" in result.output
    assert desk.run("audit", "verify", "--json", "--host", "host-1", config=config).exit_code == 1


def test_who_may_not_read_is_told_so(desk: Desk) -> None:
    desk.be("ann", "engineers")
    desk.container = "c" * 64  # whoever runs this test may be root, who reads the records of its own host
    result = desk.run("audit", "search")
    assert result.exit_code == 1
    assert "reading records takes one of the groups security" in result.output


def test_with_the_collector_down_its_file_still_answers(desk: Desk, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with sqlite3.connect(database(desk.state)) as live, sqlite3.connect(database(copy)) as target:
        live.backup(target)
    live.close()
    target.close()
    other = tmp_path / "other.yaml"
    other.write_text(desk.collector_yaml.read_text().replace(str(desk.state), str(copy)))
    assert desk.run("audit", "verify", config=other).exit_code == 0


def test_a_store_that_is_not_there_is_said(desk: Desk, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(desk.collector_yaml.read_text().replace(str(desk.state), str(tmp_path / "nowhere")))
    result = desk.run("audit", "search", config=other)
    assert result.exit_code == 1
    assert "has `lockgate collector` run" in result.output


@pytest.mark.parametrize(
    "arguments",
    [("search", "--since", "yesterday"), ("search", "--limit", "0"), ("search", "--verdict", "maybe"), ("show",)],
)
def test_wrong_usage_is_2(desk: Desk, arguments: tuple[str, ...]) -> None:
    assert desk.run("audit", *arguments).exit_code == 2


def observed(desk: Desk) -> None:
    host = desk.host
    host.statement("DROP TABLE a", 1, "c7", would="deny", policy="no-drop")
    host.statement("DROP TABLE b", 2, "c7", would="deny", policy="no-drop", facts={"principal": "billing"})
    host.statement("SELECT 1", 3, "c7", shadow={"would": "hold", "policy": "next", "reason": "r", "epoch": 2})
    host.statement("SELECT 2", 4, "c7", would="allow", masks=[["a.b.c", "null"]])
    host.write(type="connection", id="c7", connection={"id": "c7", "principal": "ann"}, unread="tls")
    desk.write(desk.server._writer.store.ingest, [parse_all(host.records)])


def test_search_finds_what_would_have_been(desk: Desk, config: Path) -> None:
    observed(desk)

    def found(*arguments: str) -> list[str]:
        return ids(desk.run("audit", "search", *arguments, "--json", config=config).output)

    assert found("--would", "deny") == ["c7-2", "c7-1"]
    assert found("--would", "mask") == ["c7-4"]
    assert found("--shadow", "hold") == ["c7-3"]
    assert found("drop", "--would", "deny", "--principal", "ann") == ["c7-1"]
    shown = desk.run("audit", "search", "--connection", "c7", config=config).output
    for word in ("allow (would deny)", "allow (would mask)", "allow (tried: hold)", "connection (unread)", "tls"):
        assert word in shown


def test_would_sums_up_for_who_decides(desk: Desk, config: Path) -> None:
    assert desk.run("audit", "would", config=config).output == "Nothing would have been done otherwise.\n"
    observed(desk)
    result = desk.run("audit", "would", "--since", "2020-01-01", "--json", config=config)
    assert result.exit_code == 0, result.output
    first, *others = [json.loads(line) for line in result.output.splitlines()]
    assert (first["decision"], first["policy"], first["statements"], first["principals"]) == ("deny", "no-drop", 2, 2)
    assert first["example"] == "c7-2"
    assert {(e["kind"], e["decision"]) for e in others} == {("shadow", "hold"), ("would", "mask")}
    table = desk.run("audit", "would", "--since", "2020-01-01", config=config).output
    for word in ("WOULD", "no-drop", "2 (", "billing", "enforcing", "tried", "c7-2"):
        assert word in table
    assert desk.run("audit", "would", "--host", "host-9", config=config).exit_code in (0, 1)
    assert "no-drop" not in desk.run("audit", "would", "--datastore", "other", config=config).output


def test_commands_of_one_record_are_lines_and_no_key_makes_another(capsys: pytest.CaptureFixture[str]) -> None:
    """What a Redis client sends in one go is one statement, a line each; what it sends can hold anything."""
    commands = ((b"SET", b"a\nFLUSHALL", b"x"), (b"GET", b"\x1b[31m\xe2\x80\xae"))
    text = "\n".join(Understanding().request(args).text for args in commands)
    record = {"type": "statement", "phase": "begin", "host": "h", "time": 10**18, "statement": text}
    audit._print(record)
    shown = capsys.readouterr().out.splitlines()
    assert shown[-3:] == ["  statement:", '    SET "a\\nFLUSHALL" ?', '    GET "\\x1b[31m\\xe2\\x80\\xae"']
    assert line(audit._row(record)[-1]) == 'SET "a\\nFLUSHALL" ? GET "\\x1b[31m\\xe2\\x80\\xae"'
