from __future__ import annotations

import asyncio
import datetime
import os
import socket
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from lockgate.config import Credential
from lockgate.masking import Held
from lockgate.proxy import credentials
from lockgate.proxy.postgresql import catalog_reader as module
from lockgate.proxy.postgresql.catalog_reader import CatalogError, CatalogReader
from lockgate.proxy.upstream_tls import UpstreamTls
from lockgate.values.identity import Endpoint
from tests.proxy.postgresql.catalogs import named, read, run
from tests.support.postgres import Postgres, free_port

EMAIL = Held(plain=frozenset({"public.customers.email"}))


# --- reading


def test_relations_of_every_kind_with_their_columns(server: Postgres, database: str, endpoint: Endpoint) -> None:
    server.psql(
        """
        CREATE TABLE customers (id int PRIMARY KEY, gone text, email varchar(80));
        ALTER TABLE customers DROP COLUMN gone;
        CREATE VIEW look AS SELECT email AS mail FROM customers;
        CREATE MATERIALIZED VIEW copy AS SELECT upper(mail) AS mail FROM look;
        CREATE TABLE parts (id int, email text) PARTITION BY RANGE (id);
        CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
        CREATE FOREIGN TABLE far (email text) SERVER s;
        CREATE TABLE bare ();
        CREATE SEQUENCE numbers; CREATE TYPE pair AS (a int, b int);
        """,
        database,
    )
    found = read(endpoint, database).catalog
    assert found.database == database
    kinds = {name: named(found, name).kind for name in ("customers", "look", "copy", "parts", "far", "bare")}
    assert kinds == {"customers": "r", "look": "v", "copy": "m", "parts": "p", "far": "f", "bare": "r"}
    assert not found.by_name.keys() & {"pair", "customers_pkey"}
    assert [c.name for c in named(found, "numbers").columns] == ["last_value", "log_cnt", "is_called"]
    customers = named(found, "customers")
    assert [(c.name, c.number, c.type_oid) for c in customers.columns] == [("id", 1, 23), ("email", 3, 1043)]
    assert customers.definition is None
    assert found.by_oid[customers.oid] is customers
    assert named(found, "bare").columns == ()
    # qualified, whatever the path of those who made them
    assert "public.customers" in (named(found, "look").definition or "")
    assert "public.look" in (named(found, "copy").definition or "")
    assert ";" not in (named(found, "copy").definition or "")
    assert named(found, "pg_class").qualified == "pg_catalog.pg_class"
    assert named(found, "pg_stats").definition


def test_inheritance_generated_columns_and_text_types(server: Postgres, database: str, endpoint: Endpoint) -> None:
    server.psql(
        """
        CREATE TABLE parts (id int, email text, folded text GENERATED ALWAYS AS (lower(email || id::text)) STORED)
          PARTITION BY RANGE (id);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
        CREATE INDEX ON parts (email);
        CREATE TABLE a (email text); CREATE TABLE b (note text); CREATE TABLE child () INHERITS (a, b);
        CREATE EXTENSION citext;
        """,
        database,
    )
    found = read(endpoint, database)
    oid = {name: named(found.catalog, name).oid for name in ("parts", "parts_1", "a", "b", "child")}
    assert {child: set(parents) for child, parents in found.parents.items()} == {
        oid["parts_1"]: {oid["parts"]},
        oid["child"]: {oid["a"], oid["b"]},
    }
    computed = {column.name: column.generated for column in named(found.catalog, "parts_1").columns}
    assert computed == {"id": False, "email": False, "folded": True}
    assert {relation: set(pairs) for relation, pairs in found.generated.items()} == {
        oid["parts"]: {(3, 1), (3, 2)},
        oid["parts_1"]: {(3, 1), (3, 2)},
    }
    assert found.text_types == {int(server.psql("SELECT 'citext'::regtype::oid", database))}


