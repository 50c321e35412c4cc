"""What a call may do, by the function's name.

A function that is part of PostgreSQL is harmless (it computes from its arguments or looks at the catalog) unless it
stands below. Every other function may do anything: it counts as unknown and as a write. The lists were made by
reading all volatile functions of pg_catalog and all whose execution PostgreSQL itself revokes from PUBLIC.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

from lockgate.understand.postgresql.tree import Node, strings
from lockgate.values.statement import Effect


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BUILT_IN = frozenset(
    line
    for line in files(__package__).joinpath("functions.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
)

HARMLESS: frozenset[Effect] = frozenset()
ANYTHING = frozenset({Effect.UNKNOWN, Effect.WRITE})


@dataclass(frozen=True, slots=True)
class Facts:
    """What a call of one of a database's own functions does.

    `objects` are those that its text names, as in Statement; `definer` says that it, or one that it calls, runs with
    the rights of its owner.
    """

    effects: frozenset[Effect]
    objects: tuple[str, ...] = ()
    definer: bool = False


class Lookup(Protocol):
    """A database's own functions and operators, and what calls them without naming them."""

    def call(self, name: str) -> Facts | None:
        """What a call of `name` or `schema.name` does, None when there is no such function."""

    def attribute(self, name: str, *, row: bool) -> Facts | None:
        """What `(value).name`, or `t.name` of a row, does if it is a call; None when no function can be meant."""

    def view(self, schema: str | None, name: str, *, refresh: bool = False) -> Facts | None:
        """What reading `schema.name` does beyond reading, None when that is nothing.

        `refresh`: what computing it anew does, if it keeps its rows (a materialised view).
        """

    def beneath(self, schema: str | None, name: str) -> frozenset[str]:
        """The relations that a write to the view `schema.name` may go on to, as its definition writes them."""

    def type(self, name: str) -> Facts | None:
        """What making a value of the type `name` does, None when that is nothing."""


_ADMIN = _words("""
pg_read_file pg_read_file_old pg_read_binary_file pg_stat_file pg_ls_dir pg_ls_logdir pg_ls_waldir pg_ls_tmpdir
pg_ls_archive_statusdir pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir pg_hba_file_rules
pg_ident_file_mappings pg_show_all_file_settings lo_import lo_export
pg_terminate_backend pg_cancel_backend pg_reload_conf pg_rotate_logfile pg_rotate_logfile_old pg_switch_wal pg_promote
pg_wal_replay_pause pg_wal_replay_resume pg_create_restore_point pg_backup_start pg_backup_stop pg_start_backup
pg_stop_backup pg_log_backend_memory_contexts pg_logical_emit_message pg_logical_slot_get_changes
pg_logical_slot_get_binary_changes pg_logical_slot_peek_changes pg_logical_slot_peek_binary_changes
pg_create_physical_replication_slot pg_create_logical_replication_slot pg_copy_physical_replication_slot
pg_copy_logical_replication_slot pg_drop_replication_slot pg_replication_slot_advance pg_replication_origin_advance
pg_replication_origin_create pg_replication_origin_drop pg_replication_origin_session_reset
pg_replication_origin_session_setup pg_replication_origin_xact_reset pg_replication_origin_xact_setup
pg_stat_reset pg_stat_reset_replication_slot pg_stat_reset_shared pg_stat_reset_single_function_counters
pg_stat_reset_single_table_counters pg_stat_reset_slru pg_stat_reset_subscription_stats pg_import_system_collations
pg_extension_config_dump pg_nextoid pg_stop_making_pinned_objects
pg_ls_summariesdir pg_log_standby_snapshot pg_sync_replication_slots pg_stat_reset_backend_stats
""")

_WRITE = _words("""
nextval setval pg_notify lo_create lo_creat lo_unlink lo_put lo_from_bytea lo_truncate lo_truncate64 lowrite
pg_restore_relation_stats pg_restore_attribute_stats pg_clear_relation_stats pg_clear_attribute_stats
brin_summarize_new_values brin_summarize_range brin_desummarize_range gin_clean_pending_list
""")

_SESSION = _words("""
set_config setseed pg_export_snapshot
pg_advisory_lock pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared
pg_advisory_xact_lock pg_advisory_xact_lock_shared pg_try_advisory_lock pg_try_advisory_lock_shared
pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared
""")

_RUN_SQL = _words("""
query_to_xml query_to_xmlschema query_to_xml_and_xmlschema cursor_to_xml cursor_to_xmlschema table_to_xml
table_to_xmlschema table_to_xml_and_xmlschema schema_to_xml schema_to_xmlschema schema_to_xml_and_xmlschema
database_to_xml database_to_xmlschema database_to_xml_and_xmlschema ts_stat ts_rewrite
""")
"""They take a query or the name of a relation as text: what they read is nowhere in the statement."""

_EFFECTS: dict[str, frozenset[Effect]] = {
    **dict.fromkeys(_ADMIN, frozenset({Effect.ADMIN})),
    **dict.fromkeys(_WRITE, frozenset({Effect.WRITE})),
    **dict.fromkeys(_SESSION, frozenset({Effect.SESSION})),
    **dict.fromkeys(_RUN_SQL, ANYTHING),
    **{name: frozenset({Effect.ADMIN}) for name in _BUILT_IN if name.startswith("binary_upgrade_")},
}

