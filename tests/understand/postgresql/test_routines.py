"""What a database's own functions do, told from their texts: what only reads, and what hides in a chain of calls."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.understand.postgresql import Understanding, outputs, reread
from lockgate.values.catalog import Catalog, Relation, Routine
from lockgate.values.statement import Effect, Statement


def routine(name: str, body: str | None = None, language: str = "sql", volatility: str = "v", **more: Any) -> Routine:
    more.setdefault("definer", False)
    return Routine("public", name, volatility, language=language, body=body, **more)


READS = routine("reads", "SELECT total FROM orders WHERE id = $1", unary=True)
ALL = [
    READS,
    routine("row_reads", "SELECT $1.a", unary=True, of_row=True),
    routine("twice", "SELECT reads(1) + reads(2)"),
    routine("writes", "INSERT INTO log VALUES (1)", unary=True, of_row=True),
    routine("writes_below", "SELECT writes()"),
    routine("lies", "SELECT nextval('s')", volatility="i"),
    routine("sets", "SELECT set_config('role', 'bob', false)", volatility="s"),
    routine("not_sql", "SELEC 1"),
    routine("ddl", "DROP TABLE orders"),
    routine("atomic"),
    routine("owner", "SELECT ssn FROM customers", definer=True),
    routine("calls_owner", "SELECT owner()"),
    routine("by_default", "SELECT 1", defaults="1, writes()"),
    routine("by_good_default", "SELECT 1", defaults="now(), 'a;b'"),
    routine("itself", "SELECT CASE WHEN $1 > 0 THEN itself($1 - 1) ELSE 1 END"),
    routine("ping", "SELECT pong()"),
    routine("pong", "SELECT ping()"),
    routine("missing", "SELECT made_later()"),
    routine("notation", "SELECT (1).writes"),
    routine("row_notation", "SELECT t.writes FROM t"),
    routine("pl_reads", "BEGIN RETURN (SELECT total FROM orders WHERE name = 'EXECUTE writes()'); END", "plpgsql", "s"),
    routine("pl_volatile", "BEGIN RETURN 1; END", "plpgsql", "v"),
    routine("pl_dynamic", "BEGIN EXECUTE 'DROP ' || $1; END", "plpgsql", "s"),
    routine("pl_writes_below", 'BEGIN PERFORM 1; RETURN public . "writes" (1); END', "plpgsql", "s"),
    routine("pl_nextval", "BEGIN RETURN NextVal('s'); END", "plpgsql", "i"),
    routine("pl_notation", "BEGIN RETURN ($1).writes; END", "plpgsql", "s"),
    routine("pl_missing", "BEGIN RETURN made_later(1); END", "plpgsql", "s"),
    routine("pl_unicode", 'BEGIN RETURN U&"\\0077rites"(1); END', "plpgsql", "s"),
    routine("pl_operator", "BEGIN RETURN 1 <~~> 2; END", "plpgsql", "s"),
    routine("pl_good_operator", "BEGIN RETURN 1 <!> 2; END", "plpgsql", "s"),
    routine("pl_query", "BEGIN RETURN query_to_xml('SELECT writes()', true, true, ''); END", "plpgsql", "s"),
    routine("pl_broken", "BEGIN RETURN 'x; END", "plpgsql", "s"),
    routine("perl", "spi_exec_query('x')", "plperl", "i"),
    routine("in_c", None, "c", "i"),
    routine("digest", None, "c", "i", extension=True),
    routine("crosstab", None, "c", "s", extension=True),
    routine("dblink_exec", None, "c", "v", extension=True),
    routine("internal", None, "internal", "i"),
    routine("<!>", None, "operator", "i", calls=("public.digest",)),
    routine("<~~>", None, "operator", "i", calls=("public.writes",)),
    routine("good_sum", None, "internal", "i", calls=("pg_catalog.int4pl", "public.digest")),
    routine("bad_sum", None, "internal", "i", calls=("pg_catalog.int4pl", "public.writes")),
    routine("raw_sum", None, "internal", "i", calls=("pg_catalog.lo_export",)),
    routine("own_lower", "SELECT 1"),
    routine("lower", "SELECT 1"),
    routine("upper", "SELECT writes()"),
]
NAMES = frozenset({"lower", "upper", "reads"})


def catalog(*routines: Routine) -> Catalog:
    found: dict[str, tuple[Routine, ...]] = {}
    for one in routines:
        found[one.name] = (*found.get(one.name, ()), one)
    return Catalog("db", {}, {}, NAMES, found)


DATABASE = catalog(*ALL)


def one(text: str, database: Catalog = DATABASE, *, current: bool = True) -> Statement:
    (statement,) = reread(Understanding().request(text), database, current=current).statements
    return statement


@pytest.mark.parametrize(
    "call",
    ["reads(1)", "public.reads(1)", "twice()", "by_good_default()", "itself(3)", "pl_reads()", "digest('x')",
     "1 <!> 2", "1 operator(public.<!>) 2", "good_sum(1)", "lower('x')", "pg_catalog.upper('x')", "(id).reads",
     "pl_good_operator()", "t.row_reads"],
)  # fmt: skip
def test_what_only_reads_counts_as_a_read(call: str) -> None:
    assert one(f"SELECT {call} FROM t").effects == {Effect.READ}


@pytest.mark.parametrize(
    "call",
    ["writes()", "writes_below()", "lies()", "sets()", "not_sql()", "ddl()", "atomic()", "owner()", "calls_owner()",
     "by_default()", "ping()", "missing()", "notation()", "row_notation()", "pl_volatile()", "pl_dynamic('x')",
     "pl_writes_below()", "pl_nextval()", "pl_notation(1)", "pl_missing()", "pl_unicode()", "pl_operator()",
     "pl_query()", "pl_broken()", "perl()", "in_c()", "crosstab('x')", "dblink_exec('x')", "internal()", "1 <~~> 2",
     "bad_sum(1)", "raw_sum(1)", "upper('x')", "nobody()", "pg_catalog.reads(1)", "(id).writes", "t.writes",
     "reads(writes())"],
)  # fmt: skip
def test_everything_else_may_do_anything(call: str) -> None:
    assert one(f"SELECT {call} FROM t").effects >= {Effect.READ, Effect.UNKNOWN, Effect.WRITE}


def test_what_a_text_plainly_does_is_said_as_well() -> None:
    assert Effect.DDL in one("SELECT ddl()").effects
    assert Effect.SESSION in one("SELECT sets()").effects


def test_one_overload_that_writes_is_enough() -> None:
    database = catalog(READS, routine("reads", "DELETE FROM orders"))
    assert Effect.UNKNOWN in one("SELECT reads(1)", database).effects


def test_names_stay_in_sight() -> None:
    statement = one("SELECT twice(), digest('x') FROM t")
    assert statement.functions == ("twice", "digest")
    assert set(statement.objects) == {"t", "orders"}


def test_owners_rights_are_told_also_below() -> None:
    assert one("SELECT owner(), reads(1)").definer_functions == ("owner",)
    assert one("SELECT calls_owner()").definer_functions == ("calls_owner",)


def test_what_may_have_changed_meanwhile_is_not_relied_on() -> None:
    assert Effect.UNKNOWN in one("SELECT reads(1)", current=False).effects
    assert Effect.UNKNOWN in one("SELECT lower('x')", current=False).effects


def test_a_column_is_no_call() -> None:
    statement = one("SELECT reads, t.reads, t.total, (t.pair).a FROM t")
    assert statement.functions == ()
    assert statement.effects == {Effect.READ}


def test_readings_by_different_catalogs_have_different_shapes() -> None:
    request = Understanding().request("SELECT reads(1)")
    readings = [
        reread(request, catalog(routine("reads", body))) for body in ("SELECT 1", "SELECT a FROM b", "DROP TABLE x")
    ]
    assert len({request.shape, *(reading.shape for reading in readings)}) == 4
    assert reread(request, catalog(routine("reads", "SELECT 1"))).shape == readings[0].shape


def test_a_long_chain_ends_somewhere() -> None:
    chain = [routine(f"f{n}", f"SELECT f{n + 1}()") for n in range(500)]
    assert Effect.UNKNOWN in one("SELECT f0()", catalog(*chain, routine("f500", "SELECT 1"))).effects
    assert one("SELECT f490()", catalog(*chain, routine("f500", "SELECT 1"))).effects == {Effect.READ}
    calls = ", ".join(f"f{n}()" for n in range(200))
    wide = [routine(f"f{n}", "SELECT 1") for n in range(200)]
    assert Effect.UNKNOWN in one(f"SELECT {calls}", catalog(*wide)).effects


def test_explain_counts_what_the_planner_may_call() -> None:
    assert one("EXPLAIN SELECT reads(1)").effects == {Effect.READ}
    assert Effect.UNKNOWN in one("EXPLAIN SELECT writes()").effects


@pytest.mark.parametrize("text", ["SELECT (16400::oid).lo_get", "SELECT ('x'::text).reads", "SELECT ((a).b).lo_get",
                                  "SELECT reads(1)", "SELECT digest('x')", "SELECT t.row_reads FROM t"])  # fmt: skip
def test_what_a_function_returns_stays_unknown_to_lineage(text: str) -> None:
    (output,) = outputs(reread(Understanding().request(text), DATABASE), DATABASE, statement=0) or ()
    assert output.sources is None
    assert output.why


def view(number: int, name: str, definition: str | None, kind: str = "v", **more: bool) -> Relation:
    return Relation(number, "public", name, kind, (), definition, **more)


VIEWS = [
    view(1, "wiper", " SELECT writes() AS x"),
    view(2, "wiper_below", " SELECT w.x FROM wiper w"),
    view(3, "reading", " SELECT reads(t.id) AS x FROM t"),
    view(4, "owners", " SELECT owner() AS x"),
    view(5, "kept", " SELECT writes() AS x", "m"),
    view(6, "installed", " SELECT writes() AS x", extension=True),
    view(7, "being_altered", None),
    view(9, "over_settings", " SELECT s.name, s.setting FROM pg_settings s"),
    view(10, "over_that", " SELECT s.name, s.setting FROM public.over_settings s"),
]
VIEWING = Catalog(
    "db",
    {each.oid: each for each in VIEWS},
    {each.name: (each,) for each in VIEWS},
    NAMES,
    {
        **{each.name: (each,) for each in ALL},
        "a.reads": (routine("a.reads", "SELECT writes()"),),
        "by_view": (routine("by_view", "BEGIN RETURN (SELECT x FROM wiper_below); END", "plpgsql", "s"),),
        "by_type": (routine("by_type", "DECLARE v checked := 1; BEGIN RETURN v; END", "plpgsql", "s"),),
    },
    {"checked": ("public.writes",), "small": ("public.reads",)},
)


@pytest.mark.parametrize(
    "text",
    ["SELECT * FROM wiper", "TABLE wiper_below", "COPY wiper TO STDOUT", "EXPLAIN ANALYZE TABLE wiper",
     "SELECT by_view()", "REFRESH MATERIALIZED VIEW kept", "INSERT INTO t TABLE wiper", "TABLE being_altered",
     "SELECT 1::checked", "SELECT '{}'::public.checked[]", "SELECT by_type()",
     "SELECT * FROM json_to_record('{}') AS r(a checked)", 'SELECT "a.reads"(1)'],
)  # fmt: skip
def test_a_view_or_type_does_what_its_functions_do(text: str) -> None:
    assert one(text, VIEWING).effects >= {Effect.UNKNOWN, Effect.WRITE}
    assert Effect.UNKNOWN in one(text, VIEWING, current=False).effects


@pytest.mark.parametrize(
    "text",
    ["SELECT * FROM reading", "TABLE installed", "TABLE kept", "WITH wiper AS (SELECT 1) TABLE wiper",
     "SELECT 1::small", "SELECT 1::pg_catalog.checked", "SELECT name FROM over_that"],
)  # fmt: skip
def test_one_that_only_reads_is_read(text: str) -> None:
    assert one(text, VIEWING).effects == {Effect.READ}


def test_naming_a_view_does_not_read_it() -> None:
    assert one("DROP VIEW wiper", VIEWING).effects == {Effect.DDL}
    assert one("GRANT SELECT ON wiper TO bob", VIEWING).effects == {Effect.ADMIN}
    assert one("CREATE VIEW more AS SELECT * FROM wiper", VIEWING).effects == {Effect.DDL}


def test_owners_rights_are_told_behind_a_view_whose_own_name_stays_the_only_object() -> None:
    statement = one("SELECT * FROM owners", VIEWING)
    assert statement.definer_functions == ("owners",)
    assert statement.objects == ("owners",)


@pytest.mark.parametrize("target", ["over_settings", "public.over_that"])
def test_an_update_of_a_view_of_the_settings_sets_them(target: str) -> None:
    statement = one(f"UPDATE {target} SET setting = 'x' WHERE name = 'role'", VIEWING)
    assert statement.settings == ("?",)
    assert Effect.SESSION in statement.effects
    assert not one("UPDATE reading SET x = 1 WHERE x = 2", VIEWING).settings
