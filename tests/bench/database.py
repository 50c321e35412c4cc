"""The one database all peers stand in front of, and the agent before it when it can be had."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path

from tests.support.certificates import Signer, install
from tests.support.postgres import Postgres
from tests.support.stack import CLASSIFICATION, POLICIES, SCHEMA, Stack

SCALE = 10
"""pgbench's: 100 000 accounts each. In memory, so that the server is never waiting for a disk."""
ROWS = 1_000_000
PART = 250_000
"""Of each masker and detector: so many are enough for a rate."""

PLAIN, ENCRYPTED, CREDENTIAL, LOOKED_AT = (f"127.0.0.{number}" for number in (1, 2, 3, 4))
"""Where the server listens. To the agent each is a datastore of its own: plain; TLS upstream; a credential of the
agent's, for which the server asks for SCRAM; and detectors that look at what nobody classified."""
STORES = {PLAIN: "orders", ENCRYPTED: "encrypted", CREDENTIAL: "credential", LOOKED_AT: "looked-at"}
KEPT_ROLE, PASSWORD = "kept", "benchmark"
HBA = f"local all all trust\nhost all {KEPT_ROLE} all scram-sha-256\nhost all all all trust\n"

POSTGRES = {
    "listen_addresses": f"'{','.join(STORES)},::1'",
    "shared_buffers": "'256MB'",
    "fsync": "off",
    "max_connections": "1600",
    "jit": "off",
}
"""`max_connections` for the idle ones, those that pgbouncer keeps included."""

# pgbench -i does the same; as SQL it can be there before the agent first reads the catalog.
TABLES = f"""
CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor=100);
CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88)) WITH (fillfactor=100);
CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84)) WITH (fillfactor=100);
CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22));
INSERT INTO pgbench_branches SELECT b, 0, '' FROM generate_series(1, {SCALE}) b;
INSERT INTO pgbench_tellers SELECT t, (t - 1) / 10 + 1, 0, '' FROM generate_series(1, {SCALE * 10}) t;
INSERT INTO pgbench_accounts SELECT a, (a - 1) / 100000 + 1, 0, '' FROM generate_series(1, {SCALE * 100000}) a;
ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid);
ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid);
ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid);
CREATE TABLE people (id int, name text, email text, contact text, note text);
INSERT INTO people
  SELECT i, 'name' || i, e, e, 'ordered ' || i % 97 || ' things and paid for most of them by card' FROM
  (SELECT i, 'user' || i || '@example.org' AS e FROM generate_series(1, {ROWS}) i) s;
CREATE TABLE masked AS
  SELECT i AS id, e AS m_null, e AS m_redact, e AS m_partial, e AS m_hash, e AS m_tokenise, e AS m_truncate,
         date '1970-01-01' + i % 20000 AS m_date_shift FROM
  (SELECT i, 'user' || i || '@example.org' AS e FROM generate_series(1, {PART}) i) s;
CREATE TABLE notes AS
  SELECT i AS id, 'the customer called about order ' || i || ' and wants it sent to the other address' AS clean,
         'the customer called about order ' || i || CASE WHEN i % 100 = 0 THEN ' from user' || i || '@example.org and '
         ELSE ' and wants it sent to ' END || 'the other address' AS found FROM generate_series(1, {PART}) i;
CREATE ROLE {KEPT_ROLE} LOGIN PASSWORD '{PASSWORD}';
GRANT ALL ON SCHEMA public TO app, {KEPT_ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA public TO app, {KEPT_ROLE};
VACUUM (ANALYZE, FREEZE);
"""

MASKERS = ("null", "redact", "partial", "hash", "tokenise", "truncate", "date_shift")
"""Each has the column m_NAME of `masked`."""

_WORDS = {"truncate": "truncate:4", "date_shift": "date_shift:30"}
POLICY = (
    POLICIES.replace(
        'resource in Datastore::"orders")\nunless { context.effects.containsAny(["ddl", "admin", "unknown"]) }',
        "resource)",
    )
    .replace(
        'forbid (principal, action == Action::"execute", resource) when { context.effects.contains("ddl") };',
        'forbid (principal, action == Action::"execute", resource) when { context.kinds.contains("DROP TABLE") };',
    )
    .replace('@timeout("30s")', '@timeout("30s")\n@grant("1h")')
    + "".join(
        f"""
@id("m-{name}") @mask("{_WORDS.get(name, name)}")
forbid (principal, action == Action::"reveal", resource in Tag::"m_{name}");
"""
        for name in MASKERS
    )
    + """
@id("detect") @mask("partial")
forbid (principal, action == Action::"reveal_detected", resource in Datastore::"looked-at");
"""
)
"""As the tests' own, for all datastores; schema changes are let through, to be measured, and every masker has a tag."""

PLAIN_ROWS = "SELECT id, name, contact, note FROM people"
MASKED_ROWS = "SELECT id, name, email, note FROM people"
"""The same bytes from the server as PLAIN_ROWS; `email` is classified, and its masked text is not longer."""
UNMASKED = "user1@example.org"
"""What the first row of a masked result must not show."""


def start(cleanup: ExitStack, folder: Path) -> tuple[Postgres, Stack | None, str]:
    """Start the database with the agent in front: (server, the stack, "") or (server, None, why there is no agent)."""
    secret = folder / "kept.pw"
    secret.touch(0o600)
    secret.write_text(PASSWORD)
    server = Postgres(POSTGRES, HBA)
    columns: dict[str, list[str]] = {f"public.masked.m_{name}": [f"m_{name}"] for name in MASKERS} | {
        "public.people.email": ["email"]
    }
    stack = Stack(
        server=server,
        schema=SCHEMA + TABLES,
        policies=POLICY,
        classification={name: deepcopy(CLASSIFICATION["orders"] | columns) for name in STORES.values()},
        agent={"datastores": [_store(host, name, server.port, secret) for host, name in STORES.items()]},
    )
    try:
        cleanup.enter_context(stack)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        # the end of a traceback; what is logged well is JSON and says how far it came
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = next((line for line in reversed(lines) if not line.startswith("{")), lines[-1])
    else:
        encrypt(server, folder)
        return server, stack, ""
    server = cleanup.enter_context(Postgres(POSTGRES, HBA))
    server.psql("CREATE ROLE app LOGIN;" + TABLES)
    encrypt(server, folder)
    return server, None, reason


def encrypt(server: Postgres, folder: Path) -> None:
    """Let the server offer TLS."""
    install(server.folder / "data", *Signer(folder).certify("db", *STORES))
    server.psql("ALTER SYSTEM SET ssl = on")
    server.psql("SELECT pg_reload_conf()")


def _store(host: str, name: str, port: int, secret: Path) -> dict[str, object]:
    settings: dict[str, object] = {
        "name": name,
        "protocol": "postgresql",
        "addresses": [f"{host}:{port}"],
        "catalog": {"user": "lockgate"},
        "upstream_tls": "require" if host == ENCRYPTED else "disable",
    }
    if host == CREDENTIAL:
        settings["credential"] = {"user": KEPT_ROLE, "password_file": str(secret)}
    return settings
