"""Transcripts that fuzzing begins with, in the words of the playbook: what clients and servers say."""

from __future__ import annotations

import struct
from typing import Final

from lockgate.wire.postgresql.frames import (
    cancel_request,
    frame,
    key_data,
    negotiate_protocol_version,
    ssl_request,
    startup,
)
from tests.fuzz.script import Step, encode
from tests.support.playbook import (
    BOUND,
    CLOSED,
    COPY_DONE,
    COPY_IN,
    COPY_OUT,
    EMPTY_QUERY,
    FLUSH,
    NO_DATA,
    PARAMETERS,
    PARSED,
    SUSPENDED,
    SYNC,
    TERMINATE,
    authentication,
    bind,
    close,
    complete,
    copy_data,
    copy_fail,
    describe,
    error,
    execute,
    fields,
    notice,
    parameter,
    parse,
    password,
    query,
    ready,
    row,
)

CLIENT, SERVER, RESUME, SECURED = range(4)
"""Steps of a session: bytes of the client, bytes of the server, the awaited ruling, TLS or a cancel being done."""

MARKER: Final = b"s3cret"
"""What a masked value holds, and nothing that the client may see."""

HELLO: Final = startup({"user": "ann", "database": "shop", "application_name": "psql"})
NEWER: Final = startup({"user": "ann", "_pq_.option": "1"}, 2)
BEGUN: Final = authentication(0) + parameter("client_encoding", "UTF8") + key_data(7, b"1234") + ready()
SASL: Final = authentication(10, b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0")
_NOTIFIED: Final = frame(b"A", struct.pack("!i", 7) + b"channel\0s3cret\0")
_BINARY: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8) + b"\0\1\0\0\0\6s3cret"


def _session(*steps: Step, small: bool = False) -> bytes:
    """The first step's number tells how large a message may be."""
    return encode([(small, b""), (CLIENT, HELLO), (SERVER, BEGUN), *steps])


def _asked(text: str, *answers: bytes) -> tuple[Step, Step]:
    return (CLIENT, query(text)), (SERVER, b"".join(answers))


_EXTENDED: Final = parse("a", "select ssn from t where id = $1") + bind("p", "a", b"7") + describe("P", "p")
_ANSWERS: Final = PARSED + BOUND + fields("ssn") + row(MARKER)

SESSIONS: Final = [
    _session(*_asked("select ssn from t", fields("ssn", "b"), row(MARKER, None), row(b"", MARKER), complete("SELECT 2"),
                     ready())),
    _session(*_asked("select 1; forbidden; select 2", error("42601"), ready())),
    _session(*_asked("delete from t", complete("DELETE 1"), ready()), *_asked("", EMPTY_QUERY, ready())),
    _session((CLIENT, query("select wait") + query("select 2")), (RESUME, b""),
             (SERVER, fields("a") + row(MARKER) + complete("SELECT 1") + ready())),
    _session((CLIENT, _EXTENDED + execute("p") + SYNC), (SERVER, _ANSWERS + complete("SELECT 1") + ready())),
    _session((CLIENT, _EXTENDED + execute("p", 1) + FLUSH), (SERVER, _ANSWERS + SUSPENDED),
             (CLIENT, execute("p", 1) + close("P", "p") + SYNC),
             (SERVER, row(MARKER) + complete("SELECT 1") + CLOSED + ready())),
    _session((CLIENT, parse("", "insert into t values ($1)") + bind("", "", None) + describe("S", "") + execute("")
              + SYNC), (SERVER, PARSED + BOUND + PARAMETERS + NO_DATA + complete("INSERT 0 1") + ready("I"))),
    _session((CLIENT, parse("w", "select wait") + bind("", "w") + execute("") + SYNC), (RESUME, b""),
             (SERVER, PARSED + BOUND + fields("a") + row(MARKER) + complete("SELECT 1") + ready())),
    _session((CLIENT, parse("", "select 1") + bind("", "") + execute("") + SYNC),
             (SERVER, error("42P01", P="1") + ready()), *_asked("begin", complete("BEGIN"), ready("T")),
             *_asked("select 1/0", error("22012", D="s3cret"), ready("E")),
             *_asked("rollback", complete("ROLLBACK"), ready())),
    _session(*_asked("copy t to stdout", COPY_OUT, copy_data(b"s3cret\n"), copy_data(b"\\N\n"), COPY_DONE,
                     complete("COPY 2"), ready())),
    _session(*_asked("copy t to stdout (format csv)", COPY_OUT, copy_data(b'"s3""cret"\n'), COPY_DONE,
                     complete("COPY 1"), ready())),
    _session(*_asked("copy t to stdout (format binary)", frame(b"H", b"\1\0\1\0\1"), copy_data(_BINARY),
                     copy_data(b"\xff\xff"), COPY_DONE, complete("COPY 1"), ready())),
    _session((CLIENT, query("copy t from stdin")), (SERVER, COPY_IN),
             (CLIENT, copy_data(b"1\n") + COPY_DONE + query("select 1")), (SERVER, complete("COPY 1") + ready())),
    _session((CLIENT, query("copy t from stdin")), (SERVER, COPY_IN), (CLIENT, copy_fail("no")),
             (SERVER, error("57014") + ready())),
    _session(*_asked("prepare a as select ssn from t", complete("PREPARE"), ready()),
             *_asked("execute a", fields("ssn"), row(MARKER), complete("SELECT 1"), ready()),
             *_asked("deallocate a", complete("DEALLOCATE"), ready())),
    _session(*_asked("declare c cursor for select ssn from t", complete("DECLARE CURSOR"), ready("T")),
             *_asked("fetch c", notice("s3cret"), fields("ssn"), row(MARKER), complete("FETCH 1"), ready("T"))),
    _session(*_asked("set client_encoding to latin1", complete("SET"), parameter("client_encoding", "LATIN1"), ready()),
             (CLIENT, query("select 'é'")), (SERVER, _NOTIFIED + error("57P01", severity="FATAL"))),
    _session((CLIENT, query("select 1") * 3), (SERVER, fields("a") + row(b"x" * 200) + row(b"y" * 300)), small=True),
    _session((CLIENT, frame(b"F", b"\0\0\0\1\0\0\0\0\0\0")), (CLIENT, TERMINATE)),
]  # fmt: skip

