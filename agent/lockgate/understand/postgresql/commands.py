"""Every kind of statement in PostgreSQL's grammar: its command tag and what it does by itself.

What is inside (queries, function calls) is added in effects.py. The tags follow CreateCommandTag and the effects
ClassifyUtilityCommandAsReadOnly, both in PostgreSQL's src/backend/tcop/utility.c.
"""

from __future__ import annotations

from dataclasses import dataclass

from lockgate.understand.postgresql.tree import Node
from lockgate.values.statement import Effect

Effects = frozenset[Effect]

NONE: Effects = frozenset()
READ: Effects = frozenset({Effect.READ})
WRITE: Effects = frozenset({Effect.WRITE})
DDL: Effects = frozenset({Effect.DDL})
ADMIN: Effects = frozenset({Effect.ADMIN})
SESSION: Effects = frozenset({Effect.SESSION})
TRANSACTION: Effects = frozenset({Effect.TRANSACTION})
ANYTHING: Effects = frozenset({Effect.UNKNOWN, Effect.WRITE})


@dataclass(frozen=True, slots=True)
class Command:
    """`tag` may hold `{}`, replaced by the kind of object that the field `named` gives.

    `stored` says that expressions and queries inside are kept for later, not run now.
    """

    tag: str
    effects: Effects
    named: str = ""
    stored: bool = False


