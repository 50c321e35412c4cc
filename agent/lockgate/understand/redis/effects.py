"""What a command does, by what the server's access control counts it among.

| counted among                   | effects                                             |
|---------------------------------|-----------------------------------------------------|
| @read                           | read                                                |
| @write                          | write                                               |
| @admin                          | admin                                               |
| @dangerous only                 | nothing by itself (KEYS, SORT, INFO are)            |
| @connection, but not @admin     | session                                             |
| @transaction                    | transaction                                         |
| @scripting                      | as `_BY_NAME` says; what runs a script: unknown too |
| @pubsub                         | as `_BY_NAME` says: publishing is a write           |
| nothing of these                | read                                                |

Beside these come the effects on each key and channel that is named, and on those that aren't (`ANYWHERE`).

RediSearch counts among the reads whatever changes no key: its settings, dictionaries and aliases too. So of a module's
command that isn't built in and names no key, what it does is not known.
"""

from __future__ import annotations

from lockgate.understand.redis.keys import BOTH, READ, WRITE
from lockgate.understand.redis.tables import Command
from lockgate.values.statement import Effect

NOTHING: frozenset[Effect] = frozenset()
ADMIN = frozenset({Effect.ADMIN})
DDL = frozenset({Effect.DDL})
SESSION = frozenset({Effect.SESSION})
UNKNOWN = frozenset({Effect.UNKNOWN})

_BY_CATEGORY = {
    "read": READ,
    "write": WRITE,
    "admin": ADMIN,
    "transaction": frozenset({Effect.TRANSACTION}),
}


def names(text: str) -> tuple[str, ...]:
    """Commands in a text, apart by commas or lines."""
    return tuple(name.strip() for name in text.replace("\n", ",").split(",") if name.strip())


_BY_NAME: dict[str, frozenset[Effect]] = {
    **dict.fromkeys(names("EVAL, EVALSHA, FCALL"), UNKNOWN | BOTH),
    **dict.fromkeys(names("EVAL_RO, EVALSHA_RO, FCALL_RO"), UNKNOWN | READ),
    **dict.fromkeys(names("FUNCTION LOAD, FUNCTION DELETE, FUNCTION FLUSH, FUNCTION RESTORE"), DDL | WRITE),
    **dict.fromkeys(names("SCRIPT LOAD, SCRIPT FLUSH"), DDL),
    **dict.fromkeys(names("SCRIPT KILL, FUNCTION KILL, SCRIPT DEBUG, MEMORY PURGE"), ADMIN),
    **dict.fromkeys(names("PUBLISH, SPUBLISH"), WRITE),
    **dict.fromkeys(names("UNSUBSCRIBE, PUNSUBSCRIBE, SUNSUBSCRIBE"), SESSION),
    **dict.fromkeys(names("MODULE LOAD, MODULE LOADEX"), ADMIN | DDL | UNKNOWN),
    **dict.fromkeys(names("MODULE UNLOAD"), ADMIN | DDL),
    **dict.fromkeys(names("FT.CREATE, FT._CREATEIFNX, FT.ALTER, FT._ALTERIFNX, FT.DROP, FT._DROPIFX"), DDL | WRITE),
    **dict.fromkeys(names("FT.DROPINDEX, FT._DROPINDEXIFX, FT.SYNADD, FT.SYNUPDATE"), DDL | WRITE),
    **dict.fromkeys(names("FT.ALIASADD, FT._ALIASADDIFNX, FT.ALIASDEL, FT._ALIASDELIFX"), DDL | WRITE),
    **dict.fromkeys(names("FT.ALIASUPDATE, FT.DICTADD, FT.DICTDEL"), DDL | WRITE),
    **dict.fromkeys(names("FT.CONFIG, FT.DEBUG"), ADMIN),
    # values go to another server, about which nobody here knows anything
    **dict.fromkeys(names("MIGRATE, CLUSTER MIGRATESLOTS, CLUSTER SYNCSLOTS"), ADMIN | UNKNOWN | BOTH),
}