_TELL_OTHERS_DATA = _words("""
lo_get loread pg_stat_get_activity pg_stat_get_backend_activity pg_prepared_statement pg_cursor pg_mcv_list_items
pg_logical_slot_get_changes pg_logical_slot_get_binary_changes pg_logical_slot_peek_changes
pg_logical_slot_peek_binary_changes pg_read_file pg_read_file_old pg_read_binary_file current_query
""")
"""Built in, yet what they return may hold column values that came in through no argument."""

_OPERATORS = _words("""
!! !~ !~* !~~ !~~* # ## #- #> #>> % & && &< &<| &> * *< *<= *<> *= *> *>= + - -> ->> -|- / < <-> << <<= <<| <= <> <@ <^
= > >= >> >>= >^ ? ?# ?& ?- ?-| ?| ?|| @ @-@ @> @? @@ @@@ ^ ^@ | |&> |/ |>> || ||/ ~ ~* ~<=~ ~<~ ~= ~>=~ ~>~ ~~ ~~* !=
<#> <=> <+> <~> <%> %> <<% %>> <<-> <->> <<<-> <->>> ~> ^<@ ^@> ^? ^~ ^@ ?<@ ?@> ?~ &&& <<#>> <<->> ~==
""")
"""pg_operator of pg_catalog, and those of PostgreSQL's contrib modules, pgvector and PostGIS."""


_BETWEEN = frozenset({"BETWEEN", "NOT BETWEEN", "BETWEEN SYMMETRIC", "NOT BETWEEN SYMMETRIC"})
"""What the grammar calls the operator of a BETWEEN, which is made of those below."""
_ORDERED = frozenset({"<", "<=", ">", ">="})


_SPELT = {
    "JsonScalarExpr": "json_scalar",
    "JsonParseExpr": "json",
    "JsonSerializeExpr": "json_serialize",
    "JsonObjectConstructor": "json_object",
    "JsonObjectAgg": "json_objectagg",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonArrayAgg": "json_arrayagg",
    "MergeSupportFunc": "merge_action",
}
_SPELT_BY_OPERATION = {
    "JSON_EXISTS_OP": "json_exists",
    "JSON_QUERY_OP": "json_query",
    "JSON_VALUE_OP": "json_value",
}
_SPELT_NAMES = frozenset({*_SPELT.values(), *_SPELT_BY_OPERATION.values()})


def spelt(node: Node) -> str | None:
    """The function that a server older than the grammar here calls where the grammar has words of its own.

    PostgreSQL 16 and 17 made `json_value(a, b)` and its like part of the language; before, it is what somebody
    called so. None where all releases agree.
    """
    if node.kind == "JsonFuncExpr":
        return _SPELT_BY_OPERATION.get(node.op)
    return _SPELT.get(node.kind)


def ambiguous(names: frozenset[str]) -> bool:
    """Whether one of these names of functions and operators outside pg_catalog is a known one as well."""
    return not (names.isdisjoint(_BUILT_IN) and names.isdisjoint(_OPERATORS) and names.isdisjoint(_SPELT_NAMES))


def function_name(call: Node) -> str:
    """The name of a FuncCall as written, without pg_catalog in front."""
    parts = strings(call.funcname)
    if len(parts) > 1 and parts[-2] == "pg_catalog":
        parts = parts[-1:]
    return ".".join(parts[-2:])


def known(call: Node, shadowed: frozenset[str] = frozenset()) -> bool:
    """Whether a FuncCall is PostgreSQL's own. `shadowed`: names that someone defined in another schema as well."""
    name = function_name(call)
    return name in _BUILT_IN and (name not in shadowed or len(call.funcname) > 1)


def effects_of_call(call: Node, shadowed: frozenset[str] = frozenset()) -> frozenset[Effect]:
    """What a FuncCall adds to its statement: nothing for a harmless function."""
    name = function_name(call)
    if not known(call, shadowed):
        return ANYTHING
    if name == "ts_rewrite" and len(call.args or ()) == 3:  # only the form with two arguments runs a query
        return HARMLESS
    return _EFFECTS.get(name, HARMLESS)


def effects_of_name(name: str) -> frozenset[Effect]:
    """What a call of PostgreSQL's own function of this name does, whatever its arguments.

    `(value).name` is one where the value has no such column.
    """
    return _EFFECTS.get(name, HARMLESS)


def built_in(name: str) -> bool:
    """Whether PostgreSQL has a function or operator of this name that is known (`schema.name` outside pg_catalog)."""
    return name in _BUILT_IN or name in _OPERATORS


def tells_only_arguments(call: Node, shadowed: frozenset[str] = frozenset()) -> bool:
    """Whether the result of a FuncCall can hold no column value but those of its arguments."""
    return function_name(call) not in _TELL_OTHERS_DATA and Effect.UNKNOWN not in effects_of_call(call, shadowed)


def tells_others_data(name: str) -> bool:
    """Whether `(value).name`, if it is a call of PostgreSQL's own, may give other data than the value's."""
    return name in _TELL_OTHERS_DATA or Effect.UNKNOWN in effects_of_name(name)


def unknown_operator(names: tuple[str, ...], shadowed: frozenset[str] = frozenset()) -> str | None:
    """The spelling of an operator that isn't known to be harmless, None for one that is. `shadowed` as in `known`."""
    if len(names) == 1 and names[0] in _BETWEEN:
        made = min(_ORDERED & shadowed, default=None)
        return None if made is None else f"operator({made})"
    if (
        names
        and names[-1] in _OPERATORS
        and (names[:-1] == ("pg_catalog",) or (len(names) == 1 and names[0] not in shadowed))
    ):
        return None
    return f"operator({'.'.join(names)})"