def test_functions_and_operators_that_are_not_postgresqls_own(
    server: Postgres, database: str, endpoint: Endpoint
) -> None:
    server.psql(
        """
        CREATE FUNCTION peek(int) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;
        CREATE FUNCTION glue(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;
        CREATE OPERATOR <+> (LEFTARG = text, RIGHTARG = text, FUNCTION = glue);
        CREATE AGGREGATE gather (text) (SFUNC = glue, STYPE = text);
        SET allow_system_table_mods = on;
        CREATE FUNCTION pg_catalog.smuggled() RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;
        """,
        database,
    )
    functions = read(endpoint, database).catalog.functions
    assert {"peek", "glue", "<+>", "gather", "smuggled"} <= functions
    assert not functions & {"lower", "count", "||", "pg_get_viewdef"}


def test_what_is_known_of_functions(server: Postgres, database: str, endpoint: Endpoint) -> None:
    server.psql(
        r"""
        CREATE EXTENSION citext; CREATE EXTENSION pg_trgm;
        CREATE TABLE t (a int, b text);
        CREATE FUNCTION reads(int, text DEFAULT 'a') RETURNS int LANGUAGE sql STABLE AS 'SELECT a FROM t';
        CREATE FUNCTION owner(t) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN 1; END';
        CREATE FUNCTION pathed() RETURNS int LANGUAGE sql SET search_path = public AS 'SELECT 1';
        CREATE FUNCTION set_up() RETURNS int LANGUAGE sql SET search_path = public SET escape_string_warning = off
          AS 'SELECT 1';
        CREATE FUNCTION kept(a int) RETURNS int LANGUAGE sql RETURN a + 1;
        CREATE FUNCTION step(int, int) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE AGGREGATE mean(int) (SFUNC = step, STYPE = int, FINALFUNC = abs);
        CREATE OPERATOR <+> (LEFTARG = int, RIGHTARG = int, FUNCTION = step);
        CREATE FUNCTION long() RETURNS int LANGUAGE sql AS $$SELECT 1 --"""
        + "x" * module.BODY_CHARACTERS
        + "$$",
        database,
    )
    found = read(endpoint, database).catalog.routines
    (reads,), (owner,), (mean,), (operator,) = found["reads"], found["owner"], found["mean"], found["<+>"]
    assert (reads.schema, reads.volatility, reads.language, reads.extension) == ("public", "s", "sql", False)
    assert (reads.body, reads.defaults, reads.unary, reads.of_row) == ("SELECT a FROM t", "'a'::text", True, False)
    assert (owner.definer, owner.unary, owner.of_row) == (True, True, True)
    assert set(mean.calls) == {"public.step", "pg_catalog.abs"}
    assert operator.calls == ("public.step",)
    assert {name: found[name][0].body for name in ("pathed", "set_up", "kept", "long")} == {
        "pathed": "SELECT 1",
        "set_up": None,
        "kept": None,
        "long": None,
    }
    assert all(one.extension and one.language == "c" for one in found["similarity"])
    assert not found.keys() & {"lower", "abs", "||", "_pg_expandarray"}


