"""What functions, operators and settings carry past a mask."""

from __future__ import annotations

import pytest

from tests.support.attacks import Attack, Attacker

WITHHELD = "withheld because it may quote masked columns"

CALLING = [
    Attack("a notification", "MD", ["LISTEN c", "SELECT pg_notify('c', email) FROM customers"], "lockgate: copying"),
    Attack("a setting as carrier", "D", ["SELECT set_config('a.b', email, false) FROM customers"], "lockgate: copying"),
    Attack("a large object", "D", ["SELECT lo_from_bytea(0, email::bytea) FROM customers"], "lockgate: copying"),
    Attack("an advisory lock", "D", ["SELECT pg_advisory_lock(ascii(email)) FROM customers"], "lockgate: copying"),
    Attack("a large object read", "M", ["SELECT lo_get(1)"], "lockgate: .*may depend on a masked|does not exist"),
    Attack("a large object's pages", "M", ["SELECT * FROM pg_largeobject"], "permission denied|^$"),
    Attack("a large object to a file", "D", ["SELECT lo_export(1, '/tmp/lockgate-attack')"], "no policy permits"),
    Attack("the log of changes", "D", ["SELECT * FROM pg_logical_slot_get_changes('s', NULL, NULL)"],
        "no policy permits"),
    Attack("a file of the server", "D", ["SELECT pg_read_file('postgresql.conf')"], "no policy permits"),
    Attack("schema_to_xml", "D", ["SELECT schema_to_xml('public', true, true, '')"], "no policy permits"),
    Attack("the running statement", "M", ["SELECT current_query() || email FROM customers"],
        "lockgate: .*may depend on a masked"),
    Attack("what a backend runs", "M", ["SELECT pg_stat_get_backend_activity(1)"],
        "lockgate: .*may depend on a masked"),
    Attack("what was prepared", "AM", ["PREPARE p AS SELECT 'somebody'::text",
        "SELECT statement FROM pg_prepared_statements"], r"^\*\*\*$"),
    Attack("open cursors", "AAMA", ["BEGIN", "DECLARE c CURSOR FOR SELECT 'somebody'::text",
        "SELECT statement FROM pg_cursors", "ROLLBACK"], r"^\*\*\*$"),
    Attack("extended statistics", "M", ["SELECT most_common_vals FROM pg_stats_ext"], "^$"),
    Attack("a cursor in binary, held", "AMAM", ["BEGIN",
        "DECLARE c BINARY CURSOR WITH HOLD FOR SELECT email, born FROM customers", "COMMIT", "FETCH 1 FROM c"],
        r"^u\*\*\*@e\*\*\*\.org\|$"),
    Attack("where rows are", "M", ["SELECT ctid, xmin, email FROM customers LIMIT 1"], r"^\(0,1\)\|\d+\|u\*\*\*@"),
    Attack("a seed", "D", ["SELECT setseed(length(email) / 100.0) FROM customers"], "lockgate: copying"),
    Attack("query_to_xml", "D", ["SELECT query_to_xml('SELECT email FROM customers', true, true, '')"],
        "no policy permits"),
    Attack("table_to_xml", "D", ["SELECT table_to_xml('customers', true, true, '')"], "no policy permits"),
    Attack("cursor_to_xml", "D", ["SELECT cursor_to_xml('c', 1, true, true, '')"], "no policy permits"),
    Attack("ts_stat", "D", ["SELECT * FROM ts_stat('SELECT to_tsvector(email) FROM customers')"], "no policy permits"),
    Attack("a function", "M", ["SELECT leak(1, 1)"], "not known to be free of other data"),
    Attack("a function as a column", "M", ["SELECT c.upper FROM customers c"], "lockgate: "),
    Attack("a function of a built-in name", "D", ["SELECT upper(c) FROM customers c"], "lockgate: "),
    Attack("an operator of a built-in name", "M", ["SELECT 1 @@ 1"], "not known to be free of other data"),
    Attack("an operator by its schema", "M", ["SELECT 1 OPERATOR(public.@@) 1"], "not known to be free of other data"),
    Attack("a block", "D", ["DO $$ BEGIN RAISE NOTICE '%', (SELECT email FROM customers LIMIT 1); END $$"],
        "no policy permits"),
    Attack("backslashes", "D", ["SET standard_conforming_strings = off"], "must stay on"),
    Attack("backslashes by function", "D", ["SELECT set_config('standard_conforming_strings', 'off', true)"],
        "must stay on"),
    Attack("backslashes by table", "D",
        ["UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'"], "no policy permits"),
    Attack("another encoding", "AMA", ["SET client_encoding = 'SJIS'", "SELECT email FROM customers LIMIT 1",
        "RESET client_encoding"], r"\*\*\*", last=True),
]  # fmt: skip


@pytest.mark.parametrize("attack", CALLING, ids=str)
def test_no_function_or_setting_is_a_way_around(ann: Attacker, attack: Attack) -> None:
    ann.run(attack)
