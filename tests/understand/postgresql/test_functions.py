"""The list of PostgreSQL's own functions, held against a server; and what is known of the harmful ones."""

from __future__ import annotations

import pytest

from lockgate.understand.postgresql.functions import (
    ANYTHING,
    HARMLESS,
    ambiguous,
    effects_of_call,
    function_name,
    known,
    spelt,
    tells_only_arguments,
    unknown_operator,
)
from lockgate.understand.postgresql.parsing import parse
from lockgate.understand.postgresql.tree import Node, walk
from lockgate.values.statement import Effect
from tests.support.postgres import Postgres
from tests.support.postgres18 import Postgres18

REVIEWED = """
bernoulli system brinhandler bthandler ginhandler gisthandler hashhandler heap_tableam_handler spghandler amvalidate
clock_timestamp timeofday current_query currtid2 currval lastval gen_random_uuid random txid_status
lo_close lo_get lo_lseek lo_lseek64 lo_open lo_tell lo_tell64 loread pg_blocking_pids pg_safe_snapshot_blocking_pids
pg_collation_actual_version pg_database_collation_actual_version pg_control_checkpoint pg_control_init
pg_control_recovery pg_control_system pg_current_logfile pg_current_wal_flush_lsn pg_current_wal_insert_lsn
pg_current_wal_lsn pg_database_size pg_indexes_size pg_relation_size pg_table_size pg_tablespace_size
pg_total_relation_size pg_get_backend_memory_contexts pg_get_multixact_members pg_get_shmem_allocations
pg_get_wal_replay_pause_state pg_get_wal_resource_managers pg_is_in_recovery pg_is_wal_replay_paused
pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact pg_last_wal_receive_lsn
pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status pg_notification_queue_usage pg_partition_ancestors
pg_partition_tree pg_prepared_xact pg_replication_origin_progress pg_replication_origin_session_is_setup
pg_replication_origin_session_progress pg_sequence_last_value pg_show_replication_origin_status pg_sleep pg_sleep_for
pg_sleep_until pg_stat_clear_snapshot pg_stat_force_next_flush pg_stat_get_recovery_prefetch pg_stat_have_stats
pg_stat_get_io pg_stat_get_backend_io pg_stat_get_backend_wal pg_get_sequence_data uuidv4 uuidv7 array_shuffle
array_sample random_normal pg_get_loaded_modules pg_wal_summary_contents
pg_available_wal_summaries pg_get_wait_events pg_get_aios
pg_get_shmem_allocations_numa pg_get_wal_summarizer_state
pg_xact_commit_timestamp pg_xact_commit_timestamp_origin pg_xact_status suppress_redundant_updates_trigger
tsvector_update_trigger tsvector_update_trigger_column unique_key_recheck
"""
"""Volatile functions of pg_catalog that were read and found to change nothing and to reach nothing outside."""


def call(text: str) -> Node:
    return next(node for node in walk(parse(f"select {text}")) if node.kind == "FuncCall")


@pytest.fixture(scope="module", params=[Postgres, Postgres18])
def volatile(request: pytest.FixtureRequest) -> list[str]:
    with request.param() as server:
        found: list[str] = server.psql(
            """select distinct proname from pg_proc p join pg_language l on l.oid = prolang
                where pronamespace = 'pg_catalog'::regnamespace and lanname in ('internal', 'sql') and provolatile = 'v'
                  and not 'internal'::regtype = any(proargtypes::oid[])"""
        ).split()
    return found


def test_every_volatile_function_was_reviewed(volatile: list[str]) -> None:
    fine = set(REVIEWED.split())
    unread = [
        name
        for name in volatile
        if name not in fine
        and not name.startswith(("RI_FKey_", "pg_stat_get_xact_"))
        and effects_of_call(call(f'pg_catalog."{name}"()')) == HARMLESS
    ]
    assert unread == []
    assert len(volatile) > 150


def test_every_function_of_the_server_is_known(volatile: list[str]) -> None:
    assert all(known(call(f'"{name}"()')) for name in volatile)


@pytest.mark.parametrize("name", ["plpgsql_call_handler", "pg_file_write", "dblink", "evil", "utf8_to_sjis"])
def test_what_is_in_c_or_comes_from_elsewhere_is_not(name: str) -> None:
    assert effects_of_call(call(f"{name}()")) == ANYTHING
    assert not tells_only_arguments(call(f"{name}()"))


@pytest.mark.parametrize(
    ("text", "name", "is_known"),
    [
        ("lower(a)", "lower", True),
        ("pg_catalog.lower(a)", "lower", True),
        ("db.pg_catalog.lower(a)", "lower", True),
        ("public.lower(a)", "public.lower", False),
        ("information_schema._pg_expandarray(a)", "information_schema._pg_expandarray", True),
        ("_pg_expandarray(a)", "_pg_expandarray", False),
        ('"Lower"(a)', "Lower", False),
        ("extract(year from a)", "extract", True),
        ("a at time zone 'x'", "timezone", True),
    ],
)
def test_names(text: str, name: str, is_known: bool) -> None:
    assert (function_name(call(text)), known(call(text))) == (name, is_known)


def test_a_shadowed_name_is_known_only_with_its_schema() -> None:
    shadowed = frozenset({"lower"})
    assert not known(call("lower(a)"), shadowed)
    assert known(call("pg_catalog.lower(a)"), shadowed)
    assert known(call("upper(a)"), shadowed)


@pytest.mark.parametrize("name", ["lo_get", "pg_stat_get_activity", "query_to_xml", "pg_read_file", "ts_stat"])
def test_what_may_tell_other_data_is_marked(name: str) -> None:
    assert not tells_only_arguments(call(f"{name}()"))


def test_binary_upgrade_functions_are_for_administrators() -> None:
    assert effects_of_call(call("binary_upgrade_set_next_pg_type_oid(1)")) == {Effect.ADMIN}


def test_between_is_made_of_other_operators() -> None:
    assert unknown_operator(("BETWEEN",), frozenset({"<="})) == "operator(<=)"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("+",), None),
        (("pg_catalog", "+"), None),
        (("public", "+"), "operator(public.+)"),
        (("<?>",), "operator(<?>)"),
        (("<=>",), None),
        (("BETWEEN",), None),
        (("NOT BETWEEN SYMMETRIC",), None),
    ],
)
def test_operators(names: tuple[str, ...], expected: str | None) -> None:
    assert unknown_operator(names) == expected


@pytest.mark.parametrize("release", [Postgres, Postgres18])
def test_every_operator_of_the_server_is_known(release: type[Postgres]) -> None:
    with release() as server:
        names = server.psql("select distinct oprname from pg_operator").split()
    assert [name for name in names if unknown_operator((name,)) is not None] == []


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ("json_scalar('a')", "json_scalar"),
        ("json('a')", "json"),
        ("json_serialize(a)", "json_serialize"),
        ("json_value(a, 'b')", "json_value"),
        ("json_query(a, 'b')", "json_query"),
        ("json_exists(a, 'b')", "json_exists"),
        ("json_object()", "json_object"),
        ("json_array('a')", "json_array"),
        ("json_arrayagg(a)", "json_arrayagg"),
        ("merge_action()", "merge_action"),
        ("coalesce(a, b)", None),
    ],
)
def test_what_is_a_call_to_older_servers_only_has_its_name(expression: str, name: str | None) -> None:
    [tree] = parse(f"SELECT {expression}")
    assert spelt(tree.stmt.targetList[0].val) == name
    if name is not None:
        assert ambiguous(frozenset({name}))
