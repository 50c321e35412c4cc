"""The whole product with a Redis behind it, beside the PostgreSQL of every stack: one agent, two protocols."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import redis

from lockgate.demo.redis import program
from tests.support.postgres import Postgres
from tests.support.redis import Cluster, Redis
from tests.support.stack import POLICIES as POSTGRESQL
from tests.support.stack import SCHEMA, Stack, environment

SECONDS: Final = 60.0

CACHE: Final = """
@id("cache-work")
permit (principal in Group::"engineers", action == Action::"execute", resource in Datastore::"cache")
unless { context.effects.containsAny(["ddl", "admin", "unknown"]) };

@id("no-flush")
@reason("nobody empties the cache")
forbid (principal, action == Action::"execute", resource)
when { context.kinds.containsAny(["FLUSHALL", "FLUSHDB"]) }
unless { principal in Group::"dba" };

@id("vault-is-closed")
@reason("the vault is for its owners")
forbid (principal, action == Action::"execute", resource in Keys::"cache/vault:*")
unless { principal in Group::"dba" };

@id("backstage-is-closed")
forbid (principal, action == Action::"execute", resource in Channels::"cache/backstage:*")
unless { principal in Group::"dba" };

@id("two-for-ledger")
@approvers("dba")
@timeout("30s")
forbid (principal, action == Action::"execute_alone", resource in Keys::"cache/ledger:*")
when { context.effects.contains("write") };

@id("dbas-approve-cache")
permit (principal in Group::"dba", action == Action::"approve", resource in Datastore::"cache");
"""
"""What is asked of a datastore `cache`, beside the policies of every stack, which name `orders` or no datastore at all.

An engineer reads and writes every key but `vault:*`, listens to every channel but `backstage:*`, and needs a second
person to write `ledger:*`. Deletions of any kind are not held here: `DEL` is Redis's word, `DELETE` PostgreSQL's.
"""

POLICIES: Final = POSTGRESQL + CACHE

EVERYTHING: Final = """
@id("everything")
permit (principal, action in [Action::"execute", Action::"execute_alone", Action::"reveal"], resource);
"""
"""For what compares with and without the agent: nothing is refused, held or masked."""

CLASSIFICATION: Final[dict[str, Any]] = {
    "cache": {
        "secret:*": ["pii"],
        "profile:*#email": ["pii", "email"],
        "contact:*#email": ["email"],
        "doc:*#$.user.email": ["email"],
        "letters#email": ["email"],
        "&news:*": ["pii"],
        "&events:*#$.user.email": ["email"],
    }
}
"""`pii` is redacted (`***`), `email` alone comes partly (`u***@e***.org`): the strictest of several tags wins.

