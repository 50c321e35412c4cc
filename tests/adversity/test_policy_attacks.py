"""Statements that do more than they say, and policies that mean something else than their author thinks.

ann may read and write, but nothing unknown, nothing without a predicate, and no DDL. What others made for their own
use, views, domains, functions, operators, is hers to name.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres18 import Postgres18
from tests.support.stack import SCHEMA, Stack

POLICIES = """
@id("work")
permit (principal in Group::"engineers", action == Action::"execute", resource in Datastore::"orders")
unless { context.effects.containsAny(["ddl", "admin", "unknown"]) };
@id("whole-tables")
forbid (principal, action == Action::"execute", resource)
when { context.effects.contains("write") && !context.has_where };
@id("no-settings")
forbid (principal, action == Action::"execute", resource) unless { context.settings.isEmpty() };
@id("alone")
permit (principal, action in [Action::"execute_alone", Action::"reveal"], resource);
@id("pii")
forbid (principal, action == Action::"reveal", resource in Tag::"pii") unless { principal in Group::"pii-readers" };
"""
PREPARED = """
CREATE TABLE traces (x int);
CREATE FUNCTION nuke() RETURNS int LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.traces VALUES (1); RETURN 1; END$$;
CREATE FUNCTION nuke(int) RETURNS boolean LANGUAGE sql AS 'SELECT public.nuke() > 0';
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 2 * $1';
CREATE FUNCTION quick() RETURNS int LANGUAGE sql SECURITY DEFINER STABLE AS 'SELECT 1';
CREATE VIEW wiper AS SELECT nuke() AS x;
CREATE VIEW wiper_below AS SELECT w.x, o.id FROM orders o, wiper w;
CREATE VIEW owners AS SELECT quick() AS x;
CREATE VIEW plain AS SELECT id, upper(name) AS name, twice(id) AS double FROM customers;
CREATE MATERIALIZED VIEW kept AS SELECT nuke() AS x;
CREATE FUNCTION by_view() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(x) FROM wiper';
CREATE FUNCTION by_view_too() RETURNS bigint LANGUAGE plpgsql STABLE AS
  $$BEGIN RETURN (SELECT sum(x) FROM wiper_below); END$$;