STARTS: Final = [
    encode(steps)
    for steps in (
        [(0, b""), (CLIENT, ssl_request()), (CLIENT, HELLO), (SERVER, BEGUN)],
        [(2, b""), (CLIENT, ssl_request()), (SECURED, b""), (CLIENT, HELLO), (SERVER, BEGUN)],
        [(2, b""), (CLIENT, b"\x16\3\1\0\5hello"), (SECURED, b""), (CLIENT, HELLO)],
        [(0, b""), (CLIENT, struct.pack("!II", 8, 80877104)), (CLIENT, HELLO)],
        [(0, b""), (CLIENT, cancel_request(7, b"1234"))],
        [(0, b""), (CLIENT, cancel_request(7, bytes(256)))],
        [(0, b""), (CLIENT, NEWER), (SERVER, negotiate_protocol_version((), 0)[:]), (SERVER, BEGUN)],
        [(0, b""), (CLIENT, NEWER), (SERVER, authentication(0) + key_data(7, bytes(200)) + ready())],
        [(0, b""), (CLIENT, startup({"user": "ann", "replication": "database"}))],
        [(0, b""), (CLIENT, startup({"database": "x"}))],
        [(0, b""), (CLIENT, HELLO), (SERVER, authentication(3)), (CLIENT, password(b"pw\0")), (SERVER, BEGUN)],
        [(0, b""), (CLIENT, HELLO), (SERVER, SASL), (CLIENT, password(b"SCRAM-SHA-256\0\0\0\0\5n,,n=")),
         (SERVER, authentication(11, b"r=x,s=eA==,i=4096")), (CLIENT, password(b"c=biws,r=x,p=eA==")),
         (SERVER, authentication(12, b"v=eA==")), (SERVER, BEGUN)],
        [(0, b""), (CLIENT, HELLO), (SERVER, error("28P01", severity="FATAL"))],
    )
]  # fmt: skip

POOL: Final = [
    *((CLIENT, said) for said in (
        query("select ssn from t"), query("select wait"), query("forbidden"), query("begin"), query("copy t to stdout"),
        query("copy t from stdin"), query("execute a"), query("fetch p"), query("prepare a as select 1"), SYNC, FLUSH,
        parse("a", "select ssn from t"), parse("", "forbidden"), parse("a", "copy t from stdin"), bind("p", "a"),
        bind("", "", MARKER), execute("p"), execute("p", 1), execute(""), describe("P", "p"), describe("S", "a"),
        close("P", "p"), close("S", "a"), copy_data(b"1\n"), COPY_DONE, copy_fail("no"), TERMINATE,
    )),
    *((SERVER, said) for said in (
        PARSED, BOUND, CLOSED, NO_DATA, SUSPENDED, EMPTY_QUERY, PARAMETERS, COPY_IN, COPY_OUT, COPY_DONE, ready(),
        ready("T"), ready("E"), fields("ssn"), fields("a", "b", table=5), row(MARKER), row(None), row(MARKER, b"x"),
        complete("SELECT 1"), complete("COPY 1"), error("22012", D="s3cret"), error("57P01", severity="FATAL"),
        copy_data(b"s3cret\n"), copy_data(b"s3"), copy_data(b"cret\n"), notice("s3cret"), _NOTIFIED,
        parameter("client_encoding", "LATIN1"), parameter("client_encoding", "UTF8"),
    )),
    (RESUME, b""),
    (RESUME, b"no"),
]  # fmt: skip
