"""Allowed and refused, as an unmodified psql sees it."""

from __future__ import annotations

import subprocess

from tests.support.stack import Stack, environment


def test_what_policy_permits_passes_unchanged(stack: Stack) -> None:
    run = stack.psql("ann", "SELECT id, total FROM orders WHERE id < 3 ORDER BY id")
    assert (run.returncode, run.stdout, run.stderr) == (0, "1|10\n2|20\n", "")


def test_somebody_nobody_knows_is_told_who_they_are_taken_for(stack: Stack) -> None:
    run = stack.psql("eve", "SELECT 1")
    assert run.returncode == 1
    assert "no policy permits unmatched to read in orders" in run.stderr


def test_a_refusal_names_the_policy_in_one_line_and_the_table_is_there(stack: Stack) -> None:
    run = stack.psql("ann", "DROP TABLE orders", "SELECT count(*) FROM orders")
    assert "ERROR:  lockgate: schema changes go through migrations\nDETAIL:  policy no-drop\n" in run.stderr
    assert run.stdout == "100\n", "the connection is in sync and usable"


def test_the_sqlstate_is_insufficient_privilege(stack: Stack) -> None:
    run = subprocess.run(
        stack.psql_command("ann"), input="DROP TABLE orders;\n\\echo :SQLSTATE\n", capture_output=True, text=True,
        check=False, env=environment(), timeout=30,
    )  # fmt: skip
    assert run.stdout == "42501\n"


def test_a_refusal_in_a_transaction_fails_it_as_postgresql_would(stack: Stack) -> None:
    script = """
    BEGIN; INSERT INTO scratch VALUES (1, 'a');
    DROP TABLE orders;
    SELECT 1;
    COMMIT;
    SELECT count(*) FROM scratch;
    """
    run = subprocess.run(
        stack.psql_command("ann", "-q"), input=script, capture_output=True, text=True, check=False, env=environment(),
        timeout=30,
    )  # fmt: skip
    assert "lockgate: schema changes" in run.stderr
    assert "current transaction is aborted" in run.stderr
    assert run.stdout == "0\n", "COMMIT rolled back"


def test_one_statement_of_several_that_is_refused_refuses_all(stack: Stack) -> None:
    run = stack.psql("ann", "INSERT INTO scratch VALUES (2, 'b'); DROP TABLE orders")
    assert "no-drop" in run.stderr
    assert stack.server.psql("SELECT count(*) FROM scratch") == "0\n"


def test_what_cannot_be_parsed_is_refused_and_not_sent(stack: Stack) -> None:
    run = stack.psql("ann", "SELEC 4712")
    assert run.returncode == 1
    assert "syntax error" in run.stderr
    assert "4712" not in (stack.server.folder / "log").read_text()


def test_ipv6_is_no_way_around(stack: Stack) -> None:
    run = stack.psql("ann", "DROP TABLE orders", host="::1")
    assert "no-drop" in run.stderr


def test_start_up_options_are_judged_as_the_set_that_they_are(stack: Stack) -> None:
    run = stack.psql("ann", "SELECT 1", PGOPTIONS="-c role=postgres")
    records = stack.records(type="statement", phase="begin")
    assert any("role" in r["statement"] and r["kinds"] == ["SET"] for r in records), run.stderr


def test_a_record_stands_before_and_after_each_statement(stack: Stack) -> None:
    stack.psql("ann", "SELECT 4711 AS marker")
    begin = next(r for r in stack.records(type="statement", phase="begin") if "4711" in r["statement"])
    end = stack.record(type="statement", phase="end", id=begin["id"])
    who = begin["connection"]
    assert (who["principal"], who["person"], who["groups"]) == ("ann", "ann", ["engineers"])
    assert (who["datastore"], who["database"], who["user"]) == ("orders", "postgres", "app")
    assert who["workload"]["exe"].endswith("/psql")
    assert who["workload"]["uid"] == 64001
    assert (begin["verdict"], begin["policy"], begin["effects"]) == ("allow", "engineers-work", ["read"])
    assert (end["outcome"], end["rows"], end["tag"]) == ("completed", 1, "SELECT 1")
    assert end["duration_us"] > 0
    assert begin["seq"] < end["seq"]


def test_a_refused_statement_is_recorded_as_one(stack: Stack) -> None:
    stack.psql("ann", "DROP TABLE orders /* recorded */")
    begin = next(r for r in stack.records(phase="begin", verdict="deny") if "recorded" in r.get("statement", ""))
    end = stack.record(phase="end", id=begin["id"])
    assert (begin["policy"], end["outcome"], end["error"]) == ("no-drop", "denied", {"code": "42501"})