CREATE VIEW settings AS SELECT * FROM pg_settings;
CREATE VIEW settings_too AS SELECT * FROM settings;
CREATE DOMAIN checked AS int CHECK (nuke(value));
CREATE DOMAIN checked_too AS checked;
CREATE TYPE pair AS (a int, b checked_too);
CREATE DOMAIN small AS int CHECK (value < 10);
CREATE FUNCTION by_domain() RETURNS int LANGUAGE plpgsql STABLE AS $$DECLARE v checked := 1; BEGIN RETURN v; END$$;
CREATE TYPE money_too AS (amount int);
CREATE FUNCTION to_money(int) RETURNS money_too LANGUAGE sql AS 'SELECT ROW(nuke())::money_too';
CREATE CAST (int AS money_too) WITH FUNCTION to_money(int);
CREATE FUNCTION "a.twice"(int) RETURNS int LANGUAGE sql AS 'SELECT nuke()';
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
DELETE FROM traces;
"""
TRACES = "SELECT count(*) FROM traces"


@pytest.fixture(scope="module", params=["15", "18"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    classification = {"orders": {"public.customers.ssn": ["pii"]}}
    server = Postgres18() if request.param == "18" else None
    with Stack(policies=POLICIES, schema=SCHEMA + PREPARED, classification=classification, server=server) as running:
        yield running


def refused(stack: Stack, *statements: str) -> str:
    """What ann is told of the last of `statements`, none of which leaves a trace; her connection is good afterwards."""
    before = stack.server.psql(TRACES)
    run = stack.psql("ann", *statements, "SELECT 'still here'")
    assert run.stdout.endswith("still here\n"), run
    assert stack.server.psql(TRACES) == before
    assert "ERROR:  lockgate: " in run.stderr, run
    assert "DETAIL:  policy " in run.stderr, run
    return run.stderr


def passes(stack: Stack, *statements: str) -> str:
    run = stack.psql("cyd", *statements)
    assert (run.returncode, run.stderr) == (0, ""), run
    return run.stdout


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM wiper",
        "TABLE public.wiper",
        "SELECT x FROM wiper_below",
        "SELECT (SELECT max(x) FROM wiper)",
        "WITH w AS (SELECT * FROM wiper) SELECT * FROM w",
        "EXPLAIN ANALYZE SELECT * FROM wiper",
        "COPY (SELECT * FROM wiper) TO STDOUT",
        "COPY (TABLE wiper_below) TO STDOUT",
        "PREPARE p AS SELECT * FROM wiper",
        "DECLARE c CURSOR WITH HOLD FOR SELECT * FROM wiper",
        "INSERT INTO scratch SELECT x, 'x' FROM wiper",
        "REFRESH MATERIALIZED VIEW kept",
        "SELECT by_view()",
        "SELECT by_view_too()",
    ],
)
def test_a_view_does_what_the_functions_in_it_do(stack: Stack, statement: str) -> None:
    refused(stack, statement)


def test_a_view_tells_of_functions_with_the_rights_of_their_owner(stack: Stack) -> None:
    refused(stack, "SELECT * FROM owners")
    assert stack.record(statement="SELECT * FROM owners")["verdict"] == "deny"


@pytest.mark.parametrize(
    "statement",
    ["SELECT * FROM plain WHERE id = 1", "SELECT * FROM kept", "SELECT * FROM contacts WHERE id = 1",
     "WITH wiper AS (SELECT 1 AS x) SELECT * FROM wiper", "SELECT table_name FROM information_schema.tables",
     "SELECT * FROM pg_stat_activity", "SELECT name FROM settings WHERE name = 'x'", "EXPLAIN SELECT * FROM plain",
     "SELECT 'wiper'::regclass",
     "SELECT 1::small", "SELECT twice(1), '1'::public.small"],
)  # fmt: skip
def test_views_and_domains_that_only_compute_are_read(stack: Stack, statement: str) -> None:
    passes(stack, statement)


@pytest.mark.parametrize("target", ["pg_settings", "pg_catalog.pg_settings", "settings", "public.settings_too"])
def test_a_view_of_the_settings_sets_them(stack: Stack, target: str) -> None:
    refused(stack, f"UPDATE {target} SET setting = '7MB' WHERE name = 'work_mem'")


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1::checked", "SELECT CAST(1 AS public.checked)", "SELECT '{1}'::checked[]", "SELECT 1::checked_too",
     "SELECT '(1,1)'::pair", "SELECT json_populate_record(NULL::pair, '{\"b\": 1}')", "SELECT by_domain()",
     "SELECT * FROM json_to_record('{\"a\": 1}') AS t(a checked)", "SELECT (1::int)::money_too"],
)  # fmt: skip
def test_a_type_does_what_the_functions_behind_it_do(stack: Stack, statement: str) -> None:
    refused(stack, statement)


def test_a_dot_in_a_name_is_no_schema(stack: Stack) -> None:
    refused(stack, 'SELECT "a.twice"(1)')


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE scratch",
        "MERGE INTO scratch USING (SELECT 1 AS a) s ON true WHEN MATCHED THEN DELETE",
        "MERGE INTO scratch t USING (VALUES (1)) s (a) ON s.a = 1 WHEN MATCHED THEN UPDATE SET body = 'x'",
        "DELETE FROM scratch USING customers c WHERE c.id = 1",
        "UPDATE scratch SET body = 'x' FROM customers c WHERE c.id = 1",
        "DELETE FROM scratch WHERE (SELECT true)",
        "DELETE FROM scratch WHERE EXISTS (SELECT FROM customers)",
        "DELETE FROM scratch WHERE id IS NOT DISTINCT FROM id",
        "DELETE FROM scratch WHERE id IN (id)",
        "DELETE FROM scratch WHERE NOT id <> id",
        "DELETE FROM scratch WHERE id IS NULL OR id IS NOT NULL",
        "WITH d AS (DELETE FROM scratch RETURNING id) SELECT * FROM d WHERE id = 1",
    ],
)
def test_what_looks_at_no_row_has_no_predicate(stack: Stack, statement: str) -> None:
    assert "policy whole-tables" in refused(stack, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM scratch s USING customers c WHERE s.id = c.id AND c.id = 1",
        "DELETE FROM scratch WHERE id = 9",
        "DELETE FROM scratch WHERE EXISTS (SELECT FROM customers c WHERE c.id = scratch.id)",
        "DELETE FROM scratch WHERE id IN (SELECT id FROM customers)",
        "MERGE INTO scratch t USING (VALUES (1)) s (a) ON t.id = s.a WHEN MATCHED THEN DELETE",
        "MERGE INTO scratch t USING (VALUES (1)) s (a) ON true WHEN MATCHED AND t.id = 1 THEN DELETE",
        "MERGE INTO scratch t USING (VALUES (9)) s (a) ON false WHEN NOT MATCHED THEN INSERT VALUES (9, 'x')",
        "UPDATE scratch SET body = 'x' WHERE body IS NULL",
    ],
)
def test_what_looks_at_rows_has_one(stack: Stack, statement: str) -> None:
    passes(stack, statement)
