"""Which parameters a statement changes: SET and RESET in all their forms, wherever they stand, and set_config()."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from lockgate.understand.postgresql.tree import Node, constant

UNNAMED: Final = "?"
"""Stands for a parameter whose name the text doesn't say."""
ALL: Final = "all"
"""Stands for all parameters, as in RESET ALL."""

HOW_TEXT_IS_READ: Final = "standard_conforming_strings"
"""Off, a backslash in 'text' means something else to the server than to the grammar here."""

IDENTITIES: Final = frozenset({"role", "session_authorization"})
"""Their values are names of roles."""

_SUPERUSERS = """
session_authorization
allow_in_place_tablespaces allow_system_table_mods backtrace_functions commit_delay compute_query_id deadlock_timeout
debug_discard_caches dynamic_library_path event_triggers extension_control_path ignore_checksum_failure
jit_dump_bitcode lo_compat_privileges log_duration log_error_verbosity log_executor_stats log_lock_failures
log_lock_waits log_min_duration_sample log_min_duration_statement log_min_error_statement log_min_messages
log_parameter_max_length log_parser_stats log_planner_stats log_replication_commands log_statement
log_statement_sample_rate log_statement_stats log_temp_files log_transaction_sample_rate max_stack_depth
session_preload_libraries session_replication_role temp_file_limit track_activities track_cost_delay_timing
track_counts track_functions track_io_timing track_wal_io_timing update_process_title wal_compression
wal_consistency_checking wal_init_zero wal_recycle zero_damaged_pages
"""
ADMIN_SETTINGS: Final = frozenset(_SUPERUSERS.split())
"""Becoming somebody else for good, and what only a superuser may set (`superuser` in pg_settings.context): it turns off
triggers, checks or the log. Not lc_messages, which drivers set to read errors."""

_BACK: Final = frozenset({"VAR_SET_DEFAULT", "VAR_SET_CURRENT", "VAR_RESET", "VAR_RESET_ALL"})
"""Going back to what the session began with needs no superuser, and poolers do it between clients."""


@dataclass(frozen=True, slots=True)
class Change:
    """One parameter that is changed: its name in lower case, and the value where the text says it.

    `given` is False where it only goes back to its default.
    """

    name: str
    value: str | None = None
    given: bool = True

    @property
    def admin(self) -> bool:
        return self.given and self.name in ADMIN_SETTINGS

    @property
    def role(self) -> str | None:
        """The role it becomes, `?` where the text doesn't say, None where it becomes nobody else."""
        if self.name not in IDENTITIES or not self.given:
            return None
        return UNNAMED if self.value is None else self.value


SETTERS: Final = frozenset({"VariableSetStmt", "DiscardStmt", "TransactionStmt"})
"""The kinds of statement that `changes` reads."""


def changes(statement: Node) -> tuple[Change, ...]:
    """What a SET or RESET changes, and what DISCARD ALL and BEGIN with options do."""
    if statement.kind == "DiscardStmt":
        return (Change(ALL, given=False),) if statement.target == "DISCARD_ALL" else ()
    if statement.kind == "TransactionStmt":
        return tuple(Change(str(option.defname), _value(option.arg)) for option in statement.options or ())
    variant = statement.variant
    if variant == "VAR_SET_MULTI":
        # SET TRANSACTION and SET SESSION CHARACTERISTICS: the parameters are among the arguments
        session = "SESSION" in str(statement.name)
        return tuple(
            Change(("default_" if session else "") + str(part.defname), _value(part.arg))
            if part.kind == "DefElem"
            else Change("transaction_snapshot", _value(part))
            for part in statement.args or ()
        )
    name = str(statement.name or ALL).lower()
    given = variant not in _BACK
    values: tuple[Node, ...] = statement.args or ()
    return (Change(name, _value(values[0]) if given and len(values) == 1 else None, given),)


def configured(arguments: tuple[Node, ...], pinned: str | None) -> Change:
    """What a call of set_config() changes. `pinned` is its first argument where the query tells it otherwise."""
    name = pinned or (constant(arguments[0]) if arguments else None)
    value = constant(arguments[1]) if len(arguments) > 1 else None
    return Change(UNNAMED if name is None else name.lower(), value)


def _value(node: Node | None) -> str | None:
    text = constant(node)
    if text is not None or node is None or node.kind != "A_Const":
        return text
    if node.ival is not None:
        return str(node.ival.ival or 0)
    return None if node.fval is None else str(node.fval.fval)