COMMANDS: dict[str, Command] = {
    "SelectStmt": Command("SELECT", READ),
    "InsertStmt": Command("INSERT", WRITE),
    "UpdateStmt": Command("UPDATE", WRITE),
    "DeleteStmt": Command("DELETE", WRITE),
    "MergeStmt": Command("MERGE", WRITE | READ),
    "TruncateStmt": Command("TRUNCATE TABLE", WRITE),
    "CopyStmt": Command("COPY", NONE),
    "CallStmt": Command("CALL", ANYTHING),
    "DoStmt": Command("DO", ANYTHING),
    "ExplainStmt": Command("EXPLAIN", READ),
    "PrepareStmt": Command("PREPARE", NONE),
    "ExecuteStmt": Command("EXECUTE", ANYTHING),
    "DeallocateStmt": Command("DEALLOCATE", SESSION),
    "DeclareCursorStmt": Command("DECLARE CURSOR", NONE),
    "FetchStmt": Command("FETCH", READ),
    "ClosePortalStmt": Command("CLOSE CURSOR", SESSION),
    "TransactionStmt": Command("TRANSACTION", TRANSACTION),
    "ConstraintsSetStmt": Command("SET CONSTRAINTS", TRANSACTION),
    "LockStmt": Command("LOCK TABLE", NONE),
    "VariableSetStmt": Command("SET", SESSION),
    "VariableShowStmt": Command("SHOW", READ),
    "DiscardStmt": Command("DISCARD", SESSION),
    "ListenStmt": Command("LISTEN", SESSION),
    "UnlistenStmt": Command("UNLISTEN", SESSION),
    "NotifyStmt": Command("NOTIFY", WRITE),
    "LoadStmt": Command("LOAD", ADMIN),
    "CheckPointStmt": Command("CHECKPOINT", ADMIN),
    "VacuumStmt": Command("VACUUM", ADMIN),
    "ClusterStmt": Command("CLUSTER", ADMIN),
    "ReindexStmt": Command("REINDEX", ADMIN),
    "RefreshMatViewStmt": Command("REFRESH MATERIALIZED VIEW", READ | WRITE),
    # who may do what
    "GrantStmt": Command("GRANT", ADMIN),
    "GrantRoleStmt": Command("GRANT ROLE", ADMIN),
    "AlterDefaultPrivilegesStmt": Command("ALTER DEFAULT PRIVILEGES", ADMIN),
    "CreateRoleStmt": Command("CREATE ROLE", ADMIN),
    "AlterRoleStmt": Command("ALTER ROLE", ADMIN),
    "AlterRoleSetStmt": Command("ALTER ROLE", ADMIN, stored=True),
    "DropRoleStmt": Command("DROP ROLE", ADMIN),
    "ReassignOwnedStmt": Command("REASSIGN OWNED", DDL | ADMIN),
    "DropOwnedStmt": Command("DROP OWNED", DDL | ADMIN),
    "CreatePolicyStmt": Command("CREATE POLICY", DDL | ADMIN, stored=True),
    "AlterPolicyStmt": Command("ALTER POLICY", DDL | ADMIN, stored=True),
    "SecLabelStmt": Command("SECURITY LABEL", DDL | ADMIN),
    # the server and what it reaches
    "AlterSystemStmt": Command("ALTER SYSTEM", ADMIN, stored=True),
    "CreatedbStmt": Command("CREATE DATABASE", DDL | ADMIN),
    "AlterDatabaseStmt": Command("ALTER DATABASE", DDL | ADMIN),
    "AlterDatabaseRefreshCollStmt": Command("ALTER DATABASE", DDL | ADMIN),
    "AlterDatabaseSetStmt": Command("ALTER DATABASE", DDL | ADMIN, stored=True),
    "DropdbStmt": Command("DROP DATABASE", DDL | ADMIN),
    "CreateTableSpaceStmt": Command("CREATE TABLESPACE", DDL | ADMIN),
    "AlterTableSpaceOptionsStmt": Command("ALTER TABLESPACE", DDL | ADMIN),
    "DropTableSpaceStmt": Command("DROP TABLESPACE", DDL | ADMIN),
    "CreateExtensionStmt": Command("CREATE EXTENSION", DDL | ADMIN),
    "AlterExtensionStmt": Command("ALTER EXTENSION", DDL | ADMIN),
    "AlterExtensionContentsStmt": Command("ALTER EXTENSION", DDL | ADMIN),
    "CreateFdwStmt": Command("CREATE FOREIGN DATA WRAPPER", DDL | ADMIN),
    "AlterFdwStmt": Command("ALTER FOREIGN DATA WRAPPER", DDL | ADMIN),
    "CreateForeignServerStmt": Command("CREATE SERVER", DDL | ADMIN),
    "AlterForeignServerStmt": Command("ALTER SERVER", DDL | ADMIN),
    "CreateForeignTableStmt": Command("CREATE FOREIGN TABLE", DDL | ADMIN, stored=True),
    "ImportForeignSchemaStmt": Command("IMPORT FOREIGN SCHEMA", DDL | ADMIN),
    "CreateUserMappingStmt": Command("CREATE USER MAPPING", DDL | ADMIN),
    "AlterUserMappingStmt": Command("ALTER USER MAPPING", DDL | ADMIN),
    "DropUserMappingStmt": Command("DROP USER MAPPING", DDL | ADMIN),
    "CreatePublicationStmt": Command("CREATE PUBLICATION", DDL | ADMIN, stored=True),
    "AlterPublicationStmt": Command("ALTER PUBLICATION", DDL | ADMIN, stored=True),
    "CreateSubscriptionStmt": Command("CREATE SUBSCRIPTION", DDL | ADMIN),
    "AlterSubscriptionStmt": Command("ALTER SUBSCRIPTION", DDL | ADMIN),
    "DropSubscriptionStmt": Command("DROP SUBSCRIPTION", DDL | ADMIN),
    "CreateEventTrigStmt": Command("CREATE EVENT TRIGGER", DDL | ADMIN),
    "AlterEventTrigStmt": Command("ALTER EVENT TRIGGER", DDL | ADMIN),
    "CreatePLangStmt": Command("CREATE LANGUAGE", DDL | ADMIN),
    "CreateAmStmt": Command("CREATE ACCESS METHOD", DDL | ADMIN),
    # definitions
    "CreateSchemaStmt": Command("CREATE SCHEMA", DDL),
    "CreateStmt": Command("CREATE TABLE", DDL, stored=True),
    "CreateTableAsStmt": Command("CREATE TABLE AS", DDL | WRITE),
    "AlterTableStmt": Command("ALTER {}", DDL, "objtype"),
    "AlterTableMoveAllStmt": Command("ALTER {}", DDL, "objtype"),
    "ReplicaIdentityStmt": Command("ALTER TABLE", DDL),
    "ViewStmt": Command("CREATE VIEW", DDL, stored=True),
    "IndexStmt": Command("CREATE INDEX", DDL),
    "CreateSeqStmt": Command("CREATE SEQUENCE", DDL),
    "AlterSeqStmt": Command("ALTER SEQUENCE", DDL),
    "CreateStatsStmt": Command("CREATE STATISTICS", DDL),
    "AlterStatsStmt": Command("ALTER STATISTICS", DDL),
    "CreateTrigStmt": Command("CREATE TRIGGER", DDL, stored=True),
    "RuleStmt": Command("CREATE RULE", DDL, stored=True),
    "CreateFunctionStmt": Command("CREATE FUNCTION", DDL, stored=True),
    "AlterFunctionStmt": Command("ALTER {}", DDL, "objtype"),
    "CreateDomainStmt": Command("CREATE DOMAIN", DDL, stored=True),
    "AlterDomainStmt": Command("ALTER DOMAIN", DDL),
    "CompositeTypeStmt": Command("CREATE TYPE", DDL),
    "CreateEnumStmt": Command("CREATE TYPE", DDL),
    "AlterEnumStmt": Command("ALTER TYPE", DDL),
    "CreateRangeStmt": Command("CREATE TYPE", DDL),
    "AlterTypeStmt": Command("ALTER TYPE", DDL),
    "DefineStmt": Command("CREATE {}", DDL, "kind"),
    "CreateCastStmt": Command("CREATE CAST", DDL | ADMIN),
    "CreateConversionStmt": Command("CREATE CONVERSION", DDL),
    "CreateTransformStmt": Command("CREATE TRANSFORM", DDL | ADMIN),
    "CreateOpClassStmt": Command("CREATE OPERATOR CLASS", DDL),
    "CreateOpFamilyStmt": Command("CREATE OPERATOR FAMILY", DDL),
    "AlterOpFamilyStmt": Command("ALTER OPERATOR FAMILY", DDL),
    "AlterOperatorStmt": Command("ALTER OPERATOR", DDL),
    "AlterCollationStmt": Command("ALTER COLLATION", DDL),
    "AlterTSConfigurationStmt": Command("ALTER TEXT SEARCH CONFIGURATION", DDL),
    "AlterTSDictionaryStmt": Command("ALTER TEXT SEARCH DICTIONARY", DDL),
    "AlterObjectDependsStmt": Command("ALTER {}", DDL, "objectType"),
    "AlterObjectSchemaStmt": Command("ALTER {}", DDL, "objectType"),
    "AlterOwnerStmt": Command("ALTER {}", DDL | ADMIN, "objectType"),
    "RenameStmt": Command("ALTER {}", DDL, "renameType"),
    "CommentStmt": Command("COMMENT", DDL),
    "DropStmt": Command("DROP {}", DDL, "removeType"),
}