def test_more_functions_than_are_kept_are_none_known(
    server: Postgres, database: str, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read(endpoint, database).catalog.routines
    monkeypatch.setattr(module, "ROUTINES", 1)
    assert read(endpoint, database).catalog.routines == {}


def test_which_tables_run_code_of_the_database_when_written_to(
    server: Postgres, database: str, endpoint: Endpoint
) -> None:
    server.psql(
        """
        CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE FUNCTION g(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 1';
        CREATE TABLE quiet (id serial PRIMARY KEY, at timestamptz DEFAULT now(), a int CHECK (a > 0));
        CREATE TABLE below (id int REFERENCES quiet);
        CREATE TABLE triggered (id int REFERENCES quiet);
        CREATE TRIGGER x BEFORE INSERT ON triggered EXECUTE FUNCTION f();
        CREATE TABLE off (id int); CREATE TRIGGER x BEFORE INSERT ON off EXECUTE FUNCTION f();
        ALTER TABLE off DISABLE TRIGGER x;
        CREATE TABLE ruled (id int); CREATE RULE r AS ON INSERT TO ruled DO ALSO SELECT 1;
        CREATE TABLE defaults (id int DEFAULT g(1));
        CREATE TABLE checks (id int CHECK (g(id) > 0));
        CREATE TABLE indexed (id int); CREATE INDEX ON indexed (g(id));
        CREATE TABLE guarded (id int); CREATE POLICY p ON guarded USING (g(id) = 1);
        CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent);
        CREATE TRIGGER x BEFORE INSERT ON child EXECUTE FUNCTION f();
        CREATE VIEW over_it AS SELECT * FROM triggered; CREATE VIEW over_quiet AS SELECT * FROM quiet;
        CREATE TABLE cascades (id int PRIMARY KEY);
        CREATE TABLE last (id int REFERENCES cascades ON DELETE CASCADE);
        CREATE TRIGGER x AFTER DELETE ON last EXECUTE FUNCTION f();
        """,
        database,
    )
    found = read(endpoint, database).catalog
    fires = {r.name for r in found.by_oid.values() if r.schema == "public" and r.fires}
    assert fires == {
        "triggered", "ruled", "defaults", "checks", "indexed", "guarded", "parent", "child", "over_it", "cascades",
        "last",
    }  # fmt: skip
    # pg_settings has a rule that calls set_config
    assert {r.name for r in found.by_oid.values() if r.schema == "pg_catalog" and r.fires} == {"pg_settings"}


def test_relations_that_are_read_by_way_of_somebodys_functions(
    server: Postgres, database: str, endpoint: Endpoint
) -> None:
    server.psql(
        """CREATE FUNCTION looks(int) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
           CREATE OPERATOR ?! (RIGHTARG = int, FUNCTION = looks);
           CREATE TABLE called (id int); CREATE POLICY p ON called USING (looks(id));
           CREATE TABLE operated (id int); CREATE POLICY p ON operated USING (?! id);
           CREATE TABLE off (id int); CREATE POLICY p ON off USING (looks(id));
           CREATE TABLE plain (id int); CREATE POLICY p ON plain USING (id > 0 AND current_user <> 'x');
           CREATE TABLE asks (id int); CREATE POLICY p ON asks USING (id IN (SELECT id FROM called));
           ALTER TABLE called ENABLE ROW LEVEL SECURITY; ALTER TABLE operated ENABLE ROW LEVEL SECURITY;
           ALTER TABLE plain ENABLE ROW LEVEL SECURITY; ALTER TABLE asks ENABLE ROW LEVEL SECURITY;
           CREATE VIEW above AS SELECT id FROM called; CREATE VIEW on_top AS SELECT 1 FROM above;
           CREATE VIEW aside AS SELECT id FROM plain;""",
        database,
    )
    found = read(endpoint, database).catalog
    assert {r.name for r in found.by_oid.values() if r.screens} == {"called", "operated", "asks", "above", "on_top"}


def test_functions_of_an_extension_are_no_rivals_of_postgresqls_own(
    server: Postgres, database: str, endpoint: Endpoint
) -> None:
    server.psql("CREATE EXTENSION IF NOT EXISTS citext", database)
    server.psql("CREATE FUNCTION max(citext, int) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$", database)
    functions = read(endpoint, database).catalog.functions
    assert "max" in functions
    assert not functions & {"min", "replace", "=", "~~"}


def test_names_as_they_are_quoted(server: Postgres, database: str, endpoint: Endpoint) -> None:
    server.psql(
        """CREATE SCHEMA "Sales.EU"; CREATE TABLE "Sales.EU"."Order ""Lines"" of" ("E-Mail" text, "a.b" int);""",
        database,
    )
    relation = named(read(endpoint, database).catalog, 'Order "Lines" of')
    assert (relation.schema, [c.name for c in relation.columns]) == ("Sales.EU", ["E-Mail", "a.b"])


def test_temporary_tables_of_others_are_seen(server: Postgres, database: str, endpoint: Endpoint) -> None:
    import psycopg

    with psycopg.connect(host="127.0.0.1", port=server.port, user="open", dbname=database, autocommit=True) as client:
        client.execute("CREATE TEMP TABLE scratch (email text)")
        relation = named(read(endpoint, database).catalog, "scratch")
    assert relation.schema.startswith("pg_temp_")


def test_a_view_over_a_table_being_altered_costs_that_view_only(
    server: Postgres, database: str, endpoint: Endpoint
) -> None:
    import psycopg

    server.psql("CREATE TABLE t (a int); CREATE TABLE u (a int)", database)
    server.psql("".join(f"CREATE VIEW on_u_{n} AS SELECT a FROM u;" for n in range(20)), database)
    server.psql("CREATE VIEW on_t AS SELECT a FROM t; CREATE VIEW on_on_t AS SELECT a FROM on_t", database)
    with psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", dbname=database) as client:
        client.execute("ALTER TABLE t ADD b int")
        found = read(endpoint, database).catalog
        client.rollback()
    assert named(found, "on_t").definition is None
    assert all(named(found, f"on_u_{n}").definition for n in range(20))
    assert [c.name for c in named(found, "t").columns] == ["a"]
    assert named(read(endpoint, database).catalog, "on_t").definition


def test_an_application_cannot_put_its_own_functions_in_the_readers_way(
    server: Postgres, database: str, endpoint: Endpoint
) -> None:
    server.psql(
        f"""
        CREATE FUNCTION public.pg_get_viewdef(oid) RETURNS text LANGUAGE sql AS $$ SELECT 'SELECT 1' $$;
        CREATE FUNCTION public.unnest(oid[]) RETURNS SETOF oid LANGUAGE sql AS $$ SELECT 1::oid $$;
        CREATE TABLE public.pg_class (oid oid);
        CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t;
        ALTER DATABASE "{database}" SET search_path = public, pg_catalog;
        ALTER ROLE open IN DATABASE "{database}" SET search_path = public, pg_catalog;
        """,
        database,
    )
    found = read(endpoint, database).catalog
    assert "public.t" in (named(found, "v").definition or "")


def test_a_catalog_too_large_is_refused(
    server: Postgres, database: str, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COLUMNS", 100)
    with pytest.raises(CatalogError, match="more than 100"):
        read(endpoint, database)


# --- the password


def password_file(folder: Path, content: bytes, mode: int = 0o600) -> str:
    path = folder / "password"
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("content", [b"s3cret", b"s3cret\n", b"s3cret\r\n"])
def test_the_password_is_read_at_each_connect(endpoint: Endpoint, tmp_path: Path, content: bytes) -> None:
    reader = CatalogReader(Credential(user="lockgate", password_file=password_file(tmp_path, b"wrong")))
    with pytest.raises(CatalogError, match="password authentication failed") as refused:
        run(reader.read(endpoint, "postgres"))
    assert "wrong" not in str(refused.value)
    password_file(tmp_path, content, 0o640)
    assert run(reader.read(endpoint, "postgres")).catalog.by_oid


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o644, 0o666])
def test_a_password_open_to_everyone_is_refused(endpoint: Endpoint, tmp_path: Path, mode: int) -> None:
    reader = CatalogReader(Credential(user="lockgate", password_file=password_file(tmp_path, b"s3cret", mode)))
    with pytest.raises(CatalogError, match="open to everyone"):
        run(reader.read(endpoint, "postgres"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no password"),
        (b"\n", "no password"),
        (b"a\0b", "no password"),
        (b"\xff", "UTF-8"),
        (b"x" * 5000, "bytes"),
    ],
)
def test_a_file_that_is_no_password_is_refused(endpoint: Endpoint, tmp_path: Path, content: bytes, why: str) -> None:
    reader = CatalogReader(Credential(user="lockgate", password_file=password_file(tmp_path, content)))
    with pytest.raises(CatalogError, match=why):
        run(reader.read(endpoint, "postgres"))


