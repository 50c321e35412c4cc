"""What each command does by itself: at least what the server's access control counts it among."""

from __future__ import annotations

import pytest

from lockgate.understand.redis import Command, CommandTable
from lockgate.understand.redis.effects import ANYWHERE, CHANGING, SHOWING, WITHOUT_LIMIT, effects_of
from lockgate.values.statement import Effect

COMMANDS = sorted(CommandTable.builtin(), key=lambda command: command.name)

ODD_EFFECTS = {
    "session": """AUTH CLIENT-ID CLIENT-CACHING CLIENT-CAPA ECHO HELLO PING QUIT RESET SELECT UNSUBSCRIBE WAIT""",
    "transaction": "MULTI EXEC DISCARD WATCH UNWATCH",
    "ddl": "FUNCTION-LOAD FUNCTION-DELETE FUNCTION-FLUSH FUNCTION-RESTORE SCRIPT-LOAD SCRIPT-FLUSH MODULE-LOAD",
    "admin": """CONFIG-SET CONFIG-GET CONFIG-REWRITE ACL-SETUSER ACL-LIST ACL-LOG SHUTDOWN DEBUG MONITOR SAVE REPLICAOF
        FAILOVER CLIENT-KILL CLIENT-LIST SLOWLOG-GET MODULE-LOAD MODULE-UNLOAD CLUSTER-RESET MIGRATE SYNC LATENCY-RESET
        SCRIPT-KILL MEMORY-PURGE""",
    "unknown": "EVAL EVAL_RO EVALSHA EVALSHA_RO FCALL FCALL_RO MODULE-LOAD MIGRATE",
    "write": """SET DEL FLUSHALL PUBLISH SPUBLISH RENAME RESTORE EVAL FCALL SPOP GETDEL EXPIRE XACK FUNCTION-LOAD VADD
        JSON.SET BF.ADD TS.ADD DELEX MSETEX HSETEX""",
    "read": """GET KEYS SCAN INFO SORT_RO SUBSCRIBE PSUBSCRIBE PUBSUB-CHANNELS DBSIZE TIME CLUSTER-SLOTS SCRIPT-EXISTS
        MEMORY-USAGE OBJECT-ENCODING PFCOUNT VSIM JSON.GET JSON.MGET XREAD XINFO-STREAM HGETALL ACL-WHOAMI""",
}


def test_effects_by_name() -> None:
    found = {command.name: effects_of(command) for command in COMMANDS}
    for effect, names in ODD_EFFECTS.items():
        for name in names.split():
            assert Effect(effect) in found[name.replace("-", " ") if name.partition("-")[0].isupper() else name], name
    assert not {name for name, effects in found.items() if not effects}
    harmless = {name for name, effects in found.items() if effects == {Effect.READ}}
    assert not {name for name in harmless if _counted(name).categories & {"write", "admin"}}


def _counted(name: str) -> Command:
    return next(command for command in COMMANDS if command.name == name)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_at_least_what_the_server_counts_it_among(command: Command) -> None:
    effects = effects_of(command)
    for category, effect in (("read", Effect.READ), ("write", Effect.WRITE), ("admin", Effect.ADMIN)):
        assert category not in command.categories or effect in effects
    if "dangerous" in command.categories:
        assert effects & {Effect.ADMIN, Effect.WRITE, Effect.READ}
    if "scripting" in command.categories:
        assert effects != {Effect.SESSION}


def test_what_is_said_is_said_of_commands_that_there_are() -> None:
    assert set(ANYWHERE) | SHOWING | CHANGING | WITHOUT_LIMIT <= {command.name for command in COMMANDS}