`letters` is a stream; what begins with `&` are channels.
"""

MASKED, PARTLY = b"***", b"u***@e***.org"


def fill(client: redis.Redis) -> None:
    """What every test finds: marked values (`tests.support.markers`) behind each classified name, and plain ones."""
    with client.pipeline(transaction=False) as pipe:
        for number in range(1, 6):
            email = f"user{number}@example.org"
            pipe.set(f"session:{number}", f"session {number}")
            pipe.set(f"secret:{number}", email)
            pipe.set(f"vault:{number}", f"gold {number}")
            pipe.set(f"ledger:{number}", number)
            pipe.hset(f"profile:{number}", mapping={"name": f"name{number}", "email": email, "age": number})
            pipe.hset(f"contact:{number}", mapping={"name": f"name{number}", "email": email})
            pipe.set(f"doc:{number}", f'{{"user": {{"name": "name{number}", "email": "{email}"}}, "n": {number}}}')
            pipe.xadd("letters", {"to": f"name{number}", "email": email}, id=f"{number}-0")
            pipe.rpush("queue", f"job {number}")
            pipe.zadd("ranking", {f"name{number}": number})
        pipe.rpush("secret:list", "user1@example.org", "user2@example.org")
        pipe.sadd("secret:set", "user1@example.org", "user2@example.org")
        pipe.zadd("secret:zset", {"user1@example.org": 1, "user2@example.org": 2})
        pipe.rpush("ids", "1", "2", "3")
        pipe.execute()


def _addresses(server: Redis | Cluster) -> list[str]:
    nodes = server.nodes if isinstance(server, Cluster) else [server]
    return [f"{host}:{node.port}" for node in nodes for host in ("127.0.0.1", "[::1]")]


class RedisStack(Stack):
    """`with RedisStack() as stack:` as Stack, with the datastore `cache`; `stack.redis` is its server.

    `cache` is merged into that datastore's part of agent.yaml; `agent` into the whole of it. The server is filled
    unless `filled` is False. `addresses` are those of the cache, as clients dial them. `stack.redis` of a cluster is
    its first node. `others` are servers with nothing in them, each a datastore too: `other-0` and so on. With `watched`
    the same server is another datastore, which is only observed, for whoever dials [::1].
    """

    def __init__(
        self,
        *,
        redis: Redis | Cluster | None = None,
        policies: str = POLICIES,
        classification: dict[str, Any] | None = None,
        cache: dict[str, Any] | None = None,
        agent: dict[str, Any] | None = None,
        addresses: Iterable[str] | None = None,
        filled: bool = True,
        others: Sequence[Redis] = (),
        watched: bool = False,
    ) -> None:
        self.others = others
        self._started = redis or Redis()
        self.redis = self._started.nodes[0] if isinstance(self._started, Cluster) else self._started
        server = Postgres()
        orders = {
            "name": "orders",
            "protocol": "postgresql",
            "addresses": [f"127.0.0.1:{server.port}"],
            "catalog": {"user": "lockgate"},
        }
        store = {
            "name": "cache",
            "protocol": "redis",
            "addresses": list(
                addresses or [a for a in _addresses(self._started) if not (watched and a.startswith("["))]
            ),
            **(cache or {}),
        }
        more = [
            {"name": f"other-{number}", "protocol": "redis", "addresses": _addresses(other)}
            for number, other in enumerate(others)
        ]
        if watched:
            more.append(
                {**deepcopy(store), "name": "watched", "addresses": [f"[::1]:{self.redis.port}"], "mode": "observe"}
            )
        super().__init__(
            server=server,
            schema=SCHEMA,
            policies=policies,
            classification=CLASSIFICATION if classification is None else classification,
            agent={"datastores": [orders, store, *more], **(agent or {})},
        )
        self._filled = filled
        self._redis = ExitStack()

    def __enter__(self) -> RedisStack:
        with ExitStack() as stack:
            for started in (self._started, *self.others):
                stack.enter_context(started)
            if self._filled:
                with self.redis.client() as client:
                    fill(client)
            super().__enter__()
            self._redis = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self._redis.close()

    def refill(self) -> None:
        """As it was in the beginning, straight at the server."""
        with self.redis.client() as client:
            client.flushall()
            fill(client)

    def cli_command(self, person: str, *options: str, host: str = "127.0.0.1", port: int | None = None) -> list[str]:
        return self.command(person, [program("redis-cli"), "-h", host, "-p", str(port or self.redis.port), *options])

    def cli(
        self,
        person: str,
        *words: str,
        script: str | None = None,
        options: Sequence[str] = (),
        host: str = "127.0.0.1",
        port: int | None = None,
        timeout: float = SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """redis-cli with one command, or with `script`, its lines on standard input, in one connection."""
        return subprocess.run(
            self.cli_command(person, *options, *words, host=host, port=port),
            input=textwrap.dedent(script) if script is not None else None,
            stdin=subprocess.DEVNULL if script is None else None,
            capture_output=True, text=True, check=False, timeout=timeout, env=environment(), cwd="/",
        )  # fmt: skip

    def said(self, person: str, *words: str, options: Sequence[str] = ()) -> str:
        """What redis-cli prints of one command, an error too, without the line's end."""
        run = self.cli(person, *words, options=options)
        return (run.stdout + run.stderr).rstrip("\n")

    def python(self, person: str, code: str, environ: Mapping[str, str] | None = None) -> str:
        """What a Python program prints that finds HOST and PORT set; it has to succeed."""
        prelude = f"HOST, PORT = '127.0.0.1', {self.redis.port}\n"
        run = self.run(person, [sys.executable, "-c", prelude + textwrap.dedent(code)], environ)
        assert run.returncode == 0, run.stderr
        return run.stdout

    def run(
        self,
        person: str,
        argv: Sequence[str],
        environ: Mapping[str, str] | None = None,
        cwd: Path | str = "/",
        timeout: float = SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Any program as a person whose connections are intercepted."""
        return subprocess.run(
            self.command(person, argv), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=timeout, env={**environment(), **(environ or {})}, cwd=cwd,
        )  # fmt: skip

    def ca(self) -> Path:
        """The certificate of the host's authority, in a file that everybody can read."""
        path = self.folder / "host-ca.crt"
        path.write_text(self.lockgate("ca", "show", "--config", str(self.agent_yaml)).stdout)
        path.chmod(0o644)
        return path

    def waiting(self) -> list[dict[str, Any]]:
        """The holds, as an approver sees them."""
        return [s["hold"] for s in self.json("approvals", "list", "--config", str(self.agent_yaml), person="bob")]

    def held(self, text: str, seconds: float = 15.0) -> dict[str, Any]:
        """The hold whose statement has `text` in it, once there is one."""
        deadline = time.monotonic() + seconds
        while not (found := [hold for hold in self.waiting() if text in hold["statement"]]):
            assert time.monotonic() < deadline, self.log("agent")[-2000:]
            time.sleep(0.05)
        return found[0]

    def decide(self, word: str, hold: dict[str, Any], person: str = "bob") -> None:
        """`approve` or `deny` it."""
        done = self.lockgate("approvals", word, hold["id"], "--config", str(self.agent_yaml), person=person)
        assert done.returncode == 0, done.stderr