def test_a_password_file_that_is_none(endpoint: Endpoint, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", stat.S_IRUSR)
    for path, why in (
        (tmp_path / "absent", "No such file"),
        (tmp_path, "not a file"),
        (tmp_path / "pipe", "not a file"),
    ):
        with pytest.raises(CatalogError, match=why):
            run(CatalogReader(Credential(user="lockgate", password_file=str(path))).read(endpoint, "postgres"))


def test_the_password_may_come_from_elsewhere(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_TEST_PW", "s3cret")
    assert run(CatalogReader(Credential(user="lockgate", env="LOCKGATE_TEST_PW")).read(endpoint, "postgres"))
    script = tmp_path / "fetch"
    script.write_text(f"#!/bin/sh\necho . >> {tmp_path}/runs; cat {password_file(tmp_path, b'wrong')}\n")
    script.chmod(0o755)
    monkeypatch.setattr(credentials, "COMMAND_RETRY_SECONDS", 0.0)
    reader = CatalogReader(Credential(user="lockgate", command=[str(script)]))
    with pytest.raises(CatalogError, match="password authentication failed"):
        run(reader.read(endpoint, "postgres"))
    password_file(tmp_path, b"s3cret")
    assert run(reader.read(endpoint, "postgres"))  # what was refused is not used for the rest of its time
    assert len((tmp_path / "runs").read_text().split()) == 2


def test_the_environment_is_not_asked_for_a_password(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    monkeypatch.setenv("PGPASSFILE", password_file(tmp_path, b"*:*:*:*:s3cret"))
    with pytest.raises(CatalogError):
        run(CatalogReader(Credential(user="lockgate")).read(endpoint, "postgres"))


# --- a server that doesn't answer, or not as one


def test_the_reasons_of_a_failure_are_one_line(endpoint: Endpoint) -> None:
    with pytest.raises(CatalogError, match="does not exist") as absent:
        read(endpoint, "no such\ndatabase")
    with pytest.raises(CatalogError, match="can't be read") as gone:
        read(Endpoint("127.0.0.1", free_port()), "postgres")
    assert "\n" not in str(absent.value) + str(gone.value)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 10, b"N" + b"\0" * 40, b"NR\xff\xff\xff\xff"]
)
def test_a_server_that_is_none(answer: bytes) -> None:
    async def attempt() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(answer)
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        other = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with other:
            port = other.sockets[0].getsockname()[1]
            with pytest.raises(CatalogError):
                await CatalogReader(Credential(user="open"), connect_seconds=1).read(
                    Endpoint("127.0.0.1", port), "postgres"
                )

    run(attempt())


def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint("127.0.0.1", silent.getsockname()[1])
        with pytest.raises(CatalogError, match="took too long"):
            run(CatalogReader(Credential(user="open"), connect_seconds=0.2).read(endpoint, "postgres"))


def test_tls_is_used_where_the_server_offers_it(tmp_path: Path) -> None:
    now = datetime.datetime.now(datetime.UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "database")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with Postgres(hba="local all all trust\nhostssl all all all trust\n") as server:
        data = server.folder / "data"
        for file, content in (("server.crt", certificate.public_bytes(Encoding.PEM)), ("server.key", private)):
            (data / file).write_bytes(content)
            (data / file).chmod(0o600)
            os.chown(data / file, data.stat().st_uid, data.stat().st_gid)
        server.psql("ALTER SYSTEM SET ssl = on; ")
        server.psql("SELECT pg_reload_conf()")
        endpoint = Endpoint("127.0.0.1", server.port)
        assert run(CatalogReader(Credential(user="postgres")).read(endpoint, "postgres")).catalog.by_oid
        with pytest.raises(CatalogError, match="no encryption"):
            run(CatalogReader(Credential(user="postgres"), tls=UpstreamTls("disable")).read(endpoint, "postgres"))


# --- what need not be read again


def test_definitions_of_the_servers_own_views_are_kept_until_one_is_replaced(
    server: Postgres, database: str, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    definitions = module._definitions

    async def counted(connection: object, views: list[int]) -> dict[int, str]:
        asked.append(len(views))
        return await definitions(connection, views)

    monkeypatch.setattr(module, "_definitions", counted)
    server.psql("CREATE TABLE t (a int, b int); CREATE VIEW v AS SELECT a FROM t", database)
    reader = CatalogReader(Credential(user="open"))
    first = run(reader.read(endpoint, database))
    assert run(reader.read(endpoint, database)) == first
    server.psql("CREATE OR REPLACE VIEW v AS SELECT b AS a FROM t", database)
    assert "b" in (named(run(reader.read(endpoint, database)).catalog, "v").definition or "")
    server.psql(
        "SET allow_system_table_mods = on;"
        "CREATE OR REPLACE VIEW pg_catalog.pg_group AS SELECT usename AS groname, usesysid AS grosysid,"
        " ARRAY[usesysid] AS grolist FROM pg_catalog.pg_shadow",
        database,
    )
    assert "pg_shadow" in (named(run(reader.read(endpoint, database)).catalog, "pg_group").definition or "")
    own = asked[0] - 1
    assert own > 100
    assert asked == [own + 1, 1, 1, 2]


def test_types_whose_values_functions_make_or_check(server: Postgres, database: str, endpoint: Endpoint) -> None:
    server.psql(
        """
        CREATE FUNCTION good(int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 0';
        CREATE OPERATOR ?> (RIGHTARG = int, FUNCTION = good);
        CREATE DOMAIN checked AS int CHECK (good(value)); CREATE DOMAIN checked_too AS checked;
        CREATE DOMAIN operated AS int CHECK (?> value);
        CREATE DOMAIN small AS int CHECK (value < 10);
        CREATE TYPE pair AS (a int, b checked_too[]);
        CREATE TYPE coin AS (amount int);
        CREATE FUNCTION to_coin(int) RETURNS coin LANGUAGE sql AS 'SELECT ROW($1)::coin';
        CREATE CAST (int AS coin) WITH FUNCTION to_coin(int);
        CREATE TABLE of_checked (a pair); CREATE TABLE of_small (a small, b coin);
        CREATE TABLE by_operator (a int CHECK (?> a));
        CREATE TABLE estimated (a int, b int);
        CREATE STATISTICS estimates ON (good(a)), b FROM estimated;
        CREATE TABLE parted (a int) PARTITION BY LIST (good(a));
        """,
        database,
    )
    found = read(endpoint, database).catalog
    named_types = {name: calls for name, calls in found.types.items() if not name.startswith("_")}
    good = ("public.good",)
    assert named_types == {
        **dict.fromkeys(("checked", "checked_too", "operated", "pair", "of_checked"), good), "coin": ("public.to_coin",)
    }  # fmt: skip
    assert found.types["_checked"] == good
    fires = {r.name for r in found.by_oid.values() if r.schema == "public" and r.fires}
    assert fires == {"of_checked", "by_operator", "estimated", "parted"}


def test_what_belongs_to_an_extension_is_told(server: Postgres, database: str, endpoint: Endpoint) -> None:
    server.psql("CREATE EXTENSION pg_stat_statements; CREATE VIEW own AS SELECT 1 AS a", database)
    found = read(endpoint, database).catalog
    assert named(found, "pg_stat_statements").extension
    assert not named(found, "own").extension
