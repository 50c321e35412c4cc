"""The same bytes to the real Redis, straight and through a session: the same answers, or a refusal of ours."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lockgate.values.secret import Secret
from lockgate.wire.gate import Ruling
from lockgate.wire.redis.gate import Login
from lockgate.wire.redis.session import Session
from tests.support.redis import Redis
from tests.support.redis_playbook import DENIED, DENIED_REPLY, MASK, Masked, ScriptedGate, command

SECONDS = 20.0
_VARIES = re.compile(rb"(\$2\r\nid\r\n):[0-9]+")


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis({"enable-debug-command": "yes"}) as found:
        yield found


def dialled(server: Redis) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(SECONDS)
    sock.connect(str(server.socket))
    return sock


def straight(server: Redis, data: bytes) -> bytes:
    """What Redis answers to these bytes, up to when it closes the connection because nothing more comes."""
    server.ask("FLUSHALL")
    with dialled(server) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return _VARIES.sub(rb"\1:0", _all(sock))


def _all(sock: socket.socket) -> bytes:
    found = b""
    try:
        while part := sock.recv(65_536):
            found += part
    except ConnectionResetError:
        pass  # it did not read all before it closed
    return found


class Through:
    """A session in between, with a gate of the test's own. `data` comes in pieces of `size`."""

    def __init__(self, server: Redis, data: bytes, *, gate: ScriptedGate | None = None, size: int = 1 << 20,
                 login: Login | None = None) -> None:  # fmt: skip
        if login is None:
            server.ask("FLUSHALL")
        self.gate = gate or ScriptedGate()
        self.session = session = Session(self.gate, message_bytes=1 << 20, row_bytes=1 << 20)
        self.said = b""
        with dialled(server) as sock:
            for at in range(0, len(data), size):
                session.client_data(data[at : at + size])
                if session.wants_upstream and not session.ready and not session.awaits_run:
                    session.connected(None, login)
                self._served(sock)
        self.said = _VARIES.sub(rb"\1:0", self.said)

    def _served(self, sock: socket.socket) -> None:
        """Until nothing is owed."""
        while True:
            if sent := self.session.drain_server():
                sock.sendall(sent)
            self.said += self.session.drain_client()
            if self.session.closing or not self.session.awaits_run:
                return
            if part := sock.recv(65_536):
                self.session.server_data(part)
            else:
                self.session.server_gone()


def same(server: Redis, data: bytes) -> None:
    expected = straight(server, data)
    for size in (1 << 20, 7):
        assert Through(server, data, size=size).said == expected


def refused(server: Redis, data: bytes) -> None:
    """Through a session the answers are the same up to a refusal."""
    expected = straight(server, data)
    for size in (1 << 20, 7):
        said = Through(server, data, size=size).said
        *before, refusal = said.splitlines(keepends=True)
        assert expected.startswith(b"".join(before))
        assert refusal.startswith(b"-ERR Protocol error: ")


AFTER = b"*2\r\n$4\r\nECHO\r\n$3\r\nend\r\n"


TYPES = ["string", "integer", "double", "null", "array", "set", "map", "verbatim", "bignum", "true", "attrib"]


def inline(*commands: str) -> bytes:
    return b"".join(words.encode() + b"\r\n" for words in commands)


