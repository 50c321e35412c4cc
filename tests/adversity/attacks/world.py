"""What is attacked: the stack's tables, and more that hold, compute, check or tell values of classified columns.

ann sees e-mail addresses masked and other personal data not at all, may not change the schema, and needs a second
person to delete. `vault` holds what other maskers mask, `blind` what bob, who approves, may not even
use without seeing it, `letters` what nobody classified and detectors find
for bob.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.support.attacks import Attacker
from tests.support.overheard import overheard
from tests.support.postgres import Postgres
from tests.support.stack import CLASSIFICATION, POLICIES, Stack

PREPARED = """
CREATE VIEW nested AS SELECT id, address AS a FROM contacts;
CREATE VIEW notes AS SELECT id, note AS n, email AS e FROM customers;
CREATE MATERIALIZED VIEW kept AS SELECT id, email AS e FROM customers;
CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM scratch; SELECT 1';
CREATE FUNCTION abs(text) RETURNS int LANGUAGE sql AS 'DELETE FROM scratch; SELECT 1';
CREATE FUNCTION upper(customers) RETURNS text LANGUAGE sql AS 'SELECT $1.email';
CREATE FUNCTION leak(int, int) RETURNS text LANGUAGE sql AS 'SELECT email FROM customers WHERE id = $1';
CREATE OPERATOR @@ (LEFTARG = int, RIGHTARG = int, FUNCTION = leak);
CREATE TABLE parted (id int, email text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (1000);
INSERT INTO parted SELECT id, email FROM customers;
ALTER TABLE customers ALTER name SET NOT NULL;
ALTER TABLE customers ADD CONSTRAINT named CHECK (name <> '');
ALTER TABLE customers ADD COLUMN folded text GENERATED ALWAYS AS (lower(email)) STORED;
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'it is %', (SELECT email FROM customers WHERE id = 1); RETURN NEW; END $$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'it is %', (SELECT email FROM customers WHERE id = 1); END $$;
CREATE TABLE telling (id int);
CREATE TRIGGER t AFTER INSERT ON telling FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TABLE refusing (id int PRIMARY KEY);
CREATE TRIGGER t BEFORE INSERT OR DELETE ON refusing FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE VIEW refusing_too AS SELECT id FROM refusing;
CREATE TABLE ruled (id int);
CREATE RULE r AS ON INSERT TO ruled DO INSTEAD SELECT email, upper(ssn) FROM customers WHERE id = new.id;
CREATE RULE u AS ON UPDATE TO ruled DO INSTEAD SELECT email FROM customers WHERE id = new.id;
INSERT INTO ruled VALUES (1);
CREATE TABLE unique_emails (email text UNIQUE, CHECK (length(email) > 3), EXCLUDE USING btree (email WITH =));
CREATE TABLE known_emails (email text REFERENCES unique_emails (email));
INSERT INTO unique_emails SELECT email FROM customers;
INSERT INTO scratch VALUES (1, 'one'), (2, 'two');
CREATE TABLE slowly (id int);
CREATE TABLE vault (id int PRIMARY KEY, who text, mail text, pin text, joined date);
INSERT INTO vault SELECT id, email, email, ssn, date '2001-05-01' + id % 20 FROM customers;
CREATE TABLE blind (id int PRIMARY KEY, code text, day date);
INSERT INTO blind SELECT id, email, born FROM customers;
CREATE TABLE letters (id int PRIMARY KEY, body text);
INSERT INTO letters SELECT id, 'write to ' || email || ' at once' FROM customers;
CREATE FUNCTION look(text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN RAISE NOTICE 'it is %', (SELECT email FROM customers WHERE id = 1); RETURN true; END $$;
CREATE TABLE screened (id int, body text);
INSERT INTO screened VALUES (1, 'one');
ALTER TABLE screened ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON screened USING (look(body));
CREATE VIEW screened_too AS SELECT id FROM screened;
CREATE FUNCTION raise(text) RETURNS int LANGUAGE plpgsql STABLE AS $$
DECLARE said text := (SELECT email FROM customers WHERE id = 1);
BEGIN RAISE EXCEPTION USING ERRCODE = $1, MESSAGE = said, TABLE = said, CONSTRAINT = said, COLUMN = said; END $$;
CREATE FUNCTION report() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_notify('changes', (SELECT email FROM customers WHERE id = 1)); RETURN NEW; END $$;
CREATE TABLE reported (id int);
CREATE TRIGGER t AFTER INSERT ON reported FOR EACH ROW EXECUTE FUNCTION report();
CREATE TABLE shadows (id int, "system_user" text);
INSERT INTO shadows SELECT id, email FROM customers;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
ANALYZE;
"""

OLDER = """
CREATE FUNCTION "json_scalar"(text) RETURNS text LANGUAGE sql AS 'DELETE FROM scratch; SELECT email FROM customers';
CREATE FUNCTION "json_value"(text, text) RETURNS text LANGUAGE sql AS 'SELECT email FROM customers';
CREATE FUNCTION "json_array"(text) RETURNS text LANGUAGE sql AS 'DELETE FROM scratch; SELECT email FROM customers';
CREATE FUNCTION "json_arrayagg"(text) RETURNS text LANGUAGE sql AS 'DELETE FROM scratch; SELECT email FROM customers';
CREATE FUNCTION "merge_action"() RETURNS text LANGUAGE sql AS 'DELETE FROM scratch; SELECT email FROM customers';
"""
"""Functions by names that became words of the grammar in PostgreSQL 16 and 17."""

RULES = """
@id("two-for-truncating")
@approvers("dba")
@timeout("60s")
forbid (principal, action == Action::"execute_alone", resource)
when { context.kinds.contains("TRUNCATE TABLE") || context.objects.contains("slowly") };
@id("hashed") @mask("hash")
forbid (principal, action == Action::"reveal", resource in Tag::"hashed");
@id("tokens") @mask("tokenise")
forbid (principal, action == Action::"reveal", resource in Tag::"tokens");
@id("cut") @mask("truncate:2")
forbid (principal, action == Action::"reveal", resource in Tag::"cut");
@id("months") @mask("truncate:month")
forbid (principal, action == Action::"reveal", resource in Tag::"months");
@id("blind") @mask("redact")
forbid (principal, action == Action::"reveal", resource in Tag::"blind");
@id("no-guessing")
forbid (principal in Group::"dba", action in [Action::"infer", Action::"infer_equal"], resource in Tag::"blind");
@id("no-addresses") @mask("redact")
forbid (principal in Group::"dba", action == Action::"reveal_detected", resource == Detector::"email");
"""

CLASSIFIED = {
    "orders": CLASSIFICATION["orders"]
    | {
        "public.parted.email": ["email"],
        "public.unique_emails.email": ["email"],
        "public.known_emails.email": ["email"],
        "public.vault.who": ["hashed"],
        "public.vault.mail": ["tokens"],
        "public.vault.pin": ["cut"],
        "public.vault.joined": ["months"],
        "public.blind.code": ["blind"],
        "public.blind.day": ["blind"],
        "public.shadows.system_user": ["email"],
    }
}


@contextlib.contextmanager
def attacked(server: Postgres, more: str = "") -> Iterator[Attacker]:
    """All of it on `server`, with `more` SQL run, and ann in front of it."""
    policies = POLICIES.replace('"30s"', '"1s"') + RULES
    with overheard(server.port, "lockgate") as upstream:
        addresses = [f"127.0.0.1:{upstream.port}", f"127.0.0.1:{server.port}", f"[::1]:{server.port}"]
        with Stack(policies=policies, classification=CLASSIFIED, server=server, addresses=addresses) as stack:
            stack.server.psql(PREPARED + more)
            attacker = Attacker(stack, upstream)
            try:
                yield attacker
            finally:
                attacker.close()