_OBJECT_WORDS = {
    "AMOP": "OPERATOR",
    "AMPROC": "FUNCTION",
    "ATTRIBUTE": "TYPE",
    "COLUMN": "TABLE",
    "DEFACL": "DEFAULT PRIVILEGES",
    "DOMCONSTRAINT": "DOMAIN",
    "FDW": "FOREIGN DATA WRAPPER",
    "FOREIGN_SERVER": "SERVER",
    "LARGEOBJECT": "LARGE OBJECT",
    "MATVIEW": "MATERIALIZED VIEW",
    "OPCLASS": "OPERATOR CLASS",
    "OPFAMILY": "OPERATOR FAMILY",
    "STATISTIC_EXT": "STATISTICS",
    "TABCONSTRAINT": "TABLE",
    "TSCONFIGURATION": "TEXT SEARCH CONFIGURATION",
    "TSDICTIONARY": "TEXT SEARCH DICTIONARY",
    "TSPARSER": "TEXT SEARCH PARSER",
    "TSTEMPLATE": "TEXT SEARCH TEMPLATE",
}

_TRANSACTION_TAGS = {
    "TRANS_STMT_ROLLBACK_TO": "ROLLBACK",
    "TRANS_STMT_PREPARE": "PREPARE TRANSACTION",
}


def tag(statement: Node) -> str:
    """The command tag of a statement whose kind is in COMMANDS (`DROP TABLE`, `SELECT INTO`, `CREATE TABLE AS`)."""
    command = COMMANDS[statement.kind]
    if command.named:
        word = str(statement.raw.get(command.named, "")).removeprefix("OBJECT_")
        return command.tag.format(_OBJECT_WORDS.get(word, word.replace("_", " ")))
    special = _special_tag(statement)
    return special or command.tag


def _special_tag(statement: Node) -> str | None:
    match statement.kind:
        case "SelectStmt":
            return "SELECT INTO" if statement.intoClause else None
        case "CreateTableAsStmt":
            return "CREATE MATERIALIZED VIEW" if statement.objtype == "OBJECT_MATVIEW" else None
        case "TransactionStmt":
            kind = str(statement.variant)
            return _TRANSACTION_TAGS.get(kind, kind.removeprefix("TRANS_STMT_").replace("_", " "))
        case "VariableSetStmt":
            return "RESET" if str(statement.variant).startswith("VAR_RESET") else None
        case "VacuumStmt":
            return None if statement.is_vacuumcmd else "ANALYZE"
        case "FetchStmt":
            return "MOVE" if statement.ismove else None
        case "GrantStmt":
            return None if statement.is_grant else "REVOKE"
        case "GrantRoleStmt":
            return None if statement.is_grant else "REVOKE ROLE"
        case "DiscardStmt":
            return f"DISCARD {str(statement.target).removeprefix('DISCARD_')}"
        case "CreateFunctionStmt":
            return "CREATE PROCEDURE" if statement.is_procedure else None
        case _:
            return None
