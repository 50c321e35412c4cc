"""The one database all peers stand in front of, and the agent before it when it can be had."""

from __future__ import annotations

import subprocess
from contextlib import ExitStack

from tests.support.postgres import Postgres
from tests.support.stack import CLASSIFICATION, SCHEMA, Stack

SCALE = 10
"""pgbench's: 100 000 accounts each. In memory, so that the server is never waiting for a disk."""
ROWS = 1_000_000

POSTGRES = {"shared_buffers": "'256MB'", "fsync": "off", "max_connections": "1600", "jit": "off"}
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
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
VACUUM (ANALYZE, FREEZE);
"""

PLAIN_ROWS = "SELECT id, name, contact, note FROM people"
MASKED_ROWS = "SELECT id, name, email, note FROM people"
"""The same bytes from the server as PLAIN_ROWS; `email` is classified, and its masked text is not longer."""
UNMASKED = "user1@example.org"
"""What the first row of a masked result must not show."""


def start(cleanup: ExitStack) -> tuple[Postgres, Stack | None, str]:
    """Start the database with the agent in front: (server, the stack, "") or (server, None, why there is no agent)."""
    classification = {"orders": {**CLASSIFICATION["orders"], "public.people.email": ["email"]}}
    stack = Stack(schema=SCHEMA + TABLES, classification=classification, postgres=POSTGRES)
    try:
        cleanup.enter_context(stack)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        # the end of a traceback; what is logged well is JSON and says how far it came
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = next((line for line in reversed(lines) if not line.startswith("{")), lines[-1])
    else:
        return stack.server, stack, ""
    server = cleanup.enter_context(Postgres(POSTGRES))
    server.psql("CREATE ROLE app LOGIN;" + TABLES)
    return server, None, reason