ANYWHERE: dict[str, frozenset[Effect]] = {
    **dict.fromkeys(names("SCAN, KEYS, RANDOMKEY, CLUSTER GETKEYSINSLOT, CLUSTERSCAN"), READ),
    **dict.fromkeys(names("TS.MGET, TS.MRANGE, TS.MREVRANGE, TS.QUERYINDEX"), READ),
    # an index has what is in the keys of which it is
    **dict.fromkeys(names("FT.SEARCH, FT.AGGREGATE, FT.CURSOR, FT.PROFILE, FT.TAGVALS, FT.SPELLCHECK"), READ),
    **dict.fromkeys(names("FT.EXPLAIN, FT.EXPLAINCLI, FT.INFO, FT.DEBUG"), READ),
    **dict.fromkeys(names("FT.CREATE, FT._CREATEIFNX, FT.ALTER, FT._ALTERIFNX"), READ),
    # they may delete what was found
    **dict.fromkeys(names("FT.DROP, FT._DROPIFX, FT.DROPINDEX, FT._DROPINDEXIFX"), WRITE),
    # they quote what others sent, or hand everything over
    **dict.fromkeys(names("MONITOR, SLOWLOG GET, COMMANDLOG GET, FUNCTION STATS, ACL LOG"), READ),
    **dict.fromkeys(names("SYNC, PSYNC, REPLCONF"), READ),
    **dict.fromkeys(names("SAVE, BGSAVE, BGREWRITEAOF"), READ),
    **dict.fromkeys(names("FLUSHALL, FLUSHDB, CLUSTER FLUSHSLOT, CLUSTER RESET, CLUSTER REPLICATE"), WRITE),
    # what was written last may be lost by them
    **dict.fromkeys(names("FAILOVER, CLUSTER FAILOVER, SHUTDOWN"), WRITE),
    **dict.fromkeys(names("SWAPDB, DEBUG, REPLICAOF, SLAVEOF, MODULE LOAD, MODULE LOADEX"), BOTH),
    **dict.fromkeys(names("CLUSTER MIGRATESLOTS, CLUSTER SYNCSLOTS, EVAL, EVALSHA, FCALL"), BOTH),
    **dict.fromkeys(names("EVAL_RO, EVALSHA_RO, FCALL_RO"), READ),
}
"""What is done to keys that the command doesn't name."""

WITHOUT_LIMIT = frozenset(
    names("""
FLUSHALL, FLUSHDB, SWAPDB, KEYS, MONITOR, SCRIPT FLUSH, FUNCTION FLUSH, CLUSTER FLUSHSLOT, CLUSTER RESET
CLUSTER FLUSHSLOTS, REPLICAOF, SLAVEOF
""")
)
"""Commands about everything there is: `Statement.has_where` is False."""

SHOWING = frozenset(names("SISMEMBER, SMISMEMBER, HEXISTS, XCLAIM, XAUTOCLAIM, DELIFEQ, DELEX"))
"""Commands that tell of a value though the server doesn't mark their keys with `access`.

What was guessed is compared with it, or entries are handed out. A write that only tells how much it changed isn't
among them: SADD, SREM, LREM.
"""

CHANGING = frozenset(names("XREADGROUP"))
"""Commands that change a key which the server marks as read only: entries become pending."""


def effects_of(command: Command) -> frozenset[Effect]:
    """What a command does whatever its arguments are. Never empty."""
    told = _BY_NAME.get(command.name)
    effects = told if told is not None and command.known else NOTHING
    for category in command.categories:
        effects |= _BY_CATEGORY.get(category, NOTHING)
    if "connection" in command.categories and "admin" not in command.categories:
        effects |= SESSION
    blind = command.module and not command.specs
    if not command.known and (blind or "scripting" in command.categories or not effects):
        return effects | BOTH | UNKNOWN
    return effects or READ


def anywhere(command: Command) -> frozenset[Effect]:
    """What it does to keys that it doesn't name. Modules name the first of several keys only, if any (JSON.MGET)."""
    if command.known:
        return ANYWHERE.get(command.name, NOTHING)
    if not command.moving:
        return NOTHING
    effects = effects_of(command)
    return BOTH if Effect.WRITE in effects else effects & BOTH or NOTHING


def keys_of(command: Command) -> tuple[tuple[frozenset[Effect], bool], ...]:
    """The effects on the keys of each specification, and whether the command shows what is in them."""
    read_only = "read" in command.categories and "write" not in command.categories
    changing = WRITE if command.name in CHANGING else NOTHING
    return tuple(
        (spec.effects(read_only=read_only) | changing, spec.shows or command.name in SHOWING or not command.known)
        for spec in command.specs
    )