@pytest.mark.parametrize(
    "data",
    [
        b"*0\r\n*-1\r\n*-17\r\n\r\n \r\n\n",
        b"PING\n",
        b"PING\r\r\n",
        inline("set k 'a b'", "get k"),
        inline('ECHO "\\x41\\x4\\n\\q"', "ECHO '\\'x\\n'", 'ECHO a"b c"', "ECHO \v\f a", "ECHO a\vb"),
        inline('""'),
        b"*1\r\n$0\r\n\r\n",
        inline("GET", "GET a b", "SET k v EX", "NOSUCH a b"),
        b"*1\r\n$4\r\nping\r\n",
        inline("QUIT"),
        inline("quit now", "PING"),
        inline("POST / HTTP/1.1", "Host: x", "", "PING"),
        inline("host: x"),
        inline("EXEC", "DISCARD", "MULTI x", "WATCH", "UNWATCH x", "RESET x", "EXEC x"),
        inline("AUTH", "AUTH a b c", "AUTH pw", "AUTH a b"),
        inline("HELLO 4", "HELLO x", "HELLO 3 FOO", "HELLO 3 AUTH a"),
        inline("HELLO 3", "GET nothing", "HELLO 2", "GET nothing"),
        inline("SELECT 01", "SELECT 99", "SELECT 3", "SET a 1", "SELECT 0", "GET a"),
        inline("MULTI", "MULTI", "WATCH a", "SET a 1", "GET a", "EXEC", "GET a"),
        inline("MULTI", "NOSUCH", "SET a 1", "EXEC", "GET a"),
        inline("MULTI", "SET a 1", "EXEC x", "GET a"),
        inline("MULTI", "DISCARD x", "EXEC"),
        inline("MULTI", "SET a 1", "RESET", "EXEC", "GET a"),
        inline("WATCH a", "SET a 1", "MULTI", "SET a 2", "EXEC", "GET a"),
        inline("MULTI", "INCR a", "LPUSH a 1", "EXEC"),
        inline("SUBSCRIBE a b a", "GET a", "PING", "PING hi", "HELLO 3", "EXEC", "UNSUBSCRIBE", "UNSUBSCRIBE", "GET a"),
        inline("PSUBSCRIBE a* b", "SSUBSCRIBE c", "SUNSUBSCRIBE", "SUNSUBSCRIBE", "PUNSUBSCRIBE x", "RESET", "PING"),
        inline("SUBSCRIBE", "HELLO 3", "SUBSCRIBE a", "PUBLISH a x", "GET a", "PING", "UNSUBSCRIBE", "UNSUBSCRIBE",
               "SUNSUBSCRIBE"),
        inline("HELLO 3", "SUBSCRIBE a", "HELLO 2", "GET a", "RESET", "GET a"),
        inline("HELLO 3", "CLIENT TRACKING ON", "GET a", "SET a 1", "CLIENT TRACKING OFF"),
        inline("HELLO 3", *(f"DEBUG PROTOCOL {kind}" for kind in TYPES)),
        inline(*(f"DEBUG PROTOCOL {kind}" for kind in TYPES)),
        inline("COMMAND COUNT", "COMMAND DOCS GET SET", "COMMAND INFO get", "XADD s 1-1 a b", "XRANGE s - +",
               "GEOADD g 1 1 m", "GEOPOS g m"),
        inline("EVAL 'return {1,{2,{3,\"x\"}},redis.error_reply(\"MY error\")}' 0"),
        inline("EVAL 'return redis.status_reply(\"S\")' 0"),
        inline("CLIENT REPLY ON", "CLIENT GETNAME", "CLIENT SETNAME x", "CLIENT GETNAME", "RESET", "CLIENT GETNAME"),
    ],
)  # fmt: skip
def test_the_answers_are_the_same(server: Redis, data: bytes) -> None:
    same(server, data + AFTER)


@pytest.mark.parametrize(
    "data",
    [
        b"*1\r\n+PING\r\n", b"*1\r\n\r\n", b"*1\r\n\xff\r\n", b"*01\r\n", b"*-0\r\n", b"*x\r\n", b"*2147483648\r\n",
        b"*1\r\n$-1\r\n", b"*1\r\n$x\r\n", b'PING "a\r\n', b"PING 'a'b\r\n",
        # and what Redis would take, or wait for
        b"*1\r\n$4\r\nPINGxx", b"*1\rx$4\rxPING\r\n", b"*1048577\r\n", b"PING\0x\r\n", b"*1\r\n$2000000\r\n",
    ],
)  # fmt: skip
def test_what_cant_be_read_is_refused(server: Redis, data: bytes) -> None:
    refused(server, b"SET a 1\r\n" + data)


@pytest.mark.parametrize(
    "data",
    [
        b"*1\r\n+PING\r\n",
        b"*1\r\n\r\n",
        b"*01\r\n",
        b"*-0\r\n",
        b"*x\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$x\r\n",
        b'PING "a\r\n',
    ],
)
def test_it_is_refused_in_the_servers_words(server: Redis, data: bytes) -> None:
    assert Through(server, data).said == straight(server, data)


