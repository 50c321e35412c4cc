"""Sends one statement after the other to two databases, by every way that a client has, and tells where answers differ.

Run among the intercepted processes: `python both_worlds.py HOST PORT DATABASE DATABASE`. A line of JSON in, `[way,
statement]`; one out, `{"refused": ..., "answers": [...]}`, with answers only where they differ or hold a mark.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import pq

MARK = re.compile(rb"mkt\d|\dtkm|6d6b74", re.IGNORECASE)
"""In every classified text, and in none other; turned around too, and in hexadecimal digits."""
TIMEOUT = b"57014"
FIELDS = tuple(field for field in pq.DiagnosticField if not field.name.startswith("SOURCE"))
OWN_TYPES = 16384
"""Types from here on are a database's own, and have other numbers in another one."""

Answer = list[Any]


class Client:
    """One connection; `notices` are those of the statement that runs."""

    def __init__(self, host: str, port: str, database: str) -> None:
        self.connection = psycopg.connect(host=host, port=port, user="app", dbname=database, autocommit=True)
        self.pq = self.connection.pgconn
        self.notices: list[Answer] = []
        self.pq.notice_handler = lambda result: self.notices.append(told(result))

    def ask(self, way: str, text: str) -> Answer:
        """What comes, in order; everything it did is taken back."""
        self.notices.clear()
        self.pq.exec_(b"begin")
        try:
            found = WAYS[way](self.pq, text.encode())
        finally:
            self.pq.exec_(b"rollback")
        return [*found, *self.notices]


def told(result: pq.abc.PGresult) -> Answer:
    """Everything of a result that a client sees, but the numbers of tables."""
    columns = [
        (shown(result.fname(i)), min(result.ftype(i), OWN_TYPES), result.fmod(i), result.fformat(i))
        for i in range(result.nfields)
    ]
    rows = [[shown(result.get_value(row, i)) for i in range(result.nfields)] for row in range(result.ntuples)]
    errors = [shown(result.error_field(field)) for field in FIELDS]
    return [pq.ExecStatus(result.status).name, columns, rows, shown(result.command_status), errors]


def shown(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")


def simple(connection: pq.abc.PGconn, text: bytes) -> Answer:
    return [told(connection.exec_(text))]


def bound(form: int) -> Callable[[pq.abc.PGconn, bytes], Answer]:
    return lambda connection, text: [told(connection.exec_params(text, [], result_format=form))]


def prepared(connection: pq.abc.PGconn, text: bytes) -> Answer:
    """Parsed and described once, then run in both formats."""
    found = [told(connection.prepare(b"", text)), told(connection.describe_prepared(b""))]
    return found + [told(connection.exec_prepared(b"", [], result_format=form)) for form in (1, 0)]


def named(connection: pq.abc.PGconn, text: bytes) -> Answer:
    commands = (b"prepare p as " + text, b"execute p", b"execute p", b"deallocate all")
    return [told(connection.exec_(command)) for command in commands]


def cursor(connection: pq.abc.PGconn, text: bytes) -> Answer:
    """In parts, forwards and backwards."""
    commands = (b"declare c scroll cursor for " + text, b"fetch 2 from c", b"move 1 in c", b"fetch all from c",
                b"fetch backward 1 from c")  # fmt: skip
    return [told(connection.exec_(command)) for command in commands]


def explained(connection: pq.abc.PGconn, text: bytes) -> Answer:
    return simple(connection, b"explain (costs off) " + text)


def copied(options: bytes) -> Callable[[pq.abc.PGconn, bytes], Answer]:
    def copy(connection: pq.abc.PGconn, text: bytes) -> Answer:
        result = connection.exec_(b"copy (" + text + b") to stdout (" + options + b")")
        if result.status != pq.ExecStatus.COPY_OUT:
            return [told(result)]
        lines = []
        while (got := connection.get_copy_data(0))[0] > 0:
            lines.append(shown(bytes(got[1])))
        final: Answer = [lines]
        while (rest := connection.get_result()) is not None:
            final.append(told(rest))
        return final

    return copy


WAYS: dict[str, Callable[[pq.abc.PGconn, bytes], Answer]] = {
    "simple": simple,
    "text": bound(0),
    "binary": bound(1),
    "prepared": prepared,
    "named": named,
    "cursor": cursor,
    "explained": explained,
    "copied": copied(b"format text"),
    "copied as csv": copied(b"format csv, header, force_quote *"),
    "copied in binary": copied(b"format binary"),
}


def main(host: str, port: str, *databases: str) -> None:
    clients = [Client(host, port, database) for database in databases]
    for line in sys.stdin:
        way, text = json.loads(line)
        answers = [client.ask(way, text) for client in clients]
        written = [json.dumps(answer) for answer in answers]
        differ = written[0] != written[1] and not any(TIMEOUT.decode() in answer for answer in written)
        marked = any(MARK.search(answer.encode()) for answer in written)
        print(json.dumps({
            "refused": "lockgate:" in written[0],
            "failed": any('"FATAL_ERROR"' in answer for answer in written),
            "answers": written if differ or marked else [],
        }), flush=True)  # fmt: skip
    for client in clients:
        client.connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
