"""Writes the table of commands from running servers: `python -m tests.understand.redis.make_commands SOCKET...`.

Each SOCKET is the unix socket of a server: the oldest release first, since what two of them say differently is taken
from the last. A command that only one has is of the table as well. What is written says of every command no more than
what the server answers to COMMAND: names, numbers of arguments, categories, and where its keys stand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

FILE = Path(__file__).parents[3] / "agent/lockgate/understand/redis/commands.txt"

LATER = """
delex -2 fast,string,write 1:0,1,0:RW,delete
digest 2 fast,read,string 1:0,1,0:RO,access
"""
"""What there was no server of to ask (Redis 8.4), as its documentation describes it."""

INTERNAL = "timeseries."
"""How names begin of commands that shards of a module's own say to each other: nobody else's."""

CORRECTED = {
    "json.mget": "1:-2,1,0:RO,access",
    "cms.merge": "1:0,1,0:RW,update;2:#0,1,1:RO,access",
    "tdigest.merge": "1:0,1,0:RW,access,update;2:#0,1,1:RO,access",
    "ts.createrule": "1:0,1,0:RW,access,update;2:0,1,0:RW,access,update",
    "ts.deleterule": "1:0,1,0:RW,access,update;2:0,1,0:RW,access,update",
    **dict.fromkeys(("ft.add", "ft.safeadd", "ft.del"), "2:0,1,0:RW,access,update"),
    "ft.get": "2:0,1,0:RO,access",
    "ft.mget": "2:-1,1,0:RO,access",
}
"""Modules that name the first of several keys only, or the index in which a document is as well."""

WHOLE = "ft.debug"
"""All that it can be asked for is alike, and there is more in each release."""

KEYED = frozenset({"ft.sugadd", "ft.sugget", "ft.sugdel", "ft.suglen"})
"""What is a key indeed of what RediSearch says is one: else it is an index, or an alias of one."""

KEPT_FLAGS = {"write": "write", "readonly": "read", "admin": "admin"}
"""Flags of a module's command that say what the categories of a command of the server's own say."""


def replied(socket: str) -> list[Any]:
    """The answer to COMMAND, as a client without any reading of its own gets it."""
    client = redis.Redis(unix_socket_path=socket)
    connection: Any = client.connection_pool.get_connection()  # untyped
    try:
        connection.send_command("COMMAND")
        answer = connection.read_response()
    finally:
        connection.disconnect()
        client.close()
    assert isinstance(answer, list)
    return answer


def version(socket: str) -> str:
    with redis.Redis(unix_socket_path=socket) as client:
        told: Any = client.info("server")
        if "valkey_version" in told:
            return f"Valkey {told['valkey_version']}"
        modules: Any = client.module_list()
        names = sorted(str(module[b"name"], "utf-8") for module in modules)
        return f"Redis {told['redis_version']}" + (f" with {', '.join(names)}" if names else "")


def rows(entries: list[Any]) -> Iterator[tuple[str, int, set[str], str]]:
    """Name, arity, categories and key specifications of each command, sub-commands and all, as `CORRECTED`."""
    for entry in entries:
        name = entry[0].decode().lower()
        if name.startswith(INTERNAL):
            continue
        flags = {flag.decode() for flag in entry[2]}
        categories = {category.decode().removeprefix("@") for category in entry[6]}
        if "scripting" not in categories:
            categories |= {kept for flag, kept in KEPT_FLAGS.items() if flag in flags}
        keys = ";".join(filter(None, map(spec, entry[8]))) or "-"
        if name.startswith("ft."):
            keys = keys if name in KEYED else "-"
        yield name, entry[1], categories, CORRECTED.get(name, keys)
        if name != WHOLE:
            yield from rows(entry[9])


def _map(pairs: Any) -> dict[bytes, Any]:
    return pairs if isinstance(pairs, dict) else dict(zip(pairs[::2], pairs[1::2], strict=True))


def spec(told: Any) -> str | None:
    told = _map(told)
    flags = {flag.decode() for flag in told[b"flags"]}
    if "not_key" in flags:
        return None
    begin, find = _map(told[b"begin_search"]), _map(told[b"find_keys"])
    at, among = _map(begin[b"spec"]), _map(find[b"spec"])
    match begin[b"type"]:
        case b"index":
            start = str(at[b"index"])
        case b"keyword":
            start = f"{at[b'keyword'].decode()}@{at[b'startfrom']}"
        case _:
            start = "?"
    match find[b"type"]:
        case b"range":
            where = f"{among[b'lastkey']},{among[b'keystep']},{among[b'limit']}"
        case b"keynum":
            where = f"#{among[b'keynumidx']},{among[b'firstkey']},{among[b'keystep']}"
        case _:
            where = "?"
    return f"{start}:{where}:{','.join(sorted(flags))}"


def merged(tables: list[list[Any]]) -> list[str]:
    """A line for each command. The number of arguments is the least that one of them asks for."""
    found: dict[str, tuple[int, set[str], str]] = {}
    for table in tables:
        for name, arity, categories, keys in rows(table):
            least, before, _ = found.get(name, (arity, set(), ""))
            if arity != least:
                arity = -min(abs(arity), abs(least))
            found[name] = (arity, before | categories, keys)
    lines = [
        f"{name} {arity} {','.join(sorted(categories)) or '-'} {keys}"
        for name, (arity, categories, keys) in found.items()
    ]
    return sorted(lines + LATER.strip().splitlines())


def main() -> None:
    sockets = sys.argv[1:]
    header = [
        "# Commands of Redis, Valkey and some of their modules: name, arity (at least, if negative), ACL categories,",
        "# key specifications (begin:find:flags). What isn't told by them stands in the modules beside this file.",
        "# Made by tests/understand/redis/make_commands.py of",
        f"# {'; '.join(map(version, sockets))}.",
    ]
    FILE.write_text("\n".join([*header, *merged([replied(socket) for socket in sockets])]) + "\n")


if __name__ == "__main__":
    main()