_WORDS = st.sampled_from([
    "GET a", "SET a 1", "INCR a", "LPUSH l x", "LRANGE l 0 -1", "MULTI", "EXEC", "DISCARD", "WATCH a", "UNWATCH",
    "NOSUCH", "PING", "HELLO 3", "HELLO 2", "SUBSCRIBE c", "UNSUBSCRIBE", "PSUBSCRIBE p* q", "PUNSUBSCRIBE",
    "SSUBSCRIBE s", "SUNSUBSCRIBE", "RESET", "SELECT 1", "SELECT 0", "MULTI x", "EXEC x", "GET", "ECHO hello",
    "DEBUG PROTOCOL attrib",
])  # fmt: skip
_WRONG = re.compile(rb"-(ERR|EXECABORT [^:\r]*:) (Can't execute|wrong number of|unknown command) [^\r]*")
_INSIDE = frozenset(("HELLO", "SUBSCRIBE", "UNSUBSCRIBE", "PSUBSCRIBE", "PUNSUBSCRIBE", "SSUBSCRIBE", "SUNSUBSCRIBE",
                     "SELECT"))  # fmt: skip


def _refused_inside_multi(said: list[str]) -> bool:
    """Whether one of them is of what the session refuses inside MULTI, and Redis doesn't."""
    inside = False
    for words in said:
        name = words.split(" ")[0]
        if inside and name in _INSIDE:
            return True
        inside = (inside or words == "MULTI") and name not in ("EXEC", "RESET") and words != "DISCARD"
    return False


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(_WORDS, max_size=14).filter(lambda said: not _refused_inside_multi(said)))
def test_any_pipeline_is_answered_the_same(server: Redis, said: list[str]) -> None:
    data = b"".join(map(command, said)) + AFTER
    expected = straight(server, data)
    through = Through(server, data)
    # of two things wrong with a command Redis tells the other one first, where a subscribed client may not send it
    assert _WRONG.sub(b"-no", through.said) == _WRONG.sub(b"-no", expected)
    assert len({id(run) for run in through.gate.runs}) == len(through.gate.runs)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.sampled_from([b"*1\r\n", b"*2\r\n", b"$4\r\nPING\r\n", b"$4\r\nECHO\r\n", b"$1\r\nx\r\n", b"PING", b"\r\n",
                         b"\n", b"'", b'"', b"\\", b"*", b"$", b"0", b"1", b"-", b" ", b"x"]),
        max_size=14,
    ),
)  # fmt: skip
def test_any_bytes_are_answered_the_same_or_refused(server: Redis, pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    expected = straight(server, data)
    said = Through(server, data).said
    if said == expected:
        return
    *before, last = said.splitlines(keepends=True)
    assert last.startswith(b"-ERR Protocol error: ")
    assert expected.startswith(b"".join(before))


def test_what_is_refused_does_not_reach_the_server(server: Redis) -> None:
    gate = ScriptedGate({"DEL": DENIED, "GET secret": Ruling(masking=Masked())})
    gate.unqueued.add("DEL")
    said = ["SET secret 1", "DEL secret", "GET secret", "MULTI", "SET secret 2", "DEL secret", "EXEC", "GET plain"]
    through = Through(server, b"".join(map(command, said)), gate=gate)
    assert through.said == (
        b"+OK\r\n" + DENIED_REPLY + MASK + b"+OK\r\n+QUEUED\r\n" + DENIED_REPLY
        + b"-EXECABORT Transaction discarded because of previous errors.\r\n$-1\r\n"
    )  # fmt: skip
    assert server.ask("GET", "secret") == b"1"


def test_the_agents_credential(server: Redis) -> None:
    with Redis(users={"agent": "on >pw ~* &* +@all", "default": "off"}) as closed:
        said = b"".join(map(command, ["AUTH x y", "HELLO 3 AUTH x y", "ACL WHOAMI", "RESET", "ACL WHOAMI"]))
        through = Through(closed, said, login=Login("agent", Secret("pw")))
        assert through.said.startswith(b"+OK\r\n%7\r\n")
        assert through.said.endswith(b"$5\r\nagent\r\n+RESET\r\n$5\r\nagent\r\n")
        refused = Through(closed, command("PING"), login=Login("agent", Secret("wrong")))
        assert refused.said == b"-NOPERM lockgate: the datastore did not take the agent's credential (WRONGPASS)\r\n"
